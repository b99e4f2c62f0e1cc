package fat

import (
	"context"
	"sync"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// A Writer is a volume that is open for changing.
//
// Metadata (the table, directories) is changed in place in the cache and reaches
// the transaction when it is committed, or when much has gathered; contents go
// to the transaction at once. Every operation is an [op], which can be undone as
// long as it is not finished. FORMAT.md says what is kept, and what FAT cannot
// hold.
//
// Lock order: mu, then pinMu. The transaction takes mu too, from Freeze to
// Thaw, so it is never told to commit with mu held.
type Writer struct {
	*FS
	tx    blockio.Transaction
	leave func()

	pinMu sync.Mutex
	pins  map[vfs.Ino]int

	mu         sync.RWMutex
	space      space
	tableDirty []uint64 // a bit for every sector of the table that must be copied
	changed    bool     // since the last commit
	orphans    map[vfs.Ino]*orphan
	tails      bounded[vfs.Ino, tail]
	slotMaps   bounded[vfs.Ino, *slotMap]
	now        func() time.Time
	op         op // the one that runs
	zeros      []byte
	scratch    []byte // a cluster
	host       blockio.HostCopier
	flushed    int // operations since the cache was last looked at
}

var (
	_ vfs.WritableFS      = (*Writer)(nil)
	_ vfs.Mapper          = (*Writer)(nil)
	_ vfs.HostWriter      = (*Writer)(nil)
	_ vfs.Fallocater      = (*Writer)(nil)
	_ vfs.Clocked         = (*Writer)(nil)
	_ vfs.Seeded          = (*Writer)(nil)
	_ blockio.Participant = (*Writer)(nil)
)

const (
	maxTails    = 1024
	maxSlotMaps = 4 << 20 // slots in all the maps that are kept
)

// OpenWritable opens the volume on dev for changing. What it must not write to
// it refuses, naming what says so and where: see [FS.refuse].
func OpenWritable(ctx context.Context, dev blockio.Transaction) (vfs.WritableFS, error) {
	opened, err := Open(ctx, dev)
	if err != nil {
		return nil, err
	}
	f := opened.(*FS)
	if err := f.refuse(); err != nil {
		return nil, err
	}
	w := &Writer{
		FS: f, tx: dev,
		pins:       map[vfs.Ino]int{},
		orphans:    map[vfs.Ino]*orphan{},
		tableDirty: make([]uint64, (f.fatBytes/tableSector+63)/64),
		tails:      newBounded[vfs.Ino, tail](maxTails),
		slotMaps:   newBounded[vfs.Ino, *slotMap](maxSlotMaps),
		now:        time.Now,
		zeros:      make([]byte, max(f.clusterSize, 256<<10)),
		scratch:    make([]byte, f.clusterSize),
	}
	if w.space, err = f.readSpace(ctx); err != nil {
		return nil, err
	}
	w.readNext()
	f.inos = newInos()
	w.leave = dev.Join(w)
	return w, nil
}

// SetClock implements [vfs.Clocked].
func (w *Writer) SetClock(now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// SetSeed implements [vfs.Seeded]. Nothing here is random.
func (w *Writer) SetSeed(uint64) {}

// Close implements [vfs.FS]. What was not committed is lost.
func (w *Writer) Close() error {
	w.leave()
	w.mu.Lock()
	defer w.mu.Unlock()
	for ino, or := range w.orphans {
		or.close()
		delete(w.orphans, ino)
	}
	return w.FS.Close()
}
