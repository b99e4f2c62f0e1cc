package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// Who is what. The methods of raw are in attr.go (lookup, getattr, access,
// readlink, statfs), dir.go (opendir, readdir), file.go (open, read, lseek),
// create.go (mknod, mkdir, symlink, link), remove.go (unlink, rmdir, rename),
// setattr.go, write.go (write, fallocate, copy_file_range), commit.go (fsync,
// fsyncdir, flush), xattr.go and ioctl.go.
var (
	_ fuse.RawFileSystem = (*raw)(nil)
	_ vfs.FS             = (*shelf)(nil)
	_ error              = (*MountError)(nil)
)
