package fsck

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A checker is one run. It is big and reused, because the small file systems
// of tests are checked by the ten thousand.
type checker struct {
	ctx    context.Context
	dev    blockio.Device
	tx     blockio.Transaction // nil: only look
	mode   vfs.RepairMode
	report func(vfs.Finding)

	geometry
	super      *ondisk.Super
	superAt    int64 // of the primary, even if it is lost
	superDirty bool
	fromCopy   bool      // the superblock comes from a copy, whose totals are old
	hidden     [3]uint32 // inodes that have no name and need none

	// failed is a read that failed where that could not be returned.
	failed error

	// What the findings of this round are. stopped: preening has met something
	// that needs a decision. unmended counts what was not mended.
	findings []*finding
	count    int
	unmended int
	stopped  bool

	used   bitmap // by fragment: claimed by something
	groups []group
	state  []uint8 // by initialised inode, see group.first
	links  []int32 // by initialised inode: link count minus names found
	dirs   []dirInfo
	chain  []uint32 // of directories, on the way up

	cg      []byte // a group header block
	table   []byte // a piece of an inode table
	block   []byte // a block of a directory
	hbuf    [ondisk.GroupSize]byte
	ibuf    [ondisk.Dinode2Size]byte
	indir   [ondisk.NIndirect][]byte
	expect  []byte // a group header block as it should be
	summary []byte
	total   ondisk.SummaryTotal

	scan      scan
	suspects  []suspect
	dups      []dup
	read2     dirScan
	lost      lostFound
	displaced []displaced
	allocAt   int64 // where the last allocation was
	inodeAt   int64
}

// A group is what is remembered of a cylinder group.
type group struct {
	first  int64  // of its inodes in state and links
	inited int64  // inodes that are initialised, as it should be
	room   int64  // places in state and links
	guess  string // why inited is not what the header says
}

// What an inode is, in the low bits of state. Its type, mode >> 12, is in the
// high ones.
const (
	inoFree  = 0 // USTATE
	inoFile  = 1 // FSTATE
	inoDir   = 2 // DSTATE
	inoClear = 3 // FCLEAR, DCLEAR: to be cleared
	inoKind  = 3

	inoZeroLinks = 4 // its link count is 0
	inoReached   = 8 // DFOUND: hangs in the tree
)

var checkers = sync.Pool{New: func() any { return new(checker) }}

func newChecker(ctx context.Context, dev blockio.Device, mode vfs.RepairMode, report func(vfs.Finding)) *checker {
	c := checkers.Get().(*checker)
	c.ctx, c.dev, c.mode, c.report = ctx, dev, mode, report
	c.tx = nil
	if report == nil {
		c.report = func(vfs.Finding) {}
	}
	return c
}

// keepBytes bounds what a checker keeps for the next run.
const keepBytes = 4 << 20

func (c *checker) release() {
	c.ctx, c.dev, c.tx, c.report, c.super, c.findings = nil, nil, nil, nil, nil, nil
	if len(c.used)*8+len(c.links)*5+len(c.dirs)*24 > keepBytes {
		c.used, c.state, c.links, c.dirs = nil, nil, nil, nil
	}
	c.suspects, c.dups, c.displaced = nil, nil, nil
	checkers.Put(c)
}

// round goes through all passes once.
func (c *checker) round() error {
	c.findings, c.count, c.unmended, c.stopped, c.superDirty, c.failed = c.findings[:0], 0, 0, false, false, nil
	ok, err := c.setup()
	if err != nil || !ok {
		_ = c.flush(false)
		return err
	}
	for _, pass := range [...]func() error{c.pass1, c.pass2, c.pass3, c.pass4, c.pass5, c.finish} {
		err := pass()
		if err == nil {
			err = c.failed
		}
		if err != nil {
			_ = c.flush(false)
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return c.flush(true)
}

// maxRounds bounds how often a repair looks again. Two are enough for what one
// accident leaves behind; every round mends all that it finds.
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

// tryRead is read for those who cannot return an error: it keeps it.
func (c *checker) tryRead(p []byte, off int64) bool {
	err := c.read(p, off)
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return err == nil
}

// tryLoad is load for those who cannot return an error.
func (c *checker) tryLoad(ino uint32, in *inode) bool {
	err := c.load(ino, in)
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return err == nil
}

// write puts p into the transaction, at byte off.
func (c *checker) write(p []byte, off int64) error {
	if _, err := c.tx.WriteAt(p, off); err != nil {
		return fmt.Errorf("write %d bytes at byte %d: %w", len(p), off, err)
	}
	return nil
}

// grow returns a slice of n elements, all zero, of the memory of p if it does.
func grow[T any](p []T, n int64) []T {
	if int64(cap(p)) < n {
		return make([]T, n)
	}
	p = p[:n]
	clear(p)
	return p
}

// buffer returns n bytes of any contents.
func buffer(p []byte, n int64) []byte {
	if int64(cap(p)) < n {
		return make([]byte, n)
	}
	return p[:n]
}

// at returns the place of an inode in state and links, or -1: those that are
// not initialised have none.
func (c *checker) at(ino uint32) int64 {
	g := int64(ino) / c.ipg
	if g >= c.ncg {
		return -1
	}
	i := int64(ino) % c.ipg
	if i >= c.groups[g].inited {
		return -1
	}
	return c.groups[g].first + i
}

// kind is what an inode is: inoFree and so on.
func (c *checker) kind(ino uint32) uint8 {
	if i := c.at(ino); i >= 0 {
		return c.state[i] & inoKind
	}
	return inoFree
}

func (c *checker) setKind(ino uint32, mode uint16, kind uint8) {
	if i := c.at(ino); i >= 0 {
		c.state[i] = uint8(mode>>12)<<4 | kind
	}
}

func (c *checker) isHidden(ino uint32) bool {
	for _, h := range c.hidden {
		if h == ino && h != 0 {
			return true
		}
	}
	return false
}
