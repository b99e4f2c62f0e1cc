package ext4

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// POSIX ACLs have one form on ext4 and another in Linux's system calls. Both
// are a version and a list of entries of tag, permissions and, on ext4 only
// where it means something, an id.
const (
	aclDiskVersion  = 1 // EXT4_ACL_VERSION
	aclLinuxVersion = 2 // POSIX_ACL_XATTR_VERSION
	aclUserObj      = 0x01
	aclUser         = 0x02
	aclGroupObj     = 0x04
	aclGroup        = 0x08
	aclMask         = 0x10
	aclOther        = 0x20
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
		case aclUserObj, aclGroupObj, aclMask, aclOther:
		default:
			return nil, fmt.Errorf("ACL entry with tag %#x", tag)
		}
		out = append(out, v[:4]...)
		out = le.AppendUint32(out, id)
		v = v[size:]
	}
	return out, nil
}

// diskACL converts an ACL as setxattr(2) takes it to what ext4 stores, and
// returns the permission bits that it stands for; nil for one without entries.
// EINVAL, or ENOTSUP for another version, as on Linux (posix_acl_from_xattr,
// posix_acl_valid).
func diskACL(v []byte) (out []byte, perm vfs.Mode, minimal bool, err error) {
	le := binary.LittleEndian
	if len(v) == 0 {
		return nil, 0, false, nil
	}
	if len(v) < 4 || (len(v)-4)%8 != 0 {
		return nil, 0, false, syscall.EINVAL
	}
	if le.Uint32(v) != aclLinuxVersion {
		return nil, 0, false, syscall.ENOTSUP
	}
	if len(v) == 4 {
		return nil, 0, false, nil
	}
	out = le.AppendUint32(make([]byte, 0, len(v)), aclDiskVersion)
	var group vfs.Mode
	seen, last, named := 0, uint16(0), false
	for v = v[4:]; len(v) > 0; v = v[8:] {
		tag, bits, id := le.Uint16(v), le.Uint16(v[2:]), le.Uint32(v[4:])
		if bits&^7 != 0 || tag < last || tag == last && tag != aclUser && tag != aclGroup {
			return nil, 0, false, syscall.EINVAL
		}
		out = append(out, v[:4]...)
		switch last = tag; tag {
		case aclUserObj:
			perm |= vfs.Mode(bits) << 6
		case aclGroupObj:
			group = vfs.Mode(bits) << 3
		case aclMask: // what the group bits show
		case aclOther:
			perm |= vfs.Mode(bits)
		case aclUser, aclGroup:
			if id == aclNoID {
				return nil, 0, false, syscall.EINVAL
			}
			out = le.AppendUint32(out, id)
			named = true
		default:
			return nil, 0, false, syscall.EINVAL
		}
		if tag == aclMask {
			group = vfs.Mode(bits) << 3
		}
		seen |= int(tag)
	}
	const all = aclUserObj | aclGroupObj | aclOther
	if seen&all != all || named && seen&aclMask == 0 {
		return nil, 0, false, syscall.EINVAL
	}
	return out, perm | group, seen == all, nil
}

// takeACL converts an ACL that is to be set for a file, and gives the file the
// permission bits of an access ACL. nil is none: one that says no more than
// these bits is not stored. A directory's default ACL is stored, and that is
// all: what is made in the directory has the mode that it is made with.
func takeACL(in *inode, index uint8, v []byte) ([]byte, error) {
	if in.mode().IsSymlink() {
		return nil, syscall.ENOTSUP
	}
	acl, perm, minimal, err := diskACL(v)
	if err != nil || acl == nil {
		return nil, err
	}
	if index == ondisk.XattrACLDefault {
		if !in.mode().IsDir() {
			return nil, syscall.EACCES
		}
		return acl, nil
	}
	in.Mode = uint16(in.mode()&^0o777 | perm)
	if minimal {
		return nil, nil
	}
	return acl, nil
}

// chmodACL changes the access ACL of a file, if it has one, to the permission
// bits that the file has now (posix_acl_chmod).
func (o *op) chmodACL(in *inode) error {
	now, err := o.xattrPlaces(in)
	if err != nil {
		return err
	}
	for _, l := range [...]xattrList{now.inode, now.block} {
		i := l.find(ondisk.XattrACLAccess, "")
		if i < 0 {
			continue
		}
		linux, err := linuxACL(l[i].value)
		if err != nil {
			return in.corrupt("%s: %v", xattrNames[ondisk.XattrACLAccess], err)
		}
		acl := setACLPerm(linux, in.mode())
		disk, _, _, err := diskACL(acl)
		if err != nil {
			return in.corrupt("%s is not valid", xattrNames[ondisk.XattrACLAccess])
		}
		return o.setXattr(in, now, xattr{index: ondisk.XattrACLAccess, value: disk}, false)
	}
	return nil
}

// setACLPerm changes, in place, what an ACL of Linux's form has in common with
// permission bits. The bits of the group are the mask, if there is one.
func setACLPerm(acl []byte, mode vfs.Mode) []byte {
	le := binary.LittleEndian
	group := -1
	for at := 4; at+8 <= len(acl); at += 8 {
		switch le.Uint16(acl[at:]) {
		case aclUserObj:
			le.PutUint16(acl[at+2:], uint16(mode>>6&7))
		case aclGroupObj:
			if group < 0 {
				group = at
			}
		case aclMask:
			group = at
		case aclOther:
			le.PutUint16(acl[at+2:], uint16(mode&7))
		}
	}
	if group > 0 {
		le.PutUint16(acl[group+2:], uint16(mode>>3&7))
	}
	return acl
}
