package customize

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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

func (o write) String() string { return fmt.Sprintf("write %s:(%d bytes)", o.path, len(o.content)) }

// appendLine adds a line to a file, which gets a newline at its end first if
// it has none.
type appendLine struct{ path, line string }

func parseAppendLine(arg string) (Operation, error) {
	path, line, err := cutPath(arg)
	return appendLine{path, line}, err
}

func (o appendLine) Apply(ctx context.Context, e *Editor) error {
	text, err := e.ReadFile(ctx, o.path, MaxText)
	if err != nil {
		return err
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	return e.WriteFile(ctx, o.path, append(text, o.line+"\n"...), newText)
}

func (o appendLine) String() string {
	return fmt.Sprintf("append-line %s:(%d bytes)", o.path, len(o.line))
}

// remove is "delete": rm -rf with a pattern.
type remove struct{ pattern string }

func parseDelete(arg string) (Operation, error) {
	if arg == "" {
		return nil, errors.New("delete what?")
	}
	return remove{arg}, checkPath(arg)
}

func (o remove) Apply(ctx context.Context, e *Editor) error {
	found, err := e.Glob(ctx, o.pattern)
	if err != nil {
		return err
	}
	for _, path := range found {
		if err := e.RemoveAll(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func (o remove) String() string { return "delete " + o.pattern }

// mkdir is mkdir -p.
type mkdir struct{ path string }

func parseMkdir(arg string) (Operation, error) { return mkdir{arg}, checkPath(arg) }

func (o mkdir) Apply(ctx context.Context, e *Editor) error {
	return e.MkdirAll(ctx, o.path, vfs.NewNode{Mode: vfs.Dir | 0o755})
}

func (o mkdir) String() string { return "mkdir " + o.path }
