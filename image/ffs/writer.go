package ffs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A Writer is a file system that is open for changing.
//
// Metadata (inodes, directories, indirect blocks, group headers) is changed in
// place in the cache and reaches the transaction when it is committed, or when
// much has gathered; contents go to the transaction at once. Every operation is
// an [op], which can be undone to the last byte as long as it is not finished.
//
// Lock order: mu, then pinMu. The transaction takes mu too, from Freeze to
// Thaw, so it is never told to commit with mu held.
type Writer struct {
	*FS
	tx    blockio.Transaction
	leave func()

	pinMu sync.Mutex
	pins  map[uint64]int

	mu      sync.RWMutex
	alloc   allocTables
	super   superFields
	groups  []*group         // nil: not looked at yet
	sums    []ondisk.Summary // fs_cs: of every group
	sumsNew []uint64         // a bit for every group whose summary has to be written
	total   ondisk.SummaryTotal
	changed bool // since the last commit
	touched []*group
	orphans map[uint64]*orphan
	held    int64 // fragments of orphans
	moves   cookieMoves
	reserve bool // may be used
	now     func() time.Time
	rnd     *rand.Rand
	op      op // the one that runs
	zeros   []byte
	scratch []byte
	host    blockio.HostCopier
	flushed int // operations since the cache was last looked at
}

var (
	_ vfs.WritableFS      = (*Writer)(nil)
	_ vfs.Mapper          = (*Writer)(nil)
	_ vfs.HoleSeeker      = (*Writer)(nil)
	_ vfs.Xattrer         = (*Writer)(nil)
	_ vfs.HostWriter      = (*Writer)(nil)
	_ vfs.Fallocater      = (*Writer)(nil)
	_ vfs.Clocked         = (*Writer)(nil)
	_ vfs.Seeded          = (*Writer)(nil)
	_ vfs.Reserver        = (*Writer)(nil)
	_ blockio.Participant = (*Writer)(nil)
)

// OpenWritable opens the file system on dev for changing. What it must not
// write to it refuses, naming what says so and where: see [refuse].
func OpenWritable(_ context.Context, dev blockio.Transaction) (vfs.WritableFS, error) {
	at, super, order, geo, err := findSuper(dev)
	if err != nil {
		return nil, err
	}
	f, err := Open(context.Background(), dev)
	if err != nil {
		return nil, err
	}
	if err := refuse(super, order, geo, at, dev.Size()); err != nil {
		return nil, err
	}
	w := &Writer{
		FS: f.(*FS), tx: dev,
		pins:    map[uint64]int{},
		orphans: map[uint64]*orphan{},
		now:     time.Now,
		zeros:   make([]byte, geo.blockSize),
		scratch: make([]byte, geo.blockSize),
	}
	w.SetSeed(rand.Uint64())
	w.super = newSuperFields(super, geo, at)
	w.alloc = newAllocTables(geo.frag)
	w.groups = make([]*group, geo.groups)
	w.sumsNew = make([]uint64, (geo.groups+63)/64)
	if err := w.readSummaries(super); err != nil {
		return nil, err
	}
	w.op.init(w)
	w.leave = dev.Join(w)
	return w, nil
}

// superFields is what the writer needs of the superblock beyond the geometry.
type superFields struct {
	at          int64 // byte offset
	dataSize    int64 // fs_dsize, fragments
	minFree     int64 // percent
	maxBPG      int64 // blocks of one file in a group
	avgFileSize int64
	avgPerDir   int64
	summaryAddr int64
	maxFile     int64 // largest size of a file
	optimSpace  bool
	clusters    int64 // fs_contigsumsize
	newFields   bool  // the fields of FFS2 mean something
	// The rotational tables of FFS1.
	spc, nsect, npsect, skew, interleave, nspf, nrpos, cpg int64
}

func newSuperFields(s *ondisk.Super, g *geometry, at int64) superFields {
	sf := superFields{
		at: at, dataSize: s.DataSize, minFree: clamp(int64(s.MinFree), 99), maxBPG: int64(s.MaxBPG),
		avgFileSize: int64(s.AvgFileSize), avgPerDir: int64(s.AvgFilesPerDir), summaryAddr: s.SummaryAddr,
		optimSpace: s.Optim == 1, clusters: int64(s.ContigSumSize), newFields: true,
	}
	if g.version == ondisk.V1 {
		sf.dataSize, sf.summaryAddr = int64(s.OldDataSize), int64(s.OldSummaryAddr)
		sf.newFields = s.Size == int64(s.OldSize)
		sf.spc, sf.nsect, sf.npsect = int64(s.OldSpc), int64(s.OldNsect), int64(s.OldNpsect)
		sf.skew, sf.interleave, sf.nspf = int64(s.OldTrackSkew), int64(s.OldInterleave), int64(s.OldNspf)
		sf.nrpos, sf.cpg = int64(s.OldNrpos), int64(s.OldCpg)
	}
	if sf.maxBPG <= 0 {
		sf.maxBPG = g.nindir
	}
	if sf.avgFileSize <= 0 {
		sf.avgFileSize = 16384 // AVFILESIZ
	}
	if sf.avgPerDir <= 0 {
		sf.avgPerDir = 64 // AFPDIR
	}
	// The kernel counts blocks in 31 bits: see ffs_mountfs.
	sf.maxFile = min(g.maxFileSize()-1, int64(1)<<31*min(4096, g.blockSize)-1)
	if s.MaxFileSize > 0 && s.MaxFileSize < uint64(sf.maxFile) {
		sf.maxFile = int64(s.MaxFileSize)
	}
	return sf
}

// readSummaries reads the counts of all groups: fs_cs.
func (w *Writer) readSummaries(s *ondisk.Super) error {
	g := &w.geo
	w.sums = make([]ondisk.Summary, g.groups)
	off := w.super.summaryAddr << g.fragShift
	for c := range w.sums {
		b, err := w.cache.Bytes(off+int64(c)*summaryEntry, summaryEntry)
		if err != nil {
			return fmt.Errorf("read summaries of groups at byte %d: %w", off, err)
		}
		w.sums[c] = ondisk.Summary{
			Dirs: int32(g.order.U32(b)), FreeBlocks: int32(g.order.U32(b[4:])),
			FreeInodes: int32(g.order.U32(b[8:])), FreeFrags: int32(g.order.U32(b[12:])),
		}
	}
	w.total = s.Total
	if g.version == ondisk.V1 {
		w.total.Dirs, w.total.FreeBlocks = int64(s.OldTotal.Dirs), int64(s.OldTotal.FreeBlocks)
		w.total.FreeInodes, w.total.FreeFrags = int64(s.OldTotal.FreeInodes), int64(s.OldTotal.FreeFrags)
	}
	return nil
}

// summaryEntry is the size of struct csum.
const summaryEntry = 16

// SetClock implements [vfs.Clocked].
func (w *Writer) SetClock(now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// SetSeed implements [vfs.Seeded]: generations of inodes, and the groups of
// top-level directories.
func (w *Writer) SetSeed(seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rnd = rand.New(rand.NewPCG(seed, 0x19540119))
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
	for num, o := range w.orphans {
		o.close()
		delete(w.orphans, num)
	}
	return w.FS.Close()
}
