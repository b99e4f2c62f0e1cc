package ext4

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/testtool"
)

// A modelCase is a file system to do random operations on.
type modelCase struct {
	form
	size  int64
	bytes int64 // how full it gets
	full  bool
}

var modelCases = []modelCase{
	{form{"ext4", []string{"-t", "ext4", "-b", "1024"}}, 16 << 20, 6 << 20, false},
	{form{"full", []string{"-t", "ext4", "-b", "1024", "-O", "^has_journal"}}, 2 << 20, 20 << 20, true},
	{form{"linear-full", []string{"-t", "ext2", "-b", "1024", "-I", "256", "-O", "^dir_index"}}, 2 << 20, 20 << 20, true},
	{form{"inline_data", []string{"-t", "ext4", "-b", "1024", "-O", "inline_data", "-I", "256"}}, 16 << 20, 6 << 20, false},
	{form{"ea_inode", []string{"-t", "ext4", "-b", "1024", "-O", "ea_inode,^metadata_csum"}}, 16 << 20, 6 << 20, false},
}

// Random operations leave what the model says, and after every commit a medium
// about which e2fsck has nothing to say.
func TestModel(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range modelCases {
		t.Run(c.name, func(t *testing.T) {
			r := runModel(t, c, 1, 2500)
			assert.Equal(t, c.full, r.NoSpace > 0, "ENOSPC %d times", r.NoSpace)
		})
	}
}

func runModel(t *testing.T, c modelCase, seed uint64, steps int) *model.Run {
	name := mkfs(t, c.size, "", append([]string{"-m", "0", "-N", "1200"}, c.args...)...)
	require.NoError(t, os.Truncate(name, c.size))
	open := func() *Writer {
		f, err := blockio.OpenWritableFile(name)
		require.NoError(t, err)
		w, err := openWriter(ctx, blockio.NewSession(f, blockio.SessionOptions{}))
		require.NoError(t, err)
		w.SetSeed(seed)
		w.UseReserve(true)
		t.Cleanup(func() { f.Close() })
		return w
	}
	w := open()
	var in inode
	if w.sb.FeatureIncompat&ondisk.IncompatExtents != 0 {
		in.Flags = ondisk.FlExtents
	}
	bs, ps := w.blockSize, int64(4)
	opt := model.Options{
		Seed: seed,
		Limits: memfs.Options{
			BlockSize: int(bs), LinkMax: maxLinks, MaxSize: w.maxSize(&in), SymlinkMax: w.maxSymlink(),
			Limits: limits.Limits{
				XattrRoom: int(bs) - 36, FileFlags: vfs.SystemImmutable | vfs.SystemAppend, Inherited: vfs.UserNoDump, MinorBits: 20,
				LooseSize: true, Refuse: func(set vfs.SetAttr) error {
					if set.Flags != nil {
						_, err := inodeFlags(0, vfs.Regular, *set.Flags)
						return err
					}
					return nil
				},
			},
		},
		Sizes:   []int64{60, 12 * bs, (12 + bs/ps) * bs, (12 + bs/ps + bs/ps*bs/ps) * bs},
		Targets: []int{59, 60, 61}, Bytes: c.bytes, Full: c.full,
		Committed: func(ctx context.Context, state *memfs.FS) error {
			if err := e2fsck(name); err != nil {
				return err
			}
			fsys, err := Driver.Open(ctx, openDevice(t, name))
			if err != nil {
				return err
			}
			return model.Comparison{}.Compare(ctx, state, fsys)
		},
		Reopen: func(ctx context.Context, old vfs.WritableFS) (vfs.WritableFS, error) {
			if err := old.Close(); err != nil {
				return nil, err
			}
			return open(), nil
		},
	}
	r := model.New(w, opt)
	require.NoError(t, w.Rmdir(ctx, w.Root(), "lost+found"))
	require.NoError(t, r.Adopt(ctx))
	require.NoError(t, r.Steps(ctx, steps))
	require.NoError(t, r.Sync(ctx))
	return r
}

// TestModelSeeds is for long runs: RESFLASH_SEEDS=100 go test -run ModelSeeds.
func TestModelSeeds(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("RESFLASH_SEEDS"))
	for seed := range n {
		for _, c := range modelCases {
			if ok := t.Run(fmt.Sprint(c.name, seed), func(t *testing.T) { runModel(t, c, uint64(seed)+2, 1000) }); !ok {
				return
			}
		}
	}
}
