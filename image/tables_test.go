package image

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// disk lets sfdisk partition an image of mb MiB, adds what is at some bytes,
// and returns the contents, and the path of what sfdisk made.
func disk(t testing.TB, mb int64, script string, at map[int][]byte) ([]byte, string) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, mb<<20))
	if script != "" {
		testtool.Need(t, "sfdisk")
		cmd := exec.Command("sfdisk", "--quiet", "--force", img)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	for off, p := range at {
		copy(data[off:], p)
	}
	return data, img
}

// label is a disklabel of OpenBSD with partitions at sectors.
func label(parts map[int][2]uint32) []byte {
	p := make([]byte, 404)
	put16 := func(at int, v uint16) { p[at], p[at+1] = byte(v), byte(v>>8) }
	put32 := func(at int, v uint32) { put16(at, uint16(v)); put16(at+2, uint16(v>>16)) }
	put32(0, 0x82564557)
	put32(40, 512)
	copy(p[64:], "duid-duid")
	put16(114, 1)
	put32(132, 0x82564557)
	put16(138, 16)
	for i, s := range parts {
		put32(148+16*i, s[1])
		put32(148+16*i+4, s[0])
		if i != 2 {
			p[148+16*i+12] = 7
		}
	}
	put16(72, 0)
	var x uint16
	for i := 0; i < len(p); i += 2 {
		x ^= uint16(p[i]) | uint16(p[i+1])<<8
	}
	put16(136, x)
	return p
}

// tree prints tables as "MBR/protective[p1]" with the parent of inner ones.
func outline(tables []*part.Table) (list []string) {
	for _, t := range tables {
		var ids []string
		for _, e := range t.Entries {
			id := e.ID(t.Scheme)
			if e.Container {
				id = "(" + id + ")"
			}
			ids = append(ids, id)
		}
		name := t.Scheme
		if t.Flavor != "" {
			name += "/" + t.Flavor
		}
		if t.ParentID != "" {
			name = t.ParentID + ": " + name
		}
		list = append(list, name+" "+strings.Join(ids, " "))
	}
	return list
}

func allProblems(tables []*part.Table) (list []string) {
	for _, t := range tables {
		for _, p := range t.Problems {
			list = append(list, t.Scheme+": "+p.Error())
		}
	}
	return list
}

