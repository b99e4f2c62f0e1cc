package integration

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/fat/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// Every operation on a FAT volume, one by one: each is done to a volume that
// mkfs.fat made and mtools filled, in a partition on a disk that was full of
// 0xaa. It succeeds or is refused as by a kernel. Then fsck.fat has nothing to
// say, mtools find exactly the files that there should be, and not a byte
// outside of the partition has changed.

// Around the partition, in bytes.
const (
	fatGuard = 64 << 10
	fatStale = 0xaa
)

// A fatEdit is a volume that an operation is done to.
type fatEdit struct {
	*testing.T
	ctx    context.Context
	bits   int
	disk   *blockio.Memory
	size   int64 // of the partition
	before []byte
	sess   *blockio.Session
	fs     vfs.WritableFS
	tree   *vfs.Tree
	// want is what there is to be in the end: contents by path. The name of a
	// directory ends in a slash.
	want map[string]string
}

// fatVolume is one of the volumes that operations are done to.
type fatVolume struct {
	name string
	bits int
	size int64
	args []string
}

var fatVolumes = []fatVolume{
	{"FAT12", 12, 2 << 20, []string{"-F", "12", "-s", "2", "-f", "2"}},
	{"FAT12-one-table", 12, 3 << 20, []string{"-F", "12", "-s", "4", "-f", "1", "-r", "512"}},
	{"FAT16", 16, 6 << 20, []string{"-F", "16", "-s", "2", "-f", "2", "-r", "512"}},
	{"FAT32", 32, 36 << 20, []string{"-F", "32", "-s", "1", "-f", "2"}},
}

// fill is a text that tells where in a file it belongs.
func fill(n int, seed byte) string {
	p := make([]byte, n)
	for i := range p {
		p[i] = 'a' + byte(i/7+i/512+int(seed))%26
	}
	return string(p)
}

// fatBase is what mtools put on every volume.
var fatBase = map[string]string{
	"HELLO.TXT":                     "hello\n",
	"Long file name.text":           fill(5000, 1),
	"EMPTY.TXT":                     "",
	"big.bin":                       fill(150_000, 2),
	"RO.TXT":                        "read only\n",
	"DIR/":                          "",
	"DIR/SUB/":                      "",
	"DIR/SUB/Deep file.txt":         "deep",
	"DIR/file.txt":                  fill(700, 3),
	"EMPTYDIR/":                     "",
	"Other directory with a name/":  "",
	"Other directory with a name/x": "x",
}

// makeFAT makes a volume and has mtools fill it.
func makeFAT(t *testing.T, v fatVolume) string {
	testtool.Need(t, "mkfs.fat", "fsck.fat", "mcopy", "mmd", "mattrib", "mdir", "mren")
	dir := t.TempDir()
	img := filepath.Join(dir, "volume")
	require.NoError(t, os.WriteFile(img, bytes.Repeat([]byte{fatStale}, int(v.size)), 0o600))
	testtool.Run(t, "mkfs.fat", append(append([]string{"-n", "A LABEL", "-i", "12345678"}, v.args...), img)...)
	for _, name := range slices.Sorted(maps.Keys(fatBase)) {
		if strings.HasSuffix(name, "/") {
			mtools(t, "mmd", "-i", img, "::"+strings.TrimSuffix(name, "/"))
			continue
		}
		host := filepath.Join(dir, "host")
		require.NoError(t, os.WriteFile(host, []byte(fatBase[name]), 0o600))
		mtools(t, "mcopy", "-i", img, host, "::"+name)
	}
	mtools(t, "mattrib", "-i", img, "+r", "::RO.TXT")
	return img
}

// newFATEdit puts a volume into a partition and opens it for changing.
func newFATEdit(t *testing.T, v fatVolume, volume []byte) *fatEdit {
	disk := bytes.Repeat([]byte{fatStale}, fatGuard+len(volume)+fatGuard)
	copy(disk[fatGuard:], volume)
	e := &fatEdit{
		T: t, ctx: context.Background(), bits: v.bits, disk: blockio.NewMemory(disk), size: int64(len(volume)),
		before: bytes.Clone(volume), want: maps.Clone(fatBase),
	}
	e.open()
	return e
}

