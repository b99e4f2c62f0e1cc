package fat_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// makeFile formats a file of so many bytes, which is sparse.
func makeFile(t testing.TB, size int64, sector int, opt vfs.FormatOptions) (string, error) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "made.img")
	f, err := os.Create(img)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
	dev, err := blockio.OpenWritableFile(img)
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	s := blockio.NewSession(dev.WithSectorSize(sector), blockio.SessionOptions{})
	if err := fat.Format(s, opt); err != nil {
		return "", err
	}
	require.NoError(t, s.Commit(ctx))
	return img, nil
}

// A mkfsCase is a volume that both are asked for.
type mkfsCase struct {
	size   int64
	sector int // bytes, 0: 512
	args   string
	opt    vfs.FormatOptions
}

// theirs runs mkfs.fat on a sparse file: "" if it refuses.
func (c mkfsCase) theirs(t testing.TB) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "theirs.img")
	f, err := os.Create(img)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(c.size))
	require.NoError(t, f.Close())
	args := append([]string{"--invariant", "-i", "1234abcd"}, strings.Fields(c.args)...)
	if out, err := exec.Command("mkfs.fat", append(args, img)...).CombinedOutput(); err != nil {
		require.Contains(t, string(out), "mkfs.fat: ", "refused")
		return ""
	}
	return img
}

func (c mkfsCase) String() string { return fmt.Sprintf("%d %s", c.size, c.args) }

// head reads the reserved sectors.
func head(t testing.TB, img string, n int) []byte {
	t.Helper()
	dev, err := blockio.OpenFile(img)
	require.NoError(t, err)
	defer dev.Close()
	b, err := blockio.ReadFull(dev, 0, n)
	require.NoError(t, err)
	return b
}

// same compares the two volumes: all fields of the boot sector but the name of
// the program, FSInfo, and the start of the tables.
func (c mkfsCase) same(t testing.TB) {
	t.Helper()
	theirs := c.theirs(t)
	c.opt.UUID, c.opt.Time = "1234-ABCD", time.Unix(1426325213, 0) // as --invariant
	ours, err := makeFile(t, c.size, max(c.sector, 512), c.opt)
	if theirs == "" {
		require.Error(t, err, "%v: mkfs.fat refuses", c)
		return
	}
	require.NoError(t, err, "%v", c)
	a, b := head(t, theirs, 4096), head(t, ours, 4096)
	bpb, ourBPB := ondisk.DecodeBPB(a), ondisk.DecodeBPB(b)
	ourBPB.OEMName = bpb.OEMName
	require.Equal(t, bpb, ourBPB, "%v", c)
	ss := int(bpb.BytesPerSector)
	at := ondisk.Ext16Offset
	if bpb.FATSectors16 == 0 {
		at = ondisk.Ext32Offset
		require.Equal(t, ondisk.DecodeBPB32(a), ondisk.DecodeBPB32(b), "%v", c)
		a, b := head(t, theirs, 7*ss), head(t, ours, 7*ss)
		require.Equal(t, ondisk.DecodeFSInfo(a[ss:]), ondisk.DecodeFSInfo(b[ss:]), "%v", c)
		require.True(t, bytes.Equal(b[:ss], b[6*ss:]), "%v: the backup", c)
	}
	require.Equal(t, ondisk.DecodeExt(a, at), ondisk.DecodeExt(b, at), "%v", c)
	require.Equal(t, a[510:512], b[510:512])
	if bpb.TotalSectors16 != 0 { // small enough to compare all that is not boot code
		x, err := os.ReadFile(theirs)
		require.NoError(t, err)
		y, err := os.ReadFile(ours)
		require.NoError(t, err)
		skip := ss
		if at == ondisk.Ext32Offset {
			skip = 7 * ss // and FSInfo again
		}
		require.True(t, bytes.Equal(x[skip:], y[skip:]), "%v: behind the boot sectors", c)
	}
}

