package fat_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/fat/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/testtool"
)

// A modelCase is a volume to do random operations on.
type modelCase struct {
	bits, kib, sectors int // sectors in a cluster
	tables             int
	bytes              int64 // how full it gets
	full               bool
}

func (c modelCase) String() string {
	return fmt.Sprintf("fat%d-%dK-%d-%d-full=%t", c.bits, c.kib, c.sectors, c.tables, c.full)
}

func (c modelCase) format(t testing.TB) string {
	args := []string{"-F", fmt.Sprint(c.bits), "-s", fmt.Sprint(c.sectors), "-f", fmt.Sprint(c.tables)}
	if c.bits != 32 {
		args = append(args, "-r", "8192")
	}
	return format(t, c.kib, args...)
}

var modelCases = []modelCase{
	{12, 12 << 10, 8, 2, 3 << 20, false},
	{12, 3 << 10, 2, 1, 9 << 20, true},
	{12, 1 << 10, 1, 2, 4 << 20, true},
	{16, 24 << 10, 8, 2, 6 << 20, false},
	{16, 16 << 10, 4, 1, 10 << 20, false},
	{16, 3 << 10, 1, 2, 9 << 20, true},
	{32, 40 << 10, 1, 2, 6 << 20, false},
	{32, 2 << 10, 2, 2, 9 << 20, true},
	{32, 24 << 10, 16, 1, 6 << 20, false},
}

// fsckFAT has fsck.fat look at an image.
func fsckFAT(img string) error {
	out, err := exec.Command("fsck.fat", "-n", "-V", img).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fsck.fat: %w\n%s", err, out)
	}
	return nil
}

// fsckDevice has it, and our own checker, look at a device.
func fsckDevice(t testing.TB, dev *blockio.Memory) error {
	var all []error
	err := fsck.Check(ctx, dev, func(f vfs.Finding) { all = append(all, errors.New(f.String())) })
	if err = errors.Join(append(all, err)...); err != nil {
		return err
	}
	img := filepath.Join(t.TempDir(), "check.img")
	defer os.Remove(img)
	if err := os.WriteFile(img, imageBytes(t, dev), 0o600); err != nil {
		return err
	}
	return fsckFAT(img)
}

func imageBytes(t testing.TB, dev blockio.Device) []byte {
	p, err := blockio.ReadFull(dev, 0, int(dev.Size()))
	require.NoError(t, err)
	return p
}

// openWriter opens a volume for changing.
func openWriter(t testing.TB, dev blockio.Writable, opt blockio.SessionOptions) *fat.Writer {
	t.Helper()
	fsys, err := fat.OpenWritable(ctx, blockio.NewSession(dev, opt))
	require.NoError(t, err)
	return fsys.(*fat.Writer)
}

// inMemory reads an image.
func inMemory(t testing.TB, img string) *blockio.Memory {
	t.Helper()
	b, err := os.ReadFile(img)
	require.NoError(t, err)
	return blockio.NewMemory(b)
}

// Random operations leave what the model says, and after every commit a medium
// that fsck.fat has nothing to say about.
func TestModel(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range modelCases {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			r := runModel(t, c, 1, 2000)
			assert.Equal(t, c.full, r.NoSpace > 0, "ENOSPC %d times", r.NoSpace)
		})
	}
}

func modelOptions(c modelCase, seed uint64) model.Options {
	cluster := 512 * c.sectors
	block := cluster
	if c.full {
		block = 8192 // for larger files
	}
	return model.Options{
		Seed: seed, FragSize: cluster,
		Limits: memfs.Options{BlockSize: block, MaxSize: 1<<32 - 1, NoXattrs: true, Limits: limits.FAT()},
		Sizes:  []int64{int64(16 * cluster), 100_000}, Bytes: c.bytes, Full: c.full,
	}
}

func runModel(t *testing.T, c modelCase, seed uint64, steps int) *model.Run {
	mem := inMemory(t, c.format(t))
	w := openWriter(t, mem, blockio.SessionOptions{})
	opt := modelOptions(c, seed)
	opt.Committed = func(ctx context.Context, state *memfs.FS) error {
		if err := w.Audit(); err != nil {
			return err
		}
		if err := fsckDevice(t, mem); err != nil {
			return err
		}
		fsys, err := fat.Open(ctx, mem)
		if err != nil {
			return err
		}
		return model.Comparison{}.Compare(ctx, state, fsys)
	}
	opt.Reopen = func(ctx context.Context, old vfs.WritableFS) (vfs.WritableFS, error) {
		if err := old.Close(); err != nil {
			return nil, err
		}
		w = openWriter(t, mem, blockio.SessionOptions{})
		return w, nil
	}
	r := model.New(w, opt)
	require.NoError(t, r.Adopt(ctx))
	require.NoError(t, r.Steps(ctx, steps))
	require.NoError(t, r.Sync(ctx))
	return r
}

// In an atomic transaction nothing is on the medium until its owner commits it,
// and everything then, even when space was short and had to be used twice.
func TestModelAtomic(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range []modelCase{modelCases[1], modelCases[5], modelCases[6]} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			mem := inMemory(t, c.format(t))
			w := openWriter(t, mem, blockio.SessionOptions{})
			attr, err := w.Create(ctx, w.Root(), "there before", vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(t, err)
			_, err = w.WriteAt(ctx, attr.Ino, make([]byte, 300_000), 0)
			require.NoError(t, err)
			require.NoError(t, w.Sync(ctx))
			require.NoError(t, w.Close())
			before := imageBytes(t, mem)

			session := blockio.NewSession(mem, blockio.SessionOptions{Atomic: true})
			fsys, err := fat.OpenWritable(ctx, session)
			require.NoError(t, err)
			require.NoError(t, fsys.Unlink(ctx, fsys.Root(), "there before"))
			r := model.New(fsys, modelOptions(c, 7))
			require.NoError(t, r.Adopt(ctx))
			require.NoError(t, r.Steps(ctx, 1500))

			old, err := fat.Open(ctx, blockio.NewMemory(before))
			require.NoError(t, err)
			now, err := fat.Open(ctx, mem)
			require.NoError(t, err)
			require.NoError(t, model.Comparison{}.Compare(ctx, old, now))
			require.NoError(t, fsckDevice(t, mem))
			require.NoError(t, session.Commit(ctx))
			require.NoError(t, fsckDevice(t, mem))
			now, err = fat.Open(ctx, mem)
			require.NoError(t, err)
			require.NoError(t, model.Comparison{}.Compare(ctx, r.Model(), now))
		})
	}
}

// TestModelSeeds is for long runs: RESFLASH_SEEDS=100 go test -run ModelSeeds.
func TestModelSeeds(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("RESFLASH_SEEDS"))
	for seed := range n {
		for _, c := range modelCases {
			if ok := t.Run(fmt.Sprint(c, seed), func(t *testing.T) { runModel(t, c, uint64(seed)+2, 1500) }); !ok {
				return
			}
		}
	}
}
