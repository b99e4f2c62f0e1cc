package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"syscall"
	"unicode/utf8"

	"github.com/resflash/resflash/image/vfs"
)

// A Difference is a file that two images do not have alike.
type Difference struct {
	Volume    string   `json:"volume,omitempty"` // id in the first image
	Other     string   `json:"other,omitempty"`  // id in the second
	Path      string   `json:"path,omitempty"`
	PathBytes []byte   `json:"pathBytes,omitempty"` // of a path that is not UTF-8
	In        string   `json:"in"`                  // InBoth, InFirst, InSecond
	Changed   []string `json:"changed"`             // "content", "mode", "owner" …
	Cause     string   `json:"cause"`               // ByRule, ByNoise, or "" for what nothing explains
	Rule      string   `json:"rule,omitempty"`      // of ByRule
	Reason    string   `json:"reason,omitempty"`
}

// Where a file is.
const (
	InBoth   = "both"
	InFirst  = "first"
	InSecond = "second"
)

// What explains a difference.
const (
	ByRule  = "rule"  // what a rule found there
	ByNoise = "noise" // pages of a database, stamps of time: no two builds have the same
)

// side is a volume of one of the images, and what an audit has found in it.
type side struct {
	vol      *Volume
	findings map[string][]*Finding // by path in the volume
}

func newSide(v *Volume, r *Report) side {
	s := side{v, map[string][]*Finding{}}
	for _, f := range r.Findings {
		if f.Volume == v.ID && f.Path != "" {
			s.findings[f.Path] = append(s.findings[f.Path], f)
		}
	}
	return s
}

// A differ walks through two volumes at once.
type differ struct {
	ctx   context.Context
	into  *Comparison
	sides [2]side
	bufs  [2][]byte
}

func (d *differ) compare() error {
	var roots [2]*vfs.Attr
	for i, s := range d.sides {
		attr, err := s.vol.Tree.FS().Getattr(d.ctx, s.vol.Tree.FS().Root())
		if err != nil {
			d.unread(i, "/", err)
			return d.ctx.Err()
		}
		roots[i] = &attr
	}
	_, err := d.visit("/", roots, 0)
	return err
}

// outcome is what came of comparing a file and all that is in it.
type outcome struct {
	unexplained bool        // there is something that nothing explains
	explained   *Difference // the first that something does
}

func (o *outcome) add(other outcome) {
	o.unexplained = o.unexplained || other.unexplained
	if o.explained == nil {
		o.explained = other.explained
	}
}

// visit compares what is at a path; nil stands for nothing.
func (d *differ) visit(path string, attrs [2]*vfs.Attr, depth int) (outcome, error) {
	if err := d.ctx.Err(); err != nil {
		return outcome{}, err
	}
	p := &pair{differ: d, path: path, attrs: attrs}
	changed := p.changed()
	if err := d.ctx.Err(); err != nil {
		return outcome{}, err
	}
	var at *Difference
	if len(changed) > 0 {
		at = p.difference(changed)
		d.into.add(at)
		if at.In != InBoth && at.Cause != "" {
			return outcome{explained: at}, nil // with all that is in it
		}
	}
	var inside outcome
	if depth < maxDepth {
		var err error
		if inside, err = d.children(path, attrs, depth); err != nil {
			return outcome{}, err
		}
	}
	if at == nil {
		return inside, nil
	}
	// A directory that is in one image only is there for what is in it.
	if first := inside.explained; at.In != InBoth && first != nil && !inside.unexplained {
		at.Cause, at.Rule, at.Reason = first.Cause, first.Rule, "the directory of what is explained"
	}
	inside.add(outcome{unexplained: at.Cause == ""})
	return inside, nil
}

