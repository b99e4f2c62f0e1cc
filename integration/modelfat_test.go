package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// A fatModel is a volume for random operations.
type fatModel struct {
	bits, cluster, tables int // cluster: bytes
	size                  int64
	bytes                 int64
	full                  bool
}

func (m fatModel) String() string {
	s := fmt.Sprintf("FAT%d-%d-%d-%dM", m.bits, m.cluster, m.tables, m.size>>20)
	if m.full {
		s += "-full"
	}
	return s
}

// fatModels are all widths of the table, with one table and with two. Which is
// full is another one with every seed.
func fatModels(seed uint64) []fatModel {
	all := []fatModel{
		{bits: 12, cluster: 4096, tables: 2, size: 12 << 20, bytes: 3 << 20},
		{bits: 12, cluster: 1024, tables: 1, size: 3 << 20, bytes: 1 << 20},
		{bits: 16, cluster: 4096, tables: 2, size: 24 << 20, bytes: 6 << 20},
		{bits: 16, cluster: 2048, tables: 1, size: 16 << 20, bytes: 4 << 20},
		{bits: 32, cluster: 512, tables: 2, size: 40 << 20, bytes: 6 << 20},
		{bits: 32, cluster: 8192, tables: 1, size: 24 << 20, bytes: 6 << 20},
	}
	m := &all[seed%uint64(len(all))]
	m.size, m.full = min(m.size, 18<<20), true
	m.bytes = min(3*m.size, 28<<20)
	return all
}

func (m fatModel) options(uint64) model.Options {
	block := m.cluster
	if m.full {
		block = max(block, 8192) // for larger files
	}
	return model.Options{
		Seed: uint64(m.bits)<<24 | uint64(m.cluster), FragSize: m.cluster,
		Limits: memfs.Options{BlockSize: block, MaxSize: 1<<32 - 1, NoXattrs: true, Limits: limits.FAT()},
		Sizes:  []int64{int64(16 * m.cluster), 100_000}, Bytes: m.bytes, Names: 250, Full: m.full,
	}
}

func (m fatModel) volume(dir string) *modelVolume {
	args := []string{"-F", fmt.Sprint(m.bits), "-s", fmt.Sprint(m.cluster / 512), "-f", fmt.Sprint(m.tables), "-i", "12345678"}
	return &modelVolume{
		name: m.String(), driver: driverOf("fat"), size: m.size, options: m.options, sample: 1, foreign: fsckFAT,
		format: func(ctx context.Context, dev *blockio.Sparse, _ uint64) error {
			return formatBy(ctx, dev, dir, "mkfs.fat", args...)
		},
	}
}

// formatBy has a program make a file system.
func formatBy(ctx context.Context, dev *blockio.Sparse, dir, program string, args ...string) error {
	f, err := os.CreateTemp(dir, "new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Truncate(dev.Size()); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, program, append(args, f.Name())...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return readSparse(dev, f.Name())
}

// fsckFAT has dosfstools look at an image. All that it may say is how much there
// is, and that a small volume with a wide table is unusual.
func fsckFAT(ctx context.Context, image string) error {
	out, err := exec.CommandContext(ctx, "fsck.fat", "-n", image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fsck.fat: %w\n%s", err, out)
	}
	if !quietFsckFAT.Match(out) {
		return fmt.Errorf("fsck.fat says\n%s", out)
	}
	return nil
}

var quietFsckFAT = regexp.MustCompile(`^(Warning: Filesystem is FAT32 according to .*\n  but has only .*\n  This may lead to .*\n)?` +
	`fsck\.fat .*\n.*: \d+ files, \d+/\d+ clusters\n$`)

// TestFATModel is what TestFFSModel is, for FAT. What FAT cannot hold, the model
// does not hold either. The checker of dosfstools looks at every commit, and in
// the end Linux and mtools read what there is.
func TestFATModel(t *testing.T) {
	testtool.Need(t, "mkfs.fat", "fsck.fat")
	var mu sync.Mutex
	var disks []kernelvm.Disk
	var fixtures []fixture
	seeds := modelSeeds(t)
	dir := t.TempDir()
	volumes := func(seed uint64) (all []*modelVolume) {
		for _, m := range fatModels(seed) {
			all = append(all, m.volume(dir))
		}
		return all
	}
	runModels(t, volumes, modelOperations/60, func(t *testing.T, r *modelRun, f fixture, seed uint64, i int) {
		f.x.fields = manifest.Size | manifest.Mtime2 | manifest.Sum
		if m := fatModels(seed)[i]; m.bits != 32 || m.size/int64(m.cluster) > 65525 { // others it takes for FAT16
			dir := t.TempDir()
			mtools(t, "mcopy", "-i", f.image, "-s", "-m", "-Q", "-n", "::/*", dir)
			f.x.mtoolsView().check(t, manifest.ReadDir(dir, manifest.Options{}), ^manifest.Fields(0))
		}
		if seed != seeds[0] {
			f.drop(t)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		disks = append(disks, kernelvm.Disk{Path: f.image, FS: "vfat", Options: "utf8,shortname=mixed,tz=UTC"})
		f.x = f.x.without(".")
		fixtures = append(fixtures, f)
	})
	if t.Failed() {
		return
	}
	t.Run("Linux", func(t *testing.T) { linux(t, kernelvm.Need(t), disks, fixtures, ^manifest.Fields(0)) })
}

// mtoolsView returns x as mtools shows it: it keeps no times of folders, and
// has no characters above U+FFFF.
func (x expectation) mtoolsView() expectation {
	var dirs []string
	x.want = x.want.Edit(func(e *manifest.Entry) bool {
		e.Path = strings.ReplaceAll(e.Path, "😀", "__")
		e.Link = strings.ReplaceAll(e.Link, "😀", "__")
		if e.Type == manifest.Dir {
			dirs = append(dirs, e.Path)
		}
		return true
	})
	return x.without(dirs...)
}
