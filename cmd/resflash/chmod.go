package main

import (
	"context"

	"github.com/resflash/resflash/image/vfs"
)

type chmodCmd struct {
	Recursive bool     `short:"R" help:"Directories with everything in them; symbolic links are left out."`
	Mode      string   `arg:"" help:"Octal (0644) or symbolic (u+rwX,go-w)."`
	Files     []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*chmodCmd) Help() string {
	return addressHelp + editHelp + `

An octal mode sets all twelve bits. A symbolic one is that of chmod(1): ugoa, then
+, - or =, then rwxXst or one of ugo; several with commas. Without ugoa it is about
all of them: an image has no umask.

	resflash chmod 0600 disk.img:/etc/master.passwd disk.img:/etc/doas.conf
	resflash chmod -R u+rwX,go-w disk.img:/var/www
	resflash chmod g-s disk.img:/usr/bin/wall --dry-run` + exitStatus
}

// Run changes modes.
func (c *chmodCmd) Run(ctx context.Context, w *world) error {
	mode, err := parseMode(c.Mode)
	if err != nil {
		return err
	}
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		return e.each(ctx, c.Files, c.Recursive, true, func(at target) error {
			if at.attr.Mode.IsSymlink() {
				return nil
			}
			perm := mode.Apply(at.attr.Mode)
			if perm == at.attr.Mode.Perm() {
				return nil
			}
			if _, err := at.fs.Setattr(ctx, at.attr.Ino, vfs.SetAttr{Mode: &perm}); err != nil {
				return at.error(err)
			}
			e.did(at, "mode", change{From: octal(at.attr.Mode), To: octal(perm)})
			return nil
		})
	})
}

// each calls fn for the files that are named, and with recursive for
// everything below them. follow says whether symbolic links that are named
// are followed; those below never are.
func (e *editor) each(ctx context.Context, names []string, recursive, follow bool, fn func(at target) error) error {
	for _, text := range names {
		at, err := e.need(ctx, text, follow)
		if err != nil {
			return err
		}
		if !recursive || !at.attr.Mode.IsDir() {
			if err := fn(at); err != nil {
				return err
			}
			continue
		}
		err = at.vol.Tree.Walk(ctx, at.real, func(path string, attr vfs.Attr, err error) error {
			child := at.at(path, &attr)
			if err != nil {
				return child.error(err)
			}
			return fn(child)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
