package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// Who is what. The methods of raw are in attr.go (names, attributes, links),
// dir.go, file.go, xattr.go and readonly.go.
var (
	_ fuse.RawFileSystem = (*raw)(nil)
	_ vfs.FS             = (*shelf)(nil)
	_ error              = (*MountError)(nil)
)
