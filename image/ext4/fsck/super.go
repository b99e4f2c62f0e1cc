package fsck

import (
	"errors"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// setup finds the superblock and the descriptors, and looks at the journal.
func (c *checker) setup() error {
	if err := c.findSuper(); err != nil {
		return err
	}
	if err := c.features(); err != nil {
		return err
	}
	if c.mode != vfs.RepairNone {
		if err := c.refuseRepair(); err != nil {
			return err
		}
	}
	if err := c.checkSuper(); err != nil {
		return err
	}
	if err := c.loadDescs(); err != nil {
		return err
	}
	if err := c.checkJournal(); err != nil {
		return err
	}
	c.checkState()
	return nil
}

// refuseRepair names what is checked, but not kept up by a repair.
func (c *checker) refuseRepair() error {
	switch {
	case c.hasRO(ondisk.ROCompatQuota):
		return &vfs.NotSupportedError{What: "repairing an ext4 file system with quotas (feature quota)", Off: ondisk.SuperOff + 0x64}
	case c.hasRO(ondisk.ROCompatReadonly):
		return &vfs.NotSupportedError{What: "repairing an ext4 file system that is never to be written (feature read-only)", Off: ondisk.SuperOff + 0x64}
	}
	return nil
}

// parseSuper decodes a superblock and judges it.
func parseSuper(raw []byte) (*geometry, error) { return parseSuperSum(raw, true) }

// parseSuperSum is parseSuper with or without a look at the checksum.
func parseSuperSum(raw []byte, verify bool) (*geometry, error) {
	sb, err := ondisk.DecodeSuperblock(raw)
	if err != nil {
		return nil, err
	}
	if sb.Magic != ondisk.SuperMagic {
		return nil, superCorrupt(0x38, "bad magic %#04x, want %#04x", sb.Magic, ondisk.SuperMagic)
	}
	if verify && sb.FeatureROCompat&ondisk.ROCompatMetadataCsum != 0 && sb.ChecksumType == ondisk.ChecksumCRC32C {
		if want := ondisk.SuperChecksum(raw); sb.Checksum != want {
			return nil, superCorrupt(0x3FC, "checksum %#08x, want %#08x", sb.Checksum, want)
		}
	}
	return newGeometry(sb)
}

// findSuper takes the primary superblock, or else a copy.
func (c *checker) findSuper() error {
	raw := make([]byte, ondisk.SuperSize)
	if c.dev.Size() < ondisk.SuperOff+ondisk.SuperSize {
		return vfs.Corruptf(-1, "volume", "%d bytes are no file system", c.dev.Size())
	}
	if err := c.read(raw, ondisk.SuperOff); err != nil {
		return err
	}
	g, err := parseSuper(raw)
	c.fromCopy = false
	if err != nil {
		primary := err
		var at int64
		if g, raw, at, err = findCopy(c.dev); err != nil {
			return err
		}
		var corrupt *vfs.CorruptError
		if !errors.As(primary, &corrupt) {
			return primary
		}
		if g == nil {
			return c.onlySuper(corrupt)
		}
		f := aboutSuper(codeSuper, corrupt.Off-ondisk.SuperOff, "%s; the copy at byte %d is good", corrupt.Detail, at)
		if _, mend := c.problem(f); mend {
			c.superDirty = true
		}
		c.fromCopy = true
		// What a copy does not know.
		le.PutUint16(raw[0x5A:], 0)                               // s_block_group_nr
		le.PutUint16(raw[0x3A:], g.sb.State&^ondisk.StateError|1) // s_state
		le.PutUint32(raw[0xE8:], 0)                               // s_last_orphan
		if g.sb, err = ondisk.DecodeSuperblock(raw); err != nil {
			return err
		}
	}
	return c.useSuper(g, raw)
}

// onlySuper takes a primary superblock of which no more than the checksum is
// known to be wrong, if there is no copy.
func (c *checker) onlySuper(primary *vfs.CorruptError) error {
	raw := make([]byte, ondisk.SuperSize)
	if err := c.read(raw, ondisk.SuperOff); err != nil {
		return err
	}
	g, err := parseSuperSum(raw, false)
	if err != nil {
		return primary
	}
	if _, mend := c.problem(aboutSuper(codeSuper, primary.Off-ondisk.SuperOff, "%s; there is no copy, and the rest makes sense", primary.Detail)); mend {
		c.superDirty = true
	}
	return c.useSuper(g, raw)
}

// useSuper goes on with a superblock.
func (c *checker) useSuper(g *geometry, raw []byte) error {
	c.geometry, c.super = *g, raw
	if c.blocks > uint64(c.dev.Size())>>c.bshift {
		return vfs.Corruptf(ondisk.SuperOff+4, "superblock", "%d blocks of %d bytes, but the volume has only %d bytes: is the image truncated?",
			c.blocks, c.bsize, c.dev.Size())
	}
	return nil
}

// copyGroups are the groups in which copies are looked for: those of
// sparse_super, which are among those of all other schemes but sparse_super2,
// which begins with the first.
var copyGroups = [...]uint64{1, 3, 5, 7, 9, 25, 27, 49}

// findCopy looks for a good copy of the superblock where mke2fs puts them, for
// each size of blocks and clusters. It returns nil if there is none.
func findCopy(dev blockio.Device) (*geometry, []byte, int64, error) {
	raw := make([]byte, ondisk.SuperSize)
	seen := map[int64]bool{}
	for shift := uint(10); shift <= 16; shift++ {
		for ratio := uint(0); ratio <= 9; ratio++ {
			for _, n := range copyGroups {
				at := int64(n) << (2*shift + 3 + ratio)
				if shift == 10 && ratio == 0 {
					at += 1 << shift // block 0 is in no group
				}
				if at > dev.Size()-ondisk.SuperSize {
					break
				}
				for _, at := range []int64{at, at + 1<<shift} {
					if seen[at] || at > dev.Size()-ondisk.SuperSize {
						continue
					}
					seen[at] = true
					if err := readAt(dev, raw, at); err != nil {
						return nil, nil, 0, err
					}
					g, err := parseSuper(raw)
					if err == nil && g.sb.BlockGroupNr != 0 && g.off(g.start(uint32(g.sb.BlockGroupNr))) == at &&
						g.blocks <= uint64(dev.Size())>>g.bshift {
						return g, raw, at, nil
					}
				}
			}
		}
	}
	return scanForCopy(dev)
}

// maxScanned bounds how much of a volume is read in search of a copy.
const maxScanned = 1 << 30

// scanForCopy looks for a copy of the superblock everywhere: with mke2fs -g,
// groups are of any size.
func scanForCopy(dev blockio.Device) (*geometry, []byte, int64, error) {
	const step = 1 << 20
	b := make([]byte, step)
	for from := int64(0); from < min(dev.Size(), maxScanned); from += step {
		n := min(step, dev.Size()-from)
		if err := readAt(dev, b[:n], from); err != nil {
			return nil, nil, 0, err
		}
		for i := int64(0); i+ondisk.SuperSize <= n; i += 1024 {
			if le.Uint16(b[i+0x38:]) != ondisk.SuperMagic {
				continue
			}
			raw := append([]byte(nil), b[i:i+ondisk.SuperSize]...)
			g, err := parseSuper(raw)
			if err == nil && g.sb.BlockGroupNr != 0 && g.off(g.start(uint32(g.sb.BlockGroupNr))) == from+i &&
				g.blocks <= uint64(dev.Size())>>g.bshift {
				return g, raw, from + i, nil
			}
		}
	}
	return nil, nil, 0, nil
}

// checkSuper looks at the fields that nothing else follows from.
func (c *checker) checkSuper() error {
	sb := c.sb
	field := func(off int64, set func(), format string, args ...any) {
		if _, mend := c.problem(aboutSuper(codeSuperField, off, format, args...)); mend {
			set()
			c.superDirty = true
		}
	}
	if sb.ReservedBlocks() > c.blocks/2 {
		field(0x08, func() {
			le.PutUint32(c.super[0x08:], uint32(c.blocks/20))
			le.PutUint32(c.super[0x154:], uint32(c.blocks/20>>32))
		}, "%d blocks of %d are reserved, want at most half", sb.ReservedBlocks(), c.blocks)
	}
	if sb.ReservedGDTBlocks != 0 && !c.hasCompat(ondisk.CompatResizeInode) {
		field(0xCE, func() { le.PutUint16(c.super[0xCE:], 0) },
			"%d blocks reserved for descriptors, but not the feature resize_inode", sb.ReservedGDTBlocks)
	}
	if c.hasIncompat(ondisk.IncompatMetaBg) && c.hasCompat(ondisk.CompatResizeInode) {
		field(0x5C, func() { c.setCompat(ondisk.CompatResizeInode, false) }, "the features meta_bg and resize_inode exclude each other")
	}
	if c.hasRO(ondisk.ROCompatMetadataCsum) && c.hasRO(ondisk.ROCompatGDTCsum) {
		field(0x64, func() {
			le.PutUint32(c.super[0x64:], uint32(sb.FeatureROCompat&^ondisk.ROCompatGDTCsum))
		}, "the features metadata_csum and uninit_bg exclude each other")
	}
	if c.hasIncompat(ondisk.IncompatCsumSeed) && !c.csum {
		field(0x60, func() {
			le.PutUint32(c.super[0x60:], uint32(sb.FeatureIncompat&^ondisk.IncompatCsumSeed))
		}, "the feature metadata_csum_seed without metadata_csum")
	}
	if !sb.Dynamic() && (sb.FeatureCompat != 0 || sb.FeatureIncompat != 0 || sb.FeatureROCompat != 0) {
		field(0x4C, func() { le.PutUint32(c.super[0x4C:], 1) }, "features in a file system of revision 0")
	}
	if sb.Dynamic() && c.isize > ondisk.InodeSizeOld {
		room := uint16(c.isize - ondisk.InodeSizeOld)
		for _, f := range []struct {
			off int64
			v   uint16
		}{{0x15C, sb.MinExtraIsize}, {0x15E, sb.WantExtraIsize}} {
			if f.v != 0 && (f.v < 4 || f.v > room || f.v%4 != 0) {
				field(f.off, func() { le.PutUint16(c.super[f.off:], 32) }, "extra size of inodes of %d bytes", f.v)
			}
		}
	}
	return nil
}

// setCompat sets or clears a compatible feature.
func (c *checker) setCompat(f ondisk.Compat, on bool) {
	if on {
		c.sb.FeatureCompat |= f
	} else {
		c.sb.FeatureCompat &^= f
	}
	le.PutUint32(c.super[0x5C:], uint32(c.sb.FeatureCompat))
	c.superDirty = true
}

// checkState reports what the last one to write has noted about the state of
// the file system. It comes after the journal, whose replay settles it.
func (c *checker) checkState() {
	var why string
	switch {
	case c.fromCopy:
		return
	case c.sb.State&ondisk.StateError != 0:
		why = "the system has met errors in the file system"
		if n := c.sb.ErrorCount; n > 0 {
			why += fmt.Sprintf(" (%d)", n)
		}
	case c.sb.State&ondisk.StateValid == 0:
		why = "the file system was not cleanly unmounted"
	default:
		return
	}
	if _, mend := c.problem(aboutSuper(codeNotClean, 0x3A, "%s", why).preen()); mend {
		c.sb.State = c.sb.State&^(ondisk.StateError|ondisk.StateOrphan) | ondisk.StateValid
		le.PutUint16(c.super[0x3A:], c.sb.State)
		clear(c.super[0x194:0x200]) // s_error_count to s_last_error_func
		c.superDirty = true
	}
}
