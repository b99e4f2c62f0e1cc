package ffs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

func ptr[T any](v T) *T { return &v }

// garbage is a device on which nothing can be taken for zero.
func garbage(size int64) []byte { return bytes.Repeat([]byte{0xaa}, int(size)) }

// format makes a file system on a device full of garbage.
func format(t testing.TB, size int64, opt vfs.FormatOptions) []byte {
	t.Helper()
	b := garbage(size)
	require.NoError(t, formatOn(b, opt))
	return b
}

func formatOn(b []byte, opt vfs.FormatOptions) error {
	s := blockio.NewSession(blockio.NewMemory(b), blockio.SessionOptions{})
	if err := Format(s, opt); err != nil {
		return err
	}
	return s.Commit(context.Background())
}

// Values that newfs of OpenBSD arrives at.
func TestNewfsLayout(t *testing.T) {
	for _, c := range []struct {
		mib, version, ncg, fpg, ipg        int64
		superOff, groupOff, inodeOff, data int64
		cssize, cgsize, dsize              int64
	}{
		{4, 2, 4, 512, 128, 40, 48, 56, 72, 2048, 2048, 1879},
		{16, 2, 4, 2048, 512, 40, 48, 56, 120, 2048, 2048, 7831},
		{20, 1, 4, 2560, 640, 8, 16, 24, 64, 2048, 2048, 10007},
		{100, 2, 4, 12800, 3200, 40, 48, 56, 456, 2048, 4096, 49495},
		{884, 2, 5, 103680, 25920, 40, 48, 56, 3296, 2048, 16384, 436287},
		{1599, 2, 8, 103680, 25920, 40, 48, 56, 3296, 2048, 16384, 792599},
	} {
		l, err := layoutFor(ondisk.Version(c.version), c.mib<<20, 512, vfs.FormatOptions{})
		require.NoError(t, err)
		assert.Equal(t, []int64{c.ncg, c.fpg, c.ipg, c.superOff, c.groupOff, c.inodeOff, c.data, c.cssize, c.cgsize, c.dsize},
			[]int64{l.groups, l.fragsPerGroup, l.inodesPerGroup, l.superOff, l.groupOff, l.inodeOff, l.dataOff,
				l.summaryBytes, l.groupBytes, l.dataFrags}, "%d MiB", c.mib)
	}
}

// sizesOf lists all legal block and fragment sizes.
func sizesOf() (all [][2]int) {
	for bs := ondisk.MinBlockSize; bs <= ondisk.MaxBlockSize; bs *= 2 {
		for fs := max(bs/ondisk.MaxFrag, ondisk.MinFragSize); fs <= bs; fs *= 2 {
			all = append(all, [2]int{bs, fs})
		}
	}
	return all
}

// Every geometry holds what the format asks for, on volumes of odd sizes too.
func TestNewfsEveryGeometry(t *testing.T) {
	testtool.Sequential(t)
	for version := ondisk.V1; version <= ondisk.V2; version++ {
		for _, size := range sizesOf() {
			opt := vfs.FormatOptions{Type: fmt.Sprintf("ffs%d", version), BlockSize: size[0], FragSize: size[1], Seed: ptr(uint64(1))}
			for _, bytes := range []int64{2<<20 + 5*512, 7<<20 - 2048, 16<<20 + 3*512} {
				b := garbage(bytes)
				err := formatOn(b, opt)
				if err != nil {
					// Only small volumes with large blocks may be refused.
					assert.ErrorIs(t, err, syscall.EINVAL)
					assert.Less(t, bytes, 40*int64(size[0])*4, "%v %v: %v", opt.Type, size, err)
					continue
				}
				checkMade(t, b, opt)
			}
		}
	}
}

