package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
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

// A test is one condition.
type test func(ctx context.Context, e *export.Entry) (bool, error)

// Run finds files.
func (c *findCmd) Run(ctx context.Context, w *world) error {
	array := &jsonArray{w: w}
	for _, text := range c.Files {
		f, err := w.file(ctx, text, false)
		if err != nil {
			w.fail(err)
			continue
		}
		tests, err := c.tests(ctx, w, f)
		if err != nil {
			return err
		}
		if err := c.walk(ctx, w, f, tests, array); err != nil {
			return addressError(f.address, err)
		}
	}
	if c.JSON {
		array.end()
	}
	return w.done()
}

func (c *findCmd) walk(ctx context.Context, w *world, f file, tests []test, array *jsonArray) error {
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
		for _, t := range tests {
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

// tests makes the conditions that were asked for, the cheap ones first.
func (c *findCmd) tests(ctx context.Context, w *world, f file) ([]test, error) {
	var tests []test
	attr := func(ok func(a *vfs.Attr) bool) {
		tests = append(tests, func(_ context.Context, e *export.Entry) (bool, error) { return ok(&e.Attr), nil })
	}
	fail := func(err error) ([]test, error) { return nil, usageError("resflash help find", err) }

	if c.Type != "" {
		types := map[vfs.Mode]bool{}
		for _, l := range strings.ReplaceAll(c.Type, ",", "") {
			t, ok := findTypes[l]
			if !ok {
				return fail(fmt.Errorf("--type %q: want some of f, d, l, b, c, p, s", c.Type))
			}
			types[t] = true
		}
		attr(func(a *vfs.Attr) bool { return types[a.Mode.Type()] })
	}
	for _, g := range []struct {
		glob string
		of   func(e *export.Entry) string
	}{
		{c.Name, func(e *export.Entry) string { return path.Base(e.Real) }},
		{strings.ToLower(c.IName), func(e *export.Entry) string { return strings.ToLower(path.Base(e.Real)) }},
		// path.Match keeps * from matching a slash, so give it none.
		{strings.ReplaceAll(c.Path, "/", "\x00"), func(e *export.Entry) string { return strings.ReplaceAll(e.Real, "/", "\x00") }},
	} {
		if g.glob == "" {
			continue
		}
		if _, err := path.Match(g.glob, ""); err != nil {
			return fail(fmt.Errorf("pattern %q: %w", g.glob, err))
		}
		tests = append(tests, func(_ context.Context, e *export.Entry) (bool, error) { return path.Match(g.glob, g.of(e)) })
	}
	for _, s := range c.Size {
		cmp, err := comparison(s, parseSize)
		if err != nil {
			return fail(err)
		}
		attr(func(a *vfs.Attr) bool { return cmp(a.Size) })
	}
	if c.Links != "" {
		cmp, err := comparison(c.Links, parseSize)
		if err != nil {
			return fail(err)
		}
		attr(func(a *vfs.Attr) bool { return cmp(int64(a.Nlink)) })
	}
	if c.Inum != 0 {
		attr(func(a *vfs.Attr) bool { return uint64(a.Ino) == c.Inum })
	}
	if c.Perm != "" {
		ok, err := permissions(c.Perm)
		if err != nil {
			return fail(err)
		}
		attr(func(a *vfs.Attr) bool { return ok(a.Mode.Perm()) })
	}
	if c.Owner != "" {
		id, ok := lookup(w.owners(ctx, f.vol).users, c.Owner)
		if !ok {
			return fail(fmt.Errorf("--owner %s: the image has no such user", c.Owner))
		}
		attr(func(a *vfs.Attr) bool { return a.UID == id })
	}
	if c.Group != "" {
		id, ok := lookup(w.owners(ctx, f.vol).groups, c.Group)
		if !ok {
			return fail(fmt.Errorf("--group %s: the image has no such group", c.Group))
		}
		attr(func(a *vfs.Attr) bool { return a.GID == id })
	}
	if c.NoOwner {
		users := w.owners(ctx, f.vol).users
		attr(func(a *vfs.Attr) bool { return users[a.UID] == "" })
	}
	if c.Newer != "" {
		t, err := c.moment(ctx, f, c.Newer)
		if err != nil {
			return nil, err
		}
		attr(func(a *vfs.Attr) bool { return a.Mtime.After(t) })
	}
	if c.Older != "" {
		t, err := c.moment(ctx, f, c.Older)
		if err != nil {
			return nil, err
		}
		attr(func(a *vfs.Attr) bool { return a.Mtime.Before(t) })
	}
	if c.Flags != "" {
		attr(func(a *vfs.Attr) bool {
			return strings.Contains(","+export.FlagNames(a.Flags)+",", ","+c.Flags+",")
		})
	}
	if c.Empty {
		tests = append(tests, func(ctx context.Context, e *export.Entry) (bool, error) {
			if !e.Attr.Mode.IsDir() {
				return e.Attr.Mode.IsRegular() && e.Attr.Size == 0, nil
			}
			for _, err := range f.vol.FS.ReadDir(ctx, e.Attr.Ino, 0) {
				return false, err
			}
			return true, nil
		})
	}
	if c.Xattr != "" {
		x, ok := f.vol.FS.(vfs.Xattrer)
		if !ok {
			return nil, &vfs.NotSupportedError{What: "extended attributes of " + f.vol.FS.Info().Type, Off: -1}
		}
		tests = append(tests, func(ctx context.Context, e *export.Entry) (bool, error) {
			all, err := x.Xattrs(ctx, e.Attr.Ino)
			_, has := all[c.Xattr]
			return has, err
		})
	}
	return tests, nil
}

var findTypes = map[rune]vfs.Mode{
	'f': vfs.Regular, 'd': vfs.Dir, 'l': vfs.Symlink, 'b': vfs.Block,
	'c': vfs.Char, 'p': vfs.FIFO, 's': vfs.Socket, 'w': vfs.Whiteout,
}

// comparison reads "N", "+N" or "-N".
func comparison(s string, parse func(string) (int64, error)) (func(int64) bool, error) {
	n, err := parse(strings.TrimLeft(s, "+-"))
	if err != nil {
		return nil, err
	}
	switch s[0] {
	case '+':
		return func(v int64) bool { return v > n }, nil
	case '-':
		return func(v int64) bool { return v < n }, nil
	}
	return func(v int64) bool { return v == n }, nil
}

// permissions reads "MODE", "-MODE" or "/MODE", as find(1) has them.
func permissions(s string) (func(vfs.Mode) bool, error) {
	n, err := strconv.ParseUint(strings.TrimLeft(s, "-/"), 8, 16)
	if err != nil || n > 0o7777 {
		return nil, fmt.Errorf("--perm %q: want an octal mode, perhaps with - or / in front", s)
	}
	mode := vfs.Mode(n)
	switch s[0] {
	case '-':
		return func(m vfs.Mode) bool { return m&mode == mode }, nil
	case '/':
		return func(m vfs.Mode) bool { return m&mode != 0 || mode == 0 }, nil
	}
	return func(m vfs.Mode) bool { return m == mode }, nil
}

// moment is a time, or the time of a file in the volume of f.
func (c *findCmd) moment(ctx context.Context, f file, s string) (time.Time, error) {
	if strings.HasPrefix(s, "/") {
		a, err := f.vol.Tree.Resolve(ctx, s)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", f.sibling(s), leaf(err))
		}
		return a.Mtime, nil
	}
	if sec, ok := strings.CutPrefix(s, "@"); ok {
		if n, err := strconv.ParseInt(sec, 10, 64); err == nil {
			return time.Unix(n, 0), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError("resflash help find", fmt.Errorf("time %q: want 2006-01-02, 2006-01-02T15:04:05Z, @SECONDS or a path in the volume", s))
}
