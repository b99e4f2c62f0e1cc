package fat_test

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
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// An editor changes a volume in memory by its structures. It knows nothing of
// the driver.
type editor struct {
	t    testing.TB
	img  []byte
	bits ondisk.Bits
	fat  int // byte offset of the first table
	data int // byte offset of cluster 2
	size int // of a cluster
	root int // byte offset of the root directory
}

func edit(t testing.TB, img []byte) *editor {
	b := ondisk.DecodeBPB(img)
	e := &editor{t: t, img: bytes.Clone(img)}
	sector := int(b.BytesPerSector)
	fatSectors, total := int(b.FATSectors16), max(int(b.TotalSectors16), int(b.TotalSectors32))
	if fatSectors == 0 {
		fatSectors, e.bits = int(ondisk.DecodeBPB32(img).FATSectors), 32
	}
	e.fat = int(b.ReservedSectors) * sector
	e.root = e.fat + int(b.FATs)*fatSectors*sector
	e.data = e.root + int(b.RootEntries)*ondisk.DirentSize
	e.size = int(b.SectorsPerCluster) * sector
	if e.bits == 0 {
		e.bits = 12
		if (total*sector-e.data)/e.size >= ondisk.MinClusters16 {
			e.bits = 16
		}
	} else {
		e.root = e.data
	}
	return e
}

// link sets the table entry of a cluster, in the first table.
func (e *editor) link(cluster, next uint32) {
	at := e.img[e.fat+int(e.bits.Offset(cluster)):]
	switch {
	case e.bits == 16:
		binary.LittleEndian.PutUint16(at, uint16(next))
	case e.bits == 32:
		binary.LittleEndian.PutUint32(at, next)
	case cluster&1 != 0:
		binary.LittleEndian.PutUint16(at, uint16(at[0]&0x0f)|uint16(next)<<4)
	default:
		binary.LittleEndian.PutUint16(at, uint16(at[1]&0xf0)<<8|uint16(next))
	}
}

func (e *editor) cluster(n uint32) []byte {
	return e.img[e.data+int(n-2)*e.size:][:e.size]
}

// add writes a directory entry into the first slot at or behind the byte offset
// at that was never used.
func (e *editor) add(at int, name string, attr byte, cluster, size uint32) {
	for e.img[at] != 0 {
		at += ondisk.DirentSize
	}
	raw := e.img[at:][:ondisk.DirentSize]
	copy(raw, name)
	raw[11] = attr
	binary.LittleEndian.PutUint16(raw[20:], uint16(cluster>>16))
	binary.LittleEndian.PutUint16(raw[26:], uint16(cluster))
	binary.LittleEndian.PutUint32(raw[28:], size)
}

// mkdir makes an empty directory in a cluster.
func (e *editor) mkdir(cluster, parent uint32) {
	p := e.cluster(cluster)
	clear(p)
	e.link(cluster, e.bits.Mask())
	for i, name := range []string{".          ", "..         "} {
		copy(p[32*i:], name)
		p[32*i+11] = ondisk.AttrDir
		binary.LittleEndian.PutUint16(p[32*i+26:], uint16([]uint32{cluster, parent}[i]))
	}
}

func (e *editor) open() *fat.FS {
	e.t.Helper()
	return openDevice(e.t, blockio.NewMemory(e.img))
}

// volumes are empty ones of each width, in memory.
func volumes(t *testing.T, test func(t *testing.T, e *editor)) {
	for name, v := range map[string][]string{
		"FAT12": {"-F", "12", "-s", "1", "-a"}, "FAT16": {"-F", "16", "-s", "1"}, "FAT32": {"-F", "32", "-s", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			kib := map[string]int{"FAT12": 1024, "FAT16": 4096, "FAT32": 4096}[name]
			img, err := os.ReadFile(format(t, kib, v...))
			require.NoError(t, err)
			test(t, edit(t, img))
		})
	}
}

// file opens name in the root directory.
func file(t testing.TB, fsys vfs.FS, name string) vfs.Attr {
	t.Helper()
	a, err := fsys.Lookup(ctx, fsys.Root(), name)
	require.NoError(t, err)
	return a
}

// corrupt requires a CorruptError that says something.
func corrupt(t testing.TB, err error, says string) *vfs.CorruptError {
	t.Helper()
	var c *vfs.CorruptError
	require.ErrorAs(t, err, &c)
	assert.Contains(t, err.Error(), says)
	assert.ErrorIs(t, err, syscall.EIO)
	return c
}

