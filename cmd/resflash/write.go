package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

type writeCmd struct {
	Append bool   `xor:"where" help:"Add to the end of the file."`
	Offset string `xor:"where" placeholder:"SIZE" help:"Overwrite from this offset on, and leave the rest of the file as it is."`
	Mode   string `short:"m" placeholder:"MODE" help:"Permissions, octal or symbolic; without it an existing file keeps its own, and a new one has 0644."`
	Owner  string `placeholder:"UID:GID" help:"Owner and group; without it an existing file keeps its own, and a new one has 0:0."`
	File   string `arg:"" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*writeCmd) Help() string {
	return addressHelp + editHelp + `

Standard input becomes the contents of the file.

	echo fw7 | resflash write disk.img:/etc/myname
	echo 'pass out' | resflash write --append disk.img:/etc/pf.conf
	resflash write -m 0600 --owner root:wheel disk.img:/etc/hostname.em0 < hostname.em0` + exitStatus
}

// Run writes standard input to the file.
func (c *writeCmd) Run(ctx context.Context, w *world) error {
	off := int64(0)
	if c.Offset != "" {
		var err error
		if off, err = parseSize(c.Offset); err != nil {
			return usageError("resflash help write", err)
		}
	}
	var mode *vfs.ModeChange
	if c.Mode != "" {
		m, err := parseMode(c.Mode)
		if err != nil {
			return err
		}
		mode = &m
	}
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		at, err := e.target(ctx, c.File, true)
		if err != nil {
			return err
		}
		bar := w.progress("written", 0)
		defer bar.end()
		in := &interruptible{ctx: ctx, r: w.stdin}
		if at.attr != nil && (c.Append || c.Offset != "") {
			if err := writable(at); err != nil {
				return err
			}
			if c.Append {
				off = at.attr.Size
			}
			n, err := e.fill(ctx, at, in, off, bar)
			if err != nil {
				return err
			}
			e.did(at, "write", change{Size: &n})
			return c.attributes(ctx, e, at, mode)
		}
		isNew, owner, perm := at.attr == nil, c.Owner, vfs.Mode(0o644)
		if owner == "" {
			owner = "0:0"
		}
		if mode != nil {
			perm = mode.Apply(vfs.Regular | 0o644)
		}
		if off > 0 {
			in.r = io.MultiReader(io.LimitReader(zeros{}, off), in.r)
		}
		if at, err = e.replace(ctx, at, in, owner, perm, bar); err != nil || isNew {
			return err
		}
		return c.attributes(ctx, e, at, mode)
	})
}

// zeros is a reader of nothing but zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// replace gives the file at a target new contents, or makes it with that owner
// and permissions.
func (e *editor) replace(ctx context.Context, at target, r io.Reader, owner string, perm vfs.Mode, bar *progress) (target, error) {
	if at.attr != nil {
		if err := writable(at); err != nil {
			return at, err
		}
		zero := int64(0)
		if _, err := at.fs.Setattr(ctx, at.attr.Ino, vfs.SetAttr{Size: &zero}); err != nil {
			return at, at.error(err)
		}
	} else {
		attr, err := e.create(ctx, at, owner, vfs.NewNode{Mode: vfs.Regular | perm})
		if err != nil {
			return at, err
		}
		at.attr = &attr
	}
	n, err := e.fill(ctx, at, r, 0, bar)
	if err != nil {
		return at, err
	}
	e.did(at, "write", change{Size: &n})
	return at, nil
}

// attributes gives an existing file what was asked for.
func (c *writeCmd) attributes(ctx context.Context, e *editor, at target, mode *vfs.ModeChange) error {
	var set vfs.SetAttr
	if mode != nil {
		perm := mode.Apply(at.attr.Mode)
		set.Mode = &perm
		e.did(at, "mode", change{From: octal(at.attr.Mode), To: octal(perm)})
	}
	if c.Owner != "" {
		uid, gid, err := e.ownerOf(ctx, at, c.Owner)
		if err != nil {
			return err
		}
		set.UID, set.GID = &uid, &gid
		e.did(at, "owner", change{From: fmt.Sprintf("%d:%d", at.attr.UID, at.attr.GID), To: fmt.Sprintf("%d:%d", uid, gid)})
	}
	if set == (vfs.SetAttr{}) {
		return nil
	}
	_, err := at.fs.Setattr(ctx, at.attr.Ino, set)
	return at.error(err)
}

// writable refuses what has no contents that could be replaced.
func writable(at target) error {
	switch {
	case at.attr.Mode.IsDir():
		return at.error(syscall.EISDIR)
	case !at.attr.Mode.IsRegular():
		return at.error(fmt.Errorf("has no contents: its type is %s", typeName(at.attr.Mode)))
	}
	return nil
}

// copyBuffer is how much is copied in one go.
const copyBuffer = 1 << 20

// fill writes what r gives to the file at a target, and returns how much it
// was.
func (e *editor) fill(ctx context.Context, at target, r io.Reader, off int64, bar *progress) (n int64, err error) {
	buf := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		// Whole buffers, so that the file system can place them well.
		k, err := io.ReadFull(r, buf)
		if k > 0 {
			if _, err := at.fs.WriteAt(ctx, at.attr.Ino, buf[:k], off+n); err != nil {
				return n, at.error(err)
			}
			n += int64(k)
			bar.add(int64(k))
		}
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return n, nil
		case err != nil:
			return n, hostError(fmt.Errorf("read: %w", err))
		}
	}
}

// interruptible is a reader that gives up when a signal comes, though its
// source may give nothing for ever: standard input.
type interruptible struct {
	ctx context.Context
	r   io.Reader
	buf []byte // of the source alone: a read that is given up goes on
}

func (i *interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	if i.buf == nil {
		i.buf = make([]byte, 256<<10)
	}
	own := i.buf[:min(len(p), len(i.buf))]
	done := make(chan result, 1)
	go func() {
		n, err := i.r.Read(own)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return copy(p, own[:r.n]), r.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}
