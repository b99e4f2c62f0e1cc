package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// A scan is one check at work in one view.
type scan struct {
	*view
	ctx   context.Context
	audit *auditor
	check *check
}

// A file is something that was found in a view.
type file struct {
	path string // in the view
	vol  *Volume
	at   string // path in the volume
	attr vfs.Attr
	via  string // path in the view of the symbolic link that led here, if one did
}

// file makes a file of a node; nil for the ways to mounts.
func (n *node) file() *file {
	if len(n.parts) == 0 {
		return nil
	}
	p := n.parts[0]
	return &file{path: n.path, vol: p.vol, at: p.path, attr: p.attr}
}

func (f *file) name() string    { return path.Base(f.path) }
func (f *file) isRegular() bool { return f.attr.Mode.IsRegular() }
func (f *file) isDir() bool     { return f.attr.Mode.IsDir() }

// filled reports whether it is a regular file with something in it.
func (f *file) filled() bool { return f != nil && f.isRegular() && f.attr.Size > 0 }

// unread records that something could not be read, which makes the rules of
// the check unknown.
func (s *scan) unread(name string, err error) {
	if err == nil || missing(err) {
		return
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			s.unread(name, e)
		}
		return
	}
	id, at := "", name
	var where *fault
	switch {
	case errors.As(err, &where):
		id, at, err = where.vol.ID, where.path, where.err
	case s.volume != nil:
		id = s.volume.ID
	case s.installed != nil:
		id = s.installed.Root.ID
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	s.audit.gap(s, id, at, err)
}

// link returns what is at a path, without following a symbolic link in the
// last place; nil if nothing is.
func (s *scan) link(name string) *file { return s.find(name, false) }

// stat returns what is at a path, following symbolic links.
func (s *scan) stat(name string) *file { return s.find(name, true) }

func (s *scan) find(name string, follow bool) *file {
	n, err := s.resolve(s.ctx, name, follow)
	if err != nil {
		s.unread(name, err)
		return nil
	}
	f := n.file()
	if follow && f != nil && f.path != name {
		// A link on the way, such as /var/run, is another matter.
		if l := s.link(name); l != nil && l.attr.Mode.IsSymlink() {
			f.via = l.path
		}
	}
	return f
}

// exists reports whether a path leads to something.
func (s *scan) exists(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return s.stat(name) != nil })
}

// links returns what matches any of the patterns, symbolic links as such. A
// pattern in braces, "{a,b}", stands for both.
func (s *scan) links(patterns ...string) []*file {
	var all []*file
	for _, pattern := range expand(patterns) {
		for _, n := range s.glob(s.ctx, pattern, s.unread) {
			if f := n.file(); f != nil {
				all = append(all, f)
			}
		}
	}
	return all
}

// files returns the regular files that match any of the patterns, or that
// symbolic links among them lead to; each once.
func (s *scan) files(patterns ...string) []*file {
	var all []*file
	for _, f := range s.links(patterns...) {
		if f.attr.Mode.IsSymlink() {
			if f = s.stat(f.path); f == nil {
				continue
			}
		}
		if !f.isRegular() {
			continue
		}
		i := slices.IndexFunc(all, func(g *file) bool { return g.vol == f.vol && g.attr.Ino == f.attr.Ino })
		switch {
		case i < 0:
			all = append(all, f)
		case f.via == "":
			all[i].via = "" // it is what is looked for, links or no links
		}
	}
	return all
}

// expand takes the braces out of patterns.
func expand(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		open := strings.IndexByte(p, '{')
		end := strings.IndexByte(p, '}')
		if open < 0 || end < open {
			all = append(all, p)
			continue
		}
		for word := range strings.SplitSeq(p[open+1:end], ",") {
			all = append(all, expand([]string{p[:open] + word + p[end+1:]})...)
		}
	}
	return all
}

// maxText bounds what is read of a text: configuration is small, and a sparse
// file may claim any size.
const maxText = 1 << 20

