package conformance

import (
	"os"

	"golang.org/x/sys/unix"
)

// A kind is what a path may lead to.
type kind int

const (
	missing kind = iota
	file
	emptyDir
	fullDir
	toFile    // a symbolic link
	toDir     // to an empty directory
	toNothing // to a name that is not there
	toItself
	fifo
	socket
	char
	block
	kinds
)

func (k kind) String() string {
	return [...]string{"missing", "file", "empty-dir", "full-dir", "link-to-file", "link-to-dir",
		"dangling-link", "link-loop", "fifo", "socket", "char-device", "block-device"}[k]
}

func (k kind) isLink() bool   { return k >= toFile && k <= toItself }
func (k kind) isDir() bool    { return k == emptyDir || k == fullDir }
func (k kind) isDevice() bool { return k == char || k == block }

// followed returns what is behind a symbolic link, or why there is nothing.
func (k kind) followed() (kind, error) {
	switch k {
	case missing, toNothing:
		return missing, unix.ENOENT
	case toFile:
		return file, nil
	case toDir:
		return emptyDir, nil
	case toItself:
		return missing, unix.ELOOP
	}
	return k, nil
}

// make makes it under the name x in dir; what links lead to is beside it.
func (k kind) make(dir string) error {
	x := dir + "/x"
	switch k {
	case missing:
		return nil
	case file:
		return os.WriteFile(x, []byte("contents"), 0o644)
	case emptyDir:
		return unix.Mkdir(x, 0o755)
	case fullDir:
		return first(unix.Mkdir(x, 0o755), os.WriteFile(x+"/inside", nil, 0o644))
	case toFile:
		return first(os.WriteFile(dir+"/target", []byte("contents"), 0o644), unix.Symlink("target", x))
	case toDir:
		return first(unix.Mkdir(dir+"/target", 0o755), unix.Symlink("target", x))
	case toNothing:
		return unix.Symlink("nothing", x)
	case toItself:
		return unix.Symlink("x", x)
	case fifo:
		return unix.Mknod(x, unix.S_IFIFO|0o644, 0)
	case socket:
		return unix.Mknod(x, unix.S_IFSOCK|0o644, 0)
	case char:
		return unix.Mknod(x, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	}
	return unix.Mknod(x, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200)))
}
