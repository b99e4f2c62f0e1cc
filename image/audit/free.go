package audit

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

var freeFamily = family{
	name: "free", title: "What is free but not empty",
	checks: []check{
		{rules: []*Rule{freeSpaceSecret, freeSpaceData, slackSecret, journalRemnant}, scope: disk, look: lookFree},
	},
}

var (
	freeSpaceSecret = &Rule{
		ID: "free-space-secret", Title: "free space holds a secret",
		Systems: Any, Severity: Error, Slow: true,
		Reason:   "What was removed or overwritten while the image was built can be read by everybody who has it.",
		Evidence: "free blocks, the space between partitions and behind file systems: forms of keys, tokens and password hashes, and copies of the secrets that other rules have found",
		Fix:      safe(Zero, "seal --scrub writes zeros over what is free"), Reference: "zerofree(8), fstrim(8)",
	}
	freeSpaceData = &Rule{
		ID: "free-space-data", Title: "free space is not empty",
		Systems: Any, Severity: Info, Slow: true,
		Reason:   "It makes the image larger when it is compressed, differs from build to build, and holds what nobody looks through.",
		Evidence: "bytes of free blocks, of the space between partitions and of slack that are not zero",
		Fix:      safe(Zero, "seal --scrub writes zeros over what is free, or gives it back to the host"), Reference: "zerofree(8)",
	}
	slackSecret = &Rule{
		ID: "slack-secret", Title: "slack holds a secret",
		Systems: Any, Severity: Error, Slow: true,
		Reason:   "A file system leaves what it no longer shows where it was: behind the ends of files, between names, in inodes.",
		Evidence: "ends of files in their last block, preallocated blocks, removed names, deleted inodes and FAT entries: forms of keys, tokens and password hashes, and copies of the secrets that other rules have found",
		Fix:      safe(Zero, "seal --scrub writes zeros over slack"),
	}
	journalRemnant = &Rule{
		ID: "fs-journal-remnant", Title: "a journal holds what was written while the image was built",
		Systems: Any, Severity: Warning, Slow: true,
		Reason:   "Directories and inodes are in it as they were, with names of what was removed and the contents of small files; it differs from build to build.",
		Evidence: "blocks of the journal of ext4 that are not zero although nothing has to be replayed; an error if a secret is among them",
		Fix:      provided("the file system was unmounted cleanly", Zero, "seal --scrub writes zeros over the journal"), Reference: "ext4(5)",
	}
)

// A leftover is what the remnants of one kind in a volume come to.
type leftover struct {
	bytes   int64 // in units that are not zeros
	first   int64 // where
	secrets map[string]*hit
}

// A hit is how often a secret was found, and where first.
type hit struct {
	times int
	first int64
}

// remember keeps a part of the secret that a finding is about, so that copies of
// it are found.
func (a *auditor) remember(f *Finding) {
	if f.exact == nil || len(a.exact) >= maxPerRule {
		return
	}
	word := f.exact
	f.exact = nil
	if !slices.ContainsFunc(a.exact, func(n needle) bool { return string(n.word) == string(word) }) {
		a.exact = append(a.exact, needle{kind: "a copy of what is in " + f.Where(), word: word})
	}
}

// lookFree looks through everything that is free, volume by volume. It comes
// last, when the secrets that are in files are known.
func lookFree(s *scan) {
	d := s.audit.target.Disk
	if d == nil {
		return
	}
	m := newMatcher(append(formNeedles(), s.audit.exact...))
	for _, v := range s.audit.target.Volumes {
		if v.Partition == nil || s.ctx.Err() != nil {
			continue
		}
		x := &sifter{scan: s, match: m, dev: v.Partition.Device(), buf: make([]byte, siftBytes)}
		switch {
		case v.Tree != nil:
			s.siftVolume(x, v)
		case v.Partition.Content.Kind == image.KindEmpty, v.Partition.Content.Kind == image.KindUnknown:
			x.sift(vfs.FreeSpace, 0, x.dev.Size())
			x.flush()
		}
		s.report(x, v)
	}
	x := &sifter{scan: s, match: m, dev: d.Device(), buf: make([]byte, siftBytes)}
	for _, g := range d.Gaps() {
		x.taken = !g.Spare // by tables and boot loaders
		x.sift(vfs.FreeSpace, g.Off, g.Len)
		x.flush()
	}
	s.report(x, &Volume{ID: "disk", number: len(s.audit.target.Volumes)})
}

// siftVolume looks through the remnants of a file system.
func (s *scan) siftVolume(x *sifter, v *Volume) {
	all, ok := v.Tree.FS().(vfs.Remnants)
	if !ok {
		return // packed, without gaps
	}
	for r, err := range all.Remnants(s.ctx) {
		if err != nil {
			s.unread("", &fault{v, "", err})
			break
		}
		x.sift(r.Kind, r.Off, r.Len)
	}
	x.flush()
}

