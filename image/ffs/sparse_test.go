package ffs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A sparseFile is a file whose block map a test has written pointer by pointer,
// over blocks taken from another file. makefs makes no holes and no files of
// terabytes.
type sparseFile struct {
	img    *image
	in     *inode
	geo    *geometry
	pool   []int64         // addresses of blocks to take
	blocks map[int64]int64 // lbn to address: what the file should hold
	known  map[int64]bool  // indirect blocks
}

// makeSparse makes an image with the files /pool and /file; /file is emptied,
// and then holds the given blocks.
func makeSparse(t testing.TB, l layout, size int64, lbns ...int64) *sparseFile {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pool"), contents(7, 80*l.bsize), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644))
	s := &sparseFile{
		img: makeImage(t, l, 200*l.bsize, dir, ""), blocks: map[int64]int64{}, known: map[int64]bool{},
	}
	f, pool := s.img.open(), s.img.inode("/pool")
	s.geo = &f.geo
	for off := int64(0); off < pool.size; off += l.bsize {
		at, _, err := f.extent(pool, off, 1)
		require.NoError(t, err)
		s.pool = append(s.pool, at/l.fsize)
	}
	// Blocks that lie apart, so that runs are runs by intention only.
	rand.New(rand.NewPCG(5, 5)).Shuffle(len(s.pool), func(i, j int) { s.pool[i], s.pool[j] = s.pool[j], s.pool[i] })
	s.in = s.img.inode("/file")
	s.in.Direct, s.in.Indirect = [ondisk.NDirect]int64{}, [ondisk.NIndirect]int64{}
	s.in.Size = uint64(size)
	for _, lbn := range lbns {
		s.set(lbn, s.take())
	}
	s.in.Blocks = uint64(int64(len(s.blocks)+len(s.known)) * l.bsize / 512)
	s.img.setInode(s.in)
	s.in = s.img.inode("/file")
	s.img.save()
	return s
}

func (s *sparseFile) take() int64 {
	addr := s.pool[0]
	s.pool = s.pool[1:]
	return addr
}

// set makes addr block lbn of the file.
func (s *sparseFile) set(lbn, addr int64) {
	g := s.geo
	s.blocks[lbn] = addr
	if lbn < ondisk.NDirect {
		s.in.Direct[lbn] = addr
		return
	}
	rel, span, level := lbn-ondisk.NDirect, g.nindir, 0
	for rel >= span {
		rel, span, level = rel-span, span*g.nindir, level+1
	}
	if s.in.Indirect[level] == 0 {
		s.in.Indirect[level] = s.indirect()
	}
	table := s.in.Indirect[level]
	for ; level > 0; level-- {
		span /= g.nindir
		p := s.pointer(table, rel/span)
		if g.version.Pointer(g.order, p) == 0 {
			s.put(p, s.indirect())
		}
		table, rel = g.version.Pointer(g.order, p), rel%span
	}
	s.put(s.pointer(table, rel), addr)
}

func (s *sparseFile) indirect() int64 {
	addr := s.take()
	clear(s.block(addr))
	s.known[addr] = true
	return addr
}

func (s *sparseFile) block(addr int64) []byte {
	g := s.geo
	return s.img.data[addr<<g.fragShift:][:g.blockSize]
}

func (s *sparseFile) pointer(table, i int64) []byte {
	return s.block(table)[i*int64(s.geo.version.PointerSize()):]
}

func (s *sparseFile) put(p []byte, addr int64) {
	g := s.geo
	if g.version == ondisk.V1 {
		g.order.PutU32(p, uint32(addr))
	} else {
		g.order.PutU64(p, uint64(addr))
	}
}

// want is what the file holds from off on.
func (s *sparseFile) want(off, n int64) []byte {
	g := s.geo
	p := make([]byte, min(n, s.in.size-off))
	for i := int64(0); i < int64(len(p)); {
		skip := (off + i) % g.blockSize
		k := min(g.blockSize-skip, int64(len(p))-i)
		if addr, ok := s.blocks[(off+i)/g.blockSize]; ok {
			copy(p[i:i+k], s.block(addr)[skip:])
		}
		i += k
	}
	return p
}

