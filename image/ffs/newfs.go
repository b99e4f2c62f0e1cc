package ffs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// The defaults of newfs(8).
const (
	newBlockSize = 16384
	newFragSize  = 2048
	newMinFree   = 5 // percent
	newDensity   = 4 // fragments per inode
)

// collectLimit is how much may be collected in memory to make formatting one
// change, that happens or does not. Beyond it the volume is first made to look
// unfinished.
const collectLimit = 32 << 20

func cannotMake(format string, args ...any) error {
	return &vfs.FormatError{What: fmt.Sprintf(format, args...)}
}

// Format makes an empty file system that fills dev, with the choices of
// OpenBSD's newfs(8): the same options give the same layout and the same
// fields. Only the identifier and the inode generations are random, unless
// opt.Seed says what they are to be.
//
// Where newfs leaves to chance what a byte is, it is zero here. The inodes of
// FFS2 are initialised when they are needed, so that formatting a large volume
// writes little; FFS1 has all of them written.
//
// The start of the volume belongs to the boot loader, the first 8 KiB in FFS1
// and 64 KiB in FFS2, and is kept. What is taken away from there, as from
// anywhere else, are the marks by which other formats are known: see [wipe].
func Format(dev blockio.Transaction, opt vfs.FormatOptions) error {
	m, err := newMaker(dev, opt)
	if err != nil {
		return err
	}
	if err := m.write(); err != nil {
		return fmt.Errorf("make %s: %w", m.kind(), err)
	}
	return nil
}

// A maker makes one file system.
type maker struct {
	*newfsLayout
	dev     blockio.Transaction
	rng     *rand.Rand
	now     time.Time
	id      [2]uint32
	minFree int
	label   string
	mounted string
	fresh   bool // tables go to their place at once
}

func newMaker(dev blockio.Transaction, opt vfs.FormatOptions) (*maker, error) {
	m := &maker{dev: dev, now: opt.Time, minFree: newMinFree, label: opt.Label, mounted: opt.MountPoint}
	version := ondisk.V2
	switch opt.Type {
	case "", "ffs2":
	case "ffs1":
		version = ondisk.V1
	default:
		return nil, cannotMake("file system type %q is not ffs1 or ffs2", opt.Type)
	}
	switch {
	case opt.ClusterSize != 0:
		return nil, cannotMake("FFS has no clusters")
	case opt.Inodes != 0 || opt.InodeSize != 0:
		return nil, cannotMake("FFS has inodes of one size, and their number follows from the bytes per inode")
	case opt.JournalSize != 0 || opt.Features != "" || opt.UUID != "" || opt.HashSeed != "":
		return nil, cannotMake("FFS has no features to choose, no journal, no UUID and no hash seed")
	}
	if m.now.IsZero() {
		m.now = time.Now()
	}
	if sec := m.now.Unix(); version == ondisk.V1 && int64(int32(sec)) != sec {
		return nil, cannotMake("FFS1 has no times after 2038 or before 1902 (%s): use ffs2", m.now.UTC().Format(time.RFC3339))
	}
	if opt.ReservePct != nil {
		if m.minFree = *opt.ReservePct; m.minFree < 0 || m.minFree > 99 {
			return nil, cannotMake("a reserve of %d percent is not 0 to 99", m.minFree)
		}
	}
	var super ondisk.Super // both texts end in a NUL
	if err := checkText("label", m.label, len(super.VolumeName)-1); err != nil {
		return nil, err
	}
	if err := checkText("mount point", m.mounted, len(super.MountPoint)-1); err != nil {
		return nil, err
	}
	var err error
	if m.newfsLayout, err = layoutFor(version, dev.Size(), dev.SectorSize(), opt); err != nil {
		return nil, err
	}
	seed := rand.Uint64()
	if opt.Seed != nil {
		seed = *opt.Seed
	}
	m.rng = rand.New(rand.NewPCG(seed, uint64(m.frags)))
	m.id = [2]uint32{uint32(m.now.Unix()), m.rng.Uint32()}
	return m, nil
}

func checkText(what, text string, limit int) error {
	if len(text) > limit {
		return cannotMake("the %s has %d bytes, and FFS has room for %d", what, len(text), limit)
	}
	if strings.ContainsRune(text, 0) {
		return cannotMake("the %s %q has a NUL in it", what, text)
	}
	return nil
}

func (m *maker) kind() string { return fmt.Sprintf("FFS%d", m.version) }

// write writes the file system: what lies in the way goes first, the primary
// superblock comes last.
func (m *maker) write() error {
	if err := wipe(m.dev, m.frags*m.fragSize, m.superLoc()); err != nil {
		return err
	}
	if m.tableBytes() > collectLimit {
		// Too much to collect. If this is interrupted, the volume is to look
		// like nothing rather than like the file system that it was.
		m.fresh = true
		if err := m.markUnfinished(); err != nil {
			return err
		}
	}
	// The copies in the groups know of no root directory yet.
	total := m.emptyTotal()
	copies := m.superblock(total)
	summary := make([]byte, 0, m.summaryBytes)
	for c := range m.groups {
		sum, err := m.writeGroup(c, copies)
		if err != nil {
			return err
		}
		summary = appendSummary(summary, sum)
	}
	summary = append(summary, make([]byte, m.summaryBytes-int64(len(summary)))...)
	if err := m.put(summary, m.dataOff*m.fragSize); err != nil {
		return err
	}
	if err := m.put(m.rootDirectory(), m.rootFrag()*m.fragSize); err != nil {
		return err
	}
	primary := make([]byte, ondisk.SuperAreaSize)
	copy(primary, m.superblock(m.withRoot(total)))
	_, err := m.dev.WriteAt(primary, m.superLoc())
	return err
}

// put writes what belongs to the new file system and to nothing else.
func (m *maker) put(p []byte, off int64) error {
	if m.fresh {
		return m.dev.WriteData(p, off, false)
	}
	_, err := m.dev.WriteAt(p, off)
	return err
}

// markUnfinished puts the mark of an interrupted newfs where the superblock
// will be, and sees to it that it is on the medium.
func (m *maker) markUnfinished() error {
	sector := make([]byte, ondisk.SuperAreaSize)
	ondisk.Order{}.PutU32(sector[ondisk.SuperMagicOff:], ondisk.MagicBad)
	if _, err := m.dev.WriteAt(sector, m.superLoc()); err != nil {
		return err
	}
	return m.dev.Sync()
}
