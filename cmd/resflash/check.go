package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

type checkCmd struct {
	Repair bool     `help:"Mend what has one right answer and loses nothing; with --yes everything."`
	Yes    bool     `short:"y" help:"With --repair: mend everything, even where that loses data."`
	Type   string   `short:"t" placeholder:"TYPE" help:"What a volume should hold that nothing is recognised in: ffs and ext4 look for a backup superblock."`
	DryRun bool     `help:"With --repair: change nothing, only say what would be mended."`
	Output string   `short:"o" placeholder:"NEW.img" help:"With --repair: leave the image as it is; the result is NEW.img."`
	JSON   bool     `name:"json" help:"Print a JSON document."`
	Files  []string `arg:"" name:"image" help:"IMAGE (all its volumes) or IMAGE:VOLUME."`
}

// Help is the long help text.
func (*checkCmd) Help() string {
	return `Looks for damage in file systems. Each finding says which structure is wrong, at which
byte of the volume, and a code for scripts. A volume that cannot be checked is said not
to have been, and then the exit status is not 0.

--repair is one transaction of the whole image. By itself it mends what a system does
at boot without asking: counts, maps, a file system that was not unmounted. With --yes
it mends everything: files without a name go to lost+found (on FAT they become
FSCK0000.REC and so on in the root directory), blocks that two files claim are copied or
given up, and it says what was lost. Damage that is left is exit status 6.

	resflash check disk.img
	resflash check --repair disk.img:d
	resflash check --repair --yes --dry-run disk.img:cfg
	resflash check --repair --yes --type ffs root.fs

--json prints an array with an element per volume: {"image", "volume", "type", "status"
(clean, damaged, repaired, unchecked, empty), "reason", "findings": [{"code",
"structure", "offset" (in the volume), "imageOffset", "path", "detail", "preen",
"fixed", "lost"}], "more" (findings beyond the first 10000)}.` + exitStatus
}

// repairRounds is how often a volume is repaired until nothing is found: what
// one round mends may bring to light something else.
const repairRounds = 4

// Run checks.
func (c *checkCmd) Run(ctx context.Context, w *world) error {
	switch {
	case c.Yes && !c.Repair:
		return usageError("", errors.New("--yes says how far --repair goes, and there is none"))
	case (c.DryRun || c.Output != "") && !c.Repair:
		return usageError("", errors.New("without --repair nothing is changed"))
	}
	if c.Type != "" && image.DriverFor(c.Type) == nil {
		return usageError("resflash help check", fmt.Errorf("--type %q: no such file system is known", c.Type))
	}
	var results []*checkJSON
	var err error
	if c.Repair {
		err = w.edit(ctx, editFlags{DryRun: c.DryRun, Output: c.Output}, func(e *editor) error {
			results, err = c.all(ctx, w, e.open)
			return err
		})
	} else {
		results, err = c.all(ctx, w, w.open)
	}
	if err != nil {
		return err
	}
	return c.report(w, results)
}

