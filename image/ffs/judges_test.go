package ffs

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// moveSuper moves the superblock from 8192, where makefs puts it, to 65536,
// where FFS2 has it. That works with blocks of 64K, where only the copy of the
// first group is in the way.
func (img *image) moveSuper() {
	g := &img.open().geo
	require.Equal(img.t, int64(65536), g.blockSize)
	copy(img.data[65536:], img.data[8192:][:ondisk.SuperSize])
	clear(img.data[8192:][:ondisk.SuperSize])
	g.order.PutU64(img.data[65536+1000:], 65536)
	img.save()
}

// The Sleuth Kit finds the same names with the same inodes, and reads the same
// bytes.
func TestReadLikeSleuthKit(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "fls", "icat", "istat")
	for _, l := range []layout{
		{1, false, 8192, 1024}, {1, true, 16384, 2048}, {2, false, 65536, 8192}, {2, true, 65536, 16384},
	} {
		t.Run(l.String(), func(t *testing.T) {
			dir := makeTree(t, l.bsize, l.fsize)
			img := makeImage(t, l, 40<<20, dir, devices)
			img.save()
			if l.version == 2 {
				img.moveSuper()
			}
			f := img.open()

			theirs := map[string]string{}
			for line := range strings.Lines(testtool.Run(t, "fls", "-f", "ufs", "-r", "-p", "-u", img.name)) {
				kind, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
				if ok && kind != "" && !strings.HasPrefix(path, "$") {
					theirs["/"+path] = kind
				}
			}
			letters := map[vfs.Mode]string{
				vfs.Regular: "r/r", vfs.Dir: "d/d", vfs.Symlink: "l/l", vfs.Char: "c/c", vfs.Block: "b/b", vfs.FIFO: "p/p",
			}
			compared, read, files := 0, 0, 0
			err := vfs.NewTree(f).Walk(ctx, "/", func(path string, a vfs.Attr, err error) error {
				require.NoError(t, err)
				if path == "/" || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r > '~' }) {
					return nil // fls changes what a terminal cannot show
				}
				require.Equal(t, fmt.Sprintf("%s %d", letters[a.Mode.Type()], a.Ino), theirs[path], "%q", path)
				compared++
				if !strings.HasPrefix(path, "/sizes/") && !strings.HasPrefix(path, "/symlinks/") {
					return nil
				}
				var ours string
				if a.Mode.IsSymlink() {
					ours, err = f.Readlink(ctx, a.Ino)
					require.NoError(t, err)
				} else {
					p := make([]byte, a.Size)
					if _, err := f.ReadAt(ctx, a.Ino, p, 0); err != io.EOF {
						require.NoError(t, err)
					}
					ours = string(p)
				}
				if files++; a.Mode.IsRegular() && files%3 != 0 {
					return nil // a process for each takes its time
				}
				var out string
				if a.Mode.IsSymlink() && a.Blocks == 0 { // icat shows zeros; istat knows
					_, out, _ = strings.Cut(testtool.Run(t, "istat", "-f", "ufs", img.name, fmt.Sprint(a.Ino)), "symbolic link to: ")
					out, _, _ = strings.Cut(out, "\n")
				} else {
					out = testtool.Run(t, "icat", "-f", "ufs", img.name, fmt.Sprint(a.Ino))
				}
				assert.True(t, out == ours, "%s: they read %d bytes, we read %d", path, len(out), len(ours))
				read++
				return nil
			})
			require.NoError(t, err)
			assert.Greater(t, compared, 800)
			assert.Greater(t, read, 20)
		})
	}
}

// GRUB, whose reader is what boots such systems, reads the same bytes, also
// under long names.
func TestReadLikeGRUB(t *testing.T) {
	testtool.Need(t, "grub-fstest")
	for _, l := range []layout{{1, false, 16384, 2048}, {2, false, 4096, 1024}, {2, false, 32768, 32768}} {
		t.Run(l.String(), func(t *testing.T) {
			dir := makeTree(t, l.bsize, l.fsize)
			img := makeImage(t, l, 40<<20, dir, devices)
			img.save()
			tree := vfs.NewTree(img.open())
			paths := []string{"/names/" + strings.Repeat("n", longName), "/names/日本語", "/links/299"}
			for i, size := range sizes(l.bsize, l.fsize) {
				if i%3 == 0 {
					paths = append(paths, fmt.Sprintf("/sizes/%d", size))
				}
			}
			for _, path := range paths {
				a, err := tree.Resolve(ctx, path)
				require.NoError(t, err, path)
				ours := make([]byte, a.Size)
				if _, err := tree.FS().ReadAt(ctx, a.Ino, ours, 0); err != io.EOF {
					require.NoError(t, err)
				}
				theirs := testtool.Run(t, "grub-fstest", img.name, "cat", "(loop0)"+path)
				assert.True(t, string(ours) == theirs, "%s: GRUB reads %d bytes, we read %d", path, len(theirs), len(ours))
			}
		})
	}
}

// The identifier is the one that blkid prints.
func TestUUIDLikeBlkid(t *testing.T) {
	testtool.Need(t, "blkid")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/x", []byte("x"), 0o644))
	for _, l := range layouts(8192, 1024) {
		img := makeImage(t, l, 4<<20, dir, "")
		img.setSuper(func(s *ondisk.Super, _ ondisk.Order) { s.ID = [2]uint32{0x0123abcd, 0xfe} })
		img.save()
		out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "UUID", img.name).Output()
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSpace(string(out)), img.open().Info().UUID, "%v", l)
		assert.Equal(t, "0123abcd000000fe", img.open().Info().UUID, "%v", l)
	}
}