// checkMade holds a new file system against its own maps, counted anew.
func checkMade(t *testing.T, b []byte, opt vfs.FormatOptions) {
	t.Helper()
	fsys, err := Open(context.Background(), blockio.NewMemory(b))
	require.NoError(t, err, "%+v", opt)
	f := fsys.(*FS)
	g := f.geo
	at, super, order, _, err := findSuper(blockio.NewMemory(b))
	require.NoError(t, err)
	assert.Equal(t, super.SuperLoc, at)
	var total ondisk.SummaryTotal
	for c := range g.groups {
		off := (g.groupStart(c) + g.groupHeader) * g.fragSize
		h, err := ondisk.DecodeGroup(b[off:], order)
		require.NoError(t, err)
		require.Equal(t, uint32(ondisk.GroupMagic), h.Magic)
		assert.LessOrEqual(t, int64(h.NextFreeOff), int64(super.GroupSize))
		frags := min(g.fragsPerGroup, g.frags-int64(c)*g.fragsPerGroup)
		assert.Equal(t, frags, int64(h.Frags))
		free := b[off+int64(h.FreeMapOff):]
		used := b[off+int64(h.InodeMapOff):]
		sum, runs := ondisk.Summary{}, [ondisk.MaxFrag]uint32{}
		for block := int64(0); block < frags; block += g.frag {
			run, n := int64(0), int64(0)
			for i := range g.frag + 1 {
				if i < g.frag && block+i < frags && free[(block+i)/8]>>((block+i)%8)&1 != 0 {
					run, n = run+1, n+1
				} else if run > 0 && run < g.frag {
					runs[run]++
					run = 0
				}
			}
			if n == g.frag {
				sum.FreeBlocks++
			} else {
				sum.FreeFrags += int32(n)
			}
		}
		for i := range g.inodesPerGroup {
			if used[i/8]>>(i%8)&1 == 0 {
				sum.FreeInodes++
			}
		}
		if c == 0 {
			sum.Dirs = 1
		}
		require.Equal(t, sum, h.Summary, "group %d of %+v", c, opt)
		require.Equal(t, runs, h.FreeRuns)
		at := super.SummaryAddr*g.fragSize + int64(c)*summarySize
		require.Equal(t, appendSummary(nil, sum), b[at:at+summarySize])
		total.Dirs += int64(sum.Dirs)
		total.FreeBlocks += int64(sum.FreeBlocks)
		total.FreeFrags += int64(sum.FreeFrags)
		total.FreeInodes += int64(sum.FreeInodes)

		backup, err := ondisk.DecodeSuper(b[(g.groupStart(c)+int64(super.SuperOff))*g.fragSize:], order)
		require.NoError(t, err)
		backup.Total, backup.OldTotal = super.Total, super.OldTotal
		require.Equal(t, super, backup)

		inited := uint64(h.InitedInodes)
		if g.version == ondisk.V1 {
			inited = g.inodesPerGroup
		}
		for i := range inited {
			n := c*g.inodesPerGroup + i
			raw := b[g.inodeOffset(n):][:g.version.InodeSize()]
			var in ondisk.Inode
			in.Decode(raw, order, g.version)
			require.NotZero(t, in.Gen)
			if n != ondisk.RootIno {
				require.Equal(t, ondisk.Inode{Gen: in.Gen}, in)
			}
		}
	}
	require.Equal(t, total, super.Total, "%+v", opt)
	// Nothing but the root directory is in use.
	assert.Equal(t, total.FreeBlocks*g.frag+total.FreeFrags, super.DataSize-1)

	ctx := context.Background()
	attr, err := fsys.Getattr(ctx, fsys.Root())
	require.NoError(t, err)
	assert.Equal(t, uint32(2), attr.Nlink)
	var names []string
	require.NoError(t, vfs.NewTree(fsys).Walk(ctx, "/", func(path string, _ vfs.Attr, err error) error {
		names = append(names, path)
		return err
	}))
	assert.Equal(t, []string{"/"}, names)
}

