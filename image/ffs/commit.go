package ffs

import (
	"context"

	"github.com/resflash/resflash/image/ffs/ondisk"
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
	if w.cache.Modified() < flushBytes {
		return nil
	}
	return w.cache.Flush(w.tx)
}

// keptBytes bounds the free maps of the last commit that are kept until the
// next one: half of a volume of a terabyte.
const keptBytes = 32 << 20

// bound makes a commit where too much waits for one.
func (w *Writer) bound(ctx context.Context) {
	w.mu.RLock()
	much := int64(len(w.touched))*(w.geo.fragsPerGroup/8) > keptBytes
	w.mu.RUnlock()
	if much && !w.tx.Atomic() {
		_ = w.tx.Commit(ctx) // whoever asks for one next is told
	}
}

// Sync implements [vfs.WritableFS].
func (w *Writer) Sync(context.Context) error { return w.tx.Sync() }

// Freeze implements [blockio.Participant]: the counts that are kept in memory
// are written where they belong, and everything goes to the transaction.
func (w *Writer) Freeze(context.Context) error {
	w.mu.Lock()
	if w.changed {
		if err := w.writeSums(); err != nil {
			return err
		}
		if err := w.writeSuper(); err != nil {
			return err
		}
	}
	return w.cache.Flush(w.tx)
}

// Thaw implements [blockio.Participant].
func (w *Writer) Thaw(committed bool) {
	defer w.mu.Unlock()
	if !committed {
		return
	}
	w.changed = false
	for _, gr := range w.touched {
		gr.committed, gr.waiting = nil, false
	}
	w.touched = w.touched[:0]
}

// writeSums writes the summaries that have changed: fs_cs.
func (w *Writer) writeSums() error {
	g := &w.geo
	for i, set := range w.sumsNew {
		for bit := range 64 {
			if set>>bit&1 == 0 {
				continue
			}
			c := i*64 + bit
			b, err := w.cache.Modify(w.super.summaryAddr<<g.fragShift+int64(c)*summaryEntry, summaryEntry)
			if err != nil {
				return err
			}
			s := w.sums[c]
			for j, v := range [...]int32{s.Dirs, s.FreeBlocks, s.FreeInodes, s.FreeFrags} {
				g.order.PutU32(b[4*j:], uint32(v))
			}
		}
		w.sumsNew[i] = 0
	}
	return nil
}

// Offsets in the superblock.
const (
	superOldTime  = 32
	superOldTotal = 192
	superMod      = 208
	superTotal    = 1008
	superTime     = 1072
)

// writeSuper writes what changes in the superblock: the time and the totals. It
// stays clean, because every commit is complete.
func (w *Writer) writeSuper() error {
	g := &w.geo
	b, err := w.cache.Modify(w.super.at, ondisk.SuperSize)
	if err != nil {
		return err
	}
	now, t := w.diskTime(w.now()), w.total
	b[superMod] = 0
	totals := [...]int64{t.Dirs, t.FreeBlocks, t.FreeInodes, t.FreeFrags}
	if g.version == ondisk.V1 {
		g.order.PutU32(b[superOldTime:], uint32(now.Sec))
		for i, v := range totals {
			g.order.PutU32(b[superOldTotal+4*i:], uint32(v))
		}
	}
	if w.super.newFields {
		g.order.PutU64(b[superTime:], uint64(now.Sec))
		for i, v := range totals {
			g.order.PutU64(b[superTotal+8*i:], uint64(v))
		}
	}
	return nil
}
