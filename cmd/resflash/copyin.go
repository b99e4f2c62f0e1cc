package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
)

// copyIn copies into an image.
func (c *cpCmd) copyIn(ctx context.Context, e *editor, sources []string, dest string) error {
	into, isDir, err := e.destination(ctx, dest, true)
	if err != nil {
		return err
	}
	if !isDir && (len(sources) > 1 || strings.HasSuffix(into.path, "/") && !c.Recursive) {
		return &exitError{exitNotFound, "", fmt.Errorf("%s: no such directory", dest)}
	}
	job := newCopying(e, c)
	defer job.end()
	// All of them are looked for before anything is copied.
	var list []source
	for _, text := range sources {
		src, err := job.source(ctx, text, isDir)
		if err == nil && src.dir && !c.Recursive {
			err = &exitError{exitUsage, "cp -r copies directories", fmt.Errorf("%s: %w", text, syscall.EISDIR)}
		}
		if err != nil {
			return err
		}
		list = append(list, src)
	}
	for _, src := range list {
		if err := job.one(ctx, src, into, isDir); err != nil {
			return err
		}
	}
	return nil
}

// copying is the work of copying into an image.
type copying struct {
	e   *editor
	c   *cpCmd
	bar *progress
	sum populate.Result
}

func newCopying(e *editor, c *cpCmd) *copying {
	return &copying{e: e, c: c, bar: e.w.progress("copied", 0)}
}

// end says what had to be left out.
func (j *copying) end() {
	j.bar.end()
	if j.sum.Flags > 0 {
		j.e.w.note("file flags of %s left out: the format has none of the kind", plural(int(j.sum.Flags), "file", "files"))
	}
	if j.sum.Xattrs > 0 {
		j.e.w.note("%s left out: the image cannot hold them", plural(int(j.sum.Xattrs), "extended attribute", "extended attributes"))
	}
}

// one copies a source into a directory, or to a place of another name.
func (j *copying) one(ctx context.Context, src source, into target, isDir bool) (err error) {
	at := into
	if isDir && src.name != "." {
		if at, err = j.e.in(ctx, into, src.name); err != nil {
			return err
		}
	}
	if at.attr != nil && at.attr.Mode.IsSymlink() && !j.c.Recursive {
		// What is written goes to where the link leads.
		if err := at.find(ctx, true); err != nil {
			return at.error(err)
		}
	}
	switch {
	case at.attr != nil && at.attr.Mode.IsDir() && !src.dir:
		return at.error(syscall.EISDIR)
	case at.attr == nil && at.slash() && !src.dir:
		return at.error(syscall.ENOTDIR)
	}
	if src.stream != nil {
		defer src.stream.Close()
		return j.stream(ctx, src, at)
	}
	return j.copy(ctx, src, at)
}

// A source is what is copied into an image.
type source struct {
	text   string
	vol    *vfs.Tree // nil: it is on the host
	path   string    // on the host, or in vol
	name   string    // of the copy in a directory; "." if the contents are copied
	dir    bool
	stream *os.File // what is not a file is read from here
	in     address  // if it is in an image
}

// source finds what text names: in an image, on the host, or standard input.
func (j *copying) source(ctx context.Context, text string, isDir bool) (source, error) {
	s := source{text: text}
	if isAddress(text) {
		f, err := j.e.w.file(ctx, text, j.c.Recursive)
		if err != nil {
			return s, err
		}
		if !f.attr.Mode.IsDir() && !f.attr.Mode.IsRegular() && !j.c.Recursive {
			return s, &exitError{exitUsage, "cp -r copies it as what it is", f.fail("has no contents: its type is %s", typeName(f.attr.Mode))}
		}
		s.vol, s.path, s.dir, s.in = f.vol.Tree, f.real, f.attr.Mode.IsDir(), f.address
		s.name = contentsName(f.path)
		return s, nil
	}
	if text == "-" {
		if isDir {
			return s, usageError("", errors.New("standard input has no name: give the copy one"))
		}
		s.stream = os.Stdin
		return s, nil
	}
	return s, s.onHost(j.c.Recursive)
}

// fail is an error about a file.
func (f file) fail(format string, args ...any) error {
	return addressError(f.address, fmt.Errorf(format, args...))
}

