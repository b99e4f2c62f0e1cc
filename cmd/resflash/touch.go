package main

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

type touchCmd struct {
	Access    bool     `short:"a" help:"Only the time of the last access."`
	Modify    bool     `short:"m" help:"Only the time of the last modification."`
	NoCreate  bool     `short:"c" help:"Do not make files that do not exist."`
	NoDeref   bool     `short:"h" name:"no-dereference" help:"A symbolic link itself, not what it points to."`
	Date      string   `short:"d" placeholder:"TIME" xor:"time" help:"This time: 2006-01-02, 2006-01-02T15:04:05Z or @SECONDS."`
	Stamp     string   `short:"t" placeholder:"STAMP" xor:"time" help:"This time, as [[CC]YY]MMDDhhmm[.ss]."`
	Reference string   `short:"r" placeholder:"FILE" xor:"time" help:"The times of this file, of the image (IMAGE:/path) or of the host."`
	Owner     string   `default:"0:0" placeholder:"UID:GID" help:"Owner and group of files that are made (0:0)."`
	Files     []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*touchCmd) Help() string {
	return addressHelp + editHelp + `

Without a time it is now: what SOURCE_DATE_EPOCH says, if that is set.

	resflash touch disk.img:/fastboot
	resflash touch -d 2025-10-01T12:00:00Z disk.img:/etc/motd
	resflash touch -r etc/fstab disk.img:/etc/fstab` + exitStatus
}

// Run sets the times.
func (c *touchCmd) Run(ctx context.Context, w *world) error {
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		// The images first: a reference may be in one of them.
		for _, text := range c.Files {
			if _, err := e.target(ctx, text, !c.NoDeref); err != nil {
				return err
			}
		}
		atime, mtime, err := c.times(ctx, w)
		if err != nil {
			return err
		}
		for _, text := range c.Files {
			if err := c.one(ctx, e, text, atime, mtime); err != nil {
				return err
			}
		}
		return nil
	})
}

// times are those that the files are to have.
func (c *touchCmd) times(ctx context.Context, w *world) (atime, mtime time.Time, err error) {
	current, err := now()
	if err != nil {
		return
	}
	switch {
	case c.Date != "":
		mtime, err = parseTime(c.Date)
	case c.Stamp != "":
		mtime, err = parseStamp(c.Stamp, current)
	case c.Reference != "":
		return referenceTimes(ctx, w, c.Reference)
	default:
		mtime = current
	}
	if err != nil {
		err = usageError("resflash help touch", err)
	}
	return mtime, mtime, err
}

// referenceTimes are the times of a file of an image or the host.
func referenceTimes(ctx context.Context, w *world, text string) (atime, mtime time.Time, err error) {
	if a := parseAddress(text, isHostFile); a.colon && isHostFile(a.image) {
		f, err := w.file(ctx, text, false)
		atime, mtime = f.attr.Atime, f.attr.Mtime
		if atime.IsZero() {
			atime = mtime
		}
		return atime, mtime, err
	}
	var st unix.Stat_t
	if err := unix.Stat(text, &st); err != nil {
		return atime, mtime, hostError(&os.PathError{Op: "stat", Path: text, Err: err})
	}
	return time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix()), nil
}

func (c *touchCmd) one(ctx context.Context, e *editor, text string, atime, mtime time.Time) error {
	at, err := e.target(ctx, text, !c.NoDeref)
	if err != nil {
		return err
	}
	if at.attr == nil {
		switch {
		case c.NoCreate:
			return nil
		case c.NoDeref:
			return at.error(syscall.ENOENT)
		}
		attr, err := e.create(ctx, at, c.Owner, vfs.NewNode{Mode: vfs.Regular | 0o644})
		if err != nil {
			return err
		}
		at.attr = &attr
	}
	var set vfs.SetAttr
	if c.Access || !c.Modify {
		set.Atime = &atime
	}
	if c.Modify || !c.Access {
		set.Mtime = &mtime
	}
	if _, err := at.fs.Setattr(ctx, at.attr.Ino, set); err != nil {
		return at.error(err)
	}
	to := mtime
	if set.Mtime == nil {
		to = atime
	}
	e.did(at, "time", change{To: to.UTC().Format(time.RFC3339Nano)})
	return nil
}
