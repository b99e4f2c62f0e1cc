// Package fsck checks and repairs FAT12, FAT16 and FAT32 volumes. It is as
// strict as fsck.fat(8) of dosfstools, and knows some damage that fsck.fat does
// not look for.
//
// It shares nothing with the driver but the layout in ondisk, because it is to
// find the driver's mistakes.
//
// The nouns: a pass is one look at everything under one aspect, in the order
// in which one relies on the other:
//
//	setup   the boot sector, and its backup on FAT32   boot.go, geometry.go
//	tables  copies that differ, impossible entries     table.go, copies.go
//	dirs    the tree of directories                    dirs.go, dir.go, slots.go, dots.go
//	files   sizes and chains of clusters               files.go, chain.go, clone.go
//	lost    chains that no file has                    lost.go
//	label   the label in the boot sector               label.go
//	info    the hints of FSInfo, the dirty marks       info.go
//
// A finding is one thing that is wrong; [Codes] lists what can be. A repair
// mends each as it is found and then looks again, until there is nothing left
// to find. Everything that it writes is collected in the transaction, for the
// caller to commit or to throw away. It destroys no contents: what is cut from
// a file becomes a file in the root directory, FSCK0000.REC and so on, as long
// as there is room for one.
//
// Memory is two bits per cluster, some 60 bytes and the name of each directory,
// one directory at a time, and 4 MiB of the table.
package fsck

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// Check looks for damage and reports it. The error is for what kept it from
// looking. If the boot sector of FAT32 is lost, but not its backup, that is a
// finding, and the rest is checked as the backup describes it.
func Check(ctx context.Context, dev blockio.Device, report func(vfs.Finding)) error {
	return newChecker(ctx, dev, vfs.RepairNone, report).round()
}

// Repair looks for damage and mends it, as far as mode says, in a transaction
// that the caller commits. After an error the caller should not.
//
// RepairPreen stops mending at the first finding that needs a decision, as
// fsck -p does, because what comes after may follow from it; the rest is only
// reported. After RepairAll nothing is left to find.
func Repair(ctx context.Context, dev blockio.Transaction, mode vfs.RepairMode, report func(vfs.Finding)) error {
	c := newChecker(ctx, dev, mode, report)
	if mode == vfs.RepairNone {
		return c.round()
	}
	c.tx = dev
	return c.repair()
}
