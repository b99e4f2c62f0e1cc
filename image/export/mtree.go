package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"

	"github.com/resflash/resflash/image/vfs"
)

// MtreeOptions adjust what [Mtree] writes.
type MtreeOptions struct {
	Options
	// NoDigests leaves out the SHA-256 of regular files, for which all of
	// their contents must be read.
	NoDigests bool
}

// Mtree writes the directory (or the single file) at start to w as an mtree(5)
// manifest with full paths, one file per line, as NetBSD's mtree -C prints and
// bsdtar reads: type, mode, uid, gid, nlink, size, time, link, device, flags
// and sha256digest.
func Mtree(ctx context.Context, w io.Writer, tree *vfs.Tree, start string, opt MtreeOptions) error {
	m := &mtreeWriter{
		w: bufio.NewWriterSize(w, 64<<10), tree: tree, opt: &opt,
		buf: make([]byte, bufferSize), sum: sha256.New(), sums: map[string]string{},
	}
	if _, err := m.w.WriteString("#mtree\n"); err != nil {
		return err
	}
	if err := Walk(ctx, tree, start, &opt.Options, func(e *Entry) error { return m.add(ctx, e) }); err != nil {
		return err
	}
	return m.w.Flush()
}

type mtreeWriter struct {
	w    *bufio.Writer
	tree *vfs.Tree
	opt  *MtreeOptions
	buf  []byte
	sum  hash.Hash
	sums map[string]string // digests of files with several names, by first name
}

var mtreeTypes = map[vfs.Mode]string{
	vfs.Regular: "file", vfs.Dir: "dir", vfs.Symlink: "link", vfs.Char: "char",
	vfs.Block: "block", vfs.FIFO: "fifo", vfs.Socket: "socket",
}

func (m *mtreeWriter) add(ctx context.Context, e *Entry) error {
	a := &e.Attr
	kind, ok := mtreeTypes[a.Mode.Type()]
	if !ok {
		e.LeftOut = true
		return m.opt.problem(e.Real, fmt.Errorf("file type %#o has no place in an mtree manifest", uint32(a.Mode.Type())))
	}
	line := []byte(".")
	if e.Path != "." {
		line = appendVis(append(line, '/'), e.Path)
	}
	line = fmt.Appendf(line, " type=%s mode=%#o uid=%d gid=%d nlink=%d", kind, uint32(a.Mode.Perm()), a.UID, a.GID, a.Nlink)
	if a.Mode.IsRegular() {
		line = fmt.Appendf(line, " size=%d", a.Size)
	}
	if !a.Mtime.IsZero() {
		line = fmt.Appendf(line, " time=%d.%09d", a.Mtime.Unix(), a.Mtime.Nanosecond())
	}
	if a.Mode.IsSymlink() {
		line = appendVis(append(line, " link="...), e.Target)
	}
	if a.Mode.IsDevice() {
		line = fmt.Appendf(line, " device=native,%d,%d", a.Rdev.Major, a.Rdev.Minor)
	}
	if flags := FlagNames(a.Flags); flags != "" {
		line = append(append(line, " flags="...), flags...)
	}
	if a.Mode.IsRegular() && !m.opt.NoDigests {
		digest, err := m.digest(ctx, e)
		if err != nil {
			e.LeftOut = true
			if fatal(ctx, err) {
				return err
			}
			if err := m.opt.problem(e.Real, fmt.Errorf("no digest: %w", err)); err != nil {
				return err
			}
		} else {
			line = append(append(line, " sha256digest="...), digest...)
		}
	}
	_, err := m.w.Write(append(line, '\n'))
	return err
}

func (m *mtreeWriter) digest(ctx context.Context, e *Entry) (string, error) {
	if e.First != "" {
		if sum, ok := m.sums[e.First]; ok {
			return sum, nil
		}
	}
	m.sum.Reset()
	if err := contents(ctx, m.sum, m.tree.FS(), e.Attr, &m.opt.Options, m.buf); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(m.sum.Sum(nil))
	if e.Attr.Nlink > 1 {
		m.sums[e.Path] = sum
	}
	return sum, nil
}

// appendVis appends s in the encoding of mtree, which is that of vis(3) with
// VIS_OCTAL: white space, "#", the characters of globs and everything that
// does not print as three octal digits.
func appendVis(out []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f || c == '\\' || c == '#' || c == '*' || c == '?' || c == '[' || c == '=':
			out = append(out, '\\')
			for shift := 6; shift >= 0; shift -= 3 {
				out = strconv.AppendUint(out, uint64(c>>shift&7), 8)
			}
		default:
			out = append(out, c)
		}
	}
	return out
}
