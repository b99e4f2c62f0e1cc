package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/ffs/fsck"
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

func (m ffsModel) options(seed uint64) model.Options {
	block, per := int64(m.bsize), m.perBlock()
	return model.Options{
		Seed:     seed<<32 | uint64(m.version)<<24 | uint64(m.bsize),
		Limits:   memfs.Options{BlockSize: m.bsize, LinkMax: 32767, MaxSize: m.maxSize(), SymlinkMax: 1023, NoXattrs: true},
		FragSize: m.fsize,
		Sizes:    []int64{12 * block, (12 + per) * block, (12 + per + per*per) * block},
		Targets:  []int{59, 60, 119, 120},
		Bytes:    m.bytes, Names: 250, Full: m.full,
		// Space that a Fallocate without success has taken stays where it is.
		Comparison: model.Comparison{ExactHoles: !m.full},
	}
}

// A modelRun is one run on one file system.
type modelRun struct {
	ffsModel
	seed  uint64
	dev   *blockio.Sparse
	fs    vfs.WritableFS
	model *model.Run
}

// start makes the file system and opens it.
func (m ffsModel) start(ctx context.Context, seed uint64) (*modelRun, error) {
	r := &modelRun{ffsModel: m, seed: seed, dev: blockio.NewSparse(m.size)}
	s := blockio.NewSession(r.dev, blockio.SessionOptions{})
	err := ffs.Format(s, vfs.FormatOptions{
		Type: fmt.Sprintf("ffs%d", m.version), BlockSize: m.bsize, FragSize: m.fsize,
		BytesPerInode: m.density, Time: time.Unix(9e8, 0), Seed: &seed,
	})
	if err != nil {
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	opt := m.options(seed)
	opt.Committed = r.committed
	opt.Reopen = func(ctx context.Context, old vfs.WritableFS) (vfs.WritableFS, error) {
		if err := old.Close(); err != nil {
			return nil, err
		}
		err := r.open(ctx)
		return r.fs, err
	}
	r.model = model.New(r.fs, opt)
	return r, r.model.Adopt(ctx)
}

func (r *modelRun) open(ctx context.Context) (err error) {
	r.fs, err = ffs.OpenWritable(ctx, blockio.NewSession(r.dev, blockio.SessionOptions{}))
	if s, ok := r.fs.(interface{ SetSeed(uint64) }); ok {
		s.SetSeed(r.seed) // the same run, every time
	}
	return err
}

// committed looks at the medium: the checker must have nothing to say, and now
// and then the reader must find the state of the commit there.
func (r *modelRun) committed(ctx context.Context, state *memfs.FS) error {
	var found []error
	err := fsck.Check(ctx, r.dev, func(f vfs.Finding) { found = append(found, errors.New(f.String())) })
	if err != nil || len(found) > 0 {
		return errors.Join(append(found[:min(len(found), shownDiffs)], err)...)
	}
	if r.model.Commits%10 != 0 {
		return nil
	}
	return r.sameAs(ctx, state)
}

// sameAs compares what is on the medium with a state of the model.
func (r *modelRun) sameAs(ctx context.Context, state *memfs.FS) error {
	fsys, err := ffs.Open(ctx, r.dev)
	if err != nil {
		return err
	}
	defer fsys.Close()
	return r.options(r.seed).Comparison.Compare(ctx, state, fsys)
}

// do runs so many operations.
func (r *modelRun) do(ctx context.Context, operations int) error {
	if err := r.model.Steps(ctx, operations); err != nil {
		return err
	}
	// Sleuth Kit takes holes that are larger than the file system for damage.
	if err := r.model.Settle(ctx, min(8<<20, r.size/4), 900); err != nil {
		return err
	}
	return r.sameAs(ctx, r.model.Committed())
}

// explain makes a log that fails shorter, and says how to have it again.
func (r *modelRun) explain(ctx context.Context, failed error) string {
	shorter := model.Minimise(r.model.Log, func(ops []model.Op) bool {
		again, err := r.start(ctx, r.seed)
		return err == nil && again.model.Replay(ctx, ops) != nil
	}, 30*time.Second)
	var text strings.Builder
	fmt.Fprintf(&text, "%v, seed %d: %v\nthe same again: RESFLASH_MODEL_SEED=%d go test -run 'TestFFSModel' ./integration\n", r.ffsModel, r.seed, failed, r.seed)
	fmt.Fprintf(&text, "%d of %d operations are enough:\n", len(shorter), len(r.model.Log))
	for _, op := range shorter[max(len(shorter)-200, 0):] {
		fmt.Fprintln(&text, op)
	}
	return text.String()
}

// modelSeeds are the seeds to run: ten, RESFLASH_MODEL_SEEDS of them, or only
// RESFLASH_MODEL_SEED.
func modelSeeds(t *testing.T) (seeds []uint64) {
	number := func(name string, without uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return without
		}
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, name)
		return n
	}
	if os.Getenv("RESFLASH_MODEL_SEED") != "" {
		return []uint64{number("RESFLASH_MODEL_SEED", 0)}
	}
	for seed := range number("RESFLASH_MODEL_SEEDS", 10) {
		seeds = append(seeds, seed)
	}
	return seeds
}

// modelOperations is how many random operations one seed is worth, spread over
// all file systems.
const modelOperations = 100_000

