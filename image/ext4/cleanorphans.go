package ext4

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// hasOrphans reports whether files on the medium wait for being deleted or cut
// off, because they were open when the system stopped.
func (fs *FS) hasOrphans() bool {
	return fs.sb.LastOrphan != 0 || fs.sb.FeatureROCompat&ondisk.ROCompatOrphanPresent != 0
}

// cleanOrphans does what the next mount would do (ext4_orphan_cleanup): files
// without a name are deleted, others are cut off at their length.
func (w *Writer) cleanOrphans(ctx context.Context) error {
	// Each is an operation of its own, since there may be many.
	seen := map[uint32]bool{}
	for w.sb.LastOrphan != 0 {
		num := w.sb.LastOrphan
		if seen[num] {
			return superError(0xE8, "the list of orphans has inode %d twice", num)
		}
		seen[num] = true
		next := uint32(0)
		err := w.do(ctx, func(o *op) error {
			var err error
			next, err = o.cleanOrphan(num)
			return err
		})
		if err != nil {
			return fmt.Errorf("orphaned inode %d: %w", num, err)
		}
		w.setSuper(func(sb *ondisk.Superblock) { sb.LastOrphan = next })
	}
	if w.sb.FeatureROCompat&ondisk.ROCompatOrphanPresent == 0 {
		return nil
	}
	if err := w.cleanOrphanFile(ctx); err != nil {
		return err
	}
	w.setSuper(func(sb *ondisk.Superblock) { sb.FeatureROCompat &^= ondisk.ROCompatOrphanPresent })
	return nil
}

// setSuper changes the superblock.
func (w *Writer) setSuper(change func(sb *ondisk.Superblock)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w.sb)
	w.changed = true
}

// cleanOrphan deletes an orphan or cuts it off, and returns the next one in the
// list, which stands in place of the time of its deletion.
func (o *op) cleanOrphan(num uint32) (next uint32, err error) {
	if num < o.f.firstIno || num > o.f.sb.InodesCount {
		return 0, superError(0xE8, "orphan %d is no inode of a file", num)
	}
	in, err := o.loadWith(vfs.Ino(num), o.f.fetchInode)
	if err != nil {
		return 0, err
	}
	next = in.Dtime
	if in.Links == 0 {
		return next, o.dropFile(in)
	}
	in.Dtime, in.dirty = 0, true
	if in.mode().IsRegular() && !in.has(ondisk.FlInlineData) {
		return next, o.truncate(in, in.size)
	}
	return next, nil
}

// orphanBlockMagic is in the tail of each block of the orphan file
// (EXT4_ORPHAN_BLOCK_MAGIC).
const orphanBlockMagic = 0x0B10CA04

// orphanTail is the size of struct ext4_orphan_block_tail in bytes: the magic
// number and a checksum.
const orphanTail = 8

// cleanOrphanFile cleans what is listed in the orphan file, and empties it.
func (w *Writer) cleanOrphanFile(ctx context.Context) error {
	le := binary.LittleEndian
	var in inode
	if err := w.readAnyInode(vfs.Ino(w.sb.OrphanFileIno), &in); err != nil {
		return fmt.Errorf("orphan file: %w", err)
	}
	if !in.mode().IsRegular() || in.has(ondisk.FlInlineData) || in.size%w.blockSize != 0 || in.size > 512*w.blockSize {
		return in.corrupt("not an orphan file: mode %#o, %d bytes", in.Mode, in.size)
	}
	m := w.mapper(&in)
	for lbn := range uint64(in.size / w.blockSize) {
		r, err := m.at(lbn)
		if err != nil {
			return err
		}
		const what = "orphan file"
		b, err := w.block(r.start, what)
		if err != nil {
			return err
		}
		off := w.offset(r.start)
		list, tail := b[:len(b)-orphanTail], b[len(b)-orphanTail:]
		if magic := le.Uint32(tail); magic != orphanBlockMagic {
			return vfs.Corruptf(off, what, "bad magic %#08x, want %#08x", magic, orphanBlockMagic)
		}
		if w.metadataCsum {
			if got, want := le.Uint32(tail[4:]), orphanSum(in.seed, r.start, list); got != want {
				return vfs.Corruptf(off, what, "checksum %#08x, want %#08x", got, want)
			}
		}
		for at := 0; at+4 <= len(list); at += 4 {
			num := le.Uint32(list[at:])
			if num == 0 {
				continue
			}
			err := w.do(ctx, func(o *op) error {
				if _, err := o.cleanOrphan(num); err != nil {
					return err
				}
				b, err := o.modify(off, int(w.blockSize))
				if err != nil {
					return err
				}
				le.PutUint32(b[at:], 0)
				if w.metadataCsum {
					le.PutUint32(b[len(b)-4:], orphanSum(in.seed, r.start, b[:len(b)-orphanTail]))
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("orphaned inode %d: %w", num, err)
			}
		}
	}
	return nil
}

// orphanSum is the checksum of a block of the orphan file
// (ext4_orphan_file_block_csum).
func orphanSum(seed uint32, block uint64, list []byte) uint32 {
	var num [8]byte
	binary.LittleEndian.PutUint64(num[:], block)
	return ondisk.CRC32C(ondisk.CRC32C(seed, num[:]), list)
}
