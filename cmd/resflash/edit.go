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

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// editFlags are the flags of every verb that changes an image.
type editFlags struct {
	DryRun  bool   `help:"Change nothing, only print what would be changed."`
	Output  string `short:"o" placeholder:"NEW.img" help:"Leave the image as it is: the result is NEW.img, which begins as a reflink or sparse copy."`
	Verbose bool   `short:"v" help:"Print what was changed."`
	JSON    bool   `name:"json" help:"Print what was changed as a JSON document."`
}

const editHelp = `

All that one command changes is one transaction: after an error, an interruption or
a power cut, the image is as it was before the command. A second writer is refused as
long as it runs.`

// An editor is one run of a verb that changes images. Each image is opened once
// and has one transaction; nothing is changed before [editor.commit].
type editor struct {
	w       *world
	flags   editFlags
	images  []*editedImage // in the order in which they are committed
	volumes map[*image.Partition]*image.Volume
	changes []change
	after   []func() error // what is to be done once all is committed
}

type editedImage struct {
	name string
	disk *image.Disk
	stat os.FileInfo
}

// edit runs fn, and commits what it did if it succeeds. The first error ends
// it, and then nothing has happened.
func (w *world) edit(ctx context.Context, flags editFlags, fn func(e *editor) error) error {
	if flags.DryRun && flags.Output != "" {
		return usageError("", errors.New("--dry-run writes nothing, so --output makes no sense"))
	}
	e := &editor{w: w, flags: flags, volumes: map[*image.Partition]*image.Volume{}}
	w.editor = e
	err := fn(e)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() == nil {
			w.fail(err)
		}
		e.unchanged(e.images)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return w.done()
	}
	if err := e.commit(ctx); err != nil {
		return err
	}
	return e.print()
}

// unchanged says that nothing has happened to images.
func (e *editor) unchanged(images []*editedImage) {
	for _, i := range images {
		e.w.note("%s: nothing was changed", i.name)
	}
}

// open opens an image for changing, or returns it if that was done before.
func (e *editor) open(ctx context.Context, name string) (*image.Disk, error) {
	if d := e.opened(name); d != nil {
		return d, nil
	}
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, leaf(err))
	case st.IsDir():
		return nil, usageError("", fmt.Errorf("%s: is a directory, not an image", name))
	case e.flags.Output != "" && len(e.images) > 0:
		return nil, usageError("", fmt.Errorf("--output has room for one image, and this changes %s and %s", e.images[0].name, name))
	}
	d, err := e.w.openEdit(ctx, name, image.EditOptions{Atomic: true, DryRun: e.flags.DryRun, Output: e.flags.Output})
	if err != nil {
		return nil, err
	}
	e.images = append(e.images, &editedImage{name, d, st})
	return d, nil
}

// opened returns the image called name if it is being edited, by whatever name.
func (e *editor) opened(name string) *image.Disk {
	st, err := os.Stat(name)
	if err != nil {
		return nil
	}
	for _, i := range e.images {
		if os.SameFile(st, i.stat) {
			return i.disk
		}
	}
	return nil
}

// openEdit opens an image for changing. world.close closes it.
func (w *world) openEdit(ctx context.Context, name string, edit image.EditOptions) (*image.Disk, error) {
	var opts []image.Option
	if w.sectorSize != 0 {
		opts = append(opts, image.WithSectorSize(w.sectorSize))
	}
	if edit.Output != "" {
		bar := w.progress("copied "+name, 0)
		defer bar.end()
		edit.Progress = func(done, total int64) {
			bar.total = total
			bar.add(done - bar.bytes)
		}
	}
	d, err := image.Edit(ctx, name, edit, opts...)
	if err != nil {
		return nil, editError(name, err)
	}
	w.edited = append(w.edited, d)
	switch r := d.Recovery(); {
	case r.Finished:
		w.note("%s: finished a commit that was interrupted", name)
	case r.Dropped:
		w.note("%s: a commit that was interrupted has not happened", name)
	}
	return d, nil
}

// editError gives what kept an image from being opened for changing its exit
// code and hint.
func editError(name string, err error) error {
	var pe *os.PathError
	own := errors.As(err, &pe) && pe.Path == name
	foreign := (*blockio.ForeignJournalError)(nil)
	switch {
	case errors.Is(err, blockio.ErrLocked):
		hint := "wait for it to end; reading is possible meanwhile"
		text := fmt.Errorf("%s: %w", name, blockio.ErrLocked)
		if h := lockHolder(name); h.pid != 0 {
			text = fmt.Errorf("%w: %s", text, h)
			if h.dir != "" {
				hint = "resflash umount " + h.dir
			}
		}
		return &exitError{exitLocked, hint, text}
	case errors.As(err, &foreign):
		return &exitError{exitDirty, "", err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		if own {
			err = fmt.Errorf("%s: %w", name, pe.Err)
		}
		return &exitError{exitHost, "--output NEW.img changes a copy instead", err}
	case own:
		return fmt.Errorf("%s: %w", name, pe.Err)
	}
	return err
}

// volume opens the volume that a names for changing.
func (e *editor) volume(ctx context.Context, a address) (*image.Volume, vfs.WritableFS, error) {
	d, err := e.open(ctx, a.image)
	if err != nil {
		return nil, nil, err
	}
	p, err := d.Find(ctx, a.volume)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", a.image, err)
	}
	v, err := p.Edit(ctx)
	if err != nil {
		return nil, nil, volumeEditError(a.image, p, err)
	}
	fsys, ok := v.FS.(vfs.WritableFS)
	if !ok {
		return nil, nil, fmt.Errorf("%s: volume %s: %w", a.image, p.ID, &vfs.NotSupportedError{What: "writing to " + v.FS.Info().Type, Off: -1})
	}
	if e.volumes[p] == nil {
		if err := setClock(v.FS); err != nil {
			return nil, nil, err
		}
		e.volumes[p] = v
	}
	return v, fsys, nil
}

// volumeEditError adds what can be done about a volume that must not be
// written to.
func volumeEditError(name string, p *image.Partition, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	var dirty *vfs.DirtyError
	if errors.As(err, &dirty) {
		at := name
		if p.ID != "whole" {
			at += ":" + p.ID
		}
		return &exitError{exitDirty, "resflash check --repair " + at, err}
	}
	return err
}

// setClock makes "now" what SOURCE_DATE_EPOCH says, if it says something.
func setClock(fsys vfs.FS) error {
	epoch, ok, err := sourceDateEpoch()
	if err != nil || !ok {
		return err
	}
	if c, ok := fsys.(vfs.Clocked); ok {
		c.SetClock(fixedClock(epoch))
	}
	return nil
}

// commit makes the changes of every image durable. Once it has begun, no
// interruption ends it.
func (e *editor) commit(ctx context.Context) error {
	end := e.w.waiting("saving")
	defer end()
	for n, i := range e.images {
		if err := i.disk.Commit(context.WithoutCancel(ctx)); err != nil {
			end()
			e.w.fail(fmt.Errorf("%s: %w", i.name, err))
			for _, done := range e.images[:n] {
				e.w.note("%s: was changed", done.name)
			}
			e.unchanged(e.images[n:])
			return e.w.done()
		}
	}
	e.w.signalIsEnd = len(e.images) > 0 // it came too late
	if e.flags.DryRun {
		return nil
	}
	for _, fn := range e.after {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

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
	switch {
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
