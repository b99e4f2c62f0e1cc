package image

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

// A Partition is a range of the disk that can hold a file system.
type Partition struct {
	ID      string   // as people type it: "d", "p1", "whole"; "p4.a" where letters alone are ambiguous
	Aliases []string // other ids of the same range
	Start   int64    // bytes from the start of the image
	Size    int64    // bytes, as the table says
	Table   *part.Table
	Entry   *part.Entry // nil for "whole"
	Role    string      // "root", "inactive", "cfg", "mbr", "efi", "swap", …; see Disk.Layout
	Content Content

	disk      *Disk
	dev       blockio.Device
	formatted bool // in the transaction that is going on

	once   sync.Once
	volume *Volume
	err    error

	editOnce sync.Once
	edit     *Volume
	editErr  error
}

// A Volume is the file system in a partition.
type Volume struct {
	Partition *Partition
	FS        vfs.FS
	Tree      *vfs.Tree
}

// The reasons why a partition has no volume, beside damage.
var (
	ErrEmpty   = errors.New("empty: no file system, only zeros")
	ErrUnknown = errors.New("unknown content: no file system that resflash knows")
	ErrSwap    = errors.New("swap space, not a file system")
)

// Device is the partition's part of the disk. Where the image is shorter than
// the table says, so is the device.
func (p *Partition) Device() blockio.Device { return p.dev }

// Disk is the disk the partition is on.
func (p *Partition) Disk() *Disk { return p.disk }

// Truncated reports whether the image ends before the partition does.
func (p *Partition) Truncated() bool { return p.dev.Size() < p.Size }

// recognise makes the device and finds out what is on it.
func (p *Partition) recognise() {
	size := p.disk.Size()
	start := min(max(p.Start, 0), size)
	dev, err := blockio.NewSection(p.disk.dev, start, min(p.Size, size-start))
	if err != nil {
		panic("bug: partition section: " + err.Error())
	}
	p.dev = dev
	if dev.Size() == 0 && p.Size > 0 {
		p.Content = Content{Kind: KindUnknown, Err: vfs.Corruptf(p.Start, "partition "+p.ID,
			"lies behind the end of the image, which is truncated to %d bytes", size)}
		return
	}
	p.Content = recognise(dev, p.Entry)
}

// Volume opens the file system, once; later calls return the same. What is not
// a file system is [ErrEmpty], [ErrSwap], [ErrUnknown] or a
// *vfs.NotSupportedError that names it.
func (p *Partition) Volume(ctx context.Context) (*Volume, error) {
	p.once.Do(func() {
		fsys, err := p.open(ctx)
		if err != nil {
			p.err = fmt.Errorf("volume %s: %w", p.ID, err)
			return
		}
		p.volume = &Volume{Partition: p, FS: fsys, Tree: vfs.NewTree(fsys)}
	})
	return p.volume, p.err
}

func (p *Partition) open(ctx context.Context) (vfs.FS, error) {
	c := p.Content
	switch c.Kind {
	case KindFilesystem:
		fsys, err := c.Driver.Open(ctx, p.dev)
		if err != nil && p.Truncated() {
			err = fmt.Errorf("%w; the image ends %d bytes before the partition does: it is truncated",
				err, p.Size-p.dev.Size())
		}
		return fsys, err
	case KindEmpty:
		return nil, ErrEmpty
	case KindSwap:
		return nil, ErrSwap
	case KindUnsupported:
		return nil, &vfs.NotSupportedError{What: c.Type, Off: c.Off}
	}
	switch {
	case c.Err != nil:
		return nil, c.Err
	case p.Truncated():
		return nil, fmt.Errorf("%w; the image ends %d bytes before the partition does: it is truncated",
			ErrUnknown, p.Size-p.dev.Size())
	}
	return nil, ErrUnknown
}

// identity returns the UUID and label of what is in the partition, empty where
// it has none or cannot be opened.
func (p *Partition) identity(ctx context.Context) (uuid, label string) {
	if p.Content.Kind != KindFilesystem {
		return p.Content.UUID, p.Content.Label
	}
	v, err := p.Volume(ctx)
	if err != nil {
		return "", ""
	}
	info := v.FS.Info()
	return info.UUID, info.Label
}