// mkfs.fat is the judge of what a volume of a size should look like.
func TestFormatAsMkfs(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "mkfs.fat")
	const kib, mib, gib = int64(1) << 10, int64(1) << 20, int64(1) << 30
	var cases []mkfsCase
	for _, size := range []int64{
		40 * kib, 50 * kib, 64 * kib, 160 * kib, 180 * kib, 320 * kib, 360 * kib, 720 * kib, 1200 * kib, 1440 * kib, 2880 * kib,
		361 * kib, 1440*kib + 512, 4*mib - 512, 4 * mib, 4*mib + 16*kib, 5000 * kib, 8 * mib, 16 * mib, 16*mib + 512, 32 * mib,
		33 * mib, 64 * mib, 100*mib + 511, 128 * mib, 200 * mib, 256 * mib, 257 * mib, 260 * mib, 504 * mib, 512*mib - 512, 512 * mib,
		gib, 3 * gib, 8*gib + mib, 16 * gib, 33 * gib, 64 * gib,
	} {
		for _, kind := range []string{"", "12", "16", "32"} {
			c := mkfsCase{size: size, opt: vfs.FormatOptions{Type: "fat" + kind}}
			if kind != "" {
				c.args = "-F " + kind
			}
			cases = append(cases, c)
		}
	}
	hidden := uint32(2048)
	for _, size := range []int64{1440 * kib, 16 * mib, 300 * mib, gib} {
		for _, o := range []mkfsCase{
			{args: "-S 4096", sector: 4096},
			{args: "-S 2048", sector: 2048},
			{args: "-S 1024", sector: 1024},
			{args: "-S 4096 -F 32", sector: 4096, opt: vfs.FormatOptions{Type: "vfat"}},
			{args: "-f 1", opt: vfs.FormatOptions{FATs: 1}},
			{args: "-f 3", opt: vfs.FormatOptions{FATs: 3}},
			{args: "-s 1", opt: vfs.FormatOptions{BlockSize: 512}},
			{args: "-s 8", opt: vfs.FormatOptions{BlockSize: 4096}},
			{args: "-s 128", opt: vfs.FormatOptions{BlockSize: 65536}},
			{args: "-r 100", opt: vfs.FormatOptions{RootEntries: 100}},
			{args: "-r 2000", opt: vfs.FormatOptions{RootEntries: 2000}},
			{args: "-h 2048", opt: vfs.FormatOptions{Hidden: &hidden}},
			{args: "-n LABEL", opt: vfs.FormatOptions{Label: "LABEL"}},
			{args: "-F 32 -n ESP", opt: vfs.FormatOptions{Type: "fat32", Label: "ESP"}},
		} {
			o.size = size
			cases = append(cases, o)
		}
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 40 {
		cases = append(cases, mkfsCase{size: 64*kib + rnd.Int64N(40*mib)})
	}
	for _, c := range cases {
		c.same(t)
	}
}

