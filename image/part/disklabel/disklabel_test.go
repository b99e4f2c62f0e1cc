package disklabel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

const mib = 1 << 20

// spec describes a label to build. Numbers are in sectors.
type spec struct {
	order   binary.ByteOrder
	flavor  Flavor
	version uint16
	secSize uint32
	sectors uint64
	duid    string
	bound   [2]uint64
	pack    string
	drive   uint16
	count   int // entries; 0 for 16
	parts   map[int]entry
}

type entry struct {
	start, size uint64
	fstype      uint8
	frag, bsize int
}

// build encodes a label by field positions, independently of the decoder.
func (s spec) build() []byte {
	o := s.order
	if o == nil {
		o = binary.LittleEndian
	}
	n := s.count
	if n == 0 {
		n = 16
	}
	p := make([]byte, 148+16*n)
	o.PutUint32(p[0:], 0x82564557)
	o.PutUint16(p[4:], s.drive)
	copy(p[24:40], s.pack)
	if s.secSize == 0 {
		s.secSize = 512
	}
	o.PutUint32(p[40:], s.secSize)
	o.PutUint32(p[44:], 63)
	o.PutUint32(p[48:], 255)
	o.PutUint32(p[56:], 63*255)
	o.PutUint32(p[60:], uint32(s.sectors))
	if s.flavor == OpenBSD && s.version > 0 {
		copy(p[64:72], s.duid)
		o.PutUint16(p[76:], uint16(s.bound[0]>>32))
		o.PutUint16(p[78:], uint16(s.bound[1]>>32))
		o.PutUint32(p[80:], uint32(s.bound[0]))
		o.PutUint32(p[84:], uint32(s.bound[1]))
		o.PutUint16(p[112:], uint16(s.sectors>>32))
		o.PutUint16(p[114:], s.version)
	} else {
		o.PutUint16(p[72:], 3600)
		o.PutUint16(p[74:], 1)
	}
	o.PutUint32(p[132:], 0x82564557)
	o.PutUint16(p[138:], uint16(n))
	o.PutUint32(p[140:], 8192)
	for i, e := range s.parts {
		q := p[148+16*i:]
		o.PutUint32(q[0:], uint32(e.size))
		o.PutUint32(q[4:], uint32(e.start))
		q[12] = e.fstype
		if s.flavor == OpenBSD && s.version > 0 {
			o.PutUint16(q[8:], uint16(e.start>>32))
			o.PutUint16(q[10:], uint16(e.size>>32))
			if e.frag > 0 {
				log := func(n int) (l byte) {
					for ; n > 1; n >>= 1 {
						l++
					}
					return l
				}
				q[13] = (log(e.bsize)-12)<<3 | (log(e.bsize/e.frag) + 1)
			}
		} else if e.frag > 0 {
			o.PutUint32(q[8:], uint32(e.frag))
			q[13] = byte(e.bsize / e.frag)
		}
	}
	return sum(p, o)
}

// sum makes the checksum right.
func sum(p []byte, o binary.ByteOrder) []byte {
	o.PutUint16(p[136:], 0)
	var x uint16
	for i := 0; i+1 < len(p); i += 2 {
		x ^= o.Uint16(p[i:])
	}
	o.PutUint16(p[136:], x)
	return p
}

// disk puts labels at bytes of a device of size bytes.
func disk(size int, labels map[int][]byte) *blockio.Memory {
	data := make([]byte, size)
	for at, p := range labels {
		copy(data[at:], p)
	}
	return blockio.NewMemory(data)
}

// line is one entry for comparison: letter, start and size in sectors, type.
func lines(tab *part.Table) (list []string) {
	for _, e := range tab.Entries {
		container := ""
		if e.Container {
			container = " container"
		}
		list = append(list, fmt.Sprintf("%s %d %d %s%s", e.ID(tab.Scheme), e.Start/512, e.Size/512, e.Type, container))
	}
	return list
}

