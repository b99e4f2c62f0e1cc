package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image"
)

type mountCmd struct {
	Volume     string `short:"v" placeholder:"VOLUME" xor:"what" help:"Mount this volume alone: its id, role or label."`
	Root       bool   `xor:"what" help:"Mount the root volume, and the others where its own /etc/fstab has them, noauto or not."`
	Foreground bool   `short:"f" help:"Stay in the foreground until it is unmounted or interrupted."`
	AllowOther bool   `help:"Let all users of this host read everything in the image."`
	Debug      bool   `help:"Log every request; implies --foreground."`
	Image      string `arg:"" help:"IMAGE or IMAGE:VOLUME."`
	Dir        string `arg:"" help:"An empty directory."`
}

// Help is the long help text.
func (*mountCmd) Help() string {
	return `Mounts an image for reading, without root. Each volume is a directory below DIR,
called by its id, with its role (root, cfg, mbr, efi …) as another name. An image that
is a bare file system is mounted on DIR itself, and so is a single volume. Volumes that
cannot be read are left out, with a note. The command returns when the mount is ready
for use.

The person who mounts may read everything; owners and modes are shown as the image has
them. Nobody else gets in without --allow-other.

	resflash mount disk.img mnt && ls mnt/root/etc mnt/cfg
	resflash mount disk.img:inactive mnt
	resflash mount --root disk.img mnt
	resflash umount mnt` + exitStatus
}

// Run mounts.
func (c *mountCmd) Run(ctx context.Context, w *world) error {
	a := parseAddress(c.Image, isHostFile)
	switch {
	case a.path != "":
		return usageError("mount the volume, and look below the mount point", fmt.Errorf("%s: a path cannot be mounted", c.Image))
	case a.volume != "" && (c.Root || c.Volume != ""):
		return usageError("", fmt.Errorf("%s names a volume already", c.Image))
	case a.volume != "":
		c.Volume = a.volume
	}
	if dir, err := realDir(c.Dir); err == nil && !isDaemon() {
		if m, ok := findMount(dir); ok && m.fstype == mountType {
			return &exitError{exitMount, "resflash umount " + c.Dir, fmt.Errorf("mount on %s: an image is mounted there already", c.Dir)}
		}
	}
	if !c.Foreground && !c.Debug && !isDaemon() {
		return daemonize(ctx, w, c, a.image)
	}
	d, err := w.open(ctx, a.image)
	if err != nil {
		return err
	}
	server, err := c.mount(ctx, w, d)
	if err != nil {
		return mountError(err)
	}
	defer listenForEnd(server.Dir())()
	ready()
	return serve(ctx, w, server)
}

