package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
)

type lsCmd struct {
	Long      bool     `short:"l" help:"Mode, links, owner, group, size, time; targets of symbolic links."`
	All       bool     `short:"a" help:"Names that begin with a dot as well."`
	Recursive bool     `short:"R" help:"Directories below as well."`
	Directory bool     `short:"d" help:"A directory itself, not what is in it; symbolic links are not followed."`
	Inode     bool     `short:"i" help:"Inode numbers."`
	Human     bool     `short:"h" help:"Sizes in K, M, G (powers of 1024)."`
	ByTime    bool     `short:"t" name:"time" help:"Newest first, not by name."`
	Numeric   bool     `short:"n" help:"Numbers for owners; implies -l."`
	Flags     bool     `short:"o" help:"File flags; implies -l."`
	JSON      bool     `name:"json" help:"Print a JSON document."`
	Files     []string `arg:"" name:"file" help:"IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*lsCmd) Help() string {
	return addressHelp + `

Owners are named by the image's own /etc/passwd and /etc/group. Times are in the
time zone of the host.

	resflash ls -l disk.img:/etc
	resflash ls -lo disk.img:inactive:/bsd
	resflash ls --json disk.img:/root | jq -r '.[].entries[].path'

--json prints an array with an element per argument: {"address", "volume",
"entries": [FILE, …]}; the members of FILE are those of "resflash stat --json".` + exitStatus
}

// listing is an element of what ls --json prints.
type listing struct {
	Address string     `json:"address"`
	Volume  string     `json:"volume"`
	Entries []fileJSON `json:"entries"`
}

// Run lists the files.
func (c *lsCmd) Run(ctx context.Context, w *world) error {
	c.Long = c.Long || c.Numeric || c.Flags
	array := &jsonArray{w: w}
	for i, text := range c.Files {
		f, err := w.file(ctx, text, c.Directory || c.Long) // like ls: -l shows a link itself
		if err != nil {
			w.fail(err)
			continue
		}
		if c.JSON {
			l := listing{f.text, f.vol.Partition.ID, []fileJSON{}}
			if err := c.each(ctx, w, f, func(_ string, list []lsEntry) {
				for _, e := range list {
					l.Entries = append(l.Entries, w.fileJSON(ctx, f.vol, e.path, e.attr))
				}
			}); err != nil {
				return err
			}
			if err := array.add(l); err != nil {
				return err
			}
			continue
		}
		first := i == 0
		if err := c.each(ctx, w, f, func(dir string, list []lsEntry) {
			if dir != "" && (c.Recursive || len(c.Files) > 1) {
				if !first {
					w.printf("\n")
				}
				w.printf("%s:\n", w.name(f.sibling(dir)))
			}
			first = false
			c.print(ctx, w, f, list)
		}); err != nil {
			return err
		}
	}
	if c.JSON {
		array.end()
	}
	return w.done()
}

// An lsEntry is a line of a listing.
type lsEntry struct {
	name, path string
	attr       vfs.Attr
}

// each calls show for every directory to list; a file is a list of one, with
// an empty dir.
func (c *lsCmd) each(ctx context.Context, w *world, f file, show func(dir string, list []lsEntry)) error {
	if c.Directory || !f.attr.Mode.IsDir() {
		show("", []lsEntry{{f.path, f.real, f.attr}})
		return nil
	}
	if !c.Recursive {
		show(f.real, c.list(ctx, w, f, f.real, f.attr))
		return nil
	}
	opt := &export.Options{Problem: w.problem(f.address)}
	return export.Walk(ctx, f.vol.Tree, f.real, opt, func(e *export.Entry) error {
		if !e.Attr.Mode.IsDir() {
			return nil
		}
		if e.Path != "." && !c.All && strings.HasPrefix(path.Base(e.Path), ".") {
			return fs.SkipDir
		}
		show(e.Real, c.list(ctx, w, f, e.Real, e.Attr))
		return nil
	})
}

// list reads a directory. Files whose attributes cannot be read are reported
// and left out.
func (c *lsCmd) list(ctx context.Context, w *world, f file, dir string, attr vfs.Attr) []lsEntry {
	var list []lsEntry
	problem := w.problem(f.address)
	add := func(name string, a vfs.Attr, err error) {
		p := path.Join(dir, name)
		if err != nil {
			problem(p, err)
			return
		}
		list = append(list, lsEntry{name, p, a})
	}
	if c.All {
		add(".", attr, nil)
		up, err := f.vol.FS.Lookup(ctx, attr.Ino, "..")
		if errors.Is(err, fs.ErrNotExist) {
			up, err = attr, nil
		}
		add("..", up, err)
	}
	entries, err := f.vol.Tree.List(ctx, attr.Ino)
	if err != nil && !c.Recursive { // the walk reports it
		problem(dir, err)
	}
	for _, e := range entries {
		if !c.All && strings.HasPrefix(e.Name, ".") {
			continue
		}
		if !c.Long && !c.ByTime && !c.JSON {
			list = append(list, lsEntry{e.Name, "", vfs.Attr{Ino: e.Ino}})
			continue
		}
		a, err := f.vol.FS.Getattr(ctx, e.Ino)
		add(e.Name, a, err)
	}
	if c.ByTime {
		slices.SortStableFunc(list, func(a, b lsEntry) int { return b.attr.Mtime.Compare(a.attr.Mtime) })
	}
	return list
}

func (c *lsCmd) print(ctx context.Context, w *world, f file, list []lsEntry) {
	long := longFormat{c.Numeric, c.Flags, c.Inode, c.Human}
	t := table{right: []bool{true}}
	if c.Long {
		t.right = long.columns()
	}
	for _, e := range list {
		switch {
		case c.Long:
			t.add(append(long.cells(ctx, w, f.vol, e.attr), w.name(e.name)+w.arrow(ctx, f.vol, e.attr))...)
		case c.Inode:
			t.add(fmt.Sprint(e.attr.Ino), w.name(e.name))
		default:
			w.printf("%s\n", w.name(e.name))
		}
	}
	t.print(w, "")
}
