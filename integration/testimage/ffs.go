package testimage

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"time"
)

// FFSOptions are the choices of newfs(8).
type FFSOptions struct {
	Version   int // 1 (FFS1) or 2 (FFS2); 0 is 2
	BlockSize int // bytes; 0 is 16384
	FragSize  int // bytes; 0 is 2048
	Time      time.Time
	Seed      uint64 // of the file system id and the inode generations
	Mounted   string // fs_fsmnt: where it was mounted last
	Dirty     bool   // leave the clean flag off, as a power cut does
}

// An FFS says where things ended up in a file system that was written.
type FFS struct {
	Version   int
	BlockSize int
	FragSize  int
	PerGroup  int64 // blocks in a cylinder group: p_cpg of the disklabel entry
	inodes    map[string]uint32
	geom      *geometry
}

// Inode returns the inode number of a path, 0 if there is none.
func (f *FFS) Inode(name string) uint32 { return f.inodes[clean(name)] }

// InodeBlock returns the fragment address of the block that holds an inode,
// and the byte offset of the inode in it.
func (f *FFS) InodeBlock(ino uint32) (frag, off int64) {
	g := f.geom
	group, index := int64(ino)/g.ipg, int64(ino)%g.ipg
	return g.fpg*group + g.iblkno + index/g.inopb*int64(g.frag), index % g.inopb * g.inodeSize()
}

// WriteFFS formats size bytes of w as newfs of OpenBSD does, with the files of
// a tree. Where nothing is, nothing is written: w must read as zeros there.
func WriteFFS(w io.WriterAt, size int64, opt FFSOptions, tree Tree) (*FFS, error) {
	if opt.Version == 0 {
		opt.Version = 2
	}
	if opt.BlockSize == 0 {
		opt.BlockSize = 16384
	}
	if opt.FragSize == 0 {
		opt.FragSize = min(2048, opt.BlockSize)
	}
	g, err := newGeometry(opt.Version, size, opt.BlockSize, opt.FragSize)
	if err != nil {
		return nil, err
	}
	f := &ffsWriter{geometry: g, w: w, opt: opt, now: opt.Time, rng: rand.New(rand.NewPCG(opt.Seed, uint64(size)))}
	f.makeGroups()
	if err := f.populate(tree); err != nil {
		return nil, err
	}
	f.finish()
	if f.err != nil {
		return nil, f.err
	}
	return &FFS{opt.Version, opt.BlockSize, opt.FragSize, min(g.fpg/int64(g.frag), 65535), f.inodes, g}, nil
}

// ffsWriter writes one file system. The first error sticks: what follows
// writes nothing.
type ffsWriter struct {
	*geometry
	w      io.WriterAt
	opt    FFSOptions
	now    time.Time
	rng    *rand.Rand
	groups []*group
	inodes map[string]uint32
	frags  int64 // the block that tails of files are put into …
	left   int64 // … and how many of its fragments are free
	cursor int   // the group in which directories go next
	err    error
}

func (f *ffsWriter) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// write writes p at a fragment address.
func (f *ffsWriter) write(p []byte, frag int64) {
	if f.err == nil && len(p) > 0 {
		_, f.err = f.w.WriteAt(p, frag*int64(f.fsize))
	}
}

