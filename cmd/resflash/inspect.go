package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/part"
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

// imageJSON is an element of what inspect --json prints.
type imageJSON struct {
	Image      string        `json:"image"`
	Size       int64         `json:"size"`
	SectorSize int           `json:"sectorSize"`
	Layout     *layoutJSON   `json:"layout,omitempty"`
	Tables     []tableJSON   `json:"tables"`
	Volumes    []*volumeJSON `json:"volumes"`
	Problems   []string      `json:"problems"`

	damaged int // problems that are damage, not contradictions
}

type layoutJSON struct {
	Kind     string     `json:"kind"` // resflash, discoverable
	Active   string     `json:"active,omitempty"`
	Evidence string     `json:"evidence,omitempty"`
	Slots    []slotJSON `json:"slots,omitempty"`
}

type slotJSON struct {
	ID     string `json:"id"`
	Active bool   `json:"active"`
	Empty  bool   `json:"empty"`
}

type tableJSON struct {
	Scheme   string      `json:"scheme"` // MBR, GPT, disklabel
	Flavor   string      `json:"flavor,omitempty"`
	Offset   int64       `json:"offset"`
	Source   string      `json:"source,omitempty"` // GPT: primary or backup
	ID       string      `json:"id,omitempty"`
	Name     string      `json:"name,omitempty"`
	Parent   string      `json:"parent,omitempty"` // partition that the table lies in
	DiskSize int64       `json:"diskSize,omitempty"`
	Entries  []entryJSON `json:"entries"`
}

type entryJSON struct {
	ID         string `json:"id"`
	Start      int64  `json:"start"`
	Size       int64  `json:"size"`
	Type       string `json:"type"`
	TypeName   string `json:"typeName,omitempty"`
	Name       string `json:"name,omitempty"`
	UUID       string `json:"uuid,omitempty"`
	Attributes uint64 `json:"attributes,omitempty"`
	Bootable   bool   `json:"bootable,omitempty"`
	Container  bool   `json:"container,omitempty"`
}

type volumeJSON struct {
	ID           string   `json:"id"`
	Aliases      []string `json:"aliases,omitempty"`
	Role         string   `json:"role,omitempty"`
	Start        int64    `json:"start"`
	Size         int64    `json:"size"`
	Kind         string   `json:"kind"`           // filesystem, swap, empty, unsupported, unknown
	Type         string   `json:"type,omitempty"` // FFS2, ext4, FAT32, LUKS, …
	Label        string   `json:"label,omitempty"`
	UUID         string   `json:"uuid,omitempty"`
	Name         string   `json:"name,omitempty"`  // of the partition
	State        string   `json:"state,omitempty"` // clean, dirty, unknown
	StateNote    string   `json:"stateNote,omitempty"`
	Used         *int64   `json:"used,omitempty"`
	Free         *int64   `json:"free,omitempty"`
	BlockSize    int      `json:"blockSize,omitempty"`
	FragmentSize int      `json:"fragmentSize,omitempty"`
	BigEndian    bool     `json:"bigEndian,omitempty"`
	Features     []string `json:"features,omitempty"`
	LastMount    string   `json:"lastMount,omitempty"`
	OS           *osJSON  `json:"os,omitempty"`
	Error        string   `json:"error,omitempty"` // why the file system cannot be read
}

type osJSON struct {
	ID           string `json:"id"`
	Name         string `json:"name,omitempty"`
	Version      string `json:"version,omitempty"`
	PrettyName   string `json:"prettyName,omitempty"`
	Arch         string `json:"arch,omitempty"`
	ImageID      string `json:"imageId,omitempty"`
	ImageVersion string `json:"imageVersion,omitempty"`
	Build        string `json:"build,omitempty"`
	Evidence     string `json:"evidence,omitempty"`
}

// inspect collects what is known of an image.
func inspect(ctx context.Context, d *image.Disk) *imageJSON {
	layout := d.Layout(ctx)
	v := &imageJSON{
		Image: d.Name(), Size: d.Size(), SectorSize: d.SectorSize(),
		Tables: []tableJSON{}, Volumes: []*volumeJSON{}, Problems: []string{},
	}
	if layout.Kind != "" {
		v.Layout = &layoutJSON{Kind: layout.Kind, Active: layout.Active, Evidence: layout.Evidence}
		for _, s := range layout.Slots {
			v.Layout.Slots = append(v.Layout.Slots, slotJSON(s))
		}
	}
	for _, t := range d.Tables() {
		v.Tables = append(v.Tables, inspectTable(t))
	}
	for _, p := range d.Problems() {
		v.Problems = append(v.Problems, p.Error())
	}
	for _, p := range d.Partitions() {
		vol, err := inspectVolume(ctx, p)
		v.Volumes = append(v.Volumes, vol)
		switch {
		case p.Truncated() && len(d.Problems()) > 0:
			// The table has said so.
		case err != nil && exitCode(err) == exitDamaged:
			v.Problems = append(v.Problems, err.Error())
		case p.Truncated():
			v.Problems = append(v.Problems, fmt.Sprintf("volume %s: truncated: the image ends %d bytes before it does", p.ID, p.Size-p.Device().Size()))
		}
	}
	v.damaged = len(v.Problems)
	v.Problems = append(v.Problems, layout.Problems...)
	return v
}

func inspectTable(t *part.Table) tableJSON {
	j := tableJSON{
		Scheme: t.Scheme, Flavor: t.Flavor, Offset: t.Off, Source: t.Source, ID: t.ID, Name: t.Name,
		Parent: t.ParentID, DiskSize: t.DiskSize, Entries: []entryJSON{},
	}
	for _, e := range t.Entries {
		j.Entries = append(j.Entries, entryJSON{
			e.ID(t.Scheme), e.Start, e.Size, e.Type, e.TypeName, e.Name, e.UUID, e.Attributes, e.Bootable, e.Container,
		})
	}
	return j
}

func inspectVolume(ctx context.Context, p *image.Partition) (*volumeJSON, error) {
	c := p.Content
	v := &volumeJSON{
		ID: p.ID, Aliases: p.Aliases, Role: p.Role, Start: p.Start, Size: p.Size,
		Kind: c.Kind, Type: c.Type, Label: c.Label, UUID: c.UUID,
	}
	if p.Entry != nil {
		v.Name = p.Entry.Name
	}
	if c.Err != nil {
		v.Error = c.Err.Error()
		return v, fmt.Errorf("volume %s: %w", p.ID, c.Err)
	}
	if c.Kind != image.KindFilesystem {
		return v, nil
	}
	vol, err := p.Volume(ctx)
	if err != nil {
		v.Error = err.Error()
		return v, err
	}
	info := vol.FS.Info()
	v.Type, v.Label, v.UUID = info.Type, info.Label, info.UUID
	v.State, v.StateNote, v.LastMount = info.State.String(), info.StateNote, info.LastMount
	v.BlockSize, v.FragmentSize, v.BigEndian, v.Features = info.BlockSize, info.FragSize, info.BigEndian, info.Features
	st, err := vol.FS.Statfs(ctx)
	if err != nil {
		v.Error = err.Error()
		return v, fmt.Errorf("volume %s: %w", p.ID, err)
	}
	used, free := int64(st.Blocks-min(st.Free, st.Blocks))*st.BlockSize, int64(st.Free)*st.BlockSize
	v.Used, v.Free = &used, &free
	os, err := image.IdentifyOS(ctx, vol.Tree)
	if err != nil {
		// A damaged file is no news about the operating system.
		return v, ctx.Err()
	}
	if os.ID != "" || os.Name != "" {
		v.OS = (*osJSON)(&os)
	}
	return v, nil
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
