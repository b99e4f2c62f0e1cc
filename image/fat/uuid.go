package fat

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

var _ vfs.UUIDSetter = (*Writer)(nil)

// volumeIDOff is where Ext.VolumeID lies in Ext.
const volumeIDOff = 3

// SetUUID implements [vfs.UUIDSetter]: the volume id, in the boot sector and its
// copy.
func (w *Writer) SetUUID(_ context.Context, id string) error {
	digits := strings.Replace(id, "-", "", 1)
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) != 8 || len(id) == 9 && id[4] != '-' {
		return fmt.Errorf("%q is no identifier of a FAT volume: want XXXX-XXXX", id)
	}
	w.Info() // is put together now, if it was not before
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.boot.hasID() {
		return &vfs.NotSupportedError{What: "an identifier of a FAT volume whose boot sector has no place for one", Off: w.boot.extOffset()}
	}
	offs := []int64{w.boot.extOffset() + volumeIDOff}
	if w.bits == 32 && w.hasReserved(w.boot.fat32.Backup) {
		offs = append(offs, int64(w.boot.fat32.Backup)*w.sectorSize+offs[0])
	}
	for _, off := range offs {
		b, err := w.cache.Modify(off, 4)
		if err != nil {
			return fmt.Errorf("boot sector at byte %d: %w", off, err)
		}
		binary.LittleEndian.PutUint32(b, uint32(v))
	}
	w.boot.ext.VolumeID = uint32(v)
	w.info.UUID = fmt.Sprintf("%04X-%04X", v>>16, v&0xffff)
	w.changed = true
	return nil
}
