package ffs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// smallImage is an image with a few files.
func smallImage(t testing.TB, l layout) *image {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), contents(1, 3*l.bsize+100), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "large"), contents(2, 20*l.bsize), 0o600))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "short")))
	require.NoError(t, os.Symlink(string(contentsText(200)), filepath.Join(dir, "long")))
	require.NoError(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "sub", "linked")))
	return makeImage(t, l, max(100*l.bsize, 2<<20), dir, devices)
}

func contentsText(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = 'a' + byte(i%26)
	}
	return p
}

func isFFS(t *testing.T, dev blockio.Device) bool {
	ok, err := Probe(dev)
	require.NoError(t, err)
	return ok
}

func TestProbe(t *testing.T) {
	for _, size := range []int{0, 1, 512, 8192, 8192 + 1375, 65536, 1 << 20} {
		assert.False(t, isFFS(t, blockio.NewMemory(make([]byte, size))), "%d zeros", size)
		_, err := Open(ctx, blockio.NewMemory(make([]byte, size)))
		var corrupt *vfs.CorruptError
		assert.ErrorAs(t, err, &corrupt, "%d zeros", size)
	}
	for _, l := range append(layouts(8192, 1024), layouts(65536, 8192)...) {
		assert.True(t, isFFS(t, smallImage(t, l).dev), "%v", l)
	}
	failing := errors.New("broken disk")
	_, err := Probe(brokenDevice{blockio.NewMemory(make([]byte, 1<<20)), failing})
	assert.ErrorIs(t, err, failing)
}

type brokenDevice struct {
	*blockio.Memory
	err error
}

func (d brokenDevice) ReadAt([]byte, int64) (int, error) { return 0, d.err }

// FFS1 with blocks of 64K has a copy of its superblock at 65536, where that of
// FFS2 is looked for first.
func TestBackupOf64KBlocksIsNotThePrimary(t *testing.T) {
	img := smallImage(t, layout{1, false, 65536, 8192})
	require.Equal(t, uint32(ondisk.MagicFFS1), img.open().geo.order.U32(img.data[65536+ondisk.SuperMagicOff:]))
	img.data[65536+209] = 0 // the copy says dirty
	info := img.open().Info()
	assert.Equal(t, int64(8192), info.UsedOffset)
	assert.Equal(t, vfs.Clean, info.State)

	// Without the primary it is no file system, but it says what is left.
	clear(img.data[8192:][:ondisk.SuperSize])
	assert.False(t, isFFS(t, img.dev))
	_, err := Open(ctx, img.dev)
	assert.ErrorContains(t, err, "backup superblock at byte 65536 is sound")
}

func TestSuperblockPlaces(t *testing.T) {
	t.Run("FFS2 at 65536, FFS1 of before wiped at 8192", func(t *testing.T) {
		img := smallImage(t, layout{2, false, 65536, 8192})
		img.moveSuper()
		img.open().geo.order.PutU32(img.data[8192+ondisk.SuperMagicOff:], ondisk.MagicBad)
		assert.Equal(t, int64(65536), img.open().Info().UsedOffset)
		assert.True(t, isFFS(t, img.dev))
	})
	t.Run("FFS2 that says that it lies elsewhere", func(t *testing.T) {
		img := smallImage(t, layout{2, true, 8192, 1024})
		ondisk.Order{Big: true}.PutU64(img.data[8192+1000:], 65536)
		assert.False(t, isFFS(t, img.dev))
	})
	t.Run("FFS1 that does not say where it lies", func(t *testing.T) {
		img := smallImage(t, layout{1, false, 8192, 1024})
		ondisk.Order{}.PutU64(img.data[8192+1000:], 0)
		assert.True(t, isFFS(t, img.dev))
		assert.Equal(t, int64(8192), img.open().Info().UsedOffset)
	})
	t.Run("floppy", func(t *testing.T) {
		img := smallImage(t, layout{2, false, 8192, 1024})
		copy(img.data, img.data[8192:][:ondisk.SuperSize])
		clear(img.data[8192:][:ondisk.SuperSize])
		ondisk.Order{}.PutU64(img.data[1000:], 0)
		assert.Equal(t, int64(0), img.open().Info().UsedOffset)
		_, err := vfs.NewTree(img.open()).Resolve(ctx, "/sub/large")
		assert.NoError(t, err)
	})
	t.Run("damaged in front of a sound one", func(t *testing.T) {
		img := smallImage(t, layout{2, false, 16384, 2048})
		copy(img.data[262144:], img.data[8192:][:ondisk.SuperSize])
		ondisk.Order{}.PutU64(img.data[262144+1000:], 262144)
		ondisk.Order{}.PutU32(img.data[8192+48:], 12345)
		assert.Equal(t, int64(262144), img.open().Info().UsedOffset)
	})
	t.Run("wiped", func(t *testing.T) {
		img := smallImage(t, layout{1, false, 8192, 1024})
		ondisk.Order{}.PutU32(img.data[8192+ondisk.SuperMagicOff:], ondisk.MagicBad)
		assert.False(t, isFFS(t, img.dev))
		_, err := Open(ctx, img.dev)
		assert.ErrorContains(t, err, "newfs did not finish")
	})
	t.Run("Solaris", func(t *testing.T) {
		img := smallImage(t, layout{1, true, 8192, 1024})
		img.setSuper(func(s *ondisk.Super, _ ondisk.Order) {
			s.State, s.OldInodeFormat, s.MaxSymlinkLen = ondisk.StateOK-s.OldTime, 0, 0
		})
		_, err := Open(ctx, img.dev)
		var not *vfs.NotSupportedError
		assert.ErrorAs(t, err, &not)
		assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	})
}