func problems(tab *part.Table) (list []string) {
	for _, p := range tab.Problems {
		list = append(list, p.Error())
	}
	return list
}

// mmls lists a label as sleuthkit reads it: letter, start, size.
func mmls(t testing.TB, img string, sector int64) (list []string) {
	t.Helper()
	out := testtool.Run(t, "mmls", "-t", "bsd", "-o", strconv.FormatInt(sector, 10), img)
	byLetter := map[int]string{}
	for _, m := range regexp.MustCompile(`(?m)^\d+:  (\d{3}) +(\d+) +\d+ +(\d+) `).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		start, _ := strconv.ParseInt(m[2], 10, 64)
		size, _ := strconv.ParseInt(m[3], 10, 64)
		byLetter[n] = fmt.Sprintf("%c %d %d", 'a'+n, start, size)
	}
	for i := range 64 {
		if l, ok := byLetter[i]; ok {
			list = append(list, l)
		}
	}
	return list
}

// util-linux writes labels of the old layout, sleuthkit and GRUB read them.
func TestReadAgreesWithFdiskAndSleuthkit(t *testing.T) {
	testtool.Need(t, "sfdisk", "fdisk", "mmls", "grub-fstest")
	for typ, flavor := range map[string]Flavor{"a5": FreeBSD, "a6": OpenBSD, "a9": NetBSD} {
		t.Run(string(flavor), func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "disk.img")
			require.NoError(t, os.WriteFile(img, nil, 0o600))
			require.NoError(t, os.Truncate(img, 64*mib))
			for _, c := range [][]string{
				{"sfdisk", "-q", img, "label: dos\nstart=2048, size=100000, type=" + typ + "\n"},
				{"fdisk", img, "b\ny\nn\na\n\n+5M\nn\nb\n20000\n+8M\nn\nh\n50000\n60000\nt\na\n7\nt\nb\n1\nt\nh\n8\nw\n"},
			} {
				cmd := exec.Command(c[0], c[1:len(c)-1]...)
				cmd.Stdin = strings.NewReader(c[len(c)-1])
				out, err := cmd.CombinedOutput()
				if c[0] == "sfdisk" {
					require.NoError(t, err, "%s", out)
				}
			}
			data, err := os.ReadFile(img)
			require.NoError(t, err)
			tab, err := Read(blockio.NewMemory(data), 2048*512, 100000*512, flavor)
			require.NoError(t, err)
			assert.Equal(t, "disklabel", tab.Scheme)
			assert.Equal(t, string(flavor), tab.Flavor)
			assert.Equal(t, int64(2049*512), tab.Off)
			assert.Empty(t, tab.Problems)

			var got []string
			for _, l := range lines(tab) {
				got = append(got, strings.Join(strings.Fields(l)[:3], " "))
			}
			want := mmls(t, img, 2048)
			require.Len(t, want, 5)
			if flavor == FreeBSD {
				// d is the whole disk there, before the origin of the slice,
				// where FreeBSD does not see it.
				want = append(want[:3], want[4])
			}
			assert.Equal(t, want, got)
			types := map[string]string{}
			for _, e := range tab.Entries {
				types[e.ID(tab.Scheme)] = e.Type
				assert.Equal(t, e.Index == 2 || e.Index == 3, e.Container, "partition %s", e.ID(tab.Scheme))
			}
			assert.Equal(t, "4.2BSD", types["a"])
			assert.Equal(t, "swap", types["b"])
			assert.Equal(t, "MSDOS", types["h"])

			if flavor != FreeBSD {
				ls := testtool.Run(t, "grub-fstest", img, "ls")
				for _, n := range []int{1, 2, 8} {
					assert.Contains(t, ls, fmt.Sprintf("(loop0,%sbsd%d)", strings.TrimSuffix(strings.ToLower(string(flavor)), "bsd"), n))
				}
			}
		})
	}
}

