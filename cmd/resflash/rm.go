package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

type rmCmd struct {
	Recursive bool     `short:"r" aliases:"R" help:"Directories with everything in them."`
	Force     bool     `short:"f" help:"Do not mind files that do not exist."`
	Dir       bool     `short:"d" help:"Empty directories, too."`
	Files     []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*rmCmd) Help() string {
	return addressHelp + editHelp + `

A symbolic link is removed itself, never what it points to. The root directory is
never removed. Files that a flag protects (schg, uchg) are not removed before
"resflash chflags" has taken it away.

	resflash rm disk.img:/etc/rc.conf.local
	resflash rm -r disk.img:/usr/share/man disk.img:/usr/games --dry-run` + exitStatus
}

// Run removes the files.
func (c *rmCmd) Run(ctx context.Context, w *world) error {
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		for _, text := range c.Files {
			if err := c.one(ctx, e, text); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *rmCmd) one(ctx context.Context, e *editor, text string) error {
	at, err := e.name(ctx, text)
	missing := at.attr == nil && (err == nil || errors.Is(err, syscall.ENOENT) && at.vol != nil)
	switch {
	case missing && c.Force:
		return nil
	case err != nil:
		return err
	case missing:
		return at.error(syscall.ENOENT)
	case at.name == "":
		return usageError("name what is in it", fmt.Errorf("%s: will not remove the root directory", text))
	}
	if last := at.path[strings.LastIndexByte(strings.TrimRight(at.path, "/"), '/')+1:]; strings.Trim(last, "/.") == "" {
		return usageError("", fmt.Errorf("%s: will not remove what . or .. stands for", text))
	}
	if at.attr.Mode.IsDir() && !c.Recursive && !c.Dir {
		return &exitError{exitUsage, "rm -r removes directories", at.error(syscall.EISDIR)}
	}
	if at.attr.Mode.IsDir() && !c.Recursive {
		return e.removeOne(ctx, at)
	}
	return e.remove(ctx, at, 0)
}

// maxDepth is how deep directories lie below each other that are removed or
// copied.
const maxDepth = 4096

// remove takes a file away, with everything below it.
func (e *editor) remove(ctx context.Context, at target, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !at.attr.Mode.IsDir() {
		return e.removeOne(ctx, at)
	}
	if depth > maxDepth {
		return at.error(syscall.ENAMETOOLONG)
	}
	list, err := at.vol.Tree.List(ctx, at.attr.Ino)
	if err != nil {
		return at.error(err)
	}
	for _, entry := range list {
		attr, err := at.fs.Getattr(ctx, entry.Ino)
		child := at.at(joinPath(at.real, entry.Name), &attr)
		if err != nil {
			return child.error(err)
		}
		child.dir = *at.attr
		if err := e.remove(ctx, child, depth+1); err != nil {
			return err
		}
	}
	return e.removeOne(ctx, at)
}

// removeOne takes a name away, or an empty directory.
func (e *editor) removeOne(ctx context.Context, at target) error {
	remove := at.fs.Unlink
	if at.attr.Mode.IsDir() {
		remove = at.fs.Rmdir
	}
	if err := remove(ctx, at.dir.Ino, at.name); err != nil {
		return at.error(err)
	}
	e.did(at, "remove", change{Type: typeName(at.attr.Mode)})
	return nil
}
