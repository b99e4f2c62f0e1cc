package vfs

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
)

// A Driver is everything that the rest of the program knows of a file system
// format. image/drivers.go lists them in the order in which they are tried.
type Driver struct {
	// Name is the family as people type it: "ffs", "ext4", "fat", "iso9660".
	Name string
	// Probe reports whether dev looks like this format, from its magic
	// numbers. It reads little, and a device that is too short is just "no".
	// Only failed reads are errors.
	Probe func(dev blockio.Device) (bool, error)
	// Open opens the file system on dev. What it cannot read, it refuses with
	// a *CorruptError or a *NotSupportedError.
	Open func(ctx context.Context, dev blockio.Device) (FS, error)
	// OpenWritable opens the file system for changing. What it must not write
	// to, although it may be read, it refuses: with a *DirtyError, or with a
	// *NotSupportedError that names the feature. nil: the driver only reads.
	OpenWritable func(ctx context.Context, dev blockio.Transaction) (WritableFS, error)
	// Formats are the types that Format can make: "ffs1", "ffs2".
	Formats []string
	// Format makes an empty file system. nil: the driver makes none.
	Format Formatter
	// Check looks for damage and reports it. The error is for what kept it
	// from looking; damage is not an error. nil: there is no checker.
	Check func(ctx context.Context, dev blockio.Device, report func(Finding)) error
	// Repair looks for damage and mends it, as far as mode says, in a
	// transaction that the caller commits. nil: there is no repair.
	Repair func(ctx context.Context, dev blockio.Transaction, mode RepairMode, report func(Finding)) error
}
