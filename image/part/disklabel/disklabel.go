// Package disklabel reads the partition tables of the BSDs.
//
// All of them descend from the disklabel of 4.3BSD-Tahoe: 148 bytes about the
// disk and 16 bytes for each partition a, b, c …, protected by two magic
// numbers and an exclusive-or over all 16-bit words. It lies in the second
// sector of an MBR partition (or of the disk, where there is no MBR), on some
// machines in the first one. Beyond that the three systems have drifted apart,
// which is the [Flavor]:
//
//   - OpenBSD counts sectors in 48 bits, has an identifier for the disk (the
//     DUID) and packs block and fragment size into one byte. Offsets count
//     from the start of the disk.
//   - NetBSD kept the old layout. Offsets count from the start of the disk.
//   - FreeBSD kept the old layout, too, but offsets count from wherever
//     partition c says that the slice starts: from the slice if it says 0.
//
// Partition c (for NetBSD on PCs also d) stands for the whole disk or slice
// and is no place for a file system.
package disklabel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

// A Flavor says which system's rules a label follows.
type Flavor string

// The flavors. Unknown lets Read find out by what is in the label.
const (
	Unknown Flavor = ""
	OpenBSD Flavor = "OpenBSD"
	FreeBSD Flavor = "FreeBSD"
	NetBSD  Flavor = "NetBSD"
)

// rawPart is the index of partition c, RAW_PART: the whole disk.
const rawPart = 2

// windowBytes is how far into a slice a label is looked for: two sectors of
// 4096 bytes.
const windowBytes = 8192

// Read reads the label of the slice of dev that starts at the byte start (0
// for a whole disk) and is size bytes long. Where there is none the error wraps
// [part.ErrNotFound]; a damaged one is a *vfs.CorruptError.
func Read(dev blockio.Device, start, size int64, flavor Flavor) (*part.Table, error) {
	if start < 0 || size < 0 || start > dev.Size() {
		return nil, fmt.Errorf("disklabel: %w: bytes %d to %d are not on the disk", part.ErrNotFound, start, start+size)
	}
	size = min(size, dev.Size()-start)
	if size < headerBytes+entryBytes {
		return nil, fmt.Errorf("disklabel: %w: the slice has only %d bytes", part.ErrNotFound, size)
	}
	window, err := blockio.ReadFull(dev, start, int(min(size, windowBytes)))
	if err != nil {
		return nil, fmt.Errorf("read disklabel at byte %d: %w", start, err)
	}
	raw, err := find(window, start, dev.SectorSize())
	if err != nil {
		return nil, err
	}
	if flavor == Unknown {
		flavor = raw.guess()
	}
	return raw.table(dev.Size(), start, size, flavor)
}

// find looks for a label at the places where some system puts it.
func find(window []byte, start int64, sectorSize int) (*label, error) {
	var damage error
	try := func(at int) *label {
		l, err := decode(window, at)
		switch {
		case err == nil:
			l.off = start + int64(at)
			return l
		case !errors.Is(err, part.ErrNotFound) && damage == nil:
			var bad *vfs.CorruptError
			if errors.As(err, &bad) {
				bad.Off += start
			}
			damage = err
		}
		return nil
	}
	// Sector 1 is LABELSECTOR of PCs; sector 0 at byte 64 (alpha, sgi …) and
	// 128 (sparc, hppa) of others. OpenBSD's boot loader takes a label from
	// anywhere in its sector.
	places := []int{512, sectorSize, 64, 128, 0}
	for at := range 1024 / 4 {
		places = append(places, at*4)
	}
	for _, at := range places {
		if l := try(at); l != nil {
			return l, nil
		}
	}
	if damage != nil {
		return nil, damage
	}
	if what := foreign(window); what != "" {
		return nil, &vfs.NotSupportedError{What: what, Off: start}
	}
	return nil, fmt.Errorf("disklabel: %w: no magic number 0x%08x at byte %d", part.ErrNotFound, magic, start+512)
}

// foreign recognises the labels of other Unix machines, whose first sector
// OpenBSD and NetBSD use there instead of the one of the BSDs.
func foreign(window []byte) string {
	if len(window) < 512 {
		return ""
	}
	if window[508] == 0xda && window[509] == 0xbe {
		sum := byte(0)
		for i := 0; i < 512; i += 2 {
			sum ^= window[i]
		}
		if sum == 0 {
			return "Sun disk label"
		}
	}
	if string(window[:4]) == "\x0b\xe5\xa9\x41" {
		return "SGI volume header"
	}
	return ""
}

