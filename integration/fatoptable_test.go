package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A fatOp is an operation, and what is to come of it.
type fatOp struct {
	name string
	do   func(e *fatEdit)
}

var fatOperations = []fatOp{
	// Contents.
	{"nothing at all", func(*fatEdit) {}},
	{"create an empty file", func(e *fatEdit) { e.create("new", "") }},
	{"create a small file", func(e *fatEdit) { e.create("DIR/New file", "12345") }},
	{"create files around a cluster", func(e *fatEdit) {
		for _, n := range []int{511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049} {
			e.create(fmt.Sprint("size", n), fill(n, byte(n)))
		}
	}},
	{"write to an empty file of mtools", func(e *fatEdit) { e.write("EMPTY.TXT", fill(3000, 4), 0) }},
	{"write far into an empty file", func(e *fatEdit) { e.write("EMPTY.TXT", "x", 9000) }},
	{"append", func(e *fatEdit) {
		for i := range 20 {
			e.write("HELLO.TXT", fill(333, byte(i)), len(e.want["HELLO.TXT"]))
		}
	}},
	{"append to a large file", func(e *fatEdit) { e.write("big.bin", fill(100_000, 9), 150_000) }},
	{"overwrite the middle", func(e *fatEdit) { e.write("big.bin", fill(40_000, 5), 33_333) }},
	{"overwrite and go on behind the end", func(e *fatEdit) { e.write("Long file name.text", fill(20_000, 6), 4000) }},
	{"write behind the end", func(e *fatEdit) { e.write("HELLO.TXT", "end", 70_000) }},
	{"write behind the end in the last cluster", func(e *fatEdit) { e.write("HELLO.TXT", "end", 200) }},
	{"write to a read-only file", func(e *fatEdit) { e.write("RO.TXT", "X", 0) }},
	{"truncate to nothing", func(e *fatEdit) { e.truncate("big.bin", 0) }},
	{"truncate within a cluster", func(e *fatEdit) { e.truncate("HELLO.TXT", 2) }},
	{"truncate by many clusters", func(e *fatEdit) { e.truncate("big.bin", 70_001) }},
	{"truncate to a whole cluster", func(e *fatEdit) { e.truncate("big.bin", 4096) }},
	{"extend", func(e *fatEdit) { e.truncate("HELLO.TXT", 50_000) }},
	{"extend an empty file", func(e *fatEdit) { e.truncate("EMPTY.TXT", 5000) }},
	{"truncate and extend", func(e *fatEdit) {
		e.truncate("big.bin", 10_001)
		e.truncate("big.bin", 90_000)
	}},
	{"truncate and write behind", func(e *fatEdit) {
		e.truncate("big.bin", 10)
		e.write("big.bin", "end", 1000)
	}},
	{"truncate to a negative size", func(e *fatEdit) {
		size := int64(-1)
		_, err := e.set("big.bin", vfs.SetAttr{Size: &size})
		e.fails(syscall.EINVAL, err)
	}},
	{"extend beyond four gigabytes", func(e *fatEdit) {
		size := int64(1 << 32)
		_, err := e.set("big.bin", vfs.SetAttr{Size: &size})
		e.fails(syscall.EFBIG, err)
	}},
	{"extend beyond the space", func(e *fatEdit) {
		size := int64(1<<32 - 1)
		_, err := e.set("big.bin", vfs.SetAttr{Size: &size})
		e.fails(syscall.ENOSPC, err)
	}},
	{"write far beyond the space", func(e *fatEdit) {
		n, err := e.fs.WriteAt(e.ctx, e.ino("HELLO.TXT"), []byte("x"), 1<<31)
		e.fails(syscall.ENOSPC, err)
		assert.Zero(e, n)
	}},
	{"write to a directory", func(e *fatEdit) {
		_, err := e.fs.WriteAt(e.ctx, e.ino("DIR"), []byte("x"), 0)
		e.fails(syscall.EISDIR, err)
	}},
	{"fallocate", func(e *fatEdit) {
		f := e.fs.(vfs.Fallocater)
		require.NoError(e, f.Fallocate(e.ctx, e.ino("HELLO.TXT"), 0, 100, 5000))
		e.want["HELLO.TXT"] += strings.Repeat("\x00", 5100-6)
		require.NoError(e, f.Fallocate(e.ctx, e.ino("big.bin"), 0, 0, 5000))
		for _, mode := range []vfs.AllocMode{vfs.AllocKeepSize, vfs.AllocKeepSize | vfs.AllocPunchHole, vfs.AllocZeroRange} {
			e.fails(syscall.EOPNOTSUPP, f.Fallocate(e.ctx, e.ino("big.bin"), mode, 0, 100))
		}
	}},
	{"fill the volume", func(e *fatEdit) {
		e.want["full"] = e.fillUp("full")
		assert.Zero(e, e.free())
	}},
	{"fill the volume twice", func(e *fatEdit) {
		e.fillUp("full")
		e.unlink("full")
		e.unlink("big.bin")
		e.want["again"] = e.fillUp("again")
		assert.Zero(e, e.free())
	}},
	{"fill the volume through its gaps", func(e *fatEdit) {
		for i := range 60 {
			e.create(fmt.Sprint("DIR/gap", i), fill(6000, byte(i)))
		}
		for i := 0; i < 60; i += 2 {
			e.unlink(fmt.Sprint("DIR/gap", i))
		}
		e.want["full"] = e.fillUp("full")
	}},
	{"a full volume refuses without a trace", func(e *fatEdit) {
		e.want["full"] = e.fillUp("full")
		e.fails(syscall.ENOSPC, e.tryCreate("DIR/new directory", vfs.Dir))
		_, err := e.fs.WriteAt(e.ctx, e.ino("EMPTY.TXT"), []byte("x"), 0)
		e.fails(syscall.ENOSPC, err)
	}},

	// Names that come and go.
	{"unlink", func(e *fatEdit) { e.unlink("HELLO.TXT") }},
	{"unlink a large file", func(e *fatEdit) {
		free := e.free()
		e.unlink("big.bin")
		assert.Greater(e, e.free(), free+30)
	}},
	{"unlink an empty file", func(e *fatEdit) { e.unlink("EMPTY.TXT") }},
	{"unlink a read-only file", func(e *fatEdit) { e.unlink("RO.TXT") }},
	{"unlink by another spelling", func(e *fatEdit) {
		require.NoError(e, e.fs.Unlink(e.ctx, e.fs.Root(), "LONG FILE NAME.TEXT"))
		delete(e.want, "Long file name.text")
	}},
	{"unlink by the short name", func(e *fatEdit) {
		require.NoError(e, e.fs.Unlink(e.ctx, e.fs.Root(), "longfi~1.tex"))
		delete(e.want, "Long file name.text")
	}},
	{"unlink what is not there", func(e *fatEdit) {
		e.fails(syscall.ENOENT, e.fs.Unlink(e.ctx, e.fs.Root(), "none"))
		e.fails(syscall.EISDIR, e.fs.Unlink(e.ctx, e.fs.Root(), "DIR"))
	}},
	{"unlink an open file", func(e *fatEdit) {
		ino := e.ino("big.bin")
		e.fs.Pin(ino)
		e.unlink("big.bin")
		require.NoError(e, e.fs.Sync(e.ctx))
		e.create("other", fill(100_000, 8))
		p := make([]byte, 150_000)
		_, err := e.fs.ReadAt(e.ctx, ino, p, 0)
		require.NoError(e, err)
		assert.Equal(e, fatBase["big.bin"], string(p))
		require.NoError(e, e.fs.Unpin(e.ctx, ino))
	}},
	{"mkdir", func(e *fatEdit) { e.mkdir("New directory") }},
	{"mkdir in a directory", func(e *fatEdit) {
		e.mkdir("DIR/SUB/below")
		e.create("DIR/SUB/below/file", "x")
	}},
	{"mkdir where there is something", func(e *fatEdit) {
		e.fails(syscall.EEXIST, e.tryCreate("DIR", vfs.Dir))
		e.fails(syscall.EEXIST, e.tryCreate("hello.txt", vfs.Dir))
	}},
	{"directories below each other", func(e *fatEdit) {
		name := "deep"
		e.mkdir(name)
		for range 20 {
			name += "/next level"
			e.mkdir(name)
		}
		e.create(name+"/file", "down here")
	}},
	{"rmdir", func(e *fatEdit) {
		free := e.free()
		e.rmdir("EMPTYDIR")
		assert.Equal(e, free+1, e.free())
	}},
	{"rmdir what is not empty", func(e *fatEdit) {
		e.fails(syscall.ENOTEMPTY, e.fs.Rmdir(e.ctx, e.fs.Root(), "DIR"))
		e.fails(syscall.ENOTDIR, e.fs.Rmdir(e.ctx, e.fs.Root(), "HELLO.TXT"))
		e.fails(syscall.ENOENT, e.fs.Rmdir(e.ctx, e.fs.Root(), "none"))
	}},
	{"remove everything", func(e *fatEdit) {
		for name := range fatBase {
			require.NoError(e, e.tree.RemoveAll(e.ctx, "/"+name))
		}
		clear(e.want)
	}},

	// Renames.
	{"rename", func(e *fatEdit) { e.rename("HELLO.TXT", "A longer name than before.txt") }},
	{"rename to a shorter name", func(e *fatEdit) { e.rename("Long file name.text", "SHORT") }},
	{"rename into a directory", func(e *fatEdit) { e.rename("big.bin", "DIR/SUB/big.bin") }},
	{"rename over a file", func(e *fatEdit) {
		free := e.free()
		e.rename("HELLO.TXT", "big.bin")
		assert.Greater(e, e.free(), free)
	}},
	{"rename over a file by another spelling", func(e *fatEdit) {
		require.NoError(e, e.tryRename("HELLO.TXT", "BIG.BIN", 0))
		delete(e.want, "big.bin")
		delete(e.want, "HELLO.TXT")
		e.want["BIG.BIN"] = "hello\n"
	}},
	{"rename over a read-only file", func(e *fatEdit) { e.rename("HELLO.TXT", "RO.TXT") }},
	{"rename a directory into another", func(e *fatEdit) { e.rename("DIR/SUB", "Other directory with a name/Sub") }},
	{"rename a directory to the root", func(e *fatEdit) { e.rename("DIR/SUB", "SUB") }},
	{"rename a directory from the root", func(e *fatEdit) { e.rename("Other directory with a name", "DIR/Other") }},
	{"rename a directory below itself", func(e *fatEdit) {
		e.fails(syscall.EINVAL, e.tryRename("DIR", "DIR/SUB/new", 0))
	}},
	{"rename over a directory that is empty", func(e *fatEdit) {
		delete(e.want, "EMPTYDIR/")
		e.rename("DIR", "EMPTYDIR")
	}},
	{"rename over what it cannot replace", func(e *fatEdit) {
		e.fails(syscall.ENOTEMPTY, e.tryRename("EMPTYDIR", "DIR", 0))
		e.fails(syscall.EISDIR, e.tryRename("HELLO.TXT", "EMPTYDIR", 0))
		e.fails(syscall.ENOTDIR, e.tryRename("EMPTYDIR", "HELLO.TXT", 0))
		e.fails(syscall.EEXIST, e.tryRename("HELLO.TXT", "big.bin", vfs.RenameNoReplace))
		e.fails(syscall.ENOENT, e.tryRename("none", "new", 0))
	}},
	{"rename to another spelling", func(e *fatEdit) {
		e.rename("HELLO.TXT", "Hello.Txt")
		e.rename("Hello.Txt", "hello.txt")
		e.rename("DIR", "dir")
		e.rename("dir", "Dir")
	}},
	{"rename to the short name", func(e *fatEdit) { e.rename("Long file name.text", "LONGFI~1.TEX") }},
	{"exchange files", func(e *fatEdit) {
		require.NoError(e, e.tryRename("HELLO.TXT", "DIR/SUB/Deep file.txt", vfs.RenameExchange))
		e.want["HELLO.TXT"], e.want["DIR/SUB/Deep file.txt"] = "deep", "hello\n"
	}},
	{"exchange a file and a directory", func(e *fatEdit) {
		require.NoError(e, e.tryRename("HELLO.TXT", "DIR/SUB", vfs.RenameExchange))
		delete(e.want, "DIR/SUB/")
		delete(e.want, "DIR/SUB/Deep file.txt")
		e.want["DIR/SUB"] = "hello\n"
		e.want["HELLO.TXT/"], e.want["HELLO.TXT/Deep file.txt"] = "", "deep"
		delete(e.want, "HELLO.TXT")
	}},

	// Names.
	{"long names", func(e *fatEdit) {
		for _, n := range []int{9, 12, 13, 14, 26, 27, 100, 254, 255} {
			e.create(strings.Repeat("n", n), fmt.Sprint(n))
		}
	}},
	{"a name that is too long", func(e *fatEdit) {
		e.fails(syscall.ENAMETOOLONG, e.tryCreate(strings.Repeat("n", 300), vfs.Regular))
		e.fails(syscall.ENAMETOOLONG, e.tryCreate(strings.Repeat("😀", 128), vfs.Regular))
	}},
	{"names of other letters", func(e *fatEdit) {
		for _, name := range []string{"Grüße.txt", "日本語.txt", "a😀b.c", "Ω mega", "ñ"} {
			e.create(name, name)
		}
	}},
	{"names that are like others", func(e *fatEdit) {
		e.fails(syscall.EEXIST, e.tryCreate("hello.txt", vfs.Regular))
		e.fails(syscall.EEXIST, e.tryCreate("LONG FILE NAME.TEXT", vfs.Regular))
		e.fails(syscall.EEXIST, e.tryCreate("LongFi~1.tex", vfs.Regular))
	}},
	{"names that are none", func(e *fatEdit) {
		for _, name := range []string{"a:b", "a*b", "a?", "\"", "<", ">", "|", "\\", "dot.", "space ", "\x1f", "bad \xff utf-8"} {
			e.fails(syscall.EINVAL, e.tryCreate(name, vfs.Regular))
		}
	}},
	{"names with capitals and without", func(e *fatEdit) {
		for _, name := range []string{"lower.txt", "UPPER.TXT2", "UPPER2.TXT", "low.TXT", "UP.txt", "MiXed.tXt", "noext", "1.2.3", ".dot", "a+b", "with space"} {
			e.create("DIR/"+name, name)
		}
	}},
	{"names with the same beginning", func(e *fatEdit) {
		for i := range 30 {
			e.create(fmt.Sprint("DIR/The same beginning ", i, ".text"), fmt.Sprint(i))
		}
	}},
	{"names of bytes that only DOS knows", func(e *fatEdit) {
		// 0x81 is the small u with dots, which mtools made the capital of.
		volume := e.volume()
		at := bytes.Index(volume, []byte("HELLO   TXT"))
		require.Positive(e, at)
		copy(volume[at:], "\x9aM\xe5LO   T\x8eT")
		_, err := e.disk.WriteAt(volume, fatGuard)
		require.NoError(e, err)
		e.open()
		was := bytes.Clone(volume[at : at+32])
		e.create("new", "x")
		e.mkdir("another")
		e.unlink("EMPTY.TXT")
		require.NoError(e, e.fs.Sync(e.ctx))
		assert.Equal(e, was, e.volume()[at:at+32])
		// mcopy has its own idea of that name.
		require.NoError(e, e.fs.Rename(e.ctx, e.fs.Root(), "ümσlo.tät", e.fs.Root(), "Hello.Txt", 0))
		delete(e.want, "HELLO.TXT")
		e.want["Hello.Txt"] = "hello\n"
	}},

	// Directories that grow.
	{"many files in a directory", func(e *fatEdit) {
		for i := range 300 {
			e.create(fmt.Sprint("EMPTYDIR/a file with a long name ", i), "")
		}
	}},
	{"a directory that was large", func(e *fatEdit) {
		for i := range 200 {
			e.create(fmt.Sprint("EMPTYDIR/a file with a long name ", i), "")
		}
		for i := range 200 {
			e.unlink(fmt.Sprint("EMPTYDIR/a file with a long name ", i))
		}
		free := e.free()
		for i := range 200 {
			e.create(fmt.Sprint("EMPTYDIR/another file as long as ", i), "")
		}
		assert.Equal(e, free, e.free(), "the slots were used again")
		e.unlink("EMPTYDIR/another file as long as 5")
		e.create("EMPTYDIR/5", "five")
	}},
	{"the root directory is full", func(e *fatEdit) {
		var err error
		i := 0
		for ; i < 600 && err == nil; i++ {
			if err = e.tryCreate(fmt.Sprint("F", i), vfs.Regular); err == nil {
				e.want[fmt.Sprint("F", i)] = ""
			}
		}
		if e.bits == 32 {
			require.NoError(e, err)
			return
		}
		e.fails(syscall.ENOSPC, err)
		e.fails(syscall.ENOSPC, e.tryCreate("new", vfs.Dir))
		e.fails(syscall.ENOSPC, e.tryRename("DIR/file.txt", "moved", 0))
		e.unlink("F7")
		e.create("G7", "in its place")
		// What is replaced makes room.
		e.rename("DIR/file.txt", "F8")
	}},

	// Attributes.
	{"read-only", func(e *fatEdit) {
		for _, c := range []struct {
			name string
			mode vfs.Mode
		}{{"HELLO.TXT", 0o444}, {"RO.TXT", 0o644}, {"big.bin", 0o600}, {"DIR", 0o555}} {
			_, err := e.set(c.name, vfs.SetAttr{Mode: &c.mode})
			require.NoError(e, err)
		}
		list := e.mattrib()
		assert.Regexp(e, "(?m)^  A    R +HELLO.TXT$", list)
		assert.Regexp(e, "(?m)^  A +RO.TXT$", list)
		assert.Regexp(e, "(?m)^  A +big.bin$", list)
	}},
	{"hidden and system", func(e *fatEdit) {
		flags := vfs.UserHidden | vfs.UserSystem
		_, err := e.set("HELLO.TXT", vfs.SetAttr{Flags: &flags})
		require.NoError(e, err)
		_, err = e.set("DIR", vfs.SetAttr{Flags: &flags})
		require.NoError(e, err)
		assert.Regexp(e, "(?m)^     SH +HELLO.TXT$", e.mattrib())
		flags = vfs.SystemImmutable
		_, err = e.set("HELLO.TXT", vfs.SetAttr{Flags: &flags})
		e.fails(syscall.EOPNOTSUPP, err)
	}},
	{"what there is not", func(e *fatEdit) {
		for _, typ := range []vfs.Mode{vfs.Symlink, vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block} {
			e.fails(syscall.EPERM, e.tryCreate("new", typ))
		}
		_, err := e.fs.Link(e.ctx, e.ino("HELLO.TXT"), e.fs.Root(), "new")
		e.fails(syscall.EPERM, err)
		owner, mode := uint32(5), vfs.Mode(0o4755)
		_, err = e.set("HELLO.TXT", vfs.SetAttr{UID: &owner})
		e.fails(syscall.EPERM, err)
		_, err = e.set("HELLO.TXT", vfs.SetAttr{Mode: &mode})
		e.fails(syscall.EPERM, err)
		owner = 0
		_, err = e.set("HELLO.TXT", vfs.SetAttr{UID: &owner, GID: &owner})
		require.NoError(e, err)
	}},
	{"times", func(e *fatEdit) {
		when := time.Date(2031, 2, 3, 4, 5, 6, 7, time.UTC)
		attr, err := e.set("HELLO.TXT", vfs.SetAttr{Mtime: &when, Atime: &when})
		require.NoError(e, err)
		assert.Equal(e, when.Truncate(2*time.Second), attr.Mtime)
		assert.Equal(e, when.Truncate(24*time.Hour), attr.Atime)
		_, err = e.set("DIR", vfs.SetAttr{Mtime: &when})
		require.NoError(e, err)
		require.NoError(e, e.fs.Sync(e.ctx))
		img := filepath.Join(e.TempDir(), "times")
		require.NoError(e, os.WriteFile(img, e.volume(), 0o600))
		list := testtool.Run(e.T, "env", "TZ=UTC", "mdir", "-i", img, "::")
		assert.Regexp(e, `HELLO +TXT +6 2031-02-03 +4:05`, list)
		assert.Regexp(e, `DIR +<DIR> +2031-02-03 +4:05`, list)
	}},
	{"times of what is made", func(e *fatEdit) {
		e.create("new", "x")
		e.create("DIR/new", "x")
		for _, name := range []string{"new", "DIR/new", "DIR"} {
			attr, err := e.tree.Resolve(e.ctx, "/"+name)
			require.NoError(e, err)
			assert.Equal(e, time.Date(2024, 5, 6, 7, 8, 8, 0, time.UTC), attr.Mtime, name)
		}
	}},

	// Transactions.
	{"what is not committed is not there", func(e *fatEdit) {
		e.create("new", fill(10_000, 1))
		e.unlink("HELLO.TXT")
		e.mkdir("another")
		e.truncate("big.bin", 100)
		img := filepath.Join(e.TempDir(), "uncommitted")
		require.NoError(e, os.WriteFile(img, e.volume(), 0o600))
		testtool.Run(e.T, "fsck.fat", "-n", img)
		assert.Equal(e, fatBase, e.byMtools(img))
		require.NoError(e, os.RemoveAll(filepath.Join(filepath.Dir(img), "out")))
	}},
	{"a hundred commits", func(e *fatEdit) {
		for i := range 100 {
			e.create(fmt.Sprint("DIR/f", i), fill(2000, byte(i)))
			if i%3 == 2 {
				e.unlink(fmt.Sprint("DIR/f", i-1))
			}
			require.NoError(e, e.fs.Sync(e.ctx))
		}
	}},
	{"the free count", func(e *fatEdit) {
		e.unlink("big.bin")
		e.create("new", fill(30_000, 1))
		if e.bits != 32 {
			return
		}
		require.NoError(e, e.fs.Sync(e.ctx))
		volume := e.volume()
		info := volume[512:1024]
		free := uint64(info[488]) | uint64(info[489])<<8 | uint64(info[490])<<16 | uint64(info[491])<<24
		assert.Equal(e, e.free(), free)
	}},
}

// fillUp writes to a new file until there is no more space, and returns what it
// holds.
func (e *fatEdit) fillUp(name string) string {
	e.Helper()
	dir, last := e.at(name)
	attr, err := e.fs.Create(e.ctx, dir, last, vfs.NewNode{Mode: vfs.Regular | 0o644})
	require.NoError(e, err)
	var all strings.Builder
	for i := 0; ; i++ {
		p := fill(100_001, byte(i))
		n, err := e.fs.WriteAt(e.ctx, attr.Ino, []byte(p), int64(all.Len()))
		all.WriteString(p[:n])
		if err != nil {
			e.fails(syscall.ENOSPC, err)
			e.want[name] = all.String()
			return all.String()
		}
	}
}

// mattrib commits, and lists the attributes of the root directory.
func (e *fatEdit) mattrib() string {
	require.NoError(e, e.fs.Sync(e.ctx))
	img := filepath.Join(e.TempDir(), "attributes")
	require.NoError(e, os.WriteFile(img, e.volume(), 0o600))
	lines := strings.Split(testtool.Run(e.T, "mattrib", "-i", img, "::*"), "\n")
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "::/", "")
	}
	return strings.Join(lines, "\n")
}
