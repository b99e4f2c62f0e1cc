// Package fsck checks and repairs FFS1 and FFS2.
package fsck

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// Check looks for damage.
func Check(ctx context.Context, dev blockio.Device, report func(vfs.Finding)) error {
	return &vfs.NotSupportedError{What: "checking FFS", Off: -1}
}

// Repair mends damage.
func Repair(ctx context.Context, dev blockio.Transaction, mode vfs.RepairMode, report func(vfs.Finding)) error {
	return &vfs.NotSupportedError{What: "repairing FFS", Off: -1}
}
