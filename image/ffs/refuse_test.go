package ffs

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// What must not be written to is refused, by the name of the bit or field that
// says so and the byte where it is; and it can still be read.
func TestRefusesToWrite(t *testing.T) {
	freebsd := func(s *ondisk.Super, o ondisk.Order) { o.PutU64(s.Spare32[0:], 1_500_000_000) }
	netbsd := func(s *ondisk.Super, _ ondisk.Order) { s.Spare64[0], s.Spare64[1] = 1, 1 }
	flags1312 := func(bits uint32) func(s *ondisk.Super, o ondisk.Order) {
		return func(s *ondisk.Super, o ondisk.Order) { freebsd(s, o); s.Word1312 = bits }
	}
	for name, c := range map[string]struct {
		typ    string
		change func(s *ondisk.Super, o ondisk.Order)
		dirty  bool
		off    int64 // in the superblock
		says   string
	}{
		"not unmounted":         {"ffs2", func(s *ondisk.Super, _ ondisk.Order) { s.Clean = 0 }, true, 209, "clean flag is 0"},
		"FFS1 not unmounted":    {"ffs1", func(s *ondisk.Super, _ ondisk.Order) { s.Clean = 0 }, true, 209, "clean flag is 0"},
		"mounted unclean":       {"ffs2", func(s *ondisk.Super, _ ondisk.Order) { s.Word1308 = 1 }, true, 1308, "flag 0x1"},
		"FFS1 mounted unclean":  {"ffs1", func(s *ondisk.Super, _ ondisk.Order) { s.OldFlags = 1 }, true, 211, "flag 0x1"},
		"pending blocks":        {"ffs2", func(s *ondisk.Super, _ ondisk.Order) { s.PendingBlocks = 4 }, true, 1104, "4 blocks"},
		"pending inodes":        {"ffs2", func(s *ondisk.Super, _ ondisk.Order) { s.PendingInodes = 3 }, true, 1112, "3 inodes"},
		"unknown flag, OpenBSD": {"ffs2", func(s *ondisk.Super, _ ondisk.Order) { s.Word1308 = 0x8000 }, false, 1308, "0x8000"},
		"needs fsck":            {"ffs2", flags1312(ondisk.FlagNeedsFsck), true, 1312, "flag 0x4"},
		"SUJ":                   {"ffs2", flags1312(ondisk.FlagSUJ), false, 1312, "suj (flag 0x8)"},
		"gjournal":              {"ffs2", flags1312(ondisk.FlagGjournal), false, 1312, "gjournal"},
		"check hashes":          {"ffs2", flags1312(ondisk.FlagMetaCkHash), false, 1312, "metackhash"},
		"unknown flag, FreeBSD": {"ffs2", flags1312(0x10000), false, 1312, "0x10000"},
		"snapshots": {"ffs2", func(s *ondisk.Super, o ondisk.Order) { freebsd(s, o); s.Snapshots[1] = 77 },
			false, 1120, "snapshots (inode 77)"},
		"WAPBL": {"ffs2", func(s *ondisk.Super, o ondisk.Order) { netbsd(s, o); s.Word1312 = ondisk.FlagWAPBL },
			false, 1312, "wapbl"},
		"quota2": {"ffs2", func(s *ondisk.Super, o ondisk.Order) { netbsd(s, o); s.Word1312 = ondisk.FlagQuota2 },
			false, 1312, "quota2"},
		"attributes of NetBSD": {"ffs2", func(s *ondisk.Super, _ ondisk.Order) { s.Magic = ondisk.MagicFFS2EA }, false, 1372, "0x19012038"},
		"4.2BSD":               {"ffs1", func(s *ondisk.Super, _ ondisk.Order) { s.OldPostblFmt = -1 }, false, 1356, "4.2BSD"},
		"old directories":      {"ffs1", func(s *ondisk.Super, _ ondisk.Order) { s.MaxSymlinkLen = 0 }, false, 1320, "old format"},
		"old inodes":           {"ffs1", func(s *ondisk.Super, _ ondisk.Order) { s.OldInodeFormat = 0 }, false, 1324, "old format"},
	} {
		t.Run(name, func(t *testing.T) {
			w, mem := newWriter(t, 4<<20, vfs.FormatOptions{Type: c.typ})
			img := &image{t: t, data: imageBytes(t, mem), dev: mem}
			at := w.super.at
			img.setSuper(c.change)
			require.NoError(t, writeAll(mem, img.data))

			_, err := Open(ctx, mem)
			require.NoError(t, err, "it can be read")
			_, err = OpenWritable(ctx, blockio.NewSession(mem, blockio.SessionOptions{}))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
			assert.Contains(t, err.Error(), fmt.Sprint(at+c.off))
			var dirty *vfs.DirtyError
			var not *vfs.NotSupportedError
			if c.dirty {
				assert.ErrorAs(t, err, &dirty)
			} else if assert.ErrorAs(t, err, &not) {
				assert.Equal(t, at+c.off, not.Off)
			}
		})
	}
}

// imageBytes are the bytes of a device in memory.
func imageBytes(t testing.TB, dev blockio.Device) []byte {
	t.Helper()
	b, err := blockio.ReadFull(dev, 0, int(dev.Size()))
	require.NoError(t, err)
	return b
}

func writeAll(dev *blockio.Memory, p []byte) error {
	_, err := dev.WriteAt(p, 0)
	return err
}

func TestRefusesBigEndian(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []int{1, 2} {
		img := makeImage(t, layout{version, true, 8192, 1024}, 4<<20, dir, devices)
		_, err := OpenWritable(ctx, blockio.NewSession(img.dev, blockio.SessionOptions{}))
		var not *vfs.NotSupportedError
		require.ErrorAs(t, err, &not)
		assert.Contains(t, err.Error(), "big-endian")
		assert.Equal(t, img.open().info.UsedOffset+ondisk.SuperMagicOff, not.Off)
	}
}

// A device that ends before its file system does is damage.
func TestRefusesShortDevice(t *testing.T) {
	_, mem := newWriter(t, 4<<20, vfs.FormatOptions{})
	b := imageBytes(t, mem)
	_, err := OpenWritable(ctx, blockio.NewSession(blockio.NewMemory(bytes.Clone(b[:3<<20])), blockio.SessionOptions{}))
	var corrupt *vfs.CorruptError
	require.ErrorAs(t, err, &corrupt)
	assert.Contains(t, err.Error(), "1048576 bytes before")
}
