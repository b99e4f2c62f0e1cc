package main

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/vfs"
)

type chownCmd struct {
	Recursive bool     `short:"R" help:"Directories with everything in them; links in them are changed themselves."`
	NoDeref   bool     `short:"h" name:"no-dereference" help:"A symbolic link itself, not what it points to."`
	Owner     string   `arg:"" help:"USER, USER:GROUP, USER: (with the user's login group) or :GROUP, by number or name."`
	Files     []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*chownCmd) Help() string {
	return addressHelp + editHelp + `

Names are those of the image's own /etc/passwd and /etc/group: of the volume that the
file is in, else of the root volume. Set-id bits stay as they are.

	resflash chown root:wheel disk.img:/etc/doas.conf
	resflash chown -R 67:67 disk.img:/var/www
	resflash chown :operator disk.img:/dev/sd0a` + exitStatus
}

// Run changes owners.
func (c *chownCmd) Run(ctx context.Context, w *world) error {
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		return e.each(ctx, c.Files, c.Recursive, !c.NoDeref, func(at target) error {
			o, err := w.parseOwner(ctx, at.vol, c.Owner)
			if err != nil {
				return err
			}
			uid, gid := at.attr.UID, at.attr.GID
			if o.uid != nil {
				uid = *o.uid
			}
			if o.gid != nil {
				gid = *o.gid
			}
			if uid == at.attr.UID && gid == at.attr.GID {
				return nil
			}
			if _, err := at.fs.Setattr(ctx, at.attr.Ino, vfs.SetAttr{UID: &uid, GID: &gid}); err != nil {
				return at.error(err)
			}
			e.did(at, "owner", change{From: fmt.Sprintf("%d:%d", at.attr.UID, at.attr.GID), To: fmt.Sprintf("%d:%d", uid, gid)})
			return nil
		})
	})
}
