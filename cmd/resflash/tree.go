package main

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

type treeCmd struct {
	Level     int    `short:"L" placeholder:"N" help:"Go down N directories at most."`
	Directory bool   `short:"d" help:"Directories only."`
	All       bool   `short:"a" help:"Names that begin with a dot as well."`
	JSON      bool   `name:"json" help:"Print a JSON document."`
	File      string `arg:"" name:"file" help:"IMAGE, IMAGE:VOLUME, IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*treeCmd) Help() string {
	return addressHelp + `

	resflash tree -L 2 disk.img:/etc
	resflash tree -d disk.img:efi

--json prints the directory as {"name", "type", "inode", "entries": […]}, nested.` + exitStatus
}

// treeJSON is a file as tree --json prints it.
type treeJSON struct {
	Name      string      `json:"name"`
	NameBytes []byte      `json:"nameBytes,omitempty"`
	Type      string      `json:"type"`
	Inode     vfs.Ino     `json:"inode"`
	Target    string      `json:"target,omitempty"`
	Entries   []*treeJSON `json:"entries,omitempty"`
}

// Run prints the tree.
func (c *treeCmd) Run(ctx context.Context, w *world) error {
	f, err := w.file(ctx, c.File, false)
	if err != nil {
		return err
	}
	t := &treeWalk{treeCmd: c, w: w, f: f, seen: map[vfs.Ino]bool{}}
	root := &treeJSON{Name: f.real, NameBytes: bytesIfInvalid(f.real), Type: typeName(f.attr.Mode), Inode: f.attr.Ino}
	if !c.JSON {
		w.printf("%s\n", w.name(f.text))
	}
	if f.attr.Mode.IsDir() {
		if err := t.directory(ctx, f.real, f.attr.Ino, "", 1, root); err != nil {
			return err
		}
	}
	if c.JSON {
		if err := w.document(root); err != nil {
			return err
		}
		return w.done()
	}
	w.printf("\n%s, %s\n", plural(t.dirs, "directory", "directories"), plural(t.files, "file", "files"))
	return w.done()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

type treeWalk struct {
	*treeCmd
	w           *world
	f           file
	seen        map[vfs.Ino]bool
	dirs, files int
}

// maxTreeDepth bounds the recursion; no sane path is deeper.
const maxTreeDepth = 2048

func (t *treeWalk) directory(ctx context.Context, dir string, ino vfs.Ino, indent string, depth int, node *treeJSON) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	problem := t.w.problem(t.f.address)
	if t.seen[ino] || depth > maxTreeDepth {
		return problem(dir, vfs.Corruptf(-1, "directory", "contains itself, or has two parents"))
	}
	t.seen[ino] = true
	list, err := t.f.vol.Tree.List(ctx, ino)
	if err != nil {
		problem(dir, err)
	}
	type item struct {
		vfs.DirEntry
		attr vfs.Attr
	}
	var items []item
	for _, e := range list {
		if !t.All && strings.HasPrefix(e.Name, ".") {
			continue
		}
		a := vfs.Attr{Ino: e.Ino, Mode: e.Type}
		if e.Type == 0 {
			if a, err = t.f.vol.FS.Getattr(ctx, e.Ino); err != nil {
				problem(path.Join(dir, e.Name), err)
				continue
			}
		}
		if !t.Directory || a.Mode.IsDir() {
			items = append(items, item{e, a})
		}
	}
	for i, e := range items {
		branch, below := "├── ", "│   "
		if i == len(items)-1 {
			branch, below = "└── ", "    "
		}
		child := &treeJSON{Name: e.Name, NameBytes: bytesIfInvalid(e.Name), Type: typeName(e.attr.Mode), Inode: e.Ino}
		if t.JSON {
			if e.attr.Mode.IsSymlink() {
				child.Target, _ = t.f.vol.FS.Readlink(ctx, e.Ino)
			}
			node.Entries = append(node.Entries, child)
		} else {
			t.w.printf("%s%s%s%s\n", indent, branch, t.w.name(e.Name), t.w.arrow(ctx, t.f.vol, e.attr))
		}
		if !e.attr.Mode.IsDir() {
			t.files++
			continue
		}
		t.dirs++
		if t.Level > 0 && depth >= t.Level {
			continue
		}
		if err := t.directory(ctx, path.Join(dir, e.Name), e.Ino, indent+below, depth+1, child); err != nil {
			return err
		}
	}
	return nil
}
