package ondisk

// Namespaces of extended attributes.
const (
	ExtattrEmpty  = 0 // a deleted record
	ExtattrUser   = 1
	ExtattrSystem = 2
)

// ExtattrHeader is the size of a record before its name.
const ExtattrHeader = 7

// Extattr is one record of the extended attribute area of an FFS2 inode:
// struct extattr. Name and Content are slices of the area.
type Extattr struct {
	Namespace uint8
	Name      []byte
	Content   []byte
}

// DecodeExtattr decodes the record at the start of b and returns its length,
// or false if it does not fit into b. The content begins at the next multiple
// of 8 behind the name; its last bytes may be padding.
func DecodeExtattr(b []byte, o Order) (e Extattr, n int, ok bool) {
	if len(b) < ExtattrHeader {
		return e, 0, false
	}
	length, pad, nameLen := o.U32(b), int(b[5]), int(b[6])
	base := (ExtattrHeader + nameLen + 7) &^ 7
	if uint64(length) > uint64(len(b)) || int(length) < base+pad {
		return e, 0, false
	}
	n = int(length)
	return Extattr{
		Namespace: b[4],
		Name:      b[ExtattrHeader : ExtattrHeader+nameLen],
		Content:   b[base : n-pad],
	}, n, true
}
