package diff

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/resflash/resflash/image/diff/sqlite"
	"github.com/resflash/resflash/image/vfs"
)

// readTable calls fn for each row of a table of an SQLite database.
func readTable(ctx context.Context, tree *vfs.Tree, path, table string, fn func(sqlite.Row) error) error {
	attr, err := tree.Resolve(ctx, path)
	if err != nil {
		return err
	}
	if !attr.Mode.IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	db, err := sqlite.Open(tree.Reader(ctx, attr), attr.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if db.HasLog() {
		log, err := tree.Resolve(ctx, path+"-wal")
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case log.Size > 0:
			return &vfs.NotSupportedError{What: path + " with changes in its log that were not carried over: open it once with its own program", Off: -1}
		}
	}
	ok, err := db.Table(table, func(row sqlite.Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(row)
	})
	if err == nil && !ok {
		err = fmt.Errorf("there is no table %s", table)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readRPM reads the database of rpm 4.16 and later.
func readRPM(ctx context.Context, tree *vfs.Tree, path string, p *Packages) error {
	return readTable(ctx, tree, path, "Packages", func(row sqlite.Row) error {
		name, version, err := rpmHeader(row.Get("blob").Bytes())
		if err != nil {
			return err
		}
		// Of kernels several are installed, of one architecture.
		return p.add(name, version, version)
	})
}

// readPkg reads the database of FreeBSD's pkg.
func readPkg(ctx context.Context, tree *vfs.Tree, path string, p *Packages) error {
	return readTable(ctx, tree, path, "packages", func(row sqlite.Row) error {
		return p.add(row.Get("name").Text(), "", row.Get("version").Text())
	})
}

// The tags of a header that are read, and the types of their values.
const (
	rpmName, rpmVersion, rpmRelease, rpmEpoch = 1000, 1001, 1002, 1003

	rpmInt32, rpmString = 4, 6
)

// rpmHeader reads name and version from the header of a package as it is in the
// database: the numbers of index entries and of bytes of data, the entries (tag,
// type, offset, count), and the data.
func rpmHeader(b []byte) (name, version string, err error) {
	bad := func(off int64, detail string) error {
		return &vfs.CorruptError{Structure: "header of an rpm package", Off: off, Detail: detail}
	}
	const entry = 16
	be := binary.BigEndian
	if len(b) < 8 {
		return "", "", bad(0, "it is too short")
	}
	entries, size := int64(be.Uint32(b)), int64(be.Uint32(b[4:]))
	if 8+entries*entry+size > int64(len(b)) {
		return "", "", bad(0, fmt.Sprintf("%d entries and %d bytes of data in %d", entries, size, len(b)))
	}
	data := b[8+entries*entry:][:size]
	var release, epoch string
	for i := range entries {
		e := b[8+i*entry:][:entry]
		tag, kind, off := be.Uint32(e), be.Uint32(e[4:]), int64(be.Uint32(e[8:]))
		var text *string
		switch tag {
		case rpmName:
			text = &name
		case rpmVersion:
			text = &version
		case rpmRelease:
			text = &release
		case rpmEpoch:
			if kind != rpmInt32 || off+4 > size {
				return "", "", bad(8+i*entry, "the epoch is no number")
			}
			epoch = fmt.Sprint(be.Uint32(data[off:])) + ":"
			continue
		default:
			continue
		}
		if kind != rpmString || off >= size {
			return "", "", bad(8+i*entry, fmt.Sprintf("tag %d is no text", tag))
		}
		value, _, ok := bytes.Cut(data[off:], []byte{0})
		if !ok {
			return "", "", bad(8+i*entry, fmt.Sprintf("tag %d has no end", tag))
		}
		*text = string(value)
	}
	return name, epoch + version + "-" + release, nil
}
