package ffs

import (
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// Format makes an empty file system, with the choices of OpenBSD's newfs(8).
func Format(dev blockio.Transaction, opt vfs.FormatOptions) error {
	return &vfs.NotSupportedError{What: "making FFS", Off: -1}
}
