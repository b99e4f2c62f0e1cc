package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

type statCmd struct {
	Follow  bool     `short:"L" help:"Follow a symbolic link in the last place."`
	Extents bool     `help:"Where on the volume the contents lie."`
	JSON    bool     `name:"json" help:"Print a JSON document."`
	Files   []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*statCmd) Help() string {
	return addressHelp + `

	resflash stat disk.img:/etc/fstab
	resflash stat --extents disk.img:/bsd
	resflash stat --json disk.img:/bin/sh | jq -r '.[0].mode'

--json prints an array with an element per file: {"path", "type", "mode", "uid",
"gid", "owner", "group", "size", "allocated", "links", "inode", "generation",
"device": {"major", "minor"}, "target", "flags", "modified", "accessed", "changed",
"created", "address", "volume", "xattrs": {NAME: BASE64}, "extents": [{"offset",
"length", "at"}]}. What a file or format does not have is left out. A path that is
not UTF-8 is repeated in base64 as "pathBytes".` + exitStatus
}

// statJSON is an element of what stat --json prints.
type statJSON struct {
	fileJSON
	Address string            `json:"address"`
	Volume  string            `json:"volume"`
	Xattrs  map[string][]byte `json:"xattrs,omitempty"`
	Extents []extentJSON      `json:"extents,omitempty"`
}

// extentJSON is a contiguous part of a file. At is its byte offset in the
// volume; it is null for holes, and for contents that are not stored as they
// are.
type extentJSON struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	At     *int64 `json:"at"`
}

// Run prints what is known of the files.
func (c *statCmd) Run(ctx context.Context, w *world) error {
	array := &jsonArray{w: w}
	for i, text := range c.Files {
		f, err := w.file(ctx, text, !c.Follow)
		if err != nil {
			w.fail(err)
			continue
		}
		s := statJSON{fileJSON: w.fileJSON(ctx, f.vol, f.real, f.attr), Address: f.text, Volume: f.vol.Partition.ID}
		if x, ok := f.vol.FS.(vfs.Xattrer); ok {
			if s.Xattrs, err = x.Xattrs(ctx, f.attr.Ino); err != nil {
				w.fail(addressError(f.address, fmt.Errorf("extended attributes: %w", err)))
			}
		}
		if c.Extents {
			if s.Extents, err = extents(ctx, f); err != nil {
				w.fail(addressError(f.address, err))
			}
		}
		if c.JSON {
			if err := array.add(s); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			w.printf("\n")
		}
		c.print(w, f, s)
	}
	if c.JSON {
		array.end()
	}
	return w.done()
}

func (c *statCmd) print(w *world, f file, s statJSON) {
	a := f.attr
	name := w.name(f.text)
	if s.Target != nil {
		name += " -> " + w.name(*s.Target)
	}
	owner := func(name string, id uint32) string {
		if name == "" {
			return fmt.Sprint(id)
		}
		return fmt.Sprintf("%d (%s)", id, escape(name))
	}
	w.printf("    file: %s\n", name)
	w.printf("    type: %s", s.Type)
	if s.Device != nil {
		w.printf(", device %d, %d", s.Device.Major, s.Device.Minor)
	}
	w.printf("\n    size: %d (%d allocated)\n", a.Size, s.Allocated)
	w.printf("    mode: %s (%s)\n", s.Mode, a.Mode)
	w.printf("   owner: %s   group: %s\n", owner(s.Owner, a.UID), owner(s.Group, a.GID))
	w.printf("   inode: %d   links: %d", a.Ino, a.Nlink)
	if a.Gen != 0 {
		w.printf("   generation: %d", a.Gen)
	}
	w.printf("\n")
	if len(s.Flags) > 0 {
		w.printf("   flags: %s\n", strings.Join(s.Flags, ","))
	}
	w.printf("modified: %s\n", fullClock(a.Mtime))
	w.printf("accessed: %s\n", fullClock(a.Atime))
	w.printf(" changed: %s\n", fullClock(a.Ctime))
	w.printf(" created: %s\n", fullClock(a.Btime))
	for _, name := range slices.Sorted(maps.Keys(s.Xattrs)) {
		w.printf("   xattr: %s (%s)\n", w.name(name), plural(len(s.Xattrs[name]), "byte", "bytes"))
	}
	for _, e := range s.Extents {
		at := "hole, or not stored as it is"
		if e.At != nil {
			at = fmt.Sprintf("at byte %d of the volume", *e.At)
		}
		w.printf("  extent: %d bytes at %d: %s\n", e.Length, e.Offset, at)
	}
}

// maxExtents bounds the list of one file.
const maxExtents = 1 << 20

// extents finds where the contents of a file lie.
func extents(ctx context.Context, f file) ([]extentJSON, error) {
	m, ok := f.vol.FS.(vfs.Mapper)
	if !ok {
		return nil, &vfs.NotSupportedError{What: "extents of " + f.vol.FS.Info().Type, Off: -1}
	}
	var list []extentJSON
	if !f.attr.Mode.IsRegular() && !f.attr.Mode.IsDir() {
		return list, nil
	}
	for off := int64(0); off < f.attr.Size; {
		if err := ctx.Err(); err != nil {
			return list, err
		}
		at, n, err := m.Map(ctx, f.attr.Ino, off)
		if err == io.EOF {
			break
		}
		if err != nil {
			return list, err
		}
		if n <= 0 {
			return list, io.ErrNoProgress
		}
		e := extentJSON{Offset: off, Length: n}
		if at >= 0 {
			e.At = &at
		}
		last := len(list) - 1
		switch {
		case last >= 0 && list[last].At == nil && at < 0,
			last >= 0 && list[last].At != nil && at >= 0 && *list[last].At+list[last].Length == at:
			list[last].Length += n
		case len(list) == maxExtents:
			return list, fmt.Errorf("more than %d extents", maxExtents)
		default:
			list = append(list, e)
		}
		off += n
	}
	return list, nil
}
