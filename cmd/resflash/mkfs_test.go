package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same options give the same bytes, and another seed gives others.
func TestMkfsIsRepeatable(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, kind := range []string{"ffs1", "ffs2", "ext2", "ext4", "fat12", "fat16", "fat32"} {
		t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
		for name, seed := range map[string]string{"a": "1", "b": "1", "c": "2"} {
			works(t, "mkfs", "--force", "--type", kind, "--size", "16M", "--seed", seed, name)
		}
		assert.Equal(t, digest(t, "a"), digest(t, "b"))
		assert.NotEqual(t, digest(t, "a"), digest(t, "c"))
		t.Setenv("SOURCE_DATE_EPOCH", "1700000001")
		works(t, "mkfs", "--force", "--type", kind, "--size", "16M", "--seed", "1", "--label", "LABEL", "b")
		assert.NotEqual(t, digest(t, "a"), digest(t, "b"))
	}
	assert.Equal(t, []string{"a", "b", "c"}, names(t, "."))
}

func TestMkfsOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	works(t, "mkfs", "-t", "ffs2", "-s", "64M", "-l", "name", "--block-size", "32k", "--fragment-size", "4k", "--bytes-per-inode", "64k", "--reserve", "9", "x.fs")
	var list []imageJSON
	decode(t, works(t, "inspect", "--json", "x.fs"), &list)
	v := list[0].Volumes[0]
	assert.Equal(t, "FFS2", v.Type)
	assert.Equal(t, "name", v.Label)
	assert.Equal(t, 32<<10, v.BlockSize)
	assert.Equal(t, 4<<10, v.FragmentSize)
	var made mkfsJSON
	decode(t, works(t, "mkfs", "-t", "ffs1", "-s", "64M", "--json", "y.fs"), &made)
	assert.Equal(t, "FFS1", made.Type)
	assert.EqualValues(t, 64<<20, made.Size)
	assert.Positive(t, made.Inodes)
	clean(t, "x.fs", "y.fs")

	const uuid = "0a1b2c3d-4e5f-4678-89ab-cdef01234567"
	works(t, "mkfs", "-t", "ext4", "-s", "64M", "-l", "root", "--block-size", "2k", "--inodes", "500", "--inode-size", "512", "--journal-size", "8M",
		"-O", "^metadata_csum,uninit_bg,inline_data", "--uuid", uuid, "--hash-seed", uuid, "--mount-point", "/", "z.fs")
	list = nil
	decode(t, works(t, "inspect", "--json", "z.fs"), &list)
	v = list[0].Volumes[0]
	assert.Equal(t, "ext4", v.Type)
	assert.Equal(t, "root", v.Label)
	assert.Equal(t, uuid, v.UUID)
	assert.Equal(t, 2<<10, v.BlockSize)
	assert.Contains(t, v.Features, "inline_data")
	assert.NotContains(t, v.Features, "metadata_csum")
}

func TestMkfsRefuses(t *testing.T) {
	here(t)
	require.NoError(t, os.WriteFile("there", []byte("precious"), 0o600))
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"mkfs --type ffs2 new.fs", exitUsage, "a new file needs --size"},
		{"mkfs --type ffs2 --size 64M there", exitFailure, "there: file exists"},
		{"mkfs --type xfs --size 64M new.fs", exitUsage, `--type "xfs": want one of ffs1, ffs2, ext2, ext3, ext4, fat`},
		{"mkfs --type ffs2 --size 1k new.fs", exitFailure, "new.fs: "},
		{"mkfs --type ffs2 --size 64M --block-size 5k new.fs", exitFailure, "new.fs: "},
		{"mkfs --type ffs2 --size 64M --reserve 100 new.fs", exitUsage, "percentage"},
		{"mkfs --type ffs2 --size 64M -O extent new.fs", exitUsage, "--features means nothing for ffs2"},
		{"mkfs --type ext4 --size 64M --fragment-size 1k new.fs", exitUsage, "--fragment-size means nothing for ext4"},
		{"mkfs --type ext4 --size 64M -O quota new.fs", exitFailure, "new.fs: volume whole: feature quota: quota are not supported"},
		{"mkfs --type ext4 --size 64M --journal-size x new.fs", exitUsage, `size "x"`},
		{"mkfs --type ffs2 --size 64M none/new.fs", exitHost, "no such file or directory"},
		{"mkfs --type ffs2 disk.img:cfg", exitFailure, "disk.img: volume f holds FFS2 (/cfg)"},
		{"mkfs --type ffs2 disk.img:efi", exitFailure, "disk.img: volume i holds FAT12 (efi)"},
		{"mkfs --type ffs2 --size 4M disk.img:e", exitUsage, "--size is that of a new file"},
		{"mkfs --type ffs2 disk.img:q", exitNoVolume, "no volume"},
		{"mkfs --type ffs2 disk.img:/etc", exitUsage, "not at a path"},
		{"mkfs --type ffs2 .", exitUsage, "is a directory"},
	} {
		stdout, stderr, code := resflash(strings.Fields(tt.args)...)
		assert.Equal(t, tt.code, code, "%s: %s", tt.args, stderr)
		assert.Contains(t, stderr, tt.stderr, tt.args)
		assert.Empty(t, stdout)
	}
	assert.Equal(t, []string{"disk.img", "there"}, names(t, "."))
	assert.Equal(t, "precious", mustRead(t, "there"))
}

