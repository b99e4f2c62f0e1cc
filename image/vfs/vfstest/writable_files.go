package vfstest

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// write writes in all ways that differ, and compares with a slice of bytes.
func (w *writing) write() {
	bs := w.FS.Info().BlockSize
	frag := w.FS.Info().FragSize
	rnd := rand.New(rand.NewPCG(1, 9))
	for i, size := range []int{1, frag - 1, frag, frag + 1, 3 * frag, bs - 1, bs, bs + 1, 5*bs + 7, 300_000} {
		// Made with all their contents.
		n := vfs.NewNode{Mode: vfs.Regular | 0o644, Mtime: time.Unix(1e9, 0), Contents: pattern(size, byte(i))}
		attr, err := w.FS.Create(w.ctx, w.root, fmt.Sprint("whole", i), n)
		require.NoError(w, err, size)
		require.Equal(w, attr, w.get(attr.Ino), "%d bytes", size)
		assert.EqualValues(w, size, attr.Size)
		assert.True(w, attr.Mtime.Equal(n.Mtime), "%d bytes: %v", size, attr.Mtime)
		require.True(w, bytes.Equal(n.Contents, w.contents(attr.Ino)), "%d bytes", size)
	}
	for i, unit := range []int{1, 10, frag - 1, frag, frag + 1, 3 * frag, bs - 1, bs, bs + 1, 5*bs + 7} {
		// Appended in pieces of one size, up to a few blocks.
		file := w.make(w.root, fmt.Sprint("append", i), vfs.Regular).Ino
		want := pattern(min(3*bs+frag+3, 300*unit), byte(i))
		for at := 0; at < len(want); at += unit {
			w.put(file, want[at:min(at+unit, len(want))], int64(at))
		}
		require.True(w, bytes.Equal(want, w.contents(file)), "appended %d bytes at a time", unit)
	}
	for round := range 4 {
		file := w.make(w.root, fmt.Sprint("random", round), vfs.Regular).Ino
		var want []byte
		for i := range 150 {
			n := 1 + rnd.IntN(2*bs)
			at := rnd.IntN(len(want) + 1)
			switch rnd.IntN(4) {
			case 0:
				at = len(want)
			case 1:
				at = rnd.IntN(len(want) + 3*bs)
			case 2:
				at -= at % bs
			}
			if at+n > 30*bs {
				at = 0
			}
			if grow := at + n - len(want); grow > 0 {
				want = append(want, make([]byte, grow)...)
			}
			p := pattern(n, byte(i))
			copy(want[at:], p)
			given := bytes.Clone(p)
			w.put(file, p, int64(at))
			require.Equal(w, given, p, "the driver writes into what it was given")
			if i%10 == 0 {
				require.True(w, bytes.Equal(want, w.contents(file)), "write %d of %d bytes at %d", i, n, at)
			}
		}
		require.True(w, bytes.Equal(want, w.contents(file)))
	}

	for _, typ := range w.types() {
		if typ == vfs.Regular {
			continue
		}
		want := error(syscall.EINVAL)
		if typ == vfs.Dir {
			want = syscall.EISDIR
		}
		file := w.make(w.root, typeName(typ), typ).Ino
		w.fails(want, "write to "+typeName(typ), func() error {
			_, err := w.FS.WriteAt(w.ctx, file, []byte("x"), 0)
			return err
		})
		w.fails(want, "truncate "+typeName(typ), func() error {
			_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: new(int64)})
			return err
		})
	}
	file := w.make(w.root, "file", vfs.Regular).Ino
	w.put(file, []byte("contents"), 0)
	w.tick()
	same := w.unchanged()
	w.put(file, nil, 0)
	w.put(file, nil, 1000)
	same("writing nothing")
	for off, want := range map[int64]error{-1: syscall.EINVAL, math.MinInt64: syscall.EINVAL, math.MaxInt64: syscall.EFBIG} {
		w.fails(want, "write at a bad offset", func() error {
			_, err := w.FS.WriteAt(w.ctx, file, []byte("xx"), off)
			return err
		})
	}
	w.fails(syscall.ENOENT, "write to what is not there", func() error {
		_, err := w.FS.WriteAt(w.ctx, 1<<50, []byte("x"), 0)
		return err
	})
}

