package fat_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// addLong writes a long name before the entry of a short one.
func (e *editor) addLong(units []uint16, short string, attr byte) {
	d := ondisk.Dirent{Name: [11]byte([]byte(short))}
	parts := (len(units) + 12) / 13
	padded := slices.Clone(units)
	for i := len(units); i < parts*13; i++ {
		padded = append(padded, map[bool]uint16{true: 0, false: 0xffff}[i == len(units)])
	}
	for n := parts; n > 0; n-- {
		l := ondisk.Long{Ord: uint8(n), Attr: ondisk.AttrLong, Checksum: d.Checksum()}
		if n == parts {
			l.Ord |= ondisk.LongLast
		}
		p := padded[(n-1)*13:]
		copy(l.Name1[:], p)
		copy(l.Name2[:], p[5:])
		copy(l.Name3[:], p[11:13])
		raw, err := binary.Append(nil, binary.LittleEndian, l)
		require.NoError(e.t, err)
		at := e.root
		for e.img[at] != 0 {
			at += ondisk.DirentSize
		}
		copy(e.img[at:], raw)
	}
	e.add(e.root, short, attr, 0, 0)
}

func names(t testing.TB, fsys vfs.FS, dir vfs.Ino) []string {
	t.Helper()
	var list []string
	for e, err := range fsys.ReadDir(ctx, dir, 0) {
		require.NoError(t, err)
		list = append(list, e.Name)
		a, err := fsys.Lookup(ctx, dir, e.Name)
		require.NoError(t, err, e.Name)
		assert.Equal(t, e.Ino, a.Ino, e.Name)
	}
	return list
}

func TestLongNames(t *testing.T) {
	testtool.Need(t, "grub-fstest")
	e := edit(t, must(os.ReadFile(format(t, 1024, "-F", "12"))))
	var want []string
	n := 0
	add := func(shown string, units []uint16) {
		n++
		e.addLong(units, fmt.Sprintf("LONG%04dTXT", n), 0)
		want = append(want, shown)
	}
	for _, name := range []string{
		"emoji 😀 and 🇺🇳.txt", "thirteen code", strings.Repeat("a", 254) + "b", strings.Repeat("😀", 127), strings.Repeat("語", 255), ".profile",
	} {
		add(name, utf16.Encode([]rune(name)))
	}
	valid := len(want)
	add("half\ufffd", []uint16{'h', 'a', 'l', 'f', 0xd83d})
	add("\ufffdother", []uint16{0xde00, 'o', 't', 'h', 'e', 'r'})
	add("\ufffd\ufffd", []uint16{0xde00, 0xd83d})
	add("..\ufffd..\ufffdetc", utf16.Encode([]rune("../../etc")))
	// These are not valid, and the short name is shown.
	add("LONG0011.TXT", []uint16{'.', '.'})
	add("LONG0012.TXT", utf16.Encode([]rune(strings.Repeat("x", 256))))
	fsys := openDevice(t, blockio.NewMemory(e.img))
	assert.Equal(t, want, names(t, fsys, fsys.Root()))

	a := file(t, fsys, "EMOJI 😀 AND 🇺🇳.TXT")
	assert.Equal(t, a.Ino, file(t, fsys, "long0001.txt").Ino, "the alias leads to the same file")
	assert.Equal(t, file(t, fsys, strings.Repeat("A", 255)[:254]+"B").Ino, file(t, fsys, want[2]).Ino)
	_, err := fsys.Lookup(ctx, fsys.Root(), strings.Repeat("x", 256))
	assert.ErrorIs(t, err, syscall.ENAMETOOLONG)
	_, err = fsys.Lookup(ctx, fsys.Root(), "emoji")
	assert.ErrorIs(t, err, syscall.ENOENT)

	img := filepath.Join(t.TempDir(), "names.img")
	require.NoError(t, os.WriteFile(img, e.img, 0o644))
	out, err := exec.Command("grub-fstest", img, "ls", "/").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, name := range want[:valid-1] { // it hides the last one
		assert.Contains(t, string(out), name, "GRUB lists it as well")
	}
}

