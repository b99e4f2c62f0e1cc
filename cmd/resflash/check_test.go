package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

func TestCheckOfADisk(t *testing.T) {
	here(t)
	assert.Equal(t, "disk.img:i: FAT12: clean\n"+
		"disk.img:a: FFS2: clean\n"+
		"disk.img:d: FFS2: clean\n"+
		"disk.img:e: empty, nothing to check\n"+
		"disk.img:f: FFS2: clean\n", works(t, "check", "disk.img"))
	assert.Equal(t, "disk.img:f: FFS2: clean\n", works(t, "check", "disk.img:cfg"))
	var list []*checkJSON
	decode(t, works(t, "check", "--json", "disk.img:root"), &list)
	assert.Equal(t, []*checkJSON{{Image: "disk.img", Volume: "d", Type: "FFS2", Status: statusClean, Findings: []findingJSON{}}}, list)
}

// What cannot be checked does not count as clean.
func TestCheckOfWhatHasNoChecker(t *testing.T) {
	t.Chdir(t.TempDir())
	makeSquashfs(t, "x.squashfs")
	stdout, stderr, code := resflash("check", "x.squashfs")
	assert.Equal(t, "x.squashfs: squashfs: not checked\n", stdout)
	assert.Equal(t, "resflash: x.squashfs: not checked: not supported: checking squashfs\n", stderr)
	assert.Equal(t, exitNotSupported, code)
}

func makeSquashfs(t *testing.T, name string) {
	t.Helper()
	testtool.Need(t, "mksquashfs")
	testtool.Run(t, "mksquashfs", t.TempDir(), name, "-quiet", "-no-progress")
}

func TestCheckRefuses(t *testing.T) {
	here(t)
	makeSquashfs(t, "x.squashfs")
	for args, code := range map[string]int{
		"check":                            exitUsage,
		"check disk.img:/etc":              exitUsage,
		"check --yes disk.img":             exitUsage,
		"check --dry-run disk.img":         exitUsage,
		"check --type xfs disk.img":        exitUsage,
		"check --type ext4 disk.img:d":     exitUsage,
		"check none.img":                   exitNotFound,
		"check disk.img:q":                 exitNoVolume,
		"check --repair x.squashfs":        exitNotSupported,
		"check --repair --output x none":   exitNotFound,
		"check --repair --dry-run none.fs": exitNotFound,
	} {
		stdout, stderr, got := resflash(strings.Fields(args)...)
		assert.Equal(t, code, got, "%s: %s%s", args, stdout, stderr)
	}
	_, stderr, code := resflash("check", "mbr")
	assert.Equal(t, exitNotFound, code, stderr)
}

// A superblock that is gone is found again by its copies: in a bare file
// system if one says what it is, in a partition by the word of the table.
func TestRepairOfALostSuperblock(t *testing.T) {
	newFS(t)
	wipe(t, "new.fs", 65536)
	_, stderr, code := resflash("check", "new.fs")
	assert.Equal(t, exitNotImage, code)
	assert.Contains(t, stderr, "hint: if its superblock is lost, there are copies: resflash check --type ffs (or ext4) new.fs\n")
	_, _, code = resflash("check", "--type", "ffs", "new.fs")
	assert.Equal(t, exitDamaged, code)
	stdout, stderr, code := resflash("check", "--repair", "--yes", "--type", "ffs", "new.fs")
	assert.Equal(t, 0, code, stdout+stderr)
	assert.Contains(t, stdout, "repaired")
	assert.Equal(t, "two\n", works(t, "cat", "new.fs:/two"))
	clean(t, "new.fs")

	data, err := os.ReadFile("disk.img")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("copy.img", data, 0o600))
	wipe(t, "copy.img", inspectOf(t, "copy.img", "d").Start+65536)
	_, stderr, code = resflash("check", "copy.img:d")
	assert.Equal(t, exitDamaged, code, stderr)
	stdout, stderr, code = resflash("check", "--repair", "--yes", "copy.img:d")
	assert.Equal(t, 0, code, stdout+stderr)
	assert.Equal(t, works(t, "export", "--format", "mtree", "disk.img:d:/try"), works(t, "export", "--format", "mtree", "copy.img:d:/try"))
	clean(t, "copy.img:d")
}

// wipe takes away the superblock at off.
func wipe(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(make([]byte, 8192), off)
	require.NoError(t, err)
}