// A chain that ends, leads nowhere or bites its tail is damage there, and what
// comes before can be read.
func TestDamagedChains(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		const good = 4 // clusters 10 to 13
		for _, c := range []struct {
			name string
			next uint32
			says string
		}{
			{"END        ", e.bits.Mask(), "ends before"},
			{"FREE       ", 0, "a free cluster"},
			{"RESERVED   ", 1, "a reserved value"},
			{"BAD        ", e.bits.Bad(), "a bad cluster"},
			{"BEYOND     ", e.bits.Bad() - 1, "beyond the last cluster"},
			{"SELF       ", 13, "comes back"},
			{"LOOP       ", 10, "comes back"},
		} {
			t.Run(strings.TrimSpace(c.name), func(t *testing.T) {
				e := edit(t, e.img)
				for n := uint32(10); n < 10+good-1; n++ {
					e.link(n, n+1)
				}
				e.link(13, c.next)
				e.add(e.root, c.name, 0, 10, 1<<20)
				fsys := e.open()
				a := file(t, fsys, strings.TrimSpace(c.name))
				p := make([]byte, 1<<20)
				n, err := fsys.ReadAt(ctx, a.Ino, p, 0)
				damage := corrupt(t, err, c.says)
				// A loop is found when it has been passed at most a few times.
				assert.GreaterOrEqual(t, n, good*e.size)
				assert.LessOrEqual(t, n, 4*good*e.size)
				assert.Equal(t, bytes.Repeat([]byte{stale}, good*e.size), p[:good*e.size])
				if strings.Contains(err.Error(), "file allocation table") {
					assert.GreaterOrEqual(t, damage.Off, int64(e.fat))
					assert.Less(t, damage.Off, int64(e.root))
				}
				_, err = fsys.ReadAt(ctx, a.Ino, p[:10], 1<<20-20)
				assert.ErrorIs(t, err, syscall.EIO, "and so at the end of the file")
				_, _, err = fsys.Map(ctx, a.Ino, 1<<19)
				assert.ErrorIs(t, err, syscall.EIO)
				_, n2, err := fsys.Map(ctx, a.Ino, 5)
				require.NoError(t, err)
				assert.Equal(t, int64(good*e.size)-5, n2)
			})
		}
	})
}

// A first cluster that does not exist is damage, but an empty file has none.
func TestFirstCluster(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		e.add(e.root, "NONE       ", 0, 0, 5)
		e.add(e.root, "ONE        ", 0, 1, 5)
		e.add(e.root, "FAR        ", 0, 0xfff0, 5)
		e.add(e.root, "EMPTY      ", 0, 0, 0)
		e.add(e.root, "EMPTYFAR   ", 0, 0xfff0, 0)
		e.add(e.root, "DIR0       ", ondisk.AttrDir, 0, 0)
		e.add(e.root, "DIRFAR     ", ondisk.AttrDir, 0xfff0, 0)
		fsys := e.open()
		for _, name := range []string{"NONE", "ONE", "FAR"} {
			_, err := fsys.ReadAt(ctx, file(t, fsys, name).Ino, make([]byte, 5), 0)
			assert.Equal(t, int64(e.root), corrupt(t, err, "begins in cluster").Off/512*512)
		}
		for _, name := range []string{"EMPTY", "EMPTYFAR"} {
			n, err := fsys.ReadAt(ctx, file(t, fsys, name).Ino, make([]byte, 5), 0)
			assert.Zero(t, n)
			assert.Equal(t, io.EOF, err)
		}
		for _, name := range []string{"DIR0", "DIRFAR"} {
			_, err := fsys.Lookup(ctx, fsys.Root(), name)
			corrupt(t, err, "begins in cluster")
		}
	})
}

