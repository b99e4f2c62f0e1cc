package iso9660_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/iso9660"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

const block = 2048

// both is a number in both byte orders.
func both(v uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, v)
	return binary.BigEndian.AppendUint32(b, v)
}

// dirRecord builds a directory record.
func dirRecord(name string, extent, size uint32, flags byte, systemUse ...[]byte) []byte {
	r := make([]byte, 33)
	copy(r[2:], both(extent))
	copy(r[10:], both(size))
	copy(r[18:], []byte{100, 1, 2, 3, 4, 5, 0})
	r[25], r[32] = flags, byte(len(name))
	r = append(r, name...)
	if len(r)%2 != 0 {
		r = append(r, 0)
	}
	r = append(r, bytes.Join(systemUse, nil)...)
	if len(r)%2 != 0 {
		r = append(r, 0)
	}
	r[0] = byte(len(r))
	return r
}

// use builds a system use entry.
func use(sig string, data ...[]byte) []byte {
	d := bytes.Join(data, nil)
	return append([]byte{sig[0], sig[1], byte(4 + len(d)), 1}, d...)
}

func px(mode uint32) []byte { return use("PX", both(mode), both(1), both(0), both(0)) }

var sp = use("SP", []byte{0xbe, 0xef, 0})

// volumeOf builds a volume of so many blocks with directories at the blocks
// given, the root at 20.
func volumeOf(blocks int, dirs map[int][][]byte) []byte {
	img := make([]byte, blocks*block)
	pvd := img[16*block:]
	copy(pvd, "\x01CD001\x01")
	copy(pvd[80:], both(uint32(blocks)))
	copy(pvd[128:], []byte{0, 8, 8, 0})
	copy(pvd[156:], dirRecord("\x00", 20, block, 2))
	copy(img[17*block:], "\xffCD001\x01")
	for at, records := range dirs {
		copy(img[at*block:], bytes.Join(records, nil))
	}
	return img
}

// dots are the first two records of a directory, with Rock Ridge.
func dots(self, parent uint32) [][]byte {
	return [][]byte{
		dirRecord("\x00", self, block, 2, sp, px(0o40755)),
		dirRecord("\x01", parent, block, 2, px(0o40755)),
	}
}

func openBytes(t testing.TB, img []byte) vfs.FS {
	t.Helper()
	fsys, err := iso9660.Open(ctx, blockio.NewMemory(img))
	require.NoError(t, err)
	return fsys
}

// walk reads everything that can be reached, and returns the first error. The
// work it does is bounded.
func walk(fsys vfs.FS, budget int) error {
	var first error
	note := func(err error) {
		if first == nil && err != nil && err != io.EOF {
			first = err
		}
	}
	buf := make([]byte, 64<<10)
	var visit func(dir vfs.Ino)
	visit = func(dir vfs.Ino) {
		for e, err := range fsys.ReadDir(ctx, dir, 0) {
			note(err)
			if budget--; err != nil || budget < 0 {
				return
			}
			a, err := fsys.Lookup(ctx, dir, e.Name)
			note(err)
			if a, err = fsys.Getattr(ctx, e.Ino); err != nil {
				note(err)
				continue
			}
			_, err = fsys.Readlink(ctx, e.Ino)
			if !errors.Is(err, syscall.EINVAL) {
				note(err)
			}
			if a.Mode.IsRegular() {
				_, err = fsys.ReadAt(ctx, e.Ino, buf, 0)
				note(err)
				_, err = fsys.ReadAt(ctx, e.Ino, buf[:10], max(a.Size-5, 0))
				note(err)
				_, _, err = fsys.(vfs.Mapper).Map(ctx, e.Ino, a.Size/2)
				note(err)
			}
			if e.Type == vfs.Dir {
				_, err = fsys.Lookup(ctx, e.Ino, "..")
				note(err)
				visit(e.Ino)
			}
		}
	}
	visit(fsys.Root())
	_, err := fsys.Statfs(ctx)
	note(err)
	fsys.Info()
	return first
}

// corrupt requires a CorruptError that says something.
func corrupt(t testing.TB, err error, says string) {
	t.Helper()
	var c *vfs.CorruptError
	require.ErrorAs(t, err, &c)
	assert.Contains(t, err.Error(), says)
}

