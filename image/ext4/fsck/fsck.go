// Package fsck checks and repairs ext2, ext3 and ext4. What it calls damage is
// what e2fsck(8) calls so.
//
// It shares nothing with the driver but the layout in ondisk, because it is to
// find the driver's mistakes. It even replays the journal by itself.
//
// The nouns: a pass is one look at everything under one aspect, in the order
// in which one relies on the other:
//
//	setup  superblock, descriptors, journal                super.go group.go journal.go
//	1      inodes: modes, flags, sizes, blocks, attributes pass1.go inode.go extent.go indirect.go xattr.go
//	1b     blocks that two files claim                     duplicates.go
//	2      directories: entries, hash trees                pass2.go dirblock.go htree.go
//	3      every directory hangs in the tree               pass3.go
//	4      link counts                                     pass4.go
//	5      bitmaps, descriptors, totals                    pass5.go
//
// A finding is one thing that is wrong; [Codes] lists what can be. A repair
// mends each as it is found and then looks again, until there is nothing left
// to find. Everything that it writes is collected in the transaction, for the
// caller to commit or to throw away; it gives something up only if nothing else
// can be done, and says what was lost.
//
// A journal that has to be replayed is replayed first: in memory where nothing
// is changed, so that Check looks at what a mount would see.
//
// Memory is one bit per block (per cluster with bigalloc) and four per inode,
// and some bytes per directory and per file with several names: 64 MiB for
// 1 TiB.
//
// What it does not do: shared_blocks, external journals and journals with fast
// commits are refused. Quotas are not compared with what they count, and a file
// system that has them is not repaired, because the repair would make them
// wrong; nor is one with a feature that is not known.
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
	return c.round()
}

// Repair looks for damage and mends it, as far as mode says, in a transaction
// that the caller commits. After an error the caller should not.
//
// RepairPreen stops mending at the first finding that needs a decision, as
// e2fsck -p does, because what comes after may follow from it; the rest is only
// reported. After RepairAll nothing is left to find.
func Repair(ctx context.Context, dev blockio.Transaction, mode vfs.RepairMode, report func(vfs.Finding)) error {
	c := newChecker(ctx, dev, mode, report)
	if mode == vfs.RepairNone {
		return c.round()
	}
	c.tx = dev
	return c.repair()
}
