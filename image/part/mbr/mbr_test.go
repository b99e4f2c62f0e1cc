package mbr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
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
	"github.com/resflash/resflash/integration/testtool"
)

// script lets sfdisk partition an image of size bytes and returns the bytes of
// the image and its path.
func script(t testing.TB, size int64, lines ...string) ([]byte, string) {
	t.Helper()
	img := testtool.Partitioned(t, size, lines...)
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	return data, img
}

// partition is what sfdisk tells of one.
type partition = testtool.Partition

func sfdisk(t testing.TB, img string) (id string, parts []partition) {
	t.Helper()
	return testtool.Partitions(t, img)
}

// ours is a table in sfdisk's terms.
func ours(tab *part.Table) (parts []partition) {
	ss := int64(tab.SectorSize)
	for _, e := range tab.Entries {
		typ, _ := strconv.ParseUint(e.Type, 0, 8)
		parts = append(parts, partition{
			Number: e.Index, Start: e.Start / ss, Size: e.Size / ss,
			Type: fmt.Sprintf("%x", typ), Bootable: e.Bootable,
		})
	}
	return parts
}

const mib = 1 << 20

var layouts = map[string][]string{
	"primaries": {"label: dos", "label-id: 0xdeadbeef",
		"start=64, size=6144, type=ef", "start=6208, size=60000, type=a6, bootable"},
	"one slot in the middle": {"label: dos", "label-id: 0x00000001", "3 : start=2048, size=4096, type=83"},
	"logical": {"label: dos", "label-id: 0x12345678",
		"start=64, size=6144, type=ef", "start=8192, size=40000, type=5", "start=60000, size=60000, type=a6",
		"start=8256, size=1000, type=83, bootable", "start=10000, size=20000, type=6", "start=36000, size=4000, type=a6"},
	"extended in slot 1, LBA type": {"label: dos", "start=2048, size=100000, type=f", "start=110000, size=100, type=83",
		"5 : start=4096, size=2048, type=7", "6 : start=8192, size=2048, type=82"},
	"empty extended": {"label: dos", "start=2048, size=100000, type=85"},
}

func TestReadAgreesWithSfdisk(t *testing.T) {
	for name, lines := range layouts {
		t.Run(name, func(t *testing.T) {
			data, img := script(t, 64*mib, lines...)
			tab, err := Read(blockio.NewMemory(data))
			require.NoError(t, err)
			id, want := sfdisk(t, img)
			assert.Equal(t, id, tab.ID)
			assert.Equal(t, want, ours(tab))
			assert.Empty(t, tab.Problems)
			assert.Equal(t, "", tab.Flavor)
			for _, e := range tab.Entries {
				assert.Equal(t, fmt.Sprintf("%s-%02x", id[2:], e.Index), e.UUID)
				assert.NotEmpty(t, e.TypeName)
			}
		})
	}
}

func TestReadManyLogicalPartitions(t *testing.T) {
	lines := []string{"label: dos", "start=2048, size=120000, type=5"}
	for i := range 25 {
		lines = append(lines, fmt.Sprintf("start=%d, size=1000, type=83", 4096+i*4096))
	}
	data, img := script(t, 64*mib, lines...)
	tab, err := Read(blockio.NewMemory(data))
	require.NoError(t, err)
	_, want := sfdisk(t, img)
	require.Len(t, want, 26)
	assert.Equal(t, want, ours(tab))
	assert.Empty(t, tab.Problems)
}

// partx reads tables of 4096-byte sectors from a file, with libblkid.
func TestReadSectorsOf4096(t *testing.T) {
	testtool.Need(t, "fdisk", "partx")
	img := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, 256*mib))
	cmd := exec.Command("fdisk", "-b", "4096", img)
	cmd.Stdin = strings.NewReader("o\nn\np\n1\n256\n+1000\nt\na6\nn\ne\n2\n2000\n50000\nn\nl\n4000\n+3000\na\n1\nw\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	tab, err := Read(blockio.NewMemorySectors(data, 4096))
	require.NoError(t, err)
	assert.Empty(t, tab.Problems)
	var got []string
	for _, e := range tab.Entries {
		// partx counts in 512 bytes, and shows the first two sectors of an
		// extended partition only.
		got = append(got, fmt.Sprintf("%d %d %s %s", e.Index, e.Start/512, e.Type, e.UUID))
	}
	var want []string
	for _, m := range regexp.MustCompile(`NR="(\d+)" START="(\d+)" TYPE="(\w+)" UUID="([^"]*)"`).
		FindAllStringSubmatch(testtool.Run(t, "partx", "-b", "-P", "-o", "NR,START,TYPE,UUID", "--sector-size", "4096", img), -1) {
		typ, _ := strconv.ParseUint(m[3], 0, 8)
		want = append(want, fmt.Sprintf("%s %s 0x%02x %s", m[1], m[2], typ, m[4]))
	}
	require.Len(t, want, 3)
	assert.Equal(t, want, got)
	assert.Equal(t, int64(256*4096), tab.Entries[0].Start)
	assert.Equal(t, int64(1001*4096), tab.Entries[0].Size)
}

