package integration

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// A subject is a file system that operations are done to, by path: a volume of
// ours, the model of one, or a folder where the kernel has mounted it.
type subject interface {
	create(path string, node vfs.NewNode) error
	link(old, path string) error
	remove(path string) error // what is no directory
	rmdir(path string) error
	rename(old, path string, flags vfs.RenameFlags) error
	write(path string, p []byte, off int64) error
	truncate(path string, size int64) error
	fallocate(path string, mode vfs.AllocMode, off, n int64) error
	chmod(path string, perm vfs.Mode) error
	chown(path string, uid, gid uint32) error
	immutable(path string, on bool) error
	setxattr(path, name string, value []byte, flags int) error
	removexattr(path, name string) error
}

// volume is a subject that is a vfs.WritableFS.
type volume struct{ w changeable }

type changeable interface {
	vfs.WritableFS
	vfs.Fallocater
	vfs.XattrWriter
}

var background = context.Background()

func (v volume) find(name string) (vfs.Ino, error) {
	a, err := vfs.NewTree(v.w).ResolveLink(background, name)
	return a.Ino, err
}

// at calls fn with the directory and the name that a path ends in.
func (v volume) at(name string, fn func(dir vfs.Ino, name string) error) error {
	dir, err := v.find(path.Dir(name))
	if err != nil {
		return err
	}
	return fn(dir, path.Base(name))
}

// with calls fn with the file at a path.
func (v volume) with(name string, fn func(ino vfs.Ino) error) error {
	ino, err := v.find(name)
	if err != nil {
		return err
	}
	return fn(ino)
}

func (v volume) create(name string, node vfs.NewNode) error {
	return v.at(name, func(dir vfs.Ino, name string) error {
		_, err := v.w.Create(background, dir, name, node)
		return err
	})
}

func (v volume) link(old, name string) error {
	return v.with(old, func(ino vfs.Ino) error {
		return v.at(name, func(dir vfs.Ino, name string) error {
			_, err := v.w.Link(background, ino, dir, name)
			return err
		})
	})
}

func (v volume) remove(name string) error {
	return v.at(name, func(dir vfs.Ino, name string) error { return v.w.Unlink(background, dir, name) })
}

func (v volume) rmdir(name string) error {
	return v.at(name, func(dir vfs.Ino, name string) error { return v.w.Rmdir(background, dir, name) })
}

func (v volume) rename(old, name string, flags vfs.RenameFlags) error {
	return v.at(old, func(from vfs.Ino, old string) error {
		return v.at(name, func(to vfs.Ino, name string) error { return v.w.Rename(background, from, old, to, name, flags) })
	})
}

func (v volume) write(name string, p []byte, off int64) error {
	return v.with(name, func(ino vfs.Ino) error {
		_, err := v.w.WriteAt(background, ino, p, off)
		return err
	})
}

func (v volume) set(name string, set vfs.SetAttr) error {
	return v.with(name, func(ino vfs.Ino) error {
		_, err := v.w.Setattr(background, ino, set)
		return err
	})
}

func (v volume) truncate(name string, size int64) error {
	return v.set(name, vfs.SetAttr{Size: &size})
}

func (v volume) chmod(name string, perm vfs.Mode) error {
	return v.set(name, vfs.SetAttr{Mode: &perm})
}

func (v volume) chown(name string, uid, gid uint32) error {
	return v.set(name, vfs.SetAttr{UID: &uid, GID: &gid})
}

func (v volume) immutable(name string, on bool) error {
	var flags vfs.Flags
	if on {
		flags = vfs.SystemImmutable
	}
	return v.set(name, vfs.SetAttr{Flags: &flags})
}

func (v volume) fallocate(name string, mode vfs.AllocMode, off, n int64) error {
	return v.with(name, func(ino vfs.Ino) error { return v.w.Fallocate(background, ino, mode, off, n) })
}

func (v volume) setxattr(name, attr string, value []byte, flags int) error {
	return v.with(name, func(ino vfs.Ino) error {
		return v.w.SetXattr(background, ino, attr, value, flags&unix.XATTR_CREATE != 0, flags&unix.XATTR_REPLACE != 0)
	})
}

func (v volume) removexattr(name, attr string) error {
	return v.with(name, func(ino vfs.Ino) error { return v.w.RemoveXattr(background, ino, attr) })
}

// mounted is a subject that the kernel has mounted in a folder.
type mounted string

func (m mounted) path(name string) string { return filepath.Join(string(m), name) }

