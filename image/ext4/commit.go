package ext4

import (
	"context"
	"fmt"
	"time"

	"github.com/resflash/resflash/image/ext4/ondisk"
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

// keptBytes bounds the bitmaps of the last commit that are kept until the next
// one: with blocks of 4 KiB, those of a terabyte.
const keptBytes = 32 << 20

// bound makes a commit where too much waits for one.
func (w *Writer) bound(ctx context.Context) {
	w.mu.RLock()
	much := int64(len(w.touched))*w.blockSize > keptBytes
	w.mu.RUnlock()
	if much && !w.tx.Atomic() {
		_ = w.tx.Commit(ctx) // whoever asks for one next is told
	}
}

// Freeze implements [blockio.Participant]: the counts that are kept in memory
// are written where they belong, extent trees are packed, and everything goes to the transaction.
func (w *Writer) Freeze(ctx context.Context) error {
	w.mu.Lock()
	w.packTrees(ctx)
	if w.changed {
		for _, gr := range w.stale {
			if err := w.writeDesc(gr); err != nil {
				return err
			}
		}
		w.stale = w.stale[:0]
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

// writeDesc writes the descriptor of a group, with the checksums of its
// bitmaps.
func (w *Writer) writeDesc(gr *group) error {
	d := &w.live[gr.num]
	if w.metadataCsum {
		for _, m := range [...]struct {
			changed bool
			block   uint64
			bits    uint64
			sum     *uint32
		}{
			{gr.newBlocks, d.BlockBitmap, w.blocksPerGroup >> w.clusterShift, &d.BlockBitmapSum},
			{gr.newInodes, d.InodeBitmap, uint64(w.inodesPerGroup), &d.InodeBitmapSum},
		} {
			if !m.changed {
				continue
			}
			b, err := w.cache.Bytes(w.offset(m.block), int(m.bits/8))
			if err != nil {
				return fmt.Errorf("read bitmap of group %d at byte %d: %w", gr.num, w.offset(m.block), err)
			}
			*m.sum = ondisk.BitmapChecksum(w.sb, b)
		}
	}
	off := w.offset(w.descBlock(gr.num/w.descPerBlock())) + int64(gr.num%w.descPerBlock())*int64(w.descSize)
	b, err := w.cache.Modify(off, w.descSize)
	if err != nil {
		return err
	}
	ondisk.EncodeGroupDesc(b, d)
	ondisk.SealGroupDesc(w.sb, uint32(gr.num), b)
	gr.stale, gr.newBlocks, gr.newInodes = false, false, false
	return nil
}

// writeSuper writes the superblock, with the time and the totals. It stays
// clean, because every commit is complete. The backups stay as they are, as they
// do on Linux.
func (w *Writer) writeSuper() error {
	b, err := w.cache.Modify(ondisk.SuperOff, ondisk.SuperSize)
	if err != nil {
		return err
	}
	sb := w.sb
	blocks := uint64(w.total.freeClusters) << w.clusterShift
	sb.FreeBlocksCountLo = uint32(blocks)
	if sb.FeatureIncompat&ondisk.Incompat64Bit != 0 {
		sb.FreeBlocksCountHi = uint32(blocks >> 32)
	}
	sb.FreeInodesCount = uint32(w.total.freeInodes)
	now := w.now()
	if !w.clocked {
		now = now.Add(-tick)
	}
	sb.Wtime, sb.WtimeHi = uint32(now.Unix()), uint8(now.Unix()>>32)
	ondisk.EncodeSuperblock(b, sb)
	return nil
}

// tick is how far time(2) may be behind the time of day: it moves with the
// ticks of the kernel. e2fsck asks it, and takes a superblock that was written
// in the first milliseconds of a second for one from the future.
const tick = 10 * time.Millisecond
