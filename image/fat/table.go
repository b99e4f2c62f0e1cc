package fat

import (
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// table is a position in the file allocation table. It keeps the page that was
// used last, so that following a chain costs a few instructions for each
// cluster. A table is for one goroutine.
type table struct {
	f    *FS
	page []byte
	off  int64 // byte offset of page on the device
}

// get returns the entry of a cluster that the volume holds, or of 0 and 1.
func (t *table) get(cluster uint32) (uint32, error) {
	off, width := t.f.entryOff(cluster), int64(t.f.bits.Width())
	if in := off - t.off; in >= 0 && in+width <= int64(len(t.page)) {
		return t.f.bits.Entry(t.page[in:], cluster), nil
	}
	// The device may end with the table, within a page.
	start := off &^ (pageSize - 1)
	page, err := t.f.cache.Bytes(start, int(min(pageSize, t.f.deviceBytes-start)))
	if err != nil {
		return 0, err
	}
	t.page, t.off = page, start
	if in := off - start; in+width <= int64(len(page)) {
		return t.f.bits.Entry(page[in:], cluster), nil
	}
	// An entry of FAT12 may lie in two pages.
	p, err := t.f.cache.Bytes(off, int(width))
	if err != nil {
		return 0, err
	}
	return t.f.bits.Entry(p, cluster), nil
}

// next returns the cluster behind cluster in its chain, or 0 at the end.
func (t *table) next(cluster uint32) (uint32, error) {
	v, err := t.get(cluster)
	switch {
	case err != nil:
		return 0, err
	case t.f.holds(v):
		return v, nil
	case t.f.bits.IsEnd(v):
		return 0, nil
	}
	what := "beyond the last cluster"
	switch v {
	case 0:
		what = "a free cluster"
	case 1:
		what = "a reserved value"
	case t.f.bits.Bad():
		what = "a bad cluster"
	}
	return 0, vfs.Corruptf(t.f.entryOff(cluster), "file allocation table",
		"entry %d is %#x: %s (clusters %d to %d exist)",
		cluster, v, what, ondisk.FirstCluster, t.f.clusters+ondisk.FirstCluster-1)
}
