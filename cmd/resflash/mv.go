package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/export"
)

type mvCmd struct {
	Force     bool     `short:"f" help:"Replace files that exist; that is so anyway."`
	NoClobber bool     `short:"n" help:"Leave files alone that exist."`
	Owner     string   `placeholder:"UID:GID" xor:"owner" help:"From the host: whom the files belong to in the image (0:0)."`
	KeepOwner bool     `xor:"owner" help:"From the host: the files belong to the numbers that the originals do."`
	Paths     []string `arg:"" name:"path" help:"What to move, and in the end a new name or a directory, as for cp."`
	editFlags
}

// Help is the long help text.
func (*mvCmd) Help() string {
	return addressHelp + editHelp + `

Within a volume files are renamed. Between volumes, images and the host they are copied
as cp -a does, and then removed where they were: a file is never gone before its copy is
committed. Each image is one transaction of its own.

	resflash mv disk.img:/etc/rc.local disk.img:/etc/rc.local.old
	resflash mv disk.img:d:/var/backups disk.img:cfg:/
	resflash mv new.conf disk.img:/etc/
	resflash mv disk.img:/bsd.booted .` + exitStatus
}

// Run moves the files.
func (c *mvCmd) Run(ctx context.Context, w *world) error {
	last := len(c.Paths) - 1
	if last < 1 {
		return usageError("resflash help mv", errors.New("mv wants at least one source and a destination"))
	}
	sources, dest := c.Paths[:last], c.Paths[last]
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		if !isAddress(dest) {
			return c.moveOut(ctx, e, sources, dest)
		}
		into, isDir, err := e.destination(ctx, dest, true)
		if err != nil {
			return err
		}
		if !isDir && len(sources) > 1 {
			return &exitError{exitNotFound, "", fmt.Errorf("%s: no such directory", dest)}
		}
		job := newCopying(e, &cpCmd{Recursive: true, Preserve: true, Owner: c.Owner, KeepOwner: c.KeepOwner})
		defer job.end()
		for _, text := range sources {
			if !isAddress(text) {
				if err := (&source{text: text}).onHost(true); err != nil {
					return err
				}
			}
		}
		for _, text := range sources {
			if err := c.moveIn(ctx, e, job, text, into, isDir); err != nil {
				return err
			}
		}
		return nil
	})
}

// moveIn moves what text names into a directory of an image, or to a place.
func (c *mvCmd) moveIn(ctx context.Context, e *editor, job *copying, text string, into target, isDir bool) error {
	var from target
	src := source{text: text}
	if isAddress(text) {
		var err error
		if from, err = c.original(ctx, e, text); err != nil {
			return err
		}
		src.vol, src.path, src.dir, src.in = from.vol.Tree, from.real, from.attr.Mode.IsDir(), from.address
		src.name = from.name
	} else {
		if err := src.onHost(true); err != nil {
			return err
		}
		if src.name == "." {
			return usageError("name the files in it", fmt.Errorf("%s: cannot be moved", text))
		}
	}
	at := into
	if respelled := src.vol != nil && from.vol == into.vol && into.attr != nil && into.attr.Ino == from.attr.Ino &&
		into.dir.Ino == from.dir.Ino && into.name != from.name; isDir && !respelled {
		var err error
		if at, err = e.in(ctx, into, src.name); err != nil {
			return err
		}
	}
	if at.attr != nil && c.NoClobber {
		e.w.note("%s: exists, left alone", at.text)
		return nil
	}
	if src.vol != nil && from.vol == at.vol {
		return c.rename(ctx, e, from, at)
	}
	if err := c.clear(ctx, at, src.dir); err != nil {
		return err
	}
	if err := job.copy(ctx, src, at); err != nil {
		return err
	}
	if src.vol != nil {
		return e.remove(ctx, from, 0)
	}
	e.after = append(e.after, func() error {
		if err := os.RemoveAll(src.path); err != nil {
			return hostError(fmt.Errorf("%s is in the image now, and could not be removed here: %w", text, leaf(err)))
		}
		return nil
	})
	return nil
}

