package customize

import (
	"fmt"

	"github.com/resflash/resflash/image/vfs"
)

func typeName(m vfs.Mode) string {
	switch m.Type() {
	case vfs.Regular:
		return "file"
	case vfs.Dir:
		return "directory"
	case vfs.Symlink:
		return "symlink"
	case vfs.Char:
		return "character device"
	case vfs.Block:
		return "block device"
	case vfs.FIFO:
		return "FIFO"
	case vfs.Socket:
		return "socket"
	}
	return "unknown"
}

func octal(m vfs.Mode) string { return fmt.Sprintf("%04o", uint32(m.Perm())) }

func device(d vfs.Dev) string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }
