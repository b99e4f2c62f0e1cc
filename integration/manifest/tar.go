package manifest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// ReadTar lists a tar stream. Links are counted from the stream itself; the root
// is in the manifest if it is in the stream. Holes of sparse entries read as
// zeros.
func ReadTar(r io.Reader) (Manifest, error) {
	tr := tar.NewReader(r)
	var m Manifest
	at := map[string]int{}
	buf := make([]byte, 1<<20)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		e := Entry{
			Path: path.Clean(strings.TrimLeft(h.Name, "/")),
			Mode: uint32(h.Mode) & 0o7777,
			UID:  uint32(h.Uid), GID: uint32(h.Gid), Nlink: 1,
			Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond()),
		}
		e.Link = e.Path
		if _, twice := at[e.Path]; twice {
			return nil, fmt.Errorf("%q is in the stream twice", e.Path)
		}
		at[e.Path] = len(m)
		for key, val := range h.PAXRecords {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				if e.Xattrs == nil {
					e.Xattrs = map[string]string{}
				}
				e.Xattrs[name] = val
			}
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse:
			e.Type, e.Size = File, h.Size
			d := newDigest(false)
			if _, err := io.CopyBuffer(d, struct{ io.Reader }{tr}, buf); err != nil {
				return nil, fmt.Errorf("%q: %w", h.Name, err)
			}
			d.store(&e)
		case tar.TypeDir:
			e.Type = Dir
		case tar.TypeSymlink:
			e.Type, e.Target = Symlink, h.Linkname
		case tar.TypeBlock, tar.TypeChar:
			e.Type = Block
			if h.Typeflag == tar.TypeChar {
				e.Type = Char
			}
			e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
		case tar.TypeFifo:
			e.Type = FIFO
		case tar.TypeLink:
			first, ok := at[path.Clean(strings.TrimLeft(h.Linkname, "/"))]
			if !ok {
				return nil, fmt.Errorf("%q is a link to %q, which is not before it", h.Name, h.Linkname)
			}
			name := e.Path
			e = m[first]
			e.Path = name
		default:
			return nil, fmt.Errorf("%q has type %q", h.Name, h.Typeflag)
		}
		m = append(m, e)
	}
	count := map[string]uint32{}
	for _, e := range m {
		count[e.Link]++
	}
	for i := range m {
		m[i].Nlink = count[m[i].Link]
	}
	m.sort()
	m.nameLinks()
	return m, nil
}
