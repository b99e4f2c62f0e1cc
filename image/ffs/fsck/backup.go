package fsck

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A foundSuper is a superblock whose geometry is sound.
type foundSuper struct {
	super *ondisk.Super
	geo   *geometry
	raw   []byte // all of its area
	at    int64  // where the primary has its place
	from  int64  // where it was read: there, or from a copy
	// partly says that what is volatile does not come from the copy.
	partly bool
}

// Probe reports whether there is a file system on dev that Check and Repair
// know what to do with: one with a primary superblock, or one that has lost it
// but has a copy left in its first group. It is for when the driver's own
// Probe has said no. A volume that was given to another file system may still
// have the copies of its former one: ask the others first.
func Probe(dev blockio.Device) (bool, error) {
	s, _, err := search(context.Background(), dev, false)
	return s != nil, err
}

// readSuper decodes what lies at byte at, if it is a superblock whose geometry
// is sound. why says what is wrong with it, "" if there is none at all.
func readSuper(dev blockio.Device, at int64) (s *foundSuper, why string, err error) {
	size := min(ondisk.SuperAreaSize, dev.Size()-at)
	if size < ondisk.SuperSize {
		return nil, "", nil
	}
	b, err := blockio.ReadFull(dev, at, int(size))
	if err != nil {
		return nil, "", fmt.Errorf("read superblock at byte %d: %w", at, err)
	}
	return parseSuper(b, at)
}

func parseSuper(b []byte, at int64) (*foundSuper, string, error) {
	magic, o, v := ondisk.DetectSuper(b)
	if magic == 0 {
		return nil, "", nil
	}
	if magic == ondisk.MagicBad {
		return nil, fmt.Sprintf("newfs did not finish, or wiped it (magic %#x)", magic), nil
	}
	super, err := ondisk.DecodeSuper(b, o)
	if err != nil {
		return nil, "", err
	}
	// Solaris has the magic number of FFS1, but other inodes. It fills
	// fs_state with a sum, and not fs_inodefmt.
	if v == ondisk.V1 && super.State != 0 && super.OldInodeFormat != ondisk.InodeFormat44 &&
		super.State+super.OldTime == ondisk.StateOK {
		return nil, "", &vfs.NotSupportedError{What: "UFS of Solaris", Off: at}
	}
	if super.OldPostblFmt == ondisk.PostblFormat42 {
		return nil, "", &vfs.NotSupportedError{What: "checking file systems of before 4.4BSD", Off: at + 1356}
	}
	geo, err := newGeometry(super, o, v)
	if err != nil {
		return nil, err.Error(), nil
	}
	return &foundSuper{super: super, geo: geo, raw: b, at: at, from: at}, "", nil
}

// isPrimary tells a primary superblock from a copy that lies where primary
// ones are looked for: FFS2 says where it belongs; FFS1 belongs to 8192, and
// what is at 65536 is the copy of one with blocks of 64K.
func (s *foundSuper) isPrimary() bool {
	if s.geo.ffs2() {
		return s.super.SuperLoc == s.from
	}
	return s.from == ondisk.SuperFFS1
}

// primaryPlaces is where primary superblocks are, in the order of the kernels.
var primaryPlaces = [...]int64{ondisk.SuperFFS2, ondisk.SuperFFS1, ondisk.SuperFloppy, ondisk.SuperPiggy}

// copyPlaces is where the copy of the first group lies: at the first block
// behind the room for the primary one, for all places of that and all sizes of
// blocks and fragments.
var copyPlaces = [...]int64{
	8192, 16384, 32768, 65536, 73728, 81920, 98304, 131072, 270336, 278528, 294912, 327680,
}

// findSuper returns the superblock to go by. If that is not the primary one,
// why says what is wrong with it.
func findSuper(ctx context.Context, dev blockio.Device) (s *foundSuper, why string, err error) {
	s, why, err = search(ctx, dev, true)
	if err == nil && s == nil {
		err = vfs.Corruptf(ondisk.SuperFFS2, "superblock", "%s, and there is no sound copy of it", why)
	}
	return s, why, err
}