// report makes findings of what a sifter has found.
func (s *scan) report(x *sifter, v *Volume) {
	if x.err != nil {
		s.unread("", &fault{v, "", x.err})
	}
	var data []string
	first := int64(-1)
	for kind := vfs.FreeSpace; kind <= vfs.BehindEnd; kind++ {
		l := x.left[kind]
		if l == nil {
			continue
		}
		rule := ruleOf(kind)
		for _, name := range slices.Sorted(maps.Keys(l.secrets)) {
			h := l.secrets[name]
			s.of(rule, v, kind.String()+": "+name, shown("%s", times(h.times)), offset(h.first), s.as(Error))
		}
		switch {
		case l.bytes == 0:
		case rule == journalRemnant:
			if len(l.secrets) == 0 {
				s.of(rule, v, "blocks that are not zero", shown("%s", bytesOf(l.bytes)), offset(l.first))
			}
		default:
			data = append(data, fmt.Sprintf("%s of %s", bytesOf(l.bytes), kind))
			if first < 0 || l.first < first {
				first = l.first
			}
		}
	}
	if len(data) > 0 {
		s.of(freeSpaceData, v, "bytes that are not zero where nothing is", shown("%s", strings.Join(data, ", ")), offset(first))
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// ruleOf is the rule that a secret breaks in a remnant of a kind.
func ruleOf(kind vfs.RemnantKind) *Rule {
	switch kind {
	case vfs.FileSlack, vfs.DirSlack, vfs.MetaSlack:
		return slackSecret
	case vfs.LogSlack:
		return journalRemnant
	}
	return freeSpaceSecret
}

// siftBytes is how much is read at once, and siftUnit how finely what is zero is
// told from what is not.
const (
	siftBytes = 1 << 20
	siftUnit  = 512
)

// A sifter looks through ranges of a device. What follows a range on the device
// and is of its kind is looked through as one with it.
type sifter struct {
	*scan
	match *matcher
	dev   blockio.Device
	buf   []byte
	err   error
	left  [vfs.BehindEnd + 1]*leftover
	taken bool // something is meant to be there: only secrets count

	kind    vfs.RemnantKind // of the range that waits for more
	off, to int64
}

// sift takes a range in.
func (x *sifter) sift(kind vfs.RemnantKind, off, n int64) {
	if kind == x.kind && off == x.to {
		x.to += n
		return
	}
	x.flush()
	x.kind, x.off, x.to = kind, off, off+n
}

// flush looks through the range that waits.
func (x *sifter) flush() {
	kind, off, end := x.kind, x.off, min(x.to, x.dev.Size())
	x.kind, x.off, x.to = 0, 0, 0
	if kind == 0 {
		return
	}
	// The buffer has have bytes, which lie at start; in those in front of from
	// nothing begins that was not found.
	have, from, start := 0, 0, off
	for off < end && x.err == nil && x.ctx.Err() == nil {
		if end-off >= siftBytes/16 {
			if next := blockio.NextData(x.dev, off); next > off {
				x.search(kind, x.buf[:have], from, have, start)
				have, from, start, off = 0, 0, next, next
				continue
			}
		}
		part := x.buf[have:min(int64(len(x.buf)), int64(have)+end-off)]
		if n, err := x.dev.ReadAt(part, off); n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			x.err = err
			return
		}
		x.count(kind, part, off)
		have, off = have+len(part), off+int64(len(part))
		whole := have
		if off < end {
			whole = max(from, have-matchRoom) // what begins behind may go on
		}
		x.search(kind, x.buf[:have], from, whole, start)
		keep := min(have, matchRoom+lookBack)
		copy(x.buf, x.buf[have-keep:have])
		from, start, have = whole-(have-keep), start+int64(have-keep), keep
	}
}

// leftover returns what was found in remnants of a kind.
func (x *sifter) leftover(kind vfs.RemnantKind) *leftover {
	if x.left[kind] == nil {
		x.left[kind] = &leftover{first: -1, secrets: map[string]*hit{}}
	}
	return x.left[kind]
}

// count counts what is not zero in b, which lies at off.
func (x *sifter) count(kind vfs.RemnantKind, b []byte, off int64) {
	for len(b) > 0 {
		unit := b[:min(len(b), siftUnit)]
		if !x.taken && !blockio.IsZero(unit) {
			l := x.leftover(kind)
			if l.bytes == 0 || off < l.first {
				l.first = off
			}
			l.bytes += int64(len(unit))
		}
		b, off = b[len(unit):], off+int64(len(unit))
	}
}

// search looks for secrets whose words begin in b[from:to], where b lies at
// start.
func (x *sifter) search(kind vfs.RemnantKind, b []byte, from, to int, start int64) {
	x.match.each(b, from, to, func(what string, at int) {
		l := x.leftover(kind)
		h := l.secrets[what]
		if h == nil {
			h = &hit{first: start + int64(at)}
			l.secrets[what] = h
		}
		h.times++
	})
}
