package fsck

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Setup: find the superblock, or a copy of it, and hold it against the copy in
// the last group. After it, the geometry is sound: everything that it leads to
// lies in the volume.
//
// setup returns false if there is nothing that the other passes could go by.
func (c *checker) setup() (bool, error) {
	s, why, err := findSuper(c.ctx, c.dev)
	if err != nil {
		return false, err
	}
	c.geometry, c.super, c.superAt = *s.geo, s.super, s.at
	c.fromCopy = s.from != s.at && !s.partly
	if s.from != s.at {
		f, mend := c.problem(c.aboutSuper(codeSuper, 0, false, "%s; the copy at byte %d is sound", why, s.from))
		if mend {
			if err := c.write(s.raw[:c.sbsize], c.superAt); err != nil {
				return false, err
			}
			if !s.partly {
				f.lose("the label and the last mount point, if they were set after the file system was made")
			}
		}
	}
	if err := c.refuse(); err != nil {
		return false, err
	}
	if c.size<<c.fshift > c.dev.Size() {
		c.problem(c.aboutSuper(codeVolumeShort, 1080, false, "%d bytes in a volume of %d", c.size<<c.fshift, c.dev.Size()))
		c.stopped = true
		if c.tx != nil {
			return false, vfs.Corruptf(c.superAt, "superblock", "%d bytes in a volume of %d", c.size<<c.fshift, c.dev.Size())
		}
		return false, nil
	}
	if err := c.checkFields(); err != nil {
		return false, err
	}
	if err := c.checkCopy(s); err != nil {
		return false, err
	}
	c.findHidden()
	return true, nil
}

// refuse returns an error for what cannot be checked, or not be repaired.
func (c *checker) refuse() error {
	s, no := c.super, func(off int64, what string) error {
		return &vfs.NotSupportedError{What: what, Off: c.superAt + off}
	}
	switch {
	case c.flavour == ondisk.FourTwoBSD || s.OldInodeFormat < ondisk.InodeFormat44 || s.MaxSymlinkLen <= 0:
		return no(1324, "checking file systems of before 4.4BSD")
	case s.Snapshots[0] != 0:
		return no(1116, "checking a file system with snapshots")
	}
	if c.tx == nil {
		return nil
	}
	flags := s.Flags(c.flavour)
	version, _ := s.Journal()
	switch {
	case c.openBSD():
		if flags&^(ondisk.FlagUnclean|ondisk.FlagSoftdep|ondisk.FlagFlagsUpdated) != 0 {
			return no(1308, fmt.Sprintf("repairing a file system with unknown flags %#x", flags))
		}
	case flags&ondisk.FlagSUJ != 0:
		return no(1312, "repairing a file system with a journal of soft updates (SUJ)")
	case flags&ondisk.FlagGjournal != 0:
		return no(1312, "repairing a file system with gjournal")
	case c.flavour == ondisk.NetBSD && (version != 0 || flags&ondisk.FlagWAPBL != 0):
		return no(864, "repairing a file system with a journal (WAPBL)")
	case c.flavour == ondisk.NetBSD && flags&ondisk.FlagQuota2 != 0:
		return no(904, "repairing a file system with built-in quotas")
	case flags&ondisk.FlagMetaCkHash != 0:
		return no(1312, "repairing a file system with check hashes (metackhash)")
	}
	known := uint32(ondisk.FlagUnclean | ondisk.FlagSoftdep | ondisk.FlagNeedsFsck | ondisk.FlagACLs |
		ondisk.FlagMultilabel | ondisk.FlagFlagsUpdated | ondisk.FlagTrim)
	if c.flavour == ondisk.FreeBSD {
		known |= ondisk.FlagNFS4ACLs
	}
	if flags&^known != 0 && !c.openBSD() {
		return no(1312, fmt.Sprintf("repairing a file system with unknown flags %#x", flags&^known))
	}
	return nil
}

// findHidden notes the inodes that NetBSD keeps out of the directories: its
// journal and its quotas.
func (c *checker) findHidden() {
	c.hidden = [3]uint32{}
	if c.flavour != ondisk.NetBSD {
		return
	}
	ino := func(off int) uint32 {
		n := c.order.U64(c.super.Spare64[off-864:])
		if n >= uint64(c.inodes()) {
			return 0
		}
		return uint32(n)
	}
	if version, location := c.super.Journal(); version == ondisk.JournalVersion1 && location == 2 {
		c.hidden[0] = ino(896) // fs_journallocs[UFS_WAPBL_INFS_INO]
	}
	if c.super.QuotaMagicWord(c.order) == ondisk.QuotaMagic {
		c.hidden[1], c.hidden[2] = ino(912), ino(920)
	}
}