func TestNewfsFields(t *testing.T) {
	now := time.Unix(1728477296, 5)
	for _, c := range []struct {
		kind  string
		want  map[int]uint32 // 32-bit fields by offset
		zeros []int
	}{
		{"ffs1", map[int]uint32{28: 0xffffffff, 32: 1728477296, 36: 10240, 40: 10007, 68: 60, 92: 4096, 116: 4096, 120: 128,
			132: 10240, 136: 1, 152: 64, 168: 10240, 172: 10240, 176: 4, 192: 1, 1000: 8192, 1320: 60, 1372: 0x00011954}, nil},
		{"ffs2", map[int]uint32{92: 2048, 116: 2048, 120: 64, 1000: 65536, 1320: 120, 1372: 0x19540119},
			[]int{28, 32, 36, 40, 68, 132, 136, 152, 168, 172, 176, 192, 196, 200, 204}},
	} {
		b := format(t, 20<<20, vfs.FormatOptions{Type: c.kind, Time: now, Label: "slot", MountPoint: "/cfg", ReservePct: ptr(0)})
		loc := map[string]int{"ffs1": 8192, "ffs2": 65536}[c.kind]
		sb := b[loc : loc+8192]
		u32 := func(off int) uint32 { return binary.LittleEndian.Uint32(sb[off:]) }
		for off, want := range map[int]uint32{48: 16384, 52: 2048, 56: 8, 60: 0, 72: ^uint32(16383), 76: ^uint32(2047), 80: 14, 84: 11,
			88: 1, 96: 3, 100: 2, 104: 2048, 124: 4, 128: 0, 144: 1728477296, 180: 1, 1072: 1728477296, 1196: 16384, 1200: 64,
			1308: 0, 1312: 0, 1316: 0, 1324: 2, 1356: 1, 1360: 1} {
			assert.Equal(t, want, u32(off), "%s offset %d", c.kind, off)
		}
		for off, want := range c.want {
			assert.Equal(t, want, u32(off), "%s offset %d", c.kind, off)
		}
		for _, off := range c.zeros {
			assert.Zero(t, u32(off), "%s offset %d", c.kind, off)
		}
		assert.Equal(t, byte(1), sb[209], "clean")
		assert.Equal(t, "/cfg\x00", string(sb[212:217]))
		assert.Equal(t, "slot\x00", string(sb[680:685]))
		assert.Equal(t, make([]byte, 8192-1376), sb[1376:])

		fsys, err := Open(context.Background(), blockio.NewMemory(b))
		require.NoError(t, err)
		assert.Equal(t, "slot", fsys.Info().Label)
		root, err := fsys.Getattr(context.Background(), fsys.Root())
		require.NoError(t, err)
		assert.Equal(t, time.Unix(1728477296, 0).UTC(), root.Mtime.UTC())
		assert.Equal(t, int64(512), root.Size)
	}
}

// The same options give the same bytes, and nothing is left to what the device
// held; other seeds give other ones.
func TestNewfsIsRepeatable(t *testing.T) {
	opt := vfs.FormatOptions{Time: time.Unix(1e9, 0), Seed: ptr(uint64(7))}
	a := format(t, 8<<20, opt)
	assert.True(t, bytes.Equal(a, format(t, 8<<20, opt)))
	opt.Seed = ptr(uint64(8))
	assert.False(t, bytes.Equal(a, format(t, 8<<20, opt)))
	opt.Seed = nil
	assert.False(t, bytes.Equal(format(t, 8<<20, opt), format(t, 8<<20, opt)))
}

func TestNewfsRefuses(t *testing.T) {
	for _, c := range []struct {
		size int64
		opt  vfs.FormatOptions
		want string
	}{
		{8 << 20, vfs.FormatOptions{Type: "ext4"}, `"ext4" is not ffs1 or ffs2`},
		{8 << 20, vfs.FormatOptions{BlockSize: 2048}, "block size 2048 is not a power of two from 4096 to 65536"},
		{8 << 20, vfs.FormatOptions{BlockSize: 131072}, "block size 131072"},
		{8 << 20, vfs.FormatOptions{BlockSize: 12288}, "block size 12288"},
		{8 << 20, vfs.FormatOptions{BlockSize: -4096}, "block size -4096"},
		{8 << 20, vfs.FormatOptions{BlockSize: 16384, FragSize: 1024}, "fragment size 1024 is not a power of two from 2048"},
		{8 << 20, vfs.FormatOptions{BlockSize: 4096, FragSize: 8192}, "fragment size 8192"},
		{8 << 20, vfs.FormatOptions{FragSize: 256}, "block size 2048"},
		{8 << 20, vfs.FormatOptions{BytesPerInode: -1}, "-1 bytes per inode"},
		{8 << 20, vfs.FormatOptions{ReservePct: ptr(100)}, "100 percent"},
		{8 << 20, vfs.FormatOptions{ReservePct: ptr(-1)}, "-1 percent"},
		{8 << 20, vfs.FormatOptions{Label: strings.Repeat("x", 32)}, "label has 32 bytes, and FFS has room for 31"},
		{8 << 20, vfs.FormatOptions{MountPoint: strings.Repeat("/", 468)}, "room for 467"},
		{8 << 20, vfs.FormatOptions{Label: "a\x00b"}, "NUL"},
		{8 << 20, vfs.FormatOptions{Type: "ffs1", Time: time.Unix(1<<31, 0)}, "use ffs2"},
		{0, vfs.FormatOptions{}, "too few"},
		{512, vfs.FormatOptions{}, "too few"},
		{64 << 10, vfs.FormatOptions{}, "too few"},
		{130 << 10, vfs.FormatOptions{}, "make the volume larger, or the blocks smaller"},
	} {
		b := garbage(c.size)
		err := formatOn(b, c.opt)
		assert.ErrorIs(t, err, syscall.EINVAL, "%+v", c)
		assert.ErrorContains(t, err, c.want)
		assert.True(t, bytes.Equal(garbage(c.size), b), "nothing is written")
	}
	_, err := layoutFor(ondisk.V1, 1<<40, 512, vfs.FormatOptions{})
	assert.ErrorContains(t, err, "use ffs2")
	_, err = layoutFor(ondisk.V1, 1<<40-512, 512, vfs.FormatOptions{})
	assert.NoError(t, err)
	_, err = layoutFor(ondisk.V2, 100<<40, 512, vfs.FormatOptions{BytesPerInode: 1})
	assert.ErrorContains(t, err, "2^32 inodes")
	_, err = layoutFor(ondisk.V2, 1<<30, 4096, vfs.FormatOptions{FragSize: 2048})
	assert.ErrorContains(t, err, "less than a sector of 4096")
	l, err := layoutFor(ondisk.V2, 1<<30, 4096, vfs.FormatOptions{})
	require.NoError(t, err)
	assert.Equal(t, []int64{16384, 4096}, []int64{l.blockSize, l.fragSize})
	l, err = layoutFor(ondisk.V2, 1<<30, 512, vfs.FormatOptions{BlockSize: 65536})
	require.NoError(t, err)
	assert.Equal(t, int64(8192), l.fragSize)
	// However few inodes are asked for, a group fits its header.
	l, err = layoutFor(ondisk.V2, 1<<40, 512, vfs.FormatOptions{BytesPerInode: 1 << 30})
	require.NoError(t, err)
	assert.LessOrEqual(t, l.describing(), l.blockSize)
}

