package ext4

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An indexError says why a hash tree cannot be used. To those who read, its
// directory is then still a list of names.
type indexError struct{ error }

func (e *indexError) Unwrap() error { return e.error }

func isIndexError(err error) bool {
	var bad *indexError
	return errors.As(err, &bad)
}

// dxNode is a block of a directory's index, and an entry of it.
type dxNode struct {
	lblk uint32 // block of the directory
	off  int64  // byte offset on the device
	b    []byte
	base int // where the entries begin
	at   int // current entry
}

func (n *dxNode) entries() ondisk.DxEntries { return ondisk.DxEntries(n.b[n.base:]) }

// child is the block of the directory that the current entry leads to.
func (n *dxNode) child() uint32 { return n.entries().Block(n.at) }

func (n *dxNode) full() bool { return n.entries().Count() == n.entries().Limit() }

// dxTree is the hash tree of a directory, and a path in it that leads to a
// leaf.
type dxTree struct {
	fs      *FS
	in      *inode
	m       mapper
	version uint8 // of the hash, with the signedness of characters
	depth   int   // index levels below the root
	path    []dxNode
	steps   uint64 // leaves that may still be visited
}

// dxTree reads the root of the hash tree of a directory.
func (fs *FS) dxTree(in *inode) (*dxTree, error) {
	t := &dxTree{fs: fs, in: in, m: fs.mapper(in), path: make([]dxNode, 0, ondisk.MaxDxLevels)}
	b, off, err := fs.dirBlock(&t.m, 0)
	if err != nil {
		return nil, err
	}
	root := ondisk.DecodeDxRoot(b)
	if root.Reserved != 0 || root.InfoLength != 8 || root.UnusedFlags&1 != 0 || int(root.IndirectLevels) >= fs.dxLevels() {
		return nil, t.bad(off, "root: reserved %#x, length %d, %d levels, flags %#x",
			root.Reserved, root.InfoLength, root.IndirectLevels, root.UnusedFlags)
	}
	if root.HashVersion > ondisk.HashTEA {
		return nil, &indexError{&vfs.NotSupportedError{
			What: fmt.Sprintf("hash version %d of %s", root.HashVersion, in.dirName()), Off: off}}
	}
	t.version, t.depth = fs.hashVersion(root.HashVersion), int(root.IndirectLevels)
	// No tree has more leaves than the directory has blocks.
	t.steps = uint64(in.size)/uint64(fs.blockSize) + 1
	return t, t.push(0, b, off, ondisk.DxRootEntries)
}

// dxLevels is how many levels an index may have (ext4_dir_htree_level).
func (fs *FS) dxLevels() int {
	if fs.sb.FeatureIncompat&ondisk.IncompatLargeDir != 0 {
		return ondisk.MaxDxLevels
	}
	return ondisk.MaxDxLevelsOld
}

// hashVersion adds to the version of a hash whether characters are signed.
func (fs *FS) hashVersion(v uint8) uint8 {
	if v <= ondisk.HashTEA && fs.sb.Flags&ondisk.FlagUnsignedHash != 0 {
		v += ondisk.HashLegacyUnsigned
	}
	return v
}

// hashCertain reports whether the hash of name is what it was to whoever put it
// there. Old file systems do not say whether C's char was signed.
func (fs *FS) hashCertain(name string) bool {
	return fs.sb.Flags&(ondisk.FlagSignedHash|ondisk.FlagUnsignedHash) != 0 || isASCII(name)
}

func (t *dxTree) bad(off int64, format string, args ...any) error {
	return &indexError{vfs.Corruptf(off, t.in.dirName()+" index", format, args...)}
}

// hash is the hash of name in this tree.
func (t *dxTree) hash(name string) uint32 {
	h, _ := ondisk.NameHash(name, t.version, t.fs.sb.HashSeed)
	return h
}

// push adds an index block to the path, after checking it.
func (t *dxTree) push(lblk uint32, b []byte, off int64, base int) error {
	n := dxNode{lblk: lblk, off: off, b: b, base: base}
	e := n.entries()
	if e.Count() == 0 || e.Count() > e.Limit() || e.Limit() > len(e)/ondisk.DxEntrySize {
		return t.bad(off, "%d entries of %d", e.Count(), e.Limit())
	}
	t.path = append(t.path, n)
	return nil
}

