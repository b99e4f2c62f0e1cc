package customize

import (
	"context"
	"fmt"
	"os"
	"path"
	"syscall"

	"github.com/resflash/resflash/image/export"
)

// copyOut copies a file or a tree to a directory of the host, as it is at this
// point of the list of operations. It happens at once, and not at all in a dry
// run.
type copyOut struct{ path, local string }

func parseCopyOut(arg string) (Operation, error) {
	path, local, err := cutPath(arg)
	if err == nil && local == "" {
		local = "."
	}
	return copyOut{path, local}, err
}

func (o copyOut) Apply(ctx context.Context, e *Editor) error {
	at, err := e.find(ctx, o.path, true)
	if err != nil {
		return pathError("copy", o.path, err)
	}
	st, err := os.Stat(o.local)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s: %w", o.local, syscall.ENOTDIR)
	}
	if err != nil || e.opt.DryRun {
		return err
	}
	name := path.Base(path.Clean(o.path))
	if name == "/" {
		name = "."
	}
	done, err := export.Copy(ctx, at.vol.tree(), at.own, o.local, name, export.CopyOptions{})
	if done.Devices > 0 {
		e.note("%s: %d device nodes left out: only root may make them", o, done.Devices)
	}
	return err
}

func (o copyOut) String() string { return "copy-out " + o.path + ":" + o.local }