// A label as resflash's builds have it.
func resflashSpec() spec {
	return spec{
		flavor: OpenBSD, version: 1, sectors: 3903488, duid: "\x52\xfd\xfc\x07\x21\x82\x65\x4f",
		bound: [2]uint64{6208, 3903488}, pack: "fictitious", drive: 12,
		parts: map[int]entry{
			0: {8192, 8192, 7, 2048, 16384}, 2: {0, 3903488, 0, 0, 0}, 3: {16384, 1814528, 7, 2048, 16384},
			4: {1830912, 1814528, 7, 2048, 16384}, 5: {3645440, 258048, 7, 2048, 16384}, 8: {64, 6144, 8, 0, 0},
		},
	}
}

// sparse is a disk that reads as zeros but for its first bytes.
type sparse struct {
	*blockio.Memory
	size int64
}

func (s sparse) Size() int64 { return s.size }

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off+int64(len(p)) > s.size {
		return 0, io.ErrUnexpectedEOF
	}
	if _, err := s.Memory.ReadAt(p, off); err != nil && err != io.EOF {
		return 0, err
	}
	return len(p), nil
}

func TestReadResflashLabel(t *testing.T) {
	dev := sparse{disk(6209*512+4096, map[int][]byte{6209 * 512: resflashSpec().build()}), 3903488 * 512}
	tab, err := Read(dev, 6208*512, (3903488-6208)*512, OpenBSD)
	require.NoError(t, err)
	assert.Equal(t, "52fdfc072182654f", tab.ID)
	assert.Equal(t, "fictitious", tab.Name)
	assert.Equal(t, "vnd", tab.DriveType)
	assert.Equal(t, int64(3903488*512), tab.DiskSize)
	assert.Equal(t, int64(6208*512), tab.BoundStart)
	assert.Equal(t, int64(3903488*512), tab.BoundEnd)
	assert.Equal(t, []string{"a 8192 8192 4.2BSD", "c 0 3903488 unused container", "d 16384 1814528 4.2BSD",
		"e 1830912 1814528 4.2BSD", "f 3645440 258048 4.2BSD", "i 64 6144 MSDOS"}, lines(tab))
	assert.Equal(t, 2048, tab.Entries[0].FragSize)
	assert.Equal(t, 16384, tab.Entries[0].BlockSize)
	assert.Empty(t, tab.Problems)

	testtool.Need(t, "mmls")
	img := filepath.Join(t.TempDir(), "disk.img")
	head := make([]byte, 6210*512)
	_, err = dev.ReadAt(head, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(img, head, 0o600))
	require.NoError(t, os.Truncate(img, dev.size))
	var got []string
	for _, l := range lines(tab) {
		got = append(got, strings.Join(strings.Fields(l)[:3], " "))
	}
	assert.Equal(t, mmls(t, img, 6208), got)
}

