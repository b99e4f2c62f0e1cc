package ext4

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// fileBlocks is the number of blocks a file can have: they are numbered in 32
// bits.
const fileBlocks = 1 << 32

// maxMerge bounds how many extents are joined into one run, so that looking at
// the start of a large file does not read its whole tree.
const maxMerge = 64

// run is a piece of a file: n blocks that lie together on the device from
// block start on, or that read as zeros if start is 0 (a hole, or blocks that
// are allocated but not yet written).
type run struct {
	start uint64
	n     uint64
}

// mapper turns blocks of one file into blocks of the device. It remembers the
// leaf it looked at last, so that a sequence of questions is cheap. It is for
// one goroutine.
type mapper struct {
	fs *FS
	in *inode

	// The leaf speaks for the blocks [lo, hi) of the file.
	leaf   []byte
	lo, hi uint64
}

func (fs *FS) mapper(in *inode) mapper { return mapper{fs: fs, in: in} }

// run returns what the file has from block lblk on: at least one block, and no
// more than limit.
//
// Requires limit > 0.
func (m *mapper) run(lblk, limit uint64) (run, error) {
	r, err := m.at(lblk)
	if err != nil {
		return run{}, err
	}
	for range maxMerge {
		if r.n >= limit || lblk+r.n >= fileBlocks {
			break
		}
		next, err := m.at(lblk + r.n)
		if err != nil {
			break // whoever asks for that block will hear of it
		}
		if r.start == 0 && next.start != 0 || r.start != 0 && next.start != r.start+r.n {
			break
		}
		r.n += next.n
	}
	r.n = min(r.n, limit)
	return r, nil
}

// at is run without joining neighbours.
func (m *mapper) at(lblk uint64) (run, error) {
	if lblk >= fileBlocks {
		return run{}, m.in.corrupt("block %d of a file", lblk)
	}
	if r, next, ok := m.fs.fast.run(m.in.num, lblk); ok {
		return r, nil
	} else if next < fileBlocks {
		r, err := m.onDisk(lblk)
		r.n = min(r.n, next-lblk)
		return r, err
	}
	return m.onDisk(lblk)
}

// onDisk is at without what the fast commits changed.
func (m *mapper) onDisk(lblk uint64) (run, error) {
	if m.in.has(ondisk.FlExtents) {
		return m.extent(lblk)
	}
	return m.indirect(lblk)
}
