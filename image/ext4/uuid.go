package ext4

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

var _ vfs.UUIDSetter = (*Writer)(nil)

// superUUIDOff is where s_uuid lies in the superblock.
const superUUIDOff = 0x68

// SetUUID implements [vfs.UUIDSetter]. All checksums start from the UUID, unless
// the feature metadata_csum_seed has put that elsewhere: they are made anew
// (reseal.go), as by tune2fs -U.
func (w *Writer) SetUUID(ctx context.Context, id string) error {
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(raw) != 16 || len(id) != 36 {
		return fmt.Errorf("%q is no UUID: want 8-4-4-4-12 hexadecimal digits", id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.sb
	next.UUID = [16]byte(raw)
	anew := w.metadataCsum && next.Seed() != w.seed
	if err := w.fixedUUID(anew); err != nil {
		return err
	}
	if anew {
		if err := w.reseal(ctx, &next); err != nil {
			return fmt.Errorf("new checksums: %w", err)
		}
	}
	*w.sb = next
	w.seed = next.Seed()
	w.info.UUID = uuidString(next.UUID)
	for i := range w.recent.slots {
		w.recent.slots[i].Store(nil) // they have seeds of checksums
	}
	w.changed = true
	if anew || w.groupCsum {
		for n := range w.FS.groups {
			w.staleGroup(n)
		}
	}
	return w.backupUUID(anew || w.groupCsum)
}

// fixedUUID says why the UUID cannot be changed, if it cannot.
func (w *Writer) fixedUUID(anew bool) error {
	no := func(off int64, what string) error {
		return &vfs.NotSupportedError{What: "another UUID for an ext4 file system with " + what, Off: off}
	}
	sb := w.sb
	switch {
	case sb.FeatureCompat&ondisk.CompatStableInodes != 0:
		return no(ondisk.SuperOff+0x5C, "the feature stable_inodes: encrypted files depend on it")
	case !anew && !w.groupCsum:
		return nil
	case len(w.orphans) > 0:
		return no(-1, "open files that have no name")
	case sb.FeatureIncompat&(ondisk.IncompatEAInode|ondisk.IncompatMMP|ondisk.IncompatMetaBg) != 0:
		return no(featureIncompatOff, "checksums that start from it and the features ea_inode, mmp or meta_bg; tune2fs -O metadata_csum_seed parts them")
	}
	return nil
}

// staleGroup has the descriptor of a group written.
func (w *Writer) staleGroup(n uint64) {
	if gr := w.groupState(n); !gr.stale {
		gr.stale = true
		w.stale = append(w.stale, gr)
	}
}

// backupUUID brings the copies of the superblock up to date, which otherwise
// stay as mke2fs has made them, and the checksums of the descriptors behind
// them.
func (w *Writer) backupUUID(descs bool) error {
	for n := uint64(1); n < w.FS.groups; n++ {
		if !w.sb.HasSuper(n) {
			continue
		}
		start := w.groupStart(n)
		b, err := w.cache.Modify(w.offset(start), ondisk.SuperSize)
		if err != nil {
			return err
		}
		old, err := ondisk.DecodeSuperblock(b)
		if err != nil {
			return err
		}
		if old.Magic != ondisk.SuperMagic {
			continue // no copy; e2fsck says so
		}
		copy(b[superUUIDOff:], w.sb.UUID[:])
		if w.metadataCsum {
			ondisk.SealSuper(b)
		}
		for g := uint64(0); descs && g < w.FS.groups; g++ {
			off := w.offset(start+1+g/w.descPerBlock()) + int64(g%w.descPerBlock())*int64(w.descSize)
			b, err := w.cache.Modify(off, w.descSize)
			if err != nil {
				return err
			}
			ondisk.SealGroupDesc(w.sb, uint32(g), b)
		}
		if err := w.spill(); err != nil {
			return err
		}
	}
	return nil
}

// spill hands modified metadata to the transaction if there is much of it.
func (w *Writer) spill() error {
	if w.cache.Modified() < flushBytes {
		return nil
	}
	return w.cache.Flush(w.tx)
}
