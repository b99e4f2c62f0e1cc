package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
)

// A failing transaction fails its n-th write of contents.
type failing struct {
	blockio.Transaction
	failAt, writes int
}

var errBroken = errors.New("the disk is broken")

func (f *failing) WriteData(p []byte, off int64, fresh bool) error {
	if f.writes++; f.writes == f.failAt {
		return errBroken
	}
	return f.Transaction.WriteData(p, off, fresh)
}

// A write that fails has done what it says it has, and nothing else: not a block
// is lost, and the rest of the tree is as it was.
func TestFailedWriteIsUndone(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			name := mkfs(t, 16<<20, "", f.args...)
			w := onFile(t, name)
			w.SetClock(func() time.Time { return time.Unix(1_600_000_000, 0) })
			tx := &failing{Transaction: w.tx}
			w.tx = tx
			a, err := w.Create(ctx, w.Root(), "file", vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(t, err)
			// Every second block is there, so a long write is of many pieces.
			var want []byte
			for i := range 40 {
				want = append(append(want, pattern(int(w.blockSize), i)...), make([]byte, w.blockSize)...)
				_, err := w.WriteAt(ctx, a.Ino, want[len(want)-2*int(w.blockSize):len(want)-int(w.blockSize)], int64(2*i)*w.blockSize)
				require.NoError(t, err)
			}
			size := int64(79) * w.blockSize
			want = want[:size]
			p := bytes.Repeat([]byte{0xEE}, int(w.blockSize)*70)
			for failAt := 1; failAt < 40; failAt += 3 {
				before, err := w.Statfs(ctx)
				require.NoError(t, err)
				had, err := w.Getattr(ctx, a.Ino)
				require.NoError(t, err)
				tx.writes, tx.failAt = 0, failAt
				off := w.blockSize/2 + int64(failAt)
				n, err := w.WriteAt(ctx, a.Ino, p, off)
				if tx.writes >= failAt {
					require.ErrorIs(t, err, errBroken)
				}
				tx.failAt = 0
				copy(want[off:], p[:n])
				got := make([]byte, size)
				_, err = w.ReadAt(ctx, a.Ino, got, 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got), "after %d bytes", n)
				after, err := w.Statfs(ctx)
				require.NoError(t, err)
				has, err := w.Getattr(ctx, a.Ino)
				require.NoError(t, err)
				require.Equal(t, (has.Blocks-had.Blocks)*512/w.blockSize, int64(before.Free-after.Free))
			}
			require.NoError(t, w.Sync(ctx))
			require.NoError(t, e2fsck(name))
		})
	}
}

// In an atomic transaction nothing is on the medium until its owner commits it,
// and everything then, even when space was short and had to be used twice.
func TestAtomicTransaction(t *testing.T) {
	for _, f := range forms {
		switch f.name {
		case "ext2", "ext4", "ext4-bigalloc", "ext4-inline":
		default:
			continue // allocate like one of these
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			b := treeBuilder{t, t.TempDir()}
			b.file("there before", pattern(6<<20, 1))
			name := mkfs(t, 24<<20, b.dir, f.args...)
			before, err := os.ReadFile(name)
			require.NoError(t, err)
			mem := blockio.NewMemory(bytes.Clone(before))
			session := blockio.NewSession(mem, blockio.SessionOptions{Atomic: true})
			w, err := openWriter(ctx, session)
			require.NoError(t, err)
			old, err := Driver.Open(ctx, blockio.NewMemory(before))
			require.NoError(t, err)
			require.NoError(t, w.Unlink(ctx, w.Root(), "there before"))
			for i := range 100 {
				a, err := w.Create(ctx, w.Root(), fmt.Sprintf("new-%d", i), vfs.NewNode{Mode: vfs.Regular | 0o644})
				if errors.Is(err, syscall.ENOSPC) {
					break
				}
				require.NoError(t, err)
				if _, err := w.WriteAt(ctx, a.Ino, pattern(300_000, i), 0); err != nil {
					require.ErrorIs(t, err, syscall.ENOSPC)
					break
				}
			}
			st, err := w.Statfs(ctx)
			require.NoError(t, err)
			assert.Less(t, st.Avail*uint64(st.BlockSize), uint64(2<<20), "the test needs space to be short")
			now, err := Driver.Open(ctx, mem)
			require.NoError(t, err)
			assert.Equal(t, vfstest.Dump(t, old), vfstest.Dump(t, now))
			want := vfstest.Dump(t, w)
			require.NoError(t, session.Commit(context.Background()))
			now, err = Driver.Open(ctx, mem)
			require.NoError(t, err)
			assert.Equal(t, want, vfstest.Dump(t, now))
			data := make([]byte, mem.Size())
			_, err = mem.ReadAt(data, 0)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(name, data, 0o600))
			require.NoError(t, e2fsck(name))
		})
	}
}