// Parts of long names whose short name was renamed, deleted or rewritten by a
// program that does not know them.
func TestOrphanedLongNames(t *testing.T) {
	e := edit(t, must(os.ReadFile(format(t, 1024, "-F", "12"))))
	slot := func(i int) []byte { return e.img[e.root+32*i:][:32] }
	long := utf16.Encode([]rune("a long name, two parts"))
	e.addLong(long, "RENAMED TXT", 0)
	e.addLong(long, "DELETED TXT", 0)
	e.addLong(long, "MIDDLE  TXT", 0)
	e.addLong(long, "FIRST   TXT", 0)
	e.addLong(long, "ORDER   TXT", 0)
	e.addLong(long, "FINE    TXT", 0)
	slot(2)[0] = 'X'
	slot(5)[0] = ondisk.MarkDeleted
	slot(7)[0] = ondisk.MarkDeleted
	slot(9)[0] = ondisk.MarkDeleted
	slot(13)[0] = 2
	fsys := openDevice(t, blockio.NewMemory(e.img))
	assert.Equal(t, []string{"XENAMED.TXT", "MIDDLE.TXT", "FIRST.TXT", "ORDER.TXT", "a long name, two parts"},
		names(t, fsys, fsys.Root()))
}

func TestShortNames(t *testing.T) {
	e := edit(t, must(os.ReadFile(format(t, 1024, "-F", "12"))))
	var want []string
	for _, c := range []struct {
		raw   string
		cases byte
		shown string
	}{
		{"README  TXT", 0, "README.TXT"},
		{"README1 TXT", 0x08, "readme1.TXT"},
		{"README2 TXT", 0x10, "README2.txt"},
		{"README3 TXT", 0x18, "readme3.txt"},
		{"NOEXT      ", 0, "NOEXT"},
		{"A B      C ", 0, "A B. C"},
		{"\x05BC        ", 0, "σBC"},
		{"\x90T\x90     TXT", 0x18, "été.txt"},
		{"\x80\x81\xff     \xb0  ", 0, "Çü\u00a0.░"},
		{"A/B        ", 0, "A\ufffdB"},
		// None of these is a name.
		{".          ", 0, ""}, {"..         ", 0, ""}, {"           ", 0, ""}, {"        .  ", 0, ""},
		{"\xe5ELETED TXT", 0, ""},
		{"...        ", 0, "..."},
	} {
		at := e.root
		for e.img[at] != 0 {
			at += 32
		}
		e.add(e.root, c.raw, 0, 0, 0)
		e.img[at+12] = c.cases
		if c.shown != "" {
			want = append(want, c.shown)
		}
	}
	e.add(e.root, "LABEL      ", ondisk.AttrLabel, 0, 0)
	fsys := openDevice(t, blockio.NewMemory(e.img))
	assert.Equal(t, want, names(t, fsys, fsys.Root()))
	assert.Equal(t, "LABEL", fsys.Info().Label, "of the root directory, as the boot sector has none")
	_, err := fsys.Lookup(ctx, fsys.Root(), "LABEL")
	assert.ErrorIs(t, err, syscall.ENOENT)
}

// Attributes and times, as mattrib and the host set them.
func TestAttributes(t *testing.T) {
	folder := t.TempDir()
	at := time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	for _, name := range []string{"plain", "readonly", "hidden", "system", "old"} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(name), 0o644))
		when := at
		if name == "old" {
			when = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		require.NoError(t, os.Chtimes(path, when, when))
	}
	img := format(t, 1440)
	fill(t, img, folder)
	mtools(t, img, "mattrib", "-a", "::/plain", "::/readonly", "::/hidden", "::/system")
	mtools(t, img, "mattrib", "+r", "::/readonly")
	mtools(t, img, "mattrib", "+h", "+a", "::/hidden")
	mtools(t, img, "mattrib", "+s", "::/system")
	mtools(t, img, "mlabel", "::NEW LABEL")
	mtools(t, img, "mmd", "::/dir", "::/dir/a", "::/dir/b")
	fsys, _ := open(t, img)
	for name, want := range map[string]struct {
		mode  vfs.Mode
		flags vfs.Flags
	}{
		"plain":    {0o644, 0},
		"readonly": {0o444, vfs.UserReadOnly},
		"hidden":   {0o644, vfs.UserHidden | vfs.UserArchive},
		"system":   {0o644, vfs.UserSystem},
	} {
		a := file(t, fsys, name)
		assert.Equal(t, vfs.Regular|want.mode, a.Mode, name)
		assert.Equal(t, want.flags, a.Flags, name)
		assert.Equal(t, at, a.Mtime, name)
		assert.Equal(t, uint32(1), a.Nlink, name)
		assert.Equal(t, int64(1), a.Blocks, name)
	}
	assert.Equal(t, "1980-01-01 00:00:00", file(t, fsys, "old").Mtime.Format(time.DateTime))
	assert.Equal(t, "NEW LABEL", fsys.Info().Label)
	d := file(t, fsys, "dir")
	assert.Equal(t, vfs.Dir|0o755, d.Mode)
	assert.Equal(t, uint32(4), d.Nlink)
	assert.Equal(t, int64(512), d.Size)
	assert.Equal(t, fsys.Root(), file(t, fsys, "..").Ino)
}

