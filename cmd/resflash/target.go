package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

// A target is where a file is, or can be made: a name in a directory.
type target struct {
	address
	vol  *image.Volume
	fs   vfs.WritableFS
	dir  vfs.Attr  // the directory that the name is in
	name string    // empty for the root directory
	real string    // absolute, free of symbolic links but for the last component
	attr *vfs.Attr // nil: there is no such file
}

// target finds the place that text names. With follow, symbolic links in the
// last component are followed, also to where there is nothing yet.
func (e *editor) target(ctx context.Context, text string, follow bool) (target, error) {
	a := parseAddress(text, isHostFile)
	if !a.colon {
		if !isHostFile(a.image) {
			return target{address: a}, &exitError{exitNotFound, "", fmt.Errorf("%s: %w", text, syscall.ENOENT)}
		}
		return target{address: a}, usageError("", fmt.Errorf("%s: which file? write %s:/path", text, text))
	}
	if a.path == "" && a.volume != "" && strings.Contains(a.volume, "/") {
		return target{address: a}, usageError("a path begins with a slash: "+a.image+":/"+strings.TrimLeft(a.volume, "/"), fmt.Errorf("%s: a path must begin with a slash", text))
	}
	return e.targetAt(ctx, a, follow)
}

// targetAt is [editor.target] for an address.
func (e *editor) targetAt(ctx context.Context, a address, follow bool) (target, error) {
	at := target{address: a}
	if at.path == "" {
		at.path = "/"
	}
	var err error
	if at.vol, at.fs, err = e.volume(ctx, a); err != nil {
		return at, err
	}
	if err := at.find(ctx, follow); err != nil {
		return at, addressError(a, err)
	}
	return at, nil
}

// maxLinks is how many symbolic links are followed, as on Linux.
const maxLinks = 40

func (at *target) find(ctx context.Context, follow bool) error {
	path := at.path
	for range maxLinks {
		trimmed := strings.TrimRight(path, "/")
		cut := strings.LastIndexByte(trimmed, '/')
		dir, name := trimmed[:cut+1], trimmed[cut+1:]
		if name == "" || name == "." || name == ".." {
			// Not a name that can be made or taken away.
			real, attr, err := at.vol.Tree.RealPath(ctx, path)
			if err != nil {
				return err
			}
			at.real, at.dir, at.attr = real, attr, &attr
			if at.name = filepath.Base(real); real == "/" {
				at.name = ""
			} else if at.dir, err = at.vol.Tree.Resolve(ctx, real+"/.."); err != nil {
				return err
			}
			return nil
		}
		real, attr, err := at.vol.Tree.RealPath(ctx, dir)
		if err != nil {
			return err
		}
		if !attr.Mode.IsDir() {
			return syscall.ENOTDIR
		}
		at.dir, at.name, at.real, at.attr = attr, name, joinPath(real, name), nil
		found, err := at.fs.Lookup(ctx, attr.Ino, name)
		switch {
		case errors.Is(err, syscall.ENOENT):
			return nil
		case err != nil:
			return err
		}
		if at.attr = &found; !found.Mode.IsSymlink() || !follow && trimmed == path {
			if trimmed != path && !found.Mode.IsDir() {
				return syscall.ENOTDIR
			}
			return nil
		}
		target, err := at.fs.Readlink(ctx, found.Ino)
		if err != nil {
			return err
		}
		if strings.HasPrefix(target, "/") {
			path = target
		} else {
			path = joinPath(real, target)
		}
	}
	return syscall.ELOOP
}

// need finds the file that text names, which must be there.
func (e *editor) need(ctx context.Context, text string, follow bool) (target, error) {
	at, err := e.target(ctx, text, follow)
	if err == nil && at.attr == nil {
		err = at.error(syscall.ENOENT)
	}
	return at, err
}

// name finds the place that text names and nothing else: to be taken away. A
// slash behind a symbolic link would mean where it leads.
func (e *editor) name(ctx context.Context, text string) (target, error) {
	at, err := e.target(ctx, text, false)
	if err != nil || at.attr == nil || !at.slash() || at.name == "" {
		return at, err
	}
	link, err := at.vol.Tree.ResolveLink(ctx, strings.TrimRight(at.path, "/"))
	if err == nil && link.Mode.IsSymlink() {
		err = syscall.ENOTDIR
	}
	return at, at.error(err)
}

// slash reports whether the address says by a slash at its end that it is
// about a directory.
func (at target) slash() bool { return strings.HasSuffix(at.path, "/") }

// error puts the address in front of what is wrong at a place.
func (at target) error(err error) error {
	if err == nil {
		return nil
	}
	var host *fs.PathError
	if errors.As(err, &host) && (host.Op == "write" || host.Op == "fallocate") {
		// The image, or its journal, could not be written: it is no file of it
		// that has no room.
		return &exitError{exitHost, "", fmt.Errorf("%s: %w", at.text, err)}
	}
	err = addressError(at.address, err)
	var limit *vfs.LimitError
	switch {
	case errors.As(err, &limit):
	case errors.Is(err, syscall.EPERM):
		return &exitError{exitFailure, "a file flag may forbid it: resflash chflags takes it away", err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &exitError{exitFull, "", fmt.Errorf("%w: volume %s is full", err, at.vol.Partition.ID)}
	}
	return err
}

// at is the place of another file in the same volume.
func (at target) at(real string, attr *vfs.Attr) target {
	at.address.text = at.sibling(real)
	at.path, at.real, at.attr = real, real, attr
	at.name = real[strings.LastIndexByte(real, '/')+1:]
	return at
}

func joinPath(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }
