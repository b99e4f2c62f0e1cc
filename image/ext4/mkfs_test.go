package ext4

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// garbage is a device on which nothing can be taken for zero.
func garbage(size int64) []byte { return bytes.Repeat([]byte{0xaa}, int(size)) }

func formatOn(b []byte, opt vfs.FormatOptions) error {
	s := blockio.NewSession(blockio.NewMemory(b), blockio.SessionOptions{})
	if err := Format(s, opt); err != nil {
		return err
	}
	return s.Commit(context.Background())
}

// Nothing is left to what the device held before.
func TestMkfsOnGarbage(t *testing.T) {
	for _, c := range []vfs.FormatOptions{
		{Type: "ext2"}, {Type: "ext3"}, {Type: "ext4"},
		{Type: "ext4", Features: "^metadata_csum"}, {Type: "ext4", Features: "^metadata_csum,uninit_bg"},
		{Type: "ext4", Features: "bigalloc,inline_data"}, {Type: "ext4", Inodes: 20, Features: "^flex_bg"},
		{Type: "ext2", InodeSize: 128, Features: "none"},
	} {
		name := filepath.Join(t.TempDir(), "made")
		b := garbage(48 << 20)
		require.NoError(t, formatOn(b, c), "%+v", c)
		require.NoError(t, os.WriteFile(name, b, 0o600))
		fsck(t, name)

		fsys, err := open(context.Background(), blockio.NewMemory(b))
		require.NoError(t, err)
		assert.Equal(t, vfs.Clean, fsys.Info().State)
		var names []string
		require.NoError(t, vfs.NewTree(fsys).Walk(context.Background(), "/", func(path string, _ vfs.Attr, err error) error {
			names = append(names, path)
			return err
		}))
		assert.Equal(t, []string{"/", "/lost+found"}, names)
	}
}

// The same options give the same bytes; other seeds give other ones.
func TestMkfsIsRepeatable(t *testing.T) {
	made := func(opt vfs.FormatOptions) []byte {
		b := garbage(8 << 20)
		require.NoError(t, formatOn(b, opt))
		return b
	}
	opt := vfs.FormatOptions{Time: time.Unix(1e9, 0), Seed: ptr(uint64(7))}
	a := made(opt)
	assert.True(t, bytes.Equal(a, made(opt)))
	opt.Seed = ptr(uint64(8))
	assert.False(t, bytes.Equal(a, made(opt)))
	opt.Seed = nil
	assert.False(t, bytes.Equal(made(opt), made(opt)))
}

func TestMkfsRefuses(t *testing.T) {
	for _, c := range []struct {
		size int64
		opt  vfs.FormatOptions
		want string
	}{
		{8 << 20, vfs.FormatOptions{Type: "ffs2"}, `"ffs2" is not ext2, ext3 or ext4`},
		{8 << 20, vfs.FormatOptions{BlockSize: 512}, "block size 512 is not a power of two from 1024 to 65536"},
		{8 << 20, vfs.FormatOptions{BlockSize: 131072}, "block size 131072"},
		{8 << 20, vfs.FormatOptions{BlockSize: 3000}, "block size 3000"},
		{8 << 20, vfs.FormatOptions{BlockSize: -4096}, "block size -4096"},
		{8 << 20, vfs.FormatOptions{ClusterSize: 65536}, "needs the feature bigalloc"},
		{8 << 20, vfs.FormatOptions{ClusterSize: 1024, Features: "bigalloc"}, "cluster size 1024"},
		{8 << 20, vfs.FormatOptions{InodeSize: 100}, "inode size 100"},
		{8 << 20, vfs.FormatOptions{InodeSize: 2048}, "inode size 2048 is not a power of two from 128 to 1024"},
		{8 << 20, vfs.FormatOptions{InodeSize: 128, Features: "inline_data"}, "too small for inline_data"},
		{8 << 20, vfs.FormatOptions{BytesPerInode: 512}, "512 bytes per inode"},
		{8 << 20, vfs.FormatOptions{BytesPerInode: -1}, "-1 bytes per inode"},
		{8 << 20, vfs.FormatOptions{Inodes: -1}, "less than none"},
		{8 << 20, vfs.FormatOptions{Inodes: 1 << 32}, "more than 2^32"},
		{8 << 20, vfs.FormatOptions{Inodes: 1 << 15}, "32768 inodes of 256 bytes do not fit into 8388608 bytes"},
		{8 << 20, vfs.FormatOptions{ReservePct: ptr(51)}, "51 percent"},
		{8 << 20, vfs.FormatOptions{ReservePct: ptr(-1)}, "-1 percent"},
		{8 << 20, vfs.FormatOptions{Label: strings.Repeat("x", 17)}, "label has 17 bytes, and ext4 has room for 16"},
		{8 << 20, vfs.FormatOptions{MountPoint: strings.Repeat("/", 65)}, "room for 64"},
		{8 << 20, vfs.FormatOptions{Label: "a\x00b"}, "NUL"},
		{8 << 20, vfs.FormatOptions{UUID: "7"}, `UUID "7" is not of the form`},
		{8 << 20, vfs.FormatOptions{HashSeed: strings.Repeat("x", 36)}, "hash seed"},
		{8 << 20, vfs.FormatOptions{Time: time.Unix(1<<31, 0), InodeSize: 128}, "inodes of 128 bytes have no room for the time 2038"},
		{8 << 20, vfs.FormatOptions{Time: time.Unix(1<<34, 0)}, "no room for the time 2514"},
		{8 << 20, vfs.FormatOptions{Features: "encrypt"}, "encryption is not supported"},
		{8 << 20, vfs.FormatOptions{Features: "quota"}, "quota are not supported"},
		{8 << 20, vfs.FormatOptions{Features: "extent,nonsense"}, `feature "nonsense" is not known; there are: 64bit, `},
		{8 << 20, vfs.FormatOptions{Features: "^extent"}, "64bit needs extent"},
		{8 << 20, vfs.FormatOptions{Features: "^extent,^64bit,bigalloc"}, "bigalloc needs extent"},
		{8 << 20, vfs.FormatOptions{Features: "meta_bg"}, "meta_bg and resize_inode exclude each other"},
		{8 << 20, vfs.FormatOptions{Features: "^sparse_super"}, "resize_inode needs sparse_super"},
		{8 << 20, vfs.FormatOptions{Features: "^metadata_csum,metadata_csum_seed"}, "needs metadata_csum"},
		{8 << 20, vfs.FormatOptions{JournalSize: 512 << 10}, "does not have 1024 to 10240000 blocks"},
		{8 << 20, vfs.FormatOptions{JournalSize: -1}, "a journal of -1 bytes"},
		{8 << 20, vfs.FormatOptions{JournalSize: 5 << 20}, "more than half"},
		{8 << 20, vfs.FormatOptions{JournalSize: 1 << 20, Type: "ext2"}, "needs the feature has_journal"},
		{0, vfs.FormatOptions{}, "do not fit"},
		{512, vfs.FormatOptions{}, "do not fit"},
		{48 << 10, vfs.FormatOptions{}, "49152 bytes are too few"},
	} {
		b := garbage(c.size)
		err := formatOn(b, c.opt)
		assert.ErrorIs(t, err, syscall.EINVAL, "%+v", c)
		assert.ErrorContains(t, err, c.want)
		assert.True(t, bytes.Equal(garbage(c.size), b), "nothing is written")
	}
	_, err := profileFor("ext2", 17<<40, 512, vfs.FormatOptions{})
	assert.ErrorContains(t, err, "need the feature 64bit")
	p, err := profileFor("ext4", 17<<40, 512, vfs.FormatOptions{})
	require.NoError(t, err)
	assert.Zero(t, p.compat&ondisk.CompatResizeInode)
	assert.Less(t, p.inodes, uint64(math.MaxUint32))
	_, err = profileFor("ext4", 1<<30, 4096, vfs.FormatOptions{BlockSize: 1024})
	assert.ErrorContains(t, err, "less than a sector of 4096")
	p, err = profileFor("ext4", 1<<20, 4096, vfs.FormatOptions{})
	require.NoError(t, err)
	assert.Equal(t, int64(4096), p.blockSize)
}

// What the volume was before is not what it is taken for, but a disklabel in its
// first sectors stays.
func TestMkfsWipesRemains(t *testing.T) {
	for _, c := range []struct {
		at   int64
		mark string
	}{
		{0, "XFSB"}, {3, "NTFS    "}, {510, "\x55\xaa"}, {512, "LABELONE"}, {4086, "SWAPSPACE2"}, {32769, "CD001"},
		{8192 + 1372, "\x54\x19\x01\x00"}, {65536 + 1372, "\x19\x01\x54\x19"}, {262144 + 1372, "\x19\x01\x54\x19"}, {65600, "_BHRfS_M"},
	} {
		for _, opt := range []vfs.FormatOptions{{Type: "ext2"}, {Type: "ext4", Inodes: 4000}} {
			b := garbage(8 << 20)
			copy(b[c.at:], c.mark)
			require.NoError(t, formatOn(b, opt))
			assert.NotEqual(t, c.mark, string(b[c.at:][:len(c.mark)]), "%q", c.mark)
		}
	}
	for _, at := range []int{0, 512} {
		b := garbage(8 << 20)
		copy(b[at:], labelMagic)
		before := bytes.Clone(b[at : at+512])
		require.NoError(t, formatOn(b, vfs.FormatOptions{}))
		assert.Equal(t, before, b[at:at+512])
		assert.Equal(t, make([]byte, 512), b[512-at:][:512])
	}
}

// thin is a large device, all hole, that keeps only what is written to it.
type thin struct {
	size    int64
	writes  int
	written int64
}

func (d *thin) Size() int64                       { return d.size }
func (d *thin) SectorSize() int                   { return 512 }
func (d *thin) Sync() error                       { return nil }
func (d *thin) SeekData(int64) (int64, error)     { return d.size, nil }
func (d *thin) SeekHole(off int64) (int64, error) { return off, nil }
func (d *thin) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}
func (d *thin) WriteAt(p []byte, off int64) (int, error) {
	d.writes++
	d.written += int64(len(p))
	return len(p), nil
}

// Large file systems are made by writing little.
func TestMkfsWritesLittle(t *testing.T) {
	for _, c := range []struct{ size, limit int64 }{{2 << 30, 2 << 20}, {100 << 30, 20 << 20}, {16 << 40, 400 << 20}} {
		d := &thin{size: c.size}
		s := blockio.NewSession(d, blockio.SessionOptions{})
		require.NoError(t, Format(s, vfs.FormatOptions{}))
		require.NoError(t, s.Commit(context.Background()))
		assert.Less(t, d.written, c.limit)
		t.Logf("%d GiB: %d bytes in %d writes", c.size>>30, d.written, d.writes)
	}
}

func BenchmarkMkfs100GiB(b *testing.B) {
	for b.Loop() {
		s := blockio.NewSession(&thin{size: 100 << 30}, blockio.SessionOptions{})
		require.NoError(b, Format(s, vfs.FormatOptions{}))
	}
}
