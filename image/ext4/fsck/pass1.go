package fsck

import (
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Pass 1 looks at every inode that may be in use, each for itself. When it is
// done,
//
//   - kind knows every inode that is in use, and what it is;
//   - used has every cluster that belongs to metadata or to a file;
//   - links knows the link counts that are not 1;
//   - in a repair: every pointer leads to a block that is its alone, and every
//     inode is sound by itself.

// A scan is the state of looking at one inode.
type scan struct {
	in       inode
	w        walk
	group    uint32
	dirty    bool   // in.raw has changed
	sumBad   bool   // the checksum of the inode is wrong
	other    bool   // something else is wrong with it
	clusters uint64 // that it has
	lastEnd  run    // the last run claimed
	around   []byte // the block of the inode table that it is in
	block    []byte
	spans    [][2]int
}

// maxScans bounds how often pass 1 begins anew; each time something has been
// mended.
const maxScans = 32

func (c *checker) pass1() error {
	if err := c.checkOrphans(); err != nil {
		return err
	}
	for range maxScans {
		c.again = false
		if err := c.scanAll(); err != nil {
			return err
		}
		if !c.again {
			if err := c.checkResizeInode(); err != nil {
				return err
			}
		}
		if !c.again {
			if err := c.pass1b(); err != nil {
				return err
			}
		}
		if !c.again {
			return c.checkXattrRefs()
		}
	}
	return vfs.Corruptf(-1, "file system", "inodes still damaged after %d rounds of repair", maxScans)
}

// scanAll scans all inodes.
func (c *checker) scanAll() error {
	c.used = c.emptied()
	if int64(len(c.kind)) != int64(c.inodes/2+1) {
		c.kind = newNibbles(c.inodes)
	} else {
		clear(c.kind)
	}
	orphans := c.orphans
	c.inodeState = inodeState{
		links: map[uint32]linkCount{}, mangled: map[uint32]bool{}, eaRefs: map[uint32]uint64{},
		eaInodes: map[uint32]bool{}, eaBlocks: map[uint64]*eaBlock{}, orphans: orphans,
	}
	c.dups, c.dirs, c.lost, c.allocAt, c.inodeAt = c.dups[:0], c.dirs[:0], lostFound{}, 0, 0
	for _, s := range c.meta {
		c.used.setRange(c.cluster(s.from), c.cluster(s.to-1)+1)
	}
	for g := range c.groups {
		c.desc[g].dirs = 0
		if err := c.scanGroup(g); err != nil {
			return err
		}
	}
	if c.bigFiles && !c.hasRO(ondisk.ROCompatLargeFile) {
		if _, mend := c.problem(aboutSuper(codeSuperField, 0x64, "a file is larger than 2 GiB, but the feature large_file is missing").preen()); mend {
			c.sb.FeatureROCompat |= ondisk.ROCompatLargeFile
			le.PutUint32(c.super[0x64:], uint32(c.sb.FeatureROCompat))
			c.superDirty = true
		}
	}
	return nil
}

// emptied returns the bitmap of clusters without a bit.
func (c *checker) emptied() bitmap {
	if uint64(len(c.used)) == (c.clusters+63)/64 {
		clear(c.used)
		return c.used
	}
	return newBitmap(c.clusters)
}

// tableBytes is how much of an inode table is read at a time.
const tableBytes = 256 << 10

// scanGroup scans the inodes of a group that may be in use.
func (c *checker) scanGroup(g uint32) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	c.scan.group = g
	count := int64(c.scanned(g))
	c.table = buffer(c.table, tableBytes)
	off := c.off(c.desc[g].InodeTable)
	for i := int64(0); i < count; {
		n := min(tableBytes/c.isize, count-i)
		b := c.table[:n*c.isize]
		if err := c.read(b, off+i*c.isize); err != nil {
			return err
		}
		for k := range n {
			raw := b[k*c.isize:][:c.isize]
			ino := g*c.ipg + uint32(i+k) + 1
			if le.Uint32(raw[0x18:]) == 0 && le.Uint16(raw) == 0 && ino >= c.firstIno && blockio.IsZero(raw) {
				continue
			}
			at := k * c.isize &^ (c.bsize - 1)
			c.scan.around = b[at:min(at+c.bsize, int64(len(b)))]
			if err := c.scanInode(ino, raw); err != nil {
				return err
			}
		}
		i += n
	}
	return nil
}

