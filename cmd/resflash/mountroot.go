package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image"
)

// mountRoot assembles the tree that the system in the image would see once all
// of its fstab is mounted. Lines with noauto are no exception: resflash's own
// /cfg and /mbr are such, mounted only while they are needed, and whoever looks
// into an image wants to see them.
func (m *mounting) mountRoot(ctx context.Context, opt fusefs.Options) (*fusefs.Server, error) {
	d := m.disk
	p, err := d.Find(ctx, image.RoleRoot)
	if err != nil {
		if p, err = d.Find(ctx, ""); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
	}
	root, err := m.volume(ctx, p)
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
	leave := func(line image.Mount, why string) {
		m.notes = append(m.notes, fmt.Sprintf("%s: not mounted: %s", line.Path, why))
	}
	for _, line := range lines {
		switch {
		case line.Path == "/":
			continue
		case line.Partition == nil:
			leave(line, line.Spec+" is not on this disk")
			continue
		}
		v, err := m.volume(ctx, line.Partition)
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
	return fusefs.MountTree(m.Dir, volumes, grafts, opt)
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