// children compares what is in directories.
func (d *differ) children(dir string, attrs [2]*vfs.Attr, depth int) (all outcome, err error) {
	names := map[string]bool{}
	for i, a := range attrs {
		if a == nil || !a.Mode.IsDir() {
			continue
		}
		entries, err := d.sides[i].vol.Tree.List(d.ctx, a.Ino)
		if err != nil {
			d.unread(i, dir, err)
			return all, d.ctx.Err()
		}
		for _, e := range entries {
			names[e.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var below [2]*vfs.Attr
		broken := false
		for i, a := range attrs {
			if a == nil || !a.Mode.IsDir() {
				continue
			}
			attr, err := d.sides[i].vol.Tree.FS().Lookup(d.ctx, a.Ino, name)
			switch {
			case err == nil:
				below[i] = &attr
			case !missing(err):
				d.unread(i, join(dir, name), err)
				broken = true
			}
		}
		if broken || below == [2]*vfs.Attr{} {
			continue
		}
		more, err := d.visit(join(dir, name), below, depth+1)
		if err != nil {
			return all, err
		}
		all.add(more)
	}
	return all, nil
}

func (d *differ) unread(side int, path string, err error) {
	if d.ctx.Err() == nil && len(d.into.Unknown) < maxPerRule {
		image := []string{d.into.First, d.into.Second}[side]
		d.into.Unknown = append(d.into.Unknown, &Gap{Volume: d.sides[side].vol.ID, Path: path, Reason: image + ": " + err.Error()})
	}
}

// A pair is what two images have at one path.
type pair struct {
	*differ
	path  string
	attrs [2]*vfs.Attr
	texts [2][]byte // contents, once they were wanted
}

// changed lists in what two files differ.
func (p *pair) changed() []string {
	a, b := p.attrs[0], p.attrs[1]
	if a == nil || b == nil {
		return []string{"presence"}
	}
	if a.Mode.Type() != b.Mode.Type() {
		return []string{"type"}
	}
	var list []string
	note := func(differs bool, what string) {
		if differs {
			list = append(list, what)
		}
	}
	switch {
	case a.Mode.IsRegular():
		note(a.Size != b.Size || !p.sameContent(), "content")
	case a.Mode.IsSymlink():
		note(p.target(0) != p.target(1), "target")
	case a.Mode.IsDevice():
		note(a.Rdev != b.Rdev, "device")
	}
	note(a.Mode != b.Mode, "mode")
	note(a.UID != b.UID || a.GID != b.GID, "owner")
	note(a.Flags != b.Flags, "flags")
	note(!maps.EqualFunc(p.xattrs(0), p.xattrs(1), bytes.Equal), "xattrs")
	return list
}

func (p *pair) target(i int) string {
	s, err := p.sides[i].vol.Tree.FS().Readlink(p.ctx, p.attrs[i].Ino)
	if err != nil {
		p.unread(i, p.path, err)
	}
	return s
}

func (p *pair) xattrs(i int) map[string][]byte {
	x, ok := p.sides[i].vol.Tree.FS().(vfs.Xattrer)
	if !ok {
		return nil
	}
	all, err := x.Xattrs(p.ctx, p.attrs[i].Ino)
	if err != nil {
		p.unread(i, p.path, err)
	}
	return all
}

// sameContent compares two files of one size. What neither has stored is not
// read: a sparse file may claim any size.
func (p *pair) sameContent() bool {
	size := p.attrs[0].Size
	for i := range p.bufs {
		if p.bufs[i] == nil {
			p.bufs[i] = make([]byte, 256<<10)
		}
	}
	for off := int64(0); off < size; {
		if off = min(p.nextData(0, off), p.nextData(1, off)); off >= size {
			break
		}
		n := min(size-off, int64(len(p.bufs[0])))
		for i := range p.bufs {
			got, err := p.sides[i].vol.Tree.FS().ReadAt(p.ctx, p.attrs[i].Ino, p.bufs[i][:n], off)
			if err != nil && (err != io.EOF || int64(got) < n) {
				p.unread(i, p.path, err)
				return true // it is unknown
			}
		}
		if !bytes.Equal(p.bufs[0][:n], p.bufs[1][:n]) {
			return false
		}
		off += n
	}
	return true
}

// nextData is where a file has something stored, at off or behind it.
func (p *pair) nextData(i int, off int64) int64 {
	h, ok := p.sides[i].vol.Tree.FS().(vfs.HoleSeeker)
	if !ok {
		return off
	}
	next, err := h.SeekData(p.ctx, p.attrs[i].Ino, off)
	switch {
	case errors.Is(err, syscall.ENXIO):
		return p.attrs[i].Size
	case err != nil || next < off:
		return off
	}
	return next
}

// content returns what is in a regular file, up to a bound; nil if there is
// more, or nothing.
func (p *pair) content(i int) []byte {
	a := p.attrs[i]
	if a == nil || !a.Mode.IsRegular() || a.Size > maxMasked {
		return nil
	}
	if p.texts[i] == nil {
		buf := make([]byte, max(a.Size, 0))
		n, err := p.sides[i].vol.Tree.FS().ReadAt(p.ctx, a.Ino, buf, 0)
		if err != nil && err != io.EOF {
			p.unread(i, p.path, err)
		}
		p.texts[i] = buf[:n]
	}
	return p.texts[i]
}

// difference describes what was found, with what explains it.
func (p *pair) difference(changed []string) *Difference {
	d := &Difference{Path: p.path, In: InBoth, Changed: changed}
	if !utf8.ValidString(p.path) {
		d.PathBytes = []byte(p.path)
	}
	if p.attrs[0] != nil {
		d.Volume = p.sides[0].vol.ID
	} else {
		d.In = InSecond
	}
	if p.attrs[1] != nil {
		d.Other = p.sides[1].vol.ID
	} else {
		d.In = InFirst
	}
	p.explain(d)
	return d
}
