package ffs

import (
	"errors"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// searchOrder is where the kernels look for a primary superblock, and in which
// order: SBLOCKSEARCH.
var searchOrder = [...]int64{
	ondisk.SuperFFS2, ondisk.SuperFFS1, ondisk.SuperFloppy, ondisk.SuperPiggy,
}

// backupPlaces is where the copy in the first cylinder group lies for the usual
// block sizes: the first block behind the room for the primary one.
var backupPlaces = [...]int64{
	16384, 32768, 65536, // FFS1 with blocks up to 16K, 32K, 64K
	73728, 81920, 98304, 131072, // FFS2 up to 8K, 16K, 32K, 64K
}

// A candidate is a place with the magic number of a superblock.
type candidate struct {
	at      int64
	magic   uint32
	order   ondisk.Order
	version ondisk.Version
	data    []byte
}

// readSuper returns what lies at byte at, if that is a superblock of any kind.
func readSuper(dev blockio.Device, at int64) (candidate, bool, error) {
	b, err := blockio.ReadFull(dev, at, ondisk.SuperSize)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return candidate{}, false, nil
		}
		return candidate{}, false, fmt.Errorf("read superblock at byte %d: %w", at, err)
	}
	magic, order, version := ondisk.DetectSuper(b)
	return candidate{at, magic, order, version, b}, magic != 0, nil
}

// isPrimary tells a primary superblock from a copy that happens to lie where
// primary ones are looked for.
func (c candidate) isPrimary() bool {
	loc := int64(c.order.U64(c.data[1000:]))
	switch c.version {
	case ondisk.V2:
		return loc == c.at
	case ondisk.V1:
		// FFS1 has its superblock at 8192, whatever fs_sblockloc says: old
		// systems leave it zero. At 65536 lies a copy if blocks are 64K.
		switch c.at {
		case ondisk.SuperFFS1:
			return true
		case ondisk.SuperFFS2:
			return false
		}
		return loc == c.at
	}
	// Wiped. At 8192 newfs also wipes what an FFS1 of before has left, next to
	// the FFS2 that it makes; that one is found first.
	return c.at == ondisk.SuperFFS1 || c.at == ondisk.SuperFFS2
}

// candidates returns the primary superblocks that dev seems to have.
func candidates(dev blockio.Device) ([]candidate, error) {
	var found []candidate
	for _, at := range searchOrder {
		c, ok, err := readSuper(dev, at)
		if err != nil {
			return nil, err
		}
		if ok && c.isPrimary() {
			found = append(found, c)
		}
	}
	return found, nil
}

// findSuper returns the first primary superblock that is sound, as the kernels
// do. If none is, the error is that of the first.
func findSuper(dev blockio.Device) (int64, *ondisk.Super, ondisk.Order, *geometry, error) {
	found, err := candidates(dev)
	if err != nil {
		return 0, nil, ondisk.Order{}, nil, err
	}
	var first error
	for _, c := range found {
		super, geo, err := c.check(dev.Size())
		if err == nil {
			return c.at, super, c.order, geo, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = vfs.Corruptf(ondisk.SuperFFS2, "superblock", "no FFS magic number here or at byte %d", ondisk.SuperFFS1)
	}
	var corrupt *vfs.CorruptError
	if errors.As(first, &corrupt) {
		if at, ok := findBackup(dev); ok {
			corrupt.Detail += fmt.Sprintf(" (a backup superblock at byte %d is sound)", at)
		}
	}
	return 0, nil, ondisk.Order{}, nil, first
}

// check decodes a candidate and validates it.
func (c candidate) check(devSize int64) (*ondisk.Super, *geometry, error) {
	if c.magic == ondisk.MagicBad {
		return nil, nil, vfs.Corruptf(c.at, "superblock", "newfs did not finish, or wiped it (magic %#x)", c.magic)
	}
	super, err := ondisk.DecodeSuper(c.data, c.order)
	if err != nil {
		return nil, nil, err
	}
	// Solaris has this magic number too, with other inodes. Unlike the BSDs it
	// fills fs_state, with a sum that it checks, and not fs_inodefmt.
	if c.version == ondisk.V1 && super.State != 0 && super.OldInodeFormat != ondisk.InodeFormat44 &&
		super.State+super.OldTime == ondisk.StateOK {
		return nil, nil, &vfs.NotSupportedError{What: "UFS of Solaris", Off: c.at}
	}
	geo, err := newGeometry(super, c.order, c.version, c.at, devSize)
	return super, geo, err
}

// findBackup looks for a sound copy of the superblock in the first group.
func findBackup(dev blockio.Device) (int64, bool) {
	for _, at := range backupPlaces {
		c, ok, err := readSuper(dev, at)
		if err != nil || !ok || c.version == 0 {
			continue
		}
		super, geo, err := c.check(dev.Size())
		if err == nil && int64(super.SuperOff)<<geo.fragShift == at {
			return at, true
		}
	}
	return 0, false
}
