package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
)

// WriteDevice writes an image to the block device called device, which must not
// be mounted or otherwise in use, and be as large as the image. An interruption
// leaves anything on it. [Edit] with New set then changes what is there.
func WriteDevice(ctx context.Context, name, device string, progress func(done, total int64), opts ...Option) error {
	o, err := readOptions(opts)
	if err != nil {
		return err
	}
	d := &Disk{name: name}
	defer d.Close()
	src, err := d.openShared(o)
	if err != nil {
		return withName(name, err)
	}
	// The kernel has a meaning for that: nobody else may be using the device.
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	if size < src.Size() {
		return fmt.Errorf("%s: has %d bytes, %d less than the image", device, size, src.Size()-size)
	}
	if err := blockio.CopyOnto(ctx, src, f, progress); err != nil {
		return fmt.Errorf("write to %s: %w", device, err)
	}
	return nil
}

// IsDevice reports whether a file of the host is a block device.
func IsDevice(name string) (bool, error) {
	st, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0, nil
}
