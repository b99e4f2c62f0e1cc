package disklabel

import "fmt"

// The values of p_fstype that this package itself asks about.
const (
	fsUnused = 0
	fsBSDFFS = 7
	fsBSDLFS = 9
)

// typeName is the name that the disklabel program of the system prints for
// p_fstype. The first 14 are common property.
func typeName(fstype uint8, flavor Flavor) string {
	if name, ok := flavorTypes[flavor][fstype]; ok {
		return name
	}
	if name, ok := commonTypes[fstype]; ok {
		return name
	}
	return fmt.Sprintf("type %d", fstype)
}

var commonTypes = map[uint8]string{
	0: "unused", 1: "swap", 2: "Version6", 3: "Version7", 4: "SystemV", 5: "4.1BSD",
	6: "Eighth-Edition", 7: "4.2BSD", 8: "MSDOS", 9: "4.4LFS", 10: "unknown", 11: "HPFS",
	12: "ISO9660", 13: "boot", 17: "ext2fs",
}

var flavorTypes = map[Flavor]map[uint8]string{
	OpenBSD: {14: "ADOS", 15: "HFS", 16: "ADFS", 18: "ccd", 19: "RAID", 20: "NTFS", 21: "UDF"},
	FreeBSD: {14: "vinum", 15: "raid", 16: "FILECORE", 18: "NTFS", 20: "ccd", 21: "jfs", 22: "HAMMER",
		23: "HAMMER2", 24: "UDF", 26: "EFS", 27: "ZFS", 30: "nandfs"},
	NetBSD: {14: "ADOS", 15: "HFS", 16: "FILECORE", 17: "Linux Ext2", 18: "NTFS", 19: "RAID", 20: "ccd",
		21: "jfs", 22: "Apple UFS", 23: "vinum", 24: "UDF", 25: "SysVBFS", 26: "EFS", 27: "NiLFS",
		28: "cgd"},
}

// typeTitle is the name for people who do not know the history.
func typeTitle(name string) string {
	if title, ok := titles[name]; ok {
		return title
	}
	return name
}

var titles = map[string]string{
	"4.2BSD": "FFS", "4.4LFS": "LFS", "MSDOS": "FAT", "ISO9660": "ISO 9660", "ext2fs": "ext2/3/4",
	"Linux Ext2": "ext2/3/4", "unknown": "", "unused": "",
}

// driveType is the name of d_type.
func driveType(typ uint16, flavor Flavor) string {
	if name, ok := flavorDrives[flavor][typ]; ok {
		return name
	}
	if int(typ) < len(commonDrives) {
		return commonDrives[typ]
	}
	return fmt.Sprintf("type %d", typ)
}

var commonDrives = [...]string{"unknown", "SMD", "MSCP", "old DEC", "SCSI", "ESDI", "ST506", "HP-IB",
	"HP-FL", "type 9", "floppy", "ccd", "vnd", "ATAPI", "RAID"}

var flavorDrives = map[Flavor]map[uint16]string{
	OpenBSD: {15: "rdroot"},
	FreeBSD: {12: "vinum", 13: "DOC2K", 16: "jfs"},
	NetBSD:  {15: "ld", 16: "jfs", 17: "cgd", 18: "vinum", 19: "flash", 20: "dm", 21: "rumpd"},
}