func TestReadSeesProtectiveAndHybrid(t *testing.T) {
	testtool.Need(t, "sgdisk")
	data, img := script(t, 64*mib, "label: gpt", "start=2048, size=4096", "start=8192, size=4096")
	tab, err := Read(blockio.NewMemory(data))
	require.NoError(t, err)
	assert.Equal(t, "protective", tab.Flavor)
	require.Len(t, tab.Entries, 1)
	assert.True(t, tab.Entries[0].Container)
	assert.Equal(t, int64(512), tab.Entries[0].Start)

	testtool.Run(t, "sgdisk", "-h", "1:2", img)
	data, err = os.ReadFile(img)
	require.NoError(t, err)
	tab, err = Read(blockio.NewMemory(data))
	require.NoError(t, err)
	assert.Equal(t, "hybrid", tab.Flavor)
	assert.Len(t, tab.Entries, 3)
}

// sector builds a table by hand.
func sector(entries ...wire) []byte {
	p := make([]byte, 512)
	for i, w := range entries {
		putEntry(p, i, w)
	}
	p[510], p[511] = 0x55, 0xaa
	return p
}

func putEntry(p []byte, i int, w wire) {
	e := p[entriesOff+i*entryBytes:]
	e[0], e[4] = w.status, w.typ
	binary.LittleEndian.PutUint32(e[8:], w.start)
	binary.LittleEndian.PutUint32(e[12:], w.size)
}

// disk is a device of so many sectors with boot records at some of them.
func disk(sectors int, records map[int][]byte) blockio.Device {
	data := make([]byte, sectors*512)
	for at, p := range records {
		copy(data[at*512:], p)
	}
	return blockio.NewMemory(data)
}

func problems(tab *part.Table) (list []string) {
	for _, p := range tab.Problems {
		list = append(list, p.Error())
	}
	return list
}

func TestReadReportsAndDoesNotFollow(t *testing.T) {
	for name, c := range map[string]struct {
		dev  blockio.Device
		ids  []int
		want []string
	}{
		"overlap": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x83, 100, 500}, wire{0, 0x83, 400, 100}, wire{0, 0x83, 550, 100})}),
			[]int{1, 2, 3},
			[]string{"partition p2 overlaps partition p1 (at byte 462)", "partition p3 overlaps partition p1 (at byte 478)"},
		},
		"beyond the end": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x83, 100, 4294967295}, wire{0, 0x83, 4000000000, 4294967295})}),
			[]int{1, 2},
			[]string{
				"partition p1 ends at byte 2199023306240, behind the end of the disk at byte 1024000 (at byte 446)",
				"partition p2 starts at byte 2048000000000, behind the end of the disk at byte 1024000 (at byte 462)",
				"partition p2 overlaps partition p1 (at byte 462)",
			},
		},
		"status byte": {
			disk(2000, map[int][]byte{0: sector(wire{0x7f, 0x83, 100, 100}, wire{0x80, 0x83, 300, 100}, wire{0x80, 0x83, 500, 100})}),
			[]int{1, 2, 3},
			[]string{
				"partition p1 has the status byte 0x7f, neither 00 nor 80 (at byte 446)",
				"2 partitions are active; a boot loader takes the first (at byte 446)",
			},
		},
		"sector 0": {
			disk(2000, map[int][]byte{0: sector(wire{0x80, 0x17, 0, 1000})}), []int{1},
			[]string{"partition p1 starts at sector 0 and so covers the partition table (at byte 446)"},
		},
		"loop": {
			disk(2000, map[int][]byte{
				0:   sector(wire{0, 0x05, 100, 1000}),
				100: sector(wire{0, 0x83, 10, 50}, wire{0, 0x05, 200, 100}),
				300: sector(wire{0, 0x83, 10, 50}, wire{0, 0x05, 0, 100}),
			}),
			[]int{1, 5, 6},
			[]string{"the chain of extended partition p1 is a loop: sector 100 comes twice (at byte 51200)"},
		},
		"link out of the extended partition": {
			disk(2000, map[int][]byte{
				0:    sector(wire{0, 0x05, 100, 1000}),
				100:  sector(wire{0, 0x83, 10, 50}, wire{0, 0x05, 1500, 100}),
				1600: sector(wire{0, 0x83, 10, 50}),
			}),
			[]int{1, 5},
			[]string{"the chain of extended partition p1 leaves it: next boot record at sector 1600, partition is 100 to 1099 (at byte 819200)"},
		},
		"logical outside the extended": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x0f, 100, 1000}), 100: sector(wire{0, 0x83, 900, 500})}),
			[]int{1, 5},
			[]string{"logical partition p5 (sectors 1000 to 1499) is not inside its extended partition (100 to 1099) (at byte 51646)"},
		},
		"boot record overwritten": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x05, 100, 1000}), 100: []byte("something else")}),
			[]int{1},
			[]string{"extended boot record of p1 has no signature 55 AA (at byte 51200)"},
		},
		"extended never used": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x05, 100, 1000})}), []int{1}, nil,
		},
		"second boot record overwritten": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x05, 100, 1000}), 100: sector(wire{0, 0x83, 10, 50}, wire{0, 0x05, 200, 100})}),
			[]int{1, 5},
			[]string{"extended boot record of p1 has no signature 55 AA (at byte 153600)"},
		},
		"extended behind the end": {
			disk(2000, map[int][]byte{0: sector(wire{0, 0x83, 100, 100}, wire{0, 0x05, 4000000000, 4000000000})}),
			[]int{1, 2},
			[]string{
				"extended boot record of p2: 512 bytes at byte 2048000000000 lie outside a device of 1024000 bytes (at byte 2048000000000)",
				"partition p2 starts at byte 2048000000000, behind the end of the disk at byte 1024000 (at byte 462)",
			},
		},
		"two links": {
			disk(2000, map[int][]byte{
				0:   sector(wire{0, 0x05, 100, 1000}),
				100: sector(wire{0, 0x83, 10, 50}, wire{0, 0x05, 200, 100}, wire{0, 0x05, 300, 100}),
				300: sector(wire{0, 0x83, 10, 50}),
			}),
			[]int{1, 5, 6},
			[]string{"extended boot record of p1 has two links (at byte 51678)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tab, err := Read(c.dev)
			require.NoError(t, err)
			var ids []int
			for _, e := range tab.Entries {
				ids = append(ids, e.Index)
			}
			assert.Equal(t, c.ids, ids)
			assert.Equal(t, c.want, problems(tab))
		})
	}
}