// sizes truncates, and reaches for the ends of files.
func (w *writing) sizes() {
	bs := int64(w.FS.Info().BlockSize)
	frag := int64(w.FS.Info().FragSize)
	for i, from := range []int64{0, 1, frag, bs - 1, bs, bs + frag, 13*bs + 5, 20 * bs} {
		far := 500 * bs
		if w.Limits.NoHoles {
			far = 50 * bs
		}
		for j, to := range []int64{0, 1, frag - 1, frag, bs, bs + 1, 12 * bs, 12*bs + 1, 19 * bs, far} {
			name := fmt.Sprint(i, ".", j)
			file := w.make(w.root, name, vfs.Regular).Ino
			want := pattern(int(from), byte(j))
			w.put(file, want, 0)
			attr := w.set(file, vfs.SetAttr{Size: &to})
			require.Equal(w, to, attr.Size)
			if to < from {
				want = want[:to]
			}
			want = append(want, make([]byte, to-int64(len(want)))...)
			require.True(w, bytes.Equal(want, w.contents(file)), "from %d to %d bytes", from, to)
			// What was cut off does not come back.
			long := to + bs + 3
			w.set(file, vfs.SetAttr{Size: &long})
			want = append(want, make([]byte, bs+3)...)
			require.True(w, bytes.Equal(want, w.contents(file)), "from %d to %d bytes and on", from, to)
			require.NoError(w, w.FS.Unlink(w.ctx, w.root, name))
		}
	}

	if w.Limits.NoHoles {
		w.noRoomFor(1 << 30)
	} else {
		w.farEnds()
	}
	file := w.make(w.root, "file", vfs.Regular).Ino
	w.put(file, []byte("x"), 0)
	w.fails(syscall.EINVAL, "negative size", func() error {
		_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: ptr[int64](-1)})
		return err
	})
	if w.MaxSize == 0 || w.MaxSize == math.MaxInt64 {
		return
	}
	w.fails(syscall.EFBIG, "size over the limit", func() error {
		_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: ptr(w.MaxSize + 1)})
		return err
	})
	w.fails(syscall.EFBIG, "write over the limit", func() error {
		_, err := w.FS.WriteAt(w.ctx, file, []byte("xy"), w.MaxSize-1)
		return err
	})
	if w.Limits.NoHoles {
		return
	}
	w.set(file, vfs.SetAttr{Size: ptr(w.MaxSize)})
	_, err := w.FS.ReadAt(w.ctx, file, make([]byte, 2), w.MaxSize-1)
	assert.Equal(w, io.EOF, err)
}

// noRoomFor makes a file longer than there is space for, in a format that has
// no holes.
func (w *writing) noRoomFor(size int64) {
	file := w.make(w.root, "long", vfs.Regular).Ino
	w.put(file, []byte("contents"), 0)
	w.fails(syscall.ENOSPC, "a size that there is no space for", func() error {
		_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: &size})
		return err
	})
	w.fails(syscall.ENOSPC, "a write far out", func() error {
		n, err := w.FS.WriteAt(w.ctx, file, []byte("x"), size)
		assert.Zero(w, n)
		return err
	})
}