// fault reports something about the inode that is being scanned.
func (c *checker) fault(f finding) (*finding, bool) {
	c.scan.other = true
	return c.problem(f)
}

// scanInode looks at an inode, and writes it back if it was mended.
func (c *checker) scanInode(ino uint32, raw []byte) error {
	s := &c.scan
	in := &s.in
	in.num, in.raw, in.base = ino, raw, c.seed
	in.decode()
	s.sumBad, s.other, s.dirty, s.clusters, s.lastEnd = !c.sumGood(in), false, false, 0, run{}
	if s.sumBad && c.desc[s.group].distrusted && ino >= c.firstIno && !c.written(s.around, ino) {
		f, mend := c.fault(c.aboutInode(codeInodeSum, ino, "checksum %#08x in a group whose descriptor is damaged: never written, or garbage", in.Checksum))
		if mend {
			if in.Links > 0 {
				f.lose("what inode %d was, if it was a file: it says that it has %s", ino, claimed(in.Size))
			}
			c.again = true
			return c.clearInode(ino)
		}
		return nil
	}
	if err := c.scanKind(in); err != nil {
		return err
	}
	if s.sumBad && !c.again {
		// A checksum is made to fit only if there is nothing else to doubt.
		f := c.aboutInode(codeInodeSum, ino, "checksum %#08x, want %#08x", in.Checksum, ondisk.InodeChecksum(in.seed, in.raw, in.HasHi))
		f.Preen = !s.other
		if _, mend := c.problem(f); mend {
			s.dirty = true
		}
	}
	if s.dirty {
		return c.store(in)
	}
	return nil
}

// written reports whether a block of the inode table that holds inode ino was
// ever written: as a whole, so that one good inode in it is proof.
func (c *checker) written(block []byte, ino uint32) bool {
	per := uint32(c.bsize / c.isize)
	in := inode{num: ino - (ino-1)%c.ipg%per, base: c.seed}
	for ; len(block) > 0; block = block[c.isize:] {
		in.raw = block[:c.isize]
		in.decode()
		if c.sumGood(&in) && !blockio.IsZero(in.raw) {
			return true
		}
		in.num++
	}
	return false
}

// lowDtime reports whether the time of deletion is the number of an inode, as
// in a list of orphans.
func (c *checker) lowDtime(in *inode) bool {
	return in.Dtime != 0 && in.Dtime < c.inodes && c.sb.MkfsTime >= c.inodes
}

// scanKind tells the special inodes from the others.
func (c *checker) scanKind(in *inode) error {
	if c.lowDtime(in) && !c.orphans[in.num] {
		f := c.aboutInode(codeOrphan, in.num, "time of deletion %d, as in a list of orphans, which it is not in", in.Dtime).preen()
		if _, mend := c.fault(f); mend {
			t := c.now()
			if in.Links > 0 {
				t = 0
			}
			ondisk.SetInodeDtime(in.raw, t)
			in.decode()
			c.scan.dirty = true
		}
	}
	switch ino := in.num; {
	case ino == badBlocksIno:
		return c.scanBadBlocks(in)
	case ino == ondisk.RootIno:
	case ino == c.sb.JournalIno && c.hasCompat(ondisk.CompatHasJournal):
		return c.scanHidden(in, "journal")
	case ino == c.sb.OrphanFileIno && c.hasCompat(ondisk.CompatOrphanFile):
		return c.scanHidden(in, "orphan file")
	case c.isQuota(ino):
		return c.scanHidden(in, "quota")
	case ino == ondisk.ResizeIno:
		return c.scanResize(in)
	case ino < c.firstIno:
		return c.scanReserved(in)
	}
	return c.scanFile(in)
}

