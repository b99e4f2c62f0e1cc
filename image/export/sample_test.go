package export_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// sample is a file system with everything that an archive can hold, and what
// makes archivers stumble.
func sample() *memfs.FS {
	fs := memfs.New()
	own := func(uid, gid uint32) memfs.Setter {
		return func(a *vfs.Attr) { a.UID, a.GID = uid, gid }
	}
	mode := func(m vfs.Mode) memfs.Setter { return func(a *vfs.Attr) { a.Mode = a.Mode.Type() | m } }
	at := func(sec, nsec int64) memfs.Setter {
		return func(a *vfs.Attr) { a.Mtime = time.Unix(sec, nsec) }
	}
	fs.AddDir("/bin", mode(0o1777), at(1e9, 0))
	fs.AddFile("/bin/su", []byte("program"), mode(0o4755), own(0, 0))
	fs.AddFile("/bin/write", []byte("program"), mode(0o2555), own(1000, 4))
	fs.AddDir("/etc", at(1234567890, 123456789))
	fs.AddFile("/etc/empty", nil, mode(0o400))
	fs.AddFile("/etc/fstab", []byte("/dev/sd0a / ffs rw 1 1\n"), at(1700000000, 5))
	fs.AddFile("/etc/before-1970", nil, at(-12345, 250000000))
	fs.AddFile("/etc/old", []byte("x"), at(-1, 0))
	fs.AddFile("/etc/large-ids", []byte("y"), own(3000000, 4294967294))
	for i := range 300 {
		fs.AddLink("/etc/fstab", fmt.Sprintf("/etc/fstab.%03d", i))
	}
	fs.AddSymlink("/etc/link", "fstab")
	fs.AddSymlink("/etc/absolute", "/nowhere/at/all")
	fs.AddSymlink("/etc/long", strings.Repeat("../long/", 100)+"end")
	fs.AddDir("/dev")
	fs.AddDevice("/dev/null", vfs.Char, vfs.Dev{Major: 1, Minor: 3}, mode(0o666))
	fs.AddDevice("/dev/sd0a", vfs.Block, vfs.Dev{Major: 4, Minor: 66000}, own(0, 5))
	fs.AddFIFO("/dev/fifo", mode(0o622))
	long := strings.Repeat("n", 255)
	fs.AddDir("/" + long)
	fs.AddFile("/"+long+"/"+long, []byte("long"))
	fs.AddDir("/names")
	for _, name := range []string{"with space", "tab\there", "new\nline", `back\slash`, "#hash", "*glob?[a]", "-dash", "ümläut", "eq=ual", "日本語", "\xff\xfe not utf-8", "~tilde", "ab\x01c"} {
		fs.AddFile("/names/"+name, []byte(name))
	}
	rng := rand.NewChaCha8([32]byte{})
	random := func(n int) []byte {
		p := make([]byte, n)
		rng.Read(p)
		return p
	}
	fs.AddDir("/data")
	for _, n := range []int{1, 511, 512, 513, 4095, 4096, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20} {
		fs.AddFile(fmt.Sprintf("/data/%d", n), random(n))
	}
	fs.AddSparse("/data/all-hole", 3<<20, nil)
	fs.AddSparse("/data/hole-first", 5<<20, []memfs.Data{{Off: 4 << 20, Bytes: random(1 << 20)}})
	fs.AddSparse("/data/hole-last", 5<<20, []memfs.Data{{Off: 0, Bytes: random(100)}})
	fs.AddSparse("/data/holes", 9<<20, []memfs.Data{
		{Off: 8192, Bytes: random(8192)}, {Off: 1 << 20, Bytes: random(5000)}, {Off: 6 << 20, Bytes: random(1 << 20)},
	})
	fs.AddSparse("/data/ümläut-hole", 1<<20, []memfs.Data{{Off: 500000, Bytes: []byte("here")}})
	fs.AddFile("/data/xattrs", []byte("z"))
	fs.AddXattr("/data/xattrs", "user.comment", []byte("a comment"))
	fs.AddXattr("/data/xattrs", "user.binary", []byte("\x00\x01\nnew line\xff"))
	fs.AddXattr("/data", "user.of.directory", []byte("yes"))
	return fs
}

// tree returns the tree of a file system.
func tree(fs vfs.FS) *vfs.Tree { return vfs.NewTree(fs) }

