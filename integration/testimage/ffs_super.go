package testimage

import "math/bits"

// finish writes the inode tables, the cylinder groups, the summary and the
// superblocks.
func (f *ffsWriter) finish() {
	summary := make([]byte, f.cssize)
	var total counts
	for c, cg := range f.groups {
		n := f.count(cg)
		total.ndir += n.ndir
		total.nbfree += n.nbfree
		total.nifree += n.nifree
		total.nffree += n.nffree
		putCounts(summary[16*c:], n)
		f.write(cg.inode, cg.start+f.iblkno)
		f.write(f.cgBlock(c, cg, n), cg.start+f.cblkno)
	}
	f.write(summary, f.dblkno)
	super := f.superblock(total)
	for _, cg := range f.groups {
		f.write(super, cg.start+f.sblkno)
	}
	if f.err == nil {
		_, f.err = f.w.WriteAt(super, f.superOff())
	}
}

// putCounts writes a struct csum of 32-bit numbers.
func putCounts(p []byte, n counts) {
	le32(p[0:], uint32(n.ndir))
	le32(p[4:], uint32(n.nbfree))
	le32(p[8:], uint32(n.nifree))
	le32(p[12:], uint32(n.nffree))
}

// cgBlock returns a cylinder group block (struct cg and its maps).
func (f *ffsWriter) cgBlock(c int, cg *group, n counts) []byte {
	p := make([]byte, f.cgsize)
	le32(p[4:], 0x00090255) // cg_magic
	le32(p[12:], uint32(c))
	le32(p[20:], uint32(cg.frags)) // cg_ndblk
	putCounts(p[24:], n)
	for i, runs := range n.frsum {
		le32(p[52+4*i:], runs)
	}
	inodes := int64(cgHeader)
	if f.version == 1 {
		le32(p[8:], uint32(f.now.Unix()))
		if c < len(f.groups)-1 {
			le16(p[16:], 1) // cg_ncyl
		}
		le16(p[18:], uint16(f.ipg)) // cg_niblk
		le32(p[84:], cgHeader)      // cg_btotoff
		le32(p[88:], cgHeader+4)    // cg_boff
		inodes = cgHeader + 4 + 2   // one cylinder, one rotational position
		le32(p[cgHeader:], uint32(n.nbfree))
		le16(p[cgHeader+4:], uint16(n.nbfree))
	} else {
		le32(p[116:], uint32(f.ipg))     // cg_ffs2_niblk
		le32(p[120:], uint32(cg.inited)) // cg_initediblk
		le64(p[136:], uint64(f.now.Unix()))
	}
	free := inodes + howmany(f.ipg, 8)
	le32(p[92:], uint32(inodes))
	le32(p[96:], uint32(free))
	le32(p[100:], uint32(free+howmany(f.fpg, 8)))
	copy(p[inodes:], cg.used)
	copy(p[free:], cg.free)
	return p
}

func log2(n int) uint32 { return uint32(bits.Len(uint(n)) - 1) }

// superblock returns struct fs, as long as fs_sbsize.
func (f *ffsWriter) superblock(total counts) []byte {
	bs, fs, frag := int64(f.bsize), int64(f.fsize), int64(f.frag)
	p := make([]byte, min(roundup(superUsed, fs), superBytes))
	u32 := func(off int, v int64) { le32(p[off:], uint32(v)) }
	u64 := func(off int, v int64) { le64(p[off:], uint64(v)) }
	u32(8, f.sblkno)
	u32(12, f.cblkno)
	u32(16, f.iblkno)
	u32(20, f.dblkno)
	u32(44, f.ncg)
	u32(48, bs)
	u32(52, fs)
	u32(56, frag)
	u32(60, 5) // fs_minfree, percent
	u32(72, ^(bs - 1))
	u32(76, ^(fs - 1))
	le32(p[80:], log2(f.bsize))
	le32(p[84:], log2(f.fsize))
	u32(88, 1)        // fs_maxcontig
	u32(92, f.nindir) // fs_maxbpg
	le32(p[96:], log2(f.frag))
	le32(p[100:], log2(f.fsize/512)) // fs_fsbtodb
	u32(104, int64(len(p)))          // fs_sbsize
	u32(116, f.nindir)
	u32(120, f.inopb)
	u32(124, fs/512) // fs_nspf
	u32(144, f.now.Unix())
	le32(p[148:], f.rng.Uint32())
	u32(156, f.cssize)
	u32(160, f.cgsize)
	u32(180, 1) // fs_cpg
	u32(184, f.ipg)
	u32(188, f.fpg)
	if !f.opt.Dirty {
		p[209] = 1 // fs_clean
	}
	copy(p[212:212+467], f.opt.Mounted)
	if f.version == 1 {
		spc := f.fpg * fs / 512
		u32(28, -1) // fs_cgmask
		u32(32, f.now.Unix())
		u32(36, f.size)
		u32(40, f.dsize)
		u32(68, 60)               // fs_rps
		u32(132, spc)             // fs_npsect
		u32(136, 1)               // fs_interleave
		u32(152, f.dblkno)        // fs_ffs1_csaddr
		putCounts(p[192:], total) // fs_ffs1_cstotal
		u32(168, spc)             // fs_nsect
		u32(172, spc)             // fs_spc
		u32(176, f.ncg)           // fs_ncyl
	}
	u64(1000, f.superOff())
	u64(1008, total.ndir)
	u64(1016, total.nbfree)
	u64(1024, total.nifree)
	u64(1032, total.nffree)
	u64(1072, f.now.Unix())
	u64(1080, f.size)
	u64(1088, f.dsize)
	u64(1096, f.dblkno) // fs_csaddr
	u32(1196, 16384)    // fs_avgfilesize
	u32(1200, 64)       // fs_avgfpdir
	u32(1320, f.maxShortLink())
	u32(1324, 2) // fs_inodefmt: 4.4BSD
	n := f.nindir
	u64(1328, bs*12-1+bs*(n+n*n+n*n*n))
	u64(1336, bs-1)
	u64(1344, fs-1)
	u32(1356, 1) // fs_postblformat
	u32(1360, 1) // fs_nrpos
	if f.version == 1 {
		le32(p[1372:], 0x00011954)
	} else {
		le32(p[1372:], 0x19540119)
	}
	return p
}
