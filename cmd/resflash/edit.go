package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	written bool           // the image was just written, and is nobody's yet
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
	d, err := e.w.openEdit(ctx, name, image.EditOptions{Atomic: true, DryRun: e.flags.DryRun, Output: e.flags.Output, New: e.written})
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
		if r, ok := fsys.(vfs.Recovered); ok && r.Recovered() != "" {
			e.w.note("%s: volume %s: %s", a.image, p.ID, r.Recovered())
		}
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

// setClock makes "now" what SOURCE_DATE_EPOCH says, if it says something, and
// what is random follow from it: the same command then gives the same bytes.
func setClock(fsys vfs.FS) error {
	epoch, ok, err := sourceDateEpoch()
	if err != nil || !ok {
		return err
	}
	if c, ok := fsys.(vfs.Clocked); ok {
		c.SetClock(fixedClock(epoch))
	}
	if s, ok := fsys.(vfs.Seeded); ok {
		s.SetSeed(uint64(epoch.Unix()))
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
