package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/diff"
	"github.com/resflash/resflash/image/vfs"
)

type diffCmd struct {
	Mtime  bool   `help:"Times of modification count, too."`
	JSON   bool   `name:"json" help:"Print a JSON array."`
	First  string `arg:"" name:"first" help:"The image, volume or directory: IMAGE, IMAGE:VOLUME, IMAGE:VOLUME:/path."`
	Second string `arg:"" name:"second" help:"What it is compared with."`
}

// Help is the long help text.
func (*diffCmd) Help() string {
	return `Says in what two images differ: files that were added (+), removed (-) or changed (~),
packages (dpkg, rpm, apk, pkg, OpenBSD), and how many blocks differ, which is what an upgrade
from the first to the second would write.

	resflash diff 7.5.img 7.6.img
	resflash diff 7.6.img:d 7.6.img:e
	resflash diff --json old.img:/etc new.img:/etc

Whole images are compared volume by volume: slot d with slot d, otherwise by role (root,
efi, cfg), and what has none by its id. Of a file are compared type, contents, size,
permissions, owner, flags, device number, target of a symbolic link and extended
attributes; with FAT, only what FAT has. Other times than that of modification are never.
Blocks may differ where files do not: in times, and in free space.

--json prints an array of {"kind": "file", "volume", "change" (added, removed, changed),
"path", "differs", "xattrs", "first": {…}, "second": {…}} as ls --json prints files, then
{"kind": "package", "volume", "manager", "name", "first", "second"} with versions, then
{"kind": "blocks", "volume", "size", "total", "different", "bytes"}, and {"kind":
"volume", "volume", "change"} for volumes that only one image has. The exit status is 16
if there is a difference, other than in blocks of file systems.` + exitStatus
}

// A differ is one run of the verb.
type differ struct {
	*diffCmd
	w       *world
	array   jsonArray
	differs bool
}

// Run compares.
func (c *diffCmd) Run(ctx context.Context, w *world) error {
	a, b := parseAddress(c.First, isHostFile), parseAddress(c.Second, isHostFile)
	first, err := w.open(ctx, a.image)
	if err != nil {
		return err
	}
	second, err := w.open(ctx, b.image)
	if err != nil {
		return err
	}
	d := &differ{diffCmd: c, w: w, array: jsonArray{w: w}}
	pairs := []volumePair{}
	if a.colon || b.colon {
		p := volumePair{a: a, b: b}
		if p.first, err = w.partition(ctx, a); err != nil {
			return err
		}
		if !b.colon { // the same volume of another image
			b.volume, b.path = p.first.ID, a.path
			p.b = b
		}
		if p.second, err = w.partition(ctx, b); err != nil {
			return err
		}
		pairs = append(pairs, p)
	} else {
		pairs = pairVolumes(ctx, first, second, a, b)
	}
	for i := range pairs {
		if err := d.volumes(ctx, &pairs[i]); err != nil {
			return err
		}
	}
	if c.JSON {
		d.array.end()
	}
	if err := w.done(); err != nil || !d.differs {
		return err
	}
	return reported{exitDifferent}
}

// volumes compares two volumes.
func (d *differ) volumes(ctx context.Context, p *volumePair) error {
	if p.first == nil || p.second == nil {
		return d.lone(p)
	}
	a, errA := p.first.Volume(ctx)
	b, errB := p.second.Volume(ctx)
	files := errA == nil && errB == nil
	if files {
		if err := d.files(ctx, p, a, b); err != nil {
			return err
		}
	}
	if p.a.path != "" || p.b.path != "" {
		if !files {
			return errors.Join(errA, errB)
		}
		return nil
	}
	if files {
		if err := d.packages(ctx, p, a, b); err != nil {
			return err
		}
	}
	blocks, err := diff.Blocks(ctx, p.first.Device(), p.second.Device())
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.w.fail(fmt.Errorf("%s and %s: %w", p.a.text, p.b.text, err))
		return nil
	}
	if blocks.Different > 0 || p.first.Device().Size() > p.second.Device().Size() {
		// Without file systems there is nothing else to go by.
		d.differs = d.differs || !files
	}
	if d.JSON {
		return d.array.add(struct {
			Kind   string `json:"kind"`
			Volume string `json:"volume"`
			diff.BlockCount
		}{"blocks", p.first.ID, blocks})
	}
	if blocks.Different > 0 {
		d.w.printf("%s %d of %d blocks of %d KiB differ: an upgrade writes %s\n", strings.TrimSpace("= "+prefix(p.second)),
			blocks.Different, blocks.Total, blocks.Size>>10, size(blocks.Bytes))
	}
	return nil
}

// lone reports a volume that only one image has.
func (d *differ) lone(p *volumePair) error {
	d.differs = true
	one, change, sign := p.first, "removed", "-"
	if one == nil {
		one, change, sign = p.second, "added", "+"
	}
	if d.JSON {
		return d.array.add(struct {
			Kind   string `json:"kind"`
			Volume string `json:"volume"`
			Change string `json:"change"`
		}{"volume", one.ID, change})
	}
	role := ""
	if one.Role != "" {
		role = ", " + one.Role
	}
	d.w.printf("%s volume %s (%s%s)\n", sign, one.ID, size(one.Size), role)
	return nil
}

// fileChangeJSON is a file that is not the same, as --json prints it.
type fileChangeJSON struct {
	Kind    string    `json:"kind"`
	Volume  string    `json:"volume"`
	Change  string    `json:"change"`
	Path    string    `json:"path"`
	Bytes   []byte    `json:"pathBytes,omitempty"`
	Differs []string  `json:"differs,omitempty"`
	Xattrs  []string  `json:"xattrs,omitempty"`
	First   *fileJSON `json:"first,omitempty"`
	Second  *fileJSON `json:"second,omitempty"`
}

// files compares the files of two volumes.
func (d *differ) files(ctx context.Context, p *volumePair, a, b *image.Volume) error {
	sides := [2]diff.Side{}
	for i, at := range []struct {
		v *image.Volume
		a address
	}{{a, p.a}, {b, p.b}} {
		name := at.a.path
		if name == "" {
			name = "/"
		}
		real, _, err := at.v.Tree.RealPath(ctx, name)
		if err != nil {
			return addressError(at.a, err)
		}
		sides[i] = diff.Side{Tree: at.v.Tree, Path: real}
	}
	opt := diff.Options{Mtime: d.Mtime, Problem: func(other bool, name string, err error) error {
		at, side := p.a, sides[0]
		if other {
			at, side = p.b, sides[1]
		}
		d.w.fail(fmt.Errorf("%s: %w", at.sibling(path.Join(side.Path, name)), leaf(err)))
		return nil
	}}
	return diff.Trees(ctx, sides[0], sides[1], opt, func(x diff.Change) error {
		d.differs = true
		if d.JSON {
			j := fileChangeJSON{Kind: "file", Volume: p.first.ID, Change: "changed", Differs: x.Differs, Xattrs: x.Xattrs}
			j.Path = path.Join(sides[0].Path, x.Path)
			if x.Old != nil {
				f := d.w.fileJSON(ctx, a, j.Path, *x.Old)
				j.First = &f
			} else {
				j.Change, j.Path = "added", path.Join(sides[1].Path, x.Path)
			}
			if x.New != nil {
				f := d.w.fileJSON(ctx, b, path.Join(sides[1].Path, x.Path), *x.New)
				j.Second = &f
			} else {
				j.Change = "removed"
			}
			j.Bytes = bytesIfInvalid(j.Path)
			return d.array.add(j)
		}
		switch {
		case x.Old == nil:
			d.w.printf("+ %s\n", d.w.name(prefix(p.second)+path.Join(sides[1].Path, x.Path)))
		case x.New == nil:
			d.w.printf("- %s\n", d.w.name(prefix(p.first)+path.Join(sides[0].Path, x.Path)))
		default:
			d.w.printf("~ %s: %s\n", d.w.name(prefix(p.first)+path.Join(sides[0].Path, x.Path)), d.w.name(explain(&x)))
		}
		return nil
	})
}

// packages compares the packages of two systems. A database that is not read is
// no reason to fail.
func (d *differ) packages(ctx context.Context, p *volumePair, a, b *image.Volume) error {
	old, errA := diff.ReadPackages(ctx, a.Tree)
	now, errB := diff.ReadPackages(ctx, b.Tree)
	var unsupported *vfs.NotSupportedError
	for i, err := range []error{errA, errB} {
		text := []address{p.a, p.b}[i].text
		switch {
		case err == nil:
		case !errors.As(err, &unsupported):
			d.w.fail(fmt.Errorf("%s: %w", text, err))
		case i == 0 || errA == nil: // once is enough
			d.w.note("%s: %v", text, err)
		}
	}
	if errA != nil || errB != nil {
		return nil
	}
	manager := now.Manager
	if manager == "" {
		manager = old.Manager
	}
	for _, x := range diff.DiffPackages(old, now) {
		d.differs = true
		switch {
		case d.JSON:
			if err := d.array.add(struct {
				Kind    string `json:"kind"`
				Volume  string `json:"volume"`
				Manager string `json:"manager"`
				diff.PackageChange
			}{"package", p.first.ID, manager, x}); err != nil {
				return err
			}
		case x.Old == "":
			d.w.printf("+ %s\n", d.w.name(fmt.Sprintf("%spackage %s %s (%s)", space(prefix(p.first)), x.Name, x.New, manager)))
		case x.New == "":
			d.w.printf("- %s\n", d.w.name(fmt.Sprintf("%spackage %s %s (%s)", space(prefix(p.first)), x.Name, x.Old, manager)))
		default:
			d.w.printf("~ %s\n", d.w.name(fmt.Sprintf("%spackage %s %s -> %s (%s)", space(prefix(p.first)), x.Name, x.Old, x.New, manager)))
		}
	}
	return nil
}

// space puts one behind what is not empty.
func space(s string) string {
	if s == "" {
		return ""
	}
	return s + " "
}