func (m mounted) create(name string, node vfs.NewNode) error {
	switch node.Mode.Type() {
	case vfs.Dir:
		if err := unix.Mkdir(m.path(name), 0o700); err != nil {
			return err
		}
	case vfs.Symlink:
		return unix.Symlink(node.Target, m.path(name))
	default:
		if err := unix.Mknod(m.path(name), uint32(node.Mode), int(node.Rdev.Linux())); err != nil {
			return err
		}
	}
	return unix.Chmod(m.path(name), uint32(node.Mode.Perm())) // whatever the umask
}

func (m mounted) link(old, name string) error { return unix.Link(m.path(old), m.path(name)) }
func (m mounted) remove(name string) error    { return unix.Unlink(m.path(name)) }
func (m mounted) rmdir(name string) error     { return unix.Rmdir(m.path(name)) }

func (m mounted) rename(old, name string, flags vfs.RenameFlags) error {
	return unix.Renameat2(unix.AT_FDCWD, m.path(old), unix.AT_FDCWD, m.path(name), uint(flags))
}

func (m mounted) open(name string, fn func(fd int) error) error {
	fd, err := unix.Open(m.path(name), unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}

func (m mounted) write(name string, p []byte, off int64) error {
	return m.open(name, func(fd int) error {
		for len(p) > 0 {
			n, err := unix.Pwrite(fd, p, off)
			if err != nil {
				return err
			}
			p, off = p[n:], off+int64(n)
		}
		return nil
	})
}

func (m mounted) truncate(name string, size int64) error { return unix.Truncate(m.path(name), size) }

func (m mounted) fallocate(name string, mode vfs.AllocMode, off, n int64) error {
	return m.open(name, func(fd int) error { return unix.Fallocate(fd, uint32(mode), off, n) })
}

func (m mounted) chmod(name string, perm vfs.Mode) error {
	return unix.Chmod(m.path(name), uint32(perm))
}

func (m mounted) chown(name string, uid, gid uint32) error {
	return unix.Lchown(m.path(name), int(uid), int(gid))
}

func (m mounted) immutable(name string, on bool) error {
	f, err := os.Open(m.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	const immutable = 0x10 // FS_IMMUTABLE_FL
	flags &^= immutable
	if on {
		flags |= immutable
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
}

func (m mounted) setxattr(name, attr string, value []byte, flags int) error {
	return unix.Lsetxattr(m.path(name), attr, value, flags)
}

func (m mounted) removexattr(name, attr string) error {
	return unix.Lremovexattr(m.path(name), attr)
}

// modelOf makes a model of a file system, with all that is in it.
func modelOf(t testing.TB, from vfs.FS, limits memfs.Options) *memfs.FS {
	t.Helper()
	m := memfs.NewWith(limits)
	first := map[vfs.Ino]string{}
	set := func(a vfs.Attr) memfs.Setter {
		return func(to *vfs.Attr) {
			to.Mode, to.UID, to.GID, to.Flags = a.Mode, a.UID, a.GID, a.Flags
		}
	}
	var visit func(dir string, ino vfs.Ino)
	visit = func(dir string, ino vfs.Ino) {
		for e, err := range from.ReadDir(background, ino, 0) {
			require.NoError(t, err)
			name := path.Join(dir, e.Name)
			a, err := from.Getattr(background, e.Ino)
			require.NoError(t, err)
			if old, ok := first[e.Ino]; ok {
				m.AddLink(old, name)
				continue
			}
			first[e.Ino] = name
			switch a.Mode.Type() {
			case vfs.Dir:
				m.AddDir(name, set(a))
				visit(name, e.Ino)
			case vfs.Regular:
				p := make([]byte, a.Size)
				if a.Size > 0 {
					n, err := from.ReadAt(background, e.Ino, p, 0)
					require.Len(t, p, n, "%v", err)
				}
				m.AddFile(name, p, set(a))
			case vfs.Symlink:
				target, err := from.Readlink(background, e.Ino)
				require.NoError(t, err)
				m.AddSymlink(name, target, set(a))
			case vfs.FIFO:
				m.AddFIFO(name, set(a))
			case vfs.Socket:
				m.AddSocket(name, set(a))
			default:
				m.AddDevice(name, a.Mode, a.Rdev, set(a))
			}
			all, err := from.(vfs.Xattrer).Xattrs(background, e.Ino)
			require.NoError(t, err)
			for attr, value := range all {
				m.AddXattr(name, attr, value)
			}
		}
	}
	root, err := from.Getattr(background, from.Root())
	require.NoError(t, err)
	m.SetAttr("/", set(root))
	visit("/", from.Root())
	return m
}
