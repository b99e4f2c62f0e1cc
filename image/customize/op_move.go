package customize

import (
	"context"
	"errors"
	"path"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
)

// move is mv: into a directory, if the destination is one.
type move struct{ from, to string }

func parseMove(arg string) (Operation, error) {
	from, to, err := cutPath(arg)
	if err == nil {
		err = checkPath(to)
	}
	return move{from, to}, err
}

func (o move) Apply(ctx context.Context, e *Editor) error {
	to, err := e.into(ctx, o.to, path.Base(o.from))
	if err != nil {
		return err
	}
	if err = e.Rename(ctx, o.from, to); !errors.Is(err, syscall.EXDEV) {
		return err
	}
	if err := e.copyTree(ctx, o.from, to); err != nil {
		return pathError("move", o.from, err)
	}
	return e.RemoveAll(ctx, o.from)
}

func (o move) String() string { return "move " + o.from + ":" + o.to }

// into is the path that a file called name gets if it is put at dest: in it,
// if it is a directory.
func (e *Editor) into(ctx context.Context, dest, name string) (string, error) {
	attr, err := e.Stat(ctx, dest)
	switch {
	case err == nil && attr.Mode.IsDir():
		return strings.TrimRight(dest, "/") + "/" + name, nil
	case err == nil || missing(err) && !strings.HasSuffix(dest, "/"):
		return dest, nil
	}
	return "", err
}

// copyTree copies a file with everything below it to another volume.
func (e *Editor) copyTree(ctx context.Context, old, new string) error {
	from, err := e.find(ctx, old, false)
	if err != nil {
		return err
	}
	to, err := e.change(ctx, new, false)
	switch {
	case err != nil:
		return err
	case to.attr != nil && to.attr.Mode.IsDir():
		return syscall.EEXIST
	}
	if err := e.unmounted(from); err != nil {
		return err
	}
	if err := e.log.touchMove(ctx, from, to); err != nil {
		return err
	}
	_, err = populate.CopyTree(ctx, to.vol.w, vfs.NewTree(from.vol.fs), from.own, to.dir, to.name, populate.Options{Path: path.Dir(to.own)})
	return err
}
