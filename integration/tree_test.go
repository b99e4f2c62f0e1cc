package integration

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/manifest"
)

// kinds is what a file system can hold, so what a tree for it should have.
type kinds struct {
	posix    bool // owners, modes, links, symbolic links, fifos, sockets
	devices  bool // device nodes (needs root)
	bigDevs  bool // device numbers beyond 255
	rawNames bool // names that are not UTF-8, or have characters that FAT refuses
	holes    bool
	xattrs   bool
	time64   bool // times beyond 2038
	oldTimes bool // times before 1980 (FAT) and 1970
	longest  int  // longest symbolic link
}

var (
	ffsKinds = kinds{posix: true, devices: true, rawNames: true, oldTimes: true, longest: 1023}
	extKinds = kinds{posix: true, devices: true, bigDevs: true, rawNames: true, holes: true, xattrs: true, time64: true, oldTimes: true, longest: 1023}
	fatKinds = kinds{}
	isoKinds = kinds{posix: true, devices: true, longest: 250}
)

// asRoot says that we may make device nodes and give files away. Trees made
// without root have neither; everything else is the same.
var asRoot = os.Geteuid() == 0

// A tree makes files in a folder of this machine.
type tree struct {
	t    testing.TB
	root string
	k    kinds
}

func newTree(t testing.TB, k kinds) *tree {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.Mkdir(root, 0o755))
	return &tree{t, root, k}
}

func (tr *tree) path(name string) string { return filepath.Join(tr.root, name) }

func (tr *tree) dir(name string) {
	tr.t.Helper()
	require.NoError(tr.t, os.MkdirAll(tr.path(name), 0o755))
}

// contents are bytes that depend on the name, and are never zero: what reads as
// zero is a hole, or wrong.
func contents(name string, size int) []byte {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	b := make([]byte, (size+7)&^7)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64()|0x0101010101010101)
	}
	return b[:size]
}

func (tr *tree) file(name string, size int) {
	tr.t.Helper()
	tr.dir(filepath.Dir(name))
	require.NoError(tr.t, os.WriteFile(tr.path(name), contents(name, size), 0o644))
}

// sparse makes a file of size bytes with data, length bytes each, at the offsets.
func (tr *tree) sparse(name string, size int64, length int, offs ...int64) {
	tr.t.Helper()
	tr.dir(filepath.Dir(name))
	f, err := os.Create(tr.path(name))
	require.NoError(tr.t, err)
	require.NoError(tr.t, f.Truncate(size))
	for _, off := range offs {
		_, err := f.WriteAt(contents(fmt.Sprint(name, off), length), off)
		require.NoError(tr.t, err)
	}
	require.NoError(tr.t, f.Close())
}

func (tr *tree) symlink(name, target string) {
	tr.t.Helper()
	tr.dir(filepath.Dir(name))
	require.NoError(tr.t, os.Symlink(target, tr.path(name)))
}

func (tr *tree) node(name string, mode uint32, major, minor uint32) {
	tr.t.Helper()
	tr.dir(filepath.Dir(name))
	require.NoError(tr.t, unix.Mknod(tr.path(name), mode|0o640, int(unix.Mkdev(major, minor))))
}

func (tr *tree) chmod(name string, mode uint32) {
	tr.t.Helper()
	require.NoError(tr.t, unix.Chmod(tr.path(name), mode))
}

