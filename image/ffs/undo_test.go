package ffs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// A failing transaction fails its n-th write of contents, and remembers what
// was written how.
type failing struct {
	blockio.Transaction
	failAt int // 0: never
	writes int
	stale  int // writes over what the last commit had
}

var errBroken = errors.New("the disk is broken")

func (f *failing) WriteData(p []byte, off int64, fresh bool) error {
	f.writes++
	if f.writes == f.failAt {
		return errBroken
	}
	if !fresh {
		f.stale++
	}
	return f.Transaction.WriteData(p, off, fresh)
}

// fixed is a clock that stands still.
func fixed() time.Time { return time.Unix(1_600_000_000, 5) }

// metadata is all that the file system says, in the bytes of the medium.
func metadata(t testing.TB, w *Writer, dev blockio.Device) []byte {
	t.Helper()
	require.NoError(t, w.Sync(ctx))
	return bytes.Clone(imageBytes(t, dev))
}

// An operation for which there is no space changes not one byte.
func TestNoSpaceChangesNothing(t *testing.T) {
	for _, typ := range []string{"ffs1", "ffs2"} {
		w, mem := newWriter(t, 2<<20, vfs.FormatOptions{Type: typ, BlockSize: 4096, FragSize: 1024})
		w.SetClock(fixed)
		// A directory that is full to the last fragment, and a file with a tail.
		dir := w.mustCreate(t, w.Root(), "dir", vfs.Dir|0o755)
		tail := w.mustCreate(t, w.Root(), "tail", vfs.Regular|0o644)
		w.mustWrite(t, tail, make([]byte, 1024), 0)
		for i := 0; w.inodeOf(t, dir).size < 1024; i++ {
			_, err := w.Link(ctx, tail, dir, fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 200)))
			require.NoError(t, err)
		}
		_, err := w.Link(ctx, tail, dir, strings.Repeat("y", 200))
		require.NoError(t, err)
		big := w.mustCreate(t, w.Root(), "big", vfs.Regular|0o644)
		var small [8]vfs.Ino
		for i := range small {
			small[i] = w.mustCreate(t, w.Root(), fmt.Sprint(i), vfs.Regular|0o644)
		}
		var full error
		for off := int64(0); full == nil; off += 1024 {
			_, full = w.WriteAt(ctx, big, contents(1, 1024), off)
		}
		require.Equal(t, syscall.ENOSPC, full)
		full = nil
		for i := 0; full == nil; i++ {
			_, full = w.WriteAt(ctx, small[i], contents(1, 1024), 0)
		}
		require.Equal(t, syscall.ENOSPC, full)
		before := metadata(t, w, mem)
		audit(t, mem)

		for name, try := range map[string]func() error{
			"mkdir": func() error {
				_, err := w.Create(ctx, w.Root(), "d", vfs.NewNode{Mode: vfs.Dir})
				return err
			},
			"symlink": func() error {
				_, err := w.Create(ctx, w.Root(), "l", vfs.NewNode{Mode: vfs.Symlink, Target: strings.Repeat("t", 500)})
				return err
			},
			"link": func() error { _, err := w.Link(ctx, tail, dir, strings.Repeat("z", 250)); return err },
			"rename": func() error {
				return w.Rename(ctx, w.Root(), "big", dir, strings.Repeat("z", 250), 0)
			},
			"extend": func() error {
				size := int64(4096)
				_, err := w.Setattr(ctx, tail, vfs.SetAttr{Size: &size})
				return err
			},
			"write":     func() error { _, err := w.WriteAt(ctx, tail, make([]byte, 500), 1<<20); return err },
			"fallocate": func() error { return w.Fallocate(ctx, tail, 0, 0, 1<<20) },
		} {
			assert.ErrorIs(t, try(), syscall.ENOSPC, name)
			require.True(t, bytes.Equal(before, metadata(t, w, mem)), "%s changed something", name)
		}
		// The superuser still finds room.
		w.UseReserve(true)
		_, err = w.Create(ctx, w.Root(), "d", vfs.NewNode{Mode: vfs.Dir | 0o755})
		assert.NoError(t, err)
		audit2(t, w, mem)
	}
}