// head returns the first n bytes of a regular file, or all there are.
func (s *scan) head(f *file, n int64) ([]byte, bool) {
	if f == nil || !f.isRegular() {
		return nil, false
	}
	buf := make([]byte, min(max(f.attr.Size, 0), n))
	got, err := f.vol.Tree.Reader(s.ctx, f.attr).ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		s.unread(f.path, &fault{f.vol, f.at, err})
		return nil, false
	}
	return buf[:got], true
}

// text returns the start of a file that is a text.
func (s *scan) text(f *file) string {
	b, _ := s.head(f, maxText)
	return string(b)
}

// read is text of the file at a path; empty if there is none.
func (s *scan) read(name string) string { return s.text(s.stat(name)) }

// lines yields the lines of a text with their numbers, without blanks around
// them and without those that are empty or begin with a comment sign.
func lines(text string, comment string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimSpace(line)
			if line == "" || comment != "" && strings.ContainsAny(line[:1], comment) {
				continue
			}
			if !yield(n, line) {
				return
			}
		}
	}
}

// A detail adds something to a finding.
type detail func(*Finding)

// secret says of what kind and how long a secret is, with a fingerprint. It is
// for values that nobody can guess.
func secret(kind string, value []byte) detail {
	return func(f *Finding) {
		f.value, f.exact = digest(value), exactNeedle(value)
		f.secret = f.value
		f.Evidence = fmt.Sprintf("%s, %s, fingerprint %s", kind, bytesOf(int64(len(value))), f.value)
	}
}

// guessable says of what kind a secret is that could be found by trying: no
// fingerprint, no length. The value is only for comparing it with others.
func guessable(kind string, value ...string) detail {
	return func(f *Finding) {
		f.Evidence = kind
		if len(value) > 0 {
			f.secret = digest([]byte(strings.Join(value, "\x00")))
		}
	}
}

// shown is evidence that is no secret.
func shown(format string, args ...any) detail {
	return func(f *Finding) { f.Evidence = fmt.Sprintf(format, args...) }
}

// known is evidence that is no secret and tells findings apart.
func known(value string) detail {
	return func(f *Finding) { f.Evidence, f.value = value, value }
}

// line says where in the file it is.
func line(n int) detail { return func(f *Finding) { f.Line = n } }

// at is the place of what has no path, in bytes from the start of the volume.
func offset(n int64) detail { return func(f *Finding) { f.Offset = &n } }

// as gives another severity than the rule's, unless the profile or the policy
// has its own.
func (s *scan) as(severity Severity) detail {
	return func(f *Finding) {
		if _, own := f.rule.Profiles[s.audit.opt.Profile]; !own && s.audit.policy.severity(f.rule) == nil {
			f.Severity = severity
		}
	}
}

// chmodTo is what the fix sets the permissions to.
func chmodTo(perm vfs.Mode) detail { return func(f *Finding) { f.Perm = perm } }

// note says something about the fix.
func note(format string, args ...any) detail {
	return func(f *Finding) { f.FixNote = fmt.Sprintf(format, args...) }
}

// bytesOf prints a number of bytes.
func bytesOf(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// found reports that a rule is broken by a file.
func (s *scan) found(r *Rule, f *file, message string, details ...detail) {
	x := &Finding{Message: message, Volume: f.vol.ID, Role: f.vol.Role, Path: f.at, Link: f.via, Inode: uint64(f.attr.Ino), volume: f.vol.number}
	s.audit.add(s, r, x, details)
}

// absent reports that a rule is broken because something is not there.
func (s *scan) absent(r *Rule, name, message string, details ...detail) {
	vol := s.volume
	if s.installed != nil {
		vol = s.installed.Root
	}
	x := &Finding{Message: message, Volume: vol.ID, Role: vol.Role, Path: name, volume: vol.number}
	s.audit.add(s, r, x, details)
}

// of reports that a rule is broken by a volume as a whole.
func (s *scan) of(r *Rule, vol *Volume, message string, details ...detail) {
	x := &Finding{Message: message, Volume: vol.ID, Role: vol.Role, volume: vol.number}
	s.audit.add(s, r, x, details)
}