// A superField is a number of 32 or 64 bits in the superblock.
type superField struct {
	name string
	off  int
	size int
}

// derivedFields follow from the block and the fragment size.
var derivedFields = []superField{
	{"bmask", 72, 4}, {"fmask", 76, 4}, {"bshift", 80, 4}, {"fshift", 84, 4}, {"fragshift", 96, 4}, {"fsbtodb", 100, 4},
}

// staticFields are, together with the derived ones, those that are the same in
// all copies for ever: what OpenBSD's checker compares with the last one.
var staticFields = []superField{
	{"sblkno", 8, 4}, {"cblkno", 12, 4}, {"iblkno", 16, 4}, {"dblkno", 20, 4}, {"cgoffset", 24, 4}, {"cgmask", 28, 4},
	{"ncg", 44, 4}, {"bsize", 48, 4}, {"fsize", 52, 4}, {"frag", 56, 4}, {"sbsize", 104, 4},
	{"nindir", 116, 4}, {"inopb", 120, 4}, {"cssize", 156, 4}, {"cpg", 180, 4}, {"ipg", 184, 4}, {"fpg", 188, 4},
	{"magic", 1372, 4},
}

// foundBy1 and foundBy2 are what the file system is found by: in FFS1 the old
// places of some numbers count, and kernels may fill the new ones later.
var (
	foundBy1 = append([]superField{{"size", 36, 4}, {"csaddr", 152, 4}, {"cgsize", 160, 4}, {"contigsumsize", 1316, 4},
		{"nrpos", 1360, 4}}, staticFields...)
	foundBy2 = append([]superField{{"size", 1080, 8}, {"csaddr", 1096, 8}, {"cgsize", 160, 4}, {"contigsumsize", 1316, 4}},
		staticFields...)
)

func (g *geometry) foundBy() []superField {
	if g.ffs2() {
		return foundBy2
	}
	return foundBy1
}

// differing lists the fields that a, and its copy b, have differently.
func differing(fields []superField, o ondisk.Order, a, b []byte) []string {
	value := func(p []byte, f superField) int64 {
		if f.size == 8 {
			return int64(o.U64(p[f.off:]))
		}
		return int64(int32(o.U32(p[f.off:])))
	}
	var out []string
	for _, f := range fields {
		if x, y := value(a, f), value(b, f); x != y {
			out = append(out, fmt.Sprintf("%s is %d, in the copy %d", f.name, x, y))
		}
	}
	return out
}

// checkCopy compares the fields that never change with the copy in the last
// group. Which of the two is right is seen from the group headers and the other
// copies, and was decided by findSuper in favour of what c.super holds.
func (c *checker) checkCopy(s *foundSuper) error {
	at := (c.start(c.ncg-1) + c.sblkno) << c.fshift
	b := make([]byte, ondisk.SuperSize)
	if err := c.read(b, at); err != nil {
		return err
	}
	now := c.super.Append(nil, c.order)
	diff := append(differing(staticFields, c.order, now, b), differing(derivedFields, c.order, now, b)...)
	if len(diff) == 0 {
		return nil
	}
	detail := strings.Join(diff, ", ")
	if c.order.U32(b[ondisk.SuperMagicOff:]) != c.super.Magic {
		detail = "no superblock is there"
	}
	if !s.confirmedAtEnd(c.dev) && c.tx != nil {
		return vfs.Corruptf(c.superAt, "superblock", "neither a copy of it nor a group header is in the last group")
	}
	f := c.aboutSuper(codeSuperCopy, 0, true, "the copy in cylinder group %d: %s", c.ncg-1, detail)
	f.Off = at
	if _, mend := c.problem(f); mend {
		whole := make([]byte, c.sbsize)
		if err := c.read(whole, c.superAt); err != nil {
			return err
		}
		copy(whole, now)
		return c.write(whole, at)
	}
	return nil
}

