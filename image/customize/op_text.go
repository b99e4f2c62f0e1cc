package customize

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// newText is what a new file is that an operation makes from text.
var newText = vfs.NewNode{Mode: vfs.Regular | 0o644}

// write replaces the contents of a file, or makes it.
type write struct{ path, content string }

func parseWrite(arg string) (Operation, error) {
	path, content, err := cutPath(arg)
	return write{path, content}, err
}

func (o write) Apply(ctx context.Context, e *Editor) error {
	return e.WriteFile(ctx, o.path, []byte(o.content), newText)
}

// String leaves the contents out, which may be anybody's key.
func (o write) String() string { return fmt.Sprintf("write %s:(%d bytes)", o.path, len(o.content)) }

// appendLine adds a line to a file, which gets a newline at its end first if
// it has none, and is made if it is not there.
type appendLine struct{ path, line string }

func parseAppendLine(arg string) (Operation, error) {
	path, line, err := cutPath(arg)
	// A here-document ends with one already.
	return appendLine{path, strings.TrimSuffix(line, "\n")}, err
}

func (o appendLine) Apply(ctx context.Context, e *Editor) error {
	text, err := e.ReadFile(ctx, o.path, MaxText)
	if err != nil && !missing(err) {
		return err
	}
	return e.WriteFile(ctx, o.path, addLine(text, o.line), newText)
}

func (o appendLine) String() string {
	return fmt.Sprintf("append-line %s:(%d bytes)", o.path, len(o.line))
}
