package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

const (
	flips        = 60 // damaged versions of each image
	flipMaxRSS   = 256 << 20
	flipMaxTime  = 20 * time.Second // for one image
	flipMaxBytes = 64 << 20         // read out of one image
	flipEnv      = "RESFLASH_FLIP_IMAGE"
)

// TestDamagedImages flips bytes in the metadata of images of every kind, and
// inspects and exports what is left. Errors are fine. Panics, endless work and
// unbounded memory are not. Each image has a process of its own with a limit
// of memory, that goes through all its damaged versions.
func TestDamagedImages(t *testing.T) {
	heavy(t)
	images := smallImages(t)
	require.GreaterOrEqual(t, len(images)*flips, 500)
	for _, name := range images {
		t.Run(filepath.Base(name), func(t *testing.T) {
			exe, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), flipEnv+"="+name, "GOMEMLIMIT=200MiB")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			require.NoErrorf(t, cmd.Run(), "%s", tailOf(out.Bytes()))
			var done, opened int
			var rss int64
			last := out.String()[strings.LastIndex(out.String(), "done "):]
			_, err = fmt.Sscanf(last, "done %d opened %d rss %d", &done, &opened, &rss)
			require.NoError(t, err, last)
			assert.Equal(t, flips, done)
			assert.Positive(t, opened, "every version was refused: the damage is too great to test anything")
			assert.Less(t, rss, int64(flipMaxRSS), "memory in bytes")
		})
	}
}

// smallImages makes one image of each kind, nearly all of it metadata.
func smallImages(t *testing.T) []string {
	t.Helper()
	testtool.Need(t, "makefs", "mke2fs", "mkfs.fat", "mcopy", "xorriso", "sfdisk")
	tr := newTree(t, kinds{posix: true})
	for i := range 60 {
		tr.file(fmt.Sprintf("dir%d/some file %d", i%5, i), i*i*10)
		tr.symlink(fmt.Sprintf("dir%d/link%d", i%5, i), strings.Repeat("x", 3*i+1))
	}
	tr.sparse("hole", 600_000, 1000, 0, 300_000, 599_000)
	require.NoError(t, os.Link(tr.path("hole"), tr.path("dir1/hard")))
	flat := newTree(t, kinds{})
	for i := range 60 {
		flat.file(fmt.Sprintf("dir%d/some file %d", i%5, i), i*i*10)
	}
	dir := t.TempDir()
	var out []string
	at := func(name string) string {
		out = append(out, filepath.Join(dir, name))
		return out[len(out)-1]
	}
	for _, f := range []ffsForm{{1, false, 4096, 512}, {1, true, 8192, 1024}, {2, false, 16384, 2048}, {2, true, 4096, 1024}} {
		order := "le"
		if f.big {
			order = "be"
		}
		testtool.Run(t, "makefs", "-t", "ffs", "-B", order, "-s", "4m", "-f", "200", "-o",
			fmt.Sprintf("version=%d,bsize=%d,fsize=%d", f.version, f.bsize, f.fsize), at(f.String()), tr.root)
	}
	for name, args := range map[string]string{"ext4": "-t ext4", "ext2": "-t ext2 -b 1024", "inline": "-t ext4 -O inline_data,^metadata_csum", "bigalloc": "-t ext4 -O bigalloc,^metadata_csum"} {
		testtool.Run(t, "mke2fs", append(strings.Fields(args), "-q", "-d", tr.root, at(name), "8m")...)
	}
	for name, args := range map[string]string{"fat12": "-F 12", "fat16": "-F 16 -s 1", "fat32": "-F 32 -s 1"} {
		image := at(name)
		require.NoError(t, os.WriteFile(image, nil, 0o644))
		size := int64(6 << 20)
		if name == "fat32" {
			size = 40 << 20
		}
		require.NoError(t, os.Truncate(image, size))
		testtool.Run(t, "mkfs.fat", append(strings.Fields(args), image)...)
		for i := range 5 {
			mtools(t, "mcopy", "-i", image, "-s", "-Q", flat.path(fmt.Sprintf("dir%d", i)), "::/")
		}
	}
	testtool.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", at("iso"), tr.root)
	require.NoError(t, testimage.Resflash(at("resflash"), testimage.Options{SizeMB: 128}))
	gpt := at("gpt")
	filled(t, gpt, 4<<20)
	testtool.Run(t, "sh", "-c", `printf 'label: gpt\nsize=1M\nsize=1M, name=two\n' | sfdisk -q "$0"`, gpt)
	return out
}

