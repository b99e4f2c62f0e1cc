package image_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// secret is what must not be in an image any more, in whatever spelling: every
// byte that a test has planted is part of it.
const secret = "S3CRET!"

// poisoned makes an image that is full of secrets before anything is made in
// it.
func poisoned(t *testing.T, size int64) string {
	name := filepath.Join(t.TempDir(), "poisoned.img")
	require.NoError(t, os.WriteFile(name, []byte(strings.Repeat(secret+"\n", int(size)/(len(secret)+1))), 0o644))
	return name
}

// whereIs lists where the secret, or a part of it, is in an image.
func whereIs(t *testing.T, name string) (at []int) {
	data := contents(t, name)
	wide := make([]byte, 0, 2*len(secret))
	for _, c := range []byte(secret) {
		wide = append(wide, c, 0)
	}
	for _, word := range [][]byte{[]byte(secret), wide[:6]} {
		for off := 0; len(at) < 20; {
			i := bytes.Index(data[off:], word)
			if i < 0 {
				break
			}
			at = append(at, off+i)
			off += i + 4096 - (off+i)%4096
		}
	}
	return at
}

// secrets is n bytes of them.
func secrets(n int) string { return strings.Repeat(secret, n/len(secret)+1)[:n] }

// A scrubCase is a kind of file system: how it is made in a file that is there,
// and what judges it.
type scrubCase struct {
	name  string
	size  int64
	make  func(t *testing.T, name string)
	judge []string
	// boot is what the format keeps for boot code, in front of everything, or,
	// where clusters of several blocks hold metadata, for itself.
	boot int
}

func mke2fs(args ...string) func(t *testing.T, name string) {
	return func(t *testing.T, name string) {
		testtool.Need(t, "mke2fs", "e2fsck")
		testtool.Run(t, "mke2fs", append(append([]string{"-q", "-F"}, args...), name)...)
	}
}

func mkfat(args ...string) func(t *testing.T, name string) {
	return func(t *testing.T, name string) {
		testtool.Need(t, "mkfs.fat", "fsck.fat")
		testtool.Run(t, "mkfs.fat", append(args, name)...)
	}
}

// newfs makes a file system of ours, with nothing wiped beforehand.
func newfs(opt vfs.FormatOptions) func(t *testing.T, name string) {
	return func(t *testing.T, name string) {
		f, err := blockio.OpenWritableFile(name)
		require.NoError(t, err)
		defer f.Close()
		tx := blockio.NewSession(f, blockio.SessionOptions{Private: true})
		for _, d := range image.Drivers() {
			if d.Name == "ffs" {
				require.NoError(t, d.Format(tx, opt))
			}
		}
		require.NoError(t, tx.Commit(ctx))
		require.NoError(t, tx.Close())
	}
}

