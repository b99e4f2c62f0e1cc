package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// An ext4Op is something done to a file system of [ext4Base].
type ext4Op struct {
	name string
	do   func(s subject) error
	want error // what every one of them answers
}

// file, dir and so on are what is created without further wishes.
func nodeOf(mode vfs.Mode) vfs.NewNode { return vfs.NewNode{Mode: mode} }

const (
	aFile = vfs.Regular | 0o644
	aDir  = vfs.Dir | 0o755
)

// put makes a file and writes to it in pieces.
func put(s subject, name string, data []byte, piece int) error {
	if err := s.create(name, nodeOf(aFile)); err != nil {
		return err
	}
	for off := 0; off < len(data); off += piece {
		if err := s.write(name, data[off:min(off+piece, len(data))], int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// each does something for the numbers below n.
func each(n int, do func(i int) error) error {
	for i := range n {
		if err := do(i); err != nil {
			return fmt.Errorf("number %d: %w", i, err)
		}
	}
	return nil
}

func longName(n int) string { return "/" + strings.Repeat("n", n) }

// noise is n bytes without zeros.
func noise(n int, seed byte) []byte {
	p := make([]byte, n)
	x := uint32(seed) + 1
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x>>24) | 1
	}
	return p
}

// ext4Ops are operations after which other tools that write to ext4 left a
// damaged file system, or a wrong one, and their neighbours.
var ext4Ops = []ext4Op{
	// Files and their contents.
	{name: "create an empty file", do: func(s subject) error { return put(s, "/new", nil, 1) }},
	{name: "create a small file", do: func(s subject) error { return put(s, "/new", noise(100, 1), 100) }},
	{name: "5 MB in one write", do: func(s subject) error { return put(s, "/new", noise(5<<20, 2), 5<<20) }},
	{name: "twenty writes of 4 KiB", do: func(s subject) error { return put(s, "/new", noise(80<<10, 3), 4<<10) }},
	{name: "writes of odd lengths", do: func(s subject) error { return put(s, "/new", noise(200_000, 4), 777) }},
	{name: "append", do: func(s subject) error { return s.write("/sizes/5000", noise(3000, 5), 5000) }},
	{name: "append to a large file", do: func(s subject) error { return s.write("/sizes/300000", noise(500_000, 6), 300_000) }},
	{name: "overwrite", do: func(s subject) error { return s.write("/sizes/300000", noise(50_000, 7), 100_001) }},
	{name: "write into a hole", do: func(s subject) error { return s.write("/holes/middle", noise(10_000, 8), 150_000) }},
	{name: "write into a hole at the start", do: func(s subject) error { return s.write("/holes/head", noise(5000, 9), 0) }},
	{name: "write where all is a hole", do: func(s subject) error { return s.write("/holes/only", noise(1, 10), 70_000) }},
	{name: "write into reserved space", do: func(s subject) error { return s.write("/reserved", noise(9000, 11), 20_000) }},
	{name: "write into a file of many extents", do: func(s subject) error { return s.write("/holes/combed", noise(3<<20, 12), 500_000) }},
	{name: "append to a file of many extents", do: func(s subject) error { return s.write("/holes/combed", noise(100_000, 13), 4<<20) }},
	{name: "write beyond the end", do: func(s subject) error { return s.write("/sizes/100", noise(10, 14), 1<<20+3) }},
	{name: "truncate down", do: func(s subject) error { return s.truncate("/sizes/300000", 123_457) }},
	{name: "truncate down to a whole block", do: func(s subject) error { return s.truncate("/sizes/300000", 8192) }},
	{name: "truncate a file of many extents", do: func(s subject) error { return s.truncate("/holes/combed", 1<<20+5) }},
	{name: "truncate to nothing", do: func(s subject) error { return s.truncate("/sizes/300000", 0) }},
	{name: "truncate up", do: func(s subject) error { return s.truncate("/sizes/5000", 3_000_000) }},
	{name: "truncate down and up", do: func(s subject) error {
		return errors.Join(s.truncate("/sizes/5000", 1000), s.truncate("/sizes/5000", 5000))
	}},
	{name: "write anew (O_TRUNC)", do: func(s subject) error {
		return errors.Join(s.truncate("/sizes/300000", 0), s.write("/sizes/300000", noise(10, 15), 0))
	}},
	{name: "reserve", do: func(s subject) error { return s.fallocate("/sizes/100", vfs.AllocKeepSize, 0, 1<<20) }},
	{name: "reserve and extend", do: func(s subject) error { return s.fallocate("/sizes/100", 0, 50, 1<<20) }},
	{name: "punch a hole", do: func(s subject) error {
		return s.fallocate("/sizes/300000", vfs.AllocPunchHole|vfs.AllocKeepSize, 10_000, 150_000)
	}},
	{name: "make zeros", do: func(s subject) error {
		return s.fallocate("/sizes/300000", vfs.AllocZeroRange, 250_000, 150_000)
	}},

	// What is taken away.
	{name: "remove a small file", do: func(s subject) error { return s.remove("/sizes/100") }},
	{name: "remove an empty file", do: func(s subject) error { return s.remove("/sizes/0") }},
	{name: "remove a large file", do: func(s subject) error { return s.remove("/sizes/300000") }},
	{name: "remove a sparse file", do: func(s subject) error { return s.remove("/holes/only") }},
	{name: "remove a file of many extents", do: func(s subject) error { return s.remove("/holes/combed") }},
	{name: "remove reserved space", do: func(s subject) error { return s.remove("/reserved") }},
	{name: "remove a short link", do: func(s subject) error { return s.remove("/links/short") }},
	{name: "remove a long link", do: func(s subject) error { return s.remove("/links/long") }},
	{name: "remove a FIFO", do: func(s subject) error { return s.remove("/fifo") }},
	{name: "remove a character device", do: func(s subject) error { return s.remove("/char") }},
	{name: "remove a block device", do: func(s subject) error { return s.remove("/block") }},
	{name: "remove an empty directory", do: func(s subject) error { return s.rmdir("/empty") }},
	{name: "remove a full directory", do: func(s subject) error { return s.rmdir("/sizes") }, want: syscall.ENOTEMPTY},
	{name: "unlink a directory", do: func(s subject) error { return s.remove("/empty") }, want: syscall.EISDIR},
	{name: "rmdir of a file", do: func(s subject) error { return s.rmdir("/sizes/0") }, want: syscall.ENOTDIR},
	{name: "remove one of two names", do: func(s subject) error { return s.remove("/links/one") }},
	{name: "remove both names", do: func(s subject) error {
		return errors.Join(s.remove("/links/one"), s.remove("/links/two"))
	}},
	{name: "remove what is not there", do: func(s subject) error { return s.remove("/sizes/none") }, want: syscall.ENOENT},
	{name: "remove a file with attributes", do: func(s subject) error { return s.remove("/attrs/block") }},

	// Indexed directories.
	{name: "create in an indexed directory", do: func(s subject) error { return s.create("/many/new", nodeOf(aFile)) }},
	{name: "remove from an indexed directory", do: func(s subject) error { return s.remove("/many/file-0700") }},
	{name: "rename in an indexed directory", do: func(s subject) error { return s.rename("/many/file-0700", "/many/renamed", 0) }},
	{name: "rename out of an indexed directory", do: func(s subject) error { return s.rename("/many/file-0701", "/renamed", 0) }},
	{name: "a thousand more in an indexed directory", do: func(s subject) error {
		return each(1000, func(i int) error { return s.link("/sizes/100", fmt.Sprintf("/many/more-%d", i)) })
	}},
	{name: "half of an indexed directory", do: func(s subject) error {
		return each(750, func(i int) error { return s.remove(fmt.Sprintf("/many/file-%04d", 2*i)) })
	}},
	{name: "all of an indexed directory, and itself", do: func(s subject) error {
		err := each(1500, func(i int) error { return s.remove(fmt.Sprintf("/many/file-%04d", i)) })
		return errors.Join(err, s.rmdir("/many"))
	}},
	{name: "a directory grows an index", do: func(s subject) error {
		if err := s.create("/dir", nodeOf(aDir)); err != nil {
			return err
		}
		return each(2000, func(i int) error { return s.link("/sizes/100", fmt.Sprintf("/dir/a name %d", i)) })
	}},
	{name: "a directory grows an index and loses half", do: func(s subject) error {
		if err := s.create("/dir", nodeOf(aDir)); err != nil {
			return err
		}
		return errors.Join(
			each(2000, func(i int) error { return s.link("/sizes/100", fmt.Sprintf("/dir/a name %d", i)) }),
			each(1000, func(i int) error { return s.remove(fmt.Sprintf("/dir/a name %d", 1999-2*i)) }))
	}},

	// Names.
	{name: "a name of 248 bytes", do: func(s subject) error { return s.create(longName(248), nodeOf(aFile)) }},
	{name: "a name of 255 bytes", do: func(s subject) error { return s.create(longName(255), nodeOf(aFile)) }},
	{name: "a name of 256 bytes", do: func(s subject) error { return s.create(longName(256), nodeOf(aFile)) }, want: syscall.ENAMETOOLONG},
	{name: "a name that is taken", do: func(s subject) error { return s.create("/sizes", nodeOf(aFile)) }, want: syscall.EEXIST},
	{name: "create where there is no directory", do: func(s subject) error { return s.create("/none/new", nodeOf(aFile)) }, want: syscall.ENOENT},
	{name: "create below a file", do: func(s subject) error { return s.create("/sizes/100/new", nodeOf(aFile)) }, want: syscall.ENOTDIR},
	{name: "mkdir", do: func(s subject) error { return s.create("/new", nodeOf(aDir)) }},
	{name: "mkdir in an indexed directory", do: func(s subject) error { return s.create("/many/new", nodeOf(aDir)) }},
	{name: "forty directories deep", do: func(s subject) error {
		return each(40, func(i int) error { return s.create("/deep"+strings.Repeat("/d", i), nodeOf(aDir)) })
	}},

	// Renames.
	{name: "rename", do: func(s subject) error { return s.rename("/sizes/100", "/sizes/renamed", 0) }},
	{name: "rename to another directory", do: func(s subject) error { return s.rename("/sizes/100", "/empty/100", 0) }},
	{name: "rename over a file", do: func(s subject) error { return s.rename("/sizes/100", "/sizes/300000", 0) }},
	{name: "rename a name over another of the same file", do: func(s subject) error { return s.rename("/links/one", "/links/two", 0) }},
	{name: "rename a directory to another", do: func(s subject) error { return s.rename("/sizes", "/empty/sizes", 0) }},
	{name: "rename a directory over an empty one", do: func(s subject) error { return s.rename("/sizes", "/empty", 0) }},
	{name: "rename a directory over a full one", do: func(s subject) error { return s.rename("/empty", "/sizes", 0) }, want: syscall.ENOTEMPTY},
	{name: "rename a directory below itself", do: func(s subject) error { return s.rename("/empty", "/empty/x", 0) }, want: syscall.EINVAL},
	{name: "rename a file over a directory", do: func(s subject) error { return s.rename("/sizes/0", "/empty", 0) }, want: syscall.EISDIR},
	{name: "rename a directory over a file", do: func(s subject) error { return s.rename("/empty", "/sizes/0", 0) }, want: syscall.ENOTDIR},
	{name: "rename over nothing", do: func(s subject) error { return s.rename("/sizes/0", "/sizes/1", vfs.RenameNoReplace) }},
	{name: "rename over something", do: func(s subject) error { return s.rename("/sizes/0", "/sizes/100", vfs.RenameNoReplace) }, want: syscall.EEXIST},
	{name: "exchange two files", do: func(s subject) error { return s.rename("/sizes/0", "/links/long", vfs.RenameExchange) }},
	{name: "exchange a directory and a file", do: func(s subject) error { return s.rename("/empty", "/sizes/0", vfs.RenameExchange) }},
	{name: "exchange with nothing", do: func(s subject) error { return s.rename("/empty", "/none", vfs.RenameExchange) }, want: syscall.ENOENT},

	// Links and special files.
	{name: "link", do: func(s subject) error { return s.link("/sizes/100", "/links/three") }},
	{name: "link to a symbolic link", do: func(s subject) error { return s.link("/links/long", "/links/three") }},
	{name: "link to a directory", do: func(s subject) error { return s.link("/sizes", "/links/three") }, want: syscall.EPERM},
	{name: "link where there is something", do: func(s subject) error { return s.link("/sizes/0", "/sizes/100") }, want: syscall.EEXIST},
	{name: "symbolic links around the size of an inode", do: func(s subject) error {
		return each(6, func(i int) error {
			n := []int{1, 58, 59, 60, 61, 900}[i]
			return s.create(fmt.Sprint("/links/of-", n), vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: strings.Repeat("t", n)})
		})
	}},
	{name: "devices of every size", do: func(s subject) error {
		return each(4, func(i int) error {
			d := [][2]uint32{{1, 3}, {255, 255}, {256, 0}, {8, 70000}}[i]
			node := vfs.NewNode{Mode: vfs.Char | 0o600, Rdev: vfs.Dev{Major: d[0], Minor: d[1]}}
			if i%2 == 1 {
				node.Mode = vfs.Block | 0o660
			}
			return s.create(fmt.Sprint("/dev", i), node)
		})
	}},
	{name: "a FIFO and a socket", do: func(s subject) error {
		return errors.Join(s.create("/new", nodeOf(vfs.FIFO|0o600)), s.create("/socket", nodeOf(vfs.Socket|0o666)))
	}},

	// Attributes.
	{name: "every mode bit", do: func(s subject) error {
		return each(12, func(i int) error {
			name := fmt.Sprint("/mode", i)
			return errors.Join(s.create(name, nodeOf(aFile)), s.chmod(name, 1<<i))
		})
	}},
	{name: "chmod beside attributes", do: func(s subject) error { return s.chmod("/attrs/inode", 0o700) }},
	{name: "chown beside attributes", do: func(s subject) error { return s.chown("/attrs/inode", 70_000, 3) }},
	{name: "append beside attributes", do: func(s subject) error { return s.write("/attrs/inode", noise(5000, 16), 5) }},
	{name: "set an attribute", do: func(s subject) error { return s.setxattr("/sizes/100", "user.a", noise(20, 17), 0) }},
	{name: "set an attribute that needs a block", do: func(s subject) error { return s.setxattr("/sizes/100", "trusted.a", noise(700, 18), 0) }},
	{name: "set one of a directory", do: func(s subject) error { return s.setxattr("/many", "user.a", noise(200, 19), 0) }},
	{name: "set one of a symbolic link", do: func(s subject) error { return s.setxattr("/links/short", "trusted.a", noise(200, 20), 0) }},
	{name: "replace one in the inode by a long one", do: func(s subject) error {
		return s.setxattr("/attrs/inode", "user.small", noise(600, 21), unix.XATTR_REPLACE)
	}},
	{name: "replace one in a block by a short one", do: func(s subject) error {
		return s.setxattr("/attrs/block", "user.large", noise(6, 22), 0)
	}},
	{name: "remove one from the inode", do: func(s subject) error { return s.removexattr("/attrs/inode", "user.small") }},
	{name: "remove the last one of a block", do: func(s subject) error { return s.removexattr("/attrs/block", "user.large") }},
	{name: "create one that is there", do: func(s subject) error {
		return s.setxattr("/attrs/block", "user.large", nil, unix.XATTR_CREATE)
	}, want: syscall.EEXIST},
	{name: "replace one that is not there", do: func(s subject) error {
		return s.setxattr("/attrs/block", "user.none", nil, unix.XATTR_REPLACE)
	}, want: syscall.ENODATA},
	{name: "remove one that is not there", do: func(s subject) error { return s.removexattr("/attrs/block", "user.none") }, want: syscall.ENODATA},
	{name: "unlink what is immutable", do: func(s subject) error {
		return errors.Join(s.immutable("/sizes/100", true), s.remove("/sizes/100"))
	}, want: syscall.EPERM},
	{name: "write to what is no longer immutable", do: func(s subject) error {
		return errors.Join(s.immutable("/sizes/100", true), s.immutable("/sizes/100", false), s.write("/sizes/100", noise(5, 23), 3))
	}},
}

