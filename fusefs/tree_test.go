package fusefs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

func volumeWith(name string, dirs ...string) *memfs.FS {
	fsys := memfs.New()
	for _, dir := range dirs {
		fsys.AddDir(dir)
	}
	fsys.AddFile("/name", []byte(name))
	fsys.AddXattr("/name", "user.volume", []byte(name))
	return fsys
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st), path)
	return st
}

func read(t *testing.T, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(p)
}

func TestVolumes(t *testing.T) {
	needMount(t)
	dir := mountPoint(t)
	srv, err := fusefs.MountVolumes(dir, []fusefs.Volume{
		{Name: "d", Aliases: []string{"root", "active"}, FS: volumeWith("d", "/etc")},
		{Name: "e", Aliases: []string{"inactive"}, FS: plain{volumeWith("e")}},
		{Name: "cfg", FS: volumeWith("cfg")},
	}, fusefs.Options{ReadOnly: true, FSName: "disk, with comma.img"})
	require.NoError(t, err)
	defer unmount(t, srv)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var listed []string
	for _, e := range entries {
		listed = append(listed, e.Name()+" "+e.Type().String())
	}
	assert.Equal(t, []string{
		"active L---------", "cfg d---------", "d d---------", "e d---------", "inactive L---------", "root L---------",
	}, listed)
	for path, want := range map[string]string{
		"d": "d", "e": "e", "cfg": "cfg", "root": "d", "active": "d", "inactive": "e", "root/etc/..": "d", "e/../cfg": "cfg",
	} {
		assert.Equal(t, want, read(t, dir+"/"+path+"/name"), path)
	}
	target, err := os.Readlink(dir + "/root")
	require.NoError(t, err)
	assert.Equal(t, "d", target, "relative, so that it works wherever the mount is")

	root := stat(t, dir)
	assert.Equal(t, uint32(unix.S_IFDIR|0o555), root.Mode)
	assert.EqualValues(t, 5, root.Nlink)
	assert.NotZero(t, root.Mtim.Sec)
	// The same inode number in every volume, and yet told apart.
	inos := map[uint64]bool{}
	for _, name := range []string{"d", "e", "cfg"} {
		inos[stat(t, dir+"/"+name).Ino] = true
		inos[stat(t, dir+"/"+name+"/name").Ino] = true
	}
	assert.Len(t, inos, 6)
	assert.Equal(t, uint64(1)<<48|2, stat(t, dir+"/d").Ino)

	// One volume has extended attributes, the other not.
	buf := make([]byte, 10)
	_, err = unix.Getxattr(dir+"/e/name", "user.volume", buf)
	assert.Equal(t, unix.EOPNOTSUPP, err)
	n, err := unix.Getxattr(dir+"/d/name", "user.volume", buf)
	require.NoError(t, err)
	assert.Equal(t, "d", string(buf[:n]))
	var st unix.Statfs_t
	assert.NoError(t, unix.Statfs(dir, &st))

	text, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.Contains(t, string(text), `disk,\040with\040comma.img `+dir+" fuse.resflash ro,nosuid,nodev")
}

func TestVolumeNamesCollide(t *testing.T) {
	dir := mountPoint(t)
	for _, vols := range [][]fusefs.Volume{
		{{Name: "d", FS: memfs.New()}, {Name: "d", FS: memfs.New()}},
		{{Name: "d", FS: memfs.New(), Aliases: []string{"e"}}, {Name: "e", FS: memfs.New()}},
		{{Name: "a/b", FS: memfs.New()}},
		{{Name: "", FS: memfs.New()}},
		{{Name: "..", FS: memfs.New()}},
	} {
		_, err := fusefs.MountVolumes(dir, vols, fusefs.Options{})
		assert.Error(t, err)
	}
}

