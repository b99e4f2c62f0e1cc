package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// TarOptions adjust what [Tar] writes.
type TarOptions struct {
	Options
	// Names returns the names of an owner and a group, empty where it knows
	// none. If it is nil, the archive has numbers only.
	Names func(uid, gid uint32) (owner, group string)
}

// Tar writes the directory (or the single file) at start to w as a pax
// archive that GNU tar, bsdtar and archive/tar read: numeric owners, modes,
// times in nanoseconds, hard links, symbolic links, devices, FIFOs, extended
// attributes (SCHILY.xattr), file flags (SCHILY.fflags), holes (GNU sparse
// format 1.0). Names are relative: "./etc/fstab". Sockets and whiteouts have
// no place in an archive and are reported as problems.
//
// Of one image it is always the same bytes.
func Tar(ctx context.Context, w io.Writer, tree *vfs.Tree, start string, opt TarOptions) error {
	t := &tarWriter{w: bufio.NewWriterSize(w, bufferSize), tree: tree, opt: &opt, buf: make([]byte, bufferSize)}
	if err := Walk(ctx, tree, start, &opt.Options, func(e *Entry) error { return t.add(ctx, e) }); err != nil {
		return err
	}
	return t.close()
}

type tarWriter struct {
	w    *bufio.Writer
	n    int64 // bytes written
	tree *vfs.Tree
	opt  *TarOptions
	buf  []byte
}

func (t *tarWriter) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.n += int64(n)
	return n, err
}

// close ends the archive: two blocks of zeros, and then up to a full record of
// 20 blocks, as tapes want it and tar(1) writes it.
func (t *tarWriter) close() error {
	const record = 20 * tarBlock
	n := 2*tarBlock + (record-(t.n+2*tarBlock)%record)%record
	if _, err := t.Write(zeros[:n]); err != nil {
		return err
	}
	return t.w.Flush()
}

func tarName(e *Entry) string {
	switch {
	case e.Path == ".":
		return "./"
	case e.Attr.Mode.IsDir():
		return "./" + e.Path + "/"
	}
	return "./" + e.Path
}

func (t *tarWriter) add(ctx context.Context, e *Entry) error {
	a := &e.Attr
	h := &tarHeader{
		name: tarName(e), mode: uint32(a.Mode.Perm()), uid: a.UID, gid: a.GID, mtime: a.Mtime,
		records: map[string]string{},
	}
	if t.opt.Names != nil {
		h.uname, h.gname = t.opt.Names(a.UID, a.GID)
	}
	switch a.Mode.Type() {
	case vfs.Regular:
		h.kind = tarRegular
	case vfs.Dir:
		h.kind = tarDir
	case vfs.Symlink:
		h.kind, h.link = tarSymlink, e.Target
	case vfs.Char:
		h.kind, h.major, h.minor = tarChar, a.Rdev.Major, a.Rdev.Minor
	case vfs.Block:
		h.kind, h.major, h.minor = tarBlockDev, a.Rdev.Major, a.Rdev.Minor
	case vfs.FIFO:
		h.kind = tarFIFO
	case vfs.Socket:
		e.LeftOut = true
		return t.opt.problem(e.Real, ErrSocket)
	default:
		e.LeftOut = true
		return t.opt.problem(e.Real, fmt.Errorf("file type %#o has no place in a tar archive", uint32(a.Mode.Type())))
	}
	if e.First != "" {
		// Readers take everything but the name from the first entry.
		h.kind, h.link, h.major, h.minor = tarLink, "./"+e.First, 0, 0
		return t.write(h.encode())
	}
	if flags := FlagNames(a.Flags &^ vfs.UserArchive); flags != "" {
		h.records["SCHILY.fflags"] = flags
	}
	if err := t.xattrs(ctx, e, h); err != nil {
		if err := t.opt.problem(e.Real, fmt.Errorf("extended attributes: %w", err)); err != nil {
			return err
		}
	}
	if h.kind != tarRegular {
		return t.write(h.encode())
	}
	return t.file(ctx, e, h)
}

// ErrSocket is the problem of a socket in an archive.
var ErrSocket = errors.New("is a socket, which an archive cannot hold")

func (t *tarWriter) write(p []byte) error {
	_, err := t.Write(p)
	return err
}

func (t *tarWriter) xattrs(ctx context.Context, e *Entry, h *tarHeader) error {
	x, ok := t.tree.FS().(vfs.Xattrer)
	if !ok {
		return nil
	}
	attrs, err := x.Xattrs(ctx, e.Attr.Ino)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		// A record's key ends at the first "=".
		if strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("name %q: %w", name, syscall.EINVAL)
		}
		h.records["SCHILY.xattr."+name] = string(value)
	}
	return nil
}

// file writes a regular file: as a sparse one where that makes it smaller.
func (t *tarWriter) file(ctx context.Context, e *Entry, h *tarHeader) error {
	size := e.Attr.Size
	runs, err := Runs(ctx, t.tree.FS(), e.Attr)
	if err != nil {
		if fatal(ctx, err) {
			return err
		}
		e.LeftOut = true
		return t.opt.problem(e.Real, err)
	}
	data := int64(0)
	for _, r := range runs {
		data += r.Len
	}
	var sparse []byte
	if data < size {
		sparse = sparseMap(runs, size)
		if int64(len(sparse))+data >= size {
			sparse = nil
		}
	}
	if sparse == nil {
		// Holes not worth a map are read as zeros.
		runs = []Run{{0, size}}
		data = size
	} else {
		records := map[string]string{
			"GNU.sparse.major":    "1",
			"GNU.sparse.minor":    "0",
			"GNU.sparse.name":     h.name,
			"GNU.sparse.realsize": strconv.FormatInt(size, 10),
		}
		maps.Copy(h.records, records)
		h.name = path.Join(path.Dir(h.name), "GNUSparseFile.0", path.Base(h.name))
		if len(h.name) > 100 || !ascii(h.name) {
			h.name = "GNUSparseFile.0"
		}
	}
	h.size = int64(len(sparse)) + data
	if err := t.write(h.encode()); err != nil {
		return err
	}
	if err := t.write(sparse); err != nil {
		return err
	}
	left := data
	for _, r := range runs {
		err := stream(ctx, t.tree.FS(), e.Attr.Ino, r, t.buf, func(p []byte, _ int64) error {
			left -= int64(len(p))
			t.opt.progress(int64(len(p)))
			return t.write(p)
		})
		if err == nil {
			continue
		}
		if fatal(ctx, err) {
			return err
		}
		if err := t.opt.problem(e.Real, fmt.Errorf("filled up with zeros: %w", err)); err != nil {
			return err
		}
		break
	}
	// The header has promised so many bytes.
	return writeZeros(ctx, t, left+padding(h.size), &Options{})
}

// sparseMap is the map of GNU tar's sparse format 1.0, in whole blocks: how
// many runs there are, then offset and length of each, in decimal lines. A run
// of no bytes at the end tells readers how far the file goes.
func sparseMap(runs []Run, size int64) []byte {
	if len(runs) == 0 || runs[len(runs)-1].End() < size {
		runs = append(runs[:len(runs):len(runs)], Run{size, 0})
	}
	out := append(strconv.AppendInt(nil, int64(len(runs)), 10), '\n')
	for _, r := range runs {
		out = append(strconv.AppendInt(out, r.Off, 10), '\n')
		out = append(strconv.AppendInt(out, r.Len, 10), '\n')
	}
	return append(out, zeros[:padding(int64(len(out)))]...)
}
