package main

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/part"
)

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
	used = min(used, v.Size) // a format that counts in blocks counts the last one whole
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
