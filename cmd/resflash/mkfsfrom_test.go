package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/testtool"
)

// hostTree makes a tree to be copied.
func hostTree(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir+"/bin/deep", 0o755))
	require.NoError(t, os.WriteFile(dir+"/bin/tool", []byte(strings.Repeat("tool", 5000)), 0o755))
	require.NoError(t, os.Chmod(dir+"/bin/tool", 0o755|os.ModeSetuid))
	require.NoError(t, os.Link(dir+"/bin/tool", dir+"/bin/deep/other"))
	require.NoError(t, os.Symlink("bin/tool", dir+"/link"))
	require.NoError(t, os.WriteFile(dir+"/empty", nil, 0o640))
	require.NoError(t, os.Truncate(dir+"/empty", 1<<20))
	require.NoError(t, os.Chmod(dir, 0o751))
}

// A file system is made and filled by one command, the same every time, for all
// formats that can be written to.
func TestMkfsFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	hostTree(t, "tree")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	for _, kind := range []string{"ffs1", "ffs2", "ext2", "ext3", "ext4"} {
		out := works(t, "mkfs", "--type", kind, "--size", "16M", "--seed", "1", "--from", "tree", "--owner", "7:8", "a.fs", "--force")
		assert.Contains(t, out, ", 7 files from tree")
		judged(t, kind, "a.fs")
		assert.Equal(t, strings.Repeat("tool", 5000), works(t, "cat", "a.fs:/bin/deep/other"))
		list := works(t, "ls", "-lR", "a.fs:/")
		assert.Contains(t, list, "-rwsr-xr-x")
		assert.Contains(t, list, "link -> bin/tool")
		var st []struct {
			Mode     string
			UID, GID uint32
		}
		decode(t, works(t, "stat", "--json", "a.fs:/bin/tool", "a.fs:/"), &st)
		assert.Equal(t, []uint32{7, 8}, []uint32{st[0].UID, st[0].GID})
		assert.Equal(t, "0751", st[1].Mode)
		works(t, "mkfs", "--type", kind, "--size", "16M", "--seed", "1", "--from", "tree", "--owner", "7:8", "b.fs", "--force")
		assert.Equal(t, digest(t, "a.fs"), digest(t, "b.fs"))
	}
	var made mkfsJSON
	decode(t, works(t, "mkfs", "--type", "ffs2", "--size", "16M", "--from", "tree/.", "--keep-owner", "--json", "c.fs"), &made)
	assert.EqualValues(t, 7, made.Files)
	assert.Less(t, made.Free, int64(16<<20))
}

// Large files, which the host copies itself where it can, arrive whole; so do
// those with holes.
func TestMkfsFromLargeFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("tree", 0o755))
	large := make([]byte, 3<<20+777)
	for i := range large {
		large[i] = byte(i*7 + i>>9)
	}
	require.NoError(t, os.WriteFile("tree/large", large, 0o644))
	require.NoError(t, os.WriteFile("tree/holes", large, 0o644))
	f, err := os.OpenFile("tree/holes", os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 1<<20))
	require.NoError(t, f.Close())
	holes, err := os.ReadFile("tree/holes")
	require.NoError(t, err)
	for _, kind := range []string{"ffs1", "ffs2", "ext2", "ext3", "ext4", "fat12", "fat16", "fat32"} {
		works(t, "mkfs", "--type", kind, "--size", "64M", "--from", "tree", "a.fs", "--force")
		works(t, "check", "a.fs")
		assert.True(t, string(large) == works(t, "cat", "a.fs:/large"), kind)
		assert.True(t, string(holes) == works(t, "cat", "a.fs:/holes"), kind)
		works(t, "cp", "tree/large", "a.fs:/again")
		works(t, "rm", "a.fs:/large")
		works(t, "cp", "tree/large", "a.fs:/third")
		works(t, "check", "a.fs")
		assert.True(t, string(large) == works(t, "cat", "a.fs:/third"), kind)
		if kind[0] == 'e' {
			judged(t, kind, "a.fs")
		}
	}
}

// judged has a checker look for damage: ours, or e2fsck.
func judged(t *testing.T, kind, name string) {
	t.Helper()
	if strings.HasPrefix(kind, "ffs") {
		clean(t, name)
		return
	}
	testtool.Need(t, "e2fsck")
	testtool.Run(t, "e2fsck", "-fn", name)
}

// What goes wrong leaves everything as it was: no new file, and a volume that
// was to be overwritten with all that was in it.
func TestMkfsFromFails(t *testing.T) {
	here(t)
	data, err := os.ReadFile("disk.img")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("copy.img", data, 0o600))
	hostTree(t, "tree")
	big := make([]byte, 1<<20)
	for i := range 200 {
		big[i] = byte(i)
		require.NoError(t, os.WriteFile("tree/z"+strings.Repeat("z", i), big, 0o600))
	}
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"mkfs --type ffs2 --size 16M --from tree new.fs", exitFull, "new.fs: copy of tree/"},
		{"mkfs --type ext4 --size 16M --from tree new.fs", exitFull, "new.fs: copy of tree/"},
		{"mkfs --type ffs2 --size 16M --from none new.fs", exitNotFound, "none: no such file"},
		{"mkfs --type ffs2 --size 16M --from disk.img new.fs", exitNotFound, "disk.img: not a directory"},
		{"mkfs --type ffs2 --size 16M --from tree --owner www new.fs", exitUsage, `--owner "www": want numbers`},
		{"mkfs --type ffs2 --size 16M --owner 1:1 new.fs", exitUsage, "are for --from"},
		{"mkfs --type ffs2 --force --from tree copy.img:cfg", exitFull, "is full"},
	} {
		stdout, stderr, code := resflash(strings.Fields(tt.args)...)
		assert.Equal(t, tt.code, code, "%s: %s", tt.args, stderr)
		assert.Contains(t, stderr, tt.stderr, tt.args)
		assert.NotContains(t, stderr, "new.fs: new.fs", "the name is said once")
		assert.Empty(t, stdout)
	}
	assert.Equal(t, []string{"copy.img", "disk.img", "tree"}, names(t, "."))
	assert.Equal(t, digest(t, "disk.img"), digest(t, "copy.img"), "what was to be overwritten is there")

	require.NoError(t, os.RemoveAll("tree"))
	hostTree(t, "tree")
	works(t, "mkfs", "--type", "ffs2", "--force", "--from", "tree", "copy.img:cfg")
	assert.Equal(t, strings.Repeat("tool", 5000), works(t, "cat", "copy.img:cfg:/bin/tool"))
	assert.Equal(t, works(t, "hash", "disk.img:d")[:64], works(t, "hash", "copy.img:d")[:64])
	clean(t, "copy.img:cfg")
}
