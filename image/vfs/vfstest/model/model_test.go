package model_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
)

func options(seed uint64) model.Options {
	return model.Options{
		Seed:     seed,
		Limits:   memfs.Options{BlockSize: 8192, LinkMax: 100, MaxSize: 1 << 40, SymlinkMax: 1023},
		FragSize: 1024, Sizes: []int64{12 * 8192, (12 + 2048) * 8192}, Targets: []int{60, 120},
		Comparison: model.Comparison{ExactHoles: true},
	}
}

func TestModelAgreesWithItself(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(3) {
		opt := options(seed)
		kinds := map[model.Kind]int{}
		opt.Reopen = func(_ context.Context, old vfs.WritableFS) (vfs.WritableFS, error) {
			return old.(*memfs.FS).Snapshot(), nil
		}
		last := (*memfs.FS)(nil)
		opt.Committed = func(_ context.Context, state *memfs.FS) error {
			last = state
			return nil
		}
		r := model.New(memfs.NewWith(opt.Limits), opt)
		require.NoError(t, r.Steps(ctx, 5000))
		require.NoError(t, r.Sync(ctx))
		for _, op := range r.Log {
			kinds[op.Kind]++
		}
		for _, k := range []model.Kind{
			model.Create, model.Link, model.Unlink, model.Rmdir, model.Rename, model.Setattr, model.Write,
			model.Fallocate, model.SetXattr, model.RemoveXattr, model.Pin, model.Unpin, model.ReadDir, model.Sync,
		} {
			assert.Greater(t, kinds[k], 20, k)
		}
		assert.NoError(t, model.Comparison{}.Compare(ctx, r.Model(), last))

		// The same log gives the same tree.
		again := model.New(memfs.NewWith(opt.Limits), opt)
		require.NoError(t, again.Replay(ctx, r.Log))
		assert.NoError(t, model.Comparison{ExactHoles: true}.Compare(ctx, r.Model(), again.Model()))
	}
}

func TestFullModel(t *testing.T) {
	opt := options(1)
	opt.Full = true
	opt.Bytes = 4 << 20
	small := opt.Limits
	small.Capacity, small.MaxFiles = 2<<20, 150
	r := model.New(memfs.NewWith(small), opt)
	require.NoError(t, r.Steps(context.Background(), 3000))
	assert.Greater(t, r.NoSpace, 100)
	opt.Full = false
	var f *model.Failure
	require.ErrorAs(t, model.New(memfs.NewWith(small), opt).Steps(context.Background(), 3000), &f)
	assert.ErrorIs(t, f, syscall.ENOSPC)
}

// broken is a driver with a fault.
type broken struct {
	*memfs.FS
	write  func(p []byte, off int64) []byte
	rename func(flags vfs.RenameFlags) vfs.RenameFlags
	unlink func() error
	set    func(*vfs.SetAttr)
}

func (b *broken) WriteAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if b.write != nil {
		p = b.write(p, off)
	}
	return b.FS.WriteAt(ctx, ino, p, off)
}

func (b *broken) Rename(ctx context.Context, d vfs.Ino, n string, e vfs.Ino, m string, flags vfs.RenameFlags) error {
	if b.rename != nil {
		flags = b.rename(flags)
	}
	return b.FS.Rename(ctx, d, n, e, m, flags)
}

func (b *broken) Unlink(ctx context.Context, dir vfs.Ino, name string) error {
	if b.unlink != nil {
		if err := b.unlink(); err != nil {
			return err
		}
	}
	return b.FS.Unlink(ctx, dir, name)
}

func (b *broken) Setattr(ctx context.Context, ino vfs.Ino, set vfs.SetAttr) (vfs.Attr, error) {
	if b.set != nil {
		b.set(&set)
	}
	return b.FS.Setattr(ctx, ino, set)
}

func TestFaultsAreFound(t *testing.T) {
	ctx := context.Background()
	n := 0
	now := time.Now()
	for name, b := range map[string]broken{
		"a byte is wrong": {write: func(p []byte, off int64) []byte {
			if n++; n%50 == 0 && len(p) > 0 {
				p = append([]byte(nil), p...)
				p[len(p)/2] ^= 1
			}
			return p
		}},
		"exchange does not": {rename: func(vfs.RenameFlags) vfs.RenameFlags { return 0 }},
		"wrong errno": {unlink: func() error {
			if n++; n%40 == 0 {
				return syscall.EACCES
			}
			return nil
		}},
		"no space": {unlink: func() error {
			if n++; n%40 == 0 {
				return syscall.ENOSPC
			}
			return nil
		}},
		"wrong time": {set: func(s *vfs.SetAttr) {
			if s.Mode != nil && s.Mtime == nil {
				s.Mtime = &now
			}
		}},
		"size not set": {set: func(s *vfs.SetAttr) { s.Size = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			opt := options(9)
			opt.Full = name != "no space"
			newDriver := func() vfs.WritableFS {
				n = 0
				d := b
				d.FS = memfs.NewWith(opt.Limits)
				return &d
			}
			r := model.New(newDriver(), opt)
			err := r.Steps(ctx, 3000)
			var f *model.Failure
			require.ErrorAs(t, err, &f)
			if name == "a byte is wrong" || name == "wrong errno" || name == "no space" {
				return // what is left out changes what the fault hits
			}
			less := model.Minimise(r.Log, func(ops []model.Op) bool {
				return errors.As(model.New(newDriver(), opt).Replay(ctx, ops), &f)
			}, 5*time.Second)
			assert.Less(t, len(less), 6, "%v", less)
		})
	}
}