// Where the file system lies in its file: guards are in front of it and behind.
const (
	ext4Guard = 512 << 10
	ext4Size  = 24 << 20
)

// ext4Base makes an image with one of everything, by foreign tools, between
// guards and on top of what is 0xAA.
func ext4Base(t testing.TB, args string, size int64) string {
	t.Helper()
	testtool.Need(t, "mke2fs", "debugfs", "e2fsck")
	root := t.TempDir()
	tr := &tree{t: t, root: root}
	for _, dir := range []string{"sizes", "holes", "links", "attrs", "empty", "many"} {
		tr.dir(dir)
	}
	for _, n := range []int{0, 100, 5000, 300_000} {
		tr.file(fmt.Sprint("sizes/", n), n)
	}
	tr.sparse("holes/middle", 400_000, 5000, 0, 390_000)
	tr.sparse("holes/head", 200_000, 5000, 195_000)
	tr.sparse("holes/only", 123_456, 0)
	var comb []int64
	for off := int64(0); off < 4<<20; off += 40 << 10 {
		comb = append(comb, off)
	}
	tr.sparse("holes/combed", 4<<20, 4096, comb...)
	tr.symlink("links/short", "target")
	tr.symlink("links/long", strings.Repeat("long/", 60))
	tr.file("links/one", 10)
	require.NoError(t, os.Link(tr.path("links/one"), tr.path("links/two")))
	tr.file("attrs/inode", 5)
	tr.file("attrs/block", 5)
	for i := range 1500 {
		tr.file(fmt.Sprintf("many/file-%04d", i), 0)
	}
	image := filepath.Join(t.TempDir(), "base")
	filled(t, image, size+2*ext4Guard)
	at := fmt.Sprintf("offset=%d", ext4Guard)
	all := append(strings.Fields(args), "-q", "-F", "-I", "256", "-N", "4000", "-E", "nodiscard,lazy_itable_init=1,"+at, "-d", root, image, fmt.Sprintf("%dk", size>>10))
	testtool.Run(t, "mke2fs", all...)
	value := filepath.Join(root, "value")
	require.NoError(t, os.WriteFile(value, noise(800, 30), 0o600))
	script := filepath.Join(root, "script")
	require.NoError(t, os.WriteFile(script, []byte(strings.Join([]string{
		"mknod fifo p", "mknod char c 5 1", "mknod block b 8 300",
		"ea_set /attrs/inode user.small value", "ea_set /attrs/inode trusted.other another",
		"ea_set -f " + value + " /attrs/block user.large",
		"write /dev/null reserved", "fallocate /reserved 0 60", "sif /reserved size 50000",
	}, "\n")+"\n"), 0o600))
	testtool.Run(t, "debugfs", "-w", "-f", script, image+"?"+at)
	// It makes the indexes of directories, and says with 1 that it has done so.
	out, err := exec.Command("e2fsck", "-fyD", image+"?"+at).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("%v: %s", err, out)
	}
	judge(t, image)
	return image
}

