package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/crashtest"
	"github.com/resflash/resflash/integration/testdamage"
)

// ffsCrashes are the file systems whose power is cut.
func ffsCrashes() []crashtest.Case {
	var cases []crashtest.Case
	for i, g := range []struct {
		typ         string
		block, frag int
		size        int64
	}{
		{"ffs2", 4096, 512, 1 << 20},
		{"ffs1", 4096, 512, 1 << 20},
		{"ffs2", 8192, 1024, 2 << 20},
		{"ffs1", 8192, 2048, 2 << 20},
		{"ffs2", 16384, 2048, 4 << 20},
	} {
		for _, atomic := range []bool{false, true} {
			block, pointer := int64(g.block), int64(8)
			if g.typ == "ffs1" {
				pointer = 4
			}
			per := block / pointer
			seed := uint64(i)
			c := crashtest.Case{
				Driver: &ffs.Driver, Check: fsck.Check, Size: g.size, Atomic: atomic,
				Format:     vfs.FormatOptions{Type: g.typ, BlockSize: g.block, FragSize: g.frag, BytesPerInode: 4096, Seed: &seed},
				Operations: 400, Shuffles: 100,
				Model: model.Options{
					Limits: memfs.Options{
						BlockSize: g.block, LinkMax: 32767, MaxSize: min(block*(12+per+per*per+per*per*per), 1<<31*min(4096, block)) - 1,
						SymlinkMax: 1023, NoXattrs: true,
					},
					FragSize: g.frag, Sizes: []int64{12 * block, (12 + per) * block},
					Bytes: g.size / 3, Names: 60, Every: -1, Full: true,
				},
			}
			if i%2 == 1 {
				c.Memory = 32 << 10
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// Whatever a crash leaves of an FFS is a commit: nothing to repair, nothing
// lost that a sync had made sure of.
func TestFFSSurvivesCrashes(t *testing.T) {
	survive(t, ffsCrashes(), 200, func(c crashtest.Case) string {
		return fmt.Sprintf("%s, blocks of %d", c.Format.Type, c.Format.BlockSize)
	})
}

// outcomes records what do does to start in one commit, cuts the power
// everywhere, and so many times between two operations, and returns how often
// before or after was what was left, which say whether a device is one or the
// other.
func outcomes(t *testing.T, start *blockiotest.Disk, shuffles int, do func(tx blockio.Transaction), before, after func(dev blockio.Device) error) (old, changed int) {
	ctx := context.Background()
	medium := &blockiotest.Medium{Disk: start}
	rec := blockiotest.NewRecorder(medium.Clone())
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Atomic: true, Journal: rec.Store(), Memory: 64 << 10})
	do(s)
	require.NoError(t, s.Commit(ctx))
	require.NoError(t, s.Close())
	rnd := rand.New(rand.NewPCG(1, 1))
	isNew := map[uint64]bool{} // of images that were looked at, by hash
	judge := func(m *blockiotest.Medium) {
		left := blockiotest.NewRecorder(m)
		_, err := blockio.Recover(left.Image(), left.Store())
		require.NoError(t, err)
		hash := left.Medium().Disk.Hash()
		if _, known := isNew[hash]; !known {
			newErr := after(left.Image())
			if newErr != nil {
				oldErr := before(left.Image())
				require.NoError(t, oldErr, newErr)
			}
			isNew[hash] = newErr == nil
		}
		if isNew[hash] {
			changed++
		} else {
			old++
		}
	}
	for r := blockiotest.NewReplay(medium, rec.Ops()); ; r.Step() {
		judge(r.Cut())
		for range shuffles {
			judge(r.Shuffle(rnd))
		}
		if r.Done() {
			break
		}
		if m := r.Torn(rnd); m != nil {
			judge(m)
		}
	}
	require.NoError(t, after(rec.Image()))
	return old, changed
}

// Making a file system over another, and repairing one, happen or do not.
func TestFFSMakingAndRepairingIsOneChange(t *testing.T) {
	ctx := context.Background()
	seed := uint64(1)
	disk := blockiotest.NewDisk(2 << 20)
	s := blockio.NewSession(disk, blockio.SessionOptions{})
	require.NoError(t, ffs.Format(s, vfs.FormatOptions{Type: "ffs2", BlockSize: 8192, FragSize: 1024, Seed: &seed}))
	require.NoError(t, s.Commit(ctx))
	w, err := ffs.OpenWritable(ctx, s)
	require.NoError(t, err)
	for i := range 30 {
		f, err := w.Create(ctx, w.Root(), fmt.Sprint("file", i), vfs.NewNode{Mode: vfs.Regular | 0o644})
		require.NoError(t, err)
		_, err = w.WriteAt(ctx, f.Ino, bytes.Repeat([]byte{byte(i)}, i*1500), 0)
		require.NoError(t, err)
	}
	require.NoError(t, w.Sync(ctx))
	require.NoError(t, w.Close())
	// tree returns a check for a sound file system with the given tree.
	tree := func(want vfs.FS) func(dev blockio.Device) error {
		return func(dev blockio.Device) error {
			if found := findings(ctx, dev); len(found) > 0 {
				return fmt.Errorf("%v", found)
			}
			got, err := ffs.Open(ctx, dev)
			if err != nil {
				return err
			}
			return model.Comparison{}.Compare(ctx, want, got)
		}
	}
	full, err := ffs.Open(ctx, disk.Clone())
	require.NoError(t, err)

	again := vfs.FormatOptions{Type: "ffs1", BlockSize: 4096, FragSize: 512, Seed: &seed, Time: time.Unix(1e9, 0)}
	made := disk.Clone()
	s = blockio.NewSession(made, blockio.SessionOptions{})
	require.NoError(t, ffs.Format(s, again))
	require.NoError(t, s.Commit(ctx))
	empty, err := ffs.Open(ctx, made)
	require.NoError(t, err)
	old, changed := outcomes(t, disk, 20, func(tx blockio.Transaction) {
		require.NoError(t, ffs.Format(tx, again))
	}, tree(full), tree(empty))
	t.Logf("made over another: %d times as before, %d times made", old, changed)
	assert.Greater(t, min(old, changed), 50)

	harm, err := testdamage.Open(disk.Bytes(), 1)
	require.NoError(t, err)
	for _, kind := range []string{"bitmaps", "counts", "link counts"} { // what can be mended without loss
		harm.Do(kind)
	}
	damaged := blockiotest.DiskOf(harm.Data)
	lost := findings(ctx, damaged)
	require.NotEmpty(t, lost)
	old, changed = outcomes(t, damaged, 20, func(tx blockio.Transaction) {
		require.NoError(t, fsck.Repair(ctx, tx, vfs.RepairAll, func(vfs.Finding) {}))
	}, func(dev blockio.Device) error {
		if found := findings(ctx, dev); !slices.Equal(lost, found) {
			return fmt.Errorf("other damage than before: %v", found)
		}
		return nil
	}, tree(full))
	t.Logf("repaired: %d times as before, %d times repaired", old, changed)
	assert.Greater(t, min(old, changed), 50)
}

func findings(ctx context.Context, dev blockio.Device) (list []string) {
	if err := fsck.Check(ctx, dev, func(f vfs.Finding) { list = append(list, f.String()) }); err != nil {
		list = append(list, err.Error())
	}
	return list
}
