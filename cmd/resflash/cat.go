package main

import (
	"context"
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/export"
)

type catCmd struct {
	Files []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*catCmd) Help() string {
	return addressHelp + `

	resflash cat disk.img:/etc/fstab
	resflash cat disk.img:cfg:/etc/hostname disk.img:inactive:/etc/hostname` + exitStatus
}

// Run prints the files one after the other.
func (c *catCmd) Run(ctx context.Context, w *world) error {
	for _, text := range c.Files {
		if err := c.one(ctx, w, text); err != nil {
			if exitCode(err) == exitPipe || ctx.Err() != nil {
				return err
			}
			w.fail(err)
		}
	}
	return w.done()
}

func (c *catCmd) one(ctx context.Context, w *world, text string) error {
	f, err := w.file(ctx, text, false)
	if err != nil {
		return err
	}
	if err := w.regular(f); err != nil {
		return err
	}
	return addressError(f.address, export.Contents(ctx, w.stdout, f.vol.FS, f.attr, &export.Options{}))
}

// regular refuses what has no contents.
func (w *world) regular(f file) error {
	switch {
	case f.attr.Mode.IsRegular():
		return nil
	case f.path == "/" && f.volume == "" && !f.colon:
		return usageError("", fmt.Errorf("%s: which file? write IMAGE:/path", f.text))
	case f.attr.Mode.IsDir():
		return addressError(f.address, syscall.EISDIR)
	}
	return addressError(f.address, fmt.Errorf("has no contents: its type is %s", typeName(f.attr.Mode)))
}
