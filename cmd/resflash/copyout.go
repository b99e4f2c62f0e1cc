package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/export"
)

// copyOut copies to the host.
func (c *cpCmd) copyOut(ctx context.Context, w *world, sources []string, dest string) error {
	isDir := isHostDir(dest)
	if !isDir && (len(sources) > 1 || strings.HasSuffix(dest, "/") && !c.Recursive) {
		return &exitError{exitNotFound, "", fmt.Errorf("%s: no such directory", dest)}
	}
	bar := w.progress("copied", 0)
	var sum export.Copied
	for _, text := range sources {
		done, err := c.oneOut(ctx, w, text, dest, isDir, bar)
		sum.Devices += done.Devices
		sum.Owners += done.Owners
		sum.Xattrs += done.Xattrs
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			bar.end()
			w.fail(err)
		}
	}
	bar.end()
	if sum.Devices > 0 {
		w.note("%s left out: only root may make them", plural(int(sum.Devices), "device node", "device nodes"))
	}
	if sum.Owners > 0 {
		w.note("%s kept the owner of the one who copies: the host refused to change it", plural(int(sum.Owners), "file", "files"))
	}
	if sum.Xattrs > 0 {
		w.note("%s left out: the host refused them", plural(int(sum.Xattrs), "extended attribute", "extended attributes"))
	}
	return w.done()
}

func isHostDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

func (c *cpCmd) oneOut(ctx context.Context, w *world, text, dest string, isDir bool, bar *progress) (export.Copied, error) {
	f, err := w.file(ctx, text, c.Recursive)
	if err != nil {
		return export.Copied{}, err
	}
	if !f.colon {
		return export.Copied{}, usageError("", fmt.Errorf("%s: which file? write %s:/path", text, text))
	}
	if f.attr.Mode.IsDir() && !c.Recursive {
		return export.Copied{}, &exitError{exitUsage, "cp -r copies directories", addressError(f.address, syscall.EISDIR)}
	}
	dir, name := filepath.Split(strings.TrimRight(dest, "/"))
	if isDir {
		dir, name = dest, contentsName(f.path)
	}
	if dir == "" {
		dir = "."
	}
	root := os.Geteuid() == 0
	opt := export.CopyOptions{
		Options: export.Options{
			Problem: func(path string, err error) error {
				bar.end()
				return w.problem(f.address)(path, copyError(err))
			},
			Progress: bar.add,
		},
		NoClobber: c.NoClobber, Owners: root && !c.NoOwner, AllXattrs: root,
	}
	done, err := export.Copy(ctx, f.vol.Tree, f.real, dir, name, opt)
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Path == dir {
		err = &exitError{exitHost, "", fmt.Errorf("%s: %w", dir, pe.Err)}
	}
	return done, err
}

// copyError gives the errors of the host their exit code: without it "no such
// file" would read as if the image lacked one.
func copyError(err error) error {
	switch exitCode(err) {
	case exitFailure, exitNotFound:
		return hostError(err)
	}
	return err
}
