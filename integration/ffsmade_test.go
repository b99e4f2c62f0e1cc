package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// A ffsShape is a file system to be made.
type ffsShape struct {
	version, bsize, fsize int
	size                  int64
}

func (s ffsShape) String() string {
	return fmt.Sprintf("FFS%d-%d-%d-%d", s.version, s.bsize, s.fsize, s.size)
}

// ffsSizes are all legal combinations of block and fragment sizes.
func ffsSizes() (all [][2]int) {
	for bs := 4096; bs <= 65536; bs *= 2 {
		for fs := max(bs/8, 512); fs <= bs; fs *= 2 {
			all = append(all, [2]int{bs, fs})
		}
	}
	return all
}

// formatFile makes a file system in a new file whose bytes are garbage, except
// for the boot blocks: where GRUB meets a hole as large as an indirect block, it
// takes the pointer 0 for one and looks there.
func formatFile(t testing.TB, s ffsShape, opt vfs.FormatOptions) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), s.String())
	f, err := os.Create(name)
	require.NoError(t, err)
	junk := bytes.Repeat([]byte{0xaa}, 1<<20)
	for at := int64(0); at < s.size; at += int64(len(junk)) {
		_, err := f.Write(junk[:min(int64(len(junk)), s.size-at)])
		require.NoError(t, err)
	}
	_, err = f.WriteAt(make([]byte, 8192), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	formatOver(t, name, s, opt)
	return name
}

func formatOver(t testing.TB, name string, s ffsShape, opt vfs.FormatOptions) {
	t.Helper()
	opt.Type, opt.BlockSize, opt.FragSize = fmt.Sprintf("ffs%d", s.version), s.bsize, s.fsize
	file, err := blockio.OpenWritableFile(name)
	require.NoError(t, err)
	session := blockio.NewSession(file, blockio.SessionOptions{})
	require.NoError(t, ffs.Format(session, opt))
	require.NoError(t, session.Commit(context.Background()))
	require.NoError(t, file.Close())
}

// Two formatters that share nothing but the description of newfs agree on every
// byte that matters, in every geometry.
func TestFFSMadeTwice(t *testing.T) {
	when := time.Unix(1728477296, 0)
	for version := 1; version <= 2; version++ {
		for _, sizes := range ffsSizes() {
			for _, size := range []int64{9 << 20, 32<<20 + 5*512} {
				s := ffsShape{version, sizes[0], sizes[1], size}
				ours, err := os.ReadFile(formatFile(t, s, vfs.FormatOptions{Time: when, MountPoint: "/cfg"}))
				require.NoError(t, err)
				theirs := make([]byte, size)
				for i := range theirs[8192:] {
					theirs[8192+i] = 0xaa
				}
				_, err = testimage.WriteFFS(bytesAt(theirs), size, testimage.FFSOptions{
					Version: version, BlockSize: s.bsize, FragSize: s.fsize, Time: when, Mounted: "/cfg"}, testimage.Tree{})
				require.NoError(t, err, s)
				compareMade(t, s, ours, theirs)
			}
		}
	}
}

// bytesAt is memory to write to.
type bytesAt []byte

func (b bytesAt) WriteAt(p []byte, off int64) (int, error) { return copy(b[off:], p), nil }

// compareMade compares what the second formatter wrote: random numbers aside,
// the first has to have the same there, and nothing of its own elsewhere.
func compareMade(t *testing.T, s ffsShape, ours, theirs []byte) {
	t.Helper()
	u32 := func(b []byte, off int64) int64 { return int64(int32(binary.LittleEndian.Uint32(b[off:]))) }
	loc, isize, gen := int64(65536), int64(256), int64(80)
	if s.version == 1 {
		loc, isize, gen = 8192, 128, 108
	}
	ncg, ipg, fpg := u32(theirs, loc+44), u32(theirs, loc+184), u32(theirs, loc+188)
	fs := int64(s.fsize)
	random := func(off int64) { // 4 bytes
		for _, b := range [][]byte{ours, theirs} {
			assert.NotZero(t, u32(b, off), "%v: random number at %d", s, off)
			clear(b[off : off+4])
		}
	}
	random(loc + 148) // fs_id
	for c := range ncg {
		group := c * fpg * fs
		backup := group + u32(theirs, loc+8)*fs
		random(backup + 148)
		// The copies are from before there was a root directory; the second
		// formatter has them as they are at the end.
		for _, b := range [][]byte{ours, theirs} {
			clear(b[backup+192 : backup+208])
			clear(b[backup+1008 : backup+1040])
		}
		inited := ipg
		if s.version == 2 {
			inited = u32(theirs, group+u32(theirs, loc+12)*fs+120)
		}
		for i := range inited {
			random(group + u32(theirs, loc+16)*fs + i*isize + gen)
		}
	}
	for at := 0; at < len(theirs); at++ {
		// What the second leaves alone, the first may fill with zeros.
		if ours[at] != theirs[at] && (theirs[at] != 0xaa || ours[at] != 0) {
			assert.Failf(t, "differs", "%v: byte %d is %#x and %#x", s, at, ours[at], theirs[at])
			return
		}
	}
}

