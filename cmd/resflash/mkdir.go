package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

type mkdirCmd struct {
	Parents bool     `short:"p" help:"Make the directories above as well (mode 0755), and do not mind directories that exist."`
	Mode    string   `short:"m" default:"0755" placeholder:"MODE" help:"Permissions, octal or symbolic (0755)."`
	Owner   string   `default:"0:0" placeholder:"UID:GID" help:"Owner and group, by number or by the image's own /etc/passwd and group (0:0)."`
	Files   []string `arg:"" name:"directory" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
	editFlags
}

// Help is the long help text.
func (*mkdirCmd) Help() string {
	return addressHelp + editHelp + `

	resflash mkdir disk.img:/etc/ssl/private -m 0700
	resflash mkdir -p disk.img:/var/www/htdocs/a disk.img:cfg:/etc` + exitStatus
}

// Run makes the directories.
func (c *mkdirCmd) Run(ctx context.Context, w *world) error {
	mode, err := parseMode(c.Mode)
	if err != nil {
		return err
	}
	return w.edit(ctx, c.editFlags, func(e *editor) error {
		for _, text := range c.Files {
			if err := c.one(ctx, e, text, mode.Apply(vfs.Dir|0o777)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *mkdirCmd) one(ctx context.Context, e *editor, text string, perm vfs.Mode) error {
	if c.Parents {
		a := parseAddress(text, isHostFile)
		if err := e.parents(ctx, a, c.Owner); err != nil {
			return err
		}
	}
	at, err := e.target(ctx, text, false)
	if err != nil {
		return err
	}
	if at.attr != nil && c.Parents {
		real, err := at.vol.Tree.Resolve(ctx, at.path)
		if err == nil && real.Mode.IsDir() {
			return nil
		}
	}
	_, err = e.create(ctx, at, c.Owner, vfs.NewNode{Mode: vfs.Dir | perm})
	return err
}

// parents makes the directories above a that are missing.
func (e *editor) parents(ctx context.Context, a address, owner string) error {
	for i := 1; i < len(a.path); i++ {
		if a.path[i] != '/' || strings.Trim(a.path[i:], "/") == "" {
			continue
		}
		above := a
		above.path = a.path[:i]
		above.text = above.sibling(above.path)
		at, err := e.targetAt(ctx, above, true)
		if err != nil {
			return err
		}
		if at.attr != nil {
			continue
		}
		if _, err := e.create(ctx, at, owner, vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
			return err
		}
	}
	return nil
}

// create makes the file of a target, which must not be there yet. owner is as
// the user wrote it.
func (e *editor) create(ctx context.Context, at target, owner string, node vfs.NewNode) (vfs.Attr, error) {
	switch {
	case at.attr != nil:
		return vfs.Attr{}, at.error(syscall.EEXIST)
	case at.slash() && !node.Mode.IsDir():
		return vfs.Attr{}, at.error(syscall.EISDIR)
	}
	var err error
	if node.UID, node.GID, err = e.ownerOf(ctx, at, owner); err != nil {
		return vfs.Attr{}, err
	}
	attr, err := at.fs.Create(ctx, at.dir.Ino, at.name, node)
	if err != nil {
		return attr, at.error(err)
	}
	to := fmt.Sprintf("%s, %d:%d", octal(node.Mode), node.UID, node.GID)
	switch {
	case node.Mode.IsSymlink():
		to = "to " + node.Target
	case node.Mode.IsDevice():
		to = fmt.Sprintf("%d, %d; %s", node.Rdev.Major, node.Rdev.Minor, to)
	}
	e.did(at, "create", change{Type: typeName(node.Mode), To: to})
	return attr, nil
}

// ownerOf finds the owner and group that a new file is to have.
func (e *editor) ownerOf(ctx context.Context, at target, owner string) (uid, gid uint32, err error) {
	o, err := e.w.parseOwner(ctx, at.vol, owner)
	if err == nil && (o.uid == nil || o.gid == nil) {
		err = usageError("", errors.New("--owner wants both an owner and a group: UID:GID"))
	}
	if err != nil {
		return 0, 0, err
	}
	return *o.uid, *o.gid, nil
}