func TestNewfsWipesRemains(t *testing.T) {
	put := func(b []byte, off int, s string) { copy(b[off:], s) }
	fat := func(b []byte, off int, name string) {
		put(b, 0, "\xeb\x3c\x90mkfs.fat")
		put(b, off, name)
		put(b, 510, "\x55\xaa")
		put(b, 200, "boot code")
	}
	for name, c := range map[string]struct {
		kind string
		make func(b []byte)
		gone int // a byte that is zero afterwards
	}{
		"XFS":     {"ffs2", func(b []byte) { put(b, 0, "XFSB") }, 0},
		"ISO":     {"ffs2", func(b []byte) { put(b, 32769, "CD001") }, 32769},
		"NTFS":    {"ffs1", func(b []byte) { put(b, 3, "NTFS    "); put(b, 510, "\x55\xaa") }, 3},
		"swap":    {"ffs1", func(b []byte) { put(b, 4086, "SWAPSPACE2") }, 4086},
		"FAT16":   {"ffs2", func(b []byte) { fat(b, 54, "FAT16   ") }, 54},
		"FAT32":   {"ffs1", func(b []byte) { fat(b, 82, "FAT32   ") }, 82},
		"ext4":    {"ffs1", func(b []byte) { clear(b[1024:2048]); b[1024], b[1028] = 1, 1; put(b, 1080, "\x53\xef") }, 1080},
		"not FAT": {"ffs2", func(b []byte) { fat(b, 54, "UFS 4.4 ") }, -54},
		"no ext4": {"ffs1", func(b []byte) { clear(b[1024:2048]); put(b, 1080, "\x53\xef") }, -1080},
	} {
		b := garbage(4 << 20)
		c.make(b)
		before := bytes.Clone(b)
		require.NoError(t, formatOn(b, vfs.FormatOptions{Type: c.kind}))
		if c.gone < 0 {
			assert.True(t, bytes.Equal(before[:8192], b[:8192]), name)
			continue
		}
		assert.Zero(t, b[c.gone], name)
		assert.True(t, bytes.Equal(before[100:510], b[100:510]), "%s: boot code stays", name)
		changed := 0
		for i := range 8192 {
			if b[i] != before[i] {
				changed++
			}
		}
		assert.LessOrEqual(t, changed, 90, name)
	}
}

// What was FFS of one kind is of the other afterwards, wherever the superblock
// of the first lay.
func TestNewfsOverFFS(t *testing.T) {
	for _, from := range []string{"ffs1", "ffs2"} {
		for _, to := range []string{"ffs1", "ffs2"} {
			for _, size := range sizesOf() {
				b := garbage(10 << 20)
				require.NoError(t, formatOn(b, vfs.FormatOptions{Type: from, Label: "old"}))
				err := formatOn(b, vfs.FormatOptions{Type: to, Label: "new", BlockSize: size[0], FragSize: size[1]})
				require.NoError(t, err)
				fsys, err := Open(context.Background(), blockio.NewMemory(b))
				require.NoError(t, err, "%s over %s, %v", to, from, size)
				assert.Equal(t, "new", fsys.Info().Label)
				assert.Equal(t, strings.ToUpper(to), fsys.Info().Type)
			}
		}
	}
	// makefs of NetBSD puts the superblock of FFS2 where that of FFS1 is.
	b := format(t, 8<<20, vfs.FormatOptions{Label: "old"})
	copy(b[8192:], b[65536:65536+8192])
	binary.LittleEndian.PutUint64(b[8192+1000:], 8192)
	require.NoError(t, formatOn(b, vfs.FormatOptions{Type: "ffs2", Label: "new"}))
	assert.Equal(t, uint32(ondisk.MagicBad), binary.LittleEndian.Uint32(b[8192+1372:]))
}

// thin is a large device that keeps only what is written to it.
type thin struct {
	size    int64
	writes  int
	written int64
}

func (d *thin) Size() int64     { return d.size }
func (d *thin) SectorSize() int { return 512 }
func (d *thin) Sync() error     { return nil }
func (d *thin) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}
func (d *thin) WriteAt(p []byte, off int64) (int, error) {
	d.writes++
	d.written += int64(len(p))
	return len(p), nil
}

// A large FFS2 is made by writing little.
func TestNewfsWritesLittle(t *testing.T) {
	d := &thin{size: 100 << 30}
	s := blockio.NewSession(d, blockio.SessionOptions{})
	require.NoError(t, Format(s, vfs.FormatOptions{}))
	require.NoError(t, s.Commit(context.Background()))
	assert.Less(t, d.written, int64(40<<20))
	t.Logf("%d bytes in %d writes", d.written, d.writes)
}

func BenchmarkNewfs100GiB(b *testing.B) {
	for b.Loop() {
		s := blockio.NewSession(&thin{size: 100 << 30}, blockio.SessionOptions{})
		require.NoError(b, Format(s, vfs.FormatOptions{}))
	}
}
