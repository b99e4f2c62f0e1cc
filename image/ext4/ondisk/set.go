package ondisk

// What changes one field of a structure in place and leaves the rest of it
// alone, also what nobody here knows. Checksums are set by the functions whose
// names begin with Seal, last.

// SetInodeMode sets i_mode of the inode in b.
func SetInodeMode(b []byte, mode uint16) { le.PutUint16(b[0x00:], mode) }

// SetInodeSize sets i_size, both halves.
func SetInodeSize(b []byte, size uint64) {
	le.PutUint32(b[0x04:], uint32(size))
	le.PutUint32(b[0x6C:], uint32(size>>32))
}

// SetInodeDtime sets i_dtime.
func SetInodeDtime(b []byte, t uint32) { le.PutUint32(b[0x14:], t) }

// SetInodeBlocks sets i_blocks, 48 bits.
func SetInodeBlocks(b []byte, n uint64) {
	le.PutUint32(b[0x1C:], uint32(n))
	le.PutUint16(b[0x74:], uint16(n>>32))
}

// SetInodeFlags sets i_flags.
func SetInodeFlags(b []byte, flags uint32) { le.PutUint32(b[0x20:], flags) }

// InodeBlock is i_block of the inode in b, to be changed.
func InodeBlock(b []byte) []byte { return b[0x28 : 0x28+BlockLen] }

// SetInodeFileACL sets i_file_acl, both halves.
func SetInodeFileACL(b []byte, block uint64) {
	le.PutUint32(b[0x68:], uint32(block))
	le.PutUint16(b[0x76:], uint16(block>>32))
}

// InodeFragment is i_faddr: the address of a fragment, which was never used.
func InodeFragment(b []byte) uint32 { return le.Uint32(b[0x70:]) }

// ClearInodeFragment sets i_faddr to zero.
func ClearInodeFragment(b []byte) { le.PutUint32(b[0x70:], 0) }

// SetInodeExtraIsize sets i_extra_isize.
func SetInodeExtraIsize(b []byte, n uint16) { le.PutUint16(b[0x80:], n) }

// inodeTimes are the offsets of the seconds of a time and of its extra word.
var inodeTimes = [...][2]int{{0x08, 0x8C}, {0x0C, 0x84}, {0x10, 0x88}, {0x90, 0x94}}

// InodeTimesOfOldKernels counts the times of the inode in b that are written
// as kernels before 3.14 wrote those before 1970: with the bits for years from
// 2310 on. If mend is true it takes these bits away.
func InodeTimesOfOldKernels(b []byte, mend bool) (n int) {
	end := InodeSizeOld + int(le.Uint16(b[0x80:]))
	for _, t := range inodeTimes {
		if t[1]+4 > min(end, len(b)) || le.Uint32(b[t[0]:])>>31 == 0 || b[t[1]]&3 != 3 {
			continue
		}
		n++
		if mend {
			b[t[1]] &^= 3
		}
	}
	return n
}

// XattrRefs is the number of references to an inode that holds the value of an
// attribute (ext4_xattr_inode_get_ref): it lies where other inodes have their
// time of change and their version.
func XattrRefs(b []byte) uint64 {
	return uint64(le.Uint32(b[0x0C:]))<<32 | uint64(le.Uint32(b[0x24:]))
}

// SetXattrRefs sets what [XattrRefs] returns.
func SetXattrRefs(b []byte, n uint64) {
	le.PutUint32(b[0x0C:], uint32(n>>32))
	le.PutUint32(b[0x24:], uint32(n))
}

// SealSuper sets the checksum of the superblock in b.
func SealSuper(b []byte) { le.PutUint32(b[SuperSize-4:], SuperChecksum(b)) }
