package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// EditOptions say how an image is opened for changing.
type EditOptions struct {
	// Atomic makes all changes one transaction, which [Disk.Commit] ends: what
	// is not committed has not happened. Otherwise (a mount) every Sync of a
	// file system commits.
	Atomic bool
	// DryRun keeps every change beside the image; Commit succeeds and changes
	// nothing. The image need not be writable.
	DryRun bool
	// Output is the name of a new image that receives the result, made as a
	// copy (reflinked or sparse) of the original, which stays as it is. It
	// appears under its name when the first commit has succeeded.
	Output string
	// New says that the image was made a moment ago and has a name that nobody
	// knows: what is written needs no journal. An interruption leaves anything.
	New bool
	// Progress, if it is not nil, is told how far the copy for Output is.
	Progress func(done, total int64)
}

// Edit opens an image for changing. A second writer gets an error that wraps
// [blockio.ErrLocked]. A commit that was interrupted is finished first. What
// the disk is closed with uncommitted is discarded.
func Edit(ctx context.Context, name string, edit EditOptions, opts ...Option) (*Disk, error) {
	o, err := readOptions(opts)
	if err != nil {
		return nil, err
	}
	d := &Disk{name: name}
	switch {
	case edit.DryRun:
		err = d.editNothing(o, edit)
	case edit.Output != "":
		err = d.editCopy(ctx, o, edit)
	default:
		err = d.editInPlace(o, edit)
	}
	if err == nil {
		d.dev = d.session
		err = d.find(ctx)
	}
	if err != nil {
		d.Close()
		return nil, withName(name, err)
	}
	return d, nil
}

// withName names the image in an error that does not yet.
func withName(name string, err error) error {
	var path *fs.PathError
	var locked *blockio.LockedError
	if errors.As(err, &path) || errors.As(err, &locked) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// editInPlace begins a session on the image itself.
func (d *Disk) editInPlace(o options, edit EditOptions) error {
	lock, err := blockio.LockFile(d.name)
	if err != nil {
		return notWritable(d.name, err)
	}
	d.onClose(lock.Unlock)
	file, err := blockio.OpenWritableFile(d.name)
	if err != nil {
		return notWritable(d.name, err)
	}
	d.onClose(file.Close)
	if edit.New {
		d.begin(file.WithSectorSize(o.sector(file.File)), blockio.SessionOptions{Atomic: edit.Atomic, Private: true})
		return nil
	}
	journal, err := blockio.JournalOf(file.File)
	if err != nil {
		return err
	}
	if err := journal.Creatable(); err != nil {
		return err
	}
	if d.recovery, err = blockio.Recover(file, journal); err != nil {
		return err
	}
	d.begin(file.WithSectorSize(o.sector(file.File)), blockio.SessionOptions{Atomic: edit.Atomic, Journal: journal})
	return nil
}

// editNothing begins a session on an overlay. The image must not change under
// it.
func (d *Disk) editNothing(o options, edit EditOptions) error {
	base, err := d.openShared(o)
	if err != nil {
		return err
	}
	overlay := blockio.NewOverlay(base)
	d.onClose(overlay.Close)
	d.begin(overlay, blockio.SessionOptions{Atomic: edit.Atomic, Private: true})
	return nil
}

// editCopy begins a session on a copy that has no name yet.
func (d *Disk) editCopy(ctx context.Context, o options, edit EditOptions) error {
	if _, err := os.Lstat(edit.Output); err == nil {
		return &fs.PathError{Op: "create", Path: edit.Output, Err: fs.ErrExist}
	}
	share, err := blockio.ShareFile(d.name)
	if err != nil {
		return err
	}
	defer share.Unlock()
	src, err := blockio.OpenFile(d.name)
	if err != nil {
		return err
	}
	defer src.Close()
	out, err := newCopy(ctx, src, edit)
	if err != nil {
		return err
	}
	d.onClose(out.close)
	journal, err := blockio.JournalOf(out.file.File)
	if err != nil {
		return err
	}
	if journal, err = journal.RenameTo(edit.Output); err != nil {
		return err
	}
	d.begin(out.file.WithSectorSize(o.sector(src)), blockio.SessionOptions{
		Atomic: edit.Atomic, Private: true, Journal: journal,
		Publish: func() error { return out.publish(edit.Output) },
	})
	return nil
}

// begin begins the session, which is closed before what it lies on.
func (d *Disk) begin(dev blockio.Writable, opt blockio.SessionOptions) {
	d.session, d.private = blockio.NewSession(dev, opt), opt.Private
	d.onClose(d.session.Close)
}

// notWritable adds to a refusal what can be done.
func notWritable(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("no permission to write to %s (a dry run, or an output elsewhere, would not need it): %w", name, err)
	}
	return err
}

