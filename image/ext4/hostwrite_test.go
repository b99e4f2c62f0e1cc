package ext4

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// unhelpful is a device that cannot have the host copy anything.
type unhelpful struct{ blockio.Writable }

// What the host copies into a file is there, whatever the file system maps files
// with, and whether or not the host can; e2fsck finds nothing.
func TestHostCopiesIntoFiles(t *testing.T) {
	data := pattern(3<<20+5000, 3)
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, data, 0o644))
	f, err := os.Open(src)
	require.NoError(t, err)
	defer f.Close()
	fd := int(f.Fd())
	for _, form := range []form{
		{"default", nil}, {"ext2", []string{"-O", "^extent,^has_journal,^64bit", "-b", "1024"}},
		{"inline", []string{"-O", "inline_data", "-I", "256"}}, {"bigalloc", []string{"-O", "bigalloc", "-C", "16384"}},
	} {
		for _, able := range []bool{true, false} {
			for _, private := range []bool{true, false} {
				t.Run(form.name, func(t *testing.T) {
					name := mkfs(t, 64<<20, "", append([]string{"-t", "ext4"}, form.args...)...)
					file, err := blockio.OpenWritableFile(name)
					require.NoError(t, err)
					defer file.Close()
					var dev blockio.Writable = file
					if !able {
						dev = unhelpful{file}
					}
					s := blockio.NewSession(dev, blockio.SessionOptions{Atomic: true, Private: private})
					w, err := openWriter(ctx, s)
					require.NoError(t, err)
					hostCopies(t, w, fd, data)
					require.NoError(t, s.Commit(ctx))
					require.NoError(t, w.Close())
					require.NoError(t, s.Close())
					fsck(t, name)
					fs := openImage(t, name)
					a, err := fs.Lookup(ctx, fs.Root(), "copy")
					require.NoError(t, err)
					got := make([]byte, a.Size)
					_, err = fs.ReadAt(ctx, a.Ino, got, 0)
					require.NoError(t, err)
					assert.True(t, bytes.Equal(data, got))
				})
			}
		}
	}
}

func hostCopies(t *testing.T, w *Writer, fd int, data []byte) {
	create := func(name string) vfs.Ino {
		a, err := w.Create(ctx, w.Root(), name, vfs.NewNode{Mode: vfs.Regular | 0o644})
		require.NoError(t, err)
		return a.Ino
	}
	// Blocks of a file that is gone: they are not fresh, and may be used again.
	gone := create("gone")
	_, err := w.WriteAt(ctx, gone, make([]byte, 30<<20), 0)
	require.NoError(t, err)
	require.NoError(t, w.Unlink(ctx, w.Root(), "gone"))

	ino := create("copy")
	done := int64(0)
	for n := int64(1); n > 0; done += n {
		n, err = w.WriteFile(ctx, ino, fd, done, min(int64(len(data))-done, 1<<20), done)
		require.NoError(t, err)
		require.Zero(t, n%w.blockSize)
	}
	assert.EqualValues(t, int64(len(data))&^(w.blockSize-1), done)
	k, err := w.WriteAt(ctx, ino, data[done:], done)
	require.NoError(t, err)
	require.Equal(t, len(data[done:]), k)
	n, err := w.WriteFile(ctx, ino, fd, 0, 1<<20, done)
	require.NoError(t, err)
	assert.Zero(t, n, "not at the end of the file")

	// A file of the host that ends early leaves what was there.
	short := create("short")
	n, err = w.WriteFile(ctx, short, fd, int64(len(data))-8000, 1<<20, 0)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	a, gerr := w.Getattr(ctx, short)
	require.NoError(t, gerr)
	assert.Equal(t, n, a.Size)
	assert.Less(t, a.Size, int64(8000))

	flags := vfs.SystemImmutable
	_, err = w.Setattr(ctx, short, vfs.SetAttr{Flags: &flags})
	require.NoError(t, err)
	_, err = w.WriteFile(ctx, short, fd, 0, 1<<20, a.Size)
	assert.ErrorIs(t, err, syscall.EPERM)
	_, err = w.WriteFile(ctx, w.Root(), fd, 0, 1<<20, 0)
	assert.ErrorIs(t, err, syscall.EISDIR)

	// Until the file system is full.
	full := create("full")
	err = nil
	for at := int64(0); err == nil; at += n {
		n, err = w.WriteFile(ctx, full, fd, 0, 3<<20, at)
		require.True(t, n > 0 || err != nil, "no progress")
	}
	assert.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, w.Unlink(ctx, w.Root(), "full"))
}