// search does the work of findSuper: everywhere, or only where looking is
// cheap.
func search(ctx context.Context, dev blockio.Device, everywhere bool) (s *foundSuper, why string, err error) {
	var damaged []byte
	for _, at := range primaryPlaces {
		got, bad, err := readSuper(dev, at)
		if err != nil {
			return nil, "", err
		}
		if got != nil && got.isPrimary() {
			s = got
			break
		}
		if damaged == nil && bad != "" {
			if damaged, err = blockio.ReadFull(dev, at, ondisk.SuperSize); err != nil {
				return nil, "", err
			}
			why = fmt.Sprintf("%s (at byte %d)", bad, at)
		}
	}
	if s == nil {
		if why == "" {
			why = fmt.Sprintf("no FFS magic number here or at byte %d", ondisk.SuperFFS1)
		}
		if other, ok := findCopy(ctx, dev, everywhere); ok {
			return other.over(damaged), why, nil
		}
		return nil, why, ctx.Err()
	}
	if s.agrees(dev) {
		return s, "", nil
	}
	other, ok := findCopy(ctx, dev, everywhere && s.witnesses(dev) < allWitnesses)
	if !ok || !other.beats(s, dev) {
		return s, "", ctx.Err()
	}
	diff := differing(s.geo.foundBy(), s.geo.order, s.raw, other.raw)
	return other.over(s.raw), strings.Join(diff, ", "), nil
}

// volatile is what changes in a primary superblock, but not in its copies, and
// has no other source: times, totals, the clean flag, where it was mounted, and
// its name.
var volatile = [][2]int{{32, 36}, {192, 210}, {212, 712}, {1008, 1040}, {1072, 1080}}

// over returns a copy as it replaces a damaged primary: what is volatile is kept
// of the primary, if the rest of that makes it likely to be sound.
func (s *foundSuper) over(damaged []byte) *foundSuper {
	o := s.geo.order
	if len(damaged) < ondisk.SuperSize || o.U32(damaged[ondisk.SuperMagicOff:]) != s.super.Magic ||
		2*len(differing(s.geo.foundBy(), o, s.raw, damaged)) > len(s.geo.foundBy()) {
		return s
	}
	raw := append([]byte(nil), s.raw...)
	for _, v := range volatile {
		copy(raw[v[0]:v[1]], damaged[v[0]:])
	}
	kept, _, err := parseSuper(raw, s.at)
	if err != nil || kept == nil || *kept.geo != *s.geo {
		return s
	}
	kept.at, kept.from, kept.partly = s.at, s.from, true
	return kept
}

// agrees reports whether the copy in the last group has the same geometry.
func (s *foundSuper) agrees(dev blockio.Device) bool {
	last := s.geo.ncg - 1
	b, err := blockio.ReadFull(dev, (s.geo.start(last)+s.geo.sblkno)<<s.geo.fshift, ondisk.SuperSize)
	return err == nil && len(differing(s.geo.foundBy(), s.geo.order, s.raw, b)) == 0
}

// beats decides between a copy and the primary superblock, which is not like
// the copy in the last group: more group headers, or else a third copy, have to
// speak for the copy.
func (s *foundSuper) beats(primary *foundSuper, dev blockio.Device) bool {
	if a, b := s.witnesses(dev), primary.witnesses(dev); a != b {
		return a > b
	}
	return len(differing(s.geo.foundBy(), s.geo.order, s.raw, primary.raw)) > 0 && s.agrees(dev)
}

// samples are the groups that are asked: the first, the middle and the last.
func samples(g *geometry) [3]int64 { return [3]int64{0, g.ncg / 2, g.ncg - 1} }

// allWitnesses is the most that witnesses counts.
const allWitnesses = 4

