package ext4

import (
	"sync/atomic"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// recentFiles keeps the inodes of the files read last, decoded and verified: a
// file is read in many requests, and each of them needs its inode. A slot is
// replaced by whatever hashes to it, so the memory is bounded and no lock is
// needed. A writer drops the inodes that it changes.
type recentFiles struct {
	slots [256]atomic.Pointer[inode]
}

func (r *recentFiles) load(ino vfs.Ino, in *inode) bool {
	c := r.slots[ino%vfs.Ino(len(r.slots))].Load()
	if c == nil || vfs.Ino(c.num) != ino {
		return false
	}
	*in = *c
	return true
}

func (r *recentFiles) drop(ino vfs.Ino) { r.slots[ino%vfs.Ino(len(r.slots))].Store(nil) }

func (r *recentFiles) store(in *inode) {
	c := *in
	r.slots[int(in.num)%len(r.slots)].Store(&c)
}

// recentGroups does the same for group descriptors, which every look at an
// inode needs.
type recentGroups struct {
	slots [64]atomic.Pointer[groupDesc]
}

type groupDesc struct {
	num uint64
	ondisk.GroupDesc
}

func (r *recentGroups) load(n uint64) (ondisk.GroupDesc, bool) {
	c := r.slots[n%uint64(len(r.slots))].Load()
	if c == nil || c.num != n {
		return ondisk.GroupDesc{}, false
	}
	return c.GroupDesc, true
}

func (r *recentGroups) store(n uint64, d ondisk.GroupDesc) {
	r.slots[n%uint64(len(r.slots))].Store(&groupDesc{n, d})
}