// The judges of what was made: fsck.fat has nothing to say, mtools, blkid and
// file read it.
func TestFormatJudged(t *testing.T) {
	testtool.Need(t, "fsck.fat", "mdir", "mcopy", "blkid", "file")
	for _, c := range []struct {
		size   int64
		opt    vfs.FormatOptions
		kind   string
		sector int
	}{
		{1440 << 10, vfs.FormatOptions{Label: "FLOPPY"}, "FAT12", 512},
		{64 << 20, vfs.FormatOptions{Label: "ESP"}, "FAT16", 512},
		{64 << 20, vfs.FormatOptions{Type: "fat32", Label: "ESP"}, "FAT32", 512},
		{300 << 20, vfs.FormatOptions{Type: "vfat", Label: "A B"}, "FAT32", 512},
		{64 << 20, vfs.FormatOptions{Label: "4K"}, "FAT16", 4096},
		{512 << 20, vfs.FormatOptions{Label: "4K", Type: "fat32"}, "FAT32", 4096},
		{2 << 30, vfs.FormatOptions{Label: "BIG"}, "FAT32", 512},
	} {
		c.opt.UUID = "CAFE-F00D"
		img, err := makeFile(t, c.size, max(c.sector, 512), c.opt)
		require.NoError(t, err)
		testtool.Run(t, "fsck.fat", "-n", img)
		assert.Equal(t, c.kind, strings.TrimSpace(testtool.Run(t, "blkid", "-p", "-s", "VERSION", "-o", "value", img)))
		assert.Equal(t, "CAFE-F00D", strings.TrimSpace(testtool.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", img)))
		assert.Equal(t, c.opt.Label, strings.TrimSpace(testtool.Run(t, "blkid", "-p", "-s", "LABEL", "-o", "value", img)))
		described := testtool.Run(t, "file", "-b", img)
		assert.Contains(t, described, `OEM-ID "resflash"`)
		assert.Contains(t, described, "serial number 0xcafef00d")
		fsys, _ := open(t, img)
		assert.Equal(t, c.kind, fsys.Info().Type)
		assert.Equal(t, c.opt.Label, fsys.Info().Label)
		assert.Empty(t, fsys.Info().StateNote)
		if c.sector == 4096 && c.kind == "FAT32" {
			continue // mtools takes it for FAT16: it has too few clusters
		}
		assert.Contains(t, mtools(t, img, "mdir", "::"), "CAFE-F00D")
		data := bytes.Repeat([]byte("content "), 10_000)
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		mtools(t, img, "mcopy", file, "::a long file name")
		testtool.Run(t, "fsck.fat", "-n", img)
	}
}

// Nothing on the device is taken for zero, and nothing of what was there before
// can be mistaken for contents.
func TestFormatOverGarbage(t *testing.T) {
	testtool.Sequential(t)
	for _, kind := range []string{"fat12", "fat16", "fat32"} {
		b := bytes.Repeat([]byte{stale}, 40<<20)
		s := blockio.NewSession(blockio.NewMemory(b), blockio.SessionOptions{})
		require.NoError(t, fat.Format(s, vfs.FormatOptions{Type: kind}))
		require.NoError(t, s.Commit(ctx))
		img := filepath.Join(t.TempDir(), "img")
		require.NoError(t, os.WriteFile(img, b, 0o600))
		testtool.Run(t, "fsck.fat", "-n", img)
		assert.Empty(t, mtools(t, img, "mdir", "-b", "::"))
		for _, off := range []int{0x1FF + 1, 1024, 8192, 65536, 65536 + 1372, 262144 + 1372, len(b) - 512} {
			assert.NotEqual(t, stale, int(b[off]), "%s: byte %d", kind, off)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	for _, c := range []struct {
		size   int64
		opt    vfs.FormatOptions
		want   string
		sector int
	}{
		{30 << 10, vfs.FormatOptions{}, "too few", 512},
		{0, vfs.FormatOptions{}, "too small", 512},
		{64 << 20, vfs.FormatOptions{Type: "fat64"}, "is not fat, fat12", 512},
		{1 << 20, vfs.FormatOptions{Type: "fat16"}, "too small or too large for FAT16", 512},
		{5 << 30, vfs.FormatOptions{Type: "fat16"}, "too small or too large for FAT16", 512},
		{64 << 20, vfs.FormatOptions{BlockSize: 1000}, "clusters of 1000 bytes", 512},
		{64 << 20, vfs.FormatOptions{BlockSize: 128 << 10}, "clusters of 131072 bytes", 512},
		{64 << 20, vfs.FormatOptions{Type: "fat12", BlockSize: 512}, "cannot be FAT12 with clusters of 1 sectors", 512},
		{64 << 20, vfs.FormatOptions{}, "sectors of 8192 bytes", 8192},
		{64 << 20, vfs.FormatOptions{FATs: 5}, "5 file allocation tables", 512},
		{64 << 20, vfs.FormatOptions{RootEntries: 70000}, "70000 entries", 512},
		{64 << 20, vfs.FormatOptions{Label: "twelve chars"}, "more than 11", 512},
		{64 << 20, vfs.FormatOptions{Label: "a/b"}, `'/'`, 512},
		{64 << 20, vfs.FormatOptions{Label: "日本"}, "code page 437", 512},
		{64 << 20, vfs.FormatOptions{Label: " x"}, "begins with a space", 512},
		{64 << 20, vfs.FormatOptions{UUID: "12345"}, "not of the form", 512},
	} {
		_, err := makeFile(t, c.size, max(c.sector, 512), c.opt)
		require.ErrorContains(t, err, c.want)
	}
}

// The same options give the same bytes.
func TestFormatIsRepeatable(t *testing.T) {
	image := func(seed uint64, at int64) []byte {
		img, err := makeFile(t, 8<<20, 512, vfs.FormatOptions{Label: "X", Seed: &seed, Time: time.Unix(at, 0)})
		require.NoError(t, err)
		b, err := os.ReadFile(img)
		require.NoError(t, err)
		return b
	}
	first := image(1, 1_700_000_000)
	assert.True(t, bytes.Equal(first, image(1, 1_700_000_000)))
	assert.False(t, bytes.Equal(first, image(2, 1_700_000_000)), "another identifier")
	assert.False(t, bytes.Equal(first, image(1, 1_700_000_002)), "another time of the label")
}

// A volume never reaches beyond the device, at any size.
func TestFormatFitsTheDevice(t *testing.T) {
	testtool.Sequential(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		size := int64(60<<10) + rnd.Int64N(12<<20)
		b := make([]byte, size)
		s := blockio.NewSession(blockio.NewMemory(b), blockio.SessionOptions{})
		kind := []string{"fat", "fat12", "fat32"}[rnd.IntN(3)]
		require.NoError(t, fat.Format(s, vfs.FormatOptions{Type: kind}), "%d", size)
		require.NoError(t, s.Commit(ctx))
		fsys := openDevice(t, blockio.NewMemory(b))
		assert.NotContains(t, fsys.Info().StateNote, "the device only")
		assert.Empty(t, fsys.Info().StateNote)
	}
}
