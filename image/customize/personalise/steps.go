package personalise

import (
	"context"
	"errors"
	"fmt"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/vfs"
)

// Options choose what a copy gets.
type Options struct {
	Hostname string   // empty: none
	SSHKeys  []string // USER:KEY, as the operation ssh-inject takes it
	HostKey  bool     // an SSH host key
	KeepIDs  bool     // leave the disk's DUID and the volumes' UUIDs as they are
}

// Roots are the volumes whose systems are personalised: each slot that holds
// one, or the root. An empty name is the root.
func Roots(ctx context.Context, d *image.Disk) []string {
	var ids []string
	for _, slot := range d.Layout(ctx).Slots {
		if p, err := d.Find(ctx, slot.ID); err == nil && p.Content.Kind == image.KindFilesystem {
			ids = append(ids, slot.ID)
		}
	}
	if len(ids) == 0 {
		return []string{""}
	}
	return ids
}

// Steps are the operations that personalise the system which e edits. first
// says that it is the first one of the disk: what the disk has once is among
// them.
func Steps(ctx context.Context, e *customize.Editor, opt Options, first bool) ([]customize.Step, error) {
	p := &planner{ctx: ctx, e: e, d: e.Disk(), layout: e.Disk().Layout(ctx)}
	if first && !opt.KeepIDs {
		p.ids()
	}
	p.seeds(first)
	resflash := p.layout.Kind == image.LayoutResflash
	// On resflash, what belongs to one machine is in /cfg, which is laid over
	// both slots and outlives upgrades.
	etc := "/etc"
	if resflash {
		etc = image.RoleCfg + ":/etc"
	}
	switch {
	case opt.Hostname == "":
	case !resflash:
		p.add("hostname", opt.Hostname)
	case first:
		if _, err := customize.Parse("hostname", opt.Hostname); err != nil {
			return nil, err
		}
		p.own(text{etc + "/myname", opt.Hostname + "\n", 0o644})
	}
	if opt.HostKey && (first || !resflash) {
		p.own(hostKey{etc + "/ssh", opt.Hostname})
	}
	for _, key := range opt.SSHKeys {
		p.add("ssh-inject", key)
	}
	return p.steps, errors.Join(p.errs...)
}

// A planner collects steps.
type planner struct {
	ctx    context.Context
	e      *customize.Editor
	d      *image.Disk
	layout image.Layout
	steps  []customize.Step
	errs   []error
}

// add adds an operation of package customize.
func (p *planner) add(name, arg string) {
	op, err := customize.Parse(name, arg)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.own(op)
}

func (p *planner) own(op customize.Operation) {
	p.steps = append(p.steps, customize.Step{Operation: op})
}

// ids gives the disk and its volumes other identifiers, where the format has
// one that can be changed.
func (p *planner) ids() {
	for _, t := range p.d.Tables() {
		if t.Scheme == "disklabel" && t.Flavor == "OpenBSD" {
			p.add("set-duid", "random")
			break
		}
	}
	for _, v := range p.d.Partitions() {
		if v.Content.Kind != image.KindFilesystem || v.Content.Driver.OpenWritable == nil {
			continue
		}
		opened, err := v.Volume(p.ctx)
		if err != nil || opened.FS.Info().UUID == "" {
			continue
		}
		switch v.Content.Driver.Name {
		case "ext4", "fat":
			p.add("set-uuid", v.ID+":random")
		}
	}
}

// seeds gives every system that boots random bytes of its own.
func (p *planner) seeds(first bool) {
	os, err := p.e.OS(p.ctx)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	root := ""
	if at := p.e.Root(); at != nil {
		root = at.ID + ":"
	}
	switch os.ID {
	case "openbsd":
		p.own(seed{root + "/etc/random.seed", 512})
		p.own(seed{root + "/var/db/host.random", 65536})
		if p.layout.Kind == image.LayoutResflash && first {
			// The boot loader may read one beside itself, and /cfg hides that of
			// the slots.
			p.again(seed{image.RoleMBR + ":/etc/random.seed", 512})
			p.again(seed{image.RoleCfg + ":/var/db/host.random", 65536})
		}
	case "freebsd":
		p.own(seed{root + "/boot/entropy", 4096})
		p.own(seed{root + "/entropy", 4096})
	default:
		if p.isDir("/var/lib/systemd") {
			p.own(seed{"/var/lib/systemd/random-seed", 512})
		}
	}
}

// again writes a seed where there is one.
func (p *planner) again(s seed) {
	if ok, err := p.e.Exists(p.ctx, s.path); err == nil && ok {
		p.own(s)
	}
}

func (p *planner) isDir(path string) bool {
	attr, err := p.e.Stat(p.ctx, path)
	return err == nil && attr.Mode.IsDir()
}

// text makes a file what it is to be.
type text struct {
	path, content string
	perm          vfs.Mode
}

func (o text) Apply(ctx context.Context, e *customize.Editor) error {
	return write(ctx, e, o.path, []byte(o.content), o.perm)
}

func (o text) String() string { return fmt.Sprintf("write %s:(%d bytes)", o.path, len(o.content)) }

// write makes a file, with the directories above it, and sets its mode, which
// may have been another: the sticky bit of a used seed goes. A link that is
// there is not followed: it may lead anywhere in the image.
func write(ctx context.Context, e *customize.Editor, path string, data []byte, perm vfs.Mode) error {
	if attr, err := e.Lstat(ctx, path); err == nil && !attr.Mode.IsRegular() {
		return fmt.Errorf("%s is there, and is no regular file", path)
	}
	if err := e.MkdirAll(ctx, dir(path), vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
		return err
	}
	if err := e.WriteFile(ctx, path, data, vfs.NewNode{Mode: vfs.Regular | perm}); err != nil {
		return err
	}
	return e.Chmod(ctx, path, perm)
}
