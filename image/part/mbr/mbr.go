// Package mbr reads the partition table of the first sector of a disk, as PCs
// have had it since 1983, with the logical partitions of an extended one.
//
// The table has four entries of 16 bytes at byte 446. An entry of an extended
// type holds a chain of further tables (EBRs, extended boot records), each with
// one logical partition and a link to the next; logical partitions are numbered
// from 5. All numbers are sectors of the device's sector size; the
// cylinder/head/sector fields, which no system has used for twenty years, are
// ignored.
//
// The signature 55 AA is on every boot sector, also on that of a FAT or NTFS
// volume that has no table at all, with program text where the entries would
// be. [Plausible] tells the two apart.
package mbr

import (
	"encoding/binary"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
)

// Layout of the sector.
const (
	sectorBytes  = 512 // the table fills the first 512 bytes, whatever the sector size
	signatureOff = 440 // disk signature, 4 bytes
	entriesOff   = 446
	entryBytes   = 16
	entryCount   = 4
	magicOff     = 510
)

// The types that mean something to this program. [TypeName] knows more.
const (
	TypeExtended      = 0x05
	TypeExtendedLBA   = 0x0f
	TypeExtendedLinux = 0x85
	TypeFreeBSD       = 0xa5
	TypeOpenBSD       = 0xa6
	TypeNetBSD        = 0xa9
	TypeGPT           = 0xee
	TypeEFI           = 0xef
)

// IsExtended reports whether a partition of this type holds logical ones.
func IsExtended(typ byte) bool {
	return typ == TypeExtended || typ == TypeExtendedLBA || typ == TypeExtendedLinux
}

// wire is one of the four entries as it lies on the disk.
type wire struct {
	status byte
	typ    byte
	start  uint32 // sectors
	size   uint32 // sectors
}

// used reports whether the entry describes a partition.
func (w wire) used() bool { return w.typ != 0 && w.size != 0 }

// empty reports whether no bit of what matters is set.
func (w wire) empty() bool { return w == wire{} }

// statusOK reports whether the status byte is one of the two that exist.
func (w wire) statusOK() bool { return w.status == 0x00 || w.status == 0x80 }

func decode(sector []byte) (entries [entryCount]wire) {
	for i := range entries {
		p := sector[entriesOff+i*entryBytes:][:entryBytes]
		entries[i] = wire{
			status: p[0],
			typ:    p[4],
			start:  binary.LittleEndian.Uint32(p[8:]),
			size:   binary.LittleEndian.Uint32(p[12:]),
		}
	}
	return entries
}

// Read reads the table at the start of dev and follows its extended
// partitions. Where there is none the error wraps [part.ErrNotFound].
func Read(dev blockio.Device) (*part.Table, error) {
	if dev.Size() < sectorBytes {
		return nil, fmt.Errorf("mbr: %w: the device has only %d bytes", part.ErrNotFound, dev.Size())
	}
	sector, err := blockio.ReadFull(dev, 0, sectorBytes)
	if err != nil {
		return nil, fmt.Errorf("read the master boot record: %w", err)
	}
	ss := int64(dev.SectorSize())
	if ok, why := Plausible(sector, dev.Size()/ss); !ok {
		return nil, fmt.Errorf("mbr: %w: %s", part.ErrNotFound, why)
	}

	t := &part.Table{Scheme: "MBR", SectorSize: int(ss)}
	signature := binary.LittleEndian.Uint32(sector[signatureOff:])
	t.ID = fmt.Sprintf("0x%08x", signature)
	r := &reader{dev: dev, ss: ss, table: t, signature: signature}
	entries := decode(sector)
	active := 0
	protective, others := 0, 0
	for i, w := range entries {
		if !w.statusOK() {
			t.Problemf(entryOff(0, i), "partition p%d has the status byte 0x%02x, neither 00 nor 80", i+1, w.status)
		}
		if !w.used() {
			if !w.empty() && w.typ != 0 {
				t.Problemf(entryOff(0, i), "partition p%d of type 0x%02x has no size", i+1, w.typ)
			}
			continue
		}
		if w.typ == TypeGPT {
			protective++
		} else {
			others++
		}
		if w.status == 0x80 {
			active++
		}
		if w.start == 0 {
			t.Problemf(entryOff(0, i), "partition p%d starts at sector 0 and so covers the partition table", i+1)
		}
		r.add(i+1, w, 0, entryOff(0, i))
	}
	if active > 1 {
		t.Problemf(entriesOff, "%d partitions are active; a boot loader takes the first", active)
	}
	switch {
	case protective > 0 && others > 0:
		t.Flavor = "hybrid"
	case protective > 0:
		t.Flavor = "protective"
	}
	r.logicals()

	off := func(i int) int64 { return r.offs[i] }
	t.CheckBounds(dev.Size(), off)
	t.CheckOverlaps(off, nil)
	return t, nil
}

// entryOff is the byte on the disk of the entry i of the table in the sector
// that starts at the byte sector.
func entryOff(sector int64, i int) int64 { return sector + entriesOff + int64(i)*entryBytes }

// A reader collects the entries of one disk.
type reader struct {
	dev       blockio.Device
	ss        int64
	table     *part.Table
	signature uint32
	offs      []int64 // where each of table.Entries lies
}

// add appends the partition number index, whose start is relative to the
// sector base.
func (r *reader) add(index int, w wire, base int64, off int64) {
	e := part.Entry{
		Index:     index,
		Start:     (base + int64(w.start)) * r.ss,
		Size:      int64(w.size) * r.ss,
		Type:      fmt.Sprintf("0x%02x", w.typ),
		TypeName:  TypeName(w.typ),
		Bootable:  w.status == 0x80,
		Container: IsExtended(w.typ) || w.typ == TypeGPT,
	}
	if r.signature != 0 {
		e.UUID = fmt.Sprintf("%08x-%02x", r.signature, index)
	}
	r.table.Entries = append(r.table.Entries, e)
	r.offs = append(r.offs, off)
}
