package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

type inspectCmd struct {
	JSON   bool     `name:"json" help:"Print a JSON document."`
	Images []string `arg:"" name:"image" help:"Image files or block devices."`
}

// Help is the long help text.
func (*inspectCmd) Help() string {
	return `Shows the partition tables, the volumes with role, type, size, space used, state,
label and UUID, the root slots of an A/B layout, the installed system, and what is
wrong with any of it. The map draws the disk to scale, but nothing narrower than its
name.

	resflash inspect disk.img
	resflash inspect --json disk.img | jq -r '.[0].volumes[] | [.id, .role, .type] | @tsv'

--json prints an array with an element per image: {"image", "size", "sectorSize",
"layout": {"kind", "active", "evidence", "slots": [{"id", "active", "empty"}]},
"tables": [{"scheme", "flavor", "offset", "source", "id", "name", "parent", "entries":
[{"id", "start", "size", "type", "typeName", "name", "uuid", "bootable", "container"}]}],
"volumes": [{"id", "aliases", "role", "start", "size", "kind", "type", "label", "uuid",
"name", "state", "stateNote", "used", "free", "blockSize", "fragmentSize", "features",
"lastMount", "os": {…}, "error"}], "problems": […]}. All sizes are bytes. What is not
known is left out. With problems the exit status is 6, and everything that can be
shown is.` + exitStatus
}

// Run shows the images.
func (c *inspectCmd) Run(ctx context.Context, w *world) error {
	images := []*imageJSON{}
	for i, name := range c.Images {
		d, err := w.open(ctx, name)
		if err != nil {
			w.fail(err)
			continue
		}
		v := inspect(ctx, d)
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.JSON {
			images = append(images, v)
		} else {
			if i > 0 {
				w.printf("\n")
			}
			v.print(w)
		}
		if err := v.verdict(d); err != nil {
			w.fail(err)
		}
	}
	if c.JSON {
		if err := w.document(images); err != nil {
			return err
		}
	}
	return w.done()
}

// verdict is the error of an image that is damaged, or that nothing can be
// done with.
func (v *imageJSON) verdict(d *image.Disk) error {
	if v.damaged > 0 {
		return &exitError{exitDamaged, "", fmt.Errorf("%s: damaged: %s", v.Image, plural(v.damaged, "problem", "problems"))}
	}
	if len(d.Partitions()) != 1 || len(d.Tables()) > 0 {
		return nil
	}
	switch c := d.Partitions()[0].Content; c.Kind {
	case image.KindUnknown:
		return &exitError{exitNotImage, hint(image.ErrUnknown), fmt.Errorf("%s: no partition table and no file system that is known", v.Image)}
	case image.KindEmpty:
		return &exitError{exitNotImage, "", fmt.Errorf("%s: empty: only zeros", v.Image)}
	case image.KindUnsupported:
		return fmt.Errorf("%s: %w", v.Image, unsupported(c))
	}
	return nil
}

// unsupported is the error of content that is known by name only, with what
// can be done about it.
func unsupported(c image.Content) error {
	err := &vfs.NotSupportedError{What: c.Type, Off: c.Off}
	switch {
	case strings.HasSuffix(c.Type, "disk image"):
		return &exitError{exitNotSupported, "qemu-img convert -O raw makes a raw image of it", err}
	case strings.HasSuffix(c.Type, "compressed data"):
		return &exitError{exitNotSupported, "unpack it first", err}
	}
	return err
}

// print prints the image for people.
func (v *imageJSON) print(w *world) {
	w.printf("%s: %s (%d bytes), sectors of %d bytes\n", w.name(v.Image), size(v.Size), v.Size, v.SectorSize)
	line := func(key, format string, args ...any) {
		w.printf("  %-8s %s\n", key, escape(fmt.Sprintf(format, args...)))
	}
	if l := v.Layout; l != nil {
		text := l.Kind
		if l.Active != "" {
			text += ", active slot " + l.Active
		}
		if l.Evidence != "" {
			text += " (" + l.Evidence + ")"
		}
		line("layout", "%s", text)
		var slots []string
		for _, s := range l.Slots {
			switch {
			case s.Active:
				slots = append(slots, s.ID+" active")
			case s.Empty:
				slots = append(slots, s.ID+" empty")
			default:
				slots = append(slots, s.ID+" inactive")
			}
		}
		if len(slots) > 0 {
			line("slots", "%s", strings.Join(slots, ", "))
		}
	}
	for _, vol := range v.Volumes {
		if vol.OS != nil {
			line("system", "%s: %s", vol.ID, vol.OS)
		}
	}
	for _, t := range v.Tables {
		line("table", "%s", t)
	}
	for _, p := range v.Problems {
		line("problem", "%s", p)
	}
	w.printf("\n")
	v.drawMap(w)
	v.printVolumes(w)
}

func (o *osJSON) String() string {
	text := o.PrettyName
	if text == "" {
		text = strings.TrimSpace(o.Name + " " + o.Version)
	}
	if o.Arch != "" && !strings.Contains(text, o.Arch) {
		text += " " + o.Arch
	}
	if o.ImageID != "" {
		text += ", image " + strings.TrimSpace(o.ImageID+" "+o.ImageVersion)
	}
	if o.Build != "" {
		text += ", build " + o.Build
	}
	return text
}

func (t tableJSON) String() string {
	text := t.Scheme
	if t.Flavor != "" {
		text += " (" + t.Flavor + ")"
	}
	text += fmt.Sprintf(" at byte %d", t.Offset)
	if t.Parent != "" {
		text += " in " + t.Parent
	}
	if t.Source != "" {
		text += ", " + t.Source + " copy"
	}
	if t.ID != "" {
		text += ", id " + t.ID
	}
	if t.Name != "" {
		text += ", name " + t.Name
	}
	return text + ", " + plural(len(t.Entries), "partition", "partitions")
}

func (v *imageJSON) printVolumes(w *world) {
	t := table{right: []bool{false, false, false, true, true, true}}
	t.add("VOLUME", "ROLE", "TYPE", "START", "SIZE", "USED", "STATE", "LABEL", "UUID")
	var notes []string
	for _, vol := range v.Volumes {
		kind := vol.Type
		switch {
		case vol.Error != "":
			kind = strings.TrimSpace(kind + " (unreadable)")
		case vol.Kind == image.KindUnsupported:
			kind += " (not supported)"
		case kind == "":
			kind = vol.Kind
		}
		used := "-"
		if vol.Used != nil {
			used = size(*vol.Used)
		}
		label := vol.Label
		if label == "" {
			label = vol.Name
		}
		t.add(dash(vol.ID), dash(vol.Role), dash(kind), size(vol.Start), size(vol.Size), used,
			dash(vol.State), dash(escape(label)), dash(escape(vol.UUID)))
		if vol.StateNote != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", vol.ID, vol.StateNote))
		}
	}
	t.print(w, "  ")
	for _, n := range notes {
		w.printf("  note: %s\n", escape(n))
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