// seek makes the path lead to the first leaf that may have names of this hash.
func (t *dxTree) seek(hash uint32) error {
	t.path = t.path[:1]
	return t.descend(hash)
}

// descend goes on from the last node of the path to the index block above the
// leaf for hash.
func (t *dxTree) descend(hash uint32) error {
	for {
		n := &t.path[len(t.path)-1]
		e := n.entries()
		// The last whose own hash is not greater.
		n.at = sort.Search(e.Count()-1, func(i int) bool { return e.Hash(i+1) > hash })
		if len(t.path) > t.depth {
			return nil
		}
		lblk := n.child()
		b, off, err := t.block(lblk)
		if err != nil {
			return err
		}
		if !isDxNode(b) {
			return t.bad(off, "block %d is no index block", lblk)
		}
		if err := t.push(lblk, b, off, ondisk.DxNodeEntries); err != nil {
			return err
		}
	}
}

// block is a block that the index names.
func (t *dxTree) block(lblk uint32) ([]byte, int64, error) {
	if blocks := (t.in.size + t.fs.blockSize - 1) / t.fs.blockSize; lblk == 0 || int64(lblk) >= blocks {
		return nil, 0, t.bad(t.path[len(t.path)-1].off, "leads to block %d of %d", lblk, blocks)
	}
	return t.fs.dirBlock(&t.m, uint64(lblk))
}

// leaf is the block that the path leads to, its offset on the device, and its
// number in the directory.
func (t *dxTree) leaf() (b []byte, off int64, lblk uint32, err error) {
	lblk = t.path[len(t.path)-1].child()
	b, off, err = t.block(lblk)
	return b, off, lblk, err
}

// next moves the path to the next leaf (ext4_htree_next_block), and returns the
// least hash there: its lowest bit says that names of that hash may be in the
// leaf before as well. It is false behind the last leaf.
func (t *dxTree) next() (hash uint32, ok bool, err error) {
	if t.steps--; t.steps == 0 {
		return 0, false, t.bad(t.path[0].off, "more leaves than blocks")
	}
	for i := len(t.path) - 1; i >= 0; i-- {
		n := &t.path[i]
		if n.at+1 == n.entries().Count() {
			continue
		}
		n.at++
		hash = n.entries().Hash(n.at)
		t.path = t.path[:i+1]
		for len(t.path) <= t.depth {
			lblk := t.path[len(t.path)-1].child()
			b, off, err := t.block(lblk)
			if err != nil {
				return 0, false, err
			}
			if !isDxNode(b) {
				return 0, false, t.bad(off, "block %d is no index block", lblk)
			}
			if err := t.push(lblk, b, off, ondisk.DxNodeEntries); err != nil {
				return 0, false, err
			}
		}
		return hash, true, nil
	}
	return 0, false, nil
}

// findHashed finds name through the hash tree of a directory. It reports false
// if the tree cannot be used, being of an unknown kind or out of order.
func (fs *FS) findHashed(ctx context.Context, in *inode, name string) (ino uint32, usable bool, err error) {
	t, err := fs.dxTree(in)
	if err == nil {
		_, _, ino, err = t.find(ctx, name)
	}
	switch {
	case isIndexError(err), err == syscall.ENOENT && !fs.hashCertain(name):
		return 0, false, nil
	case err == syscall.ENOENT:
		return 0, true, err
	}
	return ino, err == nil, err
}

// find moves the path to the leaf that has name, and returns the leaf's block,
// the place of the entry in it and its inode; ENOENT if there is no such name.
func (t *dxTree) find(ctx context.Context, name string) (lblk uint32, at int, ino uint32, err error) {
	hash := t.hash(name)
	if err := t.seek(hash); err != nil {
		return 0, 0, 0, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return 0, 0, 0, err
		}
		b, off, lblk, err := t.leaf()
		if err != nil {
			return 0, 0, 0, err
		}
		a := t.fs.blockArea(t.in, b, off)
		at, ino, err := a.find(name)
		if err != nil || at >= 0 {
			return lblk, at, ino, err
		}
		switch next, ok, err := t.next(); {
		case err != nil:
			return 0, 0, 0, err
		case !ok || next != hash|1:
			return 0, 0, 0, syscall.ENOENT
		}
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
