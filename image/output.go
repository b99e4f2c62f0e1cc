package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
)

// A copied image has a temporary name until it is published, and is removed if
// that does not happen.
type copied struct {
	file      *blockio.WritableFile
	lock      *blockio.Lock
	temp      string
	published bool
}

// newCopy copies src beside the place where it is to appear.
func newCopy(ctx context.Context, src *blockio.File, edit EditOptions) (_ *copied, err error) {
	dir, base := filepath.Split(edit.Output)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := &copied{temp: f.Name()}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := src.CopyTo(ctx, f, edit.Progress); err != nil {
		return nil, fmt.Errorf("copy to %s: %w", edit.Output, err)
	}
	if err := f.Chmod(src.Mode().Perm()&0o666 | 0o200); err != nil {
		return nil, err
	}
	if c.lock, err = blockio.LockFile(c.temp); err != nil {
		return nil, err
	}
	if c.file, err = blockio.OpenWritableFile(c.temp); err != nil {
		return nil, err
	}
	// What the original's journal holds belongs into the copy.
	journal, err := blockio.JournalOf(src)
	if err != nil {
		return nil, err
	}
	pending, err := blockio.OpenRecovered(src, journal)
	if err != nil || pending == nil {
		return c, err
	}
	defer pending.Close()
	return c, pending.FinishIn(c.file)
}

// publish gives the copy, which is durable, its name.
func (c *copied) publish(name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, c.temp, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// Some hosts cannot promise not to replace; a link can.
		if err = os.Link(c.temp, name); err == nil {
			err = os.Remove(c.temp)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: c.temp, New: name, Err: err}
	}
	c.published = true
	return blockio.SyncDir(filepath.Dir(name))
}

func (c *copied) close() error {
	var errs []error
	if c.file != nil {
		errs = append(errs, c.file.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Unlock())
	}
	if !c.published {
		errs = append(errs, os.Remove(c.temp))
	}
	return errors.Join(errs...)
}