func (tr *tree) mtime(name string, sec, nsec int64) {
	tr.t.Helper()
	ts := unix.Timespec{Sec: sec, Nsec: nsec}
	require.NoError(tr.t, unix.UtimesNanoAt(unix.AT_FDCWD, tr.path(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// manifest lists the tree: what every reader of the image must see.
func (tr *tree) manifest() manifest.Manifest {
	tr.t.Helper()
	m := manifest.ReadDir(tr.root, manifest.Options{Xattrs: tr.k.xattrs})
	require.Empty(tr.t, m.Errors())
	return m
}

// stamp gives everything that has no special time one that depends on its path,
// in the present century, with nanoseconds.
func (tr *tree) stamp(special map[string]bool) {
	tr.t.Helper()
	var dirs []string
	err := filepath.WalkDir(tr.root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(tr.root, p)
		if !special[rel] {
			dirs = append(dirs, rel)
		}
		return nil
	})
	require.NoError(tr.t, err)
	for i := len(dirs) - 1; i >= 0; i-- {
		h := fnv.New32a()
		h.Write([]byte(dirs[i]))
		sum := int64(h.Sum32())
		tr.mtime(dirs[i], 1_000_000_000+sum%700_000_000, sum%1_000_000_000)
	}
}

// standardTree holds one of everything that the file system can have.
func standardTree(t testing.TB, k kinds) *tree {
	t.Helper()
	tr := newTree(t, k)
	special := map[string]bool{}

	// Sizes around every fragment and block size, and around the first
	// indirect block of each.
	sizes := map[int]bool{0: true, 1: true, 5_000_000: true}
	for b := 512; b <= 65536; b *= 2 {
		for _, n := range []int{b, 3 * b, 7 * b, 12 * b} {
			for d := -1; d <= 1; d++ {
				sizes[n+d] = true
			}
		}
	}
	for n := range sizes {
		tr.file(fmt.Sprintf("sizes/%07d", n), n)
	}

	tr.file("names/"+strings.Repeat("n", 255), 100)
	tr.file("names/"+strings.Repeat("ж", 127), 100) // 254 bytes
	tr.file("names/Äpfel, Öl & 日本語.txt", 333)
	tr.file("names/two  spaces and.many.dots", 333)
	tr.file("names/.hidden", 333)
	if k.rawNames {
		tr.file("names/\xff\xfe not utf-8", 10)
		tr.file("names/new\nline \\ \"quote\" *?:|<>", 10)
		tr.file("names/-rf", 10)
		tr.file("names/CASE", 10)
		tr.file("names/case", 11)
	}
	for i := range 300 {
		tr.file(fmt.Sprintf("many/%03d entry %s", i, strings.Repeat("x", 1+i%190)), i%3)
	}
	deep := "deep"
	for i := range 30 {
		deep += fmt.Sprintf("/%d", i)
	}
	tr.file(deep+"/bottom", 1000)
	tr.dir("empty directory")

	if k.posix {
		tr.posix()
	}
	if k.holes {
		tr.sparse("holes/start", 1<<20, 5000, 1<<20-5000)
		tr.sparse("holes/middle", 3<<20, 70_000, 0, 2<<20)
		tr.sparse("holes/end", 2<<20+17, 4096, 0)
		tr.sparse("holes/only", 1<<20, 0)
		tr.sparse("holes/combed", 4<<20, 1024, 0, 1<<17, 1<<18, 1<<19, 1<<20, 1<<21, 3<<20)
	}
	if k.xattrs {
		tr.xattrs()
	}
	tr.times(special)
	tr.stamp(special)
	return tr
}

func (tr *tree) posix() {
	tr.t.Helper()
	tr.file("links/a first", 12345)
	for i := range 299 {
		name := fmt.Sprintf("links/%d/hard %d", i%7, i)
		tr.dir(filepath.Dir(name))
		require.NoError(tr.t, os.Link(tr.path("links/a first"), tr.path(name)))
	}
	for _, n := range []int{1, 2, 58, 59, 60, 61, 118, 119, 120, 121, 250, 511, 512, 1022, 1023} {
		if n <= tr.k.longest {
			// none ends in a slash, which Rock Ridge could not say
			tr.symlink(fmt.Sprintf("symlinks/%04d", n), strings.Repeat("012345/6789", 100)[:n])
		}
	}
	tr.symlink("symlinks/absolute", "/sizes/0000001")
	tr.symlink("symlinks/up", "../sizes")
	tr.symlink("symlinks/loop", "loop")
	require.NoError(tr.t, unix.Mkfifo(tr.path("fifo"), 0o622))
	require.NoError(tr.t, unix.Mknod(tr.path("socket"), unix.S_IFSOCK|0o700, 0))

	// 0000 cannot be read back by anybody but root.
	for _, mode := range []uint32{0o400, 0o600, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o6711} {
		tr.file(fmt.Sprintf("modes/f%04o", mode), 10)
		tr.dir(fmt.Sprintf("modes/d%04o", mode|0o500))
	}
	if !asRoot {
		tr.modes()
		return
	}
	tr.file("modes/f0000", 10)
	for _, id := range [][2]int{{0, 0}, {1000, 100}, {65534, 65534}, {65536, 70001}, {1 << 31, 1<<32 - 2}} {
		name := fmt.Sprintf("owners/%d:%d", id[0], id[1])
		tr.file(name, 10)
		require.NoError(tr.t, os.Lchown(tr.path(name), id[0], id[1]))
	}
	tr.symlink("owners/symlink", "target")
	require.NoError(tr.t, os.Lchown(tr.path("owners/symlink"), 12, 34))
	tr.modes() // behind chown, which drops the set-id bits
	if tr.k.devices {
		for _, d := range [][2]uint32{{1, 3}, {4, 64}, {8, 1}, {255, 255}} {
			tr.node(fmt.Sprintf("devices/c%d-%d", d[0], d[1]), unix.S_IFCHR, d[0], d[1])
			tr.node(fmt.Sprintf("devices/b%d-%d", d[0], d[1]), unix.S_IFBLK, d[0], d[1])
		}
	}
	if tr.k.bigDevs {
		for _, d := range [][2]uint32{{256, 1}, {1, 256}, {300, 70_000}, {4095, 1<<20 - 1}} {
			tr.node(fmt.Sprintf("devices/c%d-%d", d[0], d[1]), unix.S_IFCHR, d[0], d[1])
		}
	}
}

func (tr *tree) modes() {
	names, err := os.ReadDir(tr.path("modes"))
	require.NoError(tr.t, err)
	for _, d := range names {
		var mode uint32
		_, err := fmt.Sscanf(d.Name()[1:], "%o", &mode)
		require.NoError(tr.t, err)
		tr.chmod("modes/"+d.Name(), mode)
	}
}

func (tr *tree) xattrs() {
	tr.t.Helper()
	set := func(name, attr, value string) {
		tr.t.Helper()
		if err := unix.Lsetxattr(tr.path(name), attr, []byte(value), 0); err == syscall.ENOTSUP {
			tr.t.Skipf("the temporary folder has no extended attributes")
		} else {
			require.NoError(tr.t, err, attr)
		}
	}
	tr.file("xattrs/one", 10)
	set("xattrs/one", "user.comment", "grüße")
	tr.file("xattrs/many", 10)
	for i := range 20 {
		set("xattrs/many", fmt.Sprintf("user.number%d", i), strings.Repeat("v", i))
	}
	tr.file("xattrs/large", 10)
	set("xattrs/large", "user.large", string(contents("xattr", 700)))
	tr.dir("xattrs/directory")
	set("xattrs/directory", "user.empty", "")
	// user::rw- user:1000:r-- group::r-- mask::r-- other::---
	tr.file("xattrs/acl", 10)
	set("xattrs/acl", "system.posix_acl_access", acl(1, 6, -1, 2, 4, 1000, 4, 4, -1, 16, 4, -1, 32, 0, -1))
	set("xattrs/directory", "system.posix_acl_default", acl(1, 7, -1, 4, 5, -1, 8, 5, 77, 16, 5, -1, 32, 5, -1))
	if asRoot {
		tr.file("xattrs/capability", 10)
		// cap_net_raw=ep, revision 2 (capabilities(7))
		set("xattrs/capability", "security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		set("xattrs/one", "trusted.secret", "x")
	}
}

// acl packs tags, permissions and ids as Linux has ACLs in extended attributes.
func acl(fields ...int) string {
	b := binary.LittleEndian.AppendUint32(nil, 2) // version
	for i := 0; i < len(fields); i += 3 {
		b = binary.LittleEndian.AppendUint16(b, uint16(fields[i]))
		b = binary.LittleEndian.AppendUint16(b, uint16(fields[i+1]))
		b = binary.LittleEndian.AppendUint32(b, uint32(fields[i+2]))
	}
	return string(b)
}

func (tr *tree) times(special map[string]bool) {
	tr.t.Helper()
	set := func(label string, sec, nsec int64) {
		tr.t.Helper()
		name := "times/" + label
		tr.file(name, 10)
		tr.mtime(name, sec, nsec)
		special[name] = true
	}
	set("leap day", time.Date(2000, 2, 29, 23, 59, 58, 0, time.UTC).Unix(), 0)
	set("odd second", time.Date(2024, 6, 30, 1, 2, 3, 0, time.UTC).Unix(), 999_999_999)
	set("last of 32 bits", 1<<31-1, 1)
	set("1980", time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), 0)
	if tr.k.oldTimes {
		set("epoch", 0, 0)
		set("before the epoch", -1_000_000, 0)
	}
	if tr.k.time64 {
		set("2106", 1<<32, 123_456_789)
		set("2300", time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), 5)
	}
}

// crowd makes a folder of n empty files.
func (tr *tree) crowd(name string, n int) {
	tr.t.Helper()
	tr.dir(name)
	for i := range n {
		f, err := os.Create(tr.path(fmt.Sprintf("%s/entry number %d", name, i)))
		require.NoError(tr.t, err)
		require.NoError(tr.t, f.Close())
	}
}

// bigTree is large: 20,000 files with and without holes, 300 links to one, names
// of 255 bytes, a crowded directory, and where the tool that makes the image can
// (huge) a sparse file of 5 GiB.
func bigTree(t testing.TB, huge bool, crowd int) *tree {
	t.Helper()
	tr := newTree(t, kinds{})
	for i := range 20_000 {
		name := fmt.Sprintf("files/%02d/%02d/%05d", i%20, i%13, i)
		switch {
		case i%100 == 0:
			tr.sparse(name, 300_000, 1000, 0, int64(i)*10)
		case i%1000 == 7:
			tr.file(name, 400_000)
		default:
			tr.file(name, i%5000)
		}
	}
	for i := range 300 {
		name := fmt.Sprintf("links/%03d", i)
		tr.dir("links")
		require.NoError(t, os.Link(tr.path("files/01/01/00001"), tr.path(name)))
	}
	for i := range 100 {
		prefix := fmt.Sprintf("%03d ", i)
		tr.file("names/"+prefix+strings.Repeat("n", 255-len(prefix)), i)
	}
	tr.crowd("crowd", crowd)
	if huge {
		tr.sparse("huge", 5<<30, 10_000, 0, 1<<30-5000, 4<<30+1, 5<<30-10_000)
	}
	tr.stamp(nil)
	return tr
}
