package integration

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// An ffsModel is a file system for random operations.
type ffsModel struct {
	version, bsize, fsize int
	size                  int64
	density               int   // bytes per inode
	bytes                 int64 // of contents that there will be, roughly
	full                  bool  // it runs out of space
}

func (m ffsModel) String() string {
	s := fmt.Sprintf("FFS%d-%d-%d-%dM", m.version, m.bsize, m.fsize, m.size>>20)
	if m.full {
		s += "-full"
	}
	return s
}

// ffsModels are both versions in five geometries. Which of them is tiny, nearly
// full or huge is another one with every seed.
func ffsModels(seed uint64) (all []ffsModel) {
	geometries := [][2]int{{4096, 512}, {8192, 1024}, {16384, 2048}, {32768, 4096}, {65536, 8192}}
	for version := 1; version <= 2; version++ {
		for i, g := range geometries {
			m := ffsModel{version: version, bsize: g[0], fsize: g[1]}
			switch (uint64(i) + seed) % 5 {
			case 0: // so small that it is full at once
				m.size, m.density, m.bytes, m.full = 2<<20, 8192, 2<<20, true
			case 1:
				m.size, m.density, m.bytes = 48<<20, 8192, 4<<20
			case 2: // nearly full
				m.size, m.density, m.bytes, m.full = 12<<20, 16384, 16<<20, true
			case 3:
				m.size, m.density, m.bytes = 160<<20, 65536, 8<<20
			case 4:
				m.size, m.density, m.bytes = 4<<30, 1<<20, 4<<20
			}
			all = append(all, m)
		}
	}
	return all
}

// maxSize is the largest size of a file.
func (m ffsModel) maxSize() int64 {
	block, per := int64(m.bsize), m.perBlock()
	return min(block*(12+per+per*per+per*per*per), 1<<31*min(4096, block)) - 1
}

// perBlock is how many pointers an indirect block has.
func (m ffsModel) perBlock() int64 { return int64(m.bsize) / int64(4*m.version) }

func (m ffsModel) options(uint64) model.Options {
	block, per := int64(m.bsize), m.perBlock()
	return model.Options{
		Seed:     uint64(m.version)<<24 | uint64(m.bsize),
		Limits:   memfs.Options{BlockSize: m.bsize, LinkMax: 32767, MaxSize: m.maxSize(), SymlinkMax: 1023, NoXattrs: true},
		FragSize: m.fsize,
		Sizes:    []int64{12 * block, (12 + per) * block, (12 + per + per*per) * block},
		Targets:  []int{59, 60, 119, 120},
		Bytes:    m.bytes, Names: 250, Full: m.full,
		// Space that a Fallocate without success has taken stays where it is.
		Comparison: model.Comparison{ExactHoles: !m.full},
	}
}

func (m ffsModel) format(ctx context.Context, dev *blockio.Sparse, seed uint64) error {
	s := blockio.NewSession(dev, blockio.SessionOptions{})
	err := ffs.Format(s, vfs.FormatOptions{
		Type: fmt.Sprintf("ffs%d", m.version), BlockSize: m.bsize, FragSize: m.fsize,
		BytesPerInode: m.density, Time: time.Unix(9e8, 0), Seed: &seed,
	})
	if err != nil {
		return err
	}
	return s.Commit(ctx)
}

func (m ffsModel) volume() *modelVolume {
	return &modelVolume{
		name: m.String(), driver: driverOf("ffs"), size: m.size, format: m.format, options: m.options,
		// Sleuth Kit takes holes that are larger than the file system for damage.
		holes: min(8<<20, m.size/4),
	}
}

// modelOperations is how many random operations one seed is worth, spread over
// all file systems.
const modelOperations = 100_000

// TestFFSModel does random operations to file systems in every geometry and to
// a model of them. Whatever the driver answers, the model must answer, and after
// every 100 operations all they hold must be the same; after every commit the
// checker must have nothing to say. In the end foreign readers look at it, too.
func TestFFSModel(t *testing.T) {
	var mu sync.Mutex
	var disks []kernelvm.Disk
	var fixtures []fixture
	seeds := modelSeeds(t)
	volumes := func(seed uint64) (all []*modelVolume) {
		for _, m := range ffsModels(seed) {
			all = append(all, m.volume())
		}
		return all
	}
	runModels(t, volumes, modelOperations/10, func(t *testing.T, r *modelRun, f fixture, seed uint64, i int) {
		// GRUB is run once for every file.
		f.modelReaders(t, i == int(seed%10))
		mu.Lock()
		defer mu.Unlock()
		// Linux has no more than eight bits for a minor number here.
		f.x.want = f.x.want.Edit(func(e *manifest.Entry) bool {
			e.Minor &= 0xff
			return true
		})
		m := ffsModels(seed)[i]
		if d, ok := (ffsShape{m.version, m.bsize, m.fsize, m.size}).linuxDisk(f.image); ok && seed == seeds[0] {
			disks, fixtures = append(disks, d), append(fixtures, f)
			return
		}
		f.drop(t)
	})
	if t.Failed() {
		return
	}
	t.Run("Linux", func(t *testing.T) { linux(t, kernelvm.Need(t), disks, fixtures, ^manifest.Nsec) })
}

// modelReaders has Sleuth Kit, and if asked GRUB, look at the image.
func (f fixture) modelReaders(t *testing.T, grub bool) {
	t.Helper()
	f.sleuthkit(t, manifest.Mode|manifest.Owner|manifest.Size|manifest.Mtime)
	if !grub {
		return
	}
	testtool.Need(t, "grub-fstest")
	files := 0
	for _, e := range f.x.want {
		if e.Type != manifest.File || !plainName(e.Path) || files == 40 {
			continue
		}
		files++
		out, err := exec.Command("grub-fstest", f.image, "cmp", "/"+e.Path, filepath.Join(f.tree, e.Path)).CombinedOutput()
		assert.NoErrorf(t, err, "%s: %s", e.Path, tailOf(out))
	}
	assert.Positive(t, files)
}