// Directories that contain each other do not make a walk endless, and two that
// share clusters are not walked twice.
func TestDirectoryLoop(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		at := func(cluster uint32) int { return e.data + int(cluster-2)*e.size }
		for name, build := range map[string]func(e *editor){
			"up":        func(e *editor) { e.add(at(11), "LOOP       ", ondisk.AttrDir, 10, 0) },
			"in itself": func(e *editor) { e.add(at(10), "LOOP       ", ondisk.AttrDir, 10, 0) },
			"twice":     func(e *editor) { e.add(e.root, "SAME       ", ondisk.AttrDir, 10, 0) },
			"shared tail": func(e *editor) {
				e.mkdir(12, 0)
				e.add(e.root, "OTHER      ", ondisk.AttrDir, 12, 0)
				e.link(12, 11)
			},
			"chain in a circle": func(e *editor) { e.link(11, 11) },
		} {
			t.Run(name, func(t *testing.T) {
				e := edit(t, e.img)
				e.mkdir(10, 0)
				e.mkdir(11, 10)
				e.add(e.root, "A          ", ondisk.AttrDir, 10, 0)
				e.add(at(10), "B          ", ondisk.AttrDir, 11, 0)
				build(e)
				corrupt(t, walk(e.open(), 1000), "")
			})
		}
		if e.bits == 32 {
			t.Run("root", func(t *testing.T) {
				e := edit(t, e.img)
				e.add(e.root, "ROOT       ", ondisk.AttrDir, 2, 0)
				corrupt(t, walk(e.open(), 1000), "directory 1")
			})
		}
	})
}

// A directory whose chain breaks lists what is left, and then says so.
func TestBrokenDirectory(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		e.mkdir(10, 0)
		e.link(10, 0) // and the cluster is full
		for i := 2; i < e.size/32; i++ {
			e.add(e.data+8*e.size, "F"+string(rune('A'+i))+"         ", 0, 0, 0)
		}
		e.add(e.root, "D          ", ondisk.AttrDir, 10, 0)
		fsys := e.open()
		d := file(t, fsys, "d")
		names := 0
		var last error
		for _, err := range fsys.ReadDir(ctx, d.Ino, 0) {
			if last = err; err == nil {
				names++
			}
		}
		assert.Equal(t, e.size/32-2, names)
		corrupt(t, last, "a free cluster")
		_, err := fsys.Lookup(ctx, d.Ino, "fc")
		assert.NoError(t, err)
		_, err = fsys.Lookup(ctx, d.Ino, "not among them")
		corrupt(t, err, "a free cluster")
	})
}

// A device that ends early can be read as far as it goes.
func TestTruncatedDevice(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		for n := uint32(10); n < 14; n++ {
			e.link(n, n+1)
		}
		e.link(14, e.bits.Mask())
		e.add(e.root, "F          ", 0, 10, uint32(5*e.size))
		e.img = e.img[:e.data+10*e.size+7]
		fsys := e.open()
		assert.Contains(t, fsys.Info().StateNote, "the device only")
		n, err := fsys.ReadAt(ctx, file(t, fsys, "f").Ino, make([]byte, 5*e.size), 0)
		assert.Equal(t, 2*e.size+7, n)
		corrupt(t, err, "beyond the end of the device")
	})
}

// An old ".." (or a wrong one) does not hide a directory; a parent nobody has
// visited is found through it.
func TestParent(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		e.mkdir(10, 0)
		e.mkdir(11, 10)
		e.mkdir(12, 11)
		e.add(e.root, "A          ", ondisk.AttrDir, 10, 0)
		e.add(e.data+8*e.size, "B          ", ondisk.AttrDir, 11, 0)
		e.add(e.data+9*e.size, "C          ", ondisk.AttrDir, 12, 0)
		fsys := e.open()
		a := file(t, fsys, "a")
		b, err := fsys.Lookup(ctx, a.Ino, "b")
		require.NoError(t, err)
		c, err := fsys.Lookup(ctx, b.Ino, "c")
		require.NoError(t, err)
		fresh := e.open()
		for _, step := range []struct{ dir, up vfs.Ino }{{c.Ino, b.Ino}, {b.Ino, a.Ino}, {a.Ino, fsys.Root()}} {
			up, err := fresh.Lookup(ctx, step.dir, "..")
			require.NoError(t, err)
			assert.Equal(t, step.up, up.Ino)
		}
		binary.LittleEndian.PutUint16(e.cluster(12)[32+26:], 99)
		fsys = e.open()
		assert.NoError(t, walk(fsys, 100), "the tree is fine from above")
	})
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
			_, err = fsys.Lookup(ctx, dir, e.Name)
			note(err)
			a, err := fsys.Getattr(ctx, e.Ino)
			if err != nil {
				note(err)
				continue
			}
			if !a.Mode.IsDir() {
				_, err = fsys.ReadAt(ctx, e.Ino, buf, 0)
				note(err)
				_, err = fsys.ReadAt(ctx, e.Ino, buf[:10], max(a.Size-5, 0))
				note(err)
				_, _, err = fsys.(vfs.Mapper).Map(ctx, e.Ino, a.Size/2)
				note(err)
				continue
			}
			// It may be wrong: it is not what the tree is made of.
			_, _ = fsys.Lookup(ctx, e.Ino, "..")
			visit(e.Ino)
		}
	}
	visit(fsys.Root())
	_, err := fsys.Statfs(ctx)
	note(err)
	fsys.Info()
	return first
}