// table turns a label into the neutral form. The slice that it was found in is
// size bytes at start.
func (l *label) table(diskSize, start, size int64, flavor Flavor) (*part.Table, error) {
	ss := int(l.SecSize)
	t := &part.Table{
		Scheme:     "disklabel",
		Flavor:     string(flavor),
		Off:        l.off,
		Name:       text(l.PackName[:]),
		SectorSize: ss,
		DriveType:  driveType(l.Type, flavor),
	}
	sectors := uint64(l.SecPerUnit)
	if flavor == OpenBSD {
		sectors |= uint64(l.secPerUnitHigh()) << 32
		if uid := l.uid(); uid != [8]byte{} {
			t.ID = hex.EncodeToString(uid[:])
		}
		first, ok1 := part.Bytes(uint64(l.boundStartHigh())<<32|uint64(l.boundStart()), ss)
		end, ok2 := part.Bytes(uint64(l.boundEndHigh())<<32|uint64(l.boundEnd()), ss)
		if ok1 && ok2 && first < end {
			t.BoundStart, t.BoundEnd = first, end
		}
	}
	t.DiskSize, _ = part.Bytes(sectors, ss)

	// FreeBSD: "the offset of c" is the origin, and is at the slice's start.
	var origin, base int64
	if flavor == FreeBSD {
		base = start
		if rawPart < len(l.parts) && l.parts[rawPart].Size != 0 {
			origin, _ = part.Bytes(uint64(l.parts[rawPart].Offset), ss)
		}
	}

	var index []int
	for i, p := range l.parts {
		first, length := uint64(p.Offset), uint64(p.Size)
		if flavor == OpenBSD && l.version() >= 1 {
			first |= uint64(p.offsetHigh()) << 32
			length |= uint64(p.sizeHigh()) << 32
		}
		if length == 0 {
			continue
		}
		e := part.Entry{Index: i, Type: typeName(p.FSType, flavor)}
		e.TypeName = typeTitle(e.Type)
		e.Container = isRaw(i, p, flavor)
		e.FragSize, e.BlockSize = p.blockSizes(flavor, l.version())
		from, ok1 := part.Bytes(first, ss)
		n, ok2 := part.Bytes(length, ss)
		if !ok1 || !ok2 || from+n < from {
			t.Problemf(l.entryOff(i), "partition %s, %d sectors at sector %d, is impossible", e.ID(t.Scheme), length, first)
			continue
		}
		if from < origin && p.FSType == fsUnused {
			continue // d as the whole disk
		}
		if from < origin {
			t.Problemf(l.entryOff(i), "partition %s at sector %d starts before the slice at sector %d", e.ID(t.Scheme), first, origin/int64(ss))
			continue
		}
		e.Start, e.Size = base+from-origin, n
		if e.Start < 0 || e.End() < e.Start {
			t.Problemf(l.entryOff(i), "partition %s, %d sectors at sector %d, is impossible", e.ID(t.Scheme), length, first)
			continue
		}
		t.Entries = append(t.Entries, e)
		index = append(index, i)
	}
	l.check(t, diskSize, start, size, func(i int) int64 { return l.entryOff(index[i]) })
	return t, nil
}

// check adds the problems of the partitions.
func (l *label) check(t *part.Table, diskSize, start, size int64, off func(i int) int64) {
	t.CheckBounds(diskSize, off)
	// OpenBSD and NetBSD replace the size of the raw partition by that of the
	// disk when they read the label, so an image copied to a smaller or larger
	// disk is fine as long as the others fit.
	t.Problems = dropRaw(t, off)
	t.CheckOverlaps(off, func(e part.Entry) bool { return e.Index == rawPart || e.Type == "unused" })
	if t.Flavor == string(FreeBSD) && start > 0 {
		for i, e := range t.Entries {
			if !e.Container && (e.Start < start || e.End() > start+size) {
				t.Problemf(off(i), "partition %s is not inside the slice (bytes %d to %d)", e.ID(t.Scheme), start, start+size-1)
			}
		}
	}
	if l.uidMissing(t) {
		t.Problemf(l.off+64, "the label has no DUID")
	}
}

// dropRaw returns the problems of t without those of the raw partition.
func dropRaw(t *part.Table, off func(i int) int64) []part.Problem {
	raw := make(map[int64]bool)
	for i := range t.Entries {
		if t.Entries[i].Container {
			t.Entries[i].Outside = false
			raw[off(i)] = true
		}
	}
	var kept []part.Problem
	for _, p := range t.Problems {
		if !raw[p.Off] {
			kept = append(kept, p)
		}
	}
	return kept
}

// isRaw reports whether partition i stands for the whole disk or slice.
func isRaw(i int, p partition, flavor Flavor) bool {
	switch {
	case i == rawPart:
		// FreeBSD lets people put a file system into c, and says so there.
		return flavor == OpenBSD || p.FSType == fsUnused
	case i == rawPart+1:
		// The PC ports of 386BSD and NetBSD: c is the slice, d the disk.
		return p.FSType == fsUnused && p.Offset == 0
	}
	return false
}

// text cuts a field of the label at its first NUL and keeps what is printable.
func text(p []byte) string {
	s, _, _ := strings.Cut(string(p), "\x00")
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}
