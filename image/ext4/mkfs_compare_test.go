package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

const (
	madeUUID = "11111111-2222-4333-8444-555555555555"
	madeSeed = "66666666-7777-4888-9999-aaaaaaaaaaaa"
	madeTime = 1700000000
)

// makeFile makes a file system in a sparse file.
func makeFile(t testing.TB, name string, size int64, opt vfs.FormatOptions) error {
	t.Helper()
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, size))
	return makeIn(t, name, opt)
}

// makeIn makes a file system in a file that is there.
func makeIn(t testing.TB, name string, opt vfs.FormatOptions) error {
	t.Helper()
	f, err := blockio.OpenWritableFile(name)
	require.NoError(t, err)
	defer f.Close()
	s := blockio.NewSession(f, blockio.SessionOptions{})
	if err := Format(s, opt); err != nil {
		return err
	}
	return s.Commit(context.Background())
}

// mke2fs makes the file system to compare with.
func mke2fs(t testing.TB, name string, size int64, args ...string) error {
	t.Helper()
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, size))
	testtool.Need(t, "mke2fs")
	cmd := exec.Command("mke2fs", append(append([]string{"-q", "-F", "-U", madeUUID}, args...), name)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", madeTime), "MKE2FS_CONFIG=/etc/mke2fs.conf")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// A madeCase is a file system made twice: with opt, and by mke2fs with args.
type madeCase struct {
	size int64
	args string // of mke2fs, without -t
	opt  vfs.FormatOptions
	// fails says that mke2fs counts too few inodes and gives up.
	fails bool
}

func TestMkfsWritesWhatMke2fsWrites(t *testing.T) {
	testtool.Sequential(t)
	const k, m, g = 1 << 10, 1 << 20, 1 << 30
	cases := []madeCase{
		{size: 100 * k, fails: true}, {size: 200 * k}, {size: 1440 * k}, {size: 2048*k + 512}, {size: 4 * m}, {size: 8 * m}, {size: 8*m + 70*k},
		{size: 40 * m}, {size: 100 * m}, {size: 300*m + 4*k}, {size: 511 * m}, {size: 512 * m}, {size: 600 * m},
		{size: 1 * g}, {size: 2 * g}, {size: 5*g + 12345}, {size: 17 * g}}
	for _, c := range cases {
		for _, kind := range []string{"ext2", "ext3", "ext4"} {
			t.Run(fmt.Sprintf("%s/%d%s", kind, c.size, c.args), func(t *testing.T) { compareMade(t, kind, c) })
		}
	}
}

// Every option that mke2fs has as well does the same.
func TestMkfsOptionsAreThoseOfMke2fs(t *testing.T) {
	testtool.Sequential(t)
	const m, g = 1 << 20, 1 << 30
	for _, c := range []struct {
		kind string
		madeCase
	}{
		{"ext4", madeCase{size: 64 * m, args: "-b 4096", opt: vfs.FormatOptions{BlockSize: 4096}}},
		{"ext4", madeCase{size: 64 * m, args: "-b 2048", opt: vfs.FormatOptions{BlockSize: 2048}}},
		{"ext2", madeCase{size: 64*m + 3*1024, args: "-b 1024", opt: vfs.FormatOptions{BlockSize: 1024}}},
		{"ext3", madeCase{size: 900 * m, args: "-b 1024", opt: vfs.FormatOptions{BlockSize: 1024}}},
		{"ext4", madeCase{size: 300 * m, args: "-b 65536", opt: vfs.FormatOptions{BlockSize: 65536}}},
		{"ext3", madeCase{size: 300 * m, args: "-b 16384", opt: vfs.FormatOptions{BlockSize: 16384}}},
		{"ext4", madeCase{size: 40 * g, args: "-b 1024", opt: vfs.FormatOptions{BlockSize: 1024}}},
		{"ext4", madeCase{size: 10 * m, args: "-I 128", opt: vfs.FormatOptions{InodeSize: 128}}},
		{"ext2", madeCase{size: 10 * m, args: "-I 128", opt: vfs.FormatOptions{InodeSize: 128}}},
		{"ext4", madeCase{size: 10 * m, args: "-I 1024", opt: vfs.FormatOptions{InodeSize: 1024}}},
		{"ext4", madeCase{size: 100 * m, args: "-i 1024", opt: vfs.FormatOptions{BytesPerInode: 1024}}},
		{"ext4", madeCase{size: 1 * g, args: "-i 1048576", opt: vfs.FormatOptions{BytesPerInode: 1 << 20}}},
		{"ext2", madeCase{size: 100 * m, args: "-N 20", opt: vfs.FormatOptions{Inodes: 20}}},
		{"ext4", madeCase{size: 100 * m, args: "-N 50000", opt: vfs.FormatOptions{Inodes: 50000}}},
		{"ext4", madeCase{size: 1 * g, args: "-m 0 -L root -M /mnt/somewhere", opt: vfs.FormatOptions{ReservePct: ptr(0), Label: "root", MountPoint: "/mnt/somewhere"}}},
		{"ext4", madeCase{size: 1 * g, args: "-m 17 -L 0123456789abcdef", opt: vfs.FormatOptions{ReservePct: ptr(17), Label: "0123456789abcdef"}}},
		{"ext4", madeCase{size: 1 * g, args: "-J size=100", opt: vfs.FormatOptions{JournalSize: 100 * m}}},
		{"ext3", madeCase{size: 1 * g, args: "-J size=4", opt: vfs.FormatOptions{JournalSize: 4 * m}}},
		{"ext4", madeCase{size: 4 * g, args: "-b 1024 -J size=1024", opt: vfs.FormatOptions{BlockSize: 1024, JournalSize: 1 * g}}},
		{"ext3", madeCase{size: 600 * m, args: "-b 1024 -J size=200", opt: vfs.FormatOptions{BlockSize: 1024, JournalSize: 200 * m}}},
		{"ext4", withFeatures(1*g, "^metadata_csum")},
		{"ext4", withFeatures(1*g, "^metadata_csum,uninit_bg")},
		{"ext4", withFeatures(1*g, "^has_journal")},
		{"ext4", withFeatures(1*g, "^64bit")},
		{"ext4", withFeatures(1*g, "^extent,^64bit")},
		{"ext4", withFeatures(1*g, "^flex_bg")},
		{"ext4", withFeatures(1*g, "^flex_bg,^metadata_csum,uninit_bg")},
		{"ext4", withFeatures(1*g, "^resize_inode")},
		{"ext4", withFeatures(1*g, "^resize_inode,meta_bg")},
		{"ext4", withFeatures(70*g, "^resize_inode,meta_bg")},
		{"ext4", withFeatures(2*g, "^resize_inode,^sparse_super")},
		{"ext4", withFeatures(100*m, "inline_data")},
		{"ext4", withFeatures(1*g, "inline_data,ea_inode,large_dir,metadata_csum_seed,project")},
		{"ext4", withFeatures(1*g, "^filetype,^dir_index,^ext_attr,^large_file,^huge_file,^dir_nlink,^extra_isize")},
		{"ext2", withFeatures(1*g, "extent,flex_bg")},
		{"ext2", withFeatures(1*g, "none")},
		{"ext3", withFeatures(100*m, "^resize_inode,^sparse_super")},
		{"ext4", withFeatures(1*g, "bigalloc")},
		{"ext4", withFeatures(100*m, "bigalloc")},
		{"ext4", withFeatures(70*g, "bigalloc,^resize_inode")},
		{"ext4", madeCase{size: 1 * g, args: "-O bigalloc -C 16384", opt: vfs.FormatOptions{Features: "bigalloc", ClusterSize: 16384}}},
	} {
		t.Run(fmt.Sprintf("%s/%d%s", c.kind, c.size, c.args), func(t *testing.T) { compareMade(t, c.kind, c.madeCase) })
	}
}

func withFeatures(size int64, features string) madeCase {
	return madeCase{size: size, args: "-O " + features, opt: vfs.FormatOptions{Features: features}}
}

func ptr[T any](v T) *T { return &v }

func compareMade(t *testing.T, kind string, c madeCase) {
	dir := t.TempDir()
	theirs, ours := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
	args := append([]string{"-t", kind}, strings.Fields(c.args)...)
	seeded := false
	for i, a := range args {
		if a == "-E" {
			args[i+1] += ",hash_seed=" + madeSeed
			seeded = true
		}
	}
	if !seeded {
		args = append(args, "-E", "hash_seed="+madeSeed)
	}
	opt := c.opt
	opt.Type, opt.UUID, opt.HashSeed, opt.Time = kind, madeUUID, madeSeed, time.Unix(madeTime, 0)
	require.NoError(t, makeFile(t, ours, c.size, opt))
	fsck(t, ours)
	if err := mke2fs(t, theirs, c.size, args...); c.fails {
		require.Error(t, err)
		return
	} else {
		require.NoError(t, err)
	}
	diff(t, theirs, ours)
}

// diff compares two file systems of equal size, byte by byte, except for the
// counts of kilobytes written and the checksums of superblocks.
func diff(t testing.TB, theirs, ours string) {
	t.Helper()
	a, err := blockio.OpenFile(theirs)
	require.NoError(t, err)
	defer a.Close()
	b, err := blockio.OpenFile(ours)
	require.NoError(t, err)
	defer b.Close()
	fsys, err := open(context.Background(), a)
	require.NoError(t, err)
	g := fsys.(*FS).geometry
	const step = 1024
	pa, pb := make([]byte, step), make([]byte, step)
	different := 0
	for off := int64(0); off < a.Size() && different < 20; {
		data := a.Size()
		for _, d := range []*blockio.File{a, b} {
			if at, err := d.SeekData(off); err != io.EOF {
				require.NoError(t, err)
				data = min(data, at)
			}
		}
		if data > off {
			off = data &^ (step - 1)
		}
		if off >= a.Size() {
			break
		}
		n := min(step, a.Size()-off)
		_, err := a.ReadAt(pa[:n], off)
		require.NoError(t, err)
		_, err = b.ReadAt(pb[:n], off)
		require.NoError(t, err)
		if isSuper(&g, off) {
			for _, p := range [][]byte{pa, pb} {
				clear(p[0x178:0x180])
				clear(p[0x3fc:0x400])
			}
		}
		if !bytes.Equal(pa[:n], pb[:n]) {
			for i := range pa[:n] {
				if pa[i] != pb[i] && different < 20 {
					block := uint64(off / g.blockSize)
					t.Errorf("byte %#x of block %d (%d): mke2fs %02x, here %02x", (off+int64(i))%g.blockSize, block, off+int64(i), pa[i], pb[i])
					different++
				}
			}
		}
		off += n
	}
}

func isSuper(g *geometry, off int64) bool {
	if off == 1024 {
		return true
	}
	block := uint64(off / g.blockSize)
	if off%g.blockSize != 0 || block < g.firstBlock {
		return false
	}
	return (block-g.firstBlock)%g.blocksPerGroup == 0 && g.sb.HasSuper((block-g.firstBlock)/g.blocksPerGroup)
}
