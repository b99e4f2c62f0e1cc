package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/resflash/resflash/image/export"
)

type findCmd struct {
	Name     string   `placeholder:"GLOB" help:"Last component matches GLOB (*, ?, [a-z])."`
	IName    string   `name:"iname" placeholder:"GLOB" help:"Like --name, upper and lower case alike."`
	Path     string   `placeholder:"GLOB" help:"Path in the volume matches GLOB; * matches slashes as well."`
	Type     string   `placeholder:"LETTERS" help:"Type is one of f, d, l, b, c, p, s."`
	Size     values   `placeholder:"[+-]N" help:"Size is N bytes, more (+) or less (-); units k, M, G."`
	Perm     string   `placeholder:"MODE" help:"Permissions are MODE (octal), have all bits of -MODE, or any of /MODE."`
	Owner    string   `placeholder:"USER" help:"Owner, by number or by the image's own /etc/passwd."`
	Group    string   `placeholder:"GROUP" help:"Group, likewise."`
	NoOwner  bool     `help:"The owner is not in the image's own /etc/passwd."`
	Newer    string   `placeholder:"FILE|TIME" help:"Modified after FILE (a path in the volume) or TIME (2006-01-02, 2006-01-02T15:04:05Z, @SECONDS)."`
	Older    string   `placeholder:"FILE|TIME" help:"Modified before."`
	Flags    string   `placeholder:"FLAG" help:"Has this file flag (schg, uchg, nodump, …)."`
	Xattr    string   `placeholder:"NAME" help:"Has this extended attribute."`
	Links    string   `placeholder:"[+-]N" help:"Has N names, more (+) or less (-)."`
	Inum     uint64   `placeholder:"N" help:"Has inode number N."`
	Empty    bool     `help:"Is a file or directory with nothing in it."`
	MinDepth int      `placeholder:"N" help:"Not above depth N; the argument itself has depth 0."`
	MaxDepth int      `placeholder:"N" default:"-1" help:"Not below depth N."`
	Long     bool     `short:"l" help:"Print lines like ls -ln."`
	Print0   bool     `name:"print0" xor:"out" help:"End names with NUL, for xargs -0."`
	JSON     bool     `name:"json" xor:"out" help:"Print a JSON document."`
	Files    []string `arg:"" name:"file" help:"IMAGE, IMAGE:VOLUME, IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*findCmd) Help() string {
	return addressHelp + `

All conditions must hold. Names are printed as paths in the volume.

	resflash find disk.img:/etc --name '*.conf' --type f
	resflash find disk.img --perm /6000 --type f --long
	resflash find disk.img:inactive --newer 2025-10-01 --size +1M
	resflash find disk.img --perm -0002 --type f --json | jq -r '.[].path'

--json prints an array of FILE as "resflash stat --json" has them.` + exitStatus
}

// values are what a flag was given, each time it was given. Kong's own lists
// refuse a value that looks like a flag, as -10k does.
type values []string

// Decode takes the next word, whatever it is.
func (v *values) Decode(k *kong.DecodeContext) error {
	word := k.Scan.Pop()
	if word.IsEOL() {
		return errors.New("expected a value")
	}
	*v = append(*v, word.String())
	return nil
}

// A condition decides whether a file is printed.
type condition func(ctx context.Context, e *export.Entry) (bool, error)

// Run finds files.
func (c *findCmd) Run(ctx context.Context, w *world) error {
	array := &jsonArray{w: w}
	for _, text := range c.Files {
		f, err := w.file(ctx, text, false)
		if err != nil {
			w.fail(err)
			continue
		}
		conditions, err := c.conditions(ctx, w, f)
		if err != nil {
			return err
		}
		if err := c.walk(ctx, w, f, conditions, array); err != nil {
			return addressError(f.address, err)
		}
	}
	if c.JSON {
		array.end()
	}
	return w.done()
}

func (c *findCmd) walk(ctx context.Context, w *world, f file, conditions []condition, array *jsonArray) error {
	problem := w.problem(f.address)
	long := longFormat{Numeric: true}
	return export.Walk(ctx, f.vol.Tree, f.real, &export.Options{Problem: problem}, func(e *export.Entry) error {
		depth := 0
		if e.Real != f.real {
			depth = 1 + strings.Count(e.Path, "/")
		}
		var prune error
		if c.MaxDepth >= 0 && depth >= c.MaxDepth && e.Attr.Mode.IsDir() {
			prune = fs.SkipDir
		}
		if depth < c.MinDepth || c.MaxDepth >= 0 && depth > c.MaxDepth {
			return prune
		}
		for _, t := range conditions {
			ok, err := t(ctx, e)
			if err != nil {
				problem(e.Real, err)
			}
			if !ok {
				return prune
			}
		}
		switch {
		case c.JSON:
			if err := array.add(w.fileJSON(ctx, f.vol, e.Real, e.Attr)); err != nil {
				return err
			}
		case c.Print0:
			w.printf("%s\x00", e.Real)
		case c.Long:
			w.printf("%s %s%s\n", strings.Join(long.cells(ctx, w, f.vol, e.Attr), " "), w.name(e.Real), w.arrow(ctx, f.vol, e.Attr))
		default:
			w.printf("%s\n", w.name(e.Real))
		}
		return prune
	})
}
