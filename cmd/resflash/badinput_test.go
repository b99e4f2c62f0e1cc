package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// The table of bad input in the README: each with its message and exit code.
// {dir} in a message stands for the folder that the files are in.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	image, err := os.ReadFile(diskImage(t))
	require.NoError(t, err)
	write := func(name string, data []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	write("disk.img", image)
	write("truncated.img", image[:12<<20])
	write("random.img", bytes.Repeat([]byte("no magic here "), 100000))
	write("zeros.img", make([]byte, 1<<20))
	write("short.img", []byte("x"))
	write("disk.img.gz", append([]byte("\x1f\x8b\x08"), make([]byte, 4096)...))
	write("overlap.img", overlapping())
	testtool.Need(t, "makefs")
	cyclicImage(t, filepath.Join(dir, "cyclic.img"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "full"), 0o700))
	write("full/file", nil)
	t.Chdir(dir)
	write("big", make([]byte, 4<<20))
	for _, name := range []string{"own.fs", "dirty.fs", "lost.fs"} {
		works(t, "mkfs", "--type", "ffs2", "--size", "2M", name)
	}
	works(t, "touch", "own.fs:/bsd")
	works(t, "chflags", "schg", "own.fs:/bsd")
	setByte(t, "dirty.fs", 65536+209, 0) // fs_clean
	wipe(t, "lost.fs", 65536)

	for _, tt := range []struct {
		name   string
		args   string
		code   int
		stdout string // a line that must be there; empty: nothing at all
		stderr string
	}{
		{"missing image", "inspect none.img", 3, "", "resflash: none.img: no such file or directory\n"},
		{"missing file", "cat disk.img:/no/such/file", 3, "", "resflash: disk.img:/no/such/file: no such file or directory\n"},
		{"unknown volume", "ls disk.img:q:/", 4, "",
			"resflash: disk.img: no volume \"q\" (there are: i (efi), a (mbr), d (root), e (inactive), f (cfg))\nhint: resflash inspect shows what is in the image\n"},
		{"empty slot", "ls disk.img:inactive:/", 5, "", "resflash: disk.img: volume e: empty: no file system, only zeros\n"},
		{"wrong magic", "ls random.img", 5, "", "resflash: random.img: volume whole: unknown content: no file system that resflash knows\nhint: is it compressed, or encrypted? resflash reads raw images\n"},
		{"wrong magic", "inspect random.img", 5, "whole", "resflash: random.img: no partition table and no file system that is known\nhint: is it compressed, or encrypted? resflash reads raw images\n"},
		{"nothing but zeros", "inspect zeros.img", 5, "whole", "resflash: zeros.img: empty: only zeros\n"},
		{"shorter than a sector", "inspect short.img", 5, "", "resflash: short.img: not an image: shorter than one sector\nhint: is it compressed, or encrypted? resflash reads raw images\n"},
		{"compressed", "inspect disk.img.gz", 7, "whole", "resflash: disk.img.gz: not supported: gzip-compressed data (at byte 0)\nhint: unpack it first\n"},
		{"truncated image", "inspect truncated.img", 6, "  problem  partition d ends at byte 24117248, behind the end of the disk at byte 12582912 (at byte 3179204)\n", "resflash: truncated.img: damaged: 4 problems\n"},
		{"truncated image", "export truncated.img:f", 6, "", "resflash: truncated.img: volume f: partition f at byte 39845888: lies behind the end of the image, which is truncated to 12582912 bytes\n"},
		{"overlapping partitions", "inspect overlap.img", 6, "  problem  partition p2 overlaps partition p1 (at byte 462)\n", "resflash: overlap.img: damaged: 1 problem\n"},
		{"cyclic directory", "find cyclic.img", 6, "/\n/top\n", "resflash: cyclic.img:/top/cycle-here: directory inode 3 at byte 43008: contains itself (a cycle)\n"},
		{"cyclic directory", "export cyclic.img --format mtree", 6, "./top type=dir", "resflash: cyclic.img:/top/cycle-here: directory inode 3 at byte 43008: contains itself (a cycle)\n"},
		{"mount point not empty", "mount disk.img full", 8, "", "resflash: mount on full: the directory is not empty\n"},
		{"no mount point", "mount disk.img nowhere", 8, "", "resflash: mount on nowhere: no such file or directory\nhint: mkdir nowhere\n"},
		{"not mounted", "umount full", 8, "", "resflash: unmount full: not mounted\n"},
		{"not unmounted cleanly", "rm dirty.fs:/x", 11, "", "resflash: dirty.fs: volume whole: the clean flag is 0: not cleanly unmounted: needs fsck (at byte 65745): check it before writing\nhint: resflash check --repair dirty.fs\nresflash: dirty.fs: nothing was changed\n"},
		{"no room in the image", "cp big own.fs:/", 12, "", "resflash: own.fs:/big: copy of big: no space left on device: volume whole is full\nresflash: own.fs: nothing was changed\n"},
		{"superblock lost", "check lost.fs", 5, "lost.fs: not checked\n", "resflash: lost.fs: not checked: volume whole: unknown content: no file system that resflash knows\nhint: if its superblock is lost, there are copies: resflash check --type ffs (or ext4) lost.fs\n"},
		{"immutable file", "rm own.fs:/bsd", 1, "", "resflash: own.fs:/bsd: operation not permitted\nhint: a file flag may forbid it: resflash chflags takes it away\nresflash: own.fs: nothing was changed\n"},
		{"file system over another", "mkfs --type ffs2 disk.img:cfg", 1, "", "resflash: disk.img: volume f holds FFS2 (/cfg)\nhint: --force makes a new one all the same\nresflash: disk.img: nothing was changed\n"},
		{"folder", "inspect .", 2, "", "resflash: .: is a directory, not an image\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := resflash(strings.Fields(tt.args)...)
			assert.Equal(t, tt.code, code, stderr)
			if tt.stderr != "" {
				assert.Equal(t, tt.stderr, stderr)
			}
			if tt.stdout == "" {
				assert.Empty(t, stdout)
			} else {
				assert.Contains(t, stdout, tt.stdout)
			}
			t.Logf("%s: resflash %s\n%s%s[%d]", tt.name, tt.args, stdout, stderr, code)
		})
	}
}

// overlapping returns a disk whose MBR has a partition inside another.
func overlapping() []byte {
	disk := make([]byte, 8<<20)
	entry := func(i int, start, sectors uint32) {
		e := disk[446+16*i:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], start)
		binary.LittleEndian.PutUint32(e[12:], sectors)
	}
	entry(0, 2048, 8192)
	entry(1, 4096, 2048)
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// cyclicImage writes an FFS in which a directory holds itself: the entry of a
// subdirectory is pointed at its parent.
func cyclicImage(t *testing.T, name string) {
	src := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(src, "top", "cycle-here"), 0o755))
	command(t, src, "makefs", "-t", "ffs", "-s", "1m", "-o", "version=2", name, src)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	// struct direct: d_ino (4), d_reclen (2), d_type, d_namlen, d_name.
	at := bytes.Index(data, []byte("cycle-here\x00")) - 8
	require.Positive(t, at)
	// The directory "top" begins with its own ".", 24 bytes before.
	own := binary.LittleEndian.Uint32(data[at-24:])
	require.Equal(t, byte('.'), data[at-24+8])
	binary.LittleEndian.PutUint32(data[at:], own)
	require.NoError(t, os.WriteFile(name, data, 0o600))
}