// Transaction is what the disk's changes are part of; nil if it was opened for
// reading.
func (d *Disk) Transaction() blockio.Transaction {
	if d.session == nil {
		return nil
	}
	return d.session
}

// Commit makes all changes since the last one durable, of every volume.
func (d *Disk) Commit(ctx context.Context) error {
	if d.session == nil {
		return blockio.ErrReadOnly
	}
	return d.session.Commit(ctx)
}

// Stats returns what the session has written so far; nothing if the disk was
// opened for reading.
func (d *Disk) Stats() blockio.Stats {
	if d.session == nil {
		return blockio.Stats{}
	}
	return d.session.Stats()
}

// Recovery says whether opening the disk for changing has finished a commit
// that was interrupted.
func (d *Disk) Recovery() blockio.Recovery { return d.recovery }

// Transaction is the partition's part of the disk's transaction; nil if the
// disk was opened for reading.
func (p *Partition) Transaction() blockio.Transaction {
	if p.disk.session == nil {
		return nil
	}
	at, ok := p.dev.(*blockio.Section)
	if !ok {
		panic("bug: partition without a section")
	}
	tx, err := blockio.NewTransactionSection(p.disk.session, at.Offset(), at.Size())
	if err != nil {
		panic("bug: partition transaction: " + err.Error())
	}
	if p.formatted && !p.disk.private {
		return overwriting{tx}
	}
	return tx
}

// overwriting is the transaction of a partition that got a new file system in
// it. What is free there is full of what the last commit has promised.
type overwriting struct{ *blockio.TransactionSection }

// CopyData implements [blockio.DataCopier]: nothing is fresh.
func (o overwriting) CopyData(fd int, from, n, off int64, _ bool) (int64, error) {
	return o.TransactionSection.CopyData(fd, from, n, off, false)
}

// WriteData implements [blockio.Transaction]: nothing is fresh.
func (o overwriting) WriteData(p []byte, off int64, _ bool) error {
	return o.TransactionSection.WriteData(p, off, false)
}

// Edit opens the file system for changing, once; the FS of the volume is a
// [vfs.WritableFS]. What may be read but not written to is refused with a
// *vfs.DirtyError or a *vfs.NotSupportedError. The read-only volume of the
// same partition, if one was opened before, does not see the changes.
func (p *Partition) Edit(ctx context.Context) (*Volume, error) {
	p.editOnce.Do(func() {
		fsys, err := p.openEdit(ctx)
		if err != nil {
			p.editErr = fmt.Errorf("volume %s: %w", p.ID, err)
			return
		}
		p.edit = &Volume{Partition: p, FS: fsys, Tree: vfs.NewTree(fsys)}
	})
	return p.edit, p.editErr
}

// Edited returns the volume that [Partition.Edit] has opened, or nil: whoever
// looks at a disk that is being changed wants to see that one.
func (p *Partition) Edited() *Volume { return p.edit }

func (p *Partition) openEdit(ctx context.Context) (vfs.FS, error) {
	if p.disk.session == nil {
		return nil, blockio.ErrReadOnly
	}
	if p.Content.Kind != KindFilesystem {
		return p.open(ctx) // which says why not
	}
	if p.Content.Driver.OpenWritable == nil {
		return nil, &vfs.NotSupportedError{What: "writing to " + p.Content.Driver.Name, Off: -1}
	}
	return p.Content.Driver.OpenWritable(ctx, p.Transaction())
}
