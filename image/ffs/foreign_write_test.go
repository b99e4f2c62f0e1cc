package ffs

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// File systems of NetBSD's makefs, with cluster summaries, other tables and
// superblocks at other places, are edited and keep their ways; foreign readers
// see what is in them.
func TestEditWhatMakefsWrote(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "fls", "icat")
	for _, l := range []layout{
		{1, false, 8192, 1024}, {2, false, 65536, 8192}, {2, false, 4096, 512}, {1, false, 16384, 16384},
	} {
		t.Run(l.String(), func(t *testing.T) {
			size := map[int64]int64{4096: 48 << 20, 65536: 40 << 20}[l.bsize]
			size = max(size, 24<<20)
			img := makeImage(t, l, size, makeTree(t, l.bsize, l.fsize), devices)
			if l.version == 2 && l.bsize == 65536 { // where sleuthkit looks
				img.moveSuper()
			}
			super := func() *ondisk.Super {
				s, err := ondisk.DecodeSuper(img.data[img.open().info.UsedOffset:], ondisk.Order{})
				require.NoError(t, err)
				return s
			}
			was := super()
			require.Equal(t, l.bsize < 65536, was.ContigSumSize > 0)
			w := openWriter(t, img.dev, blockio.SessionOptions{})
			edit(t, w)
			audit2(t, w, img.dev)
			now := super()
			assert.Equal(t, was.OldPostblFmt, now.OldPostblFmt)
			assert.Equal(t, was.SuperLoc, now.SuperLoc)
			assert.Equal(t, uint8(1), now.Clean)
			if l.version == 2 && l.bsize != 65536 {
				return
			}
			img.save()
			compareWithSleuthkit(t, w, img.name)
		})
	}
}

// edit does a bit of everything to a tree of [makeTree].
func edit(t *testing.T, w *Writer) {
	tree := vfs.NewTree(w)
	rnd := rand.New(rand.NewPCG(5, 6))
	dir := w.mustCreate(t, w.Root(), "new", vfs.Dir|0o755)
	for i := range 200 {
		ino := w.mustCreate(t, dir, fmt.Sprintf("file%d", i), vfs.Regular|0o644)
		w.mustWrite(t, ino, contents(int64(i), rnd.Int64N(40_000)), rnd.Int64N(20_000))
	}
	for i := 0; i < 200; i += 3 {
		require.NoError(t, w.Unlink(ctx, dir, fmt.Sprintf("file%d", i)))
	}
	many, err := tree.Resolve(ctx, "/many")
	require.NoError(t, err)
	for i := 0; i < 700; i += 2 {
		require.NoError(t, w.Unlink(ctx, many.Ino, fmt.Sprintf("file-%05d-of-many", i)))
	}
	sizes, err := tree.Resolve(ctx, "/sizes")
	require.NoError(t, err)
	for e, err := range w.ReadDir(ctx, sizes.Ino, 0) {
		require.NoError(t, err)
		size := rnd.Int64N(100_000)
		switch rnd.IntN(3) {
		case 0:
			_, err = w.Setattr(ctx, e.Ino, vfs.SetAttr{Size: &size})
		case 1:
			_, err = w.WriteAt(ctx, e.Ino, contents(size, 3000), size)
		case 2:
			err = w.Rename(ctx, sizes.Ino, e.Name, dir, "moved-"+e.Name, 0)
		}
		require.NoError(t, err)
	}
	_, err = w.Create(ctx, dir, "short", vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: "short"})
	require.NoError(t, err)
	_, err = w.Create(ctx, dir, "long", vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: strings.Repeat("long/", 150)})
	require.NoError(t, err)
	_, err = w.Create(ctx, dir, "null", vfs.NewNode{Mode: vfs.Char | 0o666, Rdev: vfs.Dev{Major: 2, Minor: 2}})
	require.NoError(t, err)
}

// compareWithSleuthkit holds what the writer says against what fls and icat read.
func compareWithSleuthkit(t *testing.T, w *Writer, name string) {
	theirs := map[string]string{}
	for line := range strings.Lines(testtool.Run(t, "fls", "-f", "ufs", "-r", "-p", "-u", name)) {
		kind, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		if ok && kind != "" && !strings.HasPrefix(path, "$") {
			theirs["/"+path] = kind[strings.LastIndexByte(kind, ' ')+1:]
		}
	}
	compared, read := 0, 0
	err := vfs.NewTree(w).Walk(ctx, "/", func(path string, a vfs.Attr, err error) error {
		require.NoError(t, err)
		if path == "/" || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil
		}
		require.Equal(t, fmt.Sprint(a.Ino), theirs[path], "%q", path)
		delete(theirs, path)
		if compared++; !a.Mode.IsRegular() || compared%25 != 0 || a.Size > 1<<20 {
			return nil
		}
		p := make([]byte, a.Size)
		if _, err := w.ReadAt(ctx, a.Ino, p, 0); err != io.EOF {
			require.NoError(t, err)
		}
		out := testtool.Run(t, "icat", "-f", "ufs", name, fmt.Sprint(a.Ino))
		assert.Equal(t, sha256.Sum256(p), sha256.Sum256([]byte(out)), "%s: %d bytes", path, len(out))
		read++
		return nil
	})
	require.NoError(t, err)
	for path := range theirs {
		assert.True(t, strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r > '~' || r == '^' }), "only they have %q", path)
	}
	assert.Greater(t, compared, 500)
	assert.Greater(t, read, 8)
}
