package image_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

const mib = 1 << 20

// write makes a folder of small files.
func write(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

// disk makes an empty image and partitions it with sfdisk.
func disk(t *testing.T, size int64, script string) string {
	testtool.Need(t, "sh", "sfdisk")
	name := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	require.NoError(t, os.Truncate(name, size))
	scriptFile := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(scriptFile, []byte(script), 0o644))
	testtool.Run(t, "sh", "-c", fmt.Sprintf("sfdisk --no-reread --no-tell-kernel -q %s <%s", name, scriptFile))
	return name
}

// ext4 puts a file system with dir's files at off in the image.
func ext4(t *testing.T, name string, off int64, label, dir string) {
	testtool.Need(t, "mke2fs")
	testtool.Run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-d", dir,
		"-E", fmt.Sprintf("offset=%d", off), name, "8192k")
}

// fat puts a file system with empty files of the given names at off.
func fat(t *testing.T, name string, off int64, label string, files ...string) {
	testtool.Need(t, "mkfs.fat", "mcopy", "mmd")
	testtool.Run(t, "mkfs.fat", "-n", label, "--offset", fmt.Sprint(off/512), name, "4096")
	at := fmt.Sprintf("%s@@%d", name, off)
	for _, f := range files {
		if dir, ok := strings.CutSuffix(f, "/"); ok {
			testtool.Run(t, "mmd", "-i", at, "::"+dir)
		} else {
			testtool.Run(t, "mcopy", "-i", at, "/dev/null", "::"+f)
		}
	}
}

