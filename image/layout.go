package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

// Roles that partitions can have, beside the mount points "usr", "home",
// "srv", "var", "tmp" and "boot" of the Discoverable Partitions Specification.
const (
	RoleRoot     = "root"     // the root file system; with slots, the active one
	RoleInactive = "inactive" // the other root slot
	RoleMBR      = "mbr"      // resflash: /mbr, with the boot loader and boot.conf
	RoleCfg      = "cfg"      // resflash: /cfg, what overrides /etc and /var at boot
	RoleEFI      = "efi"      // EFI system partition
	RoleBoot     = "boot"
	RoleSwap     = "swap"
)

// The kinds of layout.
const (
	LayoutResflash     = "resflash"     // two root slots d and e, chosen by boot.conf on a
	LayoutDiscoverable = "discoverable" // GPT with the types of the Discoverable Partitions Specification
)

// Layout says how the partitions of a disk belong together.
type Layout struct {
	Kind     string   // LayoutResflash, LayoutDiscoverable, or empty
	Slots    []Slot   // root slots of an A/B layout
	Active   string   // id of the active slot; empty if it cannot be told
	Evidence string   // what says so
	Problems []string // contradictions: an fstab that names the other slot, …
}

// A Slot is one of the root file systems of an A/B layout.
type Slot struct {
	ID     string // of the partition
	Active bool
	Empty  bool // nothing was installed in it yet
}

// Layout finds out which partition plays which role, once, and sets the roles
// of the partitions. What cannot be read for it is left out.
func (d *Disk) Layout(ctx context.Context) Layout {
	d.layoutOnce.Do(func() {
		for _, p := range d.partitions {
			if p.Content.Kind == KindSwap {
				p.Role = RoleSwap
			}
		}
		switch {
		case d.resflash(ctx):
		case d.discoverable(ctx):
		}
		d.rolesByType()
		d.rolesByContent(ctx)
	})
	return d.layout
}

// byID returns the partition with that id, or nil.
func (d *Disk) byID(id string) *Partition {
	for _, p := range d.partitions {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// resflash recognises the layout of the resflash scripts: an OpenBSD label
// with FFS partitions a (/mbr), d and e (root slots of equal size) and f
// (/cfg), where a holds boot.conf or a slot holds /resflash. A slot without a
// file system is normal: it is filled by the first upgrade.
func (d *Disk) resflash(ctx context.Context) bool {
	const ffsType = "4.2BSD"
	slots := map[string]*Partition{}
	for _, id := range []string{"a", "d", "e", "f"} {
		p := d.byID(id)
		if p == nil || p.Entry == nil || p.Entry.Type != ffsType || p.Table.Flavor != "OpenBSD" {
			return false
		}
		slots[id] = p
	}
	if slots["d"].Size != slots["e"].Size {
		return false
	}
	conf, confErr := readText(ctx, slots["a"], "/etc/boot.conf")
	active := bootDevice(conf)
	known := active == "d" || active == "e"
	installed := map[string]bool{}
	for _, id := range []string{"d", "e"} {
		if v, err := slots[id].Volume(ctx); err == nil {
			if _, err := v.Tree.Resolve(ctx, "/resflash"); err == nil {
				installed[id], known = true, true
			}
		}
	}
	if !known {
		return false
	}

	l := &d.layout
	l.Kind = LayoutResflash
	slots["a"].Role, slots["f"].Role = RoleMBR, RoleCfg
	switch {
	case active == "d" || active == "e":
		l.Active = active
		l.Evidence = fmt.Sprintf("a:/etc/boot.conf says set device hd0%s", active)
	case len(installed) == 1:
		for id := range installed {
			l.Active = id
		}
		l.Evidence = fmt.Sprintf("only slot %s holds a system", l.Active)
		fallthrough
	default:
		switch {
		case confErr != nil:
			l.Problems = append(l.Problems, fmt.Sprintf("no active slot is set: a:/etc/boot.conf: %v", confErr))
		case active == "":
			l.Problems = append(l.Problems, "no active slot is set: a:/etc/boot.conf has no set device line")
		default:
			l.Problems = append(l.Problems, fmt.Sprintf("a:/etc/boot.conf boots from hd0%s, which is no root slot", active))
		}
	}
	for _, id := range []string{"d", "e"} {
		p := slots[id]
		s := Slot{ID: id, Active: id == l.Active, Empty: p.Content.Kind == KindEmpty}
		l.Slots = append(l.Slots, s)
		switch {
		case s.Active:
			p.Role = RoleRoot
			if p.Content.Kind != KindFilesystem {
				l.Problems = append(l.Problems, fmt.Sprintf("the active slot %s holds no file system", id))
			}
		case l.Active != "":
			p.Role = RoleInactive
		}
		d.checkSlotFstab(ctx, p)
	}
	return true
}

// checkSlotFstab compares the root line of a slot's fstab with where the slot
// lies: resflash's own upgrade takes "the current slot" from that line.
func (d *Disk) checkSlotFstab(ctx context.Context, p *Partition) {
	v, err := p.Volume(ctx)
	if err != nil {
		return // and is told of where the volumes are
	}
	text, err := readTreeText(ctx, v.Tree, "/etc/fstab")
	if err != nil {
		if !errors.Is(err, syscall.ENOENT) {
			d.layout.Problems = append(d.layout.Problems, fmt.Sprintf("%s:/etc/fstab: %v", p.ID, err))
		}
		return
	}
	for _, line := range parseFstab(text) {
		if line.file != "/" {
			continue
		}
		duid, letter, ok := strings.Cut(line.spec, ".")
		if !ok || len(letter) != 1 {
			continue
		}
		if letter != p.ID {
			d.layout.Problems = append(d.layout.Problems,
				fmt.Sprintf("%s:/etc/fstab mounts slot %s as root", p.ID, letter))
		}
		if id := p.Table.ID; id != "" && !strings.EqualFold(duid, id) {
			d.layout.Problems = append(d.layout.Problems,
				fmt.Sprintf("%s:/etc/fstab names the disk %s, the label says %s", p.ID, duid, id))
		}
	}
}

var setDevice = lazyregexp.New(`(?m)^[ \t]*set[ \t]+device[ \t]+[a-z]+[0-9]+([a-p])[ \t]*\r?$`)

// bootDevice returns the partition letter that boot.conf boots from, or "".
// As in boot(8), the last set command wins.
func bootDevice(conf string) string {
	all := setDevice.FindAllStringSubmatch(conf, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}

// maxText bounds the configuration files that are read whole.
const maxText = 1 << 20

// readText reads a small file of a partition's file system.
func readText(ctx context.Context, p *Partition, path string) (string, error) {
	v, err := p.Volume(ctx)
	if err != nil {
		return "", err
	}
	return readTreeText(ctx, v.Tree, path)
}

func readTreeText(ctx context.Context, tree *vfs.Tree, path string) (string, error) {
	attr, err := tree.Resolve(ctx, path)
	if err != nil {
		return "", err
	}
	if !attr.Mode.IsRegular() {
		return "", errors.New("not a regular file")
	}
	buf := make([]byte, min(attr.Size, maxText))
	n, err := tree.Reader(ctx, attr).ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return string(buf[:n]), nil
}
