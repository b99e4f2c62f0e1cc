package image

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/resflash/resflash/image/vfs"
)

// DriverFor returns the driver of a file system type as people write it: the
// name of a driver ("ffs") or one of the types that it makes ("ffs2"). It is
// nil if there is none.
func DriverFor(name string) *vfs.Driver {
	for _, d := range drivers {
		if d.Name == name || slices.Contains(d.Formats, name) {
			return d
		}
	}
	return nil
}

// FormatTypes lists the types of file systems that can be made.
func FormatTypes() []string {
	var types []string
	for _, d := range drivers {
		if d.Format != nil {
			types = append(types, d.Formats...)
		}
	}
	return types
}

// Format makes an empty file system in the partition, of a disk that was
// opened for changing. What was there is lost with the next commit. It must
// not be in use: neither Volume nor Edit may have been called. Edit may be
// called afterwards, before the commit.
func (p *Partition) Format(ctx context.Context, opt vfs.FormatOptions) error {
	tx := p.Transaction()
	d := DriverFor(opt.Type)
	switch {
	case tx == nil:
		panic("bug: format of a disk that was opened for reading")
	case d == nil || d.Format == nil || !slices.Contains(d.Formats, opt.Type):
		return &vfs.NotSupportedError{What: fmt.Sprintf("making %q file systems", opt.Type), Off: -1}
	case p.Truncated():
		return fmt.Errorf("volume %s: the image ends %d bytes before the partition does: it is truncated",
			p.ID, p.Size-p.dev.Size())
	}
	p.formatted = true
	if opt.Hidden == nil {
		hidden := uint32(min(p.Start/int64(p.dev.SectorSize()), math.MaxUint32))
		opt.Hidden = &hidden
	}
	if err := d.Format(tx, opt); err != nil {
		return fmt.Errorf("volume %s: %w", p.ID, err)
	}
	// Of what was there before, a magic number may be left where the new file
	// system has nothing. The boot blocks are no place to write zeros to: a
	// disklabel may lie there. So only what would be mistaken goes.
	for range maxMagics {
		if p.Content = recognise(p.dev, p.Entry); p.Content.Driver == d {
			return nil
		}
		if p.Content.Kind != KindUnsupported && p.Content.Kind != KindSwap {
			break
		}
		if _, err := tx.WriteAt(make([]byte, 8), p.Content.Off); err != nil {
			return fmt.Errorf("volume %s: %w", p.ID, err)
		}
	}
	return fmt.Errorf("volume %s: remains of %s would be taken for its contents: wipe it first", p.ID, p.Content.Type)
}

// maxMagics is how many magic numbers of other formats there can be.
const maxMagics = 16
