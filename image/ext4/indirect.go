package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// directBlocks is how many blocks the inode itself points to (EXT4_NDIR_BLOCKS).
// Behind them come pointers to one, two and three levels of pointer blocks.
const directBlocks = 12

// indirect finds lblk through the block pointers of ext2 and ext3.
func (m *mapper) indirect(lblk uint64) (run, error) {
	if m.leaf == nil || lblk < m.lo || lblk >= m.hi {
		hole, err := m.pointers(lblk)
		if err != nil || hole.n != 0 {
			return hole, err
		}
	}
	i, count := lblk-m.lo, m.hi-m.lo
	start := m.pointer(i)
	n := uint64(1)
	if start == 0 {
		for i+n < count && m.pointer(i+n) == 0 {
			n++
		}
		return run{n: n}, nil
	}
	for i+n < count && m.pointer(i+n) == start+n {
		n++
	}
	if !m.fs.validBlocks(start, n) {
		return run{}, m.in.corrupt("block %d is at device block %d, outside the file system", lblk, start)
	}
	return run{start, n}, nil
}

// pointer is entry i of the leaf.
func (m *mapper) pointer(i uint64) uint64 {
	return uint64(binary.LittleEndian.Uint32(m.leaf[i*4:]))
}

// pointers finds the block of pointers that lblk is in, or the hole in place
// of it.
func (m *mapper) pointers(lblk uint64) (hole run, err error) {
	if lblk < directBlocks {
		m.leaf, m.lo, m.hi = m.in.Block[:directBlocks*4], 0, directBlocks
		return run{}, nil
	}
	perBlock := uint64(m.fs.blockSize / 4)
	lo := uint64(directBlocks)
	span := perBlock // blocks below the pointer in the inode
	slot := directBlocks
	for lblk-lo >= span {
		lo += span
		if slot++; slot == ondisk.BlockLen/4 {
			return run{n: fileBlocks - lblk}, nil // more than three levels can hold
		}
		span *= perBlock
	}
	ptr := uint64(binary.LittleEndian.Uint32(m.in.Block[slot*4:]))
	for {
		// ptr leads to the blocks [lo, lo+span).
		if ptr == 0 {
			return run{n: min(lo+span, fileBlocks) - lblk}, nil
		}
		b, err := m.fs.block(ptr, fmt.Sprintf("inode %d indirect block", m.in.num))
		if err != nil {
			return run{}, err
		}
		if span == perBlock {
			m.leaf, m.lo, m.hi = b, lo, min(lo+span, fileBlocks)
			return run{}, nil
		}
		span /= perBlock
		i := (lblk - lo) / span
		lo += i * span
		ptr = uint64(binary.LittleEndian.Uint32(b[i*4:]))
		if ptr != 0 && !m.fs.validBlocks(ptr, 1) {
			return run{}, vfs.Corruptf(m.in.off, m.in.name(), "indirect block at device block %d, outside the file system", ptr)
		}
	}
}