// isQuota reports whether an inode holds quotas.
func (c *checker) isQuota(ino uint32) bool {
	return c.hasRO(ondisk.ROCompatQuota) && ino != 0 &&
		(ino == c.sb.UsrQuotaIno || ino == c.sb.GrpQuotaIno || ino == c.sb.PrjQuotaIno)
}

// isHidden reports whether an inode has no name and needs none.
func (c *checker) isHidden(ino uint32) bool {
	return ino < c.firstIno && ino != ondisk.RootIno || c.isQuota(ino) ||
		ino == c.sb.OrphanFileIno && c.hasCompat(ondisk.CompatOrphanFile)
}

// scanFile looks at the inode of a file.
func (c *checker) scanFile(in *inode) error {
	s := &c.scan
	ino := in.num
	orphan := c.orphans[ino]
	if in.Links == 0 && !orphan {
		if in.Dtime == 0 && in.Mode != 0 {
			f := c.aboutInode(codeDtime, ino, "deleted, but without a time of deletion").preen()
			if _, mend := c.fault(f); mend {
				ondisk.SetInodeDtime(in.raw, c.now())
				s.dirty = true
			}
		}
		return nil
	}
	if in.Dtime != 0 && !c.lowDtime(in) && in.Links > 0 && !orphan {
		if _, mend := c.fault(c.aboutInode(codeDtime, ino, "in use, but with a time of deletion, %d", in.Dtime).preen()); mend {
			ondisk.SetInodeDtime(in.raw, 0)
			s.dirty = true
		}
	}
	kind := kindOf(in.Mode)
	why := ""
	var err error
	switch kind {
	case inoFree:
		why = "its mode is of no type of file"
	case inoChar, inoBlock, inoFIFO, inoSocket:
		why = deviceProblem(in)
	case inoSymlink:
		why, err = c.symlinkProblem(in)
	}
	if err != nil {
		return err
	}
	if why != "" {
		code := codeInodeType
		if kind == inoSymlink {
			code = codeSymlink
		}
		f, mend := c.fault(c.aboutInode(code, ino, "mode %#o: %s", in.Mode, why))
		if mend {
			f.lose("inode %d, which says that it has %s", ino, claimed(in.Size))
			c.again, s.sumBad, s.dirty = true, false, false
			return c.clearInode(ino)
		}
		c.mangled[ino] = true
		c.kind.put(ino, max(kind, inoReg))
		return nil
	}
	if err := c.scanFields(in, kind); err != nil {
		return err
	}
	if c.again && s.dirty {
		return nil
	}
	c.kind.put(ino, kind)
	if kind == inoDir {
		c.desc[s.group].dirs++
		c.dirs = append(c.dirs, dirInfo{ino: ino, links: in.Links})
	} else if in.Links != 1 {
		c.links[ino] = linkCount{has: uint32(in.Links)}
	}
	if in.has(ondisk.FlEAInode) && c.hasIncompat(ondisk.IncompatEAInode) {
		c.eaInodes[ino] = true
	}
	return c.scanBlocks(in)
}

// setFlags changes i_flags of the inode that is being scanned.
func (c *checker) setFlags(in *inode, set, clear uint32) {
	ondisk.SetInodeFlags(in.raw, in.Flags&^clear|set)
	in.decode()
	c.scan.dirty = true
}

