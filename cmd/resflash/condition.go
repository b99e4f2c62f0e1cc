package main

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
)

// conditions makes the conditions that were asked for, the cheap ones first.
func (c *findCmd) conditions(ctx context.Context, w *world, f file) ([]condition, error) {
	var list []condition
	attr := func(ok func(a *vfs.Attr) bool) {
		list = append(list, func(_ context.Context, e *export.Entry) (bool, error) { return ok(&e.Attr), nil })
	}
	fail := func(err error) ([]condition, error) { return nil, usageError("resflash help find", err) }

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
		list = append(list, func(_ context.Context, e *export.Entry) (bool, error) { return path.Match(g.glob, g.of(e)) })
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
		list = append(list, func(ctx context.Context, e *export.Entry) (bool, error) {
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
		list = append(list, func(ctx context.Context, e *export.Entry) (bool, error) {
			all, err := x.Xattrs(ctx, e.Attr.Ino)
			_, has := all[c.Xattr]
			return has, err
		})
	}
	return list, nil
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
	t, err := parseTime(s)
	if err != nil {
		err = usageError("resflash help find", fmt.Errorf("%w, or a path in the volume", err))
	}
	return t, err
}
