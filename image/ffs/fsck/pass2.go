package fsck

import (
	"sort"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// Pass 2 reads every directory that pass 1 has found, in the order of their
// inodes, whether it hangs in the tree or not. When it is done,
//
//   - links has, for every inode, its link count minus the names that it has;
//   - every directory knows its parent, unless nobody has a name for it;
//   - in a repair: all chunks are legal, all entries lead to inodes in use and
//     tell their types, "." and ".." are first and right, and no directory
//     has two names.
//
// What is not mended is counted as if it were, so that one thing that is wrong
// is not reported as three.

// dirInfo is what is remembered of a directory.
type dirInfo struct {
	ino    uint32
	parent uint32 // the directory that has a name for it, or 0
	dotdot uint32 // what its ".." says, or 0
	flags  uint8
}

const (
	dirNoSize    = 1 << iota // has a size of 0
	dirHasNames              // more than "." and ".."
	dirNewDotDot             // its ".." is not known yet, without being reported
	dirReached               // hangs in the tree
	dirVisiting
)

// A removal is the name of a directory that has another one.
type removal struct {
	dir, child uint32
}

// A dirScan is the state of reading one directory.
type dirScan struct {
	in       inode
	d        *dirInfo
	holes    [][2]int64 // first block, count
	visit    visitor
	err      error
	removals []removal
}

// dir returns what is known of a directory, or nil.
func (c *checker) dir(ino uint32) *dirInfo {
	i := sort.Search(len(c.dirs), func(i int) bool { return c.dirs[i].ino >= ino })
	if i < len(c.dirs) && c.dirs[i].ino == ino {
		return &c.dirs[i]
	}
	return nil
}

// named counts a name of an inode, and unnamed takes it back.
func (c *checker) named(ino uint32) {
	if i := c.at(ino); i >= 0 && c.links[i] > -1<<31 {
		c.links[i]--
	}
}

func (c *checker) unnamed(ino uint32) {
	if i := c.at(ino); i >= 0 && c.links[i] < 1<<31-1 {
		c.links[i]++
	}
}

func (c *checker) pass2() error {
	if c.read2.visit.pointer == nil {
		c.read2.visit = visitor{
			pointer: c.readDirBlock,
			beyond:  func(pointer, int64) {},
			hole: func(lbn, n int64) {
				if h := c.read2.holes; len(h) > 0 && h[len(h)-1][0]+h[len(h)-1][1] == lbn {
					h[len(h)-1][1] += n
					return
				}
				c.read2.holes = append(c.read2.holes, [2]int64{lbn, n})
			},
		}
	}
	c.read2.removals = c.read2.removals[:0]
	if c.kind(ondisk.RootIno) != inoDir {
		what := "inode 2 is not in use"
		if c.kind(ondisk.RootIno) != inoFree {
			what = "inode 2 is no directory"
		}
		if _, mend := c.problem(c.aboutInode(codeRoot, ondisk.RootIno, false, "%s", what)); mend {
			if err := c.makeRoot(); err != nil {
				return err
			}
		}
	}
	if root := c.dir(ondisk.RootIno); root != nil {
		root.parent = ondisk.RootIno
	}
	for i := range c.dirs {
		if err := c.readDir(&c.dirs[i]); err != nil {
			return err
		}
	}
	for _, r := range c.read2.removals {
		if err := c.removeName(r.dir, r.child); err != nil {
			return err
		}
	}
	if err := c.settle(); err != nil {
		return err
	}
	for i := range c.dirs {
		if err := c.checkParent(&c.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// readDir reads one directory.
func (c *checker) readDir(d *dirInfo) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	r := &c.read2
	if err := c.load(d.ino, &r.in); err != nil {
		return err
	}
	in := &r.in
	if size, ok := c.soundSize(in); !ok {
		in.Size = uint64(size) // reported by pass 1
	}
	if in.Size == 0 {
		d.flags |= dirNoSize
		return nil // see checkParent
	}
	if in.Size < 24 || in.Size%ondisk.DirChunk != 0 {
		want := uint64(roundUp(int64(in.Size), ondisk.DirChunk))
		f := c.aboutInode(codeDirSize, d.ino, in.Size >= 24, "directory of %d bytes, want %d", in.Size, want)
		_, mend := c.problem(f)
		in.Size = want
		if mend {
			if err := c.store(in); err != nil {
				return err
			}
		}
	}
	r.d, r.err, r.holes = d, nil, r.holes[:0]
	if err := c.walk(in, &r.visit); err != nil {
		return err
	}
	if r.err != nil {
		return r.err
	}
	if len(r.holes) > 0 {
		return c.fillHoles(d, in)
	}
	return nil
}

// readDirBlock reads one block of the directory that is being read.
func (c *checker) readDirBlock(p pointer) bool {
	r := &c.read2
	if r.err != nil || p.level < 0 {
		return false
	}
	if !c.fits(p.addr, p.n) || c.loops(&r.in, p) {
		// Reported by pass 1; it will be a hole.
		r.visit.hole(p.lbn, max(1, divUp(c.spanBytes(&r.in, p), c.bsize)))
		return false
	}
	if p.level > 0 {
		return true
	}
	start := p.lbn * c.bsize
	n := min(p.n<<c.fshift, int64(r.in.Size)-start)
	c.block = buffer(c.block, c.bsize)
	b := c.block[:n]
	at := p.addr << c.fshift
	if r.err = c.read(b, at); r.err != nil {
		return false
	}
	if other := c.foreign(r.d, p, b); other != 0 {
		r.err = c.disown(r.d, b, at, other)
		return r.err == nil
	}
	for i := int64(0); i+ondisk.DirChunk <= n; i += ondisk.DirChunk {
		chunk := b[i : i+ondisk.DirChunk]
		if c.readChunk(r.d, chunk, start+i, at+i) {
			if r.err = c.write(chunk, at+i); r.err != nil {
				return false
			}
		}
	}
	return true
}
