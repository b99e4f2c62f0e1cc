package mbr

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
)

// SetID gives the disk of the table t another signature: "0x1234abcd". Linux
// makes the PARTUUID of its partitions from it.
func SetID(dev blockio.Writable, t *part.Table, id string) error {
	signature, err := strconv.ParseUint(strings.TrimPrefix(id, "0x"), 16, 32)
	if err != nil || len(id) != 10 || signature == 0 {
		return fmt.Errorf("%q is no disk signature: want 0x and 8 hexadecimal digits, not all of them zero", id)
	}
	if t.Scheme != "MBR" {
		return fmt.Errorf("a %s has no disk signature", t.Scheme)
	}
	sector, err := blockio.ReadFull(dev, 0, sectorBytes)
	if err != nil {
		return fmt.Errorf("read the master boot record: %w", err)
	}
	if binary.LittleEndian.Uint32(sector[signatureOff:]) == 0 {
		// The boot code of some systems reaches up to the table.
		return fmt.Errorf("not supported: the disk has no signature yet")
	}
	binary.LittleEndian.PutUint32(sector[signatureOff:], uint32(signature))
	if _, err := dev.WriteAt(sector, 0); err != nil {
		return fmt.Errorf("write the master boot record: %w", err)
	}
	t.ID = fmt.Sprintf("0x%08x", signature)
	for i := range t.Entries {
		t.Entries[i].UUID = fmt.Sprintf("%08x-%02x", signature, t.Entries[i].Index)
	}
	return nil
}
