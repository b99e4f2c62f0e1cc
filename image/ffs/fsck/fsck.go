// Package fsck checks and repairs FFS1 and FFS2, alias UFS1 and UFS2. It is as
// strict as fsck_ffs(8) of OpenBSD with file systems of OpenBSD; those of other
// systems may have what their own checkers accept.
//
// It shares nothing with the driver but the layout in ondisk, because it is to
// find the driver's mistakes.
//
// The nouns: a pass is one look at everything under one aspect, in the order
// in which one relies on the other, one file each:
//
//	setup  the superblock and its copy in the last group   super.go
//	1      inodes: types, sizes, block pointers, counts    pass1.go
//	1b     blocks that two pointers claim                  duplicates.go
//	2      directories: chunks, entries, "." and ".."      pass2.go
//	3      every directory hangs in the tree               pass3.go
//	4      link counts                                     pass4.go
//	5      group headers, maps, summary, totals            pass5.go
//
// A finding is one thing that is wrong; [Codes] lists what can be. A repair
// mends each as it is found and then looks again, until there is nothing left
// to find. Everything that it writes is collected in the transaction, for the
// caller to commit or to throw away; it keeps to the rule that a block, or a
// directory entry, is given up only if nothing else can be done, and says what
// was lost.
//
// Memory is one bit per fragment and five bytes per initialised inode, so that
// 100 GiB need less than 100 MiB.
//
// What it does not do: FFS of 4.2BSD and snapshots of FreeBSD are not checked.
// File systems with a journal or with check hashes are checked, but their
// repair is left to the systems that know them.
package fsck

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// Check looks for damage and reports it. The error is for what kept it from
// looking. If the primary superblock is lost, but not its copies, that is a
// finding, and the rest is checked as one of the copies describes it.
func Check(ctx context.Context, dev blockio.Device, report func(vfs.Finding)) error {
	c := newChecker(ctx, dev, vfs.RepairNone, report)
	defer c.release()
	return c.round()
}

// Repair looks for damage and mends it, as far as mode says, in a transaction
// that the caller commits. After an error the caller should not.
//
// RepairPreen stops mending at the first finding that needs a decision, as
// fsck -p does, because what comes after may follow from it; the rest is only
// reported. After RepairAll nothing is left to find.
func Repair(ctx context.Context, dev blockio.Transaction, mode vfs.RepairMode, report func(vfs.Finding)) error {
	c := newChecker(ctx, dev, mode, report)
	defer c.release()
	if mode == vfs.RepairNone {
		return c.round()
	}
	c.tx = dev
	return c.repair()
}