// populate gives every file of the tree an inode and writes it.
func (f *ffsWriter) populate(tree Tree) error {
	children, err := tree.children()
	if err != nil {
		return err
	}
	f.inodes = map[string]uint32{}
	links := map[string]int{}
	// Directories are spread over the groups, files stay near theirs.
	for _, dir := range tree.directories() {
		if dir == "" {
			f.inodes[dir] = f.newInode(0, true)
		} else if depth(dir) == 1 {
			f.cursor = (f.cursor + 1) % len(f.groups)
			f.inodes[dir] = f.newInode(f.cursor, true)
		} else {
			f.inodes[dir] = f.newInode(f.groupOf(f.inodes[clean(path.Dir(dir))]), true)
		}
		links[dir] = 2
	}
	for _, dir := range tree.directories() {
		for _, name := range children[dir] {
			n := tree[name]
			switch {
			case n.HardLink != "":
				links[n.HardLink]++
			case n.Mode&modeType == ModeDir:
				links[dir]++ // its ".."
			default:
				f.inodes[name] = f.newInode(f.groupOf(f.inodes[dir]), false)
				links[name]++
			}
		}
	}
	for name, n := range tree {
		if n.HardLink != "" {
			f.inodes[name] = f.inodes[n.HardLink]
		}
	}
	if f.err != nil {
		return f.err
	}
	for _, dir := range tree.directories() {
		f.writeNode(dir, tree[dir], links[dir], f.directory(tree, dir, children[dir]))
		for _, name := range children[dir] {
			if n := tree[name]; n.HardLink == "" && n.Mode&modeType != ModeDir {
				f.writeNode(name, n, links[name], n.Data)
			}
		}
	}
	return f.err
}

// writeNode writes the data of one file and then its inode.
func (f *ffsWriter) writeNode(name string, n *Node, links int, data []byte) {
	ino := f.inodes[name]
	d := &dinode{mode: n.Mode, links: links, uid: n.UID, gid: n.GID, flags: n.Flags, mtime: n.Mtime, gen: f.rng.Uint32()>>1 | 1}
	if d.mtime.IsZero() {
		d.mtime = f.now
	}
	switch n.Mode & modeType {
	case ModeDir, ModeRegular:
		f.writeData(d, f.groupOf(ino), data, n.Holes && n.Mode&modeType == ModeRegular)
	case ModeSymlink:
		d.size = int64(len(n.Target))
		if d.size < f.maxShortLink() {
			d.short = n.Target
		} else {
			f.writeData(d, f.groupOf(ino), []byte(n.Target), false)
		}
	case ModeChar, ModeBlock:
		// dev_t of OpenBSD: 8 bits of major between 8 and 24 bits of minor.
		d.db[0] = int64(n.Major&0xff<<8 | n.Minor&0xff | n.Minor&0xffff00<<8)
	case ModeFIFO, ModeSocket:
	default:
		f.fail("%s: mode %o is no type of file", name, n.Mode)
	}
	f.putInode(ino, d)
}

// maxShortLink is fs_maxsymlinklen: shorter targets live in the inode.
func (f *ffsWriter) maxShortLink() int64 {
	if f.version == 1 {
		return 60
	}
	return 120
}

// directory returns the contents of a directory, in chunks of 512 bytes that no
// entry crosses.
func (f *ffsWriter) directory(tree Tree, dir string, names []string) []byte {
	const chunk = 512
	var out []byte
	last := 0 // where the last entry starts
	add := func(ino uint32, name string, mode uint32) {
		if len(name) > 255 {
			f.fail("%s: name of %d bytes", path.Join(dir, name), len(name))
			return
		}
		need := 8 + (len(name)+1+3)&^3
		if room := chunk - len(out)%chunk; len(out)%chunk != 0 && room < need {
			grow := len(out) + room
			le16(out[last+4:], uint16(grow-last))
			out = append(out, make([]byte, room)...)
		}
		last = len(out)
		e := make([]byte, need)
		le32(e, ino)
		le16(e[4:], uint16(need))
		e[6] = byte(mode & modeType >> 12)
		e[7] = byte(len(name))
		copy(e[8:], name)
		out = append(out, e...)
	}
	add(f.inodes[dir], ".", ModeDir)
	add(f.inodes[clean(path.Dir("/"+dir))], "..", ModeDir)
	for _, name := range names {
		n := tree[name]
		if n.HardLink != "" {
			n = tree[n.HardLink]
		}
		add(f.inodes[name], path.Base(name), n.Mode)
	}
	end := int(roundup(int64(len(out)), chunk))
	le16(out[last+4:], uint16(end-last))
	return append(out, make([]byte, end-len(out))...)
}