func TestReadTables(t *testing.T) {
	ad := map[int][2]uint32{0: {4096, 1000}, 2: {0, 131072}, 3: {8192, 1000}}
	bad := label(ad)
	bad[150] ^= 0xff
	for name, c := range map[string]struct {
		script   string
		at       map[int][]byte
		want     []string
		problems []string
	}{
		"nothing": {},
		"MBR": {
			"label: dos\nstart=2048, size=1000, type=83\n", nil,
			[]string{"MBR p1"}, nil,
		},
		"OpenBSD in an MBR": {
			"label: dos\n1 : start=64, size=1000, type=ef\n4 : start=2048, size=100000, type=a6, bootable\n",
			map[int][]byte{2049 * 512: label(ad)},
			[]string{"MBR p1 (p4)", "p4: disklabel/OpenBSD a (c) d"}, nil,
		},
		"only the first of two A6 partitions": {
			"label: dos\nstart=2048, size=50000, type=a6\nstart=60000, size=50000, type=a6\n",
			map[int][]byte{2049 * 512: label(ad), 60001 * 512: label(ad)},
			[]string{"MBR (p1) p2", "p1: disklabel/OpenBSD a (c) d"}, nil,
		},
		"OpenBSD in a logical partition": {
			"label: dos\nstart=2048, size=100000, type=5\nstart=4096, size=50000, type=a6\n",
			map[int][]byte{4097 * 512: label(ad)},
			[]string{"MBR (p1) (p5)", "p5: disklabel/OpenBSD a (c) d"}, nil,
		},
		"three systems": {
			"label: dos\nstart=2048, size=20000, type=a6\nstart=30000, size=20000, type=a9\nstart=60000, size=20000, type=a5\nstart=90000, size=20000, type=a5\n",
			map[int][]byte{2049 * 512: label(ad), 30001 * 512: label(ad), 60001 * 512: label(map[int][2]uint32{0: {100, 50}}), 90001 * 512: label(map[int][2]uint32{0: {100, 50}})},
			[]string{"MBR (p1) (p2) (p3) (p4)", "p1: disklabel/OpenBSD a (c) d", "p2: disklabel/NetBSD a (c) d",
				"p3: disklabel/FreeBSD a", "p4: disklabel/FreeBSD a"}, nil,
		},
		"a damaged label": {
			"label: dos\nstart=2048, size=100000, type=a6\n",
			map[int][]byte{2049 * 512: bad},
			[]string{"MBR p1"},
			[]string{"MBR: partition p1: disklabel: checksum is 0x2e46, should be 0x2eb9 (at byte 1049224)"},
		},
		"OpenBSD without its label": {
			"label: dos\nstart=2048, size=100000, type=a6\n", nil,
			[]string{"MBR p1"}, nil,
		},
		"label on a bare disk": {
			"", map[int][]byte{512: label(ad)}, []string{"disklabel/OpenBSD a (c) d"}, nil,
		},
		"label beside an MBR without OpenBSD": {
			"label: dos\nstart=100000, size=1000, type=83\n", map[int][]byte{512: label(ad)},
			[]string{"MBR p1", "disklabel/OpenBSD a (c) d"}, nil,
		},
		"no label where a partition is": {
			"label: dos\n", map[int][]byte{512: label(ad), 446: {0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0}},
			[]string{"MBR p1"}, nil,
		},
		"GPT": {
			"label: gpt\nstart=2048, size=1000\n", nil,
			[]string{"MBR/protective (p1)", "GPT p1"}, nil,
		},
		"OpenBSD in a GPT": {
			"label: gpt\nstart=2048, size=1000, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nstart=4096, size=100000, type=824CC7A0-36A8-11E3-890A-952519AD3F61\n",
			map[int][]byte{4097 * 512: label(ad)},
			[]string{"MBR/protective (p1)", "GPT p1 (p2)", "p2: disklabel/OpenBSD a (c) d"}, nil,
		},
		"GPT without its protective MBR": {
			"label: gpt\nstart=2048, size=1000\n", map[int][]byte{0: make([]byte, 512)},
			[]string{"GPT p1"}, []string{"GPT: the protective MBR is missing (at byte 0)"},
		},
		"GPT behind an empty MBR": {
			"label: gpt\nstart=2048, size=1000\n", map[int][]byte{446: make([]byte, 64)},
			[]string{"GPT p1"}, []string{"GPT: the MBR has no protective entry (at byte 0)"},
		},
		"GPT behind an MBR with partitions of its own": {
			"label: gpt\nstart=2048, size=1000\n", map[int][]byte{450: {0x83}},
			[]string{"MBR p1"}, []string{"MBR: there is a GPT, but no entry of the MBR announces it; it is ignored (at byte 512)"},
		},
		"what is left of a GPT at the end": {
			"label: gpt\nstart=2048, size=1000\n", map[int][]byte{0: make([]byte, 34*512)}, nil, nil,
		},
		"primary GPT lost": {
			"label: gpt\nlabel-id: 0F4E7C36-55B1-4C5D-8E7F-0A2B3C4D5E6F\nstart=2048, size=1000\n", map[int][]byte{512: make([]byte, 33*512)},
			[]string{"MBR/protective (p1)", "GPT p1"},
			[]string{`GPT: primary table: header: no signature "EFI PART" (at byte 512)`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			data, _ := disk(t, 64, c.script, c.at)
			tables, err := readTables(t.Context(), blockio.NewMemory(data))
			require.NoError(t, err)
			assert.Equal(t, c.want, outline(tables))
			assert.Equal(t, c.problems, allProblems(tables))
			for _, tab := range tables {
				if tab.Parent != nil {
					assert.Equal(t, tab.ParentID, tab.Parent.ID("MBR"))
					assert.True(t, tab.Parent.Container)
				}
			}
		})
	}
}

