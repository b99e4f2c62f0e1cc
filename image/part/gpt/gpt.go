// Package gpt reads the GUID partition table of UEFI (chapter 5 of the UEFI
// specification).
//
// A table is kept twice: the primary copy is a header in sector 1 with an
// array of entries behind it, the backup a header in the last sector with its
// array before it. Each copy carries checksums of its own. [Read] judges both,
// uses the primary if it is good and the backup otherwise, and lists in the
// table's problems what is wrong with either.
//
// The entries of the copy that was chosen are decoded by go-diskfs, which gets
// to see only bytes that were checked before. What a partition type means is in
// [TypeInfo].
package gpt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

// attrLegacyBoot is attribute bit 2, "legacy BIOS bootable": the active flag
// of GPT.
const attrLegacyBoot = 1 << 2

// Read reads the table of dev. It looks for it with the sector size of dev
// first, and with the other common one if there is none: the size that fits is
// in the table. Where there is no trace of a table the error wraps
// [part.ErrNotFound]; where there is only damage, it is a *vfs.CorruptError.
func Read(dev blockio.Device) (*part.Table, error) {
	sizes := []int{dev.SectorSize()}
	for _, ss := range []int{512, 4096} {
		if ss != dev.SectorSize() {
			sizes = append(sizes, ss)
		}
	}
	var damage error
	for _, ss := range sizes {
		t, err := readSectors(dev, ss)
		if err == nil {
			if ss != dev.SectorSize() {
				t.Problemf(t.Off, "the table counts in sectors of %d bytes, not %d", ss, dev.SectorSize())
			}
			return t, nil
		}
		if damage == nil && !errors.Is(err, part.ErrNotFound) {
			damage = err
		}
	}
	if damage != nil {
		return nil, damage
	}
	return nil, fmt.Errorf("gpt: %w: no header at byte %d, and no backup", part.ErrNotFound, dev.SectorSize())
}

// readSectors is Read with one sector size.
func readSectors(dev blockio.Device, ss int) (*part.Table, error) {
	last := dev.Size()/int64(ss) - 1
	if last < 2 {
		return nil, fmt.Errorf("gpt: %w: the device has only %d bytes", part.ErrNotFound, dev.Size())
	}
	primary, err := readCopy(dev, ss, 1)
	if err == nil {
		t, err := decodeEntries(primary)
		if err != nil {
			return nil, err
		}
		t.Source = "primary"
		compareBackup(t, dev, primary, last)
		checkEntries(t, dev, primary)
		return t, nil
	}

	// Where the backup should be: at the end of the device, where the damaged
	// primary says, and where the disk ended when the protective MBR was
	// written (an image may have grown since).
	primaryErr := err
	places := []int64{last}
	if alt := int64(primary.header.AlternateLBA); alt > 1 && alt < last && primary.signed() {
		places = append(places, alt)
	}
	if end := protectiveEnd(dev); end > 1 && end < last {
		places = append(places, end)
	}
	var backup *tableCopy
	var backupErr error
	traces := primary.signed()
	for _, at := range places {
		c, err := readCopy(dev, ss, at)
		if err == nil {
			backup = c
			break
		}
		if backupErr == nil || c.signed() {
			backupErr = err
		}
		traces = traces || c.signed()
	}
	if backup == nil {
		if !traces {
			return nil, fmt.Errorf("gpt: %w: %v", part.ErrNotFound, primaryErr)
		}
		return nil, vfs.Corruptf(int64(ss), "GUID partition table", "primary: %s; backup: %s", detail(primaryErr), detail(backupErr))
	}
	t, err := decodeEntries(backup)
	if err != nil {
		return nil, err
	}
	t.Source = "backup"
	t.Problemf(offsetOf(primaryErr, int64(ss)), "primary table: %s", detail(primaryErr))
	if backup.lba != last {
		t.Problemf(backup.off(), "the backup table is at sector %d, but the last sector is %d: the disk has grown", backup.lba, last)
	}
	checkEntries(t, dev, backup)
	return t, nil
}