// witnesses counts what speaks for a geometry: the samples whose group header is
// where it says, and the root directory.
func (s *foundSuper) witnesses(dev blockio.Device) int {
	g, n := s.geo, 0
	for _, c := range samples(g) {
		off := (g.start(c) + g.cblkno) << g.fshift
		b, err := blockio.ReadFull(dev, off, ondisk.GroupSize)
		if err != nil {
			continue
		}
		if _, ok := ondisk.GroupInited(b, g.order, uint32(c)); ok {
			n++
		}
	}
	if s.hasRoot(dev) {
		n++
	}
	return n
}

// hasRoot reports whether inode 2 is a directory that begins with itself.
func (s *foundSuper) hasRoot(dev blockio.Device) bool {
	g := s.geo
	b, err := blockio.ReadFull(dev, g.inodeOff(ondisk.RootIno), int(g.isize))
	if err != nil {
		return false
	}
	in := inode{num: ondisk.RootIno}
	in.Decode(b, g.order, g.version)
	if !in.isDir() || !g.fits(in.Direct[0], 1) {
		return false
	}
	b, err = blockio.ReadFull(dev, in.Direct[0]<<g.fshift, ondisk.DirChunk)
	if err != nil {
		return false
	}
	d := ondisk.DecodeDirent(b, g.order, false)
	return d.Ino == ondisk.RootIno && d.NameLen == 1 && b[ondisk.DirentHeader] == '.'
}

// confirmedAtEnd reports whether the header of the last group is in its place.
func (s *foundSuper) confirmedAtEnd(dev blockio.Device) bool {
	g := s.geo
	b, err := blockio.ReadFull(dev, (g.start(g.ncg-1)+g.cblkno)<<g.fshift, ondisk.GroupSize)
	if err != nil {
		return false
	}
	_, ok := ondisk.GroupInited(b, g.order, uint32(g.ncg-1))
	return ok
}

// adopt makes a copy stand for the primary superblock, if it is the copy of one
// of its own groups, and if a group header, the root directory or another copy confirms it.
func (s *foundSuper) adopt(dev blockio.Device) bool {
	g := s.geo
	c := s.from >> g.fshift / g.fpg
	if c >= g.ncg || (g.start(c)+g.sblkno)<<g.fshift != s.from {
		return false
	}
	if s.witnesses(dev) == 0 && (c == g.ncg-1 || !s.agrees(dev)) {
		return false
	}
	s.at = ondisk.SuperFFS1
	if g.ffs2() {
		s.at = s.super.SuperLoc
	}
	for _, at := range primaryPlaces {
		if s.at == at && at != s.from && at+g.sbsize <= (g.start(0)+g.sblkno)<<g.fshift && g.sbsize <= int64(len(s.raw)) {
			return true
		}
	}
	return false
}

// findCopy looks for a copy of the superblock: first where that of the first
// group usually is, then in all of the volume.
func findCopy(ctx context.Context, dev blockio.Device, everywhere bool) (*foundSuper, bool) {
	for _, at := range copyPlaces {
		s, _, err := readSuper(dev, at)
		if err == nil && s != nil && s.adopt(dev) {
			return s, true
		}
	}
	if !everywhere {
		return nil, false
	}
	const piece = 1 << 20
	b := make([]byte, piece+ondisk.SuperAreaSize)
	for off := int64(0); off < dev.Size() && ctx.Err() == nil; off += piece {
		n, err := dev.ReadAt(b[:min(int64(len(b)), dev.Size()-off)], off)
		if err != nil && n < ondisk.SuperSize {
			var e *blockio.RangeError
			if errors.As(err, &e) {
				return nil, false
			}
			continue // a bad sector; there are other groups
		}
		for i := 0; i < piece && i+ondisk.SuperSize <= n; i += ondisk.MinFragSize {
			magic := b[i+ondisk.SuperMagicOff : i+ondisk.SuperMagicOff+4]
			if magic[0] != 0x54 && magic[0] != 0x19 && magic[0] != 0x00 && magic[0] != 0x38 {
				continue
			}
			area := append([]byte(nil), b[i:min(i+ondisk.SuperAreaSize, n)]...)
			s, _, err := parseSuper(area, off+int64(i))
			if err == nil && s != nil && s.adopt(dev) {
				return s, true
			}
		}
	}
	return nil, false
}
