package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// The ceilings: what go-fuse can do when the file system behind it costs
// nothing.

// year is how long the kernel may cache what does not change.
const year = 365 * 24 * time.Hour

// inMemory is the largest file that the ceilings hold in memory; larger ones
// are passed on from the file they lie in, as our images are.
const inMemory = 1 << 20

func mountOptions(name string) fuse.MountOptions {
	return fuse.MountOptions{
		Name: name, FsName: name, Options: []string{"ro"}, DirectMount: os.Geteuid() == 0,
		// Passthrough serves whole files only, not parts of an image.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
	}
}

// serveLoopback is go-fuse's own example, with its options.
func serveLoopback(dir, mnt string) error {
	return serveLoopbackWith(dir, mnt, mountOptions("loopback"))
}

// serveWritableLoopback is the same, to be written to.
func serveWritableLoopback(dir, mnt string) error {
	opts := mountOptions("loopback")
	opts.Options = nil // not read-only
	opts.MaxWrite = 1 << 20
	return serveLoopbackWith(dir, mnt, opts)
}

func serveLoopbackWith(dir, mnt string, opts fuse.MountOptions) error {
	root, err := gofs.NewLoopbackRoot(dir)
	if err != nil {
		return err
	}
	second := time.Second
	srv, err := gofs.Mount(mnt, root, &gofs.Options{
		AttrTimeout: &second, EntryTimeout: &second, NullPermissions: true,
		MountOptions: opts,
	})
	if err != nil {
		return err
	}
	dedicate() // as good as it gets
	srv.Wait()
	return nil
}

// bigNode is a file that is passed on from the host.
type bigNode struct {
	gofs.Inode
	f    *os.File
	attr fuse.Attr
}

func (n *bigNode) Open(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *bigNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr = n.attr
	return 0
}

func (n *bigNode) Read(_ context.Context, _ gofs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	size := min(int64(len(dest)), int64(n.attr.Size)-off)
	return fuse.ReadResultFd(n.f.Fd(), off, int(max(size, 0))), 0
}

// serveMemory is go-fuse's tree of nodes, with files in memory.
func serveMemory(dir, mnt string) error {
	root := &gofs.Inode{}
	timeout := year
	srv, err := gofs.Mount(mnt, root, &gofs.Options{
		AttrTimeout: &timeout, EntryTimeout: &timeout, NegativeTimeout: &timeout, NullPermissions: true,
		MountOptions: mountOptions("memory"),
		OnAdd: func(ctx context.Context) {
			if err := addTree(ctx, root, dir); err != nil {
				panic(err)
			}
		},
	})
	if err != nil {
		return err
	}
	dedicate() // as good as it gets
	srv.Wait()
	return nil
}

func addTree(ctx context.Context, root *gofs.Inode, dir string) error {
	nodes := map[string]*gofs.Inode{".": root}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		parent := nodes[filepath.Dir(name)]
		if d.IsDir() {
			nodes[name] = parent.NewPersistentInode(ctx, &gofs.Inode{}, gofs.StableAttr{Mode: syscall.S_IFDIR})
			parent.AddChild(d.Name(), nodes[name], false)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		attr := fuse.Attr{Mode: syscall.S_IFREG | 0o644, Size: uint64(info.Size()), Nlink: 1, Mtime: uint64(info.ModTime().Unix())}
		var node gofs.InodeEmbedder
		if info.Size() > inMemory {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			node = &bigNode{f: f, attr: attr}
		} else {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			node = &gofs.MemRegularFile{Data: data, Attr: attr}
		}
		parent.AddChild(d.Name(), parent.NewPersistentInode(ctx, node, gofs.StableAttr{}), false)
		return nil
	})
}

// rawFS is the least that can be done on go-fuse: answers out of a table.
type rawFS struct {
	fuse.RawFileSystem
	nodes []rawNode // by node id - 1
}

type rawNode struct {
	attr  fuse.Attr
	data  []byte
	f     *os.File // of a large file
	list  []rawEntry
	names map[string]uint64
}

type rawEntry struct {
	name string
	id   uint64
}

func serveRaw(dir, mnt string) error {
	r := &rawFS{RawFileSystem: fuse.NewDefaultRawFileSystem()}
	if err := r.load(dir); err != nil {
		return err
	}
	opts := mountOptions("rawmem")
	opts.MaxWrite = 1 << 20
	opts.ExplicitDataCacheControl = true
	opts.ExtraCapabilities = fuse.CAP_NO_OPENDIR_SUPPORT
	srv, err := fuse.NewServer(r, mnt, &opts)
	if err != nil {
		return err
	}
	go srv.Serve()
	dedicate() // as good as it gets
	srv.Wait()
	return nil
}

func (r *rawFS) add(mode uint32) uint64 {
	id := uint64(len(r.nodes)) + 1
	r.nodes = append(r.nodes, rawNode{attr: fuse.Attr{Ino: id, Mode: mode, Nlink: 1}, names: map[string]uint64{}})
	return id
}

func (r *rawFS) load(dir string) error {
	ids := map[string]uint64{".": r.add(syscall.S_IFDIR | 0o755)}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		mode := uint32(syscall.S_IFREG | 0o644)
		if d.IsDir() {
			mode = syscall.S_IFDIR | 0o755
		}
		id := r.add(mode)
		ids[name] = id
		parent := &r.nodes[ids[filepath.Dir(name)]-1]
		parent.list = append(parent.list, rawEntry{d.Name(), id})
		parent.names[d.Name()] = id
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := &r.nodes[id-1]
		n.attr.Size = uint64(info.Size())
		if info.Size() > inMemory {
			n.f, err = os.Open(path)
		} else {
			n.data, err = os.ReadFile(path)
		}
		return err
	})
}

func (r *rawFS) entry(id uint64, out *fuse.EntryOut) {
	out.NodeId, out.Attr = id, r.nodes[id-1].attr
	out.EntryValid, out.AttrValid = uint64(year.Seconds()), uint64(year.Seconds())
}

func (r *rawFS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	id, ok := r.nodes[h.NodeId-1].names[name]
	if !ok {
		return fuse.ENOENT
	}
	r.entry(id, out)
	return fuse.OK
}

func (r *rawFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Attr, out.AttrValid = r.nodes[in.NodeId-1].attr, uint64(year.Seconds())
	return fuse.OK
}

func (r *rawFS) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status    { return fuse.ENOSYS }
func (r *rawFS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

func (r *rawFS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	list := r.nodes[in.NodeId-1].list
	for i := in.Offset; i < uint64(len(list)); i++ {
		id := list[i].id
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: list[i].name, Ino: id, Mode: r.nodes[id-1].attr.Mode, Off: i + 1})
		if entry == nil {
			break
		}
		r.entry(id, entry)
	}
	return fuse.OK
}

func (r *rawFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := &r.nodes[in.NodeId-1]
	size := min(int64(len(buf)), max(int64(n.attr.Size)-int64(in.Offset), 0))
	if n.f != nil {
		return fuse.ReadResultFd(n.f.Fd(), int64(in.Offset), int(size)), fuse.OK
	}
	// A vector, because go-fuse tries to splice plain data first.
	return fuse.ReadResultVector([][]byte{n.data[in.Offset:][:size]}), fuse.OK
}

// dedicate makes go-fuse's own loop, with which the ceilings are served, as fast
// as it gets: if its readers, who sleep in the kernel, hold every P, the runtime's
// monitor takes these away again and again.
func dedicate() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2) }
