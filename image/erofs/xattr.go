package erofs

import (
	"bytes"
	"context"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Xattrs implements [vfs.Xattrer]. Like Linux, it leaves out names with a prefix
// that has no meaning.
func (f *FS) Xattrs(ctx context.Context, ino vfs.Ino) (map[string][]byte, error) {
	var in inode
	if err := f.readInode(ino, &in); err != nil {
		return nil, err
	}
	r := xattrReader{f: f, of: structure{"inode", uint64(in.ino), " xattrs"}, attrs: map[string][]byte{}}
	n := ondisk.XattrsSize(in.Xattrs)
	if n == 0 {
		return r.attrs, nil
	}
	at := in.tail - n
	body, err := f.bytes(r.of, at, int(n))
	if err != nil {
		return nil, err
	}
	shared := ondisk.SharedXattrs(body)
	own := ondisk.XattrHeaderSize + 4*shared
	if own > len(body) {
		return nil, r.of.corrupt(at, "%d shared attributes in %d bytes", shared, len(body))
	}
	for i := range shared {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.shared(ondisk.DecodeSharedXattr(body[ondisk.XattrHeaderSize+4*i:])); err != nil {
			return nil, err
		}
	}
	for own < len(body) {
		e := ondisk.DecodeXattrEntry(body[own:])
		if e.Size() > len(body)-own {
			return nil, r.of.corrupt(at+int64(own), "an attribute of %d bytes in %d", e.Size(), len(body)-own)
		}
		if err := r.add(e, body[own+ondisk.XattrEntrySize:], at+int64(own)); err != nil {
			return nil, err
		}
		own += e.Size()
	}
	return r.attrs, nil
}

// An xattrReader collects the attributes of a file. They take at most 256 KiB
// behind the inode, and 64 KiB for each of 255 that are shared.
type xattrReader struct {
	f     *FS
	of    structure
	attrs map[string][]byte
}

// shared adds a shared attribute by its place.
func (r *xattrReader) shared(place uint32) error {
	at := int64(r.f.sb.XattrBlock)*r.f.blockSize + int64(place)*ondisk.SharedXattrUnit
	b, err := r.f.bytes(r.of, at, ondisk.XattrEntrySize)
	if err != nil {
		return err
	}
	e := ondisk.DecodeXattrEntry(b)
	if b, err = r.f.bytes(r.of, at+ondisk.XattrEntrySize, e.NameSize+e.ValueSize); err != nil {
		return err
	}
	return r.add(e, b, at)
}

// add adds an attribute. Its name and its value begin b.
func (r *xattrReader) add(e ondisk.XattrEntry, b []byte, at int64) error {
	name := b[:e.NameSize]
	if bytes.IndexByte(name, 0) >= 0 {
		return r.of.corrupt(at, "an attribute is called %q", name)
	}
	prefix, whole, err := r.prefix(e, at)
	if err != nil {
		return err
	}
	if prefix == "" || whole != (len(name) == 0) {
		return nil
	}
	r.attrs[prefix+string(name)] = bytes.Clone(b[e.NameSize : e.NameSize+e.ValueSize])
	return nil
}

// prefix returns what stands before the name of an attribute, and whether that
// is all of its name.
func (r *xattrReader) prefix(e ondisk.XattrEntry, at int64) (prefix string, whole bool, err error) {
	which, ok := e.Long()
	if !ok {
		prefix, whole = ondisk.XattrPrefix(e.Index)
		return prefix, whole, nil
	}
	if r.f.prefixErr != nil {
		return "", false, r.f.prefixErr
	}
	if which >= len(r.f.prefixes) {
		return "", false, r.of.corrupt(at, "a name with the long prefix %d of %d", which, len(r.f.prefixes))
	}
	long := r.f.prefixes[which]
	if prefix, whole = ondisk.XattrPrefix(long.Base); prefix == "" || whole {
		return "", false, nil
	}
	// An infix may be all that there is of a name.
	return prefix + long.Infix, e.NameSize == 0, nil
}

// longPrefixes reads the prefixes that the image brings along. They are stored
// as they are, or in the packed inode if there is one.
func (f *FS) longPrefixes(ctx context.Context) ([]ondisk.LongPrefix, error) {
	sb := &f.sb
	if sb.Incompat&ondisk.XattrPrefixes == 0 {
		return nil, nil
	}
	of := structure{what: "xattr prefixes"}
	read := func(off int64, n int) ([]byte, error) { return f.bytes(of, off, n) }
	if sb.Incompat&ondisk.Fragments != 0 && sb.PackedNid != 0 && sb.Compat&ondisk.PlainXattrPrefix == 0 {
		var in inode
		if err := f.decodeInode(sb.PackedNid, &in); err != nil {
			return nil, err
		}
		read = func(off int64, n int) ([]byte, error) {
			if off > int64(in.Size) || int64(n) > int64(in.Size)-off {
				return nil, of.corrupt(in.at, "%d bytes at byte %d of the packed inode, which has %d", n, off, in.Size)
			}
			b := make([]byte, n)
			_, err := f.read(ctx, &in, b, off)
			return b, err
		}
	}
	off := int64(sb.PrefixStart) * 4
	list := make([]ondisk.LongPrefix, sb.Prefixes)
	for i := range list {
		off = (off + 3) &^ 3
		b, err := read(off, ondisk.LongPrefixSizeBytes)
		if err != nil {
			return nil, err
		}
		n := ondisk.DecodeLongPrefixSize(b)
		if n > 1+ondisk.MaxName {
			return nil, of.corrupt(off, "prefix %d has %d bytes", i, n)
		}
		if b, err = read(off+ondisk.LongPrefixSizeBytes, n); err != nil {
			return nil, err
		}
		list[i] = ondisk.DecodeLongPrefix(b)
		off += ondisk.LongPrefixSizeBytes + int64(n)
	}
	return list, nil
}
