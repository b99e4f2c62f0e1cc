package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

type truncateCmd struct {
	Size     string   `short:"s" required:"" placeholder:"[+-]SIZE" help:"The size, or how much larger (+) or smaller (-); units k, M, G."`
	NoCreate bool     `short:"c" help:"Do not make files that do not exist."`
	Owner    string   `default:"0:0" placeholder:"UID:GID" help:"Owner and group of files that are made (0:0)."`
	Files    []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*truncateCmd) Help() string {
	return addressHelp + editHelp + `

What a file grows by is a hole, which takes no space and reads as zeros.

	resflash truncate -s 0 disk.img:/var/log/messages
	resflash truncate -s +1M disk.img:/var/db/file` + exitStatus
}

// Run sets the sizes.
func (c *truncateCmd) Run(ctx context.Context, w *world) error {
	sign := c.Size[:len(c.Size)-len(strings.TrimLeft(c.Size, "+-"))]
	n, err := parseSize(c.Size[len(sign):])
	if err != nil || len(sign) > 1 {
		if err == nil {
			err = fmt.Errorf("size %q: one sign will do", c.Size)
		}
		return usageError("resflash help truncate", err)
	}
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		for _, text := range c.Files {
			if err := c.one(ctx, e, text, sign, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *truncateCmd) one(ctx context.Context, e *editor, text, sign string, n int64) error {
	at, err := e.target(ctx, text, true)
	if err != nil {
		return err
	}
	if at.attr == nil {
		if c.NoCreate {
			return nil
		}
		attr, err := e.create(ctx, at, c.Owner, vfs.NewNode{Mode: vfs.Regular | 0o644})
		if err != nil {
			return err
		}
		at.attr = &attr
	}
	was, want := at.attr.Size, n
	switch sign {
	case "+":
		if want = was + n; want < 0 {
			return at.error(syscall.EFBIG)
		}
	case "-":
		want = max(was-n, 0)
	}
	if _, err := at.fs.Setattr(ctx, at.attr.Ino, vfs.SetAttr{Size: &want}); err != nil {
		return at.error(err)
	}
	e.did(at, "size", change{From: fmt.Sprint(was), To: fmt.Sprint(want), Size: &want})
	return nil
}