// scanFields looks at flags and fields that have nothing to do with blocks.
func (c *checker) scanFields(in *inode, kind uint8) error {
	ino := in.num
	flags := func(set, clear uint32, format string, args ...any) {
		if _, mend := c.fault(c.aboutInode(codeInodeFlags, ino, format, args...)); mend {
			c.setFlags(in, set, clear)
		}
	}
	c.scanFlags(in)
	extents, inline := c.hasIncompat(ondisk.IncompatExtents), c.hasIncompat(ondisk.IncompatInlineData)
	if kind == inoReg || kind == inoDir {
		looksLike := headerProblem(ondisk.DecodeExtentHeader(in.Block[:]), ondisk.BlockLen, int(le.Uint16(in.Block[6:]))) == "" &&
			le.Uint16(in.Block[6:]) <= ondisk.MaxExtentDepth && in.Block[2] != 0
		switch {
		case in.has(ondisk.FlInlineData) && in.has(ondisk.FlExtents):
			if _, ok := c.inlineSize(in); ok && inline && !looksLike {
				flags(0, ondisk.FlExtents, "the flags of inline data and of extents exclude each other")
			} else {
				flags(0, ondisk.FlInlineData, "the flags of inline data and of extents exclude each other")
			}
		case in.has(ondisk.FlExtents) && !extents && looksLike:
			if _, mend := c.fault(c.aboutInode(codeInodeFlags, ino, "has extents, but the superblock not the feature of them")); mend {
				c.sb.FeatureIncompat |= ondisk.IncompatExtents
				le.PutUint32(c.super[0x60:], uint32(c.sb.FeatureIncompat))
				c.superDirty = true
			}
		case in.has(ondisk.FlExtents) && !extents:
			flags(0, ondisk.FlExtents, "has extents without the feature extents")
		case extents && looksLike && !in.has(ondisk.FlExtents|ondisk.FlInlineData):
			flags(ondisk.FlExtents, 0, "has extents, but not the flag of them")
		}
		if in.has(ondisk.FlInlineData) {
			_, ok := c.inlineSize(in)
			switch {
			case !inline:
				flags(0, ondisk.FlInlineData, "has the flag of inline data without the feature inline_data")
			case !ok:
				f, mend := c.fault(c.aboutInode(codeInline, ino, "has the flag of inline data, but not the attribute for it"))
				if mend {
					f.lose("what is in inode %d: up to %d bytes", ino, in.Size)
					clear(ondisk.InodeBlock(in.raw))
					c.setFlags(in, 0, ondisk.FlInlineData)
					ondisk.SetInodeSize(in.raw, 0)
					if extents {
						emptyRoot(ondisk.InodeBlock(in.raw))
						c.setFlags(in, ondisk.FlExtents, 0)
					}
					in.decode()
					c.again = true
				}
			}
		}
	} else {
		if kind != inoSymlink && in.has(ondisk.FlExtents|ondisk.FlInlineData) {
			flags(0, ondisk.FlExtents|ondisk.FlInlineData, "a special file with extents or inline data")
		}
		if in.has(ondisk.FlImmutable | ondisk.FlAppend) {
			flags(0, ondisk.FlImmutable|ondisk.FlAppend, "a special file that is immutable or append-only")
		}
		if kind != inoSymlink && in.Size != 0 {
			if _, mend := c.fault(c.aboutInode(codeInodeSize, ino, "a special file of %d bytes", in.Size)); mend {
				ondisk.SetInodeSize(in.raw, 0)
				in.decode()
				c.scan.dirty = true
			}
		}
		if kind == inoSymlink && in.has(ondisk.FlExtents) && !c.hasBlocks(in) {
			flags(0, ondisk.FlExtents, "a short symbolic link with the flag of extents")
		}
	}
	if c.sb.CreatorOS != ondisk.OSHurd {
		c.scanUnused(in, kind)
	}
	return c.scanExtra(in)
}

// Flags that only mean something together with a feature, or mean nothing any
// more.
const (
	flCompressedBlocks = 0x00000200 // EXT2_COMPRBLK_FL
	flImagic           = 0x00002000 // EXT4_IMAGIC_FL
)

