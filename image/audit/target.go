package audit

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

// A Volume is one of those that are audited.
type Volume struct {
	ID        string
	Role      string
	Tree      *vfs.Tree        // nil if it has none that can be opened
	Err       error            // why not
	Partition *image.Partition // nil if the target is no disk

	number int
}

// A Mount is a volume, or a directory of it, at a place in the tree of a
// system.
type Mount struct {
	Volume *Volume
	From   string // directory of the volume: "/"
	At     string // where: "/var"
	// Over says that it is laid over what is there: its files win, and what it
	// does not have shows through.
	Over bool
}

// An Installed system is a root volume and what is mounted in it at run time.
type Installed struct {
	Root   *Volume
	Mounts []Mount
	OS     image.OS
	Active bool // it is the one that boots
}

// A Target is what is audited.
type Target struct {
	Name    string
	Disk    *image.Disk // nil if it is no disk
	Volumes []*Volume
	Systems []*Installed
}

// FromDisk finds the volumes of a disk and the systems in them.
func FromDisk(ctx context.Context, d *image.Disk) (*Target, error) {
	return FromVolumes(ctx, d, func(ctx context.Context, p *image.Partition) (*image.Volume, error) { return p.Volume(ctx) })
}

// FromVolumes is FromDisk with volumes that open returns, such as those that
// are being edited: what is audited is what would be committed.
func FromVolumes(ctx context.Context, d *image.Disk, open func(context.Context, *image.Partition) (*image.Volume, error)) (*Target, error) {
	t := &Target{Name: d.Name(), Disk: d}
	layout := d.Layout(ctx)
	for _, p := range d.Partitions() {
		v := &Volume{ID: p.ID, Role: p.Role, Partition: p}
		opened, err := open(ctx, p)
		switch {
		case err == nil:
			v.Tree = opened.Tree
		case errors.Is(err, image.ErrEmpty), errors.Is(err, image.ErrSwap):
		default:
			v.Err = err
		}
		t.Volumes = append(t.Volumes, v)
	}
	for _, v := range t.Volumes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if v.Tree == nil || !mayHoldSystem(v.Role) {
			continue
		}
		os, err := image.IdentifyOS(ctx, v.Tree)
		if err != nil {
			return nil, err
		}
		if os.ID == "" && v.Role != image.RoleRoot {
			continue
		}
		s := &Installed{Root: v, OS: os, Active: v.Role == image.RoleRoot}
		s.Mounts = t.mounts(ctx, v, layout.Kind)
		t.Systems = append(t.Systems, s)
	}
	t.number()
	return t, nil
}

// mayHoldSystem leaves out volumes whose role says what they are for.
func mayHoldSystem(role string) bool {
	return !slices.Contains([]string{image.RoleMBR, image.RoleCfg, image.RoleEFI, image.RoleBoot, image.RoleSwap, "home", "srv", "var", "tmp"}, role)
}

// mounts is what the fstab of a root volume mounts from this image, and what
// the layout lays over it.
func (t *Target) mounts(ctx context.Context, root *Volume, layout string) []Mount {
	var all []Mount
	lines, err := t.Disk.Fstab(ctx, &image.Volume{Partition: root.Partition, FS: root.Tree.FS(), Tree: root.Tree})
	if err == nil {
		for _, m := range lines {
			if slices.Contains(strings.Split(m.Options, ","), "noauto") {
				continue
			}
			if v := t.volumeOf(m.Partition); v != nil && v != root && v.Tree != nil && m.Path != "/" {
				all = append(all, Mount{Volume: v, From: "/", At: path.Clean(m.Path)})
			}
		}
	}
	if layout == image.LayoutResflash {
		for _, v := range t.Volumes {
			if v.Role == image.RoleCfg && v.Tree != nil {
				// At every boot /etc and /var are copied to memory, and what is
				// in /cfg on top of that.
				all = append(all, Mount{v, "/etc", "/etc", true}, Mount{v, "/var", "/var", true})
			}
		}
	}
	return all
}

func (t *Target) volumeOf(p *image.Partition) *Volume {
	for _, v := range t.Volumes {
		if p != nil && v.Partition == p {
			return v
		}
	}
	return nil
}

func (t *Target) number() {
	for i, v := range t.Volumes {
		v.number = i
	}
}

// views are the trees in which rules run: each volume alone, and each system
// that consists of several.
func (t *Target) views() []*view {
	t.number()
	var list []*view
	for _, v := range t.Volumes {
		if v.Tree == nil {
			continue
		}
		w := &view{name: v.ID, volume: v, at: "/"}
		for _, s := range t.Systems {
			if s.Root == v {
				w.installed = s
				w.final = len(s.Mounts) == 0
			}
			for _, m := range s.Mounts {
				if m.Volume == v && !m.Over && w.at == "/" && v.Role != image.RoleCfg && v.Role != image.RoleMBR && v.Role != image.RoleEFI {
					w.at = m.At
				}
			}
		}
		w.layers = []layer{{Mount{Volume: v, From: "/", At: w.at}}}
		list = append(list, w)
	}
	for _, s := range t.Systems {
		if len(s.Mounts) == 0 {
			continue
		}
		w := &view{name: s.Root.ID, at: "/", installed: s, final: true}
		w.layers = []layer{{Mount{Volume: s.Root, From: "/", At: "/"}}}
		var others []string
		for _, m := range s.Mounts {
			w.layers = append(w.layers, layer{m})
			if !slices.Contains(others, m.Volume.ID) {
				others = append(others, m.Volume.ID)
			}
		}
		w.name += "+" + strings.Join(others, "+")
		list = append(list, w)
	}
	for _, w := range list {
		w.systems = w.kinds(t)
	}
	return list
}

// kinds are the systems whose rules make sense in a view. What nobody knows
// may be any of them.
func (w *view) kinds(t *Target) System {
	if w.installed != nil {
		if k := kindOf(w.installed.OS.ID); k != 0 {
			return k
		}
		return Any
	}
	var all System
	for _, s := range t.Systems {
		all |= kindOf(s.OS.ID)
	}
	if all == 0 {
		return Any
	}
	return all
}

func kindOf(id string) System {
	switch id {
	case "":
		return 0
	case "openbsd":
		return OpenBSD
	case "freebsd":
		return FreeBSD
	case "netbsd":
		return NetBSD
	}
	return Linux
}