func open(t *testing.T, name string) *image.Disk {
	d, err := image.Open(ctx, name)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

// roles lists "id role" of all partitions.
func roles(d *image.Disk) []string {
	d.Layout(ctx)
	var list []string
	for _, p := range d.Partitions() {
		list = append(list, p.ID+" "+p.Role)
	}
	return list
}

func TestOpenMBR(t *testing.T) {
	name := disk(t, 32*mib, "label: dos\nlabel-id: 0xabcdef01\nstart=2048,size=8192,type=c\nstart=16384,size=16384,type=83\n")
	fat(t, name, mib, "FIRMWARE", "config.txt")
	ext4(t, name, 8*mib, "rootfs", write(t, map[string]string{
		"etc/os-release": "ID=raspbian\nNAME=\"A name\"\nVERSION_ID=12\nPRETTY_NAME='A name 12'\nIMAGE_ID=appliance\nIMAGE_VERSION=7\n",
		"etc/fstab": "PARTUUID=abcdef01-02 / ext4 defaults 0 1\nPARTUUID=abcdef01-01 /boot/firmware vfat defaults 0 2\n" +
			"/dev/sdb1 /data ext4 defaults 0 0\ntmpfs /tmp tmpfs rw 0 0\n",
		"bin/sh": "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xb7\x00",
	}))
	d := open(t, name)
	assert.Equal(t, []string{"p1 boot", "p2 root"}, roles(d))

	root, err := d.Find(ctx, "")
	require.NoError(t, err)
	assert.Equal(t, "p2", root.ID)
	byLabel, err := d.Find(ctx, "rootfs")
	require.NoError(t, err)
	assert.Same(t, root, byLabel)
	v, err := root.Volume(ctx)
	require.NoError(t, err)
	again, err := root.Volume(ctx)
	require.NoError(t, err)
	assert.Same(t, v, again)
	o, err := image.IdentifyOS(ctx, v.Tree)
	require.NoError(t, err)
	assert.Equal(t, image.OS{ID: "raspbian", Name: "A name", Version: "12", PrettyName: "A name 12", Arch: "aarch64",
		ImageID: "appliance", ImageVersion: "7", Evidence: "/etc/os-release"}, o)

	mounts, err := d.Fstab(ctx, v)
	require.NoError(t, err)
	var got []string
	for _, m := range mounts {
		id := "elsewhere"
		if m.Partition != nil {
			id = m.Partition.ID
		}
		got = append(got, m.Path+" "+id)
	}
	assert.Equal(t, []string{"/ p2", "/data elsewhere", "/boot/firmware p1"}, got)

	_, err = d.Find(ctx, "nope")
	var unknown *image.UnknownVolumeError
	require.ErrorAs(t, err, &unknown)
	assert.Equal(t, []string{"p1 (boot)", "p2 (root)"}, unknown.Known)
}

func TestOpenGPTWithTwoSlots(t *testing.T) {
	const root = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	name := disk(t, 64*mib, "label: gpt\n"+
		"start=2048,size=8192,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B,name=esp\n"+
		"start=16384,size=16384,type="+root+",name=os_9\n"+
		"start=32768,size=16384,type="+root+",name=os_10\n"+
		"start=49152,size=2048,type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F,name=swap\n"+
		"start=53248,size=16384,type=4D21B016-B534-45C2-A9FB-5C16E091FD2D,name=state\n")
	fat(t, name, mib, "ESP", "EFI/")
	ext4(t, name, 8*mib, "nine", write(t, map[string]string{"etc/os-release": "ID=nine"}))
	ext4(t, name, 16*mib, "ten", write(t, map[string]string{"etc/os-release": "ID=ten"}))
	d := open(t, name)
	assert.Equal(t, []string{"p1 efi", "p2 inactive", "p3 root", "p4 swap", "p5 var"}, roles(d))
	l := d.Layout(ctx)
	assert.Equal(t, image.LayoutDiscoverable, l.Kind)
	assert.Equal(t, "p3", l.Active, "10 is newer than 9")
	assert.Equal(t, []image.Slot{{ID: "p2"}, {ID: "p3", Active: true}}, l.Slots)
	p, err := d.Find(ctx, "state")
	require.NoError(t, err)
	assert.Equal(t, "p5", p.ID)
	_, err = p.Volume(ctx)
	assert.ErrorIs(t, err, image.ErrEmpty)
}

func TestAmbiguousLabelIsRefused(t *testing.T) {
	name := disk(t, 32*mib, "label: dos\nstart=2048,size=16384,type=83\nstart=20480,size=16384,type=83\n")
	dir := write(t, map[string]string{"x": ""})
	ext4(t, name, mib, "twin", dir)
	ext4(t, name, 10*mib, "twin", dir)
	d := open(t, name)
	_, err := d.Find(ctx, "twin")
	assert.ErrorContains(t, err, `label "twin" is borne by both p1 and p2`)
	_, err = d.Find(ctx, "")
	assert.ErrorContains(t, err, "which volume?")
}

func TestTruncatedImageSaysSo(t *testing.T) {
	name := disk(t, 32*mib, "label: dos\nstart=2048,size=32768,type=83\n")
	testtool.Need(t, "mke2fs")
	testtool.Run(t, "mke2fs", "-q", "-F", "-E", fmt.Sprintf("offset=%d", mib), name, "16384k")
	require.NoError(t, os.Truncate(name, 4*mib))
	d := open(t, name)
	p := d.Partitions()[0]
	assert.True(t, p.Truncated())
	assert.NotEmpty(t, d.Problems())
	_, err := p.Volume(ctx)
	assert.ErrorContains(t, err, "the image ends 13631488 bytes before the partition does: it is truncated")
}

func TestPartitionBehindTheEndOfATruncatedImageIsNotEmpty(t *testing.T) {
	name := disk(t, 32*mib, "label: dos\nstart=2048,size=8192,type=83\nstart=16384,size=8192,type=83\n")
	require.NoError(t, os.Truncate(name, 6*mib))
	d := open(t, name)
	_, err := d.Partitions()[1].Volume(ctx)
	var corrupt *vfs.CorruptError
	require.ErrorAs(t, err, &corrupt)
	assert.Equal(t, int64(8*mib), corrupt.Off)
	assert.Equal(t, image.KindUnknown, d.Partitions()[1].Content.Kind)
}

func TestHybridISOIsOneVolume(t *testing.T) {
	testtool.Need(t, "xorriso")
	name := filepath.Join(t.TempDir(), "hybrid.iso")
	testtool.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "HYBRID", "--protective-msdos-label",
		"-o", name, write(t, map[string]string{"hello": "world"}))
	d := open(t, name)
	require.NotEmpty(t, d.Tables())
	p, err := d.Find(ctx, "whole")
	require.NoError(t, err)
	v, err := p.Volume(ctx)
	require.NoError(t, err)
	text, err := v.Tree.ReadFile("hello")
	require.NoError(t, err)
	assert.Equal(t, "world", string(text))
}