// A directory that contains one of those above it does not make a walk
// endless.
func TestDirectoryLoop(t *testing.T) {
	for name, target := range map[string]uint32{"the root": 20, "its parent": 21, "itself": 22} {
		t.Run(name, func(t *testing.T) {
			fsys := openBytes(t, volumeOf(30, map[int][][]byte{
				20: append(dots(20, 20), dirRecord("A", 21, block, 2, px(0o40755))),
				21: append(dots(21, 20), dirRecord("B", 22, block, 2, px(0o40755))),
				22: append(dots(22, 21), dirRecord("C", target, block, 2, px(0o40755))),
			}))
			corrupt(t, walk(fsys, 1000), "directory")
		})
	}
	t.Run("relocation", func(t *testing.T) {
		fsys := openBytes(t, volumeOf(30, map[int][][]byte{
			20: append(dots(20, 20), dirRecord("A", 21, block, 2, px(0o40755))),
			21: append(dots(21, 20), dirRecord("B", 0, 0, 0, px(0o40755), use("CL", both(21)))),
		}))
		corrupt(t, walk(fsys, 1000), "directory")
	})
}

// A file in several extents is one file, as is one that the writer could not
// describe in 32 bits.
func TestMultiExtent(t *testing.T) {
	name := "BIG.;1"
	img := volumeOf(30, map[int][][]byte{20: {
		dirRecord("\x00", 20, block, 2), dirRecord("\x01", 20, block, 2),
		dirRecord(name, 22, block, 0x80), dirRecord(name, 23, block, 0x80), dirRecord(name, 21, 100, 0),
		dirRecord("NEXT.;1", 24, 5, 0),
	}})
	for i := 21; i < 25; i++ {
		copy(img[i*block:], bytes.Repeat([]byte{byte('0' + i - 20)}, block))
	}
	fsys := openBytes(t, img)
	a, err := fsys.Lookup(ctx, fsys.Root(), "big")
	require.NoError(t, err)
	assert.Equal(t, int64(2*block+100), a.Size)
	want := append(append(bytes.Repeat([]byte("2"), block), bytes.Repeat([]byte("3"), block)...), bytes.Repeat([]byte("1"), 100)...)
	assert.Equal(t, want, contents(t, fsys, a))
	off, n, err := fsys.(vfs.Mapper).Map(ctx, a.Ino, 10)
	require.NoError(t, err)
	assert.Equal(t, []int64{22*block + 10, 2*block - 10}, []int64{off, n}, "extents that touch are one")
	var names []string
	for e, err := range fsys.ReadDir(ctx, fsys.Root(), 0) {
		require.NoError(t, err)
		names = append(names, e.Name)
	}
	assert.Equal(t, []string{"big", "next"}, names)

	// 4 GiB and more, on a device with holes.
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse.iso"))
	require.NoError(t, err)
	defer f.Close()
	const most = 0xfffff800
	small := volumeOf(30, map[int][][]byte{20: {
		dirRecord("\x00", 20, block, 2), dirRecord("\x01", 20, block, 2),
		dirRecord(name, 30, most, 0x80), dirRecord(name, 30+most/block, most, 0),
	}})
	_, err = f.Write(small)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(30*block+2*most))
	_, err = f.WriteAt([]byte("end"), 30*block+2*most-3)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("seam"), 30*block+most-2)
	require.NoError(t, err)
	dev, err := blockio.OpenFile(f.Name())
	require.NoError(t, err)
	defer dev.Close()
	fsys, err = iso9660.Open(ctx, dev)
	require.NoError(t, err)
	a, err = fsys.Lookup(ctx, fsys.Root(), "big")
	require.NoError(t, err)
	assert.Equal(t, int64(2*most), a.Size)
	p := make([]byte, 4)
	_, err = fsys.ReadAt(ctx, a.Ino, p, most-2)
	require.NoError(t, err)
	assert.Equal(t, "seam", string(p))
	n2, err := fsys.ReadAt(ctx, a.Ino, p, 2*most-3)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, "end", string(p[:n2]))
}