// corners are the file blocks around every change of level, for nindir n.
func corners(n int64) []int64 {
	return []int64{
		0, 1, 3, 11, // direct
		12, 13, 12 + n - 1, // single
		12 + n, 12 + n + 1, 12 + 2*n - 1, 12 + 2*n, 12 + 7*n + 5, 12 + n + n*n - 1, // double
		12 + n + n*n, 12 + n + n*n + n, 12 + n + 2*n*n, 12 + n + n*n + 3*n*n + 5*n + 7, 12 + n + n*n + n*n*n - 1, // triple
	}
}

// Every level of indirection, with holes of every level between, in a file as
// long as the format allows.
func TestIndirectBlocksAndHoles(t *testing.T) {
	for _, l := range []layout{
		{1, false, 4096, 512}, {1, true, 4096, 4096}, {2, false, 4096, 512}, {2, true, 8192, 1024},
		{1, false, 16384, 2048}, {2, false, 16384, 2048}, {2, false, 65536, 8192}, {1, true, 65536, 65536},
	} {
		t.Run(l.String(), func(t *testing.T) {
			n := l.bsize / int64(4*l.version)
			lbns := corners(n)
			s := makeSparse(t, l, (12+n+n*n+n*n*n)*l.bsize, lbns...)
			f := s.img.open()
			ino := vfs.Ino(s.in.num)

			for _, lbn := range lbns {
				for _, d := range []int64{-3 * l.bsize, -l.bsize, -1, 0, 1, l.bsize - 1, l.bsize} {
					off := max(lbn*l.bsize+d, 0)
					if off >= s.in.size {
						continue
					}
					got := bytes.Repeat([]byte{0x55}, int(min(5*l.bsize+9, s.in.size-off)))
					k, err := f.ReadAt(ctx, ino, got, off)
					require.Equal(t, len(got), k, "at %d: %v", off, err)
					require.True(t, bytes.Equal(s.want(off, int64(len(got))), got), "block %d%+d", lbn, d)
				}
			}
			require.NoError(t, checkSeeks(f, s))
			checkMap(t, f, s)
		})
	}
}

// checkSeeks walks the file by SeekData and SeekHole.
func checkSeeks(f *FS, s *sparseFile) error {
	bs := f.geo.blockSize
	var want []int64 // ends of holes and data in turn, data first
	lbns := []int64{}
	for lbn := range s.blocks {
		lbns = append(lbns, lbn)
	}
	slices.Sort(lbns)
	for i, lbn := range lbns {
		if i == 0 || lbns[i-1] != lbn-1 {
			want = append(want, lbn*bs)
		}
		if i == len(lbns)-1 || lbns[i+1] != lbn+1 {
			want = append(want, min((lbn+1)*bs, s.in.size))
		}
	}
	pos := int64(0)
	for i := 0; i < len(want); i += 2 {
		data, err := f.SeekData(ctx, vfs.Ino(s.in.num), pos)
		if err != nil || data != want[i] {
			return fmt.Errorf("SeekData(%d) = %d, %v; want %d", pos, data, err, want[i])
		}
		end, err := f.SeekHole(ctx, vfs.Ino(s.in.num), data)
		if err != nil || end != want[i+1] {
			return fmt.Errorf("SeekHole(%d) = %d, %v; want %d", data, end, err, want[i+1])
		}
		pos = end
	}
	if pos < s.in.size {
		if _, err := f.SeekData(ctx, vfs.Ino(s.in.num), pos); !errors.Is(err, syscall.ENXIO) {
			return fmt.Errorf("SeekData(%d) in the last hole: %w", pos, err)
		}
	}
	return nil
}

// checkMap maps the whole file, in few calls even where holes are terabytes.
func checkMap(t *testing.T, f *FS, s *sparseFile) {
	calls := 0
	for off := int64(0); off < s.in.size; calls++ {
		at, n, err := f.Map(ctx, vfs.Ino(s.in.num), off)
		require.NoError(t, err)
		require.Positive(t, n)
		if at >= 0 {
			k := min(n, 1<<20)
			require.True(t, bytes.Equal(s.want(off, k), s.img.data[at:at+k]), "at %d", off)
		} else {
			_, ok := s.blocks[off>>f.geo.blockShift]
			require.False(t, ok, "a hole over data at %d", off)
		}
		off += n
	}
	require.Less(t, calls, 200)
	_, _, err := f.Map(ctx, vfs.Ino(s.in.num), s.in.size)
	require.Equal(t, io.EOF, err)
}