// seeds makes small volumes of every kind.
func seeds(t testing.TB) [][]byte {
	folder := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "a folder/and another"), 0o755))
	for i, name := range []string{"SHORT.TXT", "a long file name.txt", "Ünïcödé", "a folder/x", "a folder/and another/y.Y"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), bytes.Repeat([]byte("data"), 400*i), 0o644))
	}
	var all [][]byte
	for _, v := range []struct {
		kib  int
		args []string
	}{{128, []string{"-F", "12"}}, {2200, []string{"-F", "16", "-s", "1", "-f", "1"}}} {
		img := format(t, v.kib, append(v.args, "-n", "SEED")...)
		fill(t, img, folder)
		data, err := os.ReadFile(img)
		require.NoError(t, err)
		// What is behind the first clusters is not needed.
		e := edit(t, data)
		all = append(all, data[:min(len(data), e.data+60*e.size)])
	}
	// mtools takes a small FAT32 for something else.
	data, err := os.ReadFile(format(t, 256, "-F", "32", "-s", "1"))
	require.NoError(t, err)
	e := edit(t, data)
	e.mkdir(10, 0)
	e.add(e.root, "DIR        ", ondisk.AttrDir, 10, 0)
	e.add(e.data+8*e.size, "FILE       ", 0, 11, 700)
	e.link(11, 12)
	e.link(12, e.bits.Mask())
	return append(all, e.img[:e.data+60*e.size])
}

