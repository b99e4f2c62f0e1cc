package ext4

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// collectLimit is how much may be collected in memory to make formatting one
// change, that happens or does not. Beyond it the volume is first made to look
// unfinished.
const collectLimit = 32 << 20

func cannotMake(format string, args ...any) error {
	return &vfs.FormatError{What: fmt.Sprintf(format, args...)}
}

// Format makes an empty file system that fills dev, with the choices of
// mke2fs(8) 1.47.0 and the mke2fs.conf that comes with it: for the same UUID,
// hash seed and time it writes the same bytes, except for the count of what was
// written (s_kbytes_written). MKFS.md lists what is chosen.
//
// What mke2fs leaves to the kernel is left to it here: groups that nothing was
// put in have no bitmaps and no inodes yet, if there are checksums to say so.
// Tables that the format wants to be zero are written, except where dev knows
// of a hole.
func Format(dev blockio.Transaction, opt vfs.FormatOptions) error {
	m, err := newMaker(dev, opt)
	if err != nil {
		return err
	}
	if err := m.write(); err != nil {
		return fmt.Errorf("make %s: %w", m.kind, err)
	}
	return nil
}

// A maker makes one file system.
type maker struct {
	*mkfsLayout
	dev   blockio.Transaction
	kind  string
	now   ondisk.Time
	holes blockio.HoleSeeker // nil: none is known

	descs   []ondisk.GroupDesc
	inodes  [ondisk.FirstInoOld + 1][]byte // encoded, by number; 0 is not used
	files   []madeFile
	fresh   bool // tables go to their place at once
	written int64
}

// newMaker works out everything that is going to be written, and writes
// nothing.
func newMaker(dev blockio.Transaction, opt vfs.FormatOptions) (*maker, error) {
	m := &maker{dev: dev, kind: opt.Type}
	if m.kind == "" {
		m.kind = "ext4"
	}
	if opt.FragSize != 0 {
		return nil, cannotMake("%s has no fragments", m.kind)
	}
	m.holes, _ = dev.(blockio.HoleSeeker)
	profile, err := profileFor(m.kind, dev.Size(), dev.SectorSize(), opt)
	if err != nil {
		return nil, err
	}
	if m.mkfsLayout, err = layoutFor(profile); err != nil {
		return nil, err
	}
	if err := m.setTime(opt.Time); err != nil {
		return nil, err
	}
	if err := m.name(opt); err != nil {
		return nil, err
	}
	if err := m.placeTables(); err != nil {
		return nil, err
	}
	if err := m.placeFiles(profile.journalBlocks); err != nil {
		return nil, err
	}
	return m, nil
}

// setTime makes now the time of everything: of the superblock and of the
// inodes, which have more or fewer bits for it.
func (m *maker) setTime(now time.Time) error {
	if now.IsZero() {
		now = time.Now().Add(-tick)
	}
	sec := now.Unix()
	limit := int64(math.MaxInt32)
	if m.sb.InodeSize > ondisk.InodeSizeOld {
		limit += 3 << 32
	}
	if sec < math.MinInt32 || sec > limit {
		return cannotMake("inodes of %d bytes have no room for the time %s", m.sb.InodeSize, now.UTC().Format(time.RFC3339))
	}
	m.now = ondisk.Time{Sec: uint32(sec), Extra: uint32((sec-int64(int32(sec)))>>32) & 3}
	m.sb.MkfsTime, m.sb.Wtime, m.sb.LastCheck = uint32(sec), uint32(sec), uint32(sec)
	hi := uint8(sec >> 32)
	m.sb.MkfsTimeHi, m.sb.WtimeHi, m.sb.LastCheckHi = hi, hi, hi
	return nil
}

// name gives the file system its label and its identifiers.
func (m *maker) name(opt vfs.FormatOptions) error {
	for _, t := range []struct {
		what, text string
		to         []byte
	}{{"label", opt.Label, m.sb.VolumeName[:]}, {"mount point", opt.MountPoint, m.sb.LastMounted[:]}} {
		if len(t.text) > len(t.to) {
			return cannotMake("the %s has %d bytes, and %s has room for %d", t.what, len(t.text), m.kind, len(t.to))
		}
		if strings.ContainsRune(t.text, 0) {
			return cannotMake("the %s %q has a NUL in it", t.what, t.text)
		}
		copy(t.to, t.text)
	}
	seed := rand.Uint64()
	if opt.Seed != nil {
		seed = *opt.Seed
	}
	rng := rand.New(rand.NewPCG(seed, m.blocks()))
	for _, u := range []struct {
		what, text string
		to         *[16]byte
	}{{"UUID", opt.UUID, &m.sb.UUID}, {"hash seed", opt.HashSeed, nil}} {
		id := randomUUID(rng)
		if u.text != "" {
			var err error
			if id, err = parseUUID(u.text); err != nil {
				return cannotMake("the %s %q %s", u.what, u.text, err)
			}
		}
		if u.to != nil {
			*u.to = id
			continue
		}
		for i := range m.sb.HashSeed {
			m.sb.HashSeed[i] = uint32(id[4*i]) | uint32(id[4*i+1])<<8 | uint32(id[4*i+2])<<16 | uint32(id[4*i+3])<<24
		}
	}
	if m.sb.FeatureIncompat&ondisk.IncompatCsumSeed != 0 {
		m.sb.ChecksumSeed = ondisk.CRC32C(^uint32(0), m.sb.UUID[:])
	}
	return nil
}

// randomUUID makes a UUID of version 4.
func randomUUID(rng *rand.Rand) (id [16]byte) {
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func parseUUID(s string) (id [16]byte, err error) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
		if err == nil {
			return [16]byte(b), nil
		}
	}
	return id, fmt.Errorf("is not of the form 01234567-89ab-cdef-0123-456789abcdef")
}
