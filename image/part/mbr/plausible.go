package mbr

import (
	"encoding/binary"
	"fmt"
)

// Plausible reports whether the 512 bytes in sector are a master boot record
// on a disk of so many sectors, and if not, why. It does not read anything
// else.
//
// A boot sector of a FAT or NTFS volume (it has a BIOS parameter block) passes
// only if all four entries are flawless and not all empty, which is how sticks
// look that are both; elsewhere one good entry is enough, so that a damaged
// table is still shown with its problems.
func Plausible(sector []byte, sectors int64) (ok bool, why string) {
	if len(sector) < sectorBytes {
		return false, "less than 512 bytes"
	}
	if sector[magicOff] != 0x55 || sector[magicOff+1] != 0xaa {
		return false, fmt.Sprintf("no signature 55 AA at byte %d", magicOff)
	}
	used, good, odd := 0, 0, 0
	flawless := true
	for _, w := range decode(sector) {
		if w.empty() {
			continue
		}
		used++
		inside := w.used() && int64(w.start)+int64(w.size) <= sectors
		if w.statusOK() && (w.used() || w.typ == 0) {
			good++
		} else if !w.statusOK() && !inside {
			odd++
		}
		if !w.statusOK() || !inside || w.start == 0 {
			flawless = false
		}
	}
	if volume := bootSectorOf(sector); volume != "" && (used == 0 || !flawless) {
		return false, "it is the boot sector of a " + volume + " volume"
	}
	if used > 0 && odd > 0 {
		return false, "what lies at the place of the entries is not a partition table"
	}
	if used > 0 && good == 0 && !anyInside(sector, sectors) {
		return false, "no entry of the table is possible"
	}
	return true, ""
}

// anyInside reports whether at least one entry lies on the disk.
func anyInside(sector []byte, sectors int64) bool {
	for _, w := range decode(sector) {
		if w.used() && int64(w.start)+int64(w.size) <= sectors {
			return true
		}
	}
	return false
}

// bootSectorOf names the file system whose BIOS parameter block is in sector:
// "FAT", "NTFS", "exFAT", or "" if there is none.
func bootSectorOf(sector []byte) string {
	if jump := sector[0]; (jump != 0xeb || sector[2] != 0x90) && jump != 0xe9 {
		return ""
	}
	switch string(sector[3:11]) {
	case "NTFS    ":
		return "NTFS"
	case "EXFAT   ":
		return "exFAT"
	}
	bytesPerSector := binary.LittleEndian.Uint16(sector[11:])
	perCluster := sector[13]
	reserved := binary.LittleEndian.Uint16(sector[14:])
	fats := sector[16]
	media := sector[21]
	if bytesPerSector < 512 || bytesPerSector > 4096 || bytesPerSector&(bytesPerSector-1) != 0 ||
		perCluster == 0 || perCluster&(perCluster-1) != 0 ||
		reserved == 0 || fats == 0 || fats > 2 || (media != 0xf0 && media < 0xf8) {
		return ""
	}
	return "FAT"
}
