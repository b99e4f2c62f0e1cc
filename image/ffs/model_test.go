package ffs

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/testtool"
)

// A modelCase is a file system to do random operations on.
type modelCase struct {
	typ          string
	bsize, fsize int
	size         int64
	bytes        int64 // how full it gets
	full         bool
}

func (c modelCase) String() string {
	return fmt.Sprintf("%s-%d-%d-%dM-full=%t", c.typ, c.bsize, c.fsize, c.size>>20, c.full)
}

var modelCases = []modelCase{
	{"ffs2", 16384, 2048, 24 << 20, 8 << 20, false},
	{"ffs1", 4096, 512, 8 << 20, 3 << 20, false},
	{"ffs1", 8192, 1024, 2 << 20, 4 << 20, true},
	{"ffs2", 4096, 1024, 2 << 20, 6 << 20, true},
	{"ffs2", 65536, 8192, 32 << 20, 16 << 20, false},
	{"ffs2", 8192, 8192, 4 << 20, 8 << 20, true},
}

// Random operations leave what the model says, and after every commit a medium
// on which every count is right.
func TestModel(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range modelCases {
		t.Run(c.String(), func(t *testing.T) {
			r := runModel(t, c, 1, 2500)
			assert.Equal(t, c.full, r.NoSpace > 0, "ENOSPC %d times", r.NoSpace)
		})
	}
}

func runModel(t *testing.T, c modelCase, seed uint64, steps int) *model.Run {
	w, mem := newWriter(t, c.size, vfs.FormatOptions{Type: c.typ, BlockSize: c.bsize, FragSize: c.fsize, BytesPerInode: 4096})
	bs, ps := int64(c.bsize), int64(w.geo.version.PointerSize())
	opt := model.Options{
		Seed:     seed,
		Limits:   memfs.Options{BlockSize: c.bsize, LinkMax: maxLinks, MaxSize: w.super.maxFile, SymlinkMax: maxSymlink, NoXattrs: true},
		FragSize: c.fsize, Sizes: []int64{12 * bs, (12 + bs/ps) * bs, (12 + bs/ps + bs/ps*bs/ps) * bs},
		Targets: []int{59, 60, 119, 120}, Bytes: c.bytes, Full: c.full,
		Committed: func(ctx context.Context, state *memfs.FS) error {
			audit(t, mem)
			if err := checkClean(mem); err != nil {
				return err
			}
			fsys, err := Open(ctx, mem)
			if err != nil {
				return err
			}
			return model.Comparison{ExactHoles: !c.full}.Compare(ctx, state, fsys)
		},
		Reopen: func(ctx context.Context, old vfs.WritableFS) (vfs.WritableFS, error) {
			if err := old.Close(); err != nil {
				return nil, err
			}
			return openWriter(t, mem, blockio.SessionOptions{}), nil
		},
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
	for _, c := range []modelCase{modelCases[0], modelCases[2], modelCases[3]} {
		t.Run(c.String(), func(t *testing.T) {
			w, mem := newWriter(t, c.size, vfs.FormatOptions{Type: c.typ, BlockSize: c.bsize, FragSize: c.fsize, BytesPerInode: 4096})
			ino := w.mustCreate(t, w.Root(), "there before", vfs.Regular|0o644)
			w.mustWrite(t, ino, contents(1, 500_000), 0)
			require.NoError(t, w.Sync(ctx))
			require.NoError(t, w.Close())
			before := imageBytes(t, mem)
			session := blockio.NewSession(mem, blockio.SessionOptions{Atomic: true})
			fsys, err := OpenWritable(ctx, session)
			require.NoError(t, err)
			require.NoError(t, fsys.Unlink(ctx, fsys.Root(), "there before"))
			r := model.New(fsys, model.Options{
				Seed: 7, Bytes: c.bytes, Full: c.full, FragSize: c.fsize, Targets: []int{59, 60, 119, 120},
				Limits: memfs.Options{BlockSize: c.bsize, LinkMax: maxLinks, MaxSize: w.super.maxFile, SymlinkMax: maxSymlink, NoXattrs: true},
			})
			require.NoError(t, r.Adopt(ctx))
			require.NoError(t, r.Steps(ctx, 1500))

			old, err := Open(ctx, blockio.NewMemory(before))
			require.NoError(t, err)
			now, err := Open(ctx, mem)
			require.NoError(t, err)
			require.NoError(t, model.Comparison{ExactHoles: true}.Compare(ctx, old, now))
			audit(t, mem)
			require.NoError(t, session.Commit(ctx))
			audit(t, mem)
			now, err = Open(ctx, mem)
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