// GRUB reads the same files, at every corner.
func TestIndirectBlocksLikeGRUB(t *testing.T) {
	testtool.Need(t, "grub-fstest")
	for _, l := range []layout{{1, false, 4096, 512}, {2, false, 4096, 512}, {2, false, 16384, 2048}, {1, false, 65536, 8192}} {
		t.Run(l.String(), func(t *testing.T) {
			n := l.bsize / int64(4*l.version)
			lbns := corners(n)
			s := makeSparse(t, l, (12+n+n*n+n*n*n)*l.bsize, lbns...)
			f := s.img.open()
			for _, lbn := range lbns {
				off := max(lbn-1, 0) * l.bsize
				length := min(3*l.bsize, s.in.size-off)
				if off > 1<<48 {
					continue // GRUB's files end there
				}
				theirs := testtool.Run(t, "grub-fstest", "-s", fmt.Sprint(off), "-n", fmt.Sprint(length), s.img.name, "cat", "(loop0)/file")
				ours := make([]byte, length)
				_, err := f.ReadAt(ctx, vfs.Ino(s.in.num), ours, off)
				require.True(t, err == nil || err == io.EOF, "%v", err)
				assert.True(t, theirs == string(ours), "block %d", lbn)
			}
		})
	}
}

// A short file may be a hole at any place, at its end as well, and a hole
// shows nothing of what lies on the disk.
func TestSmallHoles(t *testing.T) {
	l := layout{2, false, 8192, 1024}
	for _, c := range []struct {
		name string
		size int64
		lbns []int64
	}{
		{"only a hole", 100_000, nil},
		{"hole first", 3 * 8192, []int64{2}},
		{"hole last", 5*8192 + 17, []int64{0, 1}},
		{"every other block", 40 * 8192, []int64{0, 2, 4, 6, 8, 10, 12, 14, 16, 18}},
		{"hole of the last direct block", 13 * 8192, []int64{10, 12}},
		{"one byte", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := makeSparse(t, l, c.size, c.lbns...)
			f := s.img.open()
			got := bytes.Repeat([]byte{0x55}, int(c.size)+10)
			n, err := f.ReadAt(ctx, vfs.Ino(s.in.num), got, 0)
			assert.Equal(t, io.EOF, err)
			assert.Equal(t, int(c.size), n)
			assert.True(t, bytes.Equal(s.want(0, c.size), got[:n]))
			assert.NoError(t, checkSeeks(f, s))
			checkMap(t, f, s)
		})
	}
}

// A run of adjacent blocks is one extent, across indirect blocks as well.
func TestMapMergesAdjacentBlocks(t *testing.T) {
	for _, version := range []int{1, 2} {
		l := layout{version, false, 4096, 4096}
		s := makeSparse(t, l, 0)
		// 30 blocks of the pool in order, from behind its own indirect block; the
		// rest is for pointers.
		const n = 30
		slices.Sort(s.pool)
		first := s.pool[12]
		require.Equal(t, first+n-1, s.pool[12+n-1], "makefs laid the pool out in one piece")
		s.pool = s.pool[:12]
		for i := range int64(n) {
			s.set(i, first+i)
		}
		s.in.Size = uint64(n * l.bsize)
		s.img.setInode(s.in)
		at, k, err := s.img.open().Map(ctx, vfs.Ino(s.in.num), 5000)
		require.NoError(t, err)
		assert.Equal(t, first*l.fsize+5000, at)
		assert.Equal(t, n*l.bsize-5000, k)
	}
}

// A file of 5 GiB without a block costs no more than the memory it is read to.
func TestReadGigabytesOfNothing(t *testing.T) {
	const size = 5 << 30
	s := makeSparse(t, layout{2, false, 16384, 2048}, size)
	f := s.img.open()
	p := make([]byte, 1<<20)
	reads := 0
	allocs := testing.AllocsPerRun(1, func() {
		for off := int64(0); off < size; off += int64(len(p)) {
			n, err := f.ReadAt(ctx, vfs.Ino(s.in.num), p, off)
			if err != nil && err != io.EOF || n != len(p) {
				t.Fatal(n, err)
			}
			reads++
		}
	})
	assert.LessOrEqual(t, allocs/float64(reads/2), 1.0, "allocations per read")
	_, n, err := f.Map(ctx, vfs.Ino(s.in.num), 0)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, int64(32<<20))
}

