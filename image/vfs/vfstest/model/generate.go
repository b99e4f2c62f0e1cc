package model

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// A choice is a kind of operation, and how often it is made.
type choice struct {
	weight int
	make   func(r *Run) (op Op, ok bool)
}

// choices are what next chooses from: about one operation in three writes.
var choices = []choice{
	{9, (*Run).create},
	{28, (*Run).write},
	{8, (*Run).truncate},
	{7, (*Run).fallocate},
	{9, (*Run).rename},
	{4, (*Run).link},
	{8, (*Run).unlink},
	{3, (*Run).rmdir},
	{8, (*Run).setattr},
	{2, (*Run).setFlags},
	{2, (*Run).clearFlags},
	{2, (*Run).pin},
	{3, (*Run).unpin},
	{2, (*Run).list},
	{3, (*Run).xattr},
}

// What is done less often than in one of a hundred operations: one in so many.
const (
	syncEvery   = 60
	reopenEvery = 2500
)

// next makes up an operation.
func (r *Run) next() Op {
	r.seq++
	switch {
	case r.opt.Reopen != nil && r.rnd.IntN(reopenEvery) == 0:
		return Op{Seq: r.seq, Kind: Reopen}
	case r.rnd.IntN(syncEvery) == 0:
		return Op{Seq: r.seq, Kind: Sync}
	}
	for {
		op, ok := r.choose()
		if ok {
			op.Seq = r.seq
			return op
		}
	}
}

func (r *Run) choose() (Op, bool) {
	// There should not be more and more of everything.
	if r.rnd.IntN(3) > 0 {
		if len(r.names.list) > r.opt.Names {
			return r.shrink()
		}
		if st, err := r.model.fs.Statfs(context.Background()); err == nil && int64(st.Blocks-st.Free)*st.BlockSize > r.opt.Bytes {
			return r.shrink()
		}
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := r.rnd.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.make(r)
		}
	}
	return Op{}, false
}

// shrink makes something smaller or fewer.
func (r *Run) shrink() (Op, bool) {
	switch r.rnd.IntN(8) {
	case 0:
		return r.truncate()
	case 1:
		return r.rmdir()
	case 2:
		return r.unpin()
	case 3:
		return r.fallocate()
	}
	return r.unlink()
}

// odds is true once in n times.
func (r *Run) odds(n int) bool { return r.rnd.IntN(n) == 0 }

// one returns one of list.
func one[T any](r *Run, list ...T) T { return list[r.rnd.IntN(len(list))] }

// dir is where something is to happen: nearly always a directory.
func (r *Run) dir() ID {
	if r.odds(150) {
		id, _ := r.all.pick(r.rnd)
		return id
	}
	// Some directories are liked more than others, and get large.
	if r.odds(3) {
		return r.dirs.list[r.rnd.IntN(min(len(r.dirs.list), 3))]
	}
	id, _ := r.dirs.pick(r.rnd)
	return id
}

const letters = "abcdefghijklmnopqrstuvwxyz"

// newName is a name that is free more often than not.
func (r *Run) newName() string {
	n := 1 + r.rnd.IntN(12)
	switch r.rnd.IntN(40) {
	case 0:
		return one(r, "", ".", "..", "a/b", "a\x00b", strings.Repeat("x", r.opt.Limits.NameMax+1))
	case 1, 2, 3, 4:
		n = 1 + r.rnd.IntN(r.opt.Limits.NameMax)
	case 5:
		n = r.opt.Limits.NameMax - r.rnd.IntN(4)
	case 6:
		if r.opt.Limits.Limits.CheckName != nil && r.odds(4) {
			return one(r, "a:b", "dot.", "space ", "tab\t", "???", "a.b.c", "+plus", ".ext", "😀", "LOUD.TXT", "Mixed.Txt", "quiet.TXT")
		}
		return one(r, "ä", "with space", "-", ".hidden", "日本", "\\", "*") + fmt.Sprint(r.rnd.IntN(10))
	}
	b := make([]byte, max(n, 1))
	for i := range b {
		b[i] = letters[r.rnd.IntN(len(letters))]
	}
	if r.opt.Limits.Limits.Fold != nil && r.odds(8) {
		return strings.ToUpper(string(b))
	}
	return string(b)
}

