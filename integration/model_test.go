package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/manifest"
)

// A modelVolume is a file system for random operations.
type modelVolume struct {
	name   string
	driver *vfs.Driver
	size   int64
	// format makes it, the same with every seed.
	format func(ctx context.Context, dev *blockio.Sparse, seed uint64) error
	// options are those of the model, without what a run adds.
	options func(seed uint64) model.Options
	// foreign has a checker of somebody else look at an image; nil: there is
	// none. It is asked after one of so many commits, and in the end.
	foreign func(ctx context.Context, image string) error
	sample  int
	// holes are how much of a file may be a hole in the end, in bytes.
	holes int64
}

// driverOf returns a driver with its checker, if it has one.
func driverOf(name string) *vfs.Driver {
	for _, d := range image.Drivers() {
		if d.Name == name {
			return d
		}
	}
	panic("no driver " + name)
}

// A modelRun is one run on one file system.
type modelRun struct {
	*modelVolume
	seed  uint64
	dir   string // for the image that foreign checkers see
	dev   *blockio.Sparse
	fs    vfs.WritableFS
	model *model.Run
}

// start makes the file system and opens it.
func (v *modelVolume) start(ctx context.Context, dir string, seed uint64) (*modelRun, error) {
	r := &modelRun{modelVolume: v, seed: seed, dir: dir, dev: blockio.NewSparse(v.size)}
	if err := v.format(ctx, r.dev, seed); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	opt := v.options(seed)
	opt.Seed, opt.Committed = seed<<32^opt.Seed, r.committed
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
	r.fs, err = r.driver.OpenWritable(ctx, blockio.NewSession(r.dev, blockio.SessionOptions{}))
	if s, ok := r.fs.(vfs.Seeded); ok {
		s.SetSeed(r.seed) // the same run, every time
	}
	return err
}

// committed looks at the medium: the checkers must have nothing to say, and now
// and then the reader must find the state of the commit there.
func (r *modelRun) committed(ctx context.Context, state *memfs.FS) error {
	if r.driver.Check != nil {
		var found []error
		err := r.driver.Check(ctx, r.dev, func(f vfs.Finding) { found = append(found, errors.New(f.String())) })
		if err != nil || len(found) > 0 {
			return errors.Join(append(found[:min(len(found), shownDiffs)], err)...)
		}
	}
	if r.foreign != nil && r.model.Commits%r.sample == 0 {
		if err := r.judge(ctx); err != nil {
			return err
		}
	}
	if r.model.Commits%10 != 0 {
		return nil
	}
	return r.sameAs(ctx, state)
}

// judge has the checker of somebody else look at the medium.
func (r *modelRun) judge(ctx context.Context) error {
	image := filepath.Join(r.dir, "judged.img")
	if err := writeSparse(r.dev, image); err != nil {
		return err
	}
	return errors.Join(r.foreign(ctx, image), os.Remove(image))
}

// sameAs compares what is on the medium with a state of the model.
func (r *modelRun) sameAs(ctx context.Context, state *memfs.FS) error {
	fsys, err := r.driver.Open(ctx, r.dev)
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
	if err := r.model.Settle(ctx, r.holes, 900); err != nil {
		return err
	}
	if r.foreign != nil {
		if err := r.judge(ctx); err != nil {
			return err
		}
	}
	return r.sameAs(ctx, r.model.Committed())
}

// explain makes a log that fails shorter, and says how to have it again.
func (r *modelRun) explain(ctx context.Context, test string, failed error) string {
	shorter := model.Minimise(r.model.Log, func(ops []model.Op) bool {
		again, err := r.start(ctx, r.dir, r.seed)
		return err == nil && again.model.Replay(ctx, ops) != nil
	}, 30*time.Second)
	var text strings.Builder
	fmt.Fprintf(&text, "%s, seed %d: %v\nthe same again: RESFLASH_MODEL_SEED=%d go test -run '%s/Runs/%d/%s' ./integration\n",
		r.name, r.seed, failed, r.seed, test, r.seed, r.name)
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

// runModels does so many random operations to every volume with every seed, and
// has look look at what each has left. Volumes are another list with every seed.
func runModels(t *testing.T, volumes func(seed uint64) []*modelVolume, operations int, look func(t *testing.T, r *modelRun, f fixture, seed uint64, i int)) {
	if testing.Short() {
		t.Skip("-short: takes long")
	}
	ctx := context.Background()
	var mu sync.Mutex
	done, commits, noSpace := 0, 0, 0
	keep := t.TempDir()
	t.Run("Runs", func(t *testing.T) {
		for _, seed := range modelSeeds(t) {
			for i, v := range volumes(seed) {
				t.Run(fmt.Sprintf("%d/%s", seed, v.name), func(t *testing.T) {
					t.Parallel()
					r, err := v.start(ctx, t.TempDir(), seed)
					require.NoError(t, err)
					if err := r.do(ctx, operations); err != nil {
						test, _, _ := strings.Cut(t.Name(), "/")
						t.Fatal(r.explain(ctx, test, err))
					}
					f := r.fixture(t, filepath.Join(keep, fmt.Sprintf("%d-%d", seed, i)))
					mu.Lock()
					done += len(r.model.Log)
					commits += r.model.Commits
					noSpace += r.model.NoSpace
					mu.Unlock()
					look(t, r, f, seed, i)
				})
			}
		}
	})
	t.Logf("%d operations, %d without space, %d commits", done, noSpace, commits)
}

// drop removes the image and the tree.
func (f fixture) drop(t *testing.T) {
	t.Helper()
	require.NoError(t, os.Remove(f.image))
	require.NoError(t, os.RemoveAll(f.tree))
}

// fixture writes out what the run has left: the image, the list of what must be
// in it, and the contents of the files that the model has.
func (r *modelRun) fixture(t *testing.T, base string) fixture {
	t.Helper()
	f := fixture{name: fmt.Sprintf("%s-%d", r.name, r.seed), image: base + ".img", tree: base}
	require.NoError(t, writeSparse(r.dev, f.image))
	require.NoError(t, os.Mkdir(base, 0o755))
	f.x = expectation{want: modelManifest(t, r.model.Committed(), base), fields: manifest.All | manifest.DirNlink}
	return f
}

// writeSparse writes a device to a new file, with its holes.
func writeSparse(dev *blockio.Sparse, name string) (err error) {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(dev.Size()); err != nil {
		return err
	}
	for off := int64(0); ; {
		data, err := dev.SeekData(off)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if off, err = dev.SeekHole(data); err != nil {
			return err
		}
		if _, err = io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(dev, data, off-data)); err != nil {
			return err
		}
	}
}

// readSparse reads a file into a device of the same size.
func readSparse(dev *blockio.Sparse, name string) error {
	src, err := blockio.OpenFile(name)
	if err != nil {
		return err
	}
	defer src.Close()
	for off := int64(0); ; {
		data, err := src.SeekData(off)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if off, err = src.SeekHole(data); err != nil {
			return err
		}
		if _, err = io.Copy(io.NewOffsetWriter(dev, data), io.NewSectionReader(src, data, off-data)); err != nil {
			return err
		}
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
		attrs, err := state.Xattrs(ctx, a.Ino)
		if err != nil {
			return err
		}
		for name, value := range attrs {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[name] = string(value)
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