// judge has e2fsck look at the file system between the guards, which has to be
// silent, and makes sure of these.
func judge(t testing.TB, image string) {
	t.Helper()
	out := testtool.Run(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", image, ext4Guard))
	for _, line := range strings.Split(out, "\n") {
		if line != "" && !strings.HasPrefix(line, "e2fsck ") && !strings.HasPrefix(line, "Pass ") && !strings.Contains(line, " files (") {
			t.Errorf("e2fsck says: %s", line)
		}
	}
	f, err := os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(t, err)
	for _, off := range []int64{0, st.Size() - ext4Guard} {
		p := make([]byte, ext4Guard)
		_, err := f.ReadAt(p, off)
		require.NoError(t, err)
		if !bytes.Equal(p, poisoned[:ext4Guard]) {
			t.Errorf("the guard at byte %d was written to", off)
		}
	}
}

// openBetween opens the file system between the guards of an image.
func openBetween(t testing.TB, image string) vfs.FS {
	t.Helper()
	file, err := blockio.OpenFile(image)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	dev, err := blockio.NewSection(file, ext4Guard, file.Size()-2*ext4Guard)
	require.NoError(t, err)
	fsys, err := ext4.Driver.Open(background, dev)
	require.NoError(t, err)
	return fsys
}

// changeBetween opens it for changing, and commits what change did to it.
func changeBetween(t testing.TB, image string, change func(v volume)) {
	t.Helper()
	file, err := blockio.OpenWritableFile(image)
	require.NoError(t, err)
	defer file.Close()
	session := blockio.NewSession(file, blockio.SessionOptions{})
	dev, err := blockio.NewTransactionSection(session, ext4Guard, file.Size()-2*ext4Guard)
	require.NoError(t, err)
	w, err := ext4.Driver.OpenWritable(background, dev)
	require.NoError(t, err)
	change(volume{w.(changeable)})
	require.NoError(t, session.Commit(background))
	require.NoError(t, w.Close())
}

// restore makes an image what base is. Most of it is that already.
func restore(t testing.TB, image string, base []byte) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	p := make([]byte, 256<<10)
	for off := 0; off < len(base); off += len(p) {
		part := base[off:min(off+len(p), len(base))]
		if n, _ := f.ReadAt(p[:len(part)], int64(off)); n == len(part) && bytes.Equal(p[:n], part) {
			continue
		}
		_, err := f.WriteAt(part, int64(off))
		require.NoError(t, err)
	}
}

