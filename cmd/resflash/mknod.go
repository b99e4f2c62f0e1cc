package main

import (
	"context"
	"errors"

	"github.com/resflash/resflash/image/vfs"
)

type mknodCmd struct {
	Mode  string  `short:"m" default:"0666" placeholder:"MODE" help:"Permissions, octal or symbolic (0666)."`
	Owner string  `default:"0:0" placeholder:"UID:GID" help:"Owner and group, by number or by the image's own /etc/passwd and group (0:0)."`
	File  string  `arg:"" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	Type  string  `arg:"" enum:"b,c,u,p" help:"b for a block device, c for a character device, p for a FIFO."`
	Major *uint32 `arg:"" optional:"" help:"Major number of the device."`
	Minor *uint32 `arg:"" optional:"" help:"Minor number of the device."`
	editFlags
}

// Help is the long help text.
func (*mknodCmd) Help() string {
	return addressHelp + editHelp + `

No privilege is needed: the device exists in the image alone. Its numbers are those of
the system in the image.

	resflash mknod -m 0600 disk.img:/dev/console c 0 0
	resflash mknod --owner root:operator -m 0640 disk.img:/dev/sd0a b 4 0
	resflash mknod disk.img:/var/run/fifo p` + exitStatus
}

// Run makes the node.
func (c *mknodCmd) Run(ctx context.Context, w *world) error {
	mode, err := parseMode(c.Mode)
	if err != nil {
		return err
	}
	node := vfs.NewNode{Mode: map[string]vfs.Mode{"b": vfs.Block, "c": vfs.Char, "u": vfs.Char, "p": vfs.FIFO}[c.Type]}
	switch {
	case node.Mode.IsDevice() && c.Minor == nil:
		return usageError("resflash help mknod", errors.New("a device has a major and a minor number"))
	case node.Mode.IsDevice():
		node.Rdev = vfs.Dev{Major: *c.Major, Minor: *c.Minor}
	case c.Major != nil:
		return usageError("resflash help mknod", errors.New("a FIFO has no numbers"))
	}
	node.Mode |= mode.Apply(node.Mode | 0o666)
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		at, err := e.target(ctx, c.File, false)
		if err != nil {
			return err
		}
		_, err = e.create(ctx, at, c.Owner, node)
		return err
	})
}
