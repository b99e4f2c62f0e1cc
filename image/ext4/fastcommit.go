package ext4

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A fast commit follows the last transaction. It does not copy blocks: it says
// what happened, as records like "inode 12 is now this" or "directory 2 has
// the name x for inode 12". They are kept as changes on top of what is on the
// device.

// maxFastBytes bounds the area of fast commits that is read: the default is
// 256 blocks.
const maxFastBytes = 16 << 20

// maxFastRanges bounds in how many pieces fast commits may change one file.
const maxFastRanges = 1 << 14

// fastRecords are the records of complete fast commits.
type fastRecords struct {
	records []ondisk.FCRecord
	commits int
}

// readFastCommits reads the fast commits behind the last transaction
// (ext4_fc_replay_scan), or nil if there are none.
func (j *journal) readFastCommits(ctx context.Context) (*fastRecords, error) {
	n := j.fastBlocks()
	if int64(n)*j.fs.blockSize > maxFastBytes {
		return nil, &vfs.NotSupportedError{What: fmt.Sprintf("%d blocks of fast commits", n), Off: j.off + 0x54}
	}
	if j.last == j.js.MaxLen {
		return nil, j.corrupt("%d blocks for fast commits in a journal of %d", n, j.js.MaxLen)
	}
	out := &fastRecords{}
	var pending []ondisk.FCRecord
	crc := uint32(0)
blocks:
	for b := j.last + 1; b < j.js.MaxLen; b++ { // one block is left unused
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := j.read(b); err != nil {
			return nil, err
		}
		for rest := slices.Clone(j.buf); len(rest) >= ondisk.FCTagSize; {
			r, ok := ondisk.DecodeFCRecord(rest)
			if !ok || !r.Known() {
				break blocks
			}
			rest = rest[len(r.Raw):]
			crc = r.CRC(crc)
			switch r.Tag {
			case ondisk.FCHead:
				features, tid := r.Head()
				if tid != j.end {
					break blocks // left over from an older transaction
				}
				if features != 0 {
					return nil, &vfs.NotSupportedError{What: fmt.Sprintf("fast commit features %#x", features), Off: -1}
				}
			case ondisk.FCTail:
				if tid, want := r.Tail(); tid != j.end || crc != want {
					break blocks
				}
				out.records = append(out.records, pending...)
				out.commits++
				pending, crc = nil, 0
			case ondisk.FCPad:
			default:
				pending = append(pending, r)
			}
		}
	}
	if out.commits == 0 {
		return nil, nil
	}
	return out, nil
}

// fastCommits are the changes that fast commits make. A nil one is none.
type fastCommits struct {
	inodes map[uint32][]byte // raw; nil if deleted
	ranges map[uint32][]fastRange
	dirs   map[uint32]*dirEdits
}

// fastRange says where blocks of a file are now. Those of one file do not
// overlap and are in order.
type fastRange struct {
	first, end uint64 // blocks of the file
	start      uint64 // block on the device; 0: a hole
	unwritten  bool   // reads as zeros all the same
}

// dirEdits are the names that changed in one directory.
type dirEdits struct {
	names map[string]uint32 // inode; 0 if removed
	order []string          // those with an inode, in the order in which they came
	fresh bool              // the directory is new: its blocks say nothing
}

// inode returns the inode as the fast commits left it, if they changed it: nil
// if they deleted it.
func (f *fastCommits) inode(ino uint32) (raw []byte, ok bool) {
	if f == nil {
		return nil, false
	}
	raw, ok = f.inodes[ino]
	return raw, ok
}

// run returns where block lblk of a file is now, if that changed; if not,
// which block is the next to have changed.
func (f *fastCommits) run(ino uint32, lblk uint64) (r run, next uint64, ok bool) {
	if f == nil {
		return run{}, fileBlocks, false
	}
	ranges := f.ranges[ino]
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].end > lblk })
	if i == len(ranges) {
		return run{}, fileBlocks, false
	}
	x := ranges[i]
	if lblk < x.first {
		return run{}, x.first, false
	}
	r = run{n: x.end - lblk}
	if x.start != 0 && !x.unwritten {
		r.start = x.start + lblk - x.first
	}
	return r, 0, true
}

// dir returns the names that changed in a directory. A nil result is none.
func (f *fastCommits) dir(ino uint32) *dirEdits {
	if f == nil {
		return nil
	}
	return f.dirs[ino]
}

// changes reports whether what the directory itself says of name is out of
// date.
func (d *dirEdits) changes(name []byte) bool {
	if d == nil {
		return false
	}
	_, ok := d.names[string(name)]
	return ok
}

// added yields the names that came, from cookie on.
func (d *dirEdits) added(cookie uint64, yield func(vfs.DirEntry, error) bool) {
	if d == nil {
		return
	}
	for i := cookie - addedCookie; i < uint64(len(d.order)); i++ {
		name := d.order[i]
		if !yield(vfs.DirEntry{Name: name, Ino: vfs.Ino(d.names[name]), Next: addedCookie + i + 1}, nil) {
			return
		}
	}
}

// applyFastCommits makes the changes of the records to fs (ext4_fc_replay). As
// on Linux, what does not fit is passed over: an inode that is not there, a
// name that has gone already. It is part of opening fs: nobody else uses it yet.
func (fs *FS) applyFastCommits(ctx context.Context, re *fastRecords) (err error) {
	fs.fast = &fastCommits{
		inodes: make(map[uint32][]byte),
		ranges: make(map[uint32][]fastRange),
		dirs:   make(map[uint32]*dirEdits),
	}
	for i, r := range re.records {
		if err := checkpoint(ctx, i); err != nil {
			return err
		}
		switch r.Tag {
		case ondisk.FCInode:
			err = fs.fastInode(r)
		case ondisk.FCAddRange, ondisk.FCDelRange:
			err = fs.fastRange(r)
		case ondisk.FCCreate, ondisk.FCLink, ondisk.FCUnlink:
			err = fs.fastName(ctx, r)
		}
		if err != nil {
			fs.fast = nil
			return err
		}
	}
	for _, d := range fs.fast.dirs {
		d.settle()
	}
	return nil
}

