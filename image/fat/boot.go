package fat

import (
	"encoding/binary"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// bootRecord is a decoded boot sector. Nothing in it is validated: newGeometry
// does that.
type bootRecord struct {
	ondisk.BPB
	fat32 ondisk.BPB32 // zero unless is32
	ext   ondisk.Ext   // State and Signature may be boot code: see hasID
	is32  bool
}

func readBoot(dev blockio.Device) (bootRecord, error) {
	if dev.Size() < ondisk.BootSectorSize {
		return bootRecord{}, vfs.Corruptf(0, "FAT boot sector", "the device has only %d bytes", dev.Size())
	}
	sector, err := blockio.ReadFull(dev, 0, ondisk.BootSectorSize)
	if err != nil {
		return bootRecord{}, err
	}
	return decodeBoot(sector), nil
}

func decodeBoot(sector []byte) bootRecord {
	b := bootRecord{BPB: ondisk.DecodeBPB(sector)}
	// Linux goes by the length of the table as well: see geometry.
	if b.is32 = b.FATSectors16 == 0; b.is32 {
		b.fat32 = ondisk.DecodeBPB32(sector)
		b.ext = ondisk.DecodeExt(sector, ondisk.Ext32Offset)
	} else {
		b.ext = ondisk.DecodeExt(sector, ondisk.Ext16Offset)
	}
	return b
}

// extOffset is where the extended boot record lies.
func (b *bootRecord) extOffset() int64 {
	if b.is32 {
		return ondisk.Ext32Offset
	}
	return ondisk.Ext16Offset
}

// hasID reports whether there is an extended boot record.
func (b *bootRecord) hasID() bool {
	return b.ext.Signature == ondisk.SignatureID || b.ext.Signature == ondisk.SignatureLabel
}

// jumps reports whether the sector begins with a jump over the parameters.
func (b *bootRecord) jumps() bool { return b.Jump[0] == 0xeb || b.Jump[0] == 0xe9 }

func (b *bootRecord) namesFAT() bool {
	return b.ext.Signature == ondisk.SignatureLabel && strings.HasPrefix(string(b.ext.FSType[:]), "FAT")
}

// holdsPartitions reports whether a sector is a master boot record with at
// least one partition, all of which lie on the device behind the sector.
func holdsPartitions(sector []byte, dev blockio.Device) bool {
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return false
	}
	sectors := dev.Size() / int64(max(dev.SectorSize(), ondisk.BootSectorSize))
	used := false
	for i := range 4 {
		e := sector[ondisk.TableOffset+i*ondisk.TableEntrySize:][:ondisk.TableEntrySize]
		status, kind := e[0], e[4]
		start := int64(binary.LittleEndian.Uint32(e[8:]))
		size := int64(binary.LittleEndian.Uint32(e[12:]))
		if status&^0x80 != 0 {
			return false
		}
		if kind == 0 {
			continue
		}
		// The protective entry of a GPT may claim more than the device has.
		if start == 0 || size == 0 || start >= sectors {
			return false
		}
		used = true
	}
	return used
}