// onHost finds the file of the host that text names.
func (s *source) onHost(recursive bool) error {
	stat := os.Stat
	if recursive {
		stat = os.Lstat
	}
	st, err := stat(s.text)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return &exitError{exitNotFound, "", fmt.Errorf("%s: %w", s.text, leaf(err))}
	case err != nil:
		return hostError(err)
	}
	s.path, s.name, s.dir = s.text, contentsName(filepath.ToSlash(s.text)), st.IsDir()
	switch {
	case recursive, st.IsDir():
		return nil
	case st.Mode().IsRegular():
		// Symbolic links are followed, which the library does not.
		if s.path, err = filepath.EvalSymlinks(s.text); err != nil {
			return hostError(err)
		}
		return nil
	}
	// A pipe, a device: what comes out of it is copied.
	if s.stream, err = os.Open(s.text); err != nil {
		return hostError(err)
	}
	return nil
}

// stream copies what is read from a pipe.
func (j *copying) stream(ctx context.Context, src source, at target) error {
	r := &interruptible{ctx: ctx, r: src.stream}
	if src.text == "-" {
		r.r = j.e.w.stdin
	}
	if at.attr != nil && j.c.NoClobber {
		j.e.w.note("%s: exists, left alone", at.text)
		return nil
	}
	owner := j.c.Owner
	if owner == "" {
		owner = "0:0"
	}
	_, err := j.e.replace(ctx, at, r, owner, 0o644, j.bar)
	return err
}

// copy copies a file or directory to its place.
func (j *copying) copy(ctx context.Context, src source, at target) error {
	opt, err := j.options(ctx, src, at)
	if err != nil {
		return err
	}
	if src.dir && src.vol == at.vol.Tree && (at.real == src.path || below(at.real, src.path)) {
		return at.error(fmt.Errorf("%s cannot be copied into itself", src.text))
	}
	dir, name := at.dir.Ino, at.name
	opt.Path = path.Dir(at.real)
	if src.dir && at.attr != nil && at.attr.Mode.IsDir() {
		dir, name, opt.Path = at.attr.Ino, ".", at.real
	}
	var done populate.Result
	if src.vol != nil {
		done, err = populate.CopyTree(ctx, at.fs, src.vol, src.path, dir, name, opt)
	} else {
		done, err = populate.Copy(ctx, at.fs, src.path, dir, name, opt)
	}
	j.sum.Xattrs += done.Xattrs
	j.sum.Flags += done.Flags
	return j.error(src, at, err)
}

// options are those of a copy to a place.
func (j *copying) options(ctx context.Context, src source, at target) (populate.Options, error) {
	opt := populate.Options{
		Progress: j.bar.add, NoClobber: j.c.NoClobber, Plain: !j.c.Preserve, Flags: j.c.Preserve, AllXattrs: os.Geteuid() == 0,
		Problem: func(_ string, err error) error {
			var le *os.LinkError
			if j.c.NoClobber && errors.Is(err, syscall.EEXIST) && errors.As(err, &le) {
				j.bar.end()
				j.e.w.note("%s: exists, left alone", at.sibling(le.New))
				return nil
			}
			return err
		},
	}
	if j.e.records() {
		opt.Made = func(m populate.Made) { j.made(src, at, m) }
	}
	switch {
	case j.c.Owner != "":
		uid, gid, err := j.e.ownerOf(ctx, at, j.c.Owner)
		if err != nil {
			return opt, err
		}
		opt.Owner = func(uint32, uint32) (uint32, uint32) { return uid, gid }
	case j.c.KeepOwner, src.vol != nil && j.c.Preserve:
	default:
		opt.Owner = func(uint32, uint32) (uint32, uint32) { return 0, 0 }
	}
	epoch, ok, err := sourceDateEpoch()
	if ok {
		opt.MaxTime = epoch
	}
	return opt, err
}

// made records what a copy has made.
func (j *copying) made(src source, at target, m populate.Made) {
	from := m.From
	if src.vol != nil {
		from = src.in.sibling(m.From)
	}
	c := change{Type: typeName(m.Node.Mode), From: from}
	if m.Node.Mode.IsRegular() {
		c.Size = &m.Size
	}
	action := "create"
	if m.Replaced {
		action = "write"
	}
	j.e.did(at.at(m.Path, nil), action, c)
}

// error says what went wrong where; the library knows both places.
func (j *copying) error(src source, at target, err error) error {
	var le *os.LinkError
	if !errors.As(err, &le) {
		return at.error(err)
	}
	from := le.Old
	if src.vol != nil {
		from = src.in.sibling(le.Old)
	}
	child := at.at(le.New, nil)
	return child.error(fmt.Errorf("copy of %s: %w", from, le.Err))
}