// name is a name that is there, nearly always.
func (r *Run) name() key {
	k, ok := r.names.pick(r.rnd)
	if !ok || r.odds(60) {
		return key{r.dir(), r.newName()}
	}
	if r.opt.Limits.Limits.Fold != nil && r.odds(2) {
		k.name = strings.ToLower(k.name)
	}
	return k
}

// any is a file of any type.
func (r *Run) any() ID {
	id, _ := r.all.pick(r.rnd)
	return id
}

// file is a regular file, nearly always.
func (r *Run) file() (ID, bool) {
	if r.odds(150) {
		return r.any(), true
	}
	return r.regular.pick(r.rnd)
}

// sizeOf is the size of a file, 0 for what has none.
func (r *Run) sizeOf(id ID) int64 {
	attr, err := r.model.fs.Getattr(context.Background(), r.model.ino[id])
	if err != nil || !attr.Mode.IsRegular() {
		return 0
	}
	return attr.Size
}

// amount is a number of bytes to write: mostly few, and often near a multiple
// of what the format allocates.
func (r *Run) amount() int64 {
	frag, block := int64(r.opt.FragSize), int64(r.opt.Limits.BlockSize)
	near := r.rnd.Int64N(3) - 1
	n := int64(0)
	switch k := r.rnd.IntN(100); {
	case k < 35:
		n = 1 + r.rnd.Int64N(2*frag)
	case k < 55:
		n = 1 + r.rnd.Int64N(2*block)
	case k < 70:
		n = frag*(1+r.rnd.Int64N(9)) + near
	case k < 82:
		n = block*(1+r.rnd.Int64N(5)) + near
	case k < 84:
		n = 0
	case k < 98:
		n = 1 + r.rnd.Int64N(14*block)
	default:
		n = 1 + r.rnd.Int64N(max(r.opt.Bytes/8, 1))
	}
	return min(max(n, 0), maxWrite, max(r.opt.Bytes/4, 2*block))
}

// place is an offset or size, for a file of that size.
func (r *Run) place(size int64) int64 {
	frag, block := int64(r.opt.FragSize), int64(r.opt.Limits.BlockSize)
	switch k := r.rnd.IntN(100); {
	case k < 40:
		return r.rnd.Int64N(size + 1)
	case k < 50:
		return r.rnd.Int64N(size+1) / block * block
	case k < 60:
		return r.rnd.Int64N(size+1) / frag * frag
	case k < 70:
		return size
	case k < 88:
		return size + r.rnd.Int64N(20*block)
	case k < 92 && len(r.opt.Sizes) > 0:
		return max(one(r, r.opt.Sizes...)+r.rnd.Int64N(4*block)-3*block, 0)
	case k < 94 && len(r.opt.Sizes) > 0:
		return max(one(r, r.opt.Sizes...)+r.rnd.Int64N(3)-1, 0)
	}
	return r.rnd.Int64N(16 * block)
}