func TestUnsupportedFormatsAreNamed(t *testing.T) {
	for _, c := range []struct {
		want string
		off  int64
		text string
	}{
		{"LUKS", 0, "LUKS\xba\xbe\x00\x02"},
		{"LVM2 physical volume", 512, "LABELONE"},
		{"btrfs", 65600, "_BHRfS_M"},
		{"XFS", 0, "XFSB"},
		{"f2fs", 1024, "\x10\x20\xf5\xf2"},
		{"NTFS", 3, "NTFS    "},
		{"exFAT", 3, "EXFAT   "},
		{"squashfs (big-endian)", 0, "sqsh"},
		{"qcow2 disk image", 0, "QFI\xfb"},
	} {
		name := filepath.Join(t.TempDir(), "image")
		data := make([]byte, mib)
		copy(data[c.off:], c.text)
		require.NoError(t, os.WriteFile(name, data, 0o644))
		d := open(t, name)
		_, err := d.Partitions()[0].Volume(ctx)
		var unsupported *vfs.NotSupportedError
		if assert.ErrorAs(t, err, &unsupported, c.want) {
			assert.Equal(t, vfs.NotSupportedError{What: c.want, Off: c.off}, *unsupported)
		}
	}
}

func TestForeignToolsMakeWhatIsNamed(t *testing.T) {
	for _, c := range []struct {
		want string
		make []string
	}{
		{"squashfs", []string{"mksquashfs", "DIR", "IMAGE", "-quiet", "-no-progress", "-noappend"}},
		{"erofs", []string{"mkfs.erofs", "IMAGE", "DIR"}},
		{"swap", []string{"mkswap", "-L", "swappy", "-U", "01234567-89ab-cdef-0123-456789abcdef", "IMAGE"}},
	} {
		testtool.Need(t, c.make[0])
		name := filepath.Join(t.TempDir(), "image")
		require.NoError(t, os.WriteFile(name, make([]byte, mib), 0o600))
		args := []string{}
		for _, a := range c.make[1:] {
			args = append(args, strings.NewReplacer("DIR", write(t, map[string]string{"x": "y"}), "IMAGE", name).Replace(a))
		}
		testtool.Run(t, c.make[0], args...)
		p := open(t, name).Partitions()[0]
		assert.Equal(t, c.want, p.Content.Type)
		if c.want == "swap" {
			assert.Equal(t, "swappy", p.Content.Label)
			assert.Equal(t, "01234567-89ab-cdef-0123-456789abcdef", p.Content.UUID)
			_, err := p.Volume(ctx)
			assert.ErrorIs(t, err, image.ErrSwap)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := image.Open(ctx, filepath.Join(dir, "missing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	small := filepath.Join(dir, "small")
	require.NoError(t, os.WriteFile(small, make([]byte, 511), 0o644))
	_, err = image.Open(ctx, small)
	assert.ErrorIs(t, err, image.ErrTooSmall)
	_, err = image.Open(ctx, small, image.WithSectorSize(1000))
	assert.ErrorContains(t, err, "sector size 1000")
	junk := filepath.Join(dir, "junk")
	require.NoError(t, os.WriteFile(junk, []byte(strings.Repeat("junk", 10_000)), 0o644))
	d, err := image.Open(ctx, junk)
	require.NoError(t, err)
	defer d.Close()
	_, err = d.Partitions()[0].Volume(ctx)
	assert.True(t, errors.Is(err, image.ErrUnknown), "%v", err)
}

// An fstab that cannot be read is not the same as none.
func TestUnreadableFstabOfASlotIsAProblem(t *testing.T) {
	name := filepath.Join(t.TempDir(), "resflash.img")
	require.NoError(t, testimage.Resflash(name, testimage.Options{SizeMB: 96, Edit: func(volume string, tree testimage.Tree) {
		if volume == "d" {
			tree.Dir("etc/fstab", 0o755)
		}
	}}))
	d, err := image.Open(ctx, name)
	require.NoError(t, err)
	defer d.Close()
	assert.Equal(t, []string{"d:/etc/fstab: not a regular file"}, d.Layout(ctx).Problems)
}