// Every rule that the reader relies on is checked, and the error names the
// place and the backup.
func TestDamagedSuperblock(t *testing.T) {
	for _, l := range []layout{{1, false, 16384, 2048}, {2, true, 8192, 1024}} {
		backup := l.bsize * ((16384 + l.bsize - 1) / l.bsize)
		for name, change := range map[string]func(s *ondisk.Super){
			"block size 0":            func(s *ondisk.Super) { s.BlockSize = 0 },
			"block size negative":     func(s *ondisk.Super) { s.BlockSize = -16384 },
			"block size odd":          func(s *ondisk.Super) { s.BlockSize = 12345 },
			"block size small":        func(s *ondisk.Super) { s.BlockSize = 2048 },
			"block size large":        func(s *ondisk.Super) { s.BlockSize = 131072 },
			"fragment size 0":         func(s *ondisk.Super) { s.FragSize = 0 },
			"fragment size small":     func(s *ondisk.Super) { s.FragSize = 256 },
			"fragment size large":     func(s *ondisk.Super) { s.FragSize = 65536 },
			"fragments per block":     func(s *ondisk.Super) { s.Frag = 4 },
			"pointers":                func(s *ondisk.Super) { s.Nindir++ },
			"inodes per block":        func(s *ondisk.Super) { s.InodesPerBlock = 0 },
			"inodes per group 0":      func(s *ondisk.Super) { s.InodesPerGroup = 0 },
			"inodes per group uneven": func(s *ondisk.Super) { s.InodesPerGroup++ },
			"inodes per group huge":   func(s *ondisk.Super) { s.InodesPerGroup = 1<<32 - 1024 },
			"no groups":               func(s *ondisk.Super) { s.Groups = 0 },
			"many groups":             func(s *ondisk.Super) { s.Groups = 1<<32 - 1 },
			"fragments per group":     func(s *ondisk.Super) { s.FragsPerGroup = -8 },
			"size 0":                  func(s *ondisk.Super) { s.OldSize, s.Size = 0, 0 },
			"size negative":           func(s *ondisk.Super) { s.OldSize, s.Size = -1, -1 },
			"size huge":               func(s *ondisk.Super) { s.OldSize, s.Size = 1<<31-1, 1<<62 },
			"inode table overlaps":    func(s *ondisk.Super) { s.InodeOff = s.GroupOff },
			"data in the inode table": func(s *ondisk.Super) { s.DataOff = s.InodeOff + 1 },
			"data beyond the group":   func(s *ondisk.Super) { s.DataOff = s.FragsPerGroup + 1 },
			"group header negative":   func(s *ondisk.Super) { s.GroupOff = -1 },
		} {
			t.Run(fmt.Sprintf("%v/%s", l, name), func(t *testing.T) {
				img := smallImage(t, l)
				img.setSuper(func(s *ondisk.Super, _ ondisk.Order) { change(s) })
				assert.True(t, isFFS(t, img.dev), "the magic number is there")
				_, err := Open(ctx, img.dev)
				var corrupt *vfs.CorruptError
				require.ErrorAs(t, err, &corrupt)
				assert.Equal(t, "superblock", corrupt.Structure)
				assert.Greater(t, corrupt.Off, int64(8192))
				assert.Less(t, corrupt.Off, int64(8192+ondisk.SuperSize))
				assert.Contains(t, corrupt.Detail, fmt.Sprintf("backup superblock at byte %d is sound", backup))
			})
		}
	}
}