func (r *Run) create() (Op, bool) {
	r.last++
	node := &vfs.NewNode{UID: r.owner(), GID: r.owner(), Mode: vfs.Mode(r.rnd.IntN(0o10000))}
	switch k := r.rnd.IntN(20); {
	case k < 9:
		node.Mode |= vfs.Regular
	case k < 13:
		node.Mode |= vfs.Dir
	case k < 17:
		node.Mode |= vfs.Symlink
		node.Target = r.target()
	case k < 19:
		node.Mode |= one(r, vfs.Char, vfs.Block)
		node.Rdev = vfs.Dev{Major: uint32(r.rnd.IntN(1 << 8)), Minor: uint32(r.rnd.IntN(1 << r.rnd.IntN(25)))}
		if bits := r.opt.Limits.Limits.MinorBits; bits > 0 {
			node.Rdev.Minor &= 1<<bits - 1
		}
	default:
		node.Mode |= one(r, vfs.FIFO, vfs.Socket)
	}
	if l := &r.opt.Limits.Limits; !l.Has(node.Mode) && !r.odds(10) {
		node.Mode = node.Mode.Perm() | one(r, l.Only...)
	}
	if r.odds(10) {
		node.Mtime = r.time()
	}
	if r.odds(50) {
		node.Flags = r.flags()
	}
	if r.odds(200) {
		node.Mode &^= vfs.TypeMask
	}
	op := Op{Kind: Create, File: r.last, Dir: r.dir(), Name: r.newName(), Node: node}
	if node.Mode.IsRegular() && r.odds(3) {
		op.Len, op.Data = r.amount(), r.rnd.IntN(maxWrite)
	}
	if r.odds(40) {
		k := r.name()
		op.Dir, op.Name = k.dir, k.name
	}
	return op, true
}

func (r *Run) owner() uint32 {
	if r.opt.Limits.Limits.Refuse != nil && !r.odds(6) {
		return 0
	}
	return one[uint32](r, 0, 0, 1, 1000, 65534, 65535, 65536, 1<<31, 1<<32-2)
}

// target is what a symbolic link points to.
func (r *Run) target() string {
	n := 1 + r.rnd.IntN(200)
	switch {
	case r.odds(60):
		n = one(r, 0, r.opt.Limits.SymlinkMax, r.opt.Limits.SymlinkMax+1)
	case len(r.opt.Targets) > 0 && r.odds(2):
		n = max(one(r, r.opt.Targets...)+r.rnd.IntN(3)-1, 1)
	case r.odds(10):
		n = 1 + r.rnd.IntN(r.opt.Limits.SymlinkMax)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghij/.-_"[r.rnd.IntN(14)]
	}
	return string(b)
}

// time is a time that files may be given.
func (r *Run) time() time.Time {
	from, to := r.opt.From.Unix(), r.opt.To.Unix()
	if r.odds(10) {
		return time.Unix(one(r, from, to, max(from, 0), max(from, -1)), 0)
	}
	return time.Unix(from+r.rnd.Int64N(to-from), r.rnd.Int64N(1e9))
}

func (r *Run) flags() vfs.Flags {
	if fl := r.opt.Limits.Limits.Written; fl != 0 && !r.odds(6) {
		return one(r, 0, fl, fl|vfs.UserReadOnly, vfs.UserHidden, vfs.UserSystem|vfs.UserHidden)
	}
	return one(r, vfs.UserNoDump, vfs.SystemArchived, vfs.UserOpaque, vfs.UserImmutable, vfs.UserAppend,
		vfs.SystemImmutable, vfs.SystemAppend, vfs.SystemImmutable|vfs.UserNoDump)
}

func (r *Run) write() (Op, bool) {
	id, ok := r.file()
	if !ok {
		return Op{}, false
	}
	size := r.sizeOf(id)
	op := Op{Kind: Write, File: id, Off: size, Len: r.amount(), Data: r.rnd.IntN(maxWrite)}
	if r.odds(2) {
		op.Off = r.place(size)
	}
	if r.odds(10) {
		op.Data = 0
	}
	if r.odds(400) && !r.opt.Limits.Limits.LooseSize {
		op.Off = one(r, -1, 1<<63-1, r.opt.Limits.MaxSize-op.Len, r.opt.Limits.MaxSize-op.Len+1)
		if op.Off == r.opt.Limits.MaxSize-op.Len && r.opt.Limits.Limits.NoHoles {
			op.Off++ // there may not be so much space
		}
	}
	return op, true
}

