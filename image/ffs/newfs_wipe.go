package ffs

import (
	"bytes"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
)

// A mark is what a format is known by. Marks lie where FFS may leave things as
// they were: in front of its superblock, or in blocks that are free.
type mark struct {
	off   int64
	magic string
}

// marks are those of formats that FFS does not overwrite. Each is long enough
// that boot code does not have it by chance.
var marks = []mark{
	{0, "XFSB"}, {0, "hsqs"}, {0, "LUKS\xba\xbe"}, // XFS, squashfs, LUKS
	{512, "LABELONE"}, {512, "EFI PART"}, // LVM, GPT
	{1024, "\x10\x20\xf5\xf2"}, {1024, "\xe2\xe1\xf5\xe0"}, // F2FS, EROFS
	{4086, "SWAPSPACE2"}, {4086, "SWAP-SPACE"}, // swap of Linux
	{32768, "JFS1"},
	{32769, "CD001"}, {32769, "BEA01"}, // ISO 9660, UDF
	{34817, "CD001"}, {34817, "BEA01"}, {34817, "NSR02"}, {34817, "NSR03"},
	{36865, "CD001"}, {36865, "NSR02"}, {36865, "NSR03"},
	{65588, "ReIsEr"}, // of reiserfs, all versions
	{65600, "_BHRfS_M"},
}

// wipe takes the marks of other formats away from the first size bytes of dev,
// and those of superblocks of FFS that are not at loc, where the new one goes.
// Otherwise the volume might be taken for what it was. It changes no more than
// the marks: boot code stays, and so does all that might be looked for later.
func wipe(dev blockio.Transaction, size, loc int64) error {
	for _, at := range searchOrder {
		if at == loc {
			continue
		}
		if _, ok, err := readSuper(dev, at); err != nil {
			return err
		} else if ok {
			if err := wipeSuper(dev, at); err != nil {
				return err
			}
		}
	}
	for _, m := range marks {
		if err := m.wipe(dev, size); err != nil {
			return err
		}
	}
	if err := wipeExt(dev, size); err != nil {
		return err
	}
	return wipeFAT(dev, size)
}

// wipeSuper gives a superblock the magic number of an interrupted newfs, as
// newfs itself does with the FFS1 superblock where it makes FFS2.
func wipeSuper(dev blockio.Transaction, at int64) error {
	b := make([]byte, 4)
	ondisk.Order{}.PutU32(b, ondisk.MagicBad)
	_, err := dev.WriteAt(b, at+ondisk.SuperMagicOff)
	return err
}

func (m mark) wipe(dev blockio.Transaction, size int64) error {
	n := len(m.magic)
	if m.off+int64(n) > size {
		return nil
	}
	b, err := blockio.ReadFull(dev, m.off, n)
	if err != nil {
		return fmt.Errorf("look for remains of other formats: %w", err)
	}
	if string(b) != m.magic {
		return nil
	}
	_, err = dev.WriteAt(make([]byte, n), m.off)
	return err
}

// wipeExt wipes the magic number of ext2, ext3 and ext4. Two bytes are nothing
// to go by, so the rest of the superblock has to make sense as well.
func wipeExt(dev blockio.Transaction, size int64) error {
	const at, magic = 1024, 56
	if at+1024 > size {
		return nil
	}
	b, err := blockio.ReadFull(dev, at, 1024)
	if err != nil {
		return fmt.Errorf("look for remains of ext4: %w", err)
	}
	var le ondisk.Order
	inodes, blocks, first, shift, revision := le.U32(b), le.U32(b[4:]), le.U32(b[20:]), le.U32(b[24:]), le.U32(b[76:])
	if le.U16(b[magic:]) != 0xef53 || inodes == 0 || blocks == 0 || first > 1 || shift > 6 || revision > 1 {
		return nil
	}
	_, err = dev.WriteAt(make([]byte, 2), at+magic)
	return err
}

// wipeFAT wipes the parameters of a boot sector of FAT, exFAT or NTFS, and the
// signature behind them, without which nobody runs the code in between: it
// belongs to a file system that is gone. The boot sector of OpenBSD has
// parameters as well, for machines that want to see some; it does not claim to
// be any of these.
func wipeFAT(dev blockio.Transaction, size int64) error {
	const oem, end16, end32, signature = 3, 62, 90, 510
	if size < 512 {
		return nil
	}
	b, err := blockio.ReadFull(dev, 0, 512)
	if err != nil {
		return fmt.Errorf("look for remains of FAT: %w", err)
	}
	if b[signature] != 0x55 || b[signature+1] != 0xaa {
		return nil
	}
	fat := []byte("FAT")
	switch name := string(b[oem : oem+8]); {
	case name == "NTFS    ", name == "EXFAT   ":
	case bytes.HasPrefix(b[end16-8:], fat), bytes.HasPrefix(b[end32-8:], fat):
	default:
		return nil
	}
	if _, err := dev.WriteAt(make([]byte, end32-oem), oem); err != nil {
		return err
	}
	_, err = dev.WriteAt(make([]byte, 2), signature)
	return err
}
