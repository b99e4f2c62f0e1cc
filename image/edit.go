package image

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// EditOptions say how an image is opened for changing.
type EditOptions struct {
	// Atomic makes all changes one transaction, which [Disk.Commit] ends: what
	// is not committed has not happened. Otherwise (a mount) every Sync of a
	// file system commits.
	Atomic bool
	// DryRun keeps every change in memory; Commit succeeds and changes nothing.
	DryRun bool
	// Output is the name of a new image that receives the result, made as a
	// copy (reflinked or sparse) of the original, which stays as it is. It
	// appears under its name when the first commit has succeeded.
	Output string
}

// Edit opens an image for changing. A second writer gets an error that wraps
// [blockio.ErrLocked]. What the disk is closed with uncommitted is discarded.
func Edit(ctx context.Context, name string, edit EditOptions, opts ...Option) (*Disk, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	lock, err := blockio.LockFile(name)
	if err != nil {
		return nil, err
	}
	file, err := blockio.OpenWritableFile(name)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	if o.sectorSize != 0 {
		file.File = file.File.WithSectorSize(o.sectorSize)
	}
	d := &Disk{name: name, file: file.File, lock: lock}
	d.session = blockio.NewSession(file, blockio.SessionOptions{Atomic: edit.Atomic})
	d.dev = d.session
	if err := d.find(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
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
func (d *Disk) Commit(ctx context.Context) error { return d.session.Commit(ctx) }

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
	return tx
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
