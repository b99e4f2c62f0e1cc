package ext4

import (
	"context"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// dxPlace is a place in one block of a directory's index.
type dxPlace struct {
	entries ondisk.DxEntries
	at      int // current entry
}

// findHashed finds name through the hash tree of a directory. It reports false
// if the tree cannot be used, being of an unknown kind or out of order: then
// the directory is still a list of names.
func (fs *FS) findHashed(ctx context.Context, in *inode, name string) (ino uint32, usable bool, err error) {
	m := fs.mapper(in)
	b, _, err := fs.dirBlock(&m, 0)
	if err != nil {
		return 0, false, err
	}
	root := ondisk.DecodeDxRoot(b)
	levels := ondisk.MaxDxLevelsOld
	if fs.sb.FeatureIncompat&ondisk.IncompatLargeDir != 0 {
		levels = ondisk.MaxDxLevels
	}
	if root.Reserved != 0 || root.InfoLength != 8 || root.UnusedFlags&1 != 0 || int(root.IndirectLevels) >= levels {
		return 0, false, nil
	}
	version := root.HashVersion
	if version <= ondisk.HashTEA && fs.sb.Flags&ondisk.FlagUnsignedHash != 0 {
		version += ondisk.HashLegacyUnsigned
	}
	hash, ok := ondisk.NameHash(name, version, fs.sb.HashSeed)
	if !ok {
		return 0, false, nil
	}
	// Old file systems do not say whether C's char was signed. Then only a hit
	// means something.
	certain := fs.sb.Flags&(ondisk.FlagSignedHash|ondisk.FlagUnsignedHash) != 0 || isASCII(name)

	path := make([]dxPlace, 0, ondisk.MaxDxLevels)
	place, ok := fs.dxPlace(b, ondisk.DxRootEntries, hash)
	if !ok {
		return 0, false, nil
	}
	path = append(path, place)
	// Names whose hashes are equal may go on in the next block. No tree has
	// more leaves than the directory has blocks.
	for range uint64(in.size)/uint64(fs.blockSize) + 1 {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		for len(path) <= int(root.IndirectLevels) {
			p := path[len(path)-1]
			b, ok, err := fs.dxBlock(&m, p.entries.Block(p.at))
			if err != nil || !ok || !isDxNode(b) {
				return 0, false, err
			}
			if place, ok = fs.dxPlace(b, ondisk.DxNodeEntries, hash); !ok {
				return 0, false, nil
			}
			path = append(path, place)
		}
		leaf := path[len(path)-1]
		b, ok, err := fs.dxBlock(&m, leaf.entries.Block(leaf.at))
		if err != nil || !ok {
			return 0, false, err
		}
		if _, err := fs.scanBlock(in, b, 0, 0, 0, func(e *entry) bool {
			if string(e.name) == name {
				ino = e.ino
			}
			return ino == 0
		}); err != nil || ino != 0 {
			return ino, err == nil, err
		}
		if !dxNext(&path, hash) {
			if !certain {
				return 0, false, nil
			}
			return 0, true, syscall.ENOENT
		}
	}
	return 0, false, nil
}

// dxBlock is dirBlock for a block that the index names; false if there is no
// such block.
func (fs *FS) dxBlock(m *mapper, lblk uint32) ([]byte, bool, error) {
	if lblk == 0 || int64(lblk) >= (m.in.size+fs.blockSize-1)/fs.blockSize {
		return nil, false, nil
	}
	b, _, err := fs.dirBlock(m, uint64(lblk))
	return b, true, err
}

// dxPlace finds the entry for hash in the index block b, whose entries begin
// at off: the last whose own hash is not greater.
func (fs *FS) dxPlace(b []byte, off int, hash uint32) (dxPlace, bool) {
	e := ondisk.DxEntries(b[off:])
	if e.Count() == 0 || e.Count() > e.Limit() || e.Limit() > len(e)/ondisk.DxEntrySize {
		return dxPlace{}, false
	}
	i := sort.Search(e.Count()-1, func(i int) bool { return e.Hash(i+1) > hash })
	return dxPlace{e, i}, true
}

// dxNext moves path to the next leaf if names of the same hash go on there
// (ext4_htree_next_block): its lowest bit says that they may. What is below the
// entry that moved is cut off, for the caller to read again.
func dxNext(path *[]dxPlace, hash uint32) bool {
	p := *path
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].at+1 == p[i].entries.Count() {
			continue
		}
		p[i].at++
		if p[i].entries.Hash(p[i].at)&^1 != hash {
			return false
		}
		*path = p[:i+1]
		return true
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