// flipChild goes through the damaged versions of one image, which it may change.
func flipChild() int {
	name := os.Getenv(flipEnv)
	// Go reserves address space generously: only what it writes to is limited.
	limit := unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		fmt.Println("setrlimit:", err)
		return 1
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	metadata, err := usedBytes(f)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	opened := 0
	for seed := range flips {
		rng := rand.New(rand.NewPCG(uint64(seed), uint64(len(metadata))))
		old := map[int64]byte{}
		for range 1 + rng.IntN(12) {
			off := metadata[rng.IntN(len(metadata))] + rng.Int64N(flipChunk)
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, off); err != nil {
				fmt.Println(err)
				return 1
			}
			if _, twice := old[off]; !twice {
				old[off] = b[0]
			}
			b[0] = byte(rng.Uint32())
			if _, err := f.WriteAt(b, off); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		// Should it panic or hang, this says with what.
		fmt.Printf("seed %d: %v\n", seed, old)
		watchdog := time.AfterFunc(flipMaxTime, func() { panic("took longer than " + flipMaxTime.String()) })
		opened += readAll(name)
		watchdog.Stop()
		for off, b := range old {
			if _, err := f.WriteAt([]byte{b}, off); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	fmt.Printf("done %d opened %d rss %d\n", flips, opened, maxRSS())
	return 0
}

// flipChunk is the length of the pieces that usedBytes tells apart.
const flipChunk = 64

// usedBytes returns the offsets of pieces that are worth damaging: those that
// are neither empty nor file contents.
func usedBytes(f *os.File) ([]int64, error) {
	var out []int64
	buf := make([]byte, flipChunk)
	for off := int64(0); ; {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		for off = data; off < end; off += int64(len(buf)) {
			n, err := f.ReadAt(buf, off)
			if n == 0 && err != nil {
				break
			}
			// File contents of these trees have no zeros at all.
			if zeros := bytes.Count(buf[:n], []byte{0}); zeros > 0 && zeros < n {
				out = append(out, off)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no metadata", f.Name())
	}
	return out, nil
}

// readAll opens all volumes of an image and reads all files. It returns 1 if
// there was anything to read.
func readAll(name string) int {
	ctx := context.Background()
	disk, err := image.Open(ctx, name)
	if err != nil {
		return 0
	}
	defer disk.Close()
	disk.Layout(ctx)
	disk.Problems()
	some := min(1, len(disk.Tables()))
	for _, p := range disk.Partitions() {
		vol, err := p.Volume(ctx)
		if err != nil {
			continue
		}
		if _, err := vol.FS.Statfs(ctx); err == nil {
			some = 1
		}
		image.IdentifyOS(ctx, vol.Tree)
		disk.Fstab(ctx, vol)
		opt := export.TarOptions{Options: export.Options{Problem: func(string, error) error { return nil }}}
		export.Tar(ctx, &boundedDiscard{left: flipMaxBytes}, vol.Tree, "/", opt)
	}
	return some
}

// boundedDiscard takes so many bytes and then fails: a sparse file may claim
// to be exabytes.
type boundedDiscard struct{ left int64 }

func (d *boundedDiscard) Write(p []byte) (int, error) {
	if d.left -= int64(len(p)); d.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// maxRSS is the most memory that this process had, in bytes.
func maxRSS() int64 {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, _ := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10
}
