package fsck

import (
	"fmt"
	"math/bits"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A run is blocks of a file that lie together.
type run struct {
	lblk      uint64 // first block of the file
	start     uint64 // first block of the device
	n         uint64
	unwritten bool
}

// The issues that a walk over the blocks of a file can meet.
const (
	issueNode      = 1 << iota // a node of the extent tree, or an indirect block, that is none
	issueSum                   // a node with a wrong checksum
	issuePointer               // blocks that cannot be
	issueOrder                 // extents out of order, or outside of what leads to them
	issueIndex                 // an index entry that does not say where what is below begins
	issueUnwritten             // unwritten blocks of a directory

	issueKinds = iota
)

// A walk goes over the blocks of a file, in their order. It judges every
// pointer by itself, so that a second walk meets the same issues. What is bad is
// not followed.
type walk struct {
	in *inode
	// edit says to take away what is bad. The caller stores the inode.
	edit bool
	// cut is the first block of the file that is taken away together with all
	// behind it, if edit is true and cut is not 0 or truncate is.
	cut      uint64
	truncate bool
	// remap says where blocks lie from now on, if edit is true: at 0 they are
	// given up. node says that they are a block of the mapping.
	remap func(r run, node bool) (start uint64, err error)
	// pack numbers the blocks anew, without holes; fill makes blocks for holes
	// before the block fillTo. Both need edit.
	pack   bool
	packed uint64
	fill   func() (block uint64, err error)
	fillTo uint64
	// run sees blocks of the file, node those of the mapping itself; both may
	// be nil. An error ends the walk.
	run  func(r run) error
	node func(block uint64, level int) error
	// shared are the blocks of the mapping that something else has, too. They
	// stay as they are, and neither they nor what they lead to is judged, until
	// pass 1b has given the file its own. frozen says that the walk is below one.
	shared map[uint64]bool
	frozen bool
	wrote  bool // a block of the mapping has been changed

	issues  int
	first   [issueKinds]string // the first of each kind, in words
	bad     uint64             // blocks of the file that bad pointers were for, at least
	mapped  uint64             // blocks seen
	last    int64              // last block of the file, written or not; -1: none
	written int64              // last that is written; -1: none
	prev    run                // for bigalloc

	bufs [ondisk.MaxExtentDepth + 1][]byte
}

func (w *walk) reset(in *inode) {
	bufs := w.bufs
	*w = walk{in: in, last: -1, written: -1, bufs: bufs}
}

func (w *walk) note(issue int, format string, args ...any) {
	if w.frozen {
		return
	}
	if w.issues&issue == 0 {
		w.first[bits.TrailingZeros(uint(issue))] = fmt.Sprintf(format, args...)
	}
	w.issues |= issue
}

// share notes that something else has a block of the mapping, too.
func (w *walk) share(block uint64) {
	if w.shared == nil {
		w.shared = map[uint64]bool{}
	}
	w.shared[block] = true
}

// maxMapped bounds the blocks of one file: a mapping that leads to more than
// there are leads to some of them again and again.
func (c *checker) maxMapped() uint64 { return c.blocks + 1<<c.clusterShift }

// walk goes over the blocks of w.in. The caller has seen to it that the inode
// has blocks.
func (c *checker) walk(w *walk) error {
	block := ondisk.InodeBlock(w.in.raw)
	if w.in.Flags&ondisk.FlExtents != 0 {
		return c.walkExtents(w, block)
	}
	return c.walkIndirect(w, block)
}

// see takes in a run.
func (w *walk) see(r run) error {
	w.mapped += r.n
	w.last = max(w.last, int64(r.lblk+r.n)-1)
	if !r.unwritten {
		w.written = max(w.written, int64(r.lblk+r.n)-1)
	}
	w.prev = r
	if w.run == nil {
		return nil
	}
	return w.run(r)
}

// misplaced reports whether a run of a file system with clusters breaks a
// cluster of the file in two.
func (c *checker) misplaced(w *walk, r run) bool {
	m := uint64(1)<<c.clusterShift - 1
	if m == 0 {
		return false
	}
	if r.lblk&m != r.start&m {
		return true
	}
	if r.lblk&m == 0 || w.prev.n == 0 {
		return false
	}
	last := w.prev.lblk + w.prev.n - 1
	return last>>c.clusterShift == r.lblk>>c.clusterShift &&
		(w.prev.start+w.prev.n-1)>>c.clusterShift != r.start>>c.clusterShift
}

// buf is a block for level.
func (w *walk) buf(level int, n int64) []byte {
	w.bufs[level] = buffer(w.bufs[level], n)
	return w.bufs[level]
}

// runs lists the blocks of a file as far as they are sound; at most limit runs.
func (c *checker) runs(in *inode, limit int) ([]run, error) {
	var out []run
	var w walk
	w.reset(in)
	w.run = func(r run) error {
		if n := len(out); n > 0 && out[n-1].lblk+out[n-1].n == r.lblk && out[n-1].start+out[n-1].n == r.start &&
			out[n-1].unwritten == r.unwritten {
			out[n-1].n += r.n
			return nil
		}
		if len(out) < limit {
			out = append(out, r)
		}
		return nil
	}
	if !c.hasBlocks(in) {
		return nil, nil
	}
	err := c.walk(&w)
	return out, err
}