func TestTree(t *testing.T) {
	needMount(t)
	dir := mountPoint(t)
	srv, err := fusefs.MountTree(dir, []fusefs.Volume{
		{Name: "d", FS: volumeWith("d", "/usr", "/usr/local", "/home", "/var")},
		{Name: "usr", FS: volumeWith("usr", "/local", "/bin")},
		{Name: "local", FS: volumeWith("local")},
		{Name: "home", FS: volumeWith("home")},
	}, []fusefs.Graft{{"/usr", 1}, {"/usr/local/", 2}, {"/home", 3}}, fusefs.Options{ReadOnly: true})
	require.NoError(t, err)
	defer unmount(t, srv)
	for path, want := range map[string]string{
		"": "d", "usr": "usr", "usr/local": "local", "home": "home", "usr/local/..": "usr", "usr/local/../..": "d", "usr/bin/..": "usr",
	} {
		assert.Equal(t, want, read(t, filepath.Join(dir, "x", "..")+"/"+path+"/name"), path)
	}
	// Listing and looking up agree about what is at a graft.
	d, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	defer unix.Close(d)
	assert.Equal(t, uint64(1)<<48|2, stat(t, dir+"/usr").Ino)
	assert.Equal(t, uint64(2), stat(t, dir).Ino, "the root volume keeps its inode numbers")
	for path, above := range map[string]string{"/usr": "", "/usr/local": "/usr", "/home": "", "/var": "", "/usr/bin": "/usr"} {
		assert.Equal(t, stat(t, dir+above).Ino, dotDot(t, dir+path), "d_ino of .. in %s", path)
	}
	assert.EqualValues(t, stat(t, dir).Ino, dotDot(t, dir))
}

// dotDot returns the inode number that a directory lists for "..".
func dotDot(t *testing.T, path string) uint64 {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	n, err := unix.Getdents(fd, buf)
	require.NoError(t, err)
	for p := buf[:n]; len(p) >= 24; {
		length := int(p[16]) | int(p[17])<<8
		if string(p[19:22]) == "..\x00" {
			var ino uint64
			for i := range 8 {
				ino |= uint64(p[i]) << (8 * i)
			}
			return ino
		}
		p = p[length:]
	}
	t.Fatalf("%s lists no ..", path)
	return 0
}

func TestBadGrafts(t *testing.T) {
	dir := mountPoint(t)
	root := volumeWith("d", "/usr")
	root.AddSymlink("/link", "usr")
	vols := []fusefs.Volume{{Name: "d", FS: root}, {Name: "a", FS: memfs.New()}, {Name: "b", FS: memfs.New()}}
	for _, c := range []struct {
		grafts []fusefs.Graft
		want   error
	}{
		{[]fusefs.Graft{{"/none", 1}}, syscall.ENOENT},
		{[]fusefs.Graft{{"/name", 1}}, syscall.ENOTDIR},
		{[]fusefs.Graft{{"/link", 1}}, syscall.ENOTDIR},
		{[]fusefs.Graft{{"/", 1}}, syscall.EBUSY},
		{[]fusefs.Graft{{"/usr/..", 1}}, syscall.EINVAL},
		{[]fusefs.Graft{{"/usr", 1}, {"/usr", 2}}, syscall.EBUSY},
	} {
		_, err := fusefs.MountTree(dir, vols, c.grafts, fusefs.Options{})
		assert.ErrorIs(t, err, c.want, "%v", c.grafts)
	}
	_, err := fusefs.MountTree(dir, vols, []fusefs.Graft{{"/usr", 3}}, fusefs.Options{})
	assert.ErrorContains(t, err, "no volume 3")
}

// An inode number that is the number of FUSE's own root, or too large.
func TestNodeNumbers(t *testing.T) {
	mem := memfs.New()
	mem.AddFile("/one", []byte("inode 1 is no root"))
	mem.AddFile("/huge", []byte("x"))
	mnt, said := mountOne(t, fusefs.Volume{FS: renumbered{mem}})
	assert.Equal(t, "inode 1 is no root", read(t, mnt+"/one"))
	assert.EqualValues(t, 1, stat(t, mnt+"/one").Ino)
	var st unix.Stat_t
	assert.Equal(t, unix.EOVERFLOW, unix.Lstat(mnt+"/huge", &st))
	assert.Contains(t, said.String(), "value too large")
	assert.Len(t, names(t, mnt), 2)
}

// The standard library's own idea of a file system that is well behaved.
func TestFSTest(t *testing.T) {
	mnt, said := mountOne(t, fusefs.Volume{FS: volumeWith("d", "/usr", "/usr/local", "/home")})
	assert.NoError(t, fstest.TestFS(os.DirFS(mnt), "name", "usr/local", "home"))
	assert.Empty(t, said.String())
}
