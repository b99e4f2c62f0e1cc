package ffs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// list returns the names of a directory, and the error that ended it.
func list(f *FS, dir vfs.Ino) (names []string, err error) {
	for e, err := range f.ReadDir(ctx, dir, 0) {
		if err != nil {
			return names, err
		}
		names = append(names, e.Name)
	}
	return names, nil
}

func TestInodesNotInUse(t *testing.T) {
	for _, l := range layouts(8192, 1024) {
		img := smallImage(t, l)
		f := img.open()
		used := 0
		for n := range f.geo.inodes() + 5 {
			_, err := f.Getattr(ctx, vfs.Ino(n))
			if err == nil {
				used++
				continue
			}
			// Unwritten ones are full of 0xAA: they must not be looked at.
			require.Equal(t, syscall.ENOENT, err, "%v: inode %d", l, n)
		}
		st, err := f.Statfs(ctx)
		require.NoError(t, err)
		assert.Equal(t, st.Files-st.FilesFree, uint64(used), "%v", l)
	}
}

func TestDamagedInode(t *testing.T) {
	for name, change := range map[string]func(in *inode){
		"mode without type": func(in *inode) { in.Mode = 0o644 },
		"unknown type":      func(in *inode) { in.Mode = 0o030644 },
		"negative size":     func(in *inode) { in.Size = 1 << 63 },
		"endless size":      func(in *inode) { in.Size = 1<<63 - 1 },
	} {
		img := smallImage(t, layout{2, false, 8192, 1024})
		in := img.inode("/file")
		change(in)
		img.setInode(in)
		f := img.open()
		_, err := f.Getattr(ctx, vfs.Ino(in.num))
		var corrupt *vfs.CorruptError
		require.ErrorAs(t, err, &corrupt, name)
		assert.Equal(t, in.off, corrupt.Off, name)
		_, err = f.Lookup(ctx, f.Root(), "file")
		assert.ErrorAs(t, err, &corrupt, name)
		names, err := list(f, f.Root())
		assert.NoError(t, err)
		assert.Contains(t, names, "file", "the directory is fine")
	}
}

// A directory entry for a free inode is the directory's fault, not "no such file".
func TestEntryOfFreeInodeIsDamage(t *testing.T) {
	img := smallImage(t, layout{1, true, 8192, 1024})
	in := img.inode("/file")
	in.Mode = 0
	img.setInode(in)
	f := img.open()
	_, err := f.Lookup(ctx, f.Root(), "file")
	var corrupt *vfs.CorruptError
	require.ErrorAs(t, err, &corrupt)
	assert.Equal(t, "directory 2", corrupt.Structure)
	assert.Contains(t, corrupt.Detail, "not in use")
	assert.Equal(t, byte('f'), img.data[corrupt.Off+ondisk.DirentHeader], "the error points at the entry")
}