func TestReadFlavors(t *testing.T) {
	ffs := func(start, size uint64) entry { return entry{start, size, 7, 2048, 16384} }
	for name, c := range map[string]struct {
		spec   spec
		at     int    // byte of the label
		start  int64  // sector of the slice
		hint   Flavor // as the MBR type says
		flavor Flavor // what it is
		want   []string
	}{
		"FreeBSD, c at 0": {
			spec{flavor: FreeBSD, sectors: 3000, count: 8, parts: map[int]entry{0: ffs(16, 1000), 1: {1016, 500, 1, 0, 0}, 2: {0, 3000, 0, 0, 0}}},
			1001 * 512, 1000, FreeBSD, FreeBSD,
			[]string{"a 1016 1000 4.2BSD", "b 2016 500 swap", "c 1000 3000 unused container"},
		},
		"FreeBSD, c at the slice": {
			spec{flavor: FreeBSD, sectors: 3000, count: 8, parts: map[int]entry{0: ffs(1016, 1000), 2: {1000, 3000, 0, 0, 0}, 4: {2500, 500, 27, 0, 0}}},
			1001 * 512, 1000, FreeBSD, FreeBSD,
			[]string{"a 1016 1000 4.2BSD", "c 1000 3000 unused container", "e 2500 500 ZFS"},
		},
		"FreeBSD, dangerously dedicated": {
			spec{flavor: FreeBSD, sectors: 4000, count: 8, parts: map[int]entry{0: ffs(16, 1000), 2: {0, 4000, 0, 0, 0}}},
			512, 0, Unknown, FreeBSD, []string{"a 16 1000 4.2BSD", "c 0 4000 unused container"},
		},
		"FreeBSD, file system in c": {
			spec{flavor: FreeBSD, sectors: 4000, count: 8, parts: map[int]entry{2: ffs(0, 4000)}},
			512, 0, FreeBSD, FreeBSD, []string{"c 0 4000 4.2BSD"},
		},
		"NetBSD, 16": {
			spec{flavor: NetBSD, sectors: 4000, parts: map[int]entry{0: ffs(1063, 1000), 2: {1000, 3000, 0, 0, 0}, 3: {0, 4000, 0, 0, 0}, 4: {3000, 100, 19, 0, 0}}},
			1001 * 512, 1000, NetBSD, NetBSD,
			[]string{"a 1063 1000 4.2BSD", "c 1000 3000 unused container", "d 0 4000 unused container", "e 3000 100 RAID"},
		},
		"NetBSD, 22, bare": {
			spec{flavor: NetBSD, sectors: 4000, count: 22, parts: map[int]entry{0: ffs(63, 1000), 2: {0, 4000, 0, 0, 0}, 3: {0, 4000, 0, 0, 0}, 21: {3000, 100, 17, 0, 0}}},
			512, 0, Unknown, NetBSD,
			[]string{"a 63 1000 4.2BSD", "c 0 4000 unused container", "d 0 4000 unused container", "v 3000 100 Linux Ext2"},
		},
		"NetBSD, big-endian at byte 64": {
			spec{flavor: NetBSD, order: binary.BigEndian, sectors: 4000, count: 8, parts: map[int]entry{0: ffs(0, 1000), 2: {0, 4000, 0, 0, 0}}},
			64, 0, Unknown, NetBSD, []string{"a 0 1000 4.2BSD", "c 0 4000 unused container"},
		},
		"OpenBSD, bare": {
			spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 4000, parts: map[int]entry{0: ffs(64, 1000), 2: {0, 4000, 0, 0, 0}}},
			512, 0, Unknown, OpenBSD, []string{"a 64 1000 4.2BSD", "c 0 4000 unused container"},
		},
		"OpenBSD, version 0": {
			spec{flavor: OpenBSD, version: 0, sectors: 4000, parts: map[int]entry{0: ffs(1063, 1000), 2: {0, 4000, 0, 0, 0}}},
			1001 * 512, 1000, OpenBSD, OpenBSD, []string{"a 1063 1000 4.2BSD", "c 0 4000 unused container"},
		},
		"OpenBSD, big-endian": {
			spec{flavor: OpenBSD, version: 1, order: binary.BigEndian, duid: "12345678", sectors: 4000, parts: map[int]entry{0: ffs(64, 1000), 2: {0, 4000, 0, 0, 0}}},
			512, 0, OpenBSD, OpenBSD, []string{"a 64 1000 4.2BSD", "c 0 4000 unused container"},
		},
		"OpenBSD, 52 partitions": {
			spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 4000, count: 52, parts: map[int]entry{0: ffs(64, 1000), 25: {2000, 10, 8, 0, 0}, 26: {2010, 10, 17, 0, 0}, 51: ffs(3000, 100)}},
			512, 0, OpenBSD, OpenBSD, []string{"a 64 1000 4.2BSD", "z 2000 10 MSDOS", "A 2010 10 ext2fs", "Z 3000 100 4.2BSD"},
		},
		"OpenBSD, anywhere in the sector": {
			spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 4000, count: 8, parts: map[int]entry{0: ffs(64, 1000)}},
			512 + 24, 0, OpenBSD, OpenBSD, []string{"a 64 1000 4.2BSD"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dev := disk(4000*512, map[int][]byte{c.at: c.spec.build()})
			tab, err := Read(dev, c.start*512, dev.Size()-c.start*512, c.hint)
			require.NoError(t, err)
			assert.Equal(t, string(c.flavor), tab.Flavor)
			assert.Equal(t, int64(c.at), tab.Off)
			assert.Equal(t, c.want, lines(tab))
			assert.Empty(t, problems(tab))
			for _, e := range tab.Entries {
				if e.Type == "4.2BSD" {
					assert.Equal(t, []int{2048, 16384}, []int{e.FragSize, e.BlockSize}, "partition %s", e.ID(tab.Scheme))
					assert.Equal(t, "FFS", e.TypeName)
				}
			}
		})
	}
}

