package integration

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// erofsForms are ways to make erofs without compression.
var erofsForms = []struct {
	name, args string
	feature    string // that inspect must name
}{
	{"plain", "-E noinline_data", "sb_csum"},
	{"inline", "-x 1", "sb_csum"},
	{"no-shared-xattrs", "-x 1000 -E force-inode-extended", "mtime"},
	{"chunks", "--chunksize=4096 -x 1", "chunked_file"},
	{"chunk-map", "--chunksize=65536 -E force-inode-blockmap", "chunked_file"},
	{"chunk-indexes", "--chunksize=16384 -E force-chunk-indexes", "chunked_file"},
}

var erofsKinds = kinds{posix: true, devices: true, bigDevs: true, rawNames: true, holes: true, xattrs: true, time64: true, oldTimes: true, longest: 1023}

const erofsFields = manifest.All | manifest.DirNlink | manifest.Xattrs

func makeEROFS(t testing.TB, name, args, root string) string {
	t.Helper()
	testtool.Need(t, "mkfs.erofs")
	// With chunks it wants the image where its own temporary files are.
	dir, err := os.MkdirTemp("/tmp", "erofs")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	image := filepath.Join(dir, name+".erofs")
	testtool.Run(t, "mkfs.erofs", append(strings.Fields("--quiet "+args), image, root)...)
	return image
}

// shorten makes names of 255 bytes shorter: mkfs.erofs 1.5 fails on them.
func shorten(tr *tree) *tree {
	tr.t.Helper()
	require.NoError(tr.t, filepath.WalkDir(tr.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && len(d.Name()) == ondisk.MaxName {
			err = os.Rename(path, path[:len(path)-1])
		}
		return err
	}))
	return tr
}

// erofs has the programs and the kernel of Linux read the image.
func (f fixture) erofs(t *testing.T) {
	t.Run("fsck.erofs", func(t *testing.T) {
		testtool.Need(t, "fsck.erofs")
		dir := filepath.Join(t.TempDir(), "out")
		testtool.Run(t, "fsck.erofs", "--extract="+dir, "--preserve", f.image)
		// It brings out neither extended attributes nor hard links, and loses the
		// set-id bits of files to a chown(2).
		x := f.x
		x.want = x.want.Edit(func(e *manifest.Entry) bool {
			if e.Type == manifest.File {
				e.Mode &^= 0o6000
			}
			return true
		})
		x.fields &^= manifest.Xattrs | manifest.Nlink | manifest.Link
		if !asRoot {
			x.fields &^= manifest.Owner
		}
		x.check(t, manifest.ReadDir(dir, manifest.Options{}), ^manifest.Fields(0))
		require.NoError(t, os.RemoveAll(dir))
	})
	t.Run("Linux", func(t *testing.T) {
		dir := loopMount(t, "erofs", f.image)
		f.x.check(t, manifest.ReadDir(dir, manifest.Options{Xattrs: true}), ^manifest.Fields(0))
		ours := mount(t, "--volume", "whole", f.image)
		for _, e := range f.x.want {
			var theirs, our syscall.Stat_t
			require.NoError(t, syscall.Lstat(filepath.Join(dir, e.Path), &theirs))
			require.NoError(t, syscall.Lstat(filepath.Join(ours, e.Path), &our))
			require.Equal(t, theirs.Ino, our.Ino&(1<<48-1), e.Path)
			require.Equal(t, theirs.Blocks, our.Blocks, e.Path)
		}
	})
	t.Run("dump.erofs", func(t *testing.T) {
		testtool.Need(t, "dump.erofs")
		told := testtool.Run(t, "dump.erofs", "-s", f.image)
		v := inspect(t, f.image).Volumes[0]
		assert.Equal(t, "erofs", v.Type)
		assert.Regexp(t, `UUID: +`+v.UUID, told)
		for _, feature := range v.Features {
			assert.Regexp(t, `features:.* `+feature+` `, told)
		}
	})
}