// fastInode replays the record of an inode.
func (fs *FS) fastInode(r ondisk.FCRecord) error {
	ino, raw := r.Inode()
	if ino == 0 || ino > fs.sb.InodesCount || ino < fs.firstIno && ino != ondisk.RootIno {
		return vfs.Corruptf(-1, "fast commit", "record of inode %d", ino)
	}
	now := fs.fast.inodes[ino]
	if now == nil {
		at, err := fs.locateInode(ino)
		if err != nil {
			return err
		}
		now = make([]byte, fs.inodeSize)
		if !at.unwritten {
			if err := devRead(fs.dev, now, at.off); err != nil {
				return err
			}
		}
	}
	ondisk.PatchInode(now, raw)
	fs.fast.inodes[ino] = now
	return nil
}

// fastRange replays the record of a range of blocks that was added to a file
// or removed from it.
func (fs *FS) fastRange(r ondisk.FCRecord) error {
	ino, first, n, x := r.Range()
	var in inode
	if err := fs.readInode(vfs.Ino(ino), &in); err != nil || !in.has(ondisk.FlExtents) {
		return ignoreErrno(err)
	}
	if n == 0 || uint64(first)+uint64(n) > fileBlocks {
		return in.corrupt("fast commit of %d blocks at block %d", n, first)
	}
	add := fastRange{first: uint64(first), end: uint64(first) + uint64(n)}
	if r.Tag == ondisk.FCAddRange {
		if !fs.validBlocks(x.Start, uint64(n)) {
			return in.corrupt("fast commit of %d blocks at device block %d, outside the file system", n, x.Start)
		}
		add.start, add.unwritten = x.Start, x.Unwritten
	}
	ranges := insertRange(fs.fast.ranges[ino], add)
	if len(ranges) > maxFastRanges {
		return &vfs.NotSupportedError{What: fmt.Sprintf("more than %d pieces of inode %d in fast commits", maxFastRanges, ino), Off: -1}
	}
	fs.fast.ranges[ino] = ranges
	return nil
}

// insertRange puts add into ranges in place of what it overlaps.
func insertRange(ranges []fastRange, add fastRange) []fastRange {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].end > add.first })
	k := i
	var keep []fastRange
	for ; k < len(ranges) && ranges[k].first < add.end; k++ {
		if old := ranges[k]; old.first < add.first {
			old.end = add.first
			keep = append(keep, old)
		}
		if k == i {
			keep = append(keep, add)
		}
		if old := ranges[k]; old.end > add.end {
			if old.start != 0 {
				old.start += add.end - old.first
			}
			old.first = add.end
			keep = append(keep, old)
		}
	}
	if k == i {
		keep = []fastRange{add}
	}
	return slices.Replace(ranges, i, k, keep...)
}

// fastName replays the record of a name that was created, linked or removed.
func (fs *FS) fastName(ctx context.Context, r ondisk.FCRecord) error {
	parent, ino, name := r.Name()
	var in, dir inode
	if err := fs.readInode(vfs.Ino(ino), &in); err != nil {
		return ignoreErrno(err)
	}
	if err := fs.dir(vfs.Ino(parent), &dir); err != nil {
		return ignoreErrno(err)
	}
	if len(name) > ondisk.NameMax || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return dir.corrupt("impossible name %q in a fast commit", name)
	}
	old, err := fs.find(ctx, &dir, name)
	if err != nil && err != syscall.ENOENT {
		return err
	}
	exists := err == nil
	links := in.Links
	switch r.Tag {
	case ondisk.FCUnlink:
		if !exists || old != ino {
			return nil
		}
		fs.fast.edit(parent).set(name, 0)
		links--
		if in.mode().IsDir() {
			links = 0
		}
	case ondisk.FCLink:
		if exists {
			return nil
		}
		fs.fast.edit(parent).set(name, ino)
		links++
	case ondisk.FCCreate:
		if in.mode().IsDir() {
			d := fs.fast.edit(ino)
			d.fresh = true
			d.set("..", parent)
			links = max(links, 2)
		} else {
			links = 1
		}
		if !exists {
			fs.fast.edit(parent).set(name, ino)
		}
	}
	if links == 0 {
		fs.fast.inodes[ino] = nil
		return nil
	}
	now := slices.Clone(in.raw)
	ondisk.SetLinks(now, links)
	fs.fast.inodes[ino] = now
	return nil
}

// edit returns the changes to a directory, to be added to.
func (f *fastCommits) edit(dir uint32) *dirEdits {
	d := f.dirs[dir]
	if d == nil {
		d = &dirEdits{names: make(map[string]uint32)}
		f.dirs[dir] = d
	}
	return d
}

// set notes that name is now inode ino, or that it is gone if ino is 0.
func (d *dirEdits) set(name string, ino uint32) {
	d.names[name] = ino
	if ino != 0 && name != ".." {
		d.order = append(d.order, name)
	}
}

// settle leaves each name that is there once in the order.
func (d *dirEdits) settle() {
	seen := make(map[string]bool, len(d.order))
	d.order = slices.DeleteFunc(d.order, func(name string) bool {
		gone := d.names[name] == 0 || seen[name]
		seen[name] = true
		return gone
	})
}

// ignoreErrno drops plain answers such as ENOENT and keeps damage and failure.
func ignoreErrno(err error) error {
	if isErrno(err) {
		return nil
	}
	return err
}
