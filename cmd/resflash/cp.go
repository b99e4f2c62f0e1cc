package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/export"
)

type cpCmd struct {
	Recursive bool     `short:"r" help:"Directories with everything in them, and symbolic links as they are."`
	Archive   bool     `short:"a" help:"The same as -r."`
	NoClobber bool     `short:"n" help:"Leave files alone that exist; each is an error."`
	NoOwner   bool     `help:"Do not give copies their owners even when root."`
	Paths     []string `arg:"" name:"path" help:"IMAGE:/path or IMAGE:VOLUME:/path, and in the end a file or directory of the host."`
}

// Help is the long help text.
func (*cpCmd) Help() string {
	return addressHelp + `

Copies keep modes, times, symbolic and hard links, holes, FIFOs, sockets, user
extended attributes and ACLs; when root also owners, devices and all extended
attributes. Set-id bits are kept only with their owner. Every file appears under
its name when it is complete. Existing files are replaced, but no symbolic link of
the host is replaced or followed, so that no image can lead a copy elsewhere. A
file that fails is reported, and the rest is copied.

	resflash cp disk.img:/etc/fstab .
	resflash cp -r disk.img:/etc disk.img:cfg:/ saved/
	resflash cp -r disk.img:/etc/. etc-of-the-image` + exitStatus
}

// Run copies.
func (c *cpCmd) Run(ctx context.Context, w *world) error {
	c.Recursive = c.Recursive || c.Archive
	last := len(c.Paths) - 1
	if last < 1 {
		return usageError("resflash help cp", errors.New("cp wants at least one source and a destination"))
	}
	sources, dest := c.Paths[:last], c.Paths[last]
	isDir := isHostDir(dest)
	if !isDir {
		if a := parseAddress(dest, isHostFile); a.colon && isHostFile(a.image) {
			return &exitError{exitNotSupported, "", fmt.Errorf("%s: writing to an image is not supported", dest)}
		}
		if len(sources) > 1 || strings.HasSuffix(dest, "/") && !c.Recursive {
			return &exitError{exitNotFound, "", fmt.Errorf("%s: no such directory", dest)}
		}
	}
	bar := w.progress("copied", 0)
	var sum export.Copied
	for _, text := range sources {
		done, err := c.one(ctx, w, text, dest, isDir, bar)
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

func (c *cpCmd) one(ctx context.Context, w *world, text, dest string, isDir bool, bar *progress) (export.Copied, error) {
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
		dir, name = dest, path.Base(f.path)
		// "dir/." and "/" are the contents of a directory, not a directory.
		if trimmed := strings.TrimRight(f.path, "/"); trimmed == "" || strings.HasSuffix(trimmed, "/.") || strings.HasSuffix(trimmed, "/..") {
			name = "."
		}
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
