package ffs

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// OpenWritable opens the file system on dev for changing.
func OpenWritable(ctx context.Context, dev blockio.Transaction) (vfs.WritableFS, error) {
	return nil, &vfs.NotSupportedError{What: "writing to FFS", Off: -1}
}