// Damaged volumes are read without a panic, and come to an end.
func TestRandomFlips(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, seed := range seeds(t) {
		e := edit(t, seed)
		// What lies behind some clusters was never written.
		var used []int
		for i, c := range seed[:min(e.data+40*e.size, len(seed))] {
			if c != 0 || i < 64 {
				used = append(used, i)
			}
		}
		for range 150 {
			img := bytes.Clone(seed)
			for range 1 + rnd.IntN(40) {
				at := used[rnd.IntN(len(used))]
				img[max(at+rnd.IntN(3)-1, 0)] = byte(rnd.Uint32())
			}
			dev := blockio.NewMemory(img)
			_, err := fat.Probe(dev)
			require.NoError(t, err)
			if fsys, err := fat.Open(ctx, dev); err == nil {
				_ = walk(fsys, 1000)
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
		_, _ = fat.Probe(dev)
		if fsys, err := fat.Open(ctx, dev); err == nil {
			_ = walk(fsys, 300)
		}
	})
}

// The state of a volume is told from both places that record it, and hints that
// disagree are.
func TestState(t *testing.T) {
	volumes(t, func(t *testing.T, e *editor) {
		ext := 0x25
		if e.bits == 32 {
			ext = 0x41
		}
		note := func(change func(e *editor)) (vfs.State, string) {
			e := edit(t, e.img)
			change(e)
			info := e.open().Info()
			return info.State, info.StateNote
		}
		state, text := note(func(*editor) {})
		assert.Equal(t, vfs.Clean, state)
		assert.Empty(t, text)
		state, text = note(func(e *editor) { e.img[ext] |= 1 })
		assert.Equal(t, vfs.Dirty, state)
		assert.Contains(t, text, "dirty bit")
		if e.bits > 12 {
			state, text = note(func(e *editor) { e.link(1, e.bits.Mask()&^(e.bits.Mask()/2+1)) })
			assert.Equal(t, vfs.Dirty, state)
			assert.Contains(t, text, "not marked clean")
		}
		if e.bits < 32 {
			return
		}
		state, text = note(func(e *editor) { e.link(50, e.bits.Mask()) })
		assert.Equal(t, vfs.Clean, state)
		assert.Contains(t, text, "FSInfo says")
		_, text = note(func(e *editor) { e.img[512]++ })
		assert.Contains(t, text, "bad signatures")
		_, text = note(func(e *editor) { e.img[90]++ })
		assert.Contains(t, text, "differs from the boot sector")
		// The second table is the active one, and the first stale.
		_, text = note(func(e *editor) {
			half := (e.root - e.fat) / 2
			copy(e.img[e.fat+half:], e.img[e.fat:e.fat+half])
			e.img[0x28], e.img[6*512+0x28] = 0x81, 0x81
			e.link(50, e.bits.Mask())
		})
		assert.Empty(t, text)
	})
}

// What is no FAT volume is not taken for one.
func TestProbe(t *testing.T) {
	img, err := os.ReadFile(format(t, 1024, "-F", "12"))
	require.NoError(t, err)
	probe := func(change func(p []byte)) bool {
		p := bytes.Clone(img)
		change(p)
		ok, err := fat.Probe(blockio.NewMemory(p))
		require.NoError(t, err)
		return ok
	}
	partition := func(p []byte, start, size uint32) {
		e := p[446:]
		e[4] = 0x0c
		binary.LittleEndian.PutUint32(e[8:], start)
		binary.LittleEndian.PutUint32(e[12:], size)
	}
	assert.True(t, probe(func([]byte) {}))
	assert.True(t, probe(func(p []byte) { p[510], p[511] = 0, 0 }), "floppies of MS-DOS 2 have no signature")
	assert.True(t, probe(func(p []byte) { p[512] = 0 }), "one damaged table")
	assert.True(t, probe(func(p []byte) { partition(p, 0, 2048) }), "the table of mkfs.fat --mbr")
	for name, change := range map[string]func(p []byte){
		"no jump":        func(p []byte) { p[0] = 0 },
		"sector size":    func(p []byte) { p[11] = 1 },
		"cluster size":   func(p []byte) { p[13] = 3 },
		"no cluster":     func(p []byte) { p[13] = 0 },
		"not reserved":   func(p []byte) { p[14], p[15] = 0, 0 },
		"no tables":      func(p []byte) { p[16] = 0 },
		"no root":        func(p []byte) { p[17], p[18] = 0, 0 },
		"no sectors":     func(p []byte) { clear(p[19:21]); clear(p[32:36]) },
		"media":          func(p []byte) { p[21] = 0xf1 },
		"no table":       func(p []byte) { p[22], p[23] = 0, 0 },
		"long table":     func(p []byte) { p[22], p[23] = 255, 255 },
		"NTFS":           func(p []byte) { copy(p[3:], "NTFS    "); clear(p[14:21]); clear(p[22:24]) },
		"exFAT":          func(p []byte) { copy(p[3:], "EXFAT   "); clear(p[11:64]) },
		"OpenBSD":        func(p []byte) { copy(p[3:], "OpenBSD\x00\x00\x02\x02\x00\x00\x00\x00\x00\x00\x00\x00\xf8") },
		"a partition":    func(p []byte) { partition(p, 63, 1000) },
		"zeros":          func(p []byte) { clear(p[:512]) },
		"another's data": func(p []byte) { clear(p[512:8192]); clear(p[0x26:0x3e]) },
	} {
		assert.False(t, probe(change), name)
	}
	for _, n := range []int{0, 1, 511} {
		ok, err := fat.Probe(blockio.NewMemory(img[:n]))
		assert.NoError(t, err)
		assert.False(t, ok)
		_, err = fat.Open(ctx, blockio.NewMemory(img[:n]))
		corrupt(t, err, "boot sector")
	}
	disk := filepath.Join(t.TempDir(), "disk")
	testtool.Need(t, "sfdisk")
	require.NoError(t, os.WriteFile(disk, make([]byte, 8<<20), 0o644))
	testtool.Run(t, "sh", "-c", "echo 2048,,c | sfdisk -q "+disk)
	ok, err := fat.Probe(blockio.NewMemory(must(os.ReadFile(disk))))
	assert.NoError(t, err)
	assert.False(t, ok)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A failing device is an error of its own, not damage.
func TestReadErrors(t *testing.T) {
	img := must(os.ReadFile(format(t, 1024, "-F", "12")))
	e := edit(t, img)
	e.add(e.root, "F          ", 0, 10, 100)
	e.link(10, e.bits.Mask())
	broken := errors.New("broken")
	for _, bad := range []int{0, e.fat, e.root, e.data + 8*e.size} {
		dev := &failing{blockio.NewMemory(e.img), int64(bad), broken}
		fsys, err := fat.Open(ctx, dev)
		if err == nil {
			err = walk(fsys, 10)
		}
		assert.ErrorIs(t, err, broken)
		var c *vfs.CorruptError
		assert.False(t, errors.As(err, &c))
	}
}

// failing is a device that cannot read one of its bytes.
type failing struct {
	*blockio.Memory
	bad int64
	err error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(p)) {
		return 0, f.err
	}
	return f.Memory.ReadAt(p, off)
}