func (e *fatEdit) open() {
	e.sess = blockio.NewSession(e.disk, blockio.SessionOptions{})
	tx, err := blockio.NewTransactionSection(e.sess, fatGuard, e.size)
	require.NoError(e, err)
	e.fs, err = fat.OpenWritable(e.ctx, tx)
	require.NoError(e, err)
	e.fs.(vfs.Clocked).SetClock(func() time.Time { return time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC) })
	e.tree = vfs.NewTree(e.fs)
}

// volume returns the bytes of the partition as they are on the medium.
func (e *fatEdit) volume() []byte {
	p, err := blockio.ReadFull(e.disk, fatGuard, int(e.size))
	require.NoError(e, err)
	return p
}

// judge commits, and has everybody look at what came of it.
func (e *fatEdit) judge() {
	require.NoError(e, e.fs.Sync(e.ctx))
	require.NoError(e, e.fs.Close())
	for _, at := range []int64{0, fatGuard + e.size} {
		p, err := blockio.ReadFull(e.disk, at, fatGuard)
		require.NoError(e, err)
		require.Equal(e, bytes.Repeat([]byte{fatStale}, fatGuard), p, "bytes outside of the partition")
	}
	volume := e.volume()
	require.Equal(e, e.before[:512], volume[:512], "the boot sector, with its code and its marks")
	img := filepath.Join(e.TempDir(), "judged")
	require.NoError(e, os.WriteFile(img, volume, 0o600))
	out, err := exec.Command("fsck.fat", "-n", "-V", img).CombinedOutput()
	require.NoError(e, err, "fsck.fat: %s", out)
	require.Len(e, strings.Split(strings.TrimSpace(string(out)), "\n"), 4, "fsck.fat: %s", out)
	assert.Contains(e, testtool.Run(e.T, "mlabel", "-i", img, "-s", "::"), "A LABEL")
	assert.Equal(e, mtoolsNames(e.want), e.byMtools(img), "the tree as mtools see it")

	require.NoError(e, fsck.Check(e.ctx, blockio.NewMemory(volume), func(f vfs.Finding) { assert.Fail(e, f.String()) }))
	fsys, err := fat.Open(e.ctx, blockio.NewMemory(volume))
	require.NoError(e, err)
	assert.Equal(e, e.want, treeContents(e.T, vfs.NewTree(fsys)), "the tree as the driver sees it")
}

// byMtools copies everything out with mtools.
func (e *fatEdit) byMtools(img string) map[string]string {
	dir := filepath.Join(e.TempDir(), "out")
	require.NoError(e, os.Mkdir(dir, 0o755))
	mtools(e.T, "mcopy", "-i", img, "-s", "-n", "-Q", "::/", dir)
	return treeContents(e.T, os.DirFS(dir))
}

// mtoolsNames are the names of a tree as mtools give them to the host: what
// takes two units of UTF-16 is two units to them.
func mtoolsNames(tree map[string]string) map[string]string {
	out := map[string]string{}
	for name, contents := range tree {
		var b strings.Builder
		for _, r := range name {
			if r > 0xffff {
				b.WriteByte('_')
				r = '_'
			}
			b.WriteRune(r)
		}
		out[b.String()] = contents
	}
	return out
}

// treeContents is what a tree holds, as in fatEdit.want.
func treeContents(t *testing.T, tree fs.FS) map[string]string {
	got := map[string]string{}
	require.NoError(t, fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			got[name+"/"] = ""
			return nil
		}
		p, err := fs.ReadFile(tree, name)
		got[name] = string(p)
		return err
	}))
	return got
}

// at returns the directory that a path lies in, and the last name.
func (e *fatEdit) at(name string) (vfs.Ino, string) {
	e.Helper()
	dir, err := e.tree.Resolve(e.ctx, "/"+path.Dir(name))
	require.NoError(e, err)
	return dir.Ino, path.Base(name)
}

// ino is the number of a file.
func (e *fatEdit) ino(name string) vfs.Ino {
	e.Helper()
	attr, err := e.tree.Resolve(e.ctx, "/"+name)
	require.NoError(e, err)
	return attr.Ino
}

