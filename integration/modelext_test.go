package integration

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// An extModel is a file system for random operations.
type extModel struct {
	name      string
	args      string // of mke2fs
	block     int64
	cluster   int64 // bytes, if they are larger
	indirect, // files have pointers to blocks instead of extents
	inline bool // small files are in their inodes
	size int64
	full bool
}

// extModels are the forms of ext2, ext3 and ext4 that differ in how they are
// written. Which of them is small, and soon full, is another one with every
// seed.
func extModels(seed uint64) []extModel {
	all := []extModel{
		{name: "ext4", args: "-t ext4 -b 4096", block: 4096},
		{name: "ext4-1k", args: "-t ext4 -b 1024", block: 1024},
		{name: "ext4-inline", args: "-t ext4 -b 4096 -O inline_data", block: 4096, inline: true},
		{name: "ext4-bigalloc", args: "-t ext4 -b 1024 -O bigalloc -C 16384", block: 1024, cluster: 16384},
		{name: "ext4-no-csum", args: "-t ext4 -b 2048 -O ^metadata_csum", block: 2048},
		{name: "ext4-no-journal", args: "-t ext4 -b 1024 -O ^has_journal", block: 1024},
		{name: "ext4-no-extents", args: "-t ext4 -b 1024 -O ^extent,^64bit", block: 1024, indirect: true},
		{name: "ext3", args: "-t ext3 -b 4096", block: 4096, indirect: true},
		{name: "ext2", args: "-t ext2 -b 1024", block: 1024, indirect: true},
	}
	for i := range all {
		m := &all[i]
		switch m.size = 48 << 20; (uint64(i) + seed) % 4 {
		case 0:
			m.size, m.full = 2048*m.block+1<<20, true // the journal has 1024 blocks
		case 1:
			m.size = 160 << 20
		}
		if m.cluster == 0 {
			m.cluster = m.block
		}
	}
	return all
}

// extFlags are the flags that files of ext4 can have.
const extFlags = vfs.UserNoDump | vfs.SystemImmutable | vfs.SystemAppend

func (m extModel) options(uint64) model.Options {
	per := m.block / 4
	maxSize := 1<<32*m.block - m.block
	if m.indirect {
		maxSize = min((12+per+per*per+per*per*per)*m.block, 1<<41)
	}
	o := model.Options{
		Seed: uint64(len(m.name))<<24 | uint64(m.block), FragSize: int(m.block),
		Limits: memfs.Options{
			BlockSize: int(m.cluster), LinkMax: 65000, MaxSize: maxSize, SymlinkMax: int(min(m.block-1, 4095)),
			Limits: limits.Limits{XattrRoom: int(m.block) - 36, FileFlags: vfs.SystemImmutable | vfs.SystemAppend, Inherited: vfs.UserNoDump, MinorBits: 20, LooseSize: m.inline || m.name == "ext3", Refuse: func(set vfs.SetAttr) error {
				if set.Flags != nil && *set.Flags&^extFlags != 0 {
					return syscall.EOPNOTSUPP
				}
				return nil
			}},
		},
		Sizes: []int64{60, 156, 12 * m.block, (12 + per) * m.block}, Targets: []int{59, 60, 155, 156},
		Bytes: 4 << 20, Names: 250, Full: m.full,
	}
	if m.full {
		o.Bytes = 3 * m.size
	}
	return o
}

func (m extModel) volume(dir string) *modelVolume {
	args := append(strings.Fields(m.args), "-q", "-F", "-m", "0", "-N", "1024", "-I", "256", "-E", "hash_seed=00010203-0405-0607-0809-0a0b0c0d0e0f",
		"-U", "10111213-1415-1617-1819-1a1b1c1d1e1f")
	name := m.name
	if m.full {
		name += "-full"
	}
	return &modelVolume{
		name: name, driver: driverOf("ext4"), size: m.size, options: m.options, foreign: fsckExt, sample: 1, holes: 8 << 20,
		format: func(ctx context.Context, dev *blockio.Sparse, _ uint64) error {
			return formatBy(ctx, dev, dir, "mke2fs", args...)
		},
	}
}

// fsckExt has e2fsprogs look at an image. It says the pass that it is in and one
// line if all is well.
func fsckExt(ctx context.Context, image string) error {
	out, err := exec.CommandContext(ctx, "e2fsck", "-fn", image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("e2fsck: %w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !quietFsckExt.MatchString(line) && !strings.HasPrefix(line, image+": ") {
			return fmt.Errorf("e2fsck says\n%s", out)
		}
	}
	return nil
}

var quietFsckExt = regexp.MustCompile(`^(e2fsck .*|Pass .*|)\n$`)

// TestExtModel is what TestFFSModel is, for ext2, ext3 and ext4. In the end the
// kernel of this machine mounts what there is.
func TestExtModel(t *testing.T) {
	testtool.Need(t, "mke2fs", "e2fsck")
	dir := t.TempDir()
	volumes := func(seed uint64) (all []*modelVolume) {
		for _, m := range extModels(seed) {
			all = append(all, m.volume(dir))
		}
		return all
	}
	runModels(t, volumes, modelOperations/90, func(t *testing.T, r *modelRun, f fixture, _ uint64, _ int) {
		f.x.fields |= manifest.Xattrs
		f.x.want = f.x.want.Edit(func(e *manifest.Entry) bool {
			if e.Type != manifest.File && e.Type != manifest.Dir {
				maps.DeleteFunc(e.Xattrs, func(name, _ string) bool { return strings.HasPrefix(name, "user.") })
			}
			return true
		})
		t.Run("Linux", func(t *testing.T) {
			dir := loopMount(t, "ext4", f.image)
			f.x.check(t, manifest.ReadDir(dir, manifest.Options{Xattrs: true}), ^manifest.Fields(0))
		})
		f.drop(t)
	})
}

// A file system that e2fsck finds nothing wrong with is one that it can find
// something wrong with.
func TestForeignCheckersSee(t *testing.T) {
	testtool.Need(t, "mke2fs", "e2fsck", "debugfs", "mkfs.fat", "fsck.fat")
	dir := t.TempDir()
	ext, fat := dir+"/ext4", dir+"/fat"
	testtool.Run(t, "mke2fs", "-q", "-F", "-t", "ext4", ext, "8M")
	require.NoError(t, fsckExt(t.Context(), ext))
	testtool.Run(t, "debugfs", "-w", "-R", "set_super_value free_blocks_count 1", ext)
	require.Error(t, fsckExt(t.Context(), ext))
	testtool.Run(t, "mkfs.fat", "-C", fat, "4096")
	require.NoError(t, fsckFAT(t.Context(), fat))
	testtool.Run(t, "sh", "-c", `printf '\377\017' | dd of="$0" bs=1 seek=$((4*512+9)) conv=notrunc status=none`, fat)
	require.Error(t, fsckFAT(t.Context(), fat))
}
