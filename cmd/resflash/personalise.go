package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/customize/personalise"
)

type personaliseCmd struct {
	Hostname  string   `placeholder:"NAME" help:"The name of the machine."`
	SSHInject []string `sep:"none" placeholder:"USER:KEY" help:"Let the owner of an SSH key log in: the line of the public key, or file:FILE. More than once if need be."`
	HostKey   bool     `help:"Make an SSH host key (Ed25519), in place of those that are there."`
	KeepIDs   bool     `name:"keep-ids" help:"Leave the disk's DUID and the UUIDs of its volumes as they are."`
	Image     string   `arg:"" name:"image" help:"The image."`
	DryRun    bool     `help:"Change nothing, only print what would be changed."`
	Output    string   `short:"o" placeholder:"FILE|DEVICE" help:"Leave the image as it is: the copy is a new file, or a block device, whose contents are lost."`
	Verbose   bool     `short:"v" help:"Print what was changed."`
	JSON      bool     `name:"json" help:"Print what was changed as a JSON document."`
}

// Help is the long help text.
func (*personaliseCmd) Help() string {
	return `Gives one copy of an image what makes its machine different from all others:

	random seeds   the boot seed and saved randomness of OpenBSD, the entropy of FreeBSD,
	               the seed of systemd: fresh, in every slot and on /cfg
	DUID           of OpenBSD's disklabel, and in the fstab of both slots
	UUIDs          of ext4 and FAT volumes, and in fstab, crypttab and boot loaders
	host name      with --hostname; on resflash images in /cfg, for both slots
	keys           with --ssh-inject for who may log in, with --host-key of the machine

Machine IDs, SSH host keys and so on that a system makes by itself are the business of
"resflash seal": seal the image once, and personalise each copy. Identifiers of GPT
partitions stay.` + editHelp + `

	resflash personalise golden.img --hostname fw7.example.net -o fw7.img
	resflash personalise golden.img --hostname fw7.example.net -o /dev/sdb
	resflash personalise --dry-run --host-key golden.img

A device must not be mounted. It is written as a whole, zeros of the image included, and
then personalised; an interruption leaves anything on it. What is random is so every
time, whatever SOURCE_DATE_EPOCH says.

--json prints what "resflash edit --json" prints.` + exitStatus
}

// Run personalises.
func (c *personaliseCmd) Run(ctx context.Context, w *world) error {
	name, flags := c.Image, editFlags{DryRun: c.DryRun, Output: c.Output}
	device := false
	if c.Output != "" {
		var err error
		if device, err = image.IsDevice(c.Output); err != nil {
			return fmt.Errorf("%s: %w", c.Output, leaf(err))
		}
	}
	if device {
		if c.DryRun {
			return usageError("", errors.New("--dry-run writes nothing, so --output makes no sense"))
		}
		if err := c.write(ctx, w); err != nil {
			return err
		}
		name, flags.Output = c.Output, ""
	}
	report := &editReport{Schema: "resflash-edit-1", DryRun: c.DryRun, Images: []imageReport{}}
	err := w.edit(ctx, flags, func(e *editor) error {
		e.written = device
		d, err := e.open(ctx, name)
		if err != nil {
			return err
		}
		for i, root := range personalise.Roots(ctx, d) {
			if err := c.system(ctx, e, name, d, root, i == 0, report); err != nil {
				return customizeError(name, err)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case c.JSON:
		return w.document(report)
	case c.Verbose, c.DryRun:
		report.print(w)
	}
	return nil
}

// write writes the image to the device.
func (c *personaliseCmd) write(ctx context.Context, w *world) error {
	var opts []image.Option
	if w.sectorSize != 0 {
		opts = append(opts, image.WithSectorSize(w.sectorSize))
	}
	bar := w.progress("written "+c.Output, 0)
	defer bar.end()
	return image.WriteDevice(ctx, c.Image, c.Output, func(done, total int64) {
		bar.total = total
		bar.add(done - bar.bytes)
	}, opts...)
}

// system personalises one system of the disk.
func (c *personaliseCmd) system(ctx context.Context, e *editor, name string, d *image.Disk, root string, first bool, report *editReport) error {
	ed, err := customize.New(ctx, d, customize.Options{
		Volume: root,
		Record: c.DryRun || c.Verbose || c.JSON,
		DryRun: c.DryRun,
		Note:   func(text string) { e.w.note("%s: %s", name, text) },
	})
	if err != nil {
		return err
	}
	steps, err := personalise.Steps(ctx, ed, personalise.Options{
		Hostname: c.Hostname, SSHKeys: c.SSHInject, HostKey: c.HostKey, KeepIDs: c.KeepIDs,
	}, first)
	if err != nil {
		return usageError("resflash help personalise", err)
	}
	if err := ed.Apply(ctx, steps); err != nil {
		if code := exitCode(err); !c.KeepIDs && strings.HasPrefix(err.Error(), "set-") {
			return &exitError{code, "--keep-ids leaves identifiers as they are", err}
		}
		return err
	}
	if c.DryRun || c.Verbose || c.JSON {
		return report.add(ctx, name, ed, steps)
	}
	return nil
}
