package vfstest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// hostFiles has contents come straight from a file of the host.
func (w *writing) hostFiles() {
	hw, ok := w.FS.(vfs.HostWriter)
	if !ok {
		w.Skip("no HostWriter")
	}
	bs := int64(w.FS.Info().BlockSize)
	data := pattern(2<<20+777, 5)
	name := filepath.Join(w.TempDir(), "src")
	require.NoError(w, os.WriteFile(name, data, 0o644))
	f, err := os.Open(name)
	require.NoError(w, err)
	defer f.Close()
	fd, size := int(f.Fd()), int64(len(data))

	// What was used and is free again is used for it, too.
	gone := w.make(w.root, "gone", vfs.Regular).Ino
	w.put(gone, pattern(24<<20, 1), 0)
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "gone"))

	file := w.make(w.root, "file", vfs.Regular).Ino
	done := int64(0)
	for n := int64(1); n > 0; done += n {
		w.tick()
		n, err = hw.WriteFile(w.ctx, file, fd, done, min(size-done, 500_000), done)
		require.NoError(w, err)
		if n > 0 {
			w.isNow(w.get(file).Mtime, "writing")
		}
		require.True(w, bytes.Equal(data[:done+n], w.contents(file)), "%d bytes", done+n)
	}
	w.put(file, data[done:], done)
	require.True(w, bytes.Equal(data, w.contents(file)))
	for _, off := range []int64{0, bs, size, size + bs} {
		n, err := hw.WriteFile(w.ctx, file, fd, 0, 4*bs, off)
		require.NoError(w, err)
		if n > 0 { // as WriteAt does it
			data = append(data[:off], append(bytes.Clone(data[:n]), data[min(off+n, int64(len(data))):]...)...)
		}
		require.True(w, bytes.Equal(data, w.contents(file)), "at %d", off)
	}

	short := w.make(w.root, "short", vfs.Regular).Ino
	n, err := hw.WriteFile(w.ctx, short, fd, size-bs-1, 10*bs, 0)
	require.ErrorIs(w, err, io.ErrUnexpectedEOF)
	require.Equal(w, n, w.get(short).Size)
	require.LessOrEqual(w, n, bs)
	_, err = hw.WriteFile(w.ctx, w.root, fd, 0, bs, 0)
	assert.ErrorIs(w, err, syscall.EISDIR)
	_, err = hw.WriteFile(w.ctx, short, -1, 0, bs, w.get(short).Size)
	assert.ErrorIs(w, err, syscall.EBADF)

	full := w.make(w.root, "full", vfs.Regular).Ino
	err = nil
	for at := int64(0); err == nil; at += n {
		n, err = hw.WriteFile(w.ctx, full, fd, 0, size, at)
		require.True(w, n > 0 || err != nil, "no progress at %d", at)
	}
	assert.ErrorIs(w, err, syscall.ENOSPC)
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "full"))
	require.True(w, bytes.Equal(data, w.contents(file)))
}