// needRoot skips tests in which foreign programs must set owners and make
// devices.
func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may set owners and make devices")
	}
}

// fault is a file system with damage.
type fault struct {
	vfs.FS
	failAt  map[vfs.Ino]int64          // reads of these files fail behind this offset
	entries map[vfs.Ino][]vfs.DirEntry // directories with other entries than they have
}

func (f *fault) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	at, ok := f.failAt[ino]
	if !ok || off+int64(len(p)) <= at {
		return f.FS.ReadAt(ctx, ino, p, off)
	}
	n := 0
	if off < at {
		n, _ = f.FS.ReadAt(ctx, ino, p[:at-off], off)
	}
	return n, vfs.Corruptf(at, "block", "cannot be right")
}

func (f *fault) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	list, ok := f.entries[dir]
	if !ok {
		return f.FS.ReadDir(ctx, dir, cookie)
	}
	return func(yield func(vfs.DirEntry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (f *fault) SeekData(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.FS.(vfs.HoleSeeker).SeekData(ctx, ino, off)
}

func (f *fault) SeekHole(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.FS.(vfs.HoleSeeker).SeekHole(ctx, ino, off)
}

// attr finds a file, which must be there.
func attr(t *testing.T, fs vfs.FS, path string) vfs.Attr {
	t.Helper()
	a, err := tree(fs).ResolveLink(context.Background(), path)
	require.NoError(t, err)
	return a
}

// read returns the contents of a file in an image.
func read(t *testing.T, fs vfs.FS, a vfs.Attr) []byte {
	t.Helper()
	p := make([]byte, a.Size)
	if a.Size == 0 {
		return p
	}
	n, err := fs.ReadAt(context.Background(), a.Ino, p, 0)
	if n < len(p) {
		require.NoError(t, err)
	}
	return p
}

// sameFiles compares the files of the host below dir with those of fs.
func sameFiles(t *testing.T, fs vfs.FS, dir string, skip ...string) {
	t.Helper()
	seen := 0
	links := map[vfs.Ino]uint64{}
	err := tree(fs).Walk(context.Background(), "/", func(p string, a vfs.Attr, err error) error {
		require.NoError(t, err)
		for _, s := range skip {
			if p == s {
				return nil
			}
		}
		seen++
		var st syscall.Stat_t
		if err := syscall.Lstat(dir+p, &st); err != nil {
			t.Errorf("%s: %v", p, err)
			return nil
		}
		want := fmt.Sprintf("mode %o uid %d gid %d size %d time %d.%09d", uint32(a.Mode), a.UID, a.GID, a.Size, a.Mtime.Unix(), a.Mtime.Nanosecond())
		size := st.Size
		if a.Mode.IsDir() {
			size = a.Size
		}
		got := fmt.Sprintf("mode %o uid %d gid %d size %d time %d.%09d", st.Mode, st.Uid, st.Gid, size, st.Mtim.Sec, st.Mtim.Nsec)
		if want != got {
			t.Errorf("%q: want %s, got %s", p, want, got)
		}
		switch {
		case a.Mode.IsRegular():
			data, err := os.ReadFile(dir + p)
			require.NoError(t, err)
			if !bytes.Equal(read(t, fs, a), data) {
				t.Errorf("%q: contents differ", p)
			}
			if allocated := st.Blocks * 512; a.Size > 1<<20 && allocated > a.Blocks*512+64<<10 {
				t.Errorf("%q: %d bytes allocated, %d in the image: the holes are gone", p, allocated, a.Blocks*512)
			}
		case a.Mode.IsSymlink():
			want, err := fs.Readlink(context.Background(), a.Ino)
			require.NoError(t, err)
			got, err := os.Readlink(dir + p)
			require.NoError(t, err)
			if want != got {
				t.Errorf("%q: points to %q, want %q", p, got, want)
			}
		case a.Mode.IsDevice():
			if st.Rdev != a.Rdev.Linux() {
				t.Errorf("%q: device %#x, want %#x", p, st.Rdev, a.Rdev.Linux())
			}
		}
		if !a.Mode.IsDir() && a.Nlink > 1 {
			if ino, ok := links[a.Ino]; ok && ino != st.Ino {
				t.Errorf("%q: not a hard link", p)
			}
			links[a.Ino] = st.Ino
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 1)
}