// Continuation areas that lead to themselves, or nowhere.
func TestContinuationLoop(t *testing.T) {
	ce := func(at, length uint32) []byte { return use("CE", both(at), both(0), both(length)) }
	img := volumeOf(30, map[int][][]byte{
		20: append(dots(20, 20),
			dirRecord("LOOP", 25, 5, 0, px(0o100644), ce(21, 28)),
			dirRecord("FAR", 25, 5, 0, px(0o100644), ce(1<<31, 28)),
			dirRecord("LONG", 25, 5, 0, px(0o100644), ce(21, 1<<31)),
			dirRecord("FINE", 25, 5, 0, px(0o100644), use("NM", []byte("\x00fine")))),
		21: {ce(21, 28)},
	})
	fsys := openBytes(t, img)
	_, err := fsys.Lookup(ctx, fsys.Root(), "fine")
	assert.NoError(t, err, "other files in the directory can be read")
	_, err = fsys.Lookup(ctx, fsys.Root(), "absent")
	corrupt(t, err, "continuations")
	corrupt(t, walk(fsys, 1000), "continuations")
}

// Names that would lead elsewhere are not passed on.
func TestHostileNames(t *testing.T) {
	nm := func(name string) []byte { return use("NM", []byte{0}, []byte(name)) }
	fsys := openBytes(t, volumeOf(30, map[int][][]byte{20: append(dots(20, 20),
		dirRecord("ONE.;1", 25, 5, 0, px(0o100644), nm("../../etc/passwd")),
		dirRecord("TWO.;1", 25, 5, 0, px(0o100644), nm("..")),
		dirRecord("THREE.;1", 25, 5, 0, px(0o100644), nm("a\x00b")),
		dirRecord("A/C;1", 25, 5, 0, px(0o100644)),
	)}))
	var names []string
	for e, err := range fsys.ReadDir(ctx, fsys.Root(), 0) {
		require.NoError(t, err)
		names = append(names, e.Name)
		a, err := fsys.Lookup(ctx, fsys.Root(), e.Name)
		require.NoError(t, err)
		assert.Equal(t, e.Ino, a.Ino)
	}
	assert.Equal(t, []string{"..\ufffd..\ufffdetc\ufffdpasswd", "two", "a\ufffdb", "a\ufffdc"}, names)
}

// What cannot be read says so, file by file.
func TestUnsupportedFiles(t *testing.T) {
	zf := use("ZF", []byte("pz"), []byte{4, 15}, both(70000))
	interleaved := dirRecord("TAPE.;1", 25, 5, 0, px(0o100644))
	interleaved[26], interleaved[27] = 1, 1
	fsys := openBytes(t, volumeOf(30, map[int][][]byte{20: append(dots(20, 20),
		dirRecord("ZIP.;1", 25, 5, 0, px(0o100644), zf), interleaved)}))
	a, err := fsys.Lookup(ctx, fsys.Root(), "zip")
	require.NoError(t, err)
	assert.Equal(t, int64(70000), a.Size)
	for _, name := range []string{"zip", "tape"} {
		a, err := fsys.Lookup(ctx, fsys.Root(), name)
		require.NoError(t, err)
		var unsupported *vfs.NotSupportedError
		_, err = fsys.ReadAt(ctx, a.Ino, make([]byte, 10), 0)
		assert.ErrorAs(t, err, &unsupported)
	}
}

// Times in digits, with hundredths and a zone.
func TestLongTimes(t *testing.T) {
	tf := use("TF", []byte{0x80 | 2 | 4}, []byte("2024022913574233\x04"), []byte("2000010100000000\xfc"))
	fsys := openBytes(t, volumeOf(30, map[int][][]byte{20: append(dots(20, 20),
		dirRecord("F.;1", 25, 5, 0, px(0o100644), tf))}))
	a, err := fsys.Lookup(ctx, fsys.Root(), "f")
	require.NoError(t, err)
	assert.Equal(t, "2024-02-29T12:57:42.33Z", a.Mtime.Format("2006-01-02T15:04:05.99Z"))
	assert.Equal(t, "2000-01-01T01:00:00Z", a.Atime.Format("2006-01-02T15:04:05.99Z"))
	assert.Equal(t, a.Mtime, a.Ctime)
	assert.True(t, a.Btime.IsZero())
}