// Foreign readers take what is made for an empty file system of the right size.
func TestFFSMadeEmpty(t *testing.T) {
	testtool.Need(t, "fsstat", "fls", "grub-fstest", "blkid")
	for version := 1; version <= 2; version++ {
		for _, sizes := range ffsSizes() {
			s := ffsShape{version, sizes[0], sizes[1], 24 << 20}
			image := formatFile(t, s, vfs.FormatOptions{Label: "madeforus", Time: time.Unix(1728477296, 0), MountPoint: "/usr/local"})
			stat := testtool.Run(t, "fsstat", image)
			assert.Contains(t, stat, fmt.Sprintf("File System Type: UFS %d", version), s)
			assert.Contains(t, stat, "Last Mount Point: /usr/local", s)
			assert.Regexp(t, fmt.Sprintf(`Block Size: %d\b`, s.bsize), stat, s)
			assert.Regexp(t, fmt.Sprintf(`Fragment Size: %d\b`, s.fsize), stat, s)
			assert.Contains(t, stat, "2024-10-09", s)
			for line := range strings.Lines(testtool.Run(t, "fls", "-r", "-p", image)) {
				assert.Regexp(t, `^V/V \d+:\t\$OrphanFiles\s*$`, line, s)
			}
			assert.Empty(t, strings.TrimSpace(strings.NewReplacer("./", "", "../", "").Replace(testtool.Run(t, "grub-fstest", image, "ls", "/"))), s)
			assert.Contains(t, testtool.Run(t, "blkid", "-p", image), `TYPE="ufs"`, s)
		}
	}
}

// What a volume was before does not show through.
func TestFFSMadeOverOthers(t *testing.T) {
	testtool.Need(t, "blkid", "mke2fs", "mkfs.fat", "xorriso", "mksquashfs", "mkswap")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644))
	for name, make := range map[string]func(image string){
		"ext4":     func(i string) { testtool.Run(t, "mke2fs", "-q", "-F", "-t", "ext4", i) },
		"FAT16":    func(i string) { testtool.Run(t, "mkfs.fat", "-F16", i) },
		"FAT32":    func(i string) { testtool.Run(t, "mkfs.fat", "-F32", "-s1", i) },
		"ISO":      func(i string) { isoInto(t, dir, i) },
		"squashfs": func(i string) { squashInto(t, dir, i) },
		"swap":     func(i string) { testtool.Run(t, "mkswap", i) },
	} {
		for version := 1; version <= 2; version++ {
			s := ffsShape{version, 16384, 2048, 64 << 20}
			image := filepath.Join(t.TempDir(), "image")
			require.NoError(t, os.WriteFile(image, nil, 0o644))
			require.NoError(t, os.Truncate(image, s.size))
			make(image)
			before, _ := exec.Command("blkid", "-p", image).CombinedOutput()
			require.Contains(t, string(before), "TYPE=", name)
			formatOver(t, image, s, vfs.FormatOptions{})
			after, err := exec.Command("blkid", "-p", image).CombinedOutput()
			require.NoError(t, err, "%s: %s", name, after)
			assert.Contains(t, string(after), `TYPE="ufs"`, "FFS%d over %s", version, name)
			wipefs, err := exec.Command("wipefs", "--noheadings", "-O", "TYPE", image).Output()
			require.NoError(t, err)
			assert.Regexp(t, `^(ufs\s+)+$`, string(wipefs), "FFS%d over %s", version, name)
		}
	}
}

func isoInto(t *testing.T, dir, image string) {
	t.Helper()
	iso := filepath.Join(t.TempDir(), "iso")
	testtool.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", iso, dir)
	overwrite(t, image, iso)
}

func squashInto(t *testing.T, dir, image string) {
	t.Helper()
	squash := filepath.Join(t.TempDir(), "squash")
	testtool.Run(t, "mksquashfs", dir, squash, "-quiet", "-no-progress")
	overwrite(t, image, squash)
}

// overwrite copies a file over the start of another.
func overwrite(t *testing.T, image, from string) {
	t.Helper()
	src, err := os.Open(from)
	require.NoError(t, err)
	defer src.Close()
	dst, err := os.OpenFile(image, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.Copy(dst, src)
	require.NoError(t, err)
	require.NoError(t, dst.Close())
}
