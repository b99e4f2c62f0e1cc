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
}