// compareBackup looks for the backup of a good primary copy and adds a problem
// for whatever is wrong with it.
func compareBackup(t *part.Table, dev blockio.Device, primary *tableCopy, last int64) {
	ss := int64(primary.ss)
	alt := primary.header.AlternateLBA
	if alt > uint64(last) {
		t.Problemf(ss, "the backup table should be at sector %d, but the last sector is %d: the disk has been truncated", alt, last)
		return
	}
	if int64(alt) != last {
		t.Problemf(ss, "the backup table is at sector %d, but the last sector is %d: the disk has grown", alt, last)
	}
	backup, err := readCopy(dev, primary.ss, int64(alt))
	if err != nil {
		t.Problemf(offsetOf(err, int64(alt)*ss), "backup table: %s", detail(err))
		return
	}
	p, b := primary.header, backup.header
	switch {
	case p.DiskGUID != b.DiskGUID:
		t.Problemf(backup.off(), "backup table: its disk GUID is %s, that of the primary %s", guidString(b.DiskGUID), guidString(p.DiskGUID))
	case p.EntriesCRC != b.EntriesCRC || p.EntryCount != b.EntryCount || p.EntrySize != b.EntrySize:
		t.Problemf(backup.off(), "backup table: its entries differ from those of the primary")
	case p.FirstUsable != b.FirstUsable || p.LastUsable != b.LastUsable:
		t.Problemf(backup.off(), "backup table: its usable range differs from that of the primary")
	case b.AlternateLBA != 1:
		t.Problemf(backup.off(), "backup table: it expects the primary at sector %d", b.AlternateLBA)
	}
}

// checkEntries adds the problems of the partitions themselves.
func checkEntries(t *part.Table, dev blockio.Device, c *tableCopy) {
	off := func(i int) int64 { return c.entryOff(t.Entries[i].Index) }
	byUUID := make(map[string]int)
	for i, e := range t.Entries {
		if e.UUID == "00000000-0000-0000-0000-000000000000" {
			t.Problemf(off(i), "partition p%d has no GUID of its own", e.Index)
		} else if first, twice := byUUID[e.UUID]; twice {
			t.Problemf(off(i), "partition p%d has the same GUID as partition p%d", e.Index, first)
		} else {
			byUUID[e.UUID] = e.Index
		}
		if e.Start < t.BoundStart || e.End() > t.BoundEnd {
			t.Problemf(off(i), "partition p%d is not inside the usable range of the table", e.Index)
		}
	}
	t.CheckBounds(dev.Size(), off)
	t.CheckOverlaps(off, nil)
}

// protectiveEnd is the last sector of the disk by the protective entry of its
// MBR, or 0.
func protectiveEnd(dev blockio.Device) int64 {
	sector, err := blockio.ReadFull(dev, 0, 512)
	if err != nil || sector[510] != 0x55 || sector[511] != 0xaa {
		return 0
	}
	for i := range 4 {
		p := sector[446+16*i:][:16]
		if p[4] == 0xee {
			return int64(le.Uint32(p[8:])) + int64(le.Uint32(p[12:])) - 1
		}
	}
	return 0
}

// detail is the text of err without the structure and offset that the problem
// has already.
func detail(err error) string {
	var bad *vfs.CorruptError
	if errors.As(err, &bad) {
		return bad.Structure + ": " + bad.Detail
	}
	if err == nil {
		return "not found"
	}
	return err.Error()
}

// offsetOf is the byte that err complains about.
func offsetOf(err error, otherwise int64) int64 {
	var bad *vfs.CorruptError
	if errors.As(err, &bad) {
		return bad.Off
	}
	return otherwise
}

// guidString formats a GUID as UEFI stores it: the first three groups are
// little-endian.
func guidString(g [16]byte) string {
	return strings.ToUpper(fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		le.Uint32(g[0:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:]))
}