func TestInfo(t *testing.T) {
	const freeBSD, netBSD, openBSD = "FreeBSD", "NetBSD", "OpenBSD"
	as := func(s *ondisk.Super, o ondisk.Order, system string, flags uint32) {
		switch system {
		case freeBSD:
			o.PutU64(s.Spare64[992-864:], 8192)
			s.Word1312 = flags
		case netBSD:
			s.Spare64[0], s.Spare64[1] = 1, 2
			s.Word1312 = flags
		case openBSD:
			s.OldPostblFmt, s.OldNrpos, s.OldCpg = 1, 1, 1
			s.Word1308 = flags
		}
	}
	for _, c := range []struct {
		system   string
		clean    uint8
		flags    uint32
		state    vfs.State
		features []string
		note     string
	}{
		{openBSD, 1, 0, vfs.Clean, nil, ""},
		{openBSD, 0, 0, vfs.Dirty, nil, "needs fsck"},
		{openBSD, 0, ondisk.FlagSoftdep, vfs.Dirty, []string{"softdep"}, "soft updates"},
		{openBSD, 1, ondisk.FlagUnclean, vfs.Dirty, []string{"unclean"}, "mounted while unclean"},
		{freeBSD, 1, 0x28a, vfs.Clean, []string{"softdep", "suj", "metackhash"}, ""},
		{freeBSD, 0, 0x0a, vfs.Dirty, []string{"softdep", "suj"}, ".sujournal"},
		{freeBSD, 0, 0x40, vfs.Dirty, []string{"gjournal"}, "gjournal"},
		{freeBSD, 1, 0x534, vfs.Dirty, []string{"needs-fsck", "acls", "multilabel", "nfsv4acls", "trim"}, "fsck found errors"},
		{netBSD, 1, 0x100, vfs.Clean, []string{"wapbl"}, ""},
		{netBSD, 2, 0x100, vfs.Dirty, []string{"wapbl"}, "WAPBL journal is not replayed"},
		{netBSD, 0, 0x200, vfs.Dirty, []string{"quota2"}, "needs fsck"},
		{netBSD, 1, 0x8000, vfs.Clean, []string{"flag-0x8000"}, ""},
	} {
		for _, l := range layouts(8192, 1024)[2:] {
			img := smallImage(t, l)
			img.setSuper(func(s *ondisk.Super, o ondisk.Order) {
				as(s, o, c.system, c.flags)
				s.Clean = c.clean
				copy(s.VolumeName[:], "ROOT")
				copy(s.MountPoint[:], "/usr/local")
			})
			info := img.open().Info()
			what := fmt.Sprintf("%v of %s, clean %d, flags %#x", l, c.system, c.clean, c.flags)
			assert.Equal(t, c.state, info.State, what)
			assert.Equal(t, c.features, info.Features, what)
			if c.note == "" {
				assert.Empty(t, info.StateNote, what)
			} else {
				assert.Contains(t, info.StateNote, c.note, what)
			}
			assert.Equal(t, "ROOT", info.Label)
			assert.Equal(t, "/usr/local", info.LastMount)
		}
	}
}

func TestStatfs(t *testing.T) {
	for _, l := range layouts(16384, 2048) {
		img := smallImage(t, l)
		s, err := ondisk.DecodeSuper(img.data[8192:], ondisk.Order{Big: l.big})
		require.NoError(t, err)
		total := s.Total
		if l.version == 1 {
			total.FreeBlocks, total.FreeFrags = int64(s.OldTotal.FreeBlocks), int64(s.OldTotal.FreeFrags)
			total.FreeInodes = int64(s.OldTotal.FreeInodes)
			s.DataSize = int64(s.OldDataSize)
		}
		free := total.FreeBlocks*8 + total.FreeFrags
		st, err := img.open().Statfs(ctx)
		require.NoError(t, err)
		assert.Equal(t, vfs.Statfs{
			BlockSize: 2048,
			Blocks:    uint64(s.DataSize),
			Free:      uint64(free),
			Avail:     uint64(free - s.DataSize*int64(s.MinFree)/100),
			Files:     uint64(s.Groups*s.InodesPerGroup - 2),
			FilesFree: uint64(total.FreeInodes),
			NameMax:   255,
		}, st, "%v", l)
		assert.Positive(t, st.FilesFree)

		img.setSuper(func(s *ondisk.Super, _ ondisk.Order) { // nonsense is cut
			s.OldTotal, s.Total = ondisk.Summary{FreeBlocks: -1, FreeInodes: 1 << 30, FreeFrags: -7}, ondisk.SummaryTotal{FreeBlocks: 1 << 62, FreeFrags: 1 << 62, FreeInodes: -1}
			s.MinFree = -5
		})
		st, err = img.open().Statfs(ctx)
		require.NoError(t, err)
		assert.LessOrEqual(t, st.Free, st.Blocks)
		assert.LessOrEqual(t, st.Avail, st.Free)
		assert.LessOrEqual(t, st.FilesFree, st.Files)
	}
}

// An image that was cut off opens, says so, and gives what is there.
func TestTruncatedImage(t *testing.T) {
	img := smallImage(t, layout{2, false, 8192, 1024})
	large := img.inode("/sub/large")
	at, _, err := img.open().extent(large, 0, 1)
	require.NoError(t, err)
	img.data = img.data[:at+8192]
	img.dev = blockio.NewMemory(img.data)
	f := img.open()
	assert.Contains(t, f.Info().StateNote, "the device ends")
	p := make([]byte, 8192)
	_, err = f.ReadAt(ctx, vfs.Ino(large.num), p, 0)
	assert.NoError(t, err)
	assert.Equal(t, contents(2, 20*8192)[:8192], p)
	_, err = f.ReadAt(ctx, vfs.Ino(large.num), p, 8192)
	assert.ErrorContains(t, err, "beyond the end of the device")
	assert.ErrorIs(t, err, syscall.EIO)
}
