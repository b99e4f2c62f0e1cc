package export_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/testtool"
)

func writeMtree(t *testing.T, fs vfs.FS) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, export.Mtree(context.Background(), &out, tree(fs), "/", export.MtreeOptions{}))
	name := filepath.Join(t.TempDir(), "manifest")
	require.NoError(t, os.WriteFile(name, out.Bytes(), 0o600))
	return name
}

// NetBSD's mtree compares the manifest with a copy of the same files, made
// through GNU tar: the two must agree on everything.
func TestMtreeAgreesWithTheFiles(t *testing.T) {
	needRoot(t)
	testtool.Need(t, "mtree", "tar")
	fs, dir := sample(), t.TempDir()
	testtool.Run(t, "tar", "-xpSf", writeTar(t, fs), "-C", dir, "--numeric-owner")
	manifest := writeMtree(t, fs)
	assert.Empty(t, testtool.Run(t, "mtree", "-f", manifest, "-p", dir))

	// It is strict enough to see a change.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data/512"), bytes.Repeat([]byte("x"), 512), 0))
	spec, err := os.ReadFile(manifest)
	require.NoError(t, err)
	assert.Contains(t, string(spec), "./data/512 ")
}

func TestBsdtarListsTheManifest(t *testing.T) {
	testtool.Need(t, "bsdtar")
	fs := sample()
	manifest := writeMtree(t, fs)
	names := testtool.Run(t, "bsdtar", "-tf", manifest)
	n := 0
	require.NoError(t, tree(fs).Walk(context.Background(), "/", func(string, vfs.Attr, error) error { n++; return nil }))
	assert.Equal(t, n, strings.Count(names, "\n"))
	assert.Contains(t, names, "with space")
}

func TestMtreeLine(t *testing.T) {
	fs := memfs.New()
	fs.AddFile("/a #b", []byte("hello\n"), func(a *vfs.Attr) {
		a.Mode, a.UID, a.GID, a.Flags = 0o4755, 7, 8, vfs.SystemImmutable|vfs.UserNoDump
	})
	fs.AddDevice("/dev", vfs.Block, vfs.Dev{Major: 4, Minor: 5})
	fs.AddSymlink("/link", "a b")
	data, err := os.ReadFile(writeMtree(t, fs))
	require.NoError(t, err)
	assert.Equal(t, `#mtree
. type=dir mode=0755 uid=0 gid=0 nlink=2 time=981173106.000000789
./a\040\043b type=file mode=04755 uid=7 gid=8 nlink=1 size=6 time=981173106.000000789 flags=schg,nodump sha256digest=5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
./dev type=block mode=0600 uid=0 gid=0 nlink=1 time=981173106.000000789 device=native,4,5
./link type=link mode=0777 uid=0 gid=0 nlink=1 time=981173106.000000789 link=a\040b
`, string(data))
}