// A directory of thousands of files is read in order and by name.
func TestManyFiles(t *testing.T) {
	const count = 3000
	e := edit(t, must(os.ReadFile(format(t, 8192, "-F", "32", "-s", "1"))))
	// One part of a long name each: clusters 100 and up, not in order.
	e.mkdir(100, 0)
	e.add(e.root, "MANY       ", ondisk.AttrDir, 100, 0)
	var slots [][]byte
	for i := range count {
		d := ondisk.Dirent{Name: [11]byte([]byte(fmt.Sprintf("F%07dTXT", i)))}
		l := ondisk.Long{Ord: ondisk.LongLast | 1, Attr: ondisk.AttrLong, Checksum: d.Checksum()}
		for k, r := range fmt.Sprintf("file no %05d", i)[:5] {
			l.Name1[k] = uint16(r)
		}
		for k, r := range fmt.Sprintf("file no %05d", i)[5:11] {
			l.Name2[k] = uint16(r)
		}
		for k, r := range fmt.Sprintf("file no %05d", i)[11:] {
			l.Name3[k] = uint16(r)
		}
		slots = append(slots, must(binary.Append(nil, binary.LittleEndian, l)), must(binary.Append(nil, binary.LittleEndian, d)))
	}
	all := append(bytes.Clone(e.cluster(100)[:64]), bytes.Join(slots, nil)...)
	order := []uint32{100}
	for c := uint32(2000); len(order)*e.size < len(all); c -= 3 {
		order = append(order, c)
	}
	for i, c := range order {
		p := e.cluster(c)
		clear(p)
		copy(p, all[i*e.size:])
		e.link(c, e.bits.Mask())
		if i > 0 {
			e.link(order[i-1], c)
		}
	}
	fsys := openDevice(t, blockio.NewMemory(e.img))
	d := file(t, fsys, "many")
	list := names(t, fsys, d.Ino)
	require.Len(t, list, count)
	for i, name := range list {
		assert.Equal(t, fmt.Sprintf("file no %05d", i), name)
	}
	a, err := fsys.Lookup(ctx, d.Ino, "f0002999.txt")
	require.NoError(t, err)
	b, err := fsys.Lookup(ctx, d.Ino, "FILE NO 02999")
	require.NoError(t, err)
	assert.Equal(t, a.Ino, b.Ino)
}

// A FAT32 volume with too few clusters for one, such as mkfs.fat makes on
// small media, is FAT32 for Linux, GRUB, fsck.fat and us. Its table is longer
// than its data area.
func TestSmallFAT32(t *testing.T) {
	testtool.Need(t, "grub-fstest")
	folder := tree(t)
	img := format(t, 40960, "-F", "32", "-s", "1")
	fill(t, img, folder)
	const sectors = 16384
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	for _, at := range []int64{0, 6 * 512} {
		_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, sectors), at+0x20)
		require.NoError(t, err)
	}
	require.NoError(t, f.Truncate(sectors*512))
	require.NoError(t, f.Close())
	fsys, _ := open(t, img)
	assert.Equal(t, "FAT32", fsys.Info().Type)
	assert.Contains(t, fsys.Info().StateNote, "FSInfo says", "as it counts what was cut off")
	sameNodes(t, host(t, folder), volume(t, fsys), "what was copied to the volume")
	st, err := fsys.Statfs(ctx)
	require.NoError(t, err)
	out, _ := exec.Command("fsck.fat", "-n", img).Output()
	assert.Contains(t, string(out), fmt.Sprintf("%d/%d clusters", st.Blocks-st.Free, st.Blocks))
	got, err := exec.Command("grub-fstest", img, "cat", "/a long name with spaces.md").Output()
	require.NoError(t, err)
	assert.Equal(t, must(os.ReadFile(filepath.Join(folder, "a long name with spaces.md"))), got)
}