func TestDamagedDirectory(t *testing.T) {
	l := layout{2, false, 8192, 1024}
	// rootEntry returns the offset of the entry of a name in the root.
	rootEntry := func(img *image, name string) int64 {
		f := img.open()
		var root inode
		require.NoError(t, f.read(2, &root))
		at := int64(-1)
		require.NoError(t, f.scanDir(ctx, &root, 0, func(e *entry) bool {
			if string(e.name) == name {
				at = e.at
			}
			return true
		}))
		require.Positive(t, at)
		return at
	}
	le := ondisk.Order{}
	for name, change := range map[string]func(b []byte){
		"length 0":             func(b []byte) { le.PutU16(b[4:], 0) },
		"length 4":             func(b []byte) { le.PutU16(b[4:], 4) },
		"length not aligned":   func(b []byte) { le.PutU16(b[4:], le.U16(b[4:])+1) },
		"length over a chunk":  func(b []byte) { le.PutU16(b[4:], 512) },
		"length huge":          func(b []byte) { le.PutU16(b[4:], 0xfffc) },
		"name longer than it":  func(b []byte) { b[7] = 255 },
		"name empty":           func(b []byte) { b[7] = 0 },
		"slash in the name":    func(b []byte) { b[9] = '/' },
		"NUL in the name":      func(b []byte) { b[9] = 0 },
		"chunk ends in a stub": func(b []byte) { le.PutU16(b[4:], uint16(le.U16(b[4:])+8)) },
	} {
		t.Run(name, func(t *testing.T) {
			img := smallImage(t, l)
			at := rootEntry(img, "file")
			before, err := list(img.open(), 2)
			require.NoError(t, err)
			change(img.data[at:])
			f := img.open()
			names, err := list(f, 2)
			if name == "chunk ends in a stub" {
				// Lands in the middle of the next entry: whatever that is, it ends.
				assert.True(t, err != nil || len(names) <= len(before))
				return
			}
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Equal(t, at, corrupt.Off)
			assert.Equal(t, "directory 2", corrupt.Structure)
			assert.Less(t, len(names), len(before), "what lies in front is listed")
			_, err = f.Lookup(ctx, 2, "no such name")
			assert.ErrorAs(t, err, &corrupt, "it may lie behind the damage")
		})
	}
	t.Run("hole", func(t *testing.T) {
		img := smallImage(t, l)
		in := img.inode("/sub")
		in.Direct[0] = 0
		img.setInode(in)
		_, err := list(img.open(), vfs.Ino(in.num))
		assert.ErrorContains(t, err, "hole")
	})
	t.Run("size not of chunks", func(t *testing.T) {
		img := smallImage(t, l)
		in := img.inode("/sub")
		in.Size += 100
		img.setInode(in)
		names, err := list(img.open(), vfs.Ino(in.num))
		assert.ErrorContains(t, err, "multiple of 512")
		assert.ElementsMatch(t, []string{"large", "linked"}, names)
	})
	t.Run("size of terabytes", func(t *testing.T) {
		img := smallImage(t, l)
		in := img.inode("/sub")
		in.Size = 1 << 40
		img.setInode(in)
		_, err := list(img.open(), vfs.Ino(in.num))
		assert.ErrorContains(t, err, "directory of")
	})
}

func TestDamagedSymlink(t *testing.T) {
	for name, change := range map[string]func(in *inode){
		"longer than the inode": func(in *inode) { in.Size = 300 },
		"NUL within":            func(in *inode) { in.Size = 60 },
		"of gigabytes":          func(in *inode) { in.Size, in.Blocks = 1<<32, 16 },
	} {
		img := smallImage(t, layout{2, false, 8192, 1024})
		in := img.inode("/short")
		change(in)
		img.setInode(in)
		_, err := img.open().Readlink(ctx, vfs.Ino(in.num))
		var corrupt *vfs.CorruptError
		assert.ErrorAs(t, err, &corrupt, name)
	}
}

// A group header that is damaged does not hide the files of its group.
func TestDamagedGroupHeader(t *testing.T) {
	img := smallImage(t, layout{2, false, 8192, 1024})
	g := &img.open().geo
	img.data[g.groupHeader<<g.fragShift+4] ^= 0xff
	_, err := vfs.NewTree(img.open()).Resolve(ctx, "/sub/large")
	assert.NoError(t, err)
}