func TestReadTablesReportsAProtectiveMBRWithoutGPT(t *testing.T) {
	data, _ := disk(t, 64, "label: gpt\nstart=2048, size=1000\n", nil)
	clear(data[512 : 34*512])
	clear(data[len(data)-512:])
	tables, err := readTables(t.Context(), blockio.NewMemory(data))
	require.NoError(t, err)
	assert.Equal(t, []string{"MBR/protective (p1)"}, outline(tables))
	assert.Equal(t, []string{"MBR: gpt: no partition table: no header at byte 512, and no backup (at byte 512)"}, allProblems(tables))
}

func TestReadTablesHybrid(t *testing.T) {
	testtool.Need(t, "sgdisk")
	_, img := disk(t, 64, "label: gpt\nstart=2048, size=1000\nstart=4096, size=1000\n", nil)
	testtool.Run(t, "sgdisk", "-h", "1:2", img)
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	tables, err := readTables(t.Context(), blockio.NewMemory(data))
	require.NoError(t, err)
	assert.Equal(t, []string{"MBR/hybrid p1 p2 (p3)", "GPT p1 p2"}, sortedIDs(outline(tables)))
	assert.Empty(t, allProblems(tables))
}

// sortedIDs puts the entry of the GPT last, wherever sgdisk has put it.
func sortedIDs(list []string) []string {
	if len(list) > 0 && strings.HasPrefix(list[0], "MBR/hybrid (p1) p2 p3") {
		list[0] = "MBR/hybrid p1 p2 (p3)"
	}
	return list
}

// A disk of 4096-byte sectors copied to a file: both tables count in 4096.
func TestReadTablesOfSectors4096(t *testing.T) {
	testtool.Need(t, "fdisk")
	img := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, 64<<20))
	cmd := exec.Command("fdisk", "-b", "4096", img)
	cmd.Stdin = strings.NewReader("g\nn\n1\n512\n+1000\nw\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	tables, err := readTables(t.Context(), blockio.NewMemory(data))
	require.NoError(t, err)
	require.Equal(t, []string{"MBR/protective (p1)", "GPT p1"}, outline(tables))
	assert.Equal(t, int64(4096), tables[0].Entries[0].Start)
	assert.Equal(t, int64(len(data)-4096), tables[0].Entries[0].Size)
	assert.Equal(t, int64(512*4096), tables[1].Entries[0].Start)
	assert.Equal(t, []string{"GPT: the table counts in sectors of 4096 bytes, not 512 (at byte 4096)"}, allProblems(tables))
}

// A file system on the whole disk is no partitioned disk.
func TestReadTablesFindsNoneInVolumes(t *testing.T) {
	for name, args := range map[string][]string{
		"FAT12":    {"mkfs.fat", "-F", "12"},
		"FAT32":    {"mkfs.fat", "-F", "32"},
		"ext4":     {"mke2fs", "-q", "-F", "-t", "ext4"},
		"ext2":     {"mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024"},
		"squashfs": nil,
		"UFS":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, img := disk(t, 64, "", nil)
			src := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(src, "file"), []byte("contents"), 0o600))
			switch name {
			case "squashfs":
				testtool.Need(t, "mksquashfs")
				testtool.Run(t, "mksquashfs", src, img, "-noappend", "-quiet")
			case "UFS":
				testtool.Need(t, "makefs")
				testtool.Run(t, "makefs", "-t", "ffs", "-o", "version=2", "-s", "64m", img, src)
			default:
				testtool.Need(t, args[0])
				testtool.Run(t, args[0], append(args[1:], img)...)
			}
			data, err := os.ReadFile(img)
			require.NoError(t, err)
			tables, err := readTables(t.Context(), blockio.NewMemory(data))
			assert.NoError(t, err)
			assert.Empty(t, outline(tables))
		})
	}
}

