package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

type lnCmd struct {
	Symbolic bool     `short:"s" help:"Make symbolic links; TARGET is any text."`
	Force    bool     `short:"f" help:"Replace a file that bears the name."`
	NoDeref  bool     `short:"n" name:"no-dereference" help:"A link to a directory in the last place is replaced (-f), not entered."`
	Owner    string   `default:"0:0" placeholder:"UID:GID" help:"Owner and group of a symbolic link (0:0)."`
	Files    []string `arg:"" name:"target" help:"What to link to (several only if a directory follows), and in the end the new name or a directory, as IMAGE:/path."`
	editFlags
}

// Help is the long help text.
func (*lnCmd) Help() string {
	return addressHelp + editHelp + `

A hard link is another name in the same volume, of a file that is named as IMAGE:/path
as well. The target of a symbolic link is stored as it is given.

	resflash ln disk.img:/usr/bin/vi disk.img:/usr/bin/ex
	resflash ln -s ../usr/share/zoneinfo/UTC disk.img:/etc/localtime` + exitStatus
}

// Run makes the links.
func (c *lnCmd) Run(ctx context.Context, w *world) error {
	last := len(c.Files) - 1
	if last < 1 {
		return usageError("resflash help ln", errors.New("ln wants a target and a name for the link"))
	}
	targets, dest := c.Files[:last], c.Files[last]
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		into, isDir, err := e.destination(ctx, dest, !c.NoDeref)
		if err != nil {
			return err
		}
		if !isDir && len(targets) > 1 {
			return into.error(syscall.ENOTDIR)
		}
		for _, text := range targets {
			at := into
			if isDir {
				name := path.Base(text)
				if !c.Symbolic {
					name = path.Base(parseAddress(text, isHostFile).path)
				}
				if at, err = e.in(ctx, into, name); err != nil {
					return err
				}
			}
			if err := c.one(ctx, e, text, at); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *lnCmd) one(ctx context.Context, e *editor, text string, at target) error {
	if c.Symbolic {
		if err := c.replace(ctx, e, at); err != nil {
			return err
		}
		if c.Force {
			at.attr = nil
		}
		_, err := e.create(ctx, at, c.Owner, vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: text})
		return err
	}
	if a := parseAddress(text, isHostFile); !a.colon {
		return usageError("a hard link has its target in the same volume; -s makes a symbolic link", fmt.Errorf("%s: which file? write IMAGE:/path", text))
	}
	file, err := e.need(ctx, text, false)
	switch {
	case err != nil:
		return err
	case file.vol != at.vol:
		return &exitError{exitUsage, "a hard link has its target in the same volume", at.error(syscall.EXDEV)}
	case file.attr.Mode.IsDir():
		return &exitError{exitUsage, "ln -s links to directories", file.error(syscall.EISDIR)}
	case at.attr != nil && at.attr.Ino == file.attr.Ino:
		return nil
	case at.attr == nil && at.slash():
		return at.error(syscall.ENOENT)
	}
	if err := c.replace(ctx, e, at); err != nil {
		return err
	}
	if _, err := at.fs.Link(ctx, file.attr.Ino, at.dir.Ino, at.name); err != nil {
		return at.error(err)
	}
	e.did(at, "link", change{To: file.real})
	return nil
}

// replace takes away what bears the new name, if that was asked for.
func (c *lnCmd) replace(ctx context.Context, e *editor, at target) error {
	switch {
	case at.attr == nil:
		return nil
	case !c.Force:
		return at.error(syscall.EEXIST)
	case at.attr.Mode.IsDir():
		return at.error(syscall.EISDIR)
	}
	return e.removeOne(ctx, at)
}

// destination finds where something is to be put: in a directory, or at a
// name. follow says whether a symbolic link to a directory is one.
func (e *editor) destination(ctx context.Context, text string, follow bool) (at target, isDir bool, err error) {
	if at, err = e.target(ctx, text, false); err != nil || at.attr == nil {
		return at, false, err
	}
	if at.attr.Mode.IsDir() {
		return at, true, nil
	}
	if follow && at.attr.Mode.IsSymlink() {
		if real, attr, err := at.vol.Tree.RealPath(ctx, at.path); err == nil && attr.Mode.IsDir() {
			return at.at(real, &attr), true, nil
		}
	}
	return at, false, nil
}

// in finds the place called name in a directory.
func (e *editor) in(ctx context.Context, dir target, name string) (target, error) {
	at := dir.at(joinPath(dir.real, name), nil)
	at.dir = *dir.attr
	attr, err := at.fs.Lookup(ctx, dir.attr.Ino, name)
	if errors.Is(err, syscall.ENOENT) {
		return at, nil
	}
	if err != nil {
		return at, at.error(err)
	}
	at.attr = &attr
	return at, nil
}