func TestReadCountsSectorsIn48Bits(t *testing.T) {
	s := spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 1 << 40, bound: [2]uint64{64, 1 << 40},
		parts: map[int]entry{0: {1<<36 + 5, 1<<39 + 3, 7, 8192, 65536}, 2: {0, 1 << 40, 0, 0, 0}}}
	dev := sparse{disk(8192, map[int][]byte{512: s.build()}), 1 << 49}
	tab, err := Read(dev, 0, dev.Size(), OpenBSD)
	require.NoError(t, err)
	assert.Equal(t, int64(1<<36+5)*512, tab.Entries[0].Start)
	assert.Equal(t, int64(1<<39+3)*512, tab.Entries[0].Size)
	assert.Equal(t, []int{8192, 65536}, []int{tab.Entries[0].FragSize, tab.Entries[0].BlockSize})
	assert.Equal(t, int64(1<<49), tab.DiskSize)
	assert.Equal(t, int64(1<<49), tab.BoundEnd)
	assert.Empty(t, tab.Problems)
}

func TestReadSectorsOf4096(t *testing.T) {
	s := spec{flavor: OpenBSD, version: 1, duid: "12345678", secSize: 4096, sectors: 1000,
		parts: map[int]entry{0: {16, 100, 7, 4096, 32768}, 2: {0, 1000, 0, 0, 0}}}
	for _, at := range []int{512, 4096} {
		data := make([]byte, 4096000)
		copy(data[at:], s.build())
		tab, err := Read(blockio.NewMemorySectors(data, 4096), 0, int64(len(data)), OpenBSD)
		require.NoError(t, err, "label at byte %d", at)
		assert.Equal(t, 4096, tab.SectorSize)
		assert.Equal(t, int64(65536), tab.Entries[0].Start)
		assert.Equal(t, int64(409600), tab.Entries[0].Size)
		assert.Equal(t, int64(4096000), tab.DiskSize)
	}
}