// A write of contents that fails undoes its piece; what was written before it
// stays.
func TestFailedWriteIsUndone(t *testing.T) {
	for fail := 1; fail <= 12; fail++ {
		_, mem := newWriter(t, 8<<20, vfs.FormatOptions{BlockSize: 4096, FragSize: 512})
		tx := &failing{Transaction: blockio.NewSession(mem, blockio.SessionOptions{}), failAt: fail}
		fsys, err := OpenWritable(ctx, tx)
		require.NoError(t, err)
		w := fsys.(*Writer)
		a := w.mustCreate(t, w.Root(), "a", vfs.Regular|0o644)
		p := contents(1, 400_000)
		want := []byte{}
		var failed error
		for off, step := 0, 700; off < len(p) && failed == nil; step = step*3 + 1 {
			end := min(off+step, len(p))
			var n int
			n, failed = w.WriteAt(ctx, a, p[off:end], int64(off))
			off += n
			want = p[:off]
		}
		if failed != nil {
			assert.ErrorIs(t, failed, errBroken)
		}
		assert.True(t, bytes.Equal(want, w.mustRead(t, a)), "%d bytes", len(want))
		audit2(t, w, mem)
		w.mustWrite(t, a, p, 0)
		assert.True(t, bytes.Equal(p, w.mustRead(t, a)))
		audit2(t, w, mem)
	}
}

// Nothing that the last commit holds is written over before the next, not even
// when space is short; in an atomic transaction the medium stays as it is.
func TestCommittedSpaceIsKept(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		w, mem := newWriter(t, 2<<20, vfs.FormatOptions{BlockSize: 4096, FragSize: 512})
		want := contents(1, 500_000)
		w.mustWrite(t, w.mustCreate(t, w.Root(), "old", vfs.Regular|0o644), want, 0)
		require.NoError(t, w.Sync(ctx))
		require.NoError(t, w.Close())

		session := blockio.NewSession(mem, blockio.SessionOptions{Atomic: atomic})
		tx := &failing{Transaction: session}
		fsys, err := OpenWritable(ctx, tx)
		require.NoError(t, err)
		w = fsys.(*Writer)
		reads := func() []byte {
			medium, err := Open(ctx, mem)
			require.NoError(t, err)
			a, err := medium.Lookup(ctx, medium.Root(), "old")
			require.NoError(t, err)
			p := make([]byte, a.Size)
			_, _ = medium.ReadAt(ctx, a.Ino, p, 0)
			return p
		}
		require.NoError(t, w.Unlink(ctx, w.Root(), "old"))
		ino := w.mustCreate(t, w.Root(), "new", vfs.Regular|0o644)
		st, err := w.Statfs(ctx)
		require.NoError(t, err)
		half := contents(2, int64(st.Avail-1400)*512)
		w.mustWrite(t, ino, half, 0)
		assert.True(t, bytes.Equal(want, reads()), "the last commit is untouched")
		assert.Zero(t, tx.stale)

		// More than what was free: a mount commits, a script takes it and
		// collects what it writes.
		more := contents(3, 400_000)
		w.mustWrite(t, ino, more, int64(len(half)))
		assert.Equal(t, append(half, more...), w.mustRead(t, ino))
		if atomic {
			assert.True(t, bytes.Equal(want, reads()), "the last commit is untouched")
			assert.NotZero(t, tx.stale)
		} else {
			_, err := Open(ctx, mem)
			require.NoError(t, err)
			assert.Zero(t, tx.stale)
		}
		require.NoError(t, session.Commit(ctx))
		audit(t, mem)
		again, err := Open(ctx, mem)
		require.NoError(t, err)
		a, err := again.Lookup(ctx, again.Root(), "new")
		require.NoError(t, err)
		p := make([]byte, a.Size)
		_, _ = again.ReadAt(ctx, a.Ino, p, 0)
		assert.True(t, bytes.Equal(append(half, more...), p))
	}
}

// What is cut off a file is still there for who reads the last commit.
func TestTruncateWaitsForTheCommit(t *testing.T) {
	w, mem := newWriter(t, 2<<20, vfs.FormatOptions{})
	p := contents(1, 3000)
	ino := w.mustCreate(t, w.Root(), "f", vfs.Regular|0o644)
	w.mustWrite(t, ino, p, 0)
	require.NoError(t, w.Sync(ctx))
	size := int64(100)
	_, err := w.Setattr(ctx, ino, vfs.SetAttr{Size: &size})
	require.NoError(t, err)
	medium, err := Open(ctx, mem)
	require.NoError(t, err)
	got := make([]byte, 3000)
	_, err = medium.ReadAt(ctx, ino, got, 0)
	require.NoError(t, err)
	assert.Equal(t, p, got)
	size = 3000
	_, err = w.Setattr(ctx, ino, vfs.SetAttr{Size: &size})
	require.NoError(t, err)
	assert.Equal(t, append(p[:100:100], make([]byte, 2900)...), w.mustRead(t, ino))
	audit2(t, w, mem)
}
