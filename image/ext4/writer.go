package ext4

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// scratchSize is up to which size contents that do not fill their blocks are put
// together first, to be written in one piece.
const scratchSize = 64 << 10

// A Writer is a file system that is open for changing.
//
// Metadata (inodes, directories, extent nodes, bitmaps) is changed in place in
// the cache and reaches the transaction when it is committed, or when much has
// gathered; contents go to the transaction at once. Every operation is an [op],
// which can be undone to the last byte as long as it is not finished. The
// journal of the file system itself stays empty: each commit is complete.
//
// Group descriptors are kept decoded (FS.live), with the counts as they are;
// they are written, and the checksums of bitmaps computed, at the commit.
//
// Lock order: mu, then pinMu. The transaction takes mu too, from Freeze to
// Thaw, so it is never told to commit with mu held.
type Writer struct {
	*FS
	tx    blockio.Transaction
	leave func()

	recovered string // what was done to it by opening it

	pinMu sync.Mutex
	pins  map[vfs.Ino]int

	mu         sync.RWMutex
	groups     []*group // nil: not looked at yet
	flex       []flexGroup
	system     []span // blocks that no file may have, in order
	total      totals
	overhead   uint64 // clusters
	extraIsize uint16 // of new inodes
	changed    bool   // since the last commit
	stale      []*group
	touched    []*group
	orphans    map[vfs.Ino]*orphan
	trees      map[uint32]knownTree // by inode
	held       int64                // clusters of orphans
	reserve    bool                 // may be used
	now        func() time.Time
	clocked    bool // now is what SetClock gave
	rnd        *rand.Rand
	op         op // the one that runs
	zeros      []byte
	scratch    []byte // contents on their way, padded to blocks
	host       blockio.HostCopier
	flushed    int // operations since the cache was last looked at
}

var (
	_ vfs.WritableFS      = (*Writer)(nil)
	_ vfs.Fallocater      = (*Writer)(nil)
	_ vfs.HostWriter      = (*Writer)(nil)
	_ vfs.XattrWriter     = (*Writer)(nil)
	_ vfs.Clocked         = (*Writer)(nil)
	_ vfs.Seeded          = (*Writer)(nil)
	_ vfs.Reserver        = (*Writer)(nil)
	_ blockio.Participant = (*Writer)(nil)
)

// totals are the sums of the counts of all groups.
type totals struct {
	freeClusters, freeInodes int64
}

// openWriter opens the file system on dev for changing. What it must not write
// to it refuses, naming what says so and where: see [FS.refuse].
func openWriter(ctx context.Context, dev blockio.Transaction) (*Writer, error) {
	fs, err := load(dev)
	if err != nil {
		return nil, err
	}
	if err := fs.refuse(); err != nil {
		return nil, err
	}
	var re *recovery
	if fs.sb.FeatureIncompat&ondisk.IncompatRecover != 0 {
		if fs, re, err = replay(ctx, fs, dev); err != nil {
			return nil, err
		}
	}
	if err := fs.dirty(); err != nil {
		return nil, err
	}
	if err := fs.checkRoot(); err != nil {
		return nil, err
	}
	fs.info.State = vfs.Clean
	w, err := newWriter(fs, dev)
	if err != nil {
		return nil, err
	}
	w.leave = dev.Join(w)
	if err := w.recover(ctx, re); err != nil {
		w.leave()
		return nil, err
	}
	if re != nil {
		w.recovered = strings.Replace(re.note, "replayed in memory", "replayed", 1)
	}
	return w, nil
}

// Recovered implements [vfs.Recovered].
func (w *Writer) Recovered() string { return w.recovered }

// recover does what is left to do on a file system that was not unmounted. re is
// what its journal says, or nil.
func (w *Writer) recover(ctx context.Context, re *recovery) error {
	if re != nil && re.fast != nil {
		if err := w.replayFast(ctx, re.fast); err != nil {
			return err
		}
	}
	if w.hasOrphans() {
		if err := w.cleanOrphans(ctx); err != nil {
			return err
		}
	}
	if re == nil {
		return nil
	}
	// Only now, so that whatever fails before can be done again.
	if err := re.journal.markEmpty(w.tx); err != nil {
		return err
	}
	w.setSuper(func(sb *ondisk.Superblock) { sb.FeatureIncompat &^= ondisk.IncompatRecover })
	return nil
}

// newWriter prepares to change the file system of fs.
func newWriter(fs *FS, tx blockio.Transaction) (*Writer, error) {
	w := &Writer{
		FS: fs, tx: tx,
		pins:    map[vfs.Ino]int{},
		orphans: map[vfs.Ino]*orphan{},
		trees:   map[uint32]knownTree{},
		groups:  make([]*group, fs.groups),
		now:     time.Now,
		zeros:   make([]byte, fs.blockSize),
		scratch: make([]byte, max(fs.blockSize, scratchSize)),
	}
	w.SetSeed(rand.Uint64())
	if err := w.readGroups(); err != nil {
		return nil, err
	}
	var err error
	if w.overhead, err = fs.overhead(); err != nil {
		return nil, err
	}
	w.extraIsize = newExtraIsize(fs.sb, fs.inodeSize)
	w.op.init(w)
	return w, nil
}

// newExtraIsize is how many bytes the fields of new inodes take behind the
// first 128 (s_want_extra_isize, as the kernel chooses it at mount).
func newExtraIsize(sb *ondisk.Superblock, inodeSize int64) uint16 {
	const known = 32 // the fields that the kernel knows
	if inodeSize == ondisk.InodeSizeOld {
		return 0
	}
	extra := uint16(known)
	if sb.FeatureROCompat&ondisk.ROCompatExtraIsize != 0 {
		extra = max(extra, sb.WantExtraIsize, sb.MinExtraIsize)
	}
	if int64(extra) > inodeSize-ondisk.InodeSizeOld || extra%4 != 0 {
		return known
	}
	return extra
}

// SetClock implements [vfs.Clocked].
func (w *Writer) SetClock(now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.clocked = now, true
}

// SetSeed implements [vfs.Seeded]: generations of inodes, and the groups of
// top-level directories.
func (w *Writer) SetSeed(seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rnd = rand.New(rand.NewPCG(seed, 0xEF53))
}

// UseReserve implements [vfs.Reserver].
func (w *Writer) UseReserve(use bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reserve = use
}

// Close implements [vfs.FS]. What was not committed is lost.
func (w *Writer) Close() error {
	w.leave()
	w.mu.Lock()
	defer w.mu.Unlock()
	for num, or := range w.orphans {
		or.close()
		delete(w.orphans, num)
	}
	return w.FS.Close()
}

// Sync implements [vfs.WritableFS].
func (w *Writer) Sync(context.Context) error { return w.tx.Sync() }