func (r *Run) truncate() (Op, bool) {
	id, ok := r.file()
	if !ok {
		return Op{}, false
	}
	size := r.place(r.sizeOf(id))
	switch {
	case r.odds(5):
		size = 0
	case r.odds(300) && !r.opt.Limits.Limits.LooseSize:
		size = one(r, -1, 1<<63-1, r.opt.Limits.MaxSize, r.opt.Limits.MaxSize+1)
		if size == r.opt.Limits.MaxSize && r.opt.Limits.Limits.NoHoles {
			size++
		}
	}
	return Op{Kind: Setattr, File: id, Set: &vfs.SetAttr{Size: &size}}, true
}

func (r *Run) fallocate() (Op, bool) {
	if _, ok := r.driver.fs.(vfs.Fallocater); !ok {
		return Op{}, false
	}
	id, ok := r.file()
	if !ok {
		return Op{}, false
	}
	size := r.sizeOf(id)
	op := Op{Kind: Fallocate, File: id, Len: r.amount(), Flags: uint32(one(r,
		0, vfs.AllocKeepSize, vfs.AllocPunchHole|vfs.AllocKeepSize, vfs.AllocPunchHole|vfs.AllocKeepSize,
		vfs.AllocZeroRange, vfs.AllocZeroRange|vfs.AllocKeepSize))}
	if r.opt.Limits.Limits.NoHoles && !r.odds(8) {
		op.Flags = 0
	}
	if op.Off = r.rnd.Int64N(size + 1); r.odds(4) {
		op.Off = r.place(size)
	}
	if r.odds(3) {
		op.Off -= op.Off % int64(r.opt.Limits.BlockSize)
	}
	switch {
	case op.Flags&uint32(vfs.AllocPunchHole) != 0 && r.odds(3):
		op.Len = max(size-op.Off, 1) // to the end, however large
	case r.odds(100):
		op.Flags = uint32(one(r, vfs.AllocPunchHole, vfs.AllocZeroRange|vfs.AllocPunchHole|vfs.AllocKeepSize, 0x08, 0x20))
	case r.odds(100):
		op.Off, op.Len = one(r, -1, 1<<63-1, op.Off), one(r, 0, -1, op.Len)
	}
	return op, true
}

func (r *Run) rename() (Op, bool) {
	from := r.name()
	to := key{r.dir(), r.newName()}
	if r.odds(2) {
		to = r.name()
	}
	flags := vfs.RenameFlags(0)
	switch r.rnd.IntN(8) {
	case 0:
		flags = vfs.RenameNoReplace
	case 1:
		flags = vfs.RenameExchange
	}
	if r.odds(200) {
		flags = one(r, vfs.RenameExchange|vfs.RenameNoReplace, 4)
	}
	return Op{Kind: Rename, Dir: from.dir, Name: from.name, To: to.dir, ToName: to.name, Flags: uint32(flags)}, true
}

func (r *Run) link() (Op, bool) {
	if r.opt.Limits.Limits.NoLinks && !r.odds(10) {
		return Op{}, false
	}
	op := Op{Kind: Link, File: r.any(), Dir: r.dir(), Name: r.newName()}
	if r.odds(20) {
		k := r.name()
		op.Dir, op.Name = k.dir, k.name
	}
	return op, true
}

func (r *Run) unlink() (Op, bool) {
	k := r.name()
	if id, ok := r.byName[k]; ok && r.files[id].typ == vfs.Dir && !r.odds(20) {
		return Op{}, false
	}
	return Op{Kind: Unlink, Dir: k.dir, Name: k.name}, true
}

func (r *Run) rmdir() (Op, bool) {
	k := r.name()
	for range 50 {
		if id, ok := r.byName[k]; ok && r.files[id].typ == vfs.Dir {
			break
		}
		k = r.name()
	}
	return Op{Kind: Rmdir, Dir: k.dir, Name: k.name}, true
}