// create makes a file.
func (e *fatEdit) create(name, contents string) vfs.Ino {
	e.Helper()
	dir, last := e.at(name)
	attr, err := e.fs.Create(e.ctx, dir, last, vfs.NewNode{Mode: vfs.Regular | 0o644})
	require.NoError(e, err, name)
	e.put(attr.Ino, contents, 0)
	e.want[name] = contents
	return attr.Ino
}

func (e *fatEdit) put(ino vfs.Ino, contents string, off int64) {
	e.Helper()
	n, err := e.fs.WriteAt(e.ctx, ino, []byte(contents), off)
	require.NoError(e, err)
	require.Equal(e, len(contents), n)
}

// write writes to a file, of which it knows what there is to be then.
func (e *fatEdit) write(name, contents string, off int) {
	e.Helper()
	e.put(e.ino(name), contents, int64(off))
	was := []byte(e.want[name])
	if end := off + len(contents); end > len(was) {
		was = append(was, make([]byte, end-len(was))...)
	}
	copy(was[off:], contents)
	e.want[name] = string(was)
}

func (e *fatEdit) truncate(name string, size int) {
	e.Helper()
	n := int64(size)
	_, err := e.fs.Setattr(e.ctx, e.ino(name), vfs.SetAttr{Size: &n})
	require.NoError(e, err)
	was := []byte(e.want[name])
	if size > len(was) {
		was = append(was, make([]byte, size-len(was))...)
	}
	e.want[name] = string(was[:size])
}

func (e *fatEdit) mkdir(name string) {
	e.Helper()
	dir, last := e.at(name)
	_, err := e.fs.Create(e.ctx, dir, last, vfs.NewNode{Mode: vfs.Dir | 0o755})
	require.NoError(e, err)
	e.want[name+"/"] = ""
}

func (e *fatEdit) unlink(name string) {
	e.Helper()
	dir, last := e.at(name)
	require.NoError(e, e.fs.Unlink(e.ctx, dir, last))
	delete(e.want, name)
}

func (e *fatEdit) rmdir(name string) {
	e.Helper()
	dir, last := e.at(name)
	require.NoError(e, e.fs.Rmdir(e.ctx, dir, last))
	delete(e.want, name+"/")
}

func (e *fatEdit) tryRename(from, to string, flags vfs.RenameFlags) error {
	e.Helper()
	dir, last := e.at(from)
	newDir, newLast := e.at(to)
	return e.fs.Rename(e.ctx, dir, last, newDir, newLast, flags)
}

// rename renames, and knows what is below a directory.
func (e *fatEdit) rename(from, to string) {
	e.Helper()
	require.NoError(e, e.tryRename(from, to, 0))
	for name, contents := range maps.Clone(e.want) {
		if rest, ok := strings.CutPrefix(name, from); ok && (rest == "" || rest[0] == '/') {
			delete(e.want, name)
			e.want[to+rest] = contents
		}
	}
}

// fails checks that something is refused.
func (e *fatEdit) fails(want, got error) {
	e.Helper()
	assert.ErrorIs(e, got, want)
}

func (e *fatEdit) tryCreate(name string, mode vfs.Mode) error {
	e.Helper()
	dir, last := e.at(name)
	_, err := e.fs.Create(e.ctx, dir, last, vfs.NewNode{Mode: mode, Target: "x"})
	return err
}

func (e *fatEdit) set(name string, set vfs.SetAttr) (vfs.Attr, error) {
	e.Helper()
	return e.fs.Setattr(e.ctx, e.ino(name), set)
}

func (e *fatEdit) free() uint64 {
	st, err := e.fs.Statfs(e.ctx)
	require.NoError(e, err)
	return st.Free
}

// TestFATOperations does them all.
func TestFATOperations(t *testing.T) {
	for _, v := range fatVolumes {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			volume, err := os.ReadFile(makeFAT(t, v))
			require.NoError(t, err)
			for _, op := range fatOperations {
				t.Run(strings.ReplaceAll(op.name, " ", "-"), func(t *testing.T) {
					e := newFATEdit(t, v, volume)
					op.do(e)
					if !t.Failed() {
						e.judge()
					}
				})
			}
		})
	}
	t.Logf("%d operations", len(fatOperations))
}