// original finds a file of an image that is to be moved.
func (c *mvCmd) original(ctx context.Context, e *editor, text string) (target, error) {
	from, err := e.name(ctx, text)
	switch {
	case err != nil:
		return from, err
	case from.attr == nil:
		return from, from.error(syscall.ENOENT)
	case from.name == "":
		return from, usageError("", fmt.Errorf("%s: the root directory cannot be moved", text))
	}
	return from, nil
}

// rename moves a file within its volume.
func (c *mvCmd) rename(ctx context.Context, e *editor, from, at target) error {
	switch {
	case at.name == "":
		return at.error(syscall.EBUSY)
	case at.slash() && !from.attr.Mode.IsDir():
		return at.error(syscall.ENOTDIR)
	}
	if at.attr != nil && at.attr.Ino == from.attr.Ino && from.real != at.real && from.attr.Nlink > 1 && !from.attr.Mode.IsDir() {
		return e.removeOne(ctx, from) // two names of one file: rename(2) would leave both
	}
	if err := at.fs.Rename(ctx, from.dir.Ino, from.name, at.dir.Ino, at.name, 0); err != nil {
		if errors.Is(err, syscall.EINVAL) {
			return from.error(fmt.Errorf("cannot be moved below itself: %w", err))
		}
		return at.error(err)
	}
	e.did(from, "rename", change{Type: typeName(from.attr.Mode), To: at.real})
	return nil
}

// clear refuses to replace what rename(2) would not replace.
func (c *mvCmd) clear(ctx context.Context, at target, dir bool) error {
	switch {
	case at.attr == nil && at.slash() && !dir:
		return at.error(syscall.ENOTDIR)
	case at.attr == nil:
		return nil
	case at.attr.Mode.IsDir() && !dir:
		return at.error(syscall.EISDIR)
	case !at.attr.Mode.IsDir() && dir:
		return at.error(syscall.ENOTDIR)
	case dir:
		list, err := at.vol.Tree.List(ctx, at.attr.Ino)
		if err == nil && len(list) > 0 {
			err = syscall.ENOTEMPTY
		}
		return at.error(err)
	}
	return nil
}

// moveOut moves files to the host.
func (c *mvCmd) moveOut(ctx context.Context, e *editor, sources []string, dest string) error {
	isDir := isHostDir(dest)
	if !isDir && len(sources) > 1 {
		return &exitError{exitNotFound, "", fmt.Errorf("%s: no such directory", dest)}
	}
	bar := e.w.progress("copied", 0)
	defer bar.end()
	for _, text := range sources {
		if !isAddress(text) {
			return usageError("", fmt.Errorf("neither %s nor %s is in an image", text, dest))
		}
		from, err := c.original(ctx, e, text)
		if err != nil {
			return err
		}
		dir, name := filepath.Split(strings.TrimRight(dest, "/"))
		if isDir {
			dir, name = dest, from.name
		}
		if dir == "" {
			dir = "."
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil && c.NoClobber {
			e.w.note("%s: exists, left alone", filepath.Join(dir, name))
			continue
		}
		if !c.DryRun {
			if err := c.take(ctx, from, dir, name, bar); err != nil {
				return err
			}
		}
		if err := e.remove(ctx, from, 0); err != nil {
			return err
		}
	}
	return nil
}

// take copies a file to the host. What cannot be kept in full is not moved.
func (c *mvCmd) take(ctx context.Context, from target, dir, name string, bar *progress) error {
	root := os.Geteuid() == 0
	done, err := export.Copy(ctx, from.vol.Tree, from.real, dir, name, export.CopyOptions{
		Options: export.Options{
			Problem: func(path string, err error) error {
				return fmt.Errorf("%s: %w", from.sibling(path), leaf(copyError(err)))
			},
			Progress: bar.add,
		},
		Owners: root, AllXattrs: root,
	})
	switch {
	case err != nil:
		return err
	case done.Devices > 0:
		return hostError(fmt.Errorf("%s: %s: only root may make them here", from.text, plural(int(done.Devices), "device node", "device nodes")))
	}
	return nil
}