// A snapshot shows the volume where it has no block of its own.
func TestSnapshotShowsTheVolume(t *testing.T) {
	l := layout{2, false, 8192, 1024}
	s := makeSparse(t, l, 200*8192, 0, 5, 20)
	s.img.setSuper(func(sb *ondisk.Super, o ondisk.Order) { o.PutU64(sb.Spare64[992-864:], 8192) }) // FreeBSD
	s.in.Flags = uint32(vfs.SystemSnapshot)
	s.in.Direct[7] = 1 // BLK_NOCOPY
	s.in.Direct[8] = 2 // BLK_SNAP
	s.img.setInode(s.in)
	f := s.img.open()
	got := make([]byte, s.in.size)
	n, err := f.ReadAt(ctx, vfs.Ino(s.in.num), got, 0)
	require.NoError(t, err)
	require.Equal(t, len(got), n)
	for lbn := range s.in.size / l.bsize {
		want := s.img.data[lbn*l.bsize:][:l.bsize]
		if addr, ok := s.blocks[lbn]; ok {
			want = s.block(addr)
		}
		if lbn == 7 || lbn == 8 {
			want = make([]byte, l.bsize)
		}
		require.Equal(t, sha256.Sum256(want), sha256.Sum256(got[lbn*l.bsize:][:l.bsize]), "block %d", lbn)
	}
}

// Pointers that no file system has are damage, with the inode's place.
func TestBadBlockPointers(t *testing.T) {
	l := layout{2, false, 8192, 1024}
	for name, change := range map[string]func(in *inode, frags int64){
		"negative":             func(in *inode, _ int64) { in.Direct[0] = -8 },
		"beyond the end":       func(in *inode, frags int64) { in.Direct[0] = frags },
		"over the end":         func(in *inode, frags int64) { in.Direct[0] = frags&^7 - 4 },
		"huge":                 func(in *inode, _ int64) { in.Direct[0] = 1<<63 - 8 },
		"overflowing":          func(in *inode, _ int64) { in.Direct[0] = 1 << 54 },
		"not aligned":          func(in *inode, _ int64) { in.Direct[0]++ },
		"tail over a block":    func(in *inode, _ int64) { in.Size, in.Direct[0] = 5000, in.Direct[0]+4 },
		"indirect negative":    func(in *inode, _ int64) { in.Size, in.Indirect[0] = 20*8192, -1 },
		"indirect not aligned": func(in *inode, _ int64) { in.Size, in.Indirect[0] = 20*8192, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			s := makeSparse(t, l, 3*8192, 0, 1, 2)
			for i := range ondisk.NDirect {
				s.in.Direct[i] = s.in.Direct[0]
			}
			change(s.in, s.img.open().geo.frags)
			s.img.setInode(s.in)
			f := s.img.open()
			_, err := f.ReadAt(ctx, vfs.Ino(s.in.num), make([]byte, s.in.Size), 0)
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Equal(t, s.in.off, corrupt.Off)
			assert.Equal(t, fmt.Sprintf("inode %d", s.in.num), corrupt.Structure)
			assert.ErrorIs(t, err, syscall.EIO)
		})
	}
}

// Indirect blocks that refer to themselves make a file that never ends. Asking
// it for a hole, or for data, does.
func TestSeekEndsInAnEndlessFile(t *testing.T) {
	for _, l := range []layout{{1, false, 4096, 4096}, {2, false, 8192, 1024}} {
		n := l.bsize / int64(4*l.version)
		s := makeSparse(t, l, (12+n+n*n+n*n*n)*l.bsize)
		loop := s.take()
		for i := range n {
			s.put(s.pointer(loop, i), loop)
		}
		for i := range ondisk.NDirect {
			s.in.Direct[i] = loop
		}
		s.in.Indirect = [3]int64{loop, loop, loop}
		s.img.setInode(s.in)
		f := s.img.open()
		_, err := f.SeekHole(ctx, vfs.Ino(s.in.num), 0)
		var corrupt *vfs.CorruptError
		assert.ErrorAs(t, err, &corrupt)

		// The same for data: every triple pointer leads to one block of zeros.
		zeros := s.indirect()
		double, triple := s.take(), s.take()
		for i := range n {
			s.put(s.pointer(double, i), zeros)
			s.put(s.pointer(triple, i), double)
		}
		s.in.Direct, s.in.Indirect = [12]int64{}, [3]int64{0, 0, triple}
		s.img.setInode(s.in)
		f = s.img.open()
		_, err = f.SeekData(ctx, vfs.Ino(s.in.num), 0)
		assert.ErrorAs(t, err, &corrupt)
	}
}