// serve waits for the mount to end, or ends it on a signal.
func serve(ctx context.Context, w *world, server *fusefs.Server) error {
	ended := make(chan struct{})
	go func() {
		server.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	// This is how a mount is meant to end, so it is no interruption.
	w.signalIsEnd = true
	err := server.Unmount()
	if err == nil {
		return nil
	}
	w.note("%v; it is detached and ends when they do", err)
	if err := server.Detach(); err != nil {
		return mountError(err)
	}
	<-ended
	return nil
}

// mount does what the flags say.
func (c *mountCmd) mount(ctx context.Context, w *world, d *image.Disk) (*fusefs.Server, error) {
	d.Layout(ctx) // gives the roles
	source, err := filepath.Abs(d.Name())
	if err != nil {
		source = d.Name()
	}
	opt := fusefs.Options{FSName: source, AllowOther: c.AllowOther, Debug: c.Debug, Logf: w.note}
	partitions := d.Partitions()
	switch {
	case c.Root:
		return c.mountRoot(ctx, w, d, opt)
	case c.Volume != "" || len(partitions) == 1 && partitions[0].ID == "whole":
		p, err := d.Find(ctx, c.Volume)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
		v, err := p.Volume(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
		return fusefs.MountOne(c.Dir, mountable(v, nil), opt)
	}
	var volumes []fusefs.Volume
	used := map[string]bool{}
	for _, p := range partitions {
		used[p.ID] = true
	}
	var last error
	var notes []string
	for _, p := range partitions {
		v, err := p.Volume(ctx)
		if err != nil {
			last = err
			if p.Content.Kind != image.KindSwap {
				notes = append(notes, err.Error())
			}
			continue
		}
		var names []string
		for _, name := range append(slices.Clone(p.Aliases), p.Role) {
			if name != "" && !used[name] && !strings.Contains(name, "/") {
				used[name] = true
				names = append(names, name)
			}
		}
		volumes = append(volumes, mountable(v, names))
	}
	if len(volumes) == 0 {
		if last == nil {
			last = image.ErrUnknown
		}
		return nil, fmt.Errorf("%s: no volume that can be read: %w", d.Name(), last)
	}
	server, err := fusefs.MountVolumes(c.Dir, volumes, opt)
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		w.note("left out: %s", n)
	}
	return server, nil
}

func mountable(v *image.Volume, aliases []string) fusefs.Volume {
	p := v.Partition
	return fusefs.Volume{Name: p.ID, Aliases: aliases, FS: v.FS, Device: p.Device()}
}

// mountRoot assembles the tree that the system in the image would see once all
// of its fstab is mounted. Lines with noauto are no exception: resflash's own
// /cfg and /mbr are such, mounted only while they are needed, and whoever looks
// into an image wants to see them.
func (c *mountCmd) mountRoot(ctx context.Context, w *world, d *image.Disk, opt fusefs.Options) (*fusefs.Server, error) {
	p, err := d.Find(ctx, image.RoleRoot)
	if err != nil {
		if p, err = d.Find(ctx, ""); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
	}
	root, err := p.Volume(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name(), err)
	}
	lines, err := d.Fstab(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("%s: /etc/fstab of volume %s: %w", d.Name(), p.ID, leaf(err))
	}
	volumes := []fusefs.Volume{mountable(root, nil)}
	places := []place{{"/", root}}
	var grafts []fusefs.Graft
	var notes []string
	leave := func(line image.Mount, why string) {
		notes = append(notes, fmt.Sprintf("%s: not mounted: %s", line.Path, why))
	}
	for _, line := range lines {
		switch {
		case line.Path == "/":
			continue
		case line.Partition == nil:
			leave(line, line.Spec+" is not on this disk")
			continue
		}
		v, err := line.Partition.Volume(ctx)
		if err != nil {
			leave(line, err.Error())
			continue
		}
		at, err := locate(ctx, places, line.Path)
		if err != nil {
			leave(line, leaf(err).Error())
			continue
		}
		grafts = append(grafts, fusefs.Graft{Path: at, Volume: len(volumes)})
		volumes = append(volumes, mountable(v, nil))
		places = append(places, place{at, v})
	}
	server, err := fusefs.MountTree(c.Dir, volumes, grafts, opt)
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		w.note("%s", n)
	}
	return server, nil
}

// A place is where a volume lies in the assembled tree.
type place struct {
	path string
	vol  *image.Volume
}

// locate finds a directory in the tree that is assembled so far, and returns
// its path free of symbolic links.
func locate(ctx context.Context, places []place, dir string) (string, error) {
	in := places[0]
	for _, p := range places {
		if (dir == p.path || below(dir, p.path)) && len(p.path) >= len(in.path) {
			in = p
		}
	}
	real, attr, err := in.vol.Tree.RealPath(ctx, strings.TrimPrefix(dir, in.path))
	if err != nil {
		return "", err
	}
	if !attr.Mode.IsDir() {
		return "", errors.New("not a directory")
	}
	return path.Join(in.path, real), nil
}

// mountError gives the errors of mounting their exit code, and takes the hint
// out of them.
func mountError(err error) error {
	var known *exitError
	var me *fusefs.MountError
	if errors.As(err, &me) && !errors.As(err, &known) {
		return &exitError{exitMount, me.Hint, fmt.Errorf("%s %s: %w", me.Op, me.Dir, me.Err)}
	}
	return err
}