// all checks the volumes that are named.
func (c *checkCmd) all(ctx context.Context, w *world, open func(context.Context, string) (*image.Disk, error)) ([]*checkJSON, error) {
	var results []*checkJSON
	for _, text := range c.Files {
		a := parseAddress(text, isHostFile)
		if a.path != "" {
			return nil, usageError("", fmt.Errorf("%s: a volume is checked as a whole", text))
		}
		d, err := open(ctx, a.image)
		if err != nil {
			return nil, err
		}
		d.Layout(ctx)
		list := d.Partitions()
		if a.colon {
			p, err := d.Find(ctx, a.volume)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.image, err)
			}
			list = []*image.Partition{p}
		} else if r := tableResult(d); r != nil {
			results = append(results, r)
		}
		for _, p := range list {
			r, err := c.one(ctx, w, a, p)
			if err != nil {
				return nil, err
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// one checks a volume, and repairs it if that was asked for. The error is one
// that ends everything.
func (c *checkCmd) one(ctx context.Context, w *world, a address, p *image.Partition) (*checkJSON, error) {
	r := &checkJSON{Image: a.image, Volume: p.ID, Type: p.Content.Type, Findings: []findingJSON{}, at: a.image}
	if p.ID != "whole" {
		r.at += ":" + p.ID
	}
	driver := c.driver(p, a.colon)
	switch {
	case p.Content.Kind == image.KindEmpty && (driver == nil || c.Type == ""):
		r.Status = statusEmpty
		return r, nil
	case p.Content.Kind == image.KindSwap:
		r.Status, r.Reason = statusEmpty, "swap space"
		return r, nil
	case c.Type != "" && p.Content.Driver != nil && p.Content.Driver != image.DriverFor(c.Type):
		if a.colon || p.ID == "whole" {
			return nil, usageError("", fmt.Errorf("%s holds %s, not %s", r.at, p.Content.Type, c.Type))
		}
	case driver == nil:
		_, err := p.Volume(ctx)
		if err == nil {
			err = image.ErrUnknown
		}
		return r.unchecked(err), nil
	}
	if r.Type == "" {
		r.Type = driver.Name
	}
	if p.Content.Driver == driver {
		if v, err := p.Volume(ctx); err == nil {
			r.Type = v.FS.Info().Type
		}
	}
	switch {
	case driver.Check == nil:
		return r.unchecked(&vfs.NotSupportedError{What: "checking " + r.Type, Off: -1}), nil
	case c.Repair && driver.Repair == nil:
		return r.unchecked(&vfs.NotSupportedError{What: "repairing " + r.Type, Off: -1}), nil
	case p.Truncated():
		return r.unchecked(vfs.Corruptf(-1, "volume "+p.ID, "the image ends %d bytes before it does", p.Size-p.Device().Size())), nil
	}
	collect := func(f vfs.Finding) { r.add(f, p.Start) }
	bar := w.progress("checking "+r.at, 0)
	defer bar.end()
	if !c.Repair {
		if err := driver.Check(ctx, countedDevice{p.Device(), bar}, collect); err != nil {
			return r.failed(ctx, err)
		}
		r.judge()
		return r, nil
	}
	mode := vfs.RepairPreen
	if c.Yes {
		mode = vfs.RepairAll
	}
	for range repairRounds {
		// What an earlier round could not mend is found again.
		r.forgetLeft()
		before := r.fixed
		if err := driver.Repair(ctx, countedTransaction{p.Transaction(), bar}, mode, collect); err != nil {
			return r.failed(ctx, err)
		}
		if r.fixed == before {
			break
		}
	}
	r.judge()
	return r, nil
}

// driver is that of what is in the partition, or should be: as --type says,
// or the partition table.
func (c *checkCmd) driver(p *image.Partition, named bool) *vfs.Driver {
	switch {
	case p.Content.Driver != nil:
		return p.Content.Driver
	case c.Type != "" && (named || p.ID == "whole"):
		return image.DriverFor(c.Type)
	case p.Content.Kind == image.KindUnknown && p.Entry != nil && p.Entry.TypeName == "FFS":
		return image.DriverFor("ffs")
	}
	return nil
}

// report prints the results. The exit code is that of damage if there is any.
func (c *checkCmd) report(w *world, results []*checkJSON) error {
	if c.JSON {
		if err := w.document(results); err != nil {
			return err
		}
	}
	damaged := false
	for _, r := range results {
		if !c.JSON {
			r.print(w, c.DryRun)
		}
		switch r.Status {
		case statusDamaged:
			damaged = true
			w.fail(&exitError{exitDamaged, c.advice(r), fmt.Errorf("%s: damaged: %s", r.at, plural(r.left, "problem", "problems"))})
		case statusRepaired:
			if c.DryRun {
				damaged = true
				w.fail(&exitError{exitDamaged, "without --dry-run all of it is repaired", fmt.Errorf("%s: damaged: %s", r.at, plural(r.fixed, "problem", "problems"))})
			}
		case statusUnchecked:
			damaged = damaged || exitCode(r.err) == exitDamaged
			w.fail(&exitError{exitCode(r.err), c.advice(r), fmt.Errorf("%s: not checked: %w", r.at, r.err)})
		}
	}
	if damaged {
		return reported{exitDamaged}
	}
	return w.done()
}

// advice says what can be done about a volume that is damaged.
func (c *checkCmd) advice(r *checkJSON) string {
	switch {
	case r.Volume == "":
		return ""
	case r.Status == statusUnchecked && errors.Is(r.err, image.ErrUnknown) && c.Type == "":
		return "if its superblock is lost, there are copies: resflash check --type ffs (or ext4) " + r.at
	case r.Status == statusUnchecked:
		return ""
	case !c.Repair:
		return "resflash check --repair " + r.at
	case !c.Yes:
		return "resflash check --repair --yes " + r.at + "; --dry-run shows what that would lose"
	}
	return ""
}
