package ext4

import (
	"encoding/binary"
	"fmt"
)

// POSIX ACLs have one form on ext4 and another in Linux's system calls. Both
// are a version and a list of entries of tag, permissions and, on ext4 only
// where it means something, an id.
const (
	aclDiskVersion  = 1 // EXT4_ACL_VERSION
	aclLinuxVersion = 2 // POSIX_ACL_XATTR_VERSION
	aclUser         = 0x02
	aclGroup        = 0x08
	aclNoID         = 0xFFFFFFFF // ACL_UNDEFINED_ID
)

// linuxACL converts an ACL as ext4 stores it to what getxattr(2) returns.
func linuxACL(v []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(v) < 4 {
		return nil, fmt.Errorf("ACL of %d bytes", len(v))
	}
	if version := le.Uint32(v); version != aclDiskVersion {
		return nil, fmt.Errorf("ACL version %d, want %d", version, aclDiskVersion)
	}
	out := le.AppendUint32(make([]byte, 0, 2*len(v)), aclLinuxVersion)
	for v = v[4:]; len(v) > 0; {
		if len(v) < 4 {
			return nil, fmt.Errorf("ACL with %d bytes left over", len(v))
		}
		tag, id, size := le.Uint16(v), uint32(aclNoID), 4
		switch tag {
		case aclUser, aclGroup:
			if size = 8; len(v) < size {
				return nil, fmt.Errorf("ACL with %d bytes left over", len(v))
			}
			id = le.Uint32(v[4:])
		case 0x01, 0x04, 0x10, 0x20: // owner, owning group, mask, others
		default:
			return nil, fmt.Errorf("ACL entry with tag %#x", tag)
		}
		out = append(out, v[:4]...)
		out = le.AppendUint32(out, id)
		v = v[size:]
	}
	return out, nil
}
