package main

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// memFS is the ceiling for writing: what go-fuse can do when storing things
// costs no more than copying them. It holds no more of POSIX than the
// workloads need.
type memFS struct {
	fuse.RawFileSystem
	mu    sync.Mutex
	nodes []*memNode // by node id - 1; removed ones stay
}

type memNode struct {
	attr  fuse.Attr
	data  []byte
	names map[string]uint64
	list  []string // the order of names
}

func serveWritableMemory(mnt string) error {
	m := &memFS{RawFileSystem: fuse.NewDefaultRawFileSystem()}
	m.add(syscall.S_IFDIR | 0o755)
	opts := mountOptions("memory")
	opts.Options = nil // not read-only
	opts.MaxWrite = 1 << 20
	opts.ExplicitDataCacheControl = true
	opts.ExtraCapabilities = fuse.CAP_NO_OPENDIR_SUPPORT | fuse.CAP_HANDLE_KILLPRIV_V2
	srv, err := fuse.NewServer(m, mnt, &opts)
	if err != nil {
		return err
	}
	go srv.Serve()
	dedicate() // as good as it gets
	srv.Wait()
	return nil
}

// add makes a node. Requires m.mu, except at the start.
func (m *memFS) add(mode uint32) *memNode {
	now := time.Now()
	n := &memNode{attr: fuse.Attr{Ino: uint64(len(m.nodes)) + 1, Mode: mode, Nlink: 1}}
	n.attr.SetTimes(&now, &now, &now)
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.attr.Nlink, n.names = 2, map[string]uint64{}
	}
	m.nodes = append(m.nodes, n)
	return n
}

func (m *memFS) node(id uint64) *memNode { return m.nodes[id-1] }

// enter gives a node a name. Requires m.mu.
func (m *memFS) enter(dir uint64, name string, n *memNode, out *fuse.EntryOut) fuse.Status {
	d := m.node(dir)
	if _, taken := d.names[name]; taken {
		return fuse.Status(syscall.EEXIST)
	}
	d.names[name] = n.attr.Ino
	d.list = append(d.list, name)
	m.entry(n, out)
	return fuse.OK
}

func (m *memFS) entry(n *memNode, out *fuse.EntryOut) {
	out.NodeId, out.Attr = n.attr.Ino, n.attr
	out.EntryValid, out.AttrValid = uint64(year.Seconds()), uint64(year.Seconds())
}

func (m *memFS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok := m.node(h.NodeId).names[name]
	if !ok {
		return fuse.ENOENT
	}
	m.entry(m.node(id), out)
	return fuse.OK
}

func (m *memFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out.Attr, out.AttrValid = m.node(in.NodeId).attr, uint64(year.Seconds())
	return fuse.OK
}

func (m *memFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(in.NodeId)
	if mode, ok := in.GetMode(); ok {
		n.attr.Mode = n.attr.Mode&syscall.S_IFMT | mode&0o7777
	}
	if uid, ok := in.GetUID(); ok {
		n.attr.Uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.attr.Gid = gid
	}
	if size, ok := in.GetSize(); ok {
		n.resize(size)
	}
	if t, ok := in.GetATime(); ok {
		n.attr.SetTimes(&t, nil, nil)
	}
	if t, ok := in.GetMTime(); ok {
		n.attr.SetTimes(nil, &t, nil)
	}
	out.Attr, out.AttrValid = n.attr, uint64(year.Seconds())
	return fuse.OK
}

func (n *memNode) resize(size uint64) {
	if size <= uint64(cap(n.data)) {
		n.data = n.data[:size]
	} else {
		n.data = append(n.data, make([]byte, size-uint64(len(n.data)))...)
	}
	n.attr.Size, n.attr.Blocks = size, (size+511)/512
}

func (m *memFS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.enter(in.NodeId, name, m.add(syscall.S_IFDIR|in.Mode&0o7777), out)
}

func (m *memFS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.add(syscall.S_IFLNK | 0o777)
	n.data = []byte(target)
	n.attr.Size = uint64(len(target))
	return m.enter(h.NodeId, name, n, out)
}

func (m *memFS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node(h.NodeId).data, fuse.OK
}

func (m *memFS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.enter(in.NodeId, name, m.add(syscall.S_IFREG|in.Mode&0o7777), &out.EntryOut)
}

func (m *memFS) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status    { return fuse.OK }
func (m *memFS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }
func (m *memFS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status                 { return fuse.ENOSYS }
func (m *memFS) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status                 { return fuse.OK }

func (m *memFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(in.NodeId)
	if end := in.Offset + uint64(len(data)); end > n.attr.Size {
		n.resize(end)
	}
	copy(n.data[in.Offset:], data)
	return uint32(len(data)), fuse.OK
}

func (m *memFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(in.NodeId)
	if in.Offset >= n.attr.Size {
		return fuse.ReadResultData(nil), fuse.OK
	}
	return fuse.ReadResultData(buf[:copy(buf, n.data[in.Offset:])]), fuse.OK
}

func (m *memFS) remove(h *fuse.InHeader, name string, dir bool) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.node(h.NodeId)
	id, ok := d.names[name]
	switch n := m.nodes[max(id, 1)-1]; {
	case !ok:
		return fuse.ENOENT
	case dir && len(n.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	default:
		n.data = nil
	}
	delete(d.names, name)
	return fuse.OK
}

func (m *memFS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return m.remove(h, name, false)
}

func (m *memFS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return m.remove(h, name, true)
}

func (m *memFS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.node(in.NodeId)
	for i := in.Offset; i < uint64(len(d.list)); i++ {
		id, there := d.names[d.list[i]]
		if !there {
			continue
		}
		n := m.node(id)
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: d.list[i], Ino: id, Mode: n.attr.Mode, Off: i + 1})
		if entry == nil {
			break
		}
		m.entry(n, entry)
	}
	return fuse.OK
}
