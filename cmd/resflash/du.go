package main

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/export"
)

type duCmd struct {
	Summarize    bool     `short:"s" help:"Only the sum of each argument."`
	Human        bool     `short:"h" help:"Sizes in K, M, G (powers of 1024), not in KiB."`
	ApparentSize bool     `help:"Lengths of files, not the space allocated for them."`
	Depth        int      `short:"d" default:"-1" placeholder:"N" help:"Print directories down to depth N; all are counted."`
	JSON         bool     `name:"json" help:"Print a JSON document."`
	Files        []string `arg:"" name:"file" help:"IMAGE, IMAGE:VOLUME, IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*duCmd) Help() string {
	return addressHelp + `

A file with several names is counted once.

	resflash du -sh disk.img:/usr disk.img:/var
	resflash du -h -d 1 disk.img:inactive

--json prints an array of {"address", "path", "bytes"}, always in bytes.` + exitStatus
}

// duJSON is an element of what du --json prints.
type duJSON struct {
	Address   string `json:"address"` // as it was typed
	Path      string `json:"path"`    // in the volume
	PathBytes []byte `json:"pathBytes,omitempty"`
	Bytes     int64  `json:"bytes"`
}

// Run sums up.
func (c *duCmd) Run(ctx context.Context, w *world) error {
	if c.Summarize {
		c.Depth = 0
	}
	array := &jsonArray{w: w}
	for _, text := range c.Files {
		f, err := w.file(ctx, text, false)
		if err != nil {
			w.fail(err)
			continue
		}
		if err := c.one(ctx, w, f, array); err != nil {
			return addressError(f.address, err)
		}
	}
	if c.JSON {
		array.end()
	}
	return w.done()
}

// duDir is a directory whose sum is not complete.
type duDir struct {
	path  string
	bytes int64
}

func (c *duCmd) one(ctx context.Context, w *world, f file, array *jsonArray) error {
	var stack []duDir
	pop := func() error {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if len(stack) > 0 {
			stack[len(stack)-1].bytes += d.bytes
		}
		if c.Depth >= 0 && len(stack) > c.Depth {
			return nil
		}
		return c.print(w, f, d, array)
	}
	opt := &export.Options{Problem: w.problem(f.address)}
	err := export.Walk(ctx, f.vol.Tree, f.real, opt, func(e *export.Entry) error {
		n := e.Attr.Blocks * 512
		if c.ApparentSize {
			n = e.Attr.Size
		}
		if e.First != "" {
			n = 0
		}
		for len(stack) > 0 && !below(e.Real, stack[len(stack)-1].path) {
			if err := pop(); err != nil {
				return err
			}
		}
		if e.Attr.Mode.IsDir() || len(stack) == 0 {
			stack = append(stack, duDir{path: e.Real})
		}
		stack[len(stack)-1].bytes += n
		return nil
	})
	for len(stack) > 0 && err == nil {
		err = pop()
	}
	return err
}

// below reports whether the file at p lies in the directory dir.
func below(p, dir string) bool {
	if dir == "/" {
		return true
	}
	return len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/'
}

func (c *duCmd) print(w *world, f file, d duDir, array *jsonArray) error {
	if c.JSON {
		return array.add(duJSON{f.text, d.path, bytesIfInvalid(d.path), d.bytes})
	}
	text := fmt.Sprint((d.bytes + 1023) / 1024)
	if c.Human {
		text = shortSize(d.bytes)
	}
	w.printf("%s\t%s\n", text, w.name(f.sibling(d.path)))
	return nil
}
