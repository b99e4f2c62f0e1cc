package fsck

import (
	"fmt"
	"slices"
	"sort"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// Pass 2 reads every directory that pass 1 has found, in the order of their
// inodes, whether it hangs in the tree or not. When it is done,
//
//   - the names of every inode are counted, and every directory knows its
//     parent, unless nobody has a name for it;
//   - in a repair: all blocks are legal, all entries lead to inodes in use and
//     tell their types, "." and ".." are first, and no directory has two names.
//
// What is not mended is counted as if it were, so that one thing that is wrong
// is not reported as three.

// dirInfo is what is remembered of a directory.
type dirInfo struct {
	ino     uint32
	parent  uint32 // the directory that has a name for it, or 0
	dotdot  uint32 // what its ".." says, or 0
	subdirs uint32 // that have it as their parent
	links   uint16 // i_links_count
	flags   uint8
}

const (
	dirReached  = 1 << iota // hangs in the tree
	dirVisiting             // is on the way up that is being gone
	dirNoDotDot             // its ".." is not known, which has been reported
	dirUnmended             // something about its names was not mended
)

// dir returns what is known of a directory, or nil.
func (c *checker) dir(ino uint32) *dirInfo {
	i := sort.Search(len(c.dirs), func(i int) bool { return c.dirs[i].ino >= ino })
	if i < len(c.dirs) && c.dirs[i].ino == ino {
		return &c.dirs[i]
	}
	return nil
}

// A dirRead is the state of reading one directory.
type dirRead struct {
	d      *dirInfo
	in     inode
	index  *dirIndex // of a directory with a hash tree
	hashes []uint64  // of the names, to find those that are there twice
	buf    []byte
	types  bool // entries have types
}

func (c *checker) pass2() error {
	r := &dirRead{types: c.hasIncompat(ondisk.IncompatFiletype)}
	if c.kind.get(ondisk.RootIno)&inoKind != inoDir {
		if err := c.missingRoot(); err != nil {
			return err
		}
	}
	if root := c.dir(ondisk.RootIno); root != nil {
		root.parent = ondisk.RootIno
	}
	for i := range c.dirs {
		r.d = &c.dirs[i]
		if err := c.readDir(r); err != nil {
			return err
		}
	}
	return nil
}

// maxNames bounds how many names of a directory are compared with each other.
const maxNames = 1 << 20

// readDir reads one directory.
func (c *checker) readDir(r *dirRead) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := c.load(r.d.ino, &r.in); err != nil {
		return err
	}
	r.hashes, r.index = r.hashes[:0], nil
	if r.in.has(ondisk.FlInlineData) {
		return c.readInlineDir(r)
	}
	runs, err := c.runs(&r.in, 1<<24)
	if err != nil {
		return err
	}
	if r.in.has(ondisk.FlIndex) {
		if err := c.readIndex(r, runs); err != nil {
			return err
		}
	}
	blocks := r.in.Size >> c.bshift
	next := uint64(0)
	for _, run := range runs {
		if run.lblk > next {
			if err := c.dirHole(r, next, run.lblk-next); err != nil {
				return err
			}
		}
		if err := c.readDirRun(r, run); err != nil {
			return err
		}
		next = run.lblk + run.n
	}
	if next < blocks && len(runs) > 0 {
		if err := c.dirHole(r, next, blocks-next); err != nil {
			return err
		}
	}
	if r.index != nil {
		if err := c.judgeIndex(r); err != nil {
			return err
		}
	}
	return c.findTwins(r)
}

// dirBytes is how much of a directory is read at a time.
const dirBytes = 64 << 10

// readDirRun reads blocks of a directory that lie together.
func (c *checker) readDirRun(r *dirRead, run run) error {
	per := uint64(max(dirBytes>>c.bshift, 1))
	for i := uint64(0); i < run.n; i += per {
		n := min(per, run.n-i)
		r.buf = buffer(r.buf, dirBytes)
		b := r.buf[:n<<c.bshift]
		if err := c.read(b, c.off(run.start+i)); err != nil {
			return err
		}
		for k := range n {
			block := b[k<<c.bshift:][:c.bsize]
			if err := c.readDirBlock(r, block, run.lblk+i+k, run.start+i+k); err != nil {
				return err
			}
		}
	}
	return c.ctx.Err()
}

// dirHole deals with blocks that a directory should have.
func (c *checker) dirHole(r *dirRead, lblk, n uint64) error {
	f, mend := c.problem(c.aboutDir(codeDirHole, r.d.ino, -1, "blocks %d to %d are not there", lblk, lblk+n-1))
	if !mend {
		return nil
	}
	f.lose("the names that were in %d blocks of directory %d", n, r.d.ino)
	return c.closeHoles(r)
}

// named counts a name of a file.
func (c *checker) named(ino uint32) {
	if l, ok := c.links[ino]; ok {
		l.found++
		c.links[ino] = l
		return
	}
	k := c.kind.get(ino)
	if k&inoNamed != 0 {
		c.links[ino] = linkCount{has: 1, found: 2}
		return
	}
	c.kind.put(ino, k|inoNamed)
}

// names is how many names have been found of a file, and how many links it
// counts.
func (c *checker) names(ino uint32) (found, has uint32) {
	if l, ok := c.links[ino]; ok {
		return l.found, l.has
	}
	if c.kind.get(ino)&inoNamed != 0 {
		return 1, 1
	}
	return 0, 1
}

// findTwins looks for names that are there twice.
func (c *checker) findTwins(r *dirRead) error {
	if len(r.hashes) < 2 || r.in.has(ondisk.FlCasefold) {
		return nil
	}
	slices.Sort(r.hashes)
	twice := map[uint64]bool{}
	for i, h := range r.hashes[1:] {
		if h == r.hashes[i] {
			twice[h] = true
		}
	}
	if len(twice) == 0 {
		return nil
	}
	seen := map[string]bool{}
	return c.editDir(r.d.ino, func(b *dirBlock) (changed, done bool) {
		for e := range b.entries() {
			if e.ino == 0 || !twice[nameHash(e.name)] {
				continue
			}
			if !seen[string(e.name)] {
				seen[string(e.name)] = true
				continue
			}
			f, mend := c.problem(c.aboutDir(codeEntryTwice, r.d.ino, b.at+int64(e.at), "the name %q is there twice", e.name))
			if !mend {
				continue
			}
			f.lose("the name %q of inode %d", e.name, e.ino)
			c.unnamed(r.d, e.ino)
			b.drop(e)
			changed = true
		}
		return changed, false
	})
}

// unnamed takes back that a name was counted.
func (c *checker) unnamed(d *dirInfo, ino uint32) {
	if child := c.dir(ino); child != nil {
		if child.parent == d.ino {
			child.parent = 0
		}
		return
	}
	if l, ok := c.links[ino]; ok {
		l.found -= min(l.found, 1)
		c.links[ino] = l
		return
	}
	c.kind.put(ino, c.kind.get(ino)&inoKind)
}

// missingRoot deals with a file system without a root directory.
func (c *checker) missingRoot() error {
	what := "inode 2 is not in use"
	if c.kind.get(ondisk.RootIno) != inoFree {
		what = "inode 2 is no directory"
	}
	f, mend := c.problem(c.aboutInode(codeRoot, ondisk.RootIno, "%s", what))
	if !mend {
		return nil
	}
	if err := c.makeRoot(); err != nil {
		return fmt.Errorf("make a root directory: %w", err)
	}
	f.Detail += "; a new one is made"
	return nil
}
