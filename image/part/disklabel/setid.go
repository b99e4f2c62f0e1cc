package disklabel

import (
	"encoding/hex"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

const idOff = 64 // d_uid

// SetID gives the disk of a label of OpenBSD, which t was read from, another
// DUID: 16 hexadecimal digits. It is what fstab, the boot loader and the kernel
// know the disk by.
func SetID(dev blockio.Writable, t *part.Table, id string) error {
	uid, err := hex.DecodeString(id)
	if err != nil || len(uid) != 8 || [8]byte(uid) == [8]byte{} {
		return fmt.Errorf("%q is no DUID: want 16 hexadecimal digits, not all of them zero", id)
	}
	if t.Scheme != "disklabel" || t.Flavor != string(OpenBSD) {
		return &vfs.NotSupportedError{What: "a DUID in a partition table that is no disklabel of OpenBSD", Off: t.Off}
	}
	size := min(dev.Size()-t.Off, headerBytes+maxParts*entryBytes)
	if size < headerBytes {
		return vfs.Corruptf(t.Off, "disklabel", "lies behind the end of the disk")
	}
	raw, err := blockio.ReadFull(dev, t.Off, int(size))
	if err != nil {
		return fmt.Errorf("read disklabel at byte %d: %w", t.Off, err)
	}
	l, err := decode(raw, 0)
	if err != nil {
		return fmt.Errorf("read disklabel at byte %d: %w", t.Off, err)
	}
	if l.version() < 1 {
		return &vfs.NotSupportedError{What: "a DUID in a disklabel of version 0, which has other fields there", Off: t.Off}
	}
	copy(raw[idOff:], uid)
	l.order.PutUint16(raw[checksumOff:], 0)
	l.order.PutUint16(raw[checksumOff:], checksum(l.raw, l.order))
	if _, err := dev.WriteAt(raw[:headerBytes], t.Off); err != nil {
		return fmt.Errorf("write disklabel at byte %d: %w", t.Off, err)
	}
	t.ID = hex.EncodeToString(uid)
	return nil
}