func TestReadTablesErrors(t *testing.T) {
	// Nothing but damage: the error says where.
	data, _ := disk(t, 64, "label: gpt\nstart=2048, size=1000\n", nil)
	clear(data[:512])
	data[512+20]++
	clear(data[len(data)-512:])
	tables, err := readTables(t.Context(), blockio.NewMemory(data))
	var corrupt *vfs.CorruptError
	require.ErrorAs(t, err, &corrupt)
	assert.Equal(t, int64(512), corrupt.Off)
	assert.Empty(t, tables)

	// Reading fails.
	_, err = readTables(t.Context(), failing{blockio.NewMemory(make([]byte, 1<<20))})
	assert.ErrorIs(t, err, errBroken)

	// The caller has lost interest.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = readTables(ctx, blockio.NewMemory(data))
	assert.ErrorIs(t, err, context.Canceled)
}

var errBroken = errors.New("broken disk")

type failing struct{ blockio.Device }

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

// counting counts what is read.
type counting struct {
	blockio.Device
	calls, bytes atomic.Int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.calls.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.Device.ReadAt(p, off)
}

func TestReadTablesReadsLittle(t *testing.T) {
	for name, script := range map[string]string{
		"MBR": "label: dos\n1 : start=64, size=1000, type=ef\n4 : start=2048, size=100000, type=a6\n",
		"GPT": "label: gpt\nstart=2048, size=1000\n",
	} {
		data, _ := disk(t, 64, script, map[int][]byte{2049 * 512: label(map[int][2]uint32{0: {4096, 1000}})})
		dev := &counting{Device: blockio.NewMemory(data)}
		_, err := readTables(t.Context(), dev)
		require.NoError(t, err)
		assert.LessOrEqual(t, dev.calls.Load(), int64(12), name)
		assert.LessOrEqual(t, dev.bytes.Load(), int64(64<<10), name)
	}
}

// Whatever bytes of the tables change, all tables are still read or refused,
// and no entry is impossible.
func TestReadTablesSurvivesRandomBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for name, script := range map[string]string{
		"dos": "label: dos\nstart=2048, size=20000, type=5\nstart=30000, size=20000, type=a6\nstart=60000, size=20000, type=a5\nstart=4096, size=1000, type=a9\n",
		"gpt": "label: gpt\nstart=2048, size=1000, type=824CC7A0-36A8-11E3-890A-952519AD3F61\nstart=4096, size=1000, type=516E7CB4-6ECF-11D6-8FF8-00022D09712B\n",
	} {
		at := map[int][]byte{}
		for _, sector := range []int{2049, 4097, 30001, 60001} {
			at[sector*512] = label(map[int][2]uint32{0: {4096, 1000}, 2: {0, 131072}, 3: {8192, 1000}})
		}
		data, _ := disk(t, 64, script, at)
		places := []int{0, 446, 512, 1024, 2048 * 512, 4095 * 512, 2049 * 512, 4097 * 512, 30001 * 512, 60001 * 512, len(data) - 512, len(data) - 33*512}
		for range 1000 {
			was := map[int]byte{}
			for range 1 + rng.IntN(10) {
				i := places[rng.IntN(len(places))] + rng.IntN(200)
				if _, twice := was[i]; !twice {
					was[i] = data[i]
				}
				data[i] = byte(rng.Uint32())
			}
			tables, err := readTables(t.Context(), blockio.NewMemory(data))
			if err != nil {
				var corrupt *vfs.CorruptError
				var unsupported *vfs.NotSupportedError
				require.True(t, errors.As(err, &corrupt) || errors.As(err, &unsupported), "%s: %v", name, err)
			}
			for _, tab := range tables {
				for _, e := range tab.Entries {
					require.True(t, e.Start >= 0 && e.Size > 0 && e.End() > e.Start, fmt.Sprintf("%s: %+v", name, e))
				}
			}
			for i, b := range was {
				data[i] = b
			}
		}
	}
}
