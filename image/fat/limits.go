package fat

import (
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// What FAT has no place for; the errno is that of Linux.
var (
	errNoLinks  = &vfs.LimitError{What: "FAT has no hard links", Errno: syscall.EPERM}
	errNoOwners = &vfs.LimitError{What: "FAT has no owners", Errno: syscall.EPERM}
	errNoSetID  = &vfs.LimitError{What: "FAT has no set-id and sticky bits", Errno: syscall.EPERM}
	errNoFlag   = &vfs.LimitError{What: "FAT has no such file flag: only read-only, hidden, system and archive", Errno: syscall.EOPNOTSUPP}
	errNameEnd  = &vfs.LimitError{What: "a name on FAT does not end in a dot or a space", Errno: syscall.EINVAL}
	errNameUTF8 = &vfs.LimitError{What: "a name on FAT is UTF-8", Errno: syscall.EINVAL}
)

// errNoType is the error for a file that is neither regular nor a directory.
func errNoType(m vfs.Mode) error {
	what := map[vfs.Mode]string{
		vfs.Symlink: "symbolic links", vfs.FIFO: "FIFOs", vfs.Socket: "sockets", vfs.Char: "devices", vfs.Block: "devices",
	}[m.Type()]
	return &vfs.LimitError{What: "FAT has no " + what, Errno: syscall.EPERM}
}

// errNameRune is the error for a character that no name has.
func errNameRune(r rune) error {
	return &vfs.LimitError{What: fmt.Sprintf("a name on FAT has no %q in it", r), Errno: syscall.EINVAL}
}