// What 4.2BSD wrote: old directories, old owners, no links in inodes.
func TestFourTwoBSD(t *testing.T) {
	for _, big := range []bool{false, true} {
		l := layout{1, big, 8192, 1024}
		img := smallImage(t, l)
		o := ondisk.Order{Big: big}
		before := img.open()
		file, short, null := img.inode("/file"), img.inode("/short"), img.inode("/dev/null")
		// Rewrite directories to the old form: the length of a name is 16 bits,
		// where the type and 8 bits were.
		for n := range before.geo.inodes() {
			var in inode
			if before.read(vfs.Ino(n), &in) != nil || !in.mode().IsDir() {
				continue
			}
			require.NoError(t, before.scanDir(ctx, &in, 0, func(e *entry) bool {
				o.PutU16(img.data[e.at+6:], uint16(len(e.name)))
				return true
			}))
		}
		file.OldUID, file.OldGID, file.UID, file.GID = 1234, 4321, 0xdead, 0xbeef
		img.setInode(file)
		null.Direct[0] = 0x12345678
		img.setInode(null)
		img.setSuper(func(s *ondisk.Super, _ ondisk.Order) {
			// The tables of 4.2BSD lie over these; unused cylinders are -1.
			s.OldPostblFmt, s.OldInodeFormat, s.MaxSymlinkLen, s.SuperLoc = -1, -1, -1, -1
			s.OldFlags = 0
		})
		f := img.open()
		assert.Equal(t, []string{"4.2bsd-tables", "4.2bsd-inodes", "old-directories"}, f.Info().Features)
		assert.Empty(t, f.Info().Label)
		a, err := vfs.NewTree(f).Resolve(ctx, "/sub/linked")
		require.NoError(t, err)
		assert.Equal(t, [2]uint32{1234, 4321}, [2]uint32{a.UID, a.GID})
		for e, err := range f.ReadDir(ctx, f.Root(), 0) {
			require.NoError(t, err)
			assert.Zero(t, e.Type, "%s: old directories do not say", e.Name)
		}
		a, err = vfs.NewTree(f).ResolveLink(ctx, "/dev/null")
		require.NoError(t, err)
		assert.Equal(t, vfs.Dev{Major: 0x56, Minor: 0x78}, a.Rdev)
		_, err = f.Readlink(ctx, vfs.Ino(short.num))
		assert.Error(t, err, "4.2BSD has no links in inodes")

		// Between the two, fs_maxsymlinklen is 0 and links are told by their blocks.
		img.setSuper(func(s *ondisk.Super, _ ondisk.Order) { s.OldPostblFmt, s.MaxSymlinkLen = 1, 0 })
		target, err := img.open().Readlink(ctx, vfs.Ino(short.num))
		require.NoError(t, err)
		assert.Equal(t, "file", target)
		names, err := list(img.open(), 2)
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"dev", "file", "long", "short", "sub"}, names)
	}
}

// Group c of an old FFS1 begins at fpg*c + cgoffset*(c & ^cgmask).
func TestOldGroupsAreStaggered(t *testing.T) {
	g := geometry{fragsPerGroup: 2000, groupOffset: 32, groupMask: ^uint32(7)}
	for c, want := range map[uint64]int64{0: 0, 1: 2032, 7: 14224, 8: 16000, 9: 18032} {
		assert.Equal(t, want, g.groupStart(c), "group %d", c)
	}
}

func TestDeviceNumbersOfTheSystems(t *testing.T) {
	for _, l := range layouts(8192, 1024) {
		img := smallImage(t, l)
		null := img.inode("/dev/null")
		null.Direct[0] = 0x00012803
		img.setInode(null)
		rdev := func() vfs.Dev {
			a, err := img.open().Getattr(ctx, vfs.Ino(null.num))
			require.NoError(t, err)
			return a.Rdev
		}
		assert.Equal(t, vfs.Dev{Major: 0x128, Minor: 0x03}, rdev(), "NetBSD: %v", l)
		img.setSuper(func(s *ondisk.Super, _ ondisk.Order) { s.OldPostblFmt, s.OldCpg, s.ContigSumSize = 1, 1, 0 })
		assert.Equal(t, vfs.Dev{Major: 0x28, Minor: 0x103}, rdev(), "OpenBSD: %v", l)
		img.setSuper(func(s *ondisk.Super, o ondisk.Order) { o.PutU64(s.Spare32[:], 1) })
		assert.Equal(t, vfs.Dev{Major: 0x28, Minor: 0x10003}, rdev(), "FreeBSD: %v", l)
	}
}

