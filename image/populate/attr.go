package populate

import (
	"context"
	"errors"

	"github.com/resflash/resflash/image/vfs"
)

// flagged is a file that gets its flags in the end: one that is immutable
// could not have been given its other names.
type flagged struct {
	ino   vfs.Ino
	flags vfs.Flags
}

// setattr gives a file what its original has, as far as the format can record
// it. Flags of a file with several names wait until all of these are made.
func (c *copier) setattr(ctx context.Context, ino vfs.Ino, set vfs.SetAttr, names uint64) error {
	if set.Flags != nil && names > 1 {
		c.later = append(c.later, flagged{ino, *set.Flags})
		set.Flags = nil
	}
	_, err := c.fs.Setattr(ctx, ino, set)
	if !beyond(err) {
		return err
	}
	flags := set.Flags
	set.Flags = nil
	if _, err = c.fs.Setattr(ctx, ino, set); beyond(err) {
		// No owners, and no set-id bits that would mean nothing without them.
		set.UID, set.GID = nil, nil
		if set.Mode != nil {
			mode := *set.Mode & (vfs.TypeMask | 0o777)
			set.Mode = &mode
		}
		_, err = c.fs.Setattr(ctx, ino, set)
	}
	if err != nil || flags == nil {
		return err
	}
	return c.setFlags(ctx, ino, *flags)
}

// setFlags sets those of some flags that the format has, and counts the file
// if that is not all of them. An archive flag is about a backup of the original,
// and the mode says what the read-only flag does.
func (c *copier) setFlags(ctx context.Context, ino vfs.Ino, flags vfs.Flags) error {
	_, err := c.fs.Setattr(ctx, ino, vfs.SetAttr{Flags: &flags})
	if !beyond(err) {
		return err
	}
	var held, lost vfs.Flags
	for bit := vfs.Flags(1); bit != 0; bit <<= 1 {
		if flags&bit == 0 {
			continue
		}
		try := held | bit
		_, err := c.fs.Setattr(ctx, ino, vfs.SetAttr{Flags: &try})
		switch {
		case err == nil:
			held = try
		case beyond(err):
			lost |= bit
		default:
			return err
		}
	}
	if lost&^(vfs.UserArchive|vfs.SystemArchived|vfs.UserReadOnly) != 0 {
		c.done.Flags++
	}
	return nil
}

// finishFlags sets the flags that had to wait.
func (c *copier) finishFlags(ctx context.Context) error {
	for _, f := range c.later {
		if err := c.setFlags(ctx, f.ino, f.flags); err != nil {
			return err
		}
	}
	return nil
}

// beyond reports whether the format has no place for something.
func beyond(err error) bool {
	var limit *vfs.LimitError
	return errors.As(err, &limit)
}