func TestReadReportsProblems(t *testing.T) {
	for name, c := range map[string]struct {
		spec  spec
		start int64
		want  []string
	}{
		"overlap, not with c or i": {
			spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 4000, parts: map[int]entry{
				0: {1100, 100, 7, 0, 0}, 1: {1150, 100, 1, 0, 0}, 2: {0, 4000, 0, 0, 0}, 8: {64, 900, 8, 0, 0}}}, 1000,
			[]string{"partition b overlaps partition a (at byte 512676)"},
		},
		"outside the disk": {
			spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 8000, parts: map[int]entry{
				0: {1100, 100000, 7, 0, 0}, 2: {0, 8000, 0, 0, 0}, 3: {5000, 10, 7, 0, 0}, 4: {1 << 47, 1 << 47, 7, 0, 0}}}, 1000,
			[]string{
				"partition a ends at byte 51763200, behind the end of the disk at byte 2048000 (at byte 512660)",
				"partition d starts at byte 2560000, behind the end of the disk at byte 2048000 (at byte 512708)",
				"partition e starts at byte 72057594037927936, behind the end of the disk at byte 2048000 (at byte 512724)",
				"partition d overlaps partition a (at byte 512708)",
			},
		},
		"no DUID": {
			spec{flavor: OpenBSD, version: 1, sectors: 4000, parts: map[int]entry{0: {1100, 100, 7, 0, 0}}}, 1000,
			[]string{"the label has no DUID (at byte 512576)"},
		},
		"FreeBSD before its slice": {
			spec{flavor: FreeBSD, sectors: 4000, count: 8, parts: map[int]entry{0: {900, 100, 7, 0, 0}, 2: {1000, 3000, 0, 0, 0}, 4: {1000, 3500, 7, 0, 0}}}, 1000,
			[]string{
				"partition a at sector 900 starts before the slice at sector 1000 (at byte 512660)",
				"partition e ends at byte 2304000, behind the end of the disk at byte 2048000 (at byte 512724)",
				"partition e is not inside the slice (bytes 512000 to 2047999) (at byte 512724)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dev := disk(4000*512, map[int][]byte{int(c.start+1) * 512: c.spec.build()})
			tab, err := Read(dev, c.start*512, dev.Size()-c.start*512, c.spec.flavor)
			require.NoError(t, err)
			assert.Equal(t, c.want, problems(tab))
		})
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(p []byte)
		off    int64
		want   string
	}{
		"checksum":        {func(p []byte) { p[200] ^= 1 }, 136, "checksum is"},
		"second magic":    {func(p []byte) { p[132] ^= 1 }, 132, "second magic number is 0x82564556 instead of 0x82564557"},
		"no partitions":   {func(p []byte) { p[138] = 0 }, 138, "0 partitions"},
		"many partitions": {func(p []byte) { p[139] = 0xff }, 138, "65296 partitions"},
		"sector size":     {func(p []byte) { p[40] = 3; sum(p, binary.LittleEndian) }, 40, "sector size of 515 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			label := resflashSpec().build()
			c.damage(label)
			dev := disk(1<<20, map[int][]byte{100*512 + 512: label})
			_, err := Read(dev, 100*512, 1000*512, OpenBSD)
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Equal(t, "disklabel", corrupt.Structure)
			assert.Equal(t, 101*512+c.off, corrupt.Off)
			assert.Contains(t, corrupt.Detail, c.want)
		})
	}
}

// A damaged label in one place does not hide a good one in another.
func TestReadPrefersTheIntactLabel(t *testing.T) {
	bad := resflashSpec().build()
	bad[200] ^= 1
	good := spec{flavor: OpenBSD, version: 1, duid: "12345678", sectors: 1000, count: 8, parts: map[int]entry{0: {64, 100, 7, 0, 0}}}
	tab, err := Read(disk(1<<20, map[int][]byte{512: bad, 64: good.build()}), 0, 1<<20, Unknown)
	require.NoError(t, err)
	assert.Equal(t, int64(64), tab.Off)
}

func TestReadWhereThereIsNone(t *testing.T) {
	for _, n := range []int{0, 100, 512, 600, 1024, 1 << 20} {
		_, err := Read(blockio.NewMemory(make([]byte, n)), 0, int64(n), Unknown)
		assert.ErrorIs(t, err, part.ErrNotFound, "%d bytes", n)
	}
	dev := blockio.NewMemory(make([]byte, 1000))
	for _, start := range []int64{-1, 1000, 1001, 1 << 62} {
		_, err := Read(dev, start, 512, OpenBSD)
		assert.ErrorIs(t, err, part.ErrNotFound, "slice at byte %d", start)
	}
}