var scrubCases = []scrubCase{
	{name: "ext4", size: 12 * mib, make: mke2fs("-t", "ext4", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"), judge: []string{"e2fsck", "-fn"}, boot: 1024},
	{name: "ext4 with small blocks and data in inodes", size: 9 * mib, make: mke2fs("-t", "ext4", "-b", "1024", "-I", "256", "-O", "inline_data,^has_journal", "-E", "nodiscard"), judge: []string{"e2fsck", "-fn"}, boot: 1024},
	{name: "ext4 with clusters", size: 16 * mib, make: mke2fs("-t", "ext4", "-O", "bigalloc", "-C", "16384", "-E", "nodiscard"), judge: []string{"e2fsck", "-fn"}, boot: 1 * mib},
	{name: "ext2", size: 9 * mib, make: mke2fs("-t", "ext2", "-b", "1024", "-E", "nodiscard"), judge: []string{"e2fsck", "-fn"}, boot: 1024},
	{name: "FFS1", size: 8 * mib, make: newfs(vfs.FormatOptions{Type: "ffs1"}), boot: 8192},
	{name: "FFS2", size: 8 * mib, make: newfs(vfs.FormatOptions{Type: "ffs2"}), boot: 65536},
	{name: "FAT12", size: 2 * mib, make: mkfat("-F", "12"), judge: []string{"fsck.fat", "-n"}, boot: 512},
	{name: "FAT16", size: 10 * mib, make: mkfat("-F", "16"), judge: []string{"fsck.fat", "-n"}, boot: 512},
	{name: "FAT32", size: 6 * mib, make: mkfat("-F", "32"), judge: []string{"fsck.fat", "-n"}, boot: 32 * 512},
}

// plant fills a file system with files that stay and files that go, and removes
// some of the latter in a transaction of its own.
func plant(t *testing.T, tree *vfs.Tree, commit func()) {
	const manyNames = 200
	file := func(name, text string) {
		_, err := tree.WriteFile(ctx, name, strings.NewReader(text), vfs.NewNode{Mode: vfs.Regular | 0o644})
		require.NoError(t, err, name)
	}
	for i := range 8 {
		file(fmt.Sprintf("/gone-%s-%d", secret, i), secrets(40_000*(i%3)+700*i+1))
		file(fmt.Sprintf("/keep-%d", i), strings.Repeat("keep", 1000*i+i+1))
	}
	file("/tiny", secrets(50))
	file("/shrunk", strings.Repeat("keep", 2500)+secrets(30_000))
	require.NoError(t, tree.Mkdir(ctx, "/names", 0o755))
	long := strings.Repeat(secret, 20)
	for i := range manyNames {
		file(fmt.Sprintf("/names/%s-%d", long, i), "x")
	}
	file("/names/keep", "keep")
	commit()
	for i := range manyNames {
		require.NoError(t, tree.Remove(ctx, fmt.Sprintf("/names/%s-%d", long, i)))
	}
	for i := range 5 {
		require.NoError(t, tree.Remove(ctx, fmt.Sprintf("/gone-%s-%d", secret, i)))
	}
	require.NoError(t, tree.Truncate(ctx, "/shrunk", 10_000))
	commit()
}

// unplant removes the rest.
func unplant(t *testing.T, tree *vfs.Tree) {
	for i := 5; i < 8; i++ {
		require.NoError(t, tree.Remove(ctx, fmt.Sprintf("/gone-%s-%d", secret, i)))
	}
	require.NoError(t, tree.Remove(ctx, "/tiny"))
}

// kept makes sure that all that is to be there is there.
func kept(t *testing.T, tree *vfs.Tree) {
	want := map[string]int{"/shrunk": 2500, "/names/keep": 1}
	for i := range 8 {
		want[fmt.Sprintf("/keep-%d", i)] = 1000*i + i + 1
	}
	for name, n := range want {
		attr, err := tree.Resolve(ctx, name)
		require.NoError(t, err, name)
		got, err := io.ReadAll(tree.Reader(ctx, attr))
		require.NoError(t, err, name)
		assert.Equal(t, strings.Repeat("keep", n), string(got), name)
	}
}

// edited opens the only file system of an image for changing.
func edited(t *testing.T, name string, opt image.EditOptions) (*image.Disk, *image.Volume) {
	d, err := image.Edit(ctx, name, opt)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	p, err := d.Find(ctx, "")
	require.NoError(t, err)
	v, err := p.Edit(ctx)
	require.NoError(t, err)
	return d, v
}

// Nothing of what was on the medium before, or was removed from the file
// system, is left; what is there is as it was, and every checker is content.
func TestScrubLeavesNothing(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range scrubCases {
		t.Run(c.name, func(t *testing.T) {
			name := poisoned(t, c.size)
			c.make(t, name)
			d, v := edited(t, name, image.EditOptions{})
			plant(t, v.Tree, func() { require.NoError(t, d.Commit(ctx)) })
			require.NoError(t, d.Close())
			assert.NotEmpty(t, whereIs(t, name))

			d, v = edited(t, name, image.EditOptions{Atomic: true})
			unplant(t, v.Tree)
			report, err := image.Scrub(ctx, d, image.ScrubOptions{})
			require.NoError(t, err)
			require.Len(t, report.Volumes, 1)
			assert.Empty(t, report.Volumes[0].Skipped)
			require.NoError(t, d.Commit(ctx))
			v2, err := v.Partition.Edit(ctx)
			require.NoError(t, err)
			kept(t, v2.Tree)
			require.NoError(t, d.Close())

			t.Log(report.Volumes[0].Zeroed)
			for _, at := range whereIs(t, name) {
				assert.Less(t, at, c.boot, "%x", at)
			}
			if c.judge != nil {
				testtool.Run(t, c.judge[0], append(c.judge[1:], name)...)
			}
		})
	}
}

// made makes an image with a file system in it that has something to scrub.
func made(t *testing.T, c scrubCase) string {
	name := poisoned(t, c.size)
	c.make(t, name)
	d, v := edited(t, name, image.EditOptions{})
	plant(t, v.Tree, func() { require.NoError(t, d.Commit(ctx)) })
	require.NoError(t, d.Close())
	return name
}

// check asks everybody whether a file system is in order, and its files are.
func (c scrubCase) check(t *testing.T, name string) {
	if c.judge != nil {
		testtool.Run(t, c.judge[0], append(c.judge[1:], name)...)
	}
	d, err := image.Open(ctx, name)
	require.NoError(t, err)
	defer d.Close()
	p, err := d.Find(ctx, "")
	require.NoError(t, err)
	require.NoError(t, p.Content.Driver.Check(ctx, p.Device(), func(f vfs.Finding) { t.Error(f) }))
	v, err := p.Volume(ctx)
	require.NoError(t, err)
	kept(t, v.Tree)
}

// Wherever a scrub is interrupted, the last commit is there.
func TestScrubInterrupted(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range []scrubCase{scrubCases[0], scrubCases[5], scrubCases[7]} {
		t.Run(c.name, func(t *testing.T) {
			name := made(t, c)
			for _, after := range []int{1, 5, 50, 300} {
				d, v := edited(t, name, image.EditOptions{Atomic: true})
				if after == 1 {
					unplant(t, v.Tree)
				}
				stopped, stop := context.WithCancel(ctx)
				steps := 0
				_, err := image.Scrub(stopped, d, image.ScrubOptions{Progress: func(int64) {
					if steps++; steps == after {
						stop()
					}
				}})
				stop()
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				require.NoError(t, d.Close())
				c.check(t, name)
			}
		})
	}
}

// A copy appears when it is scrubbed, and takes no more room on the host than
// it needs; the original stays as it is.
func TestScrubOutputWithHoles(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range []scrubCase{scrubCases[0], scrubCases[4], scrubCases[8]} {
		t.Run(c.name, func(t *testing.T) {
			name := made(t, c)
			before := contents(t, name)
			out := filepath.Join(t.TempDir(), "out.img")
			d, v := edited(t, name, image.EditOptions{Atomic: true, Output: out})
			unplant(t, v.Tree)
			report, err := image.Scrub(ctx, d, image.ScrubOptions{Punch: true})
			require.NoError(t, err)
			assert.Empty(t, report.Volumes[0].Skipped)
			assert.NoFileExists(t, out)
			require.NoError(t, d.Commit(ctx))
			require.NoError(t, d.Close())
			assert.True(t, bytes.Equal(before, contents(t, name)), "the original")
			c.check(t, out)
			for _, at := range whereIs(t, out) {
				assert.Less(t, at, c.boot, "%x", at)
			}
			var st unix.Stat_t
			require.NoError(t, unix.Stat(out, &st))
			assert.Greater(t, report.Punched, c.size/2)
			assert.Less(t, st.Blocks*512, c.size/2)
		})
	}
}

// What a dry run counts is what is zeroed then.
func TestScrubCounts(t *testing.T) {
	c := scrubCases[0]
	name := made(t, c)
	before := contents(t, name)
	d, v := edited(t, name, image.EditOptions{Atomic: true, DryRun: true})
	unplant(t, v.Tree)
	counted, err := image.Scrub(ctx, d, image.ScrubOptions{Count: true})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	assert.True(t, bytes.Equal(before, contents(t, name)))

	d, v = edited(t, name, image.EditOptions{Atomic: true})
	unplant(t, v.Tree)
	done, err := image.Scrub(ctx, d, image.ScrubOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Commit(ctx))
	assert.Equal(t, done, counted)
	again, err := image.Scrub(ctx, d, image.ScrubOptions{})
	require.NoError(t, err)
	assert.Zero(t, again.Zeroed, "there is nothing left to do: %v", again.Volumes[0].Zeroed)
}

// In a file system that is damaged nobody knows what is free.
func TestScrubLeavesDamageAlone(t *testing.T) {
	for _, c := range []scrubCase{scrubCases[0], scrubCases[4], scrubCases[7]} {
		t.Run(c.name, func(t *testing.T) {
			name := made(t, c)
			d, v := edited(t, name, image.EditOptions{})
			attr, err := v.Tree.Resolve(ctx, "/keep-7")
			require.NoError(t, err)
			at, _, err := v.FS.(vfs.Mapper).Map(ctx, attr.Ino, 0)
			require.NoError(t, err)
			driver := v.Partition.Content.Type
			require.NoError(t, d.Close())
			forget(t, name, driver, at)

			before := contents(t, name)
			d, err = image.Edit(ctx, name, image.EditOptions{Atomic: true})
			require.NoError(t, err)
			report, err := image.Scrub(ctx, d, image.ScrubOptions{})
			require.NoError(t, err)
			require.NoError(t, d.Commit(ctx))
			require.NoError(t, d.Close())
			require.Len(t, report.Volumes, 1)
			assert.NotEmpty(t, report.Volumes[0].Skipped)
			assert.Zero(t, report.Zeroed)
			assert.True(t, bytes.Equal(before, contents(t, name)))
		})
	}
}

// forget makes the space at a byte of a file's contents free in the map of it.
func forget(t *testing.T, name, driver string, at int64) {
	if driver == "ext4" {
		testtool.Need(t, "debugfs")
		testtool.Run(t, "debugfs", "-w", "-R", fmt.Sprintf("freeb %d", at/1024), name)
		return
	}
	data := contents(t, name)
	le := binary.LittleEndian
	if driver == "fat" {
		clear(data[le.Uint16(data[14:])*512+20:][:512]) // the table
	} else {
		// The map of the first cylinder group that has something in use.
		group := bytes.Index(data, []byte{0x55, 0x02, 0x09, 0x00}) - 4
		free := data[group+int(le.Uint32(data[group+96:])):]
		free[at/int64(le.Uint32(data[8192+52:]))/8] = 0xff
	}
	require.NoError(t, os.WriteFile(name, data, 0o644))
}

// Swap space keeps its header, boot code what is in front of the partitions,
// and what lies between partitions goes if that is asked for.
func TestScrubSwapAndGaps(t *testing.T) {
	testtool.Need(t, "mkswap")
	name := disk(t, 16*mib, "label: gpt\nstart=2048, size=4096, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\nstart=8192, size=4096, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n")
	swap := filepath.Join(t.TempDir(), "swap")
	require.NoError(t, os.WriteFile(swap, []byte(secrets(2*mib)), 0o600))
	testtool.Run(t, "mkswap", "-L", "sleepy", swap)
	header := contents(t, swap)[:4096]
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	for at, p := range map[int64][]byte{
		100 << 10: []byte(secrets(1000)), 1 * mib: contents(t, swap),
		3*mib + 4096: []byte(secrets(5000)), 4*mib + 777: []byte(secrets(1000)), 12 * mib: []byte(secrets(2 * mib)),
	} {
		_, err := f.WriteAt(p, at)
		require.NoError(t, err)
	}
	for _, gaps := range []bool{false, true} {
		d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true})
		require.NoError(t, err)
		report, err := image.Scrub(ctx, d, image.ScrubOptions{Gaps: gaps})
		require.NoError(t, err)
		require.NoError(t, d.Commit(ctx))
		require.NoError(t, d.Close())
		assert.NotEmpty(t, report.Volumes[1].Skipped, "nobody knows what this is")
		got := contents(t, name)
		assert.Equal(t, header, got[mib:mib+4096])
		assert.Equal(t, strings.Repeat("\x00", 2*mib-4096), string(got[mib+4096:3*mib]))
		assert.Equal(t, secrets(1000), string(got[100<<10:][:1000]), "in front of the partitions")
		assert.Equal(t, secrets(1000), string(got[4*mib+777:][:1000]), "in a partition that is not known")
		assert.Equal(t, !gaps, bytes.Contains(got[3*mib:4*mib], []byte(secret)))
		assert.Equal(t, !gaps, bytes.Contains(got[12*mib:], []byte(secret)))
	}
	testtool.Run(t, "sfdisk", "--verify", name)
}