// scanFlags looks at flags that only some inodes may have.
func (c *checker) scanFlags(in *inode) {
	flag := func(fl uint32, bad bool, why string) {
		if !bad || !in.has(fl) {
			return
		}
		if _, mend := c.fault(c.aboutInode(codeInodeFlags, in.num, "%s: flags %#x", why, in.Flags)); mend {
			c.setFlags(in, 0, fl)
		}
	}
	flag(flImagic, true, "an inode of AFS without the feature imagic_inodes")
	flag(flCompressedBlocks, true, "compressed without the feature compression")
	flag(ondisk.FlIndex, !in.isDir(), "the flag of a hash tree on what is no directory")
	flag(ondisk.FlCasefold, !in.isDir(), "the flag of folded case on what is no directory")
	flag(ondisk.FlCasefold, !c.hasIncompat(ondisk.IncompatCasefold), "folded case without the feature casefold")
	flag(ondisk.FlEncrypt, in.has(ondisk.FlEncrypt) && !c.hasKey(in), "encrypted, but without the attribute for that")
}

// hasKey reports whether an inode has the attribute that encrypted files have.
func (c *checker) hasKey(in *inode) (found bool) {
	visit := func(a attribute) string {
		found = found || a.NameIndex == ondisk.XattrEncryption && string(a.name) == "c"
		return ""
	}
	if at := c.inodeXattrs(in); at >= 0 {
		c.eachAttribute(in.raw, at, at, false, visit)
	}
	if block := c.fileACL(in); !found && in.has(ondisk.FlEncrypt) && c.fits(block, 1) {
		b := make([]byte, c.bsize)
		if c.readBlock(b, block) == nil {
			c.eachAttribute(b, ondisk.XattrBlockHeader, 0, true, visit)
		}
	}
	return found
}

// scanUnused looks at fields that have to be zero.
func (c *checker) scanUnused(in *inode, kind uint8) {
	field := func(set func(), what string, v any) {
		if _, mend := c.fault(c.aboutInode(codeInodeField, in.num, "%s is %v, want 0", what, v)); mend {
			set()
			in.decode()
			c.scan.dirty = true
		}
	}
	if v := ondisk.InodeFragment(in.raw); v != 0 {
		field(func() { ondisk.ClearInodeFragment(in.raw) }, "the address of a fragment", v)
	}
	if v := in.Blocks >> 32; v != 0 && !c.hasRO(ondisk.ROCompatHugeFile) {
		field(func() { ondisk.SetInodeBlocks(in.raw, uint64(in.BlocksLo)) }, "the upper half of i_blocks", v)
	}
	if v := in.FileACL >> 32; v != 0 && !c.hasIncompat(ondisk.Incompat64Bit) {
		field(func() { ondisk.SetInodeFileACL(in.raw, uint64(in.FileACLLo)) }, "the upper half of i_file_acl", v)
	}
	if v := in.Size >> 32; v != 0 && kind == inoDir && !c.hasIncompat(ondisk.IncompatLargeDir) {
		field(func() { ondisk.SetInodeSize(in.raw, uint64(in.SizeLo)) }, "the upper half of the size of a directory", v)
	}
}

// scanExtra looks at what is behind the first 128 bytes.
func (c *checker) scanExtra(in *inode) error {
	if c.isize == ondisk.InodeSizeOld {
		return nil
	}
	room := uint16(c.isize - ondisk.InodeSizeOld)
	if n := in.ExtraIsize; n != 0 && (n < 4 || n > room || n%4 != 0) {
		f, mend := c.fault(c.aboutInode(codeExtraIsize, in.num, "%d bytes of fields behind the first 128, want at most %d", n, room))
		if !mend {
			return nil
		}
		f.lose("times and attributes that lie in inode %d", in.num)
		ondisk.SetInodeExtraIsize(in.raw, c.extraIsize())
		clear(in.raw[ondisk.InodeSizeOld+int(c.extraIsize()):])
		in.decode()
		c.scan.dirty = true
	}
	if in.ExtraIsize < room-4 {
		if err := c.scanInodeXattrs(in); err != nil {
			return err
		}
		if n := ondisk.InodeTimesOfOldKernels(in.raw, false); n > 0 {
			if _, mend := c.fault(c.aboutInode(codeInodeTime, in.num, "%d times before 1970 in the notation of old kernels, which is that of the 24th century", n).preen()); mend {
				ondisk.InodeTimesOfOldKernels(in.raw, true)
				in.decode()
				c.scan.dirty = true
			}
		}
	}
	return nil
}
