package fsck

import (
	"context"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A checker is one run.
type checker struct {
	ctx    context.Context
	dev    blockio.Device
	tx     blockio.Transaction // nil: only look
	mode   vfs.RepairMode
	report func(vfs.Finding)

	geometry
	sector []byte // the boot sector, as it should be

	// What the findings of this round are. stopped: preening has met something
	// that needs a decision. unmended counts what was not mended.
	count    int
	unmended int
	stopped  bool

	table   table
	owned   bitmap // clusters that some file has
	pointed bitmap // clusters that an entry of the table leads to
	dirs    []dirRef
	label   *ondisk.Dirent // in the root directory, if there is one

	searched int64 // bytes, for where directories belong

	allocAt uint32 // where the last allocation was
	lostNum int    // of the last name that was tried
}

func newChecker(ctx context.Context, dev blockio.Device, mode vfs.RepairMode, report func(vfs.Finding)) *checker {
	if report == nil {
		report = func(vfs.Finding) {}
	}
	return &checker{ctx: ctx, dev: dev, mode: mode, report: report}
}

// round goes through all passes once.
func (c *checker) round() error {
	c.count, c.unmended, c.stopped, c.searched = 0, 0, false, 0
	c.dirs, c.label, c.allocAt, c.lostNum = c.dirs[:0], nil, ondisk.FirstCluster, 0
	for _, pass := range [...]func() error{
		c.setup, c.checkTables, c.checkDirs, c.checkFiles, c.checkLost, c.checkLabel, c.checkInfo, c.table.flush,
	} {
		if err := pass(); err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// maxRounds bounds how often a repair looks again. Two or three are enough for
// what one accident leaves behind; every round mends all that it finds.
const maxRounds = 16

// repair goes through the passes until one round has found nothing.
func (c *checker) repair() error {
	for range maxRounds {
		if err := c.round(); err != nil {
			return err
		}
		if c.count == 0 || c.stopped {
			return nil
		}
		if c.unmended > 0 {
			return fmt.Errorf("repair FAT volume: %d findings could not be mended", c.unmended)
		}
	}
	return vfs.Corruptf(-1, "FAT volume", "still damaged after %d rounds of repair", maxRounds)
}

// problem reports that something is wrong, and whether to mend it now: then the
// caller does, or fails. What is not mended costs nothing.
func (c *checker) problem(f vfs.Finding) bool {
	c.count++
	mend := false
	switch c.mode {
	case vfs.RepairAll:
		mend = true
	case vfs.RepairPreen:
		if !f.Preen {
			c.stopped = true
		}
		mend = f.Preen && !c.stopped
	}
	if f.Fixed = mend; !mend {
		c.unmended++
		f.Lost = ""
	}
	c.report(f)
	return mend
}

// read fills p from byte off.
func (c *checker) read(p []byte, off int64) error {
	n, err := c.dev.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at byte %d: %w", len(p), off, err)
}

// write puts p into the transaction, at byte off.
func (c *checker) write(p []byte, off int64) error {
	if _, err := c.tx.WriteAt(p, off); err != nil {
		return fmt.Errorf("write %d bytes at byte %d: %w", len(p), off, err)
	}
	return nil
}