// What would lose something is repaired only with --yes, and what that costs
// is said first, if one asks.
func TestRepairOfADirectory(t *testing.T) {
	newFS(t)
	works(t, "mkdir", "new.fs:/dir/torn-entry")
	writes(t, "precious\n", "new.fs:/dir/torn-entry/file")
	data, err := os.ReadFile("new.fs")
	require.NoError(t, err)
	at := bytes.Index(data, []byte("torn-entry\x00"))
	require.Positive(t, at)
	setByte(t, "new.fs", int64(at-4), 3) // d_reclen
	damaged := digest(t, "new.fs")

	stdout, stderr, code := resflash("check", "new.fs")
	assert.Equal(t, exitDamaged, code)
	assert.Contains(t, stderr, "hint: resflash check --repair new.fs\n")
	assert.Contains(t, stdout, " at byte ")

	_, stderr, code = resflash("check", "--repair", "new.fs")
	assert.Equal(t, exitDamaged, code, "preening does not lose anything")
	assert.Contains(t, stderr, "hint: resflash check --repair --yes new.fs; --dry-run shows what that would lose\n")

	setAll(t, "new.fs", data, int64(at-4))
	require.True(t, damaged == digest(t, "new.fs"))
	stdout, _, code = resflash("check", "--repair", "--yes", "--dry-run", "new.fs")
	assert.Equal(t, exitDamaged, code)
	assert.Contains(t, stdout, "could be repaired")
	assert.True(t, damaged == digest(t, "new.fs"))

	works(t, "check", "--repair", "--yes", "new.fs", "--output", "whole.fs")
	assert.True(t, damaged == digest(t, "new.fs"))
	clean(t, "whole.fs")
	var list []*checkJSON
	decode(t, works(t, "check", "--repair", "--yes", "--json", "new.fs"), &list)
	require.Len(t, list, 1)
	assert.Equal(t, statusRepaired, list[0].Status)
	for _, f := range list[0].Findings {
		assert.True(t, f.Fixed)
		assert.NotEmpty(t, f.Code)
	}
	assert.Equal(t, "two\n", works(t, "cat", "new.fs:/two"))
	clean(t, "new.fs")
	assert.Equal(t, "precious\n", works(t, "cat", "new.fs:/dir/torn-entry/file"))
}

// setAll makes a file what data is, but for the byte at off, which is torn.
func setAll(t *testing.T, name string, data []byte, off int64) {
	t.Helper()
	torn := bytes.Clone(data)
	torn[off] = 3
	require.NoError(t, os.WriteFile(name, torn, 0o600))
}

// ext4 is checked and repaired like FFS, and e2fsck agrees.
func TestRepairOfExt4(t *testing.T) {
	here(t)
	testtool.Need(t, "mke2fs", "debugfs", "e2fsck")
	require.NoError(t, os.WriteFile("ext4.img", nil, 0o600))
	require.NoError(t, os.Truncate("ext4.img", 16<<20))
	require.NoError(t, os.MkdirAll("tree/dir", 0o755))
	require.NoError(t, os.WriteFile("tree/dir/file", []byte("precious\n"), 0o644))
	testtool.Run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-d", "tree", "ext4.img")
	assert.Equal(t, "ext4.img: ext4: clean\n", works(t, "check", "ext4.img"))

	// A count that is wrong is mended without a question.
	testtool.Run(t, "debugfs", "-w", "-R", "set_inode_field /dir links_count 9", "ext4.img")
	_, stderr, code := resflash("check", "ext4.img")
	assert.Equal(t, exitDamaged, code)
	assert.Contains(t, stderr, "hint: resflash check --repair ext4.img\n")
	var list []*checkJSON
	decode(t, works(t, "check", "--repair", "--json", "ext4.img"), &list)
	require.Len(t, list, 1)
	assert.Equal(t, statusRepaired, list[0].Status)
	require.Len(t, list[0].Findings, 1)
	assert.Equal(t, "link-count", list[0].Findings[0].Code)
	assert.Equal(t, "/dir", list[0].Findings[0].Path)
	testtool.Run(t, "e2fsck", "-fn", "ext4.img")

	// A file that has lost its name is found again, if that is wanted.
	testtool.Run(t, "debugfs", "-w", "-R", "unlink /dir/file", "ext4.img")
	_, stderr, code = resflash("check", "--repair", "ext4.img")
	assert.Equal(t, exitDamaged, code)
	assert.Contains(t, stderr, "hint: resflash check --repair --yes ext4.img; --dry-run shows what that would lose\n")
	damaged := digest(t, "ext4.img")
	stdout, _, code := resflash("check", "--repair", "--yes", "--dry-run", "ext4.img")
	assert.Equal(t, exitDamaged, code)
	assert.Contains(t, stdout, "lost+found")
	assert.True(t, damaged == digest(t, "ext4.img"))
	works(t, "check", "--repair", "--yes", "ext4.img")
	testtool.Run(t, "e2fsck", "-fn", "ext4.img")
	found := strings.Fields(works(t, "ls", "ext4.img:/lost+found"))
	require.Len(t, found, 1)
	assert.Equal(t, "precious\n", works(t, "cat", "ext4.img:/lost+found/"+found[0]))

	// So is a superblock, by its copy.
	wipe(t, "ext4.img", 0)
	_, _, code = resflash("check", "ext4.img")
	assert.Equal(t, exitNotImage, code)
	works(t, "check", "--repair", "--yes", "--type", "ext4", "ext4.img")
	testtool.Run(t, "e2fsck", "-fn", "ext4.img")
	assert.Equal(t, "ext4.img: ext4: clean\n", works(t, "check", "ext4.img"))
}
