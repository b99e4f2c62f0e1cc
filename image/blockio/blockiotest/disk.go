// Package blockiotest holds media for tests of what survives a crash.
//
// A [Recorder] is an image and its journal in memory. It keeps every operation
// on either in the order in which they came: writes, truncations, syncs, the
// making and removing of the journal. A [Replay] goes through them again, and
// gives for any point the [Medium] that is left when the power fails there:
// everything before the last sync, and of what came after it, whatever the test
// wants.
//
// A [Disk] is memory that is cheap to clone, and that knows a hash of what it
// holds, so that a hundred thousand of such media can be told apart.
package blockiotest

import (
	"hash/maphash"

	"github.com/resflash/resflash/image/blockio"
)

const sectorLen = 512

// A Disk is a device in memory. Clones share what they have in common.
type Disk struct {
	*blockio.Sparse
	hash uint64
}

// NewDisk returns a disk of size zeros.
func NewDisk(size int64) *Disk { return &Disk{Sparse: blockio.NewSparse(size)} }

// DiskOf returns a disk with a copy of data.
func DiskOf(data []byte) *Disk {
	d := NewDisk(int64(len(data)))
	d.WriteAt(data, 0)
	return d
}

// Clone returns a disk with the same contents, which goes its own way.
func (d *Disk) Clone() *Disk { return &Disk{Sparse: d.Snapshot(), hash: d.hash} }

// Hash is the same for two disks of one size that hold the same.
func (d *Disk) Hash() uint64 { return d.hash }

// WriteAt implements [io.WriterAt]. It must not be called concurrently.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	d.mix(off, int64(len(p)))
	n, err := d.Sparse.WriteAt(p, off)
	d.mix(off, int64(len(p)))
	return n, err
}

// mix takes sectors out of the hash, or puts them into it.
func (d *Disk) mix(off, n int64) {
	if off < 0 || n <= 0 || off > d.Size()-n {
		return
	}
	first, last := off/sectorLen, (off+n-1)/sectorLen
	p := make([]byte, (last-first+1)*sectorLen)
	d.ReadAt(p, first*sectorLen)
	for sec := first; sec <= last; sec++ {
		d.hash ^= sectorHash(sec, p[(sec-first)*sectorLen:])
	}
}

// Bytes returns a copy of the contents.
func (d *Disk) Bytes() []byte {
	p := make([]byte, d.Size())
	d.ReadAt(p, 0)
	return p
}

var (
	seed  = maphash.MakeSeed()
	zeros [sectorLen]byte
)

// sectorHash is what a sector adds to the hash of a disk: nothing if it is
// zeros.
func sectorHash(num int64, b []byte) uint64 {
	b = b[:sectorLen]
	if [sectorLen]byte(b) == zeros {
		return 0
	}
	h := maphash.Bytes(seed, b) + uint64(num)*0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

var _ blockio.Writable = (*Disk)(nil)
