package fat

import (
	"context"
	"encoding/binary"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// flushBytes is how much modified metadata the cache holds before it goes to
// the transaction, which may keep it elsewhere than in memory.
const flushBytes = 8 << 20

// makeRoom flushes the cache if much in it was modified. Requires w.mu.
func (w *Writer) makeRoom() error {
	if w.flushed++; w.flushed < 32 {
		return nil
	}
	w.flushed = 0
	w.inos.shrink(w.isHeld)
	if w.cache.Modified() < flushBytes {
		return nil
	}
	return w.cache.Flush(w.tx)
}

// Sync implements [vfs.WritableFS].
func (w *Writer) Sync(context.Context) error { return w.tx.Sync() }

// Freeze implements [blockio.Participant]: the other copies of the table and
// FSInfo are brought up to date, and everything goes to the transaction. The
// volume stays marked as clean, because every commit is complete.
func (w *Writer) Freeze(context.Context) error {
	w.mu.Lock()
	if w.changed {
		if err := w.copyTable(); err != nil {
			return err
		}
		if err := w.writeFSInfo(); err != nil {
			return err
		}
	}
	return w.cache.Flush(w.tx)
}

// Thaw implements [blockio.Participant].
func (w *Writer) Thaw(committed bool) {
	defer w.mu.Unlock()
	if committed && w.changed {
		w.changed = false
		copy(w.space.committed, w.space.used)
	}
}

// Offsets in the FSInfo sector.
const (
	fsInfoFree = 488
	fsInfoNext = 492
)

// fsInfoOff is where the FSInfo sector is, or 0 if there is none to be kept.
func (w *Writer) fsInfoOff() (int64, error) {
	if w.bits != 32 || !w.hasReserved(w.boot.fat32.FSInfo) {
		return 0, nil
	}
	off := int64(w.boot.fat32.FSInfo) * w.sectorSize
	p, err := w.cache.Bytes(off, ondisk.FSInfoSize)
	if err != nil {
		return 0, err
	}
	i := ondisk.DecodeFSInfo(p)
	if i.LeadSignature != ondisk.FSInfoLeadSignature || i.StructSignature != ondisk.FSInfoStructSignature ||
		i.TrailSignature != ondisk.FSInfoTrailSignature {
		return 0, nil
	}
	return off, nil
}

// readNext begins the search for free clusters where FSInfo says.
func (w *Writer) readNext() {
	off, err := w.fsInfoOff()
	if err != nil || off == 0 {
		return
	}
	if p, err := w.cache.Bytes(off+fsInfoNext, 4); err == nil {
		if next := binary.LittleEndian.Uint32(p); w.holds(next) {
			w.space.next = next
		}
	}
}

// writeFSInfo writes how many clusters are free, and where to look for one. An
// FSInfo without its signatures is none, and stays as it is.
func (w *Writer) writeFSInfo() error {
	off, err := w.fsInfoOff()
	if err != nil || off == 0 {
		return err
	}
	p, err := w.cache.Modify(off, ondisk.FSInfoSize)
	if err != nil {
		return err
	}
	next := w.space.next
	if !w.holds(next) {
		next = ondisk.FirstCluster
	}
	binary.LittleEndian.PutUint32(p[fsInfoFree:], w.space.free)
	binary.LittleEndian.PutUint32(p[fsInfoNext:], next)
	return nil
}