func (r *Run) setattr() (Op, bool) {
	set := &vfs.SetAttr{}
	for *set == (vfs.SetAttr{}) {
		if r.odds(3) {
			m := vfs.Mode(r.rnd.IntN(0o10000))
			if r.opt.Limits.Limits.Refuse != nil && !r.odds(8) {
				m &= 0o777
			}
			set.Mode = &m
		}
		if r.odds(5) {
			id := r.owner()
			set.UID = &id
		}
		if r.odds(5) {
			id := r.owner()
			set.GID = &id
		}
		if r.odds(4) {
			t := r.time()
			set.Atime = &t
		}
		if r.odds(4) {
			t := r.time()
			set.Mtime = &t
		}
		if r.odds(15) {
			t := r.time()
			set.Btime = &t
		}
		if r.odds(15) {
			size := r.rnd.Int64N(int64(4 * r.opt.Limits.BlockSize))
			set.Size = &size
		}
		if r.odds(30) {
			f := r.flags()
			set.Flags = &f
		}
	}
	return Op{Kind: Setattr, File: r.any(), Set: set}, true
}

func (r *Run) setFlags() (Op, bool) {
	if len(r.flagged.list) > 12 {
		return r.clearFlags()
	}
	f := r.flags()
	return Op{Kind: Setattr, File: r.any(), Set: &vfs.SetAttr{Flags: &f}}, true
}

func (r *Run) clearFlags() (Op, bool) {
	id, ok := r.flagged.pick(r.rnd)
	if !ok {
		return Op{}, false
	}
	return Op{Kind: Setattr, File: id, Set: &vfs.SetAttr{Flags: new(vfs.Flags)}}, true
}

func (r *Run) pin() (Op, bool) {
	if len(r.pinned.list) > 12 {
		return r.unpin()
	}
	return Op{Kind: Pin, File: r.any()}, true
}

func (r *Run) unpin() (Op, bool) {
	id, ok := r.pinned.pick(r.rnd)
	return Op{Kind: Unpin, File: id}, ok
}

// list lists a directory that changes meanwhile.
func (r *Run) list() (Op, bool) {
	dir := r.dir()
	var here []key
	for _, k := range r.names.list {
		if k.dir == dir {
			here = append(here, k)
		}
	}
	op := Op{Kind: ReadDir, Dir: dir, Len: int64(r.rnd.IntN(len(here) + 2))}
	for range r.rnd.IntN(6) {
		if len(here) > 0 && !r.odds(3) {
			k := one(r, here...)
			if r.odds(4) {
				op.Meanwhile = append(op.Meanwhile, Op{Kind: Rename, Dir: dir, Name: k.name, To: r.dir(), ToName: r.newName()})
			} else {
				op.Meanwhile = append(op.Meanwhile, Op{Kind: Unlink, Dir: dir, Name: k.name})
			}
			continue
		}
		r.last++
		op.Meanwhile = append(op.Meanwhile, Op{
			Kind: Create, File: r.last, Dir: dir, Name: r.newName(), Node: &vfs.NewNode{Mode: vfs.Regular | 0o644},
		})
	}
	return op, true
}

func (r *Run) xattr() (Op, bool) {
	if _, ok := r.driver.fs.(vfs.XattrWriter); !ok || r.opt.Limits.NoXattrs && !r.odds(20) {
		return Op{}, false
	}
	name := one(r, "user.a", "user.b", "user.longer.name", "trusted.t", "security.s", "user."+strings.Repeat("n", 100), "nothing.of.that")
	if r.odds(3) {
		return Op{Kind: RemoveXattr, File: r.any(), Name: name}, true
	}
	n := r.rnd.IntN(30)
	if r.odds(5) {
		n = r.rnd.IntN(1000)
	}
	return Op{
		Kind: SetXattr, File: r.any(), Name: name, Len: int64(n), Data: 1 + r.rnd.IntN(maxWrite-1),
		Flags: one[uint32](r, 0, 0, 0, 1, 2),
	}, true
}
