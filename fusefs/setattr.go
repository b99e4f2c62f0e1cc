package fusefs

import (
	"math"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// SetAttr implements [fuse.RawFileSystem]: chmod, chown, truncate, utimensat,
// and O_TRUNC.
func (r *raw) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	v, ino, err := r.findWritable(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	if in.Valid&fuse.FATTR_SIZE != 0 && in.Size > math.MaxInt64 {
		return fuse.EINVAL
	}
	w, set := v.w, wanted(in)
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if set.Mode == nil {
			set.Mode, err = w.tamed(ino)
		}
		if err != nil {
			return r.status(err)
		}
	}
	var attr vfs.Attr
	err = w.roomy(func() (err error) {
		attr, err = w.fs.Setattr(background, ino, set)
		return err
	})
	if err == nil {
		if set.Size != nil {
			w.freed.Store(true)
		}
		w.changes.file(ino, 0)
		w.changed()
		err = v.fill(&out.Attr, &attr)
		out.AttrValid = v.attrValid(&attr)
	}
	return r.status(err)
}

// wanted returns what a request is to change.
func wanted(in *fuse.SetAttrIn) vfs.SetAttr {
	var set vfs.SetAttr
	if m, ok := in.GetMode(); ok {
		mode := vfs.Mode(m)
		set.Mode = &mode
	}
	if id, ok := in.GetUID(); ok {
		set.UID = &id
	}
	if id, ok := in.GetGID(); ok {
		set.GID = &id
	}
	if n, ok := in.GetSize(); ok {
		size := int64(n)
		set.Size = &size
	}
	var now time.Time // the same for both
	if in.Valid&(fuse.FATTR_ATIME_NOW|fuse.FATTR_MTIME_NOW) != 0 {
		now = time.Now()
	}
	if in.Valid&fuse.FATTR_ATIME != 0 {
		t := time.Unix(int64(in.Atime), int64(in.Atimensec))
		if in.Valid&fuse.FATTR_ATIME_NOW != 0 {
			t = now
		}
		set.Atime = &t
	}
	if in.Valid&fuse.FATTR_MTIME != 0 {
		t := time.Unix(int64(in.Mtime), int64(in.Mtimensec))
		if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
			t = now
		}
		set.Mtime = &t
	}
	return set
}

// Set-id programs that are written to by somebody else than the superuser lose
// the bits, and every program does that changes hands, as on any file system:
// who can change a program must not be able to make it run as another. The
// kernel leaves that to us (FUSE_HANDLE_KILLPRIV_V2), so that it need not ask
// for the mode before each chown, and for capabilities before each write: these
// it takes away itself, having looked for them once.

// tamed returns the mode of ino without its set-id bits, or nil if it has none.
// The set-group-id bit of what the group cannot execute means something else,
// and stays; so does that of directories.
func (w *writer) tamed(ino vfs.Ino) (*vfs.Mode, error) {
	attr, err := w.fs.Getattr(background, ino)
	if err != nil || attr.Mode.IsDir() {
		return nil, err
	}
	mode := attr.Mode &^ vfs.SetUID
	if mode&0o010 != 0 {
		mode &^= vfs.SetGID
	}
	if mode == attr.Mode {
		return nil, nil
	}
	mode = mode.Perm()
	return &mode, nil
}

// tame takes the set-id bits from a file that is written to.
func (w *writer) tame(ino vfs.Ino) error {
	mode, err := w.tamed(ino)
	if err == nil && mode != nil {
		_, err = w.fs.Setattr(background, ino, vfs.SetAttr{Mode: mode})
		w.changed()
	}
	return err
}
