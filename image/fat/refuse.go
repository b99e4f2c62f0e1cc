package fat

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// refuse returns why the volume must not be written to, if there is a reason
// that the boot sector knows: it was not unmounted cleanly, or is not all
// there.
func (f *FS) refuse() error {
	if f.volumeBytes > f.deviceBytes {
		return vfs.Corruptf(0x13, bootName, "the volume has %d bytes, the device only %d", f.volumeBytes, f.deviceBytes)
	}
	if end := f.fatStart + int64(f.fats)*f.fatBytes; end > f.deviceBytes {
		return vfs.Corruptf(0x10, bootName, "the file allocation tables end at byte %d, beyond the device", end)
	}
	if state, notes := f.state(); state == vfs.Dirty {
		return &vfs.DirtyError{Why: fmt.Sprintf("not cleanly unmounted: %s", strings.Join(notes, "; "))}
	}
	return nil
}
