package fsck

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// maxDirBytes is the longest directory that the specification allows: 65536
// entries.
const maxDirBytes = 65536 * ondisk.DirentSize

// A dirRef is what is remembered of a directory.
type dirRef struct {
	start    uint32 // 0: the root directory of FAT12 and FAT16
	clusters uint32
	parent   int32
	lost     bool // it has no name
	name     string
}

// A dir is a directory in memory.
type dir struct {
	ref      int
	data     []byte
	clusters []uint32 // nil: the fixed root directory
	names    map[[11]byte]bool
}

// load reads a directory.
func (c *checker) load(ref int) (*dir, error) {
	r := &c.dirs[ref]
	d := &dir{ref: ref, names: map[[11]byte]bool{}}
	if r.start == 0 {
		d.data = make([]byte, c.rootBytes)
		return d, c.read(d.data, c.rootOff)
	}
	d.data = make([]byte, int64(r.clusters)*c.clusterSize)
	at := r.start
	for i := range int64(r.clusters) {
		if err := c.read(d.data[i*c.clusterSize:(i+1)*c.clusterSize], c.clusterOff(at)); err != nil {
			return nil, err
		}
		d.clusters = append(d.clusters, at)
		v, err := c.table.get(at)
		if err != nil {
			return nil, err
		}
		at = v
	}
	return d, nil
}

func (d *dir) slots() int        { return len(d.data) / ondisk.DirentSize }
func (d *dir) slot(i int) []byte { return d.data[i*ondisk.DirentSize:][:ondisk.DirentSize] }
func (d *dir) isRoot() bool      { return d.ref == 0 }
func (d *dir) firstSlot() int {
	if d.isRoot() {
		return 0
	}
	return 2 // behind "." and ".."
}

// slotOff is the byte offset of a slot in the volume.
func (c *checker) slotOff(d *dir, i int) int64 {
	at := int64(i) * ondisk.DirentSize
	if d.clusters == nil {
		return c.rootOff + at
	}
	return c.clusterOff(d.clusters[at/c.clusterSize]) + at%c.clusterSize
}

// put writes a slot that was changed in memory.
func (c *checker) put(d *dir, i int) error { return c.write(d.slot(i), c.slotOff(d, i)) }

// store writes an entry that was changed.
func (c *checker) store(d *dir, e *entry) error {
	e.dirent.Encode(d.slot(e.slot))
	return c.put(d, e.slot)
}

// remove marks an entry deleted, with its long name.
func (c *checker) remove(d *dir, e *entry) error {
	e.gone = true
	return c.erase(d, e.first, e.slot+1)
}

// erase marks slots deleted.
func (c *checker) erase(d *dir, from, to int) error {
	for i := from; i < to; i++ {
		d.slot(i)[0] = ondisk.MarkDeleted
		if err := c.put(d, i); err != nil {
			return err
		}
	}
	return nil
}

// structure is what findings call a directory.
func (c *checker) structure(d *dir) string {
	if d.isRoot() {
		return "root directory"
	}
	return fmt.Sprintf("directory in cluster %d", c.dirs[d.ref].start)
}

// path is the path of a directory.
func (c *checker) path(ref int) string {
	var names []string
	for ; ref != 0; ref = int(c.dirs[ref].parent) {
		names = append(names, c.dirs[ref].name)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

func (c *checker) entryPath(d *dir, e *entry) string {
	return strings.TrimSuffix(c.path(d.ref), "/") + "/" + e.name()
}

// finding is one about an entry.
func (c *checker) finding(d *dir, e *entry, code, detail string) vfs.Finding {
	return vfs.Finding{Code: code, Structure: "directory entry", Off: c.slotOff(d, e.slot), Path: c.entryPath(d, e), Detail: detail}
}