// In place: the empty slot, and with --force a full one; the neighbours stay.
func TestMkfsInAPartition(t *testing.T) {
	here(t)
	data, err := os.ReadFile("disk.img")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("copy.img", data, 0o600))
	out := works(t, "mkfs", "-t", "ffs2", "-l", "slot", "copy.img:inactive")
	assert.Contains(t, out, "copy.img:e: FFS2, ")
	works(t, "mkfs", "-t", "ffs1", "--force", "copy.img:cfg")
	works(t, "mkfs", "-t", "ffs2", "--force", "copy.img:efi")
	assert.Empty(t, works(t, "ls", "copy.img:e:/"))
	assert.Equal(t, "FFS1", inspectOf(t, "copy.img", "f").Type)
	assert.Equal(t, "FFS2", inspectOf(t, "copy.img", "i").Type)
	assert.Equal(t, "slot", inspectOf(t, "copy.img", "e").Label)
	assert.Equal(t, works(t, "hash", "disk.img:d")[:64], works(t, "hash", "copy.img:d")[:64])
	assert.Equal(t, works(t, "hash", "disk.img:a")[:64], works(t, "hash", "copy.img:a")[:64])
	clean(t, "copy.img:e", "copy.img:f", "copy.img:i")
	works(t, "cp", "-a", "disk.img:d:/.", "copy.img:e:/")
	assert.Equal(t, works(t, "export", "--format", "mtree", "disk.img:d:/try"), works(t, "export", "--format", "mtree", "copy.img:e:/try"))
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), text)
}

func inspectOf(t *testing.T, image, volume string) *volumeJSON {
	t.Helper()
	stdout, _, _ := resflash("inspect", "--json", image)
	var list []imageJSON
	decode(t, stdout, &list)
	for _, v := range list[0].Volumes {
		if v.ID == volume {
			return v
		}
	}
	t.Fatalf("no volume %s", volume)
	return nil
}

// Whatever was in the volume before, it is taken for a file system then.
func TestMkfsOverOtherFormats(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, magic := range map[string]string{"LUKS": "LUKS\xba\xbe\x00", "cramfs": "\x45\x3d\xcd\x28", "XFS": "XFSB", "gzip-compressed data": "\x1f\x8b\x08"} {
		data := append([]byte(magic), bytes.Repeat([]byte{0xaa}, 4<<20-len(magic))...)
		require.NoError(t, os.WriteFile("x.img", data, 0o600))
		_, stderr, code := resflash("mkfs", "-t", "ffs2", "x.img:whole")
		assert.Equal(t, exitFailure, code)
		assert.Contains(t, stderr, "x.img: volume whole holds "+name)
		works(t, "mkfs", "-t", "ffs2", "--force", "x.img:whole")
		assert.Equal(t, "FFS2", inspectOf(t, "x.img", "whole").Type, name)
		clean(t, "x.img")
	}
}

// A volume of FAT knows where on the disk it begins; a new file begins at 0.
func TestMkfsFAT(t *testing.T) {
	here(t)
	data, err := os.ReadFile("disk.img")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("copy.img", data, 0o600))
	start := inspectOf(t, "copy.img", "i").Start
	works(t, "mkfs", "-t", "fat", "-l", "EFI", "--uuid", "1234-ABCD", "--force", "copy.img:efi")
	v := inspectOf(t, "copy.img", "i")
	assert.Equal(t, "FAT12", v.Type)
	assert.Equal(t, "EFI", v.Label)
	data, err = os.ReadFile("copy.img")
	require.NoError(t, err)
	assert.EqualValues(t, start/512, binary.LittleEndian.Uint32(data[start+0x1c:]))
	out := works(t, "mkfs", "--type", "fat32", "--label", "ESP", "--size", "64M", "esp.img")
	assert.Contains(t, out, "esp.img: FAT32, ")
	assert.NotContains(t, out, "inodes")
	assert.Equal(t, "ESP", inspectOf(t, "esp.img", "whole").Label)
	_, stderr, code := resflash("mkfs", "--type", "fat16", "--size", "1M", "no.img")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, stderr, "too small or too large for FAT16")
}