func TestReadStopsAtLongChains(t *testing.T) {
	records := map[int][]byte{0: sector(wire{0, 0x05, 100, 10000})}
	for i := range 400 {
		records[100+10*i] = sector(wire{0, 0x83, 1, 5}, wire{0, 0x05, uint32(10 * (i + 1)), 10})
	}
	tab, err := Read(disk(20000, records))
	require.NoError(t, err)
	assert.Len(t, tab.Entries, 1+maxLogical)
	assert.Equal(t, []string{"the chain of extended partition p1 has more than 256 boot records; the rest is not followed (at byte 1361920)"}, problems(tab))
}

func TestReadTakesNoVolumeForADisk(t *testing.T) {
	testtool.Need(t, "mkfs.fat")
	for _, args := range [][]string{
		{"-F", "12"}, {"-F", "16"}, {"-F", "32"}, {"-F", "12", "-f", "1"}, {"-F", "32", "-S", "4096"},
		{"-F", "16", "--mbr=n"}, {"-F", "16", "-D", "0x80", "-h", "63"},
	} {
		img := filepath.Join(t.TempDir(), "fat.img")
		size := int64(4 * mib)
		if args[1] != "12" {
			size = 300 * mib
		}
		require.NoError(t, os.WriteFile(img, nil, 0o600))
		require.NoError(t, os.Truncate(img, size))
		testtool.Run(t, "mkfs.fat", append(args, img)...)
		f, err := os.Open(img)
		require.NoError(t, err)
		head := make([]byte, 1<<16)
		_, err = f.ReadAt(head, 0)
		require.NoError(t, f.Close())
		require.NoError(t, err)
		_, err = Read(blockio.NewMemory(head))
		assert.ErrorIs(t, err, part.ErrNotFound, "%v", args)
		assert.ErrorContains(t, err, "FAT volume", "%v", args)
	}
}

// A stick may be both: mkfs.fat --mbr=y writes a table into its boot sector.
func TestReadFindsTheTableOfAFATBootSector(t *testing.T) {
	testtool.Need(t, "mkfs.fat")
	img := filepath.Join(t.TempDir(), "fat.img")
	require.NoError(t, os.WriteFile(img, make([]byte, 16*mib), 0o600))
	testtool.Run(t, "mkfs.fat", "--mbr=y", img)
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	ok, why := Plausible(data[:512], int64(len(data)/512))
	// Its one partition starts at sector 0: it is the volume itself.
	assert.False(t, ok)
	assert.Equal(t, "it is the boot sector of a FAT volume", why)
}