func TestTimesFlagsAndBirth(t *testing.T) {
	img := smallImage(t, layout{2, true, 8192, 1024})
	in := img.inode("/file")
	in.Atime, in.Mtime = ondisk.Time{Sec: -5, Nsec: 7}, ondisk.Time{Sec: 1 << 40, Nsec: 999_999_999}
	in.Ctime, in.Btime = ondisk.Time{Sec: 3, Nsec: -1}, ondisk.Time{Sec: 100, Nsec: 1}
	in.Flags, in.Gen, in.Nlink = uint32(vfs.SystemImmutable|vfs.UserNoDump), 0xfeedface, 65530
	img.setInode(in)
	a, err := img.open().Getattr(ctx, vfs.Ino(in.num))
	require.NoError(t, err)
	assert.Equal(t, int64(-5*1e9+7), a.Atime.UnixNano())
	assert.Equal(t, int64(1<<40), a.Mtime.Unix())
	assert.Equal(t, 999_999_999, a.Mtime.Nanosecond())
	assert.Equal(t, int64(3*1e9), a.Ctime.UnixNano(), "nanoseconds that are none")
	assert.Equal(t, int64(100*1e9+1), a.Btime.UnixNano())
	assert.Equal(t, vfs.SystemImmutable|vfs.UserNoDump, a.Flags)
	assert.Equal(t, uint32(0xfeedface), a.Gen)
	assert.Equal(t, uint32(65530), a.Nlink)
	a, err = img.open().Getattr(ctx, 2)
	require.NoError(t, err)
	assert.True(t, a.Btime.IsZero(), "a birth time of 0 is none")
}

// Whiteouts of union mounts are not files.
func TestWhiteouts(t *testing.T) {
	img := smallImage(t, layout{1, false, 8192, 1024})
	f := img.open()
	var root inode
	require.NoError(t, f.read(2, &root))
	require.NoError(t, f.scanDir(ctx, &root, 0, func(e *entry) bool {
		if string(e.name) == "file" {
			ondisk.Dirent{Ino: 1, Len: uint16(e.next - e.off), Type: 14, NameLen: 4}.Put(img.data[e.at:], ondisk.Order{}, false)
		}
		return true
	}))
	f = img.open()
	names, err := list(f, 2)
	require.NoError(t, err)
	assert.NotContains(t, names, "file")
	_, err = f.Lookup(ctx, 2, "file")
	assert.Equal(t, syscall.ENOENT, err)
}

// extattr encodes a record as the kernels do.
func extattr(o ondisk.Order, space byte, name string, value []byte) []byte {
	base := (7 + len(name) + 7) &^ 7
	pad := -len(value) & 7
	b := make([]byte, base+len(value)+pad)
	o.PutU32(b, uint32(len(b)))
	b[4], b[5], b[6] = space, byte(pad), byte(len(name))
	copy(b[7:], name)
	copy(b[base:], value)
	return b
}

