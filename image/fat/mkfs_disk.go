package fat

// mkfsDisk is the disk that a new volume pretends to lie on, for programs that
// count in cylinders, heads and sectors, and what is usual on such a disk.
type mkfsDisk struct {
	media           uint8
	heads           int64
	sectorsPerTrack int64
	cluster         int64 // sectors
	rootEntries     int64
}

const (
	mediaFixed  = 0xf8
	driveFixed  = 0x80 // BIOS number of the first hard disk
	driveFloppy = 0x00
	cylinders   = 1024 // cylinders that the BIOS can count
)

// floppies are the disks known by their size in KiB.
var floppies = map[int64]mkfsDisk{
	360:  {0xfd, 2, 9, 2, 112},
	720:  {0xf9, 2, 9, 2, 112},
	1200: {0xf9, 2, 15, 1, 224},
	1440: {0xf0, 2, 18, 1, 224},
	2880: {0xf0, 2, 36, 2, 224},
}

// diskFor returns the disk for a volume of so many bytes.
func diskFor(size, sectorSize int64) mkfsDisk {
	if d, ok := floppies[size/1024]; ok {
		return d
	}
	d := mkfsDisk{media: mediaFixed, cluster: 4, rootEntries: 512}
	d.heads, d.sectorsPerTrack = chsFor(size / sectorSize)
	return d
}

// chsFor returns heads and sectors per track. Up to 256 MiB these are those of
// the SD card specification, part 2, and above those of the LBA assist
// translation of BIOSes, which has 63 sectors and as many heads as are needed
// for 1024 cylinders.
func chsFor(sectors int64) (heads, perTrack int64) {
	switch {
	case sectors <= 4096:
		return 2, 16
	case sectors <= 32768:
		return 2, 32
	case sectors <= 65536:
		return 4, 32
	case sectors <= 262144:
		return 8, 32
	case sectors <= 524288:
		return 16, 32
	}
	for heads = 16; heads <= 128; heads *= 2 {
		if sectors <= heads*63*cylinders {
			return heads, 63
		}
	}
	return 255, 63
}

// clusterFor32 is the cluster size of FAT32 in sectors, after the table of
// Microsoft's specification, which is about sectors of 512 bytes.
func clusterFor32(sectors int64) int64 {
	const mib = 2048
	switch {
	case sectors > 32768*mib:
		return 64
	case sectors > 16384*mib:
		return 32
	case sectors > 8192*mib:
		return 16
	case sectors > 260*mib:
		return 8
	}
	return 1
}

// drive is the number that the BIOS gives to the disk.
func (d mkfsDisk) drive() uint8 {
	if d.media == mediaFixed {
		return driveFixed
	}
	return driveFloppy
}
