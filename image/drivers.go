package image

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/erofs"
	"github.com/resflash/resflash/image/ext4"
	e2fsck "github.com/resflash/resflash/image/ext4/fsck"
	"github.com/resflash/resflash/image/fat"
	fatck "github.com/resflash/resflash/image/fat/fsck"
	"github.com/resflash/resflash/image/ffs"
	ffsck "github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/iso9660"
	"github.com/resflash/resflash/image/squashfs"
	"github.com/resflash/resflash/image/vfs"
)

// drivers are the file systems that can be opened, in the order in which they
// are tried. The order matters only where one format leaves room for remains of
// another: FFS, ext4 and ISO 9660 keep their hands off the first sector, where
// the boot sector of a FAT file system that was there before may survive. So
// FAT comes last. And squashfs and erofs are packed: what looks like the magic
// number of ext4 in them, which has two bytes only, may be anything, and whoever
// makes an ext4 file system writes over theirs.
var drivers = []*vfs.Driver{
	withChecker(ffs.Driver, ffsck.Check, ffsck.Repair),
	&squashfs.Driver,
	&erofs.Driver,
	withChecker(ext4.Driver, e2fsck.Check, e2fsck.Repair),
	&iso9660.Driver,
	withChecker(fat.Driver, fatck.Check, fatck.Repair),
}

// Drivers returns the table of file systems that can be opened.
func Drivers() []*vfs.Driver { return drivers }

// driver returns the driver called name.
func driver(name string) *vfs.Driver {
	for _, d := range drivers {
		if d.Name == name {
			return d
		}
	}
	panic("bug: no driver " + name)
}

// withChecker completes a driver by its checker, which is a package of its own
// because it shares nothing with the driver but the layout: it is to find the
// driver's mistakes.
func withChecker(d vfs.Driver,
	check func(context.Context, blockio.Device, func(vfs.Finding)) error,
	repair func(context.Context, blockio.Transaction, vfs.RepairMode, func(vfs.Finding)) error,
) *vfs.Driver {
	d.Check, d.Repair = check, repair
	return &d
}