func TestExtendedAttributes(t *testing.T) {
	for _, l := range layouts(8192, 1024)[2:] {
		s := makeSparse(t, l, 3*l.bsize, 0, 1)
		o := ondisk.Order{Big: l.big}
		big := contents(9, 255*32) // over the border of the two blocks
		area := bytes.Join([][]byte{
			extattr(o, 1, "comment", []byte("hello")),
			extattr(o, 0, "deleted", []byte("gone")),
			extattr(o, 2, "posix1e.acl_access", []byte{1, 2, 3, 4, 5, 6, 7, 8}),
			extattr(o, 1, "empty", nil),
			extattr(o, 1, "big", big),
		}, nil)
		first, second := s.take(), s.take()
		copy(s.block(first), area[:l.bsize])
		copy(s.block(second), area[l.bsize:])
		s.in.ExtSize, s.in.Ext = uint32(len(area)), [2]int64{first, second}
		s.img.setInode(s.in)
		attrs := func() (map[string][]byte, error) { return s.img.open().Xattrs(ctx, vfs.Ino(s.in.num)) }

		got, err := attrs()
		require.NoError(t, err)
		assert.Empty(t, got, "makefs of NetBSD makes no attributes: this is garbage there")

		want := map[string][]byte{
			"user.comment": []byte("hello"), "user.empty": {}, "user.big": big,
			"system.posix1e.acl_access": {1, 2, 3, 4, 5, 6, 7, 8},
		}
		s.img.setSuper(func(sb *ondisk.Super, _ ondisk.Order) { sb.Magic = ondisk.MagicFFS2EA })
		got, err = attrs()
		require.NoError(t, err)
		assert.Equal(t, want, got, "NetBSD 10")
		assert.Contains(t, s.img.open().Info().Features, "ea")
		s.img.setSuper(func(sb *ondisk.Super, o ondisk.Order) {
			sb.Magic = ondisk.MagicFFS2
			o.PutU64(sb.Spare64[992-864:], 8192)
		})
		got, err = attrs()
		require.NoError(t, err)
		assert.Equal(t, want, got, "FreeBSD")

		for name, change := range map[string]func(in *inode){
			"longer than two blocks": func(in *inode) { in.ExtSize = uint32(2*l.bsize + 1) },
			"hole":                   func(in *inode) { in.Ext[1] = 0 },
			"outside":                func(in *inode) { in.Ext[0] = 1 << 50 },
			"cut":                    func(in *inode) { in.ExtSize -= 8 },
		} {
			saved := *s.in
			change(s.in)
			s.img.setInode(s.in)
			_, err := attrs()
			var corrupt *vfs.CorruptError
			assert.ErrorAs(t, err, &corrupt, name)
			*s.in = saved
		}
	}
}

// A symbolic link in the inode stays one when attributes hold blocks.
func TestShortSymlinkWithExtendedAttributes(t *testing.T) {
	img := smallImage(t, layout{2, false, 8192, 1024})
	in := img.inode("/short")
	in.ExtSize, in.Blocks = 100, 2
	img.setInode(in)
	target, err := img.open().Readlink(ctx, vfs.Ino(in.num))
	require.NoError(t, err)
	assert.Equal(t, "file", target)
}

// walkAll touches everything that the limits allow, and returns how much that
// was. Errors are fine; panics and endless loops are not.
func walkAll(dev blockio.Device, maxInodes, maxBytes int) (inodes, read int) {
	fsys, err := Open(ctx, dev)
	if err != nil {
		return 0, 0
	}
	f := fsys.(*FS)
	f.Info()
	_, _ = f.Statfs(ctx)
	_, _ = f.Lookup(ctx, 2, "file")
	buf := make([]byte, 64<<10)
	seen := map[vfs.Ino]bool{2: true}
	queue := []vfs.Ino{2}
	for len(queue) > 0 && inodes < maxInodes && read < maxBytes {
		ino := queue[0]
		queue = queue[1:]
		inodes++
		a, err := f.Getattr(ctx, ino)
		if err != nil {
			continue
		}
		_, _ = f.Readlink(ctx, ino)
		if attrs, err := f.Xattrs(ctx, ino); err == nil {
			read += len(attrs)
		}
		if a.Mode.IsRegular() {
			_, _ = f.SeekData(ctx, ino, 0)
			_, _ = f.SeekHole(ctx, ino, 0)
			for _, off := range []int64{0, a.Size / 2, a.Size - 1} {
				n, _ := f.ReadAt(ctx, ino, buf, off)
				_, _, _ = f.Map(ctx, ino, off)
				read += n
			}
		}
		last := ""
		for e, err := range f.ReadDir(ctx, ino, 0) {
			if err != nil || read > maxBytes {
				break
			}
			read += len(e.Name)
			if !seen[e.Ino] && len(queue) < maxInodes {
				seen[e.Ino] = true
				queue = append(queue, e.Ino)
			}
			last = e.Name
		}
		_, _ = f.Lookup(ctx, ino, last)
		_, _ = f.Lookup(ctx, ino, "..")
	}
	return inodes, read
}

