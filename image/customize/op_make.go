package customize

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// mkdir is mkdir -p.
type mkdir struct{ path string }

func parseMkdir(arg string) (Operation, error) { return mkdir{arg}, checkPath(arg) }

func (o mkdir) Apply(ctx context.Context, e *Editor) error {
	return e.MkdirAll(ctx, o.path, vfs.NewNode{Mode: vfs.Dir | 0o755})
}

func (o mkdir) String() string { return "mkdir " + o.path }

// touch sets times, or makes an empty file.
type touch struct{ path string }

func parseTouch(arg string) (Operation, error) { return touch{arg}, checkPath(arg) }

func (o touch) Apply(ctx context.Context, e *Editor) error {
	there, err := e.Exists(ctx, o.path)
	switch {
	case err != nil:
		return err
	case !there:
		return e.WriteFile(ctx, o.path, nil, newText)
	}
	return e.Chtimes(ctx, o.path, e.Now())
}

func (o touch) String() string { return "touch " + o.path }

// truncate sets the size of a file.
type truncate struct {
	path string
	size int64
}

func parseTruncate(arg string) (Operation, error) {
	path, text, err := cutPath(arg)
	if err != nil {
		return truncate{path: arg}, checkPath(arg)
	}
	size, err := parseSize(text)
	return truncate{path, size}, err
}

func (o truncate) Apply(ctx context.Context, e *Editor) error {
	if _, _, err := e.Open(ctx, o.path); err != nil {
		return err
	}
	return e.Truncate(ctx, o.path, o.size)
}

func (o truncate) String() string { return fmt.Sprintf("truncate %s:%d", o.path, o.size) }

// parseSize reads a number of bytes, or of KiB, MiB, GiB: 4096, 4K, 1M.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMG")
	shift := 0
	if unit := s[len(digits):]; unit != "" {
		shift = 10 * (strings.Index("KMG", unit) + 1)
		if len(unit) > 1 {
			shift = 0
			digits = s
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("size %q: want a number of bytes, with K, M or G behind it if need be", s)
	}
	return n << shift, nil
}

// mknod makes a device or FIFO.
type mknod struct {
	path string
	node vfs.NewNode
	text string
}

func parseMknod(arg string) (Operation, error) {
	o := mknod{text: arg}
	modeText, rest, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	mode, err := vfs.ParseModeChange(modeText)
	if err != nil {
		return nil, err
	}
	typ, rest, err := cutArg(rest)
	if err != nil {
		return nil, err
	}
	switch typ {
	case "b":
		o.node.Mode = vfs.Block
	case "c", "u":
		o.node.Mode = vfs.Char
	case "p":
		o.node.Mode = vfs.FIFO
	default:
		return nil, fmt.Errorf("type %q: want b, c or p", typ)
	}
	if typ != "p" {
		for _, n := range []*uint32{&o.node.Rdev.Major, &o.node.Rdev.Minor} {
			var text string
			if text, rest, err = cutArg(rest); err != nil {
				return nil, errors.New("a device has a major and a minor number")
			}
			v, err := strconv.ParseUint(text, 0, 32)
			if err != nil {
				return nil, fmt.Errorf("device number %q is no number", text)
			}
			*n = uint32(v)
		}
	}
	o.node.Mode |= mode.Apply(o.node.Mode | 0o666)
	o.path = rest
	return o, checkPath(rest)
}

func (o mknod) Apply(ctx context.Context, e *Editor) error { return e.Create(ctx, o.path, o.node) }

func (o mknod) String() string { return "mknod " + o.text }
