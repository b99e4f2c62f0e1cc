package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
)

// fill copies the directory that --from names into the file system that was
// made in p, and returns that, with how many files there are.
func (c *mkfsCmd) fill(ctx context.Context, w *world, name string, p *image.Partition) (vfs.FS, int64, error) {
	opt, err := c.copyOptions()
	if err != nil {
		return nil, 0, err
	}
	v, err := p.Edit(ctx)
	if err != nil {
		return nil, 0, volumeEditError(name, p, err)
	}
	if err := setClock(v.FS); err != nil {
		return nil, 0, err
	}
	bar := w.progress("copied", 0)
	defer bar.end()
	opt.Progress = bar.add
	fsys := v.FS.(vfs.WritableFS)
	done, err := populate.Copy(ctx, fsys, c.From, fsys.Root(), ".", opt)
	if err != nil {
		return nil, 0, fillError(name, p, err)
	}
	if done.Flags > 0 {
		bar.end()
		w.note("file flags of %s left out: the format has none of the kind", plural(int(done.Flags), "file", "files"))
	}
	if done.Xattrs > 0 {
		bar.end()
		w.note("%s left out: the file system cannot hold them", plural(int(done.Xattrs), "extended attribute", "extended attributes"))
	}
	return fsys, done.Files, nil
}

// copyOptions are those of cp -a, and the owner that the flags say.
func (c *mkfsCmd) copyOptions() (populate.Options, error) {
	opt := populate.Options{Flags: true, AllXattrs: os.Geteuid() == 0}
	st, err := os.Stat(c.From)
	switch {
	case err == nil && !st.IsDir():
		return opt, &exitError{exitNotFound, "", fmt.Errorf("%s: %w", c.From, syscall.ENOTDIR)}
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return opt, &exitError{exitNotFound, "", fmt.Errorf("%s: %w", c.From, leaf(err))}
	case err != nil:
		return opt, hostError(err)
	}
	if !c.KeepOwner {
		uid, gid, err := numericOwner(c.Owner)
		if err != nil {
			return opt, err
		}
		opt.Owner = func(uint32, uint32) (uint32, uint32) { return uid, gid }
	}
	epoch, ok, err := sourceDateEpoch()
	if ok {
		opt.MaxTime = epoch
	}
	return opt, err
}

// numericOwner reads UID:GID; nothing is 0:0. A file system that is yet to be
// filled has no names for numbers.
func numericOwner(s string) (uid, gid uint32, err error) {
	if s == "" {
		return 0, 0, nil
	}
	user, group, _ := strings.Cut(s, ":")
	u, err1 := strconv.ParseUint(user, 10, 32)
	g, err2 := strconv.ParseUint(group, 10, 32)
	if err1 != nil || err2 != nil {
		return 0, 0, usageError("", fmt.Errorf("--owner %q: want numbers, UID:GID", s))
	}
	return uint32(u), uint32(g), nil
}

// fillError names both places, and says what is full: the volume or the host.
func fillError(name string, p *image.Partition, err error) error {
	var le *os.LinkError
	if errors.As(err, &le) {
		err = fmt.Errorf("copy of %s: %w", le.Old, le.Err)
	}
	err = fmt.Errorf("%s: %w", name, err)
	var host *os.PathError
	if errors.Is(err, syscall.ENOSPC) && !errors.As(err, &host) {
		return &exitError{exitFull, "a larger --size makes room; a smaller --bytes-per-inode makes more inodes", fmt.Errorf("%w: volume %s is full", err, p.ID)}
	}
	return err
}