// Whatever bytes of the metadata are wrong, the reader comes to an end.
func TestFlippedBytes(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for _, l := range []layout{{1, false, 4096, 512}, {2, true, 8192, 1024}, {2, false, 65536, 65536}} {
		t.Run(l.String(), func(t *testing.T) {
			img := smallImage(t, l)
			// What metadata there is: superblock, headers, inodes in use, and
			// the directories and indirect blocks found by a walk.
			f := img.open()
			g := &f.geo
			var targets [][2]int64
			targets = append(targets, [2]int64{8192, 8192 + ondisk.SuperSize}, [2]int64{g.groupHeader << g.fragShift, g.groupHeader<<g.fragShift + 168})
			for n := range g.inodes() {
				var in inode
				if f.read(vfs.Ino(n), &in) != nil {
					continue
				}
				targets = append(targets, [2]int64{in.off, in.off + int64(g.version.InodeSize())})
				if in.mode().IsDir() {
					at, k, err := f.extent(&in, 0, 1)
					require.NoError(t, err)
					targets = append(targets, [2]int64{at, at + k})
				}
				if in.Indirect[0] != 0 && in.mode().IsRegular() {
					at := in.Indirect[0] << g.fragShift
					targets = append(targets, [2]int64{at, at + 64})
				}
			}
			clean := bytes.Clone(img.data)
			inodes, _ := walkAll(img.dev, 1000, 10<<20)
			require.Greater(t, inodes, 8)
			rnd := rand.New(rand.NewPCG(11, uint64(l.bsize)))
			for range rounds {
				copy(img.data, clean)
				for range 1 + rnd.IntN(8) {
					r := targets[rnd.IntN(len(targets))]
					img.data[r[0]+rnd.Int64N(r[1]-r[0])] = byte(rnd.Uint32()) | byte(rnd.Uint32()&rnd.Uint32())
				}
				walkAll(img.dev, 1000, 2<<20)
			}
		})
	}
}

func TestCancelledContextEndsLongWork(t *testing.T) {
	s := makeSparse(t, layout{2, false, 8192, 1024}, 1<<30, 0)
	f := s.img.open()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := f.ReadAt(cancelled, vfs.Ino(s.in.num), make([]byte, 100), 0)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = f.SeekHole(cancelled, vfs.Ino(s.in.num), 0)
	assert.ErrorIs(t, err, context.Canceled)
	for _, err := range f.ReadDir(cancelled, 2, 0) {
		assert.ErrorIs(t, err, context.Canceled)
	}
}

// A disk that fails is the disk's error, not damage of the file system.
func TestFailingDisk(t *testing.T) {
	img := smallImage(t, layout{2, false, 8192, 1024})
	large := img.inode("/sub/large")
	f := img.open()
	failing := errors.New("broken disk")
	f.dev = brokenDevice{img.dev, failing}
	f.cache = blockio.NewCache(f.dev, 8192, 1<<20)
	_, err := f.Getattr(ctx, 2)
	assert.ErrorIs(t, err, failing)
	f.cache = blockio.NewCache(img.dev, 8192, 1<<20)
	_, err = f.ReadAt(ctx, vfs.Ino(large.num), make([]byte, 10), 0)
	assert.ErrorIs(t, err, failing)
	assert.NotErrorIs(t, err, io.EOF)
	var corrupt *vfs.CorruptError
	assert.False(t, errors.As(err, &corrupt))
	assert.True(t, strings.Contains(err.Error(), fmt.Sprintf("inode %d", large.num)), err)
}