func TestPlausible(t *testing.T) {
	ntfs := sector()
	copy(ntfs, "\xeb\x52\x90NTFS    ")
	text := sector()
	copy(text[400:], strings.Repeat("Remove disks or other media. Press any key to restart", 3)[:110])
	random := make([]byte, 512)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	random[510], random[511] = 0x55, 0xaa
	unsigned := sector(wire{0, 0x83, 1, 1})
	unsigned[510] = 0
	for name, c := range map[string]struct {
		sector []byte
		want   bool
	}{
		"empty table":                  {sector(), true},
		"NTFS":                         {ntfs, false},
		"text":                         {text, false},
		"random":                       {random, false},
		"no signature":                 {unsigned, false},
		"short":                        {make([]byte, 100), false},
		"truncated image":              {sector(wire{0, 0x83, 5000, 5000}), true},
		"odd status of a good entry":   {sector(wire{1, 0x83, 1, 1}), true},
		"odd status beside a good one": {sector(wire{0, 0x83, 1, 1}, wire{0x41, 0x42, 0x43444546, 0x47484950}), false},
	} {
		got, why := Plausible(c.sector, 1000)
		assert.Equal(t, c.want, got, name)
		assert.Equal(t, c.want, why == "", name)
	}
}

func TestReadShortDevices(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 1024} {
		_, err := Read(blockio.NewMemory(make([]byte, n)))
		assert.ErrorIs(t, err, part.ErrNotFound, "%d bytes", n)
	}
}

// No bytes may make Read panic, run away or return what cannot be used. The
// fuzzer gets the start of sector 0 and the tables of the first sectors, 64
// bytes each, so that it can build chains of boot records.
func FuzzRead(f *testing.F) {
	table := func(entries ...wire) []byte { return sector(entries...)[entriesOff:magicOff] }
	tables := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	f.Add([]byte{}, table(wire{0x80, 0x83, 1, 2}, wire{0, 0xa6, 4, 5}, wire{0, 0xee, 1, 200}))
	f.Add([]byte{}, tables(table(wire{0, 0x05, 1, 100}), table(wire{0, 0x83, 1, 1}, wire{0, 0x05, 2, 5}), nil, table(wire{0, 0x83, 1, 1})))
	f.Add([]byte{}, tables(table(wire{0, 0x0f, 1, 100}, wire{0, 0x85, 2, 3}), table(wire{0, 0x05, 0, 5}), table(wire{0, 0x05, 1, 5}, wire{0, 0x05, 0, 1})))
	f.Add([]byte("\xeb\x3c\x90MSDOS5.0\x00\x02\x01\x01\x00\x02\xe0\x00\x40\x0b\xf0"), table(wire{0, 0x06, 1, 10}))
	f.Fuzz(func(t *testing.T, boot, records []byte) {
		const sectors = 300
		disk := make([]byte, sectors*512)
		copy(disk, boot[:min(len(boot), entriesOff)])
		for i := 0; i < sectors && len(records) > 0; i++ {
			n := copy(disk[i*512+entriesOff:i*512+magicOff], records)
			records = records[n:]
			disk[i*512+magicOff], disk[i*512+magicOff+1] = 0x55, 0xaa
		}
		check(t, disk)
	})
}

func check(t *testing.T, data []byte) {
	tab, err := Read(blockio.NewMemory(data))
	if err != nil {
		if !errors.Is(err, part.ErrNotFound) {
			t.Fatalf("error of an unknown kind: %v", err)
		}
		return
	}
	if len(tab.Entries) > 4+4*maxLogical*4 {
		t.Fatalf("%d entries", len(tab.Entries))
	}
	for _, e := range tab.Entries {
		if e.Start < 0 || e.Size <= 0 || e.End() < e.Start {
			t.Fatalf("impossible entry %+v", e)
		}
		if e.Outside != (e.End() > int64(len(data))) {
			t.Fatalf("entry %+v of a disk of %d bytes", e, len(data))
		}
	}
}

func TestReadSurvivesRandomBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data, _ := script(t, 64*mib, layouts["logical"]...)
	places := []int{446, 8192*512 + 446, 9999*512 + 446}
	for range 2000 {
		was := make(map[int]byte)
		for range 1 + rng.IntN(20) {
			at := places[rng.IntN(len(places))] + rng.IntN(66)
			if _, twice := was[at]; !twice {
				was[at] = data[at]
			}
			data[at] = byte(rng.Uint32())
		}
		check(t, data)
		for at, b := range was {
			data[at] = b
		}
	}
}