// TestExt4Operations does each operation to a fresh image: it succeeds, or
// refuses as the kernel does; then e2fsck has nothing to say, the tree is what
// the operation makes of it, and nothing beside the file system was touched.
// Root has the kernel do the same, and show both results.
func TestExt4Operations(t *testing.T) {
	heavy(t)
	for _, form := range []struct {
		name, args string
		block      int
	}{
		{"default", "-t ext4 -b 4096", 4096},
		{"1k", "-t ext4 -b 1024", 1024},
		{"csum_seed", "-t ext4 -b 4096 -O metadata_csum_seed", 4096},
		{"bigalloc", "-t ext4 -b 1024 -O bigalloc -C 16384", 1024},
	} {
		t.Run(form.name, func(t *testing.T) {
			image := ext4Base(t, form.args, ext4Size)
			base, err := os.ReadFile(image)
			require.NoError(t, err)
			ours, theirs := filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
			clean := modelOf(t, openBetween(t, image), memfs.Options{BlockSize: form.block})
			for _, op := range ext4Ops {
				t.Run(op.name, func(t *testing.T) {
					answers := func(who string, err error) {
						t.Helper()
						if op.want == nil {
							assert.NoError(t, err, who)
						} else {
							assert.ErrorIs(t, err, op.want, who)
						}
					}
					restore(t, ours, base)
					changeBetween(t, ours, func(v volume) { answers("we", op.do(v)) })
					judge(t, ours)
					want := clean.Snapshot()
					answers("the model", op.do(volume{want}))
					require.NoError(t, model.Comparison{SkipTimes: true}.Compare(background, want, openBetween(t, ours)))
					if os.Geteuid() != 0 {
						return
					}
					restore(t, theirs, base)
					var made manifest.Manifest
					kernelMounts(t, theirs, "rw", func(dir string) {
						answers("the kernel", op.do(mounted(dir)))
						made = manifest.ReadDir(dir, manifest.Options{Xattrs: true})
					})
					kernelMounts(t, ours, "ro,noload", func(dir string) {
						got := manifest.ReadDir(dir, manifest.Options{Xattrs: true})
						assert.Empty(t, manifest.Diff(made, got, extFields&^(manifest.Mtime|manifest.Nsec), 10))
					})
				})
			}
		})
	}
}