func TestEROFS(t *testing.T) {
	heavy(t)
	testtool.Need(t, "mkfs.erofs")
	tr := shorten(standardTree(t, erofsKinds))
	x := expectation{want: tr.manifest(), fields: erofsFields}
	for _, form := range erofsForms {
		t.Run(form.name, func(t *testing.T) {
			image := makeEROFS(t, form.name, form.args, tr.root)
			channels(t, image, "whole", x)
			fixture{form.name, image, tr.root, x}.erofs(t)
			assert.Contains(t, inspect(t, image).Volumes[0].Features, form.feature)
		})
	}
}

// Compact inodes have the time of the image, and the names of all that is there
// are found in a directory of many blocks.
func TestEROFSBig(t *testing.T) {
	heavy(t)
	tr := shorten(bigTree(t, false, 50_000))
	x := expectation{want: tr.manifest().Edit(func(e *manifest.Entry) bool {
		e.Sec, e.Nsec = 1_234_567_890, 0
		return true
	}), fields: erofsFields &^ manifest.Xattrs}
	image := makeEROFS(t, "big", "-E force-inode-compact -T 1234567890", tr.root)
	channels(t, image, "whole", x)
	t.Run("Linux", func(t *testing.T) {
		x.check(t, manifest.ReadDir(loopMount(t, "erofs", image), manifest.Options{}), ^manifest.Fields(0))
	})
}

// TestEROFSDebian reads a whole operating system, as phones have it.
func TestEROFSDebian(t *testing.T) {
	heavy(t)
	tr := &tree{t, debianRoot(t), erofsKinds}
	image := makeEROFS(t, "debian", "", tr.root)
	x := expectation{want: tr.manifest(), fields: erofsFields}
	channels(t, image, "whole", x)
	v := inspect(t, image).Volumes[0]
	require.NotNil(t, v.OS)
	require.Equal(t, "debian", v.OS.ID)
}

// Long prefixes of the names of attributes are of a later mkfs.erofs than the
// one at hand, so they are put into an image here, and the kernel judges.
func TestEROFSLongPrefixes(t *testing.T) {
	tr := newTree(t, kinds{})
	tr.file("file", 100)
	if err := unix.Setxattr(tr.path("file"), "user.a.long.infix.name", []byte("value"), 0); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	image := makeEROFS(t, "prefixes", "-x 1000", tr.root)
	data, err := os.ReadFile(image)
	require.NoError(t, err)
	le := binary.LittleEndian
	// "a.long.infix." goes from the name to a prefix, and the value becomes as
	// much longer.
	const infix = "a.long.infix."
	at := strings.Index(string(data), infix+"name"+"value")
	require.Positive(t, at)
	data[at-4], data[at-3] = 4, 0x80
	le.PutUint16(data[at-2:], uint16(len("value"+infix)))
	copy(data[at:], "name"+"value"+infix)
	super := data[ondisk.SuperOffset:]
	le.PutUint32(super[80:], le.Uint32(super[80:])|uint32(ondisk.XattrPrefixes))
	super[91] = 1
	le.PutUint32(super[92:], uint32(len(data)/4))
	le.PutUint32(super[36:], le.Uint32(super[36:])+1)
	block := make([]byte, 4096)
	le.PutUint16(block, uint16(1+len(infix)))
	copy(block[2:], "\x01"+infix)
	le.PutUint32(super[4:], ondisk.SuperChecksum(super[:4096-ondisk.SuperOffset]))
	require.NoError(t, os.WriteFile(image, append(data, block...), 0o644))

	value := func(dir string) string {
		b := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(dir, "file"), "user.a.long.infix.name", b)
		require.NoError(t, err)
		return string(b[:n])
	}
	assert.Contains(t, inspect(t, image).Volumes[0].Features, "xattr_prefixes")
	assert.Equal(t, "value"+infix, value(mount(t, "--volume", "whole", image)))
	t.Run("Linux", func(t *testing.T) {
		assert.Equal(t, "value"+infix, value(loopMount(t, "erofs", image)))
	})
}