// CD-ROM XA puts 14 bytes before the system use entries.
func TestExtendedArchitecture(t *testing.T) {
	xa := append(make([]byte, 6), "XA\x00\x00\x00\x00\x00\x00"...)
	fsys := openBytes(t, volumeOf(30, map[int][][]byte{20: {
		dirRecord("\x00", 20, block, 2, xa, use("SP", []byte{0xbe, 0xef, 14}), px(0o40755)),
		dirRecord("\x01", 20, block, 2, xa, px(0o40755)),
		dirRecord("F.;1", 25, 5, 0, xa, px(0o100640), use("NM", []byte("\x00Name"))),
	}}))
	a, err := fsys.Lookup(ctx, fsys.Root(), "Name")
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o640, a.Mode)
}

// A device that ends early can be read as far as it goes.
func TestTruncated(t *testing.T) {
	img := volumeOf(30, map[int][][]byte{20: append(dots(20, 20), dirRecord("F.;1", 25, 9*block, 0, px(0o100644)))})
	fsys := openBytes(t, img[:27*block+5])
	assert.Contains(t, fsys.Info().StateNote, "the device only")
	a, err := fsys.Lookup(ctx, fsys.Root(), "f")
	require.NoError(t, err)
	n, err := fsys.ReadAt(ctx, a.Ino, make([]byte, 9*block), 0)
	assert.Equal(t, 2*block+5, n)
	corrupt(t, err, "beyond the end of the device")
}

func TestProbe(t *testing.T) {
	for name, img := range map[string][]byte{
		"empty": nil, "short": make([]byte, 16*block+6), "zeros": make([]byte, 40*block),
	} {
		ok, err := iso9660.Probe(blockio.NewMemory(img))
		assert.NoError(t, err, name)
		assert.False(t, ok, name)
		_, err = iso9660.Open(ctx, blockio.NewMemory(img))
		corrupt(t, err, "volume descriptor")
	}
}

// seeds makes small volumes of every kind.
func seeds(t testing.TB) [][]byte {
	testtool.Need(t, "xorriso", "genisoimage")
	b := newBuilder(t)
	b.file("README.TXT", 100, 0o644)
	b.file("1/2/3/4/5/6/7/8/9/deep", 5, 0o644)
	b.file("dir/"+strings.Repeat("n", 250), 3000, 0o600)
	b.link("link", strings.Repeat("up/", 30)+"x")
	b.node("fifo", 0o10644, 0, 0)
	var all [][]byte
	for _, args := range [][]string{
		{"xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-no-pad"},
		{"genisoimage", "-quiet", "-R", "-no-pad"},
		{"genisoimage", "-quiet", "-J", "-joliet-long", "-no-pad"},
		{"genisoimage", "-quiet", "-no-pad"},
	} {
		if args[len(args)-2] == "-joliet-long" || len(args) == 3 {
			require.NoError(t, os.RemoveAll(filepath.Join(b.root, "dir")))
		}
		data, err := os.ReadFile(makeISO(t, b.root, args...))
		require.NoError(t, err)
		all = append(all, data)
	}
	return all
}

// Damaged volumes are read without a panic, and come to an end.
func TestRandomFlips(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, seed := range seeds(t) {
		var used []int // bytes that are not zero say something
		for i, c := range seed[16*block:] {
			if c != 0 {
				used = append(used, 16*block+i)
			}
		}
		for range 150 {
			img := bytes.Clone(seed)
			for range 1 + rnd.IntN(30) {
				at := used[rnd.IntN(len(used))]
				img[at+rnd.IntN(3)-1] = byte(rnd.Uint32())
			}
			if fsys, err := iso9660.Open(ctx, blockio.NewMemory(img)); err == nil {
				_ = walk(fsys, 2000)
			}
		}
	}
}

// FuzzOpen opens and walks damaged volumes. Its input are the changes to one of
// the seeds, in four bytes each: offset and value. A whole volume would be too
// large for the fuzzer to work with.
func FuzzOpen(f *testing.F) {
	all := seeds(f)
	for i := range all {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0x0b, 0, 0, 2, 0x50, 0xa0, 0, 0xff})
	}
	f.Fuzz(func(_ *testing.T, which uint8, changes []byte) {
		img := bytes.Clone(all[int(which)%len(all)])
		for ; len(changes) >= 4; changes = changes[4:] {
			at := int(changes[0]) | int(changes[1])<<8 | int(changes[2])<<16
			img[at%len(img)] = changes[3]
		}
		dev := blockio.NewMemory(img)
		_, _ = iso9660.Probe(dev)
		if fsys, err := iso9660.Open(ctx, dev); err == nil {
			_ = walk(fsys, 500)
		}
	})
}