// kernelMounts mounts the file system between the guards with the kernel's own
// driver while fn runs.
func kernelMounts(t testing.TB, image, options string, fn func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	testtool.Run(t, "mount", "-t", "ext4", "-o", fmt.Sprintf("loop,offset=%d,%s", ext4Guard, options), image, dir)
	defer testtool.Run(t, "umount", dir)
	fn(dir)
}

// TestExt4Full fills half a gigabyte, most of whose groups nobody has used yet,
// and empties it again.
func TestExt4Full(t *testing.T) {
	heavy(t)
	image := ext4Base(t, "-t ext4 -b 4096", 512<<20)
	var before, after vfs.Statfs
	changeBetween(t, image, func(v volume) {
		var err error
		before, err = v.w.Statfs(background)
		require.NoError(t, err)
		require.NoError(t, v.create("/full", nodeOf(aFile)))
		piece, off := noise(1<<20, 1), int64(0)
		for err == nil {
			err = v.write("/full", piece, off)
			off += int64(len(piece))
		}
		assert.ErrorIs(t, err, syscall.ENOSPC)
		assert.Greater(t, off, int64(before.Avail)*before.BlockSize*95/100)
	})
	judge(t, image)
	changeBetween(t, image, func(v volume) {
		require.NoError(t, v.remove("/full"))
		var err error
		after, err = v.w.Statfs(background)
		require.NoError(t, err)
	})
	judge(t, image)
	assert.Equal(t, before, after)
}