// Labels of machines that the BSDs ran on but that are not theirs are named.
func TestReadNamesForeignLabels(t *testing.T) {
	sun := make([]byte, 1<<20)
	sun[508], sun[509] = 0xda, 0xbe
	sun[510], sun[511] = 0xda, 0xbe
	_, err := Read(blockio.NewMemory(sun), 0, 1<<20, Unknown)
	var unsupported *vfs.NotSupportedError
	require.ErrorAs(t, err, &unsupported)
	assert.Equal(t, "Sun disk label", unsupported.What)

	testtool.Need(t, "sfdisk", "fdisk")
	for label, want := range map[string]string{"sgi": "SGI volume header", "sun": "Sun disk label"} {
		img := filepath.Join(t.TempDir(), label+".img")
		require.NoError(t, os.WriteFile(img, make([]byte, 64*mib), 0o600))
		cmd := exec.Command("sfdisk", "-q", img)
		cmd.Stdin = strings.NewReader("label: " + label + "\n")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		data, err := os.ReadFile(img)
		require.NoError(t, err)
		_, err = Read(blockio.NewMemory(data), 0, int64(len(data)), Unknown)
		require.ErrorAs(t, err, &unsupported, "%s", label)
		assert.Equal(t, want, unsupported.What)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []spec{
		resflashSpec(),
		{flavor: FreeBSD, sectors: 100, count: 8, parts: map[int]entry{0: {16, 10, 7, 2048, 16384}, 2: {10, 100, 0, 0, 0}}},
		{flavor: NetBSD, order: binary.BigEndian, sectors: 100, count: 22, parts: map[int]entry{0: {16, 10, 7, 2048, 16384}, 3: {0, 100, 0, 0, 0}}},
		{flavor: OpenBSD, version: 1, sectors: 1 << 47, count: 52, parts: map[int]entry{40: {1 << 47, 1 << 47, 7, 2048, 16384}}},
	} {
		label := s.build()
		data := make([]byte, 2048)
		copy(data[512:], label)
		f.Add(data, uint16(512), true, byte(len(s.flavor)))
		f.Add(label, uint16(0), false, byte(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16, sums bool, flavor byte) {
		if i := int(at); sums && i+148 <= len(data) {
			data = append([]byte(nil), data...)
			p := data[i:]
			if n := 148 + 16*int(binary.LittleEndian.Uint16(p[138:])); n <= len(p) {
				sum(p[:n], binary.LittleEndian)
			}
		}
		check(t, data, []Flavor{Unknown, OpenBSD, FreeBSD, NetBSD}[flavor%4])
	})
}

func check(t *testing.T, data []byte, flavor Flavor) {
	for _, start := range []int64{0, 512, int64(len(data)) - 100} {
		tab, err := Read(blockio.NewMemory(data), start, int64(len(data)), flavor)
		if err != nil {
			var corrupt *vfs.CorruptError
			var unsupported *vfs.NotSupportedError
			if !errors.Is(err, part.ErrNotFound) && !errors.As(err, &corrupt) && !errors.As(err, &unsupported) {
				t.Fatalf("error of an unknown kind: %v", err)
			}
			continue
		}
		for _, e := range tab.Entries {
			if e.Start < 0 || e.Size <= 0 || e.End() < e.Start {
				t.Fatalf("impossible entry %+v", e)
			}
			if !e.Container && e.Outside != (e.End() > int64(len(data))) {
				t.Fatalf("entry %+v of a disk of %d bytes", e, len(data))
			}
		}
	}
}

func TestReadSurvivesRandomBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 3000 {
		data := make([]byte, 4096)
		p := data[512:]
		copy(p, resflashSpec().build())
		for range 1 + rng.IntN(30) {
			p[40+rng.IntN(360)] = byte(rng.Uint32())
		}
		p[138], p[139] = byte(rng.IntN(70)), 0
		binary.LittleEndian.PutUint32(p[132:], 0x82564557)
		if n := 148 + 16*int(p[138]); i%4 != 0 {
			sum(p[:n], binary.LittleEndian)
		}
		check(t, data, []Flavor{Unknown, OpenBSD, FreeBSD, NetBSD}[rng.IntN(4)])
	}
}
