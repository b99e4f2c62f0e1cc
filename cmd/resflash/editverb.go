package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/vfs"
)

type editCmd struct {
	Script   operationFlag `short:"f" type:"operation" placeholder:"SCRIPT" help:"Do what a script says, - for standard input. It has its place in the order of the operations."`
	Set      []string      `sep:"none" placeholder:"NAME=VALUE" help:"Set a variable of scripts; more than once if need be."`
	AllSlots bool          `help:"Edit each slot of an A/B image that holds a system, the inactive one as well."`
	Manifest string        `placeholder:"FILE" help:"Write a JSON document with every file that has changed, its size and SHA-256 before and after."`
	Image    []string      `arg:"" help:"IMAGE, for the system in it that boots, or IMAGE:VOLUME, for the one in that volume."`
	editFlags
	kong.Plugins // a flag for each operation
}

// Help is the long help text.
func (*editCmd) Help() string {
	return `Changes a system in an image, without booting it: operations are done one after the
other, in the order given. Paths are those of the system: what its /etc/fstab mounts
from the image (/boot, the ESP, /var …; on resflash images /cfg and /mbr) is in its
place, and symbolic links never lead out. VOLUME:/path is a path in one volume. Of the
colons in an argument the first separates, so LOCAL has none in it. What exists and is
written to keeps its owner, mode, attributes and flags; what is new belongs to 0:0.` + editHelp + `
That holds for each image, if there are several. With SOURCE_DATE_EPOCH set, the same
operations on equal images give equal images.

SCRIPTS

A line of a script is an operation as above, without the dashes:

	# the firewalls of ${SITE}
	upload pf.conf:/etc/pf.conf
	chmod 0600:/etc/pf.conf
	edit /etc/ssh/sshd_config:s/^#?PermitRootLogin .*/PermitRootLogin no/
	write /etc/motd:<<END
	Welcome to ${SITE}.
	END
	include common.script

The argument is the rest of the line as it is; blanks and quotes in it mean nothing,
nor do backslashes, but for one at the end of a line, which goes on in the next. ${NAME}
is the value of a variable (--set), and $${ the two characters. An argument that is in
double quotes altogether is a string as in Go ("\n", "\t", "\""), one in single quotes
has no variables. Behind :<<WORD follow the lines up to one that is WORD (a
here-document; :<<'WORD' has no variables, :<<-WORD loses leading tabs). include FILE is
relative to the script that says so.

	resflash edit disk.img --write /etc/myname:fw7.example.net --delete '/var/log/*'
	resflash edit disk.img --edit '/etc/ssh/sshd_config:s/^#?PasswordAuthentication .*/PasswordAuthentication no/'
	resflash edit -f site.script --set SITE=vienna --manifest changes.json -o vienna.img disk.img
	resflash edit --dry-run --tar-in overlay.tar:/ disk.img disk.img:inactive` + exitStatus
}

// Run does the operations.
func (c *editCmd) Run(ctx context.Context, w *world) error {
	steps, err := c.steps(w)
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return usageError("resflash help edit", errors.New("nothing is to be done: no operation, no script"))
	}
	report := editReport{Schema: "resflash-edit-1", DryRun: c.DryRun, Images: []imageReport{}}
	flags := c.editFlags
	flags.Verbose, flags.JSON = false, false // the report says more
	err = w.edit(ctx, flags, func(e *editor) error {
		for _, name := range c.Image {
			if err := c.image(ctx, e, name, steps, &report); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && c.Manifest != "" {
		err = report.write(c.Manifest)
	}
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		return w.document(report)
	case c.Verbose, c.DryRun:
		report.print(w)
	}
	return nil
}

// steps are the operations of flags and scripts.
func (c *editCmd) steps(w *world) ([]customize.Step, error) {
	vars := map[string]string{}
	for _, text := range c.Set {
		name, value, err := customize.ParseVariable(text)
		if err != nil {
			return nil, usageError("", fmt.Errorf("--set %w", err))
		}
		vars[name] = value
	}
	var steps []customize.Step
	for _, given := range w.operations {
		if given.name == "script" {
			more, err := readScript(w, given.arg, vars)
			if err != nil {
				return nil, err
			}
			steps = append(steps, more...)
			continue
		}
		op, err := customize.Parse(given.name, given.arg)
		if err != nil {
			return nil, usageError("resflash help edit", fmt.Errorf("--%w", err))
		}
		steps = append(steps, customize.Step{Operation: op})
	}
	return steps, nil
}

func readScript(w *world, name string, vars map[string]string) ([]customize.Step, error) {
	var r io.Reader = w.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, leaf(err))
		}
		defer f.Close()
		r = f
	}
	steps, err := customize.ReadScript(name, r, vars)
	if err == nil || errors.Is(err, syscall.EISDIR) || errors.Is(err, os.ErrNotExist) {
		return steps, err
	}
	return nil, usageError("", err)
}

// image edits what is named, and adds to the report.
func (c *editCmd) image(ctx context.Context, e *editor, name string, steps []customize.Step, report *editReport) error {
	a := parseAddress(name, isHostFile)
	if a.path != "" {
		return usageError("name paths in the operations", fmt.Errorf("%s: edit takes images", name))
	}
	d, err := e.open(ctx, a.image)
	if err != nil {
		return err
	}
	roots, err := c.roots(ctx, d, a)
	if err != nil {
		return err
	}
	for _, root := range roots {
		opt, err := c.options(e.w, a.image)
		if err != nil {
			return err
		}
		opt.Volume = root
		ed, err := customize.New(ctx, d, opt)
		if err == nil {
			err = ed.Apply(ctx, steps)
		}
		if err == nil && opt.Record {
			err = report.add(ctx, a.image, ed, steps)
		}
		if err != nil {
			return customizeError(a.image, err)
		}
	}
	return nil
}

// roots are the volumes whose systems are edited.
func (c *editCmd) roots(ctx context.Context, d *image.Disk, a address) ([]string, error) {
	if !c.AllSlots {
		return []string{a.volume}, nil
	}
	if a.volume != "" {
		return nil, usageError("", fmt.Errorf("%s names a volume, and --all-slots all of them", a.text))
	}
	var ids []string
	for _, slot := range d.Layout(ctx).Slots {
		if p, err := d.Find(ctx, slot.ID); err == nil && p.Content.Kind == image.KindFilesystem {
			ids = append(ids, slot.ID)
		}
	}
	if len(ids) == 0 {
		return nil, usageError("resflash inspect shows what is in the image", fmt.Errorf("%s: has no slots", a.image))
	}
	return ids, nil
}

func (c *editCmd) options(w *world, name string) (customize.Options, error) {
	opt := customize.Options{
		Record: c.DryRun || c.Verbose || c.JSON || c.Manifest != "",
		DryRun: c.DryRun,
		Note:   func(text string) { w.note("%s: %s", name, text) },
	}
	epoch, ok, err := sourceDateEpoch()
	if ok {
		opt.Epoch = &epoch
	}
	return opt, err
}

// customizeError names the image, and says what can be done.
func customizeError(name string, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	var known *exitError
	var dirty *vfs.DirtyError
	var limit *vfs.LimitError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &dirty):
		return &exitError{exitDirty, "resflash check --repair " + name, err}
	case errors.As(err, &limit):
	case errors.Is(err, syscall.EPERM):
		return &exitError{exitFailure, "a file flag may forbid it: the operation chflags takes it away", err}
	case errors.Is(err, syscall.ENOSPC):
		return &exitError{exitFull, "", err}
	}
	return err
}
