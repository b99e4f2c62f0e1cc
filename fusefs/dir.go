package fusefs

import (
	"math"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// Offsets in a directory, as telldir(3) shows them: 1 is behind ".", 2 behind
// "..", and from there on the cookies of the file system, moved up by 2.
const (
	afterDot    = 1
	afterDotDot = 2
	cookieBase  = afterDotDot
	maxCookie   = math.MaxInt64 - cookieBase // an offset is an off_t
)

// OpenDir implements [fuse.RawFileSystem]. ENOSYS tells the kernel to open
// directories without asking, and to cache what it reads from them.
func (r *raw) OpenDir(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if r.noOpenDir {
		return fuse.ENOSYS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR
	return fuse.OK
}

// ReadDir implements [fuse.RawFileSystem].
func (r *raw) ReadDir(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return r.readDir(cancel, input, func(_ *volume, _ vfs.Ino, e fuse.DirEntry) bool {
		return out.AddDirEntry(e)
	})
}

// ReadDirPlus implements [fuse.RawFileSystem]: names with their attributes, so
// that listing a directory and looking at its files is one request for some
// two hundred of them.
func (r *raw) ReadDirPlus(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	ctx := uninterrupted
	if v, _, err := r.find(input.NodeId); err == nil && v.w != nil {
		v.w.names.RLock()
		defer v.w.names.RUnlock()
	}
	return r.readDir(cancel, input, func(v *volume, ino vfs.Ino, e fuse.DirEntry) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil || v == nil {
			return entry != nil
		}
		// An inode that cannot be read does not spoil the listing: without
		// a node the kernel takes the name alone, and asks again, and gets
		// the error, when somebody wants the file.
		if attr, ok := r.quietAttr(ctx, v, ino); ok && v.entry(entry, &attr) == nil {
			out.FixMode(entry.Mode)
		}
		return true
	})
}

// quietAttr is Getattr for a listing: whatever goes wrong, even a panic, is
// left for the one who looks at the file itself.
func (r *raw) quietAttr(ctx request, v *volume, ino vfs.Ino) (attr vfs.Attr, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked(p)
			ok = false
		}
	}()
	attr, err := v.fs.Getattr(ctx, ino)
	return attr, err == nil
}

// readDir passes the entries from the offset asked for to add, until that says
// that there is no more room. For "." and ".." v is nil.
func (r *raw) readDir(cancel <-chan struct{}, input *fuse.ReadIn, add func(v *volume, ino vfs.Ino, e fuse.DirEntry) bool) fuse.Status {
	v, dir, err := r.find(input.NodeId)
	if err != nil {
		return r.status(err)
	}
	ctx := uninterrupted
	some := false // have entries been added?
	if input.Offset < afterDot {
		if !add(nil, 0, fuse.DirEntry{Name: ".", Mode: syscall.S_IFDIR, Ino: v.stIno(dir), Off: afterDot}) {
			return fuse.OK
		}
		some = true
	}
	if input.Offset < afterDotDot {
		if !add(nil, 0, fuse.DirEntry{Name: "..", Mode: syscall.S_IFDIR, Ino: v.dotDot(ctx, dir), Off: afterDotDot}) {
			return fuse.OK
		}
		some = true
	}
	cookie := uint64(0)
	if input.Offset > cookieBase {
		cookie = input.Offset - cookieBase
	}
	for e, err := range v.fs.ReadDir(ctx, dir, cookie) {
		if err == nil && e.Next > maxCookie {
			err = syscall.EOVERFLOW
		}
		if err != nil {
			if some {
				// The kernel comes back for the rest, and gets the error then.
				return fuse.OK
			}
			return r.status(err)
		}
		if !goodName(e.Name) {
			r.logOnce("bad name", "directory %s: entry with an impossible name %.300q skipped", inode(dir), e.Name)
			continue
		}
		at, ino := v.visible(e.Ino)
		if !add(at, ino, fuse.DirEntry{
			Name: e.Name, Mode: fileMode(e.Type), Ino: at.stIno(ino), Off: e.Next + cookieBase,
		}) {
			return fuse.OK
		}
		some = true
	}
	return fuse.OK
}

// goodName reports whether the kernel can take a name. One that it cannot
// would make it fail the whole directory.
func goodName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 1024 && !strings.ContainsAny(name, "/\x00")
}

// dotDot returns the st_ino of the directory above dir.
func (v *volume) dotDot(ctx request, dir vfs.Ino) uint64 {
	if dir == v.root {
		return v.above
	}
	attr, err := v.fs.Lookup(ctx, dir, "..")
	if err != nil {
		return v.stIno(dir) // only for show: the kernel knows the way up itself
	}
	return v.stIno(attr.Ino)
}
