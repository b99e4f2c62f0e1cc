package ondisk

// DirChunk is the unit in which directories are written: entries do not cross
// its borders. DIRBLKSIZ.
const DirChunk = 512

// DirentHeader is the size of an entry before its name.
const DirentHeader = 8

// Dirent is the fixed part of a directory entry: struct direct.
type Dirent struct {
	Ino     uint32 // 0: free space
	Len     uint16 // d_reclen: bytes to the next entry
	Type    uint8  // mode >> 12, or 0 in the old format
	NameLen uint16
}

// DecodeDirent decodes the first [DirentHeader] bytes of b. The old format,
// from before 4.4BSD, has no type and a name length of 16 bits.
func DecodeDirent(b []byte, o Order, old bool) Dirent {
	_ = b[DirentHeader-1]
	d := Dirent{Ino: o.U32(b[0:]), Len: o.U16(b[4:])}
	if old {
		d.NameLen = o.U16(b[6:])
	} else {
		d.Type, d.NameLen = b[6], uint16(b[7])
	}
	return d
}

// Put encodes d into the first [DirentHeader] bytes of b.
func (d Dirent) Put(b []byte, o Order, old bool) {
	o.PutU32(b[0:], d.Ino)
	o.PutU16(b[4:], d.Len)
	if old {
		o.PutU16(b[6:], d.NameLen)
	} else {
		b[6], b[7] = d.Type, uint8(d.NameLen)
	}
}

// DirentSize is the least length of an entry with a name of n bytes: header,
// name and NUL, padded to 4. DIRSIZ.
func DirentSize(n int) int { return DirentHeader + (n+1+3)&^3 }
