package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A checker is one run.
type checker struct {
	ctx    context.Context
	dev    blockio.Device      // what is looked at: with the journal replayed
	medium blockio.Device      // what lies below
	tx     blockio.Transaction // nil: only look
	mode   vfs.RepairMode
	report func(vfs.Finding)

	geometry
	super      []byte // the superblock as it is, or will be
	superDirty bool
	fromCopy   bool // it comes from a copy, whose counts are old

	// What the findings of this round are. stopped: preening has met something
	// that needs a decision. unmended counts what was not mended.
	findings []*finding
	count    int
	unmended int
	stopped  bool
	again    bool // pass 1 has to begin anew: what was claimed has changed

	gdt  []byte // all descriptors
	desc []group
	meta []span // metadata that descriptors and superblock tell of, in order

	used bitmap // by cluster: claimed by something
	kind nibbles
	inodeState

	scan  scan
	dups  []dup
	dirs  []dirInfo
	lost  lostFound
	table []byte // a piece of an inode table

	allocAt  uint64
	inodeAt  uint32
	replayed bool // the journal: the totals in the superblock are not kept up by it
}

// inodeState is what is remembered of the few inodes that need it.
type inodeState struct {
	links    map[uint32]linkCount // of files with another count than 1, or more names than one
	mangled  map[uint32]bool      // files whose mode or attributes make no sense: pass 2 decides
	eaRefs   map[uint32]uint64    // inodes that hold values of attributes: references counted
	eaInodes map[uint32]bool      // inodes with the flag that they do
	eaBlocks map[uint64]*eaBlock  // blocks of attributes
	orphans  map[uint32]bool      // inodes that the list or file of orphans has
	bigFiles bool                 // there is a file that needs the feature large_file
}

// linkCount is a link count of an inode and the names found so far.
type linkCount struct{ has, found uint32 }

func newChecker(ctx context.Context, dev blockio.Device, mode vfs.RepairMode, report func(vfs.Finding)) *checker {
	if report == nil {
		report = func(vfs.Finding) {}
	}
	return &checker{ctx: ctx, dev: dev, medium: dev, mode: mode, report: report}
}

// round goes through all passes once.
func (c *checker) round() error {
	c.findings, c.count, c.unmended, c.stopped = nil, 0, 0, false
	c.superDirty, c.replayed = false, false
	c.dev = c.medium
	if c.tx != nil {
		c.dev = c.tx
	}
	for _, pass := range [...]func() error{c.setup, c.pass1, c.pass2, c.pass3, c.pass4, c.pass5, c.finish} {
		if err := pass(); err != nil {
			c.flush(false)
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return c.flush(true)
}

// maxRounds bounds how often a repair looks again; every round mends all that
// it finds.
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
			return fmt.Errorf("repair file system: %d findings could not be mended", c.unmended)
		}
	}
	return vfs.Corruptf(-1, "file system", "still damaged after %d rounds of repair", maxRounds)
}

// read fills p from byte off.
func (c *checker) read(p []byte, off int64) error { return readAt(c.dev, p, off) }

func readAt(dev blockio.Device, p []byte, off int64) error {
	n, err := dev.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at byte %d: %w", len(p), off, err)
}

func (c *checker) readBlock(b []byte, block uint64) error { return c.read(b[:c.bsize], c.off(block)) }

// write puts p into the transaction, at byte off.
func (c *checker) write(p []byte, off int64) error {
	if _, err := c.tx.WriteAt(p, off); err != nil {
		return fmt.Errorf("write %d bytes at byte %d: %w", len(p), off, err)
	}
	return nil
}

func (c *checker) writeBlock(b []byte, block uint64) error { return c.write(b[:c.bsize], c.off(block)) }

// buffer returns n bytes of any contents.
func buffer(p []byte, n int64) []byte {
	if int64(cap(p)) < n {
		return make([]byte, n)
	}
	return p[:n]
}

// now is the time that deleted inodes and new directories get: that of the
// last write, so that a repair of the same damage gives the same bytes.
func (c *checker) now() uint32 { return max(c.sb.Wtime, c.sb.MkfsTime, 1) }

// finish writes the superblock and the descriptors, if they have changed.
func (c *checker) finish() error {
	if c.tx == nil {
		return nil
	}
	if err := c.writeDescs(); err != nil {
		return err
	}
	if !c.superDirty {
		return nil
	}
	if c.csum {
		ondisk.SealSuper(c.super)
	}
	return c.write(c.super, ondisk.SuperOff)
}