// TestFFSModel does random operations to file systems in every geometry and to
// a model of them. Whatever the driver answers, the model must answer, and after
// every 100 operations all they hold must be the same; after every commit the
// checker must have nothing to say. In the end foreign readers look at it, too.
func TestFFSModel(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes long")
	}
	ctx := context.Background()
	var mu sync.Mutex
	operations, commits, noSpace := 0, 0, 0
	var disks []kernelvm.Disk
	var fixtures []fixture
	keep := t.TempDir()
	seeds := modelSeeds(t)
	t.Run("Runs", func(t *testing.T) {
		for _, seed := range seeds {
			for i, m := range ffsModels(seed) {
				t.Run(fmt.Sprintf("%d/%v", seed, m), func(t *testing.T) {
					t.Parallel()
					r, err := m.start(ctx, seed)
					require.NoError(t, err)
					if err := r.do(ctx, modelOperations/10); err != nil {
						t.Fatal(r.explain(ctx, err))
					}
					f := r.fixture(t, filepath.Join(keep, fmt.Sprintf("%d-%d", seed, i)))
					// GRUB is run once for every file.
					f.modelReaders(t, i == int(seed%10))
					mu.Lock()
					defer mu.Unlock()
					operations += len(r.model.Log)
					commits += r.model.Commits
					noSpace += r.model.NoSpace
					// Linux has no more than eight bits for a minor number here.
					f.x.want = f.x.want.Edit(func(e *manifest.Entry) bool {
						e.Minor &= 0xff
						return true
					})
					if d, ok := (ffsShape{m.version, m.bsize, m.fsize, m.size}).linuxDisk(f.image); ok && seed == seeds[0] {
						disks, fixtures = append(disks, d), append(fixtures, f)
						return
					}
					require.NoError(t, os.Remove(f.image))
					require.NoError(t, os.RemoveAll(f.tree))
				})
			}
		}
	})
	t.Logf("%d operations, %d without space, %d commits", operations, noSpace, commits)
	if t.Failed() {
		return
	}
	t.Run("Linux", func(t *testing.T) { linux(t, kernelvm.Need(t), disks, fixtures, ^manifest.Nsec) })
}

// fixture writes out what the run has left: the image, the list of what must be
// in it, and the contents of the files that the model has.
func (r *modelRun) fixture(t *testing.T, base string) fixture {
	t.Helper()
	f := fixture{name: fmt.Sprintf("%v-%d", r.ffsModel, r.seed), image: base + ".img", tree: base}
	copySparse(t, r.dev, f.image)
	require.NoError(t, os.Mkdir(base, 0o755))
	f.x = expectation{want: modelManifest(t, r.model.Committed(), base), fields: manifest.All | manifest.DirNlink}
	return f
}

func copySparse(t *testing.T, dev *blockio.Sparse, name string) {
	t.Helper()
	out, err := os.Create(name)
	require.NoError(t, err)
	defer out.Close()
	require.NoError(t, out.Truncate(dev.Size()))
	for off := int64(0); ; {
		data, err := dev.SeekData(off)
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		if off, err = dev.SeekHole(data); err != nil {
			require.NoError(t, err)
		}
		_, err = io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(dev, data, off-data))
		require.NoError(t, err)
	}
}

// modelManifest lists a model, and writes the contents of its files to the
// folder dir.
func modelManifest(t *testing.T, state *memfs.FS, dir string) manifest.Manifest {
	t.Helper()
	ctx := context.Background()
	tree := vfs.NewTree(state)
	var m manifest.Manifest
	first := map[vfs.Ino]string{}
	require.NoError(t, tree.Walk(ctx, "/", func(path string, a vfs.Attr, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, "/")
		if rel == "" {
			rel = "."
		}
		if a.Mode.IsRegular() && first[a.Ino] == "" || first[a.Ino] > rel {
			first[a.Ino] = rel
		}
		e := manifest.Entry{
			Path: rel, Type: modelTypes[a.Mode.Type()], Mode: uint32(a.Mode.Perm()), UID: a.UID, GID: a.GID, Nlink: a.Nlink,
			Sec: a.Mtime.Unix(), Nsec: int64(a.Mtime.Nanosecond()), Link: rel,
		}
		host := filepath.Join(dir, rel)
		switch a.Mode.Type() {
		case vfs.Dir:
			if rel != "." {
				err = os.Mkdir(host, 0o755)
			}
		case vfs.Symlink:
			e.Target, err = state.Readlink(ctx, a.Ino)
		case vfs.Char, vfs.Block:
			e.Major, e.Minor = a.Rdev.Major, a.Rdev.Minor
		case vfs.Regular:
			p := make([]byte, a.Size)
			if _, err := state.ReadAt(ctx, a.Ino, p, 0); err != nil && err != io.EOF {
				return err
			}
			e.Size = a.Size
			err = os.WriteFile(host, p, 0o644)
		}
		m = append(m, e)
		if other := first[a.Ino]; !a.Mode.IsDir() && other != "" {
			m[len(m)-1].Link = other
		} else {
			first[a.Ino] = rel
		}
		return err
	}))
	written := manifest.ReadDir(dir, manifest.Options{Quick: false}).Map()
	return m.Edit(func(e *manifest.Entry) bool {
		e.Sum, e.Quick = written[e.Path].Sum, written[e.Path].Quick
		return true
	})
}

var modelTypes = map[vfs.Mode]byte{
	vfs.Regular: manifest.File, vfs.Dir: manifest.Dir, vfs.Symlink: manifest.Symlink, vfs.Char: manifest.Char,
	vfs.Block: manifest.Block, vfs.FIFO: manifest.FIFO, vfs.Socket: manifest.Socket,
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
