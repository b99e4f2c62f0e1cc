package populate

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// A dirEntry is a name of a directory of the host.
type dirEntry struct {
	name string
	typ  vfs.Mode
}

// readDir returns the names in a directory as they are to be copied: in the order
// of their bytes, directories last. It is os.ReadDir without a value of its
// own for every name. It reads into buf.
func readDir(fd int, buf []byte) ([]dirEntry, error) {
	var list []dirEntry
	for {
		n, err := unix.Getdents(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n > 0:
			if list, err = appendEntries(list, fd, buf[:n]); err != nil {
				return nil, err
			}
			continue
		}
		slices.SortFunc(list, func(a, b dirEntry) int {
			if (a.typ == vfs.Dir) != (b.typ == vfs.Dir) {
				if a.typ == vfs.Dir {
					return 1
				}
				return -1
			}
			return strings.Compare(a.name, b.name)
		})
		return list, nil
	}
}

// appendEntries appends what getdents64(2) has returned: records of struct
// linux_dirent64, with the length at 16, the type at 18 and the name at 19.
func appendEntries(list []dirEntry, fd int, b []byte) ([]dirEntry, error) {
	const lenAt, typeAt, nameAt = 16, 18, 19
	names := string(b) // all in one piece
	list = slices.Grow(list, len(b)/32)
	for at, next := 0, 0; at+nameAt <= len(b); at = next {
		next = at + int(binary.NativeEndian.Uint16(b[at+lenAt:]))
		end := at + nameAt + bytes.IndexByte(b[at+nameAt:next], 0)
		e := dirEntry{name: names[at+nameAt : end], typ: vfs.Mode(b[at+typeAt]) << 12} // DTTOIF
		if e.name == "." || e.name == ".." {
			continue
		}
		if e.typ == 0 { // the file system does not say
			var st unix.Stat_t
			switch err := unix.Fstatat(fd, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err {
			case nil:
				e.typ = vfs.Mode(st.Mode).Type()
			case unix.ENOENT: // gone meanwhile
				continue
			default:
				return nil, err
			}
		}
		list = append(list, e)
	}
	return list, nil
}