// farEnds makes holes before a little data.
func (w *writing) farEnds() {
	bs := int64(w.FS.Info().BlockSize)
	h, seeks := w.FS.(vfs.HoleSeeker)
	limits := []int64{12 * bs, 1 << 24, 1 << 30, 1 << 33, 1 << 40}
	if w.MaxSize > 0 {
		limits = append(limits, w.MaxSize-10)
	}
	for _, at := range limits {
		if w.MaxSize > 0 && at+10 > w.MaxSize {
			continue
		}
		file := w.make(w.root, fmt.Sprint("far", at), vfs.Regular).Ino
		w.put(file, []byte("0123456789"), at)
		require.Equal(w, at+10, w.get(file).Size)
		p := make([]byte, 20)
		n, err := w.FS.ReadAt(w.ctx, file, p, at-10)
		require.Equal(w, 20, n, "%v", err)
		require.Equal(w, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x000123456789", string(p))
		if seeks {
			data, err := h.SeekData(w.ctx, file, 0)
			require.NoError(w, err)
			require.Greater(w, data, at-2*bs)
			require.LessOrEqual(w, data, at)
			hole, err := h.SeekHole(w.ctx, file, 0)
			require.NoError(w, err)
			require.Zero(w, hole)
		}
		w.set(file, vfs.SetAttr{Size: ptr[int64](1)})
		require.Equal(w, []byte{0}, w.contents(file))
		require.Zero(w, w.get(file).Blocks, "nothing is left of what was far out")
	}
}

func (w *writing) fallocate() {
	f, ok := w.FS.(vfs.Fallocater)
	if !ok {
		w.Skip("not a vfs.Fallocater")
	}
	bs := int64(w.FS.Info().BlockSize)
	for _, typ := range w.types() {
		if typ == vfs.Regular {
			continue
		}
		want := error(syscall.ENODEV)
		if typ == vfs.Dir {
			want = syscall.EISDIR
		}
		file := w.make(w.root, typeName(typ), typ).Ino
		w.fails(want, "fallocate of "+typeName(typ), func() error { return f.Fallocate(w.ctx, file, 0, 0, 10) })
	}
	const keep, punch, zero = vfs.AllocKeepSize, vfs.AllocPunchHole | vfs.AllocKeepSize, vfs.AllocZeroRange
	file := w.make(w.root, "file", vfs.Regular).Ino
	w.put(file, pattern(int(bs), 1), 0)
	for _, c := range []struct {
		mode   vfs.AllocMode
		off, n int64
		want   error
	}{
		{0, -1, 10, syscall.EINVAL}, {0, 0, 0, syscall.EINVAL}, {0, 0, -1, syscall.EINVAL}, {punch, 5, 0, syscall.EINVAL},
		{0, math.MaxInt64 - 5, 10, syscall.EFBIG}, {vfs.AllocPunchHole, 0, 10, syscall.EOPNOTSUPP},
		{0x08, 0, bs, syscall.EOPNOTSUPP}, {0x20, 0, bs, syscall.EOPNOTSUPP}, {0x40, 0, bs, syscall.EOPNOTSUPP},
	} {
		w.fails(c.want, fmt.Sprintf("fallocate mode %#x, %d bytes at %d", c.mode, c.n, c.off), func() error {
			return f.Fallocate(w.ctx, file, c.mode, c.off, c.n)
		})
	}
	// Each step on a file of ten blocks and a bit, with a hole in it.
	whole := 10*bs + bs/2 + 3
	for _, c := range []struct {
		mode   vfs.AllocMode
		off, n int64
	}{
		{0, 0, bs}, {0, 3 * bs, 3*bs + 5}, {0, whole - 10, 100}, {0, whole + bs, bs}, {0, whole + 5*bs, 3},
		{keep, 0, whole}, {keep, whole, 5 * bs}, {keep, 3*bs + 1, 10},
		{punch, 0, bs}, {punch, bs / 2, 10}, {punch, bs / 2, 3 * bs}, {punch, 8 * bs, 100 * bs}, {punch, whole + bs, bs}, {punch, 0, 1 << 40},
		{punch, whole - 3, 3}, {punch, 10 * bs, bs/2 + 3},
		{zero, 0, bs}, {zero, bs / 2, 3*bs + 5}, {zero, whole - 5, 2 * bs}, {zero, whole + 2*bs, 100}, {zero | keep, whole - 5, 2 * bs},
	} {
		what := fmt.Sprintf("mode %#x, %d bytes at %d", c.mode, c.n, c.off)
		if w.Limits.NoHoles && c.mode != 0 {
			w.fails(syscall.EOPNOTSUPP, what, func() error { return f.Fallocate(w.ctx, file, c.mode, c.off, c.n) })
			continue
		}
		file := w.make(w.root, "x", vfs.Regular).Ino
		want := pattern(int(whole), 5)
		w.put(file, want[:3*bs], 0)
		w.put(file, want[6*bs:], 6*bs)
		clear(want[3*bs : 6*bs])
		before := w.get(file)
		w.tick()
		require.NoError(w, f.Fallocate(w.ctx, file, c.mode, c.off, c.n), what)
		after := w.get(file)
		if c.mode != 0 && c.mode != keep && c.off < whole {
			clear(want[c.off:min(c.off+c.n, whole)])
		}
		if end := c.off + c.n; c.mode&keep == 0 && end > whole {
			want = append(want, make([]byte, end-whole)...)
		}
		require.Equal(w, int64(len(want)), after.Size, what)
		require.True(w, bytes.Equal(want, w.contents(file)), what)
		if c.mode == punch {
			assert.LessOrEqual(w, after.Blocks, before.Blocks, what)
			if c.off == 0 && c.n > whole {
				assert.Zero(w, after.Blocks, what)
			}
		}
		w.isNow(after.Mtime, what)
		w.isNow(after.Ctime, what)
		// What was reserved can be written to.
		if c.mode == 0 {
			blocks := after.Blocks
			w.put(file, pattern(int(c.n), 8), c.off)
			assert.Equal(w, blocks, w.get(file).Blocks, what)
		}
		require.NoError(w, w.FS.Unlink(w.ctx, w.root, "x"))
	}
}
