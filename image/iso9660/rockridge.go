package iso9660

import (
	"bytes"
	"errors"
	"time"

	"github.com/resflash/resflash/image/iso9660/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// rock is what the system use entries of a directory record say. Its buffers
// are used again by the next readRock.
type rock struct {
	hasMode       bool // PX
	mode          vfs.Mode
	nlink         uint32
	uid, gid      uint32
	hasDev        bool // PN
	high, low     uint32
	name          []byte // NM
	target        []byte // SL
	hasChild      bool   // CL
	child         uint32 // block
	hasParent     bool   // PL
	parent        uint32 // block
	relocated     bool   // RE
	times         [4]time.Time
	compressed    bool  // ZF
	sparse        bool  // SF
	size          int64 // of a compressed or sparse file
	joinComponent bool
	skip          int // SP
	hasSkip       bool
}

// Indexes of rock.times, the bits of TF.
const (
	timeCreation = iota
	timeModify
	timeAccess
	timeAttributes
)

const (
	// maxContinuations bounds the chain of continuation areas; Linux follows
	// 32.
	maxContinuations = 64
	maxTarget        = 64 << 10
	xaSize           = 14 // of what CD-ROM XA puts before the entries
)

func isCorrupt(err error) bool {
	var corrupt *vfs.CorruptError
	return errors.As(err, &corrupt)
}

// findRockRidge finds out whether the primary tree has Rock Ridge: the root
// directory then has an entry PX, and SP before it tells what to skip.
func (f *FS) findRockRidge() error {
	r, err := f.recordAt(f.root)
	if err != nil {
		return err
	}
	if !r.isSelf() {
		return vfs.Corruptf(r.off, "root directory", "does not begin with a record of itself")
	}
	for _, skip := range []int{0, xaSize} {
		f.skip = skip
		var rock rock
		if err := f.readRock(&r, &rock); err == nil && rock.hasMode {
			f.naming = rockRidge
			if rock.hasSkip {
				f.skip = rock.skip
			}
			return nil
		}
	}
	f.skip = 0
	return nil
}

// readRock reads the system use entries of r. The root's own record knows the
// number of bytes to skip, but has none to skip itself, unless it has XA.
func (f *FS) readRock(r *record, rock *rock) error {
	*rock = rockBuffers(rock)
	_, area := ondisk.Name(r.raw)
	skip := f.skip
	if r.off == int64(f.root) && skip != 0 && !bytes.HasPrefix(area, []byte(ondisk.SigSP)) {
		skip = xaSize
	} else if r.off == int64(f.root) {
		skip = 0
	}
	if skip > len(area) {
		return nil
	}
	off := r.off + int64(len(r.raw)-len(area)) + int64(skip)
	area = area[skip:]
	for range maxContinuations {
		next, n, err := rock.read(f, area, off)
		if err != nil || n == 0 {
			return err
		}
		if next > f.dev.Size()-int64(n) {
			return vfs.Corruptf(off, "system use area", "goes on at byte %d, beyond the end of the device", next)
		}
		if area, err = f.cache.Bytes(next, n); err != nil {
			return err
		}
		off = next
	}
	return vfs.Corruptf(r.off, "system use area", "more than %d continuations", maxContinuations)
}

// rockBuffers empties r, but keeps its buffers.
func rockBuffers(r *rock) rock { return rock{name: r.name[:0], target: r.target[:0]} }

// read reads the entries in one area, which lies at off. It returns where the
// area goes on, with n 0 if it does not.
func (k *rock) read(f *FS, area []byte, off int64) (next int64, n int, err error) {
	for len(area) >= ondisk.EntryHeader {
		size := int(area[2])
		if area[0] == 0 { // padding
			return next, n, nil
		}
		bad := func(what string) error {
			return vfs.Corruptf(off, "system use entry "+quote(area[:2]), "%s (length %d)", what, size)
		}
		if size < ondisk.EntryHeader || size > len(area) {
			return 0, 0, bad("bad length")
		}
		e := area[:size]
		need := func(n int) bool { return size >= n }
		switch string(e[:2]) {
		case ondisk.SigST:
			return next, n, nil
		case ondisk.SigCE:
			if !need(28) {
				return 0, 0, bad("too short")
			}
			block, in, length := ondisk.Both(e, 4), ondisk.Both(e, 12), ondisk.Both(e, 20)
			// An area lies within one block; other writers are content with a sector.
			if length == 0 || length > ondisk.SectorSize || in > ondisk.SectorSize {
				return 0, 0, bad("bad continuation area")
			}
			next, n = f.blockOff(block, 0)+int64(in), int(length)
		case ondisk.SigSP:
			if need(7) && e[4] == 0xbe && e[5] == 0xef {
				k.skip, k.hasSkip = int(e[6]), true
			}
		case ondisk.SigPX:
			if !need(36) {
				return 0, 0, bad("too short")
			}
			k.hasMode = true
			k.mode = vfs.Mode(ondisk.Both(e, 4) & 0xffff)
			k.nlink, k.uid, k.gid = ondisk.Both(e, 12), ondisk.Both(e, 20), ondisk.Both(e, 28)
		case ondisk.SigPN:
			if !need(20) {
				return 0, 0, bad("too short")
			}
			k.hasDev, k.high, k.low = true, ondisk.Both(e, 4), ondisk.Both(e, 12)
		case ondisk.SigNM:
			if need(5) && e[4]&(ondisk.FlagCurrent|ondisk.FlagParent) == 0 && len(k.name) <= rockMax {
				k.name = append(k.name, e[5:]...)
			}
		case ondisk.SigSL:
			if !need(5) || !k.link(e[5:]) {
				return 0, 0, bad("bad symbolic link")
			}
		case ondisk.SigCL:
			if !need(12) {
				return 0, 0, bad("too short")
			}
			k.hasChild, k.child = true, ondisk.Both(e, 4)
		case ondisk.SigPL:
			if !need(12) {
				return 0, 0, bad("too short")
			}
			k.hasParent, k.parent = true, ondisk.Both(e, 4)
		case ondisk.SigRE:
			k.relocated = true
		case ondisk.SigTF:
			if need(5) {
				k.stamps(e[4], e[5:])
			}
		case ondisk.SigZF:
			if need(16) && string(e[4:6]) == "pz" {
				k.compressed, k.size = true, int64(ondisk.Both(e, 8))
			}
		case ondisk.SigSF:
			if need(21) { // the size in two words, high and low
				k.sparse = true
				k.size = int64(uint64(ondisk.Both(e, 4))<<32|uint64(ondisk.Both(e, 12))) & (1<<62 - 1)
			}
		}
		area, off = area[size:], off+int64(size)
	}
	return next, n, nil
}

// link adds the components of an entry SL to the target; false means that they
// do not fit.
func (k *rock) link(p []byte) bool {
	for len(p) >= 2 {
		flags, n := p[0], int(p[1])
		if n > len(p)-2 || len(k.target)+n+3 > maxTarget {
			return false
		}
		if !k.joinComponent && len(k.target) > 0 && k.target[len(k.target)-1] != '/' {
			k.target = append(k.target, '/')
		}
		switch {
		case flags&ondisk.FlagRoot != 0:
			k.target = append(k.target[:0], '/')
		case flags&ondisk.FlagParent != 0:
			k.target = append(k.target, ".."...)
		case flags&ondisk.FlagCurrent != 0:
			k.target = append(k.target, '.')
		default:
			k.target = append(k.target, p[2:2+n]...)
		}
		k.joinComponent = flags&ondisk.FlagContinue != 0
		p = p[2+n:]
	}
	return true
}

// stamps reads the times of an entry TF.
func (k *rock) stamps(flags uint8, p []byte) {
	size := ondisk.ShortTimeSize
	if flags&ondisk.TimeLong != 0 {
		size = ondisk.LongTimeSize
	}
	for i := range k.times {
		if flags&(1<<i) == 0 {
			continue
		}
		if len(p) < size {
			return
		}
		if flags&ondisk.TimeLong != 0 {
			long := ondisk.DecodeLongTime(p)
			k.times[i] = long.Time()
		} else {
			k.times[i] = ondisk.ShortTime(p)
		}
		p = p[size:]
	}
}

// dev is the device number. The standard lets writers put it into the lower
// word alone, and those on Linux store a dev_t there.
func (k *rock) dev() vfs.Dev {
	if k.high != 0 {
		return vfs.Dev{Major: k.high, Minor: k.low}
	}
	return vfs.Dev{Major: k.low >> 8 & 0xfff, Minor: k.low&0xff | k.low>>12&0xfff00}
}
