package kernelvm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// The judge itself is judged with images that Debian's makefs and mke2fs made
// from a folder that is known.
func TestRead(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: boots a virtual machine")
	}
	testtool.Need(t, "makefs", "mke2fs")
	k := kernelvm.Need(t)

	src := t.TempDir()
	when := time.Unix(1_234_567_890, 0)
	file := filepath.Join(src, "file")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("resflash"), 40_000), 0o640))
	require.NoError(t, os.Link(file, filepath.Join(src, "hard")))
	require.NoError(t, os.Symlink("file", filepath.Join(src, "soft")))
	require.NoError(t, os.Mkdir(filepath.Join(src, "dir"), 0o700))
	for _, name := range []string{"file", "dir", "."} {
		require.NoError(t, os.Chtimes(filepath.Join(src, name), when, when))
	}
	dir := t.TempDir()
	ffs1, ffs2, ext := filepath.Join(dir, "ffs1"), filepath.Join(dir, "ffs2,comma"), filepath.Join(dir, "ext4")
	testtool.Run(t, "makefs", "-t", "ffs", "-s", "8m", ffs1, src)
	testtool.Run(t, "makefs", "-t", "ffs", "-s", "8m", "-B", "be", "-o", "version=2", ffs2, src)
	testtool.Run(t, "mke2fs", "-q", "-t", "ext4", "-d", src, ext, "8m")
	sum := testtool.Run(t, "sha256sum", ffs1, ffs2, ext)

	results, err := k.Read(t.Context(), []kernelvm.Disk{
		{Path: ffs1, FS: "ufs", Options: "ufstype=44bsd"},
		{Path: ffs2, FS: "ufs", Options: "ufstype=ufs2", LendSuper: 65536},
		{Path: ext, FS: "ext4"},
		{Path: ext, FS: "vfat"},
	})
	require.NoError(t, err)
	want := manifest.ReadDir(src, manifest.Options{})
	require.Empty(t, want.Errors())
	for i, fields := range []manifest.Fields{manifest.All &^ manifest.Nsec, manifest.All &^ manifest.Nsec, manifest.All} {
		require.NoError(t, results[i].Err)
		got := results[i].Manifest.Edit(func(e *manifest.Entry) bool { return e.Path != "lost+found" })
		assert.Empty(t, manifest.Diff(want, got, fields&^manifest.Mtime&^manifest.Nsec, 10))
	}
	assert.Error(t, results[3].Err, "ext4 is not vfat")
	assert.Equal(t, sum, testtool.Run(t, "sha256sum", ffs1, ffs2, ext), "the images must not change")
}