// checkFields recomputes the fields that follow from others, and mends them:
// fsck_ffs does so too, before its first pass.
func (c *checker) checkFields() error {
	s := c.super
	field := func(name string, off int64, preen bool, got, want int64, set func()) {
		if got == want {
			return
		}
		if _, mend := c.problem(c.aboutSuper(codeSuperField, off, preen, "%s is %d, want %d", name, got, want)); mend {
			c.superDirty = true
		}
		set()
	}
	set32 := func(p *int32, v int64) func() { return func() { *p = int32(v) } }
	if s.Optim != 0 && s.Optim != 1 {
		field("optim", 128, false, int64(s.Optim), 0, set32(&s.Optim, 0))
	}
	if s.MinFree < 0 || s.MinFree > 99 {
		field("minfree", 60, false, int64(s.MinFree), 5, set32(&s.MinFree, 5))
	}
	if s.OldNpsect < s.OldNsect || int64(s.OldNpsect) > 2*int64(s.OldNsect) {
		field("npsect", 132, false, int64(s.OldNpsect), int64(s.OldNsect), set32(&s.OldNpsect, int64(s.OldNsect)))
	}
	for _, f := range []struct {
		name string
		off  int64
		p    *int32
		want int64
	}{
		{"bmask", 72, &s.BlockMask, ^(c.bsize - 1)}, {"fmask", 76, &s.FragMask, ^(c.fsize - 1)},
		{"bshift", 80, &s.BlockShift, log2(c.bsize)}, {"fshift", 84, &s.FragShift, log2(c.fsize)},
		{"fragshift", 96, &s.FragsShift, log2(c.frag)}, {"fsbtodb", 100, &s.FsbToDb, log2(c.fsize / 512)},
	} {
		field(f.name, f.off, true, int64(*f.p), f.want, set32(f.p, f.want))
	}
	want := uint64(c.maxFile - 1)
	if s.MaxFileSize != want && c.openBSD() {
		field("maxfilesize", 1328, true, int64(s.MaxFileSize), int64(want), func() { s.MaxFileSize = want })
	}
	if c.openBSD() {
		inline := int64(len(c.version.Inline(make([]byte, 256))))
		field("maxsymlinklen", 1320, true, int64(s.MaxSymlinkLen), inline, set32(&s.MaxSymlinkLen, inline))
		cg := roundUp(c.cgLayout().end+4+btotBytes(&c.geometry), c.fsize)
		field("cgsize", 160, true, int64(s.GroupSize), cg, set32(&s.GroupSize, cg))
	}
	c.maxSymlink = int64(s.MaxSymlinkLen)
	c.cgsize = int64(s.GroupSize)
	if c.cgsize > c.bsize || c.cgsize < ondisk.GroupSize {
		return vfs.Corruptf(c.superAt+160, "superblock", "group headers of %d bytes", c.cgsize)
	}
	field("qbmask", 1336, true, s.QBMask, c.bsize-1, func() { s.QBMask = c.bsize - 1 })
	field("qfmask", 1344, true, s.QFMask, c.fsize-1, func() { s.QFMask = c.fsize - 1 })
	if s.PendingBlocks != 0 || s.PendingInodes != 0 {
		_, mend := c.problem(c.aboutSuper(codeSuperPending, 1104, true,
			"%d blocks and %d inodes pending, want none", s.PendingBlocks, s.PendingInodes))
		if mend {
			s.PendingBlocks, s.PendingInodes = 0, 0
			c.superDirty = true
		}
	}
	return nil
}

// btotBytes is what CGSIZE counts for the tables of FFS1 in FFS2, which has
// none.
func btotBytes(g *geometry) int64 {
	if g.ffs2() {
		return 4*g.cpg + 2*g.cpg*g.nrpos
	}
	return 0
}

// finish writes the superblock, and its clean flag last of all: the file
// system is clean when everything that was found has been mended.
func (c *checker) finish() error {
	s := c.super
	flags := s.Flags(c.flavour)
	why := ""
	switch {
	case s.Clean != 1:
		why = fmt.Sprintf("the clean flag is %d, want 1", s.Clean)
	case !c.openBSD() && flags&ondisk.FlagNeedsFsck != 0 && c.flavour == ondisk.FreeBSD:
		why = "the flag is set that asks for a check"
	}
	if why != "" {
		before := c.unmended
		f := c.aboutSuper(codeNotClean, 209, true, "not cleanly unmounted: %s", why)
		p, mend := c.problem(f)
		switch {
		case mend && before > 0:
			c.giveUp(p, "other damage is left")
		case mend:
			s.Clean = 1
			if c.openBSD() {
				s.Word1308 &^= ondisk.FlagUnclean // of FFS1, if its flags have moved there
				s.OldFlags &^= ondisk.FlagUnclean
			} else if c.flavour == ondisk.FreeBSD {
				s.Word1312 &^= ondisk.FlagUnclean | ondisk.FlagNeedsFsck
			}
			c.superDirty = true
		}
	}
	if c.tx == nil || !c.superDirty {
		return nil
	}
	return c.write(s.Append(nil, c.order), c.superAt)
}
