package gpt

import (
	"errors"
	"fmt"
	"hash/crc32"
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

// script lets sfdisk partition an image and returns its path.
func script(t testing.TB, size int64, lines ...string) string {
	t.Helper()
	return testtool.Partitioned(t, size, lines...)
}

func load(t testing.TB, img string) []byte {
	t.Helper()
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	return data
}

// partition is what sfdisk tells of one.
type partition = testtool.Partition

func sfdisk(t testing.TB, img string) (id string, parts []partition) {
	t.Helper()
	return testtool.Partitions(t, img)
}

// attrs formats attribute bits as sfdisk does.
func attrs(bits uint64) string {
	var words, guids []string
	for i, name := range []string{"RequiredPartition", "NoBlockIOProtocol", "LegacyBIOSBootable"} {
		if bits>>i&1 != 0 {
			words = append(words, name)
		}
	}
	for i := 48; i < 64; i++ {
		if bits>>i&1 != 0 {
			guids = append(guids, strconv.Itoa(i))
		}
	}
	if guids != nil {
		words = append(words, "GUID:"+strings.Join(guids, ","))
	}
	return strings.Join(words, " ")
}

// ours is a table in sfdisk's terms.
func ours(tab *part.Table) (parts []partition) {
	ss := int64(tab.SectorSize)
	for _, e := range tab.Entries {
		parts = append(parts, partition{
			Number: e.Index, Start: e.Start / ss, Size: e.Size / ss, Type: e.Type,
			UUID: strings.ToUpper(e.UUID), Name: e.Name, Attrs: attrs(e.Attributes),
		})
	}
	return parts
}

func problems(tab *part.Table) (list []string) {
	for _, p := range tab.Problems {
		list = append(list, p.Error())
	}
	return list
}

var layouts = map[string][]string{
	"linux": {"label: gpt", "label-id: 0F4E7C36-55B1-4C5D-8E7F-0A2B3C4D5E6F",
		`start=2048, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI"`,
		`start=8192, size=20000, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="root-a", attrs="GUID:59,63"`,
		`start=30000, size=20000, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="root-b", attrs="RequiredPartition LegacyBIOSBootable GUID:60"`,
		`start=60000, size=1, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F`},
	"gaps in the numbers": {"label: gpt",
		`3 : start=2048, size=100, name="drei"`, `128 : start=4096, size=100`, `7 : start=3000, size=100`},
	"names": {"label: gpt", `start=2048, size=100, name="Größe € 漢字"`, `start=4096, size=100, name="😀😀 123456789012345678901234567890"`},
	"empty": {"label: gpt"},
}

func TestReadAgreesWithSfdisk(t *testing.T) {
	for name, lines := range layouts {
		t.Run(name, func(t *testing.T) {
			img := script(t, 64*mib, lines...)
			tab, err := Read(blockio.NewMemory(load(t, img)))
			require.NoError(t, err)
			id, want := sfdisk(t, img)
			assert.Equal(t, strings.ToLower(id), tab.ID)
			assert.Equal(t, want, ours(tab))
			assert.Equal(t, "primary", tab.Source)
			assert.Equal(t, int64(512), tab.Off)
			assert.Equal(t, int64(64*mib), tab.DiskSize)
			assert.Equal(t, 512, tab.SectorSize)
			assert.Equal(t, int64(2048*512), tab.BoundStart)
			assert.Empty(t, tab.Problems)
		})
	}
}

// sgdisk writes what libfdisk does not: arrays of other sizes, all bits.
func TestReadAgreesWithSgdisk(t *testing.T) {
	testtool.Need(t, "sgdisk")
	img := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, 64*mib))
	args := []string{"--clear", "--resize-table=256", "--set-alignment=1"}
	for _, n := range []int{1, 2, 200, 256} {
		args = append(args, fmt.Sprintf("--new=%d:%d:+64K", n, 4096+n*256), fmt.Sprintf("--typecode=%d:a600", n),
			fmt.Sprintf("--change-name=%d:part %d", n, n), fmt.Sprintf("--attributes=%d:set:2", n))
	}
	testtool.Run(t, "sgdisk", append(args, img)...)
	tab, err := Read(blockio.NewMemory(load(t, img)))
	require.NoError(t, err)
	require.Len(t, tab.Entries, 4)
	for _, e := range tab.Entries {
		info := testtool.Run(t, "sgdisk", "-i", strconv.Itoa(e.Index), img)
		field := func(name string) string {
			m := regexp.MustCompile(name + `: '?([^ '\n]+( \d+)?)`).FindStringSubmatch(info)
			require.NotNil(t, m, "%s in %s", name, info)
			return m[1]
		}
		assert.Equal(t, field("Partition GUID code"), e.Type)
		assert.Equal(t, field("Partition unique GUID"), strings.ToUpper(e.UUID))
		assert.Equal(t, field("First sector"), strconv.FormatInt(e.Start/512, 10))
		assert.Equal(t, field("Last sector"), strconv.FormatInt(e.End()/512-1, 10))
		assert.Equal(t, field("Attribute flags"), fmt.Sprintf("%016X", e.Attributes))
		assert.Equal(t, field("Partition name"), e.Name)
		assert.True(t, e.Bootable)
		assert.Equal(t, "OpenBSD data", e.TypeName)
	}
	assert.Empty(t, tab.Problems)
}

// A table of 4096-byte sectors is found whatever the caller believes, and the
// size that fits is reported.
func TestReadFindsOtherSectorSize(t *testing.T) {
	testtool.Need(t, "fdisk", "partx")
	img := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, 256*mib))
	cmd := exec.Command("fdisk", "-b", "4096", img)
	cmd.Stdin = strings.NewReader("g\nn\n1\n512\n+1000\nn\n5\n4096\n+3000\nw\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var want []string
	for _, m := range regexp.MustCompile(`NR="(\d+)" START="(\d+)" SECTORS="(\d+)" TYPE="([^"]+)" UUID="([^"]+)"`).
		FindAllStringSubmatch(testtool.Run(t, "partx", "-P", "-o", "NR,START,SECTORS,TYPE,UUID", "--sector-size", "4096", img), -1) {
		want = append(want, strings.Join(m[1:], " "))
	}
	require.Len(t, want, 2)
	data := load(t, img)
	for _, c := range []struct {
		sector int
		want   []string
	}{
		{4096, nil},
		{512, []string{"the table counts in sectors of 4096 bytes, not 512 (at byte 4096)"}},
	} {
		tab, err := Read(blockio.NewMemorySectors(data, c.sector))
		require.NoError(t, err)
		assert.Equal(t, 4096, tab.SectorSize)
		assert.Equal(t, c.want, problems(tab))
		var got []string
		for _, e := range tab.Entries {
			got = append(got, fmt.Sprintf("%d %d %d %s %s", e.Index, e.Start/512, e.Size/512, strings.ToLower(e.Type), e.UUID))
		}
		assert.Equal(t, want, got)
	}
}

// resum makes the checksums of the copy at the byte off right again.
func resum(data []byte, off int) {
	h := data[off:]
	at, n, size := int(le.Uint64(h[72:]))*512, int(le.Uint32(h[80:])), int(le.Uint32(h[84:]))
	if at >= 0 && at < len(data) && n < 1<<16 && size < 1<<16 && at+n*size <= len(data) {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(data[at:at+n*size]))
	}
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	base := load(t, script(t, 8*mib, "label: gpt", "label-id: 0F4E7C36-55B1-4C5D-8E7F-0A2B3C4D5E6F",
		"start=2048, size=4096, uuid=11111111-2222-3333-4444-555555555555", "start=8192, size=1000, uuid=61111111-2222-3333-4444-555555555555"))
	const last = 8*mib - 512
	for name, c := range map[string]struct {
		damage func(d []byte) []byte
		source string
		want   []string
	}{
		"primary signature": {
			func(d []byte) []byte { d[512] = 'x'; return d }, "backup",
			[]string{`primary table: header: no signature "EFI PART" (at byte 512)`},
		},
		"primary header checksum": {
			func(d []byte) []byte { d[512+40]++; return d }, "backup",
			[]string{fmt.Sprintf("primary table: header: checksum is 0x%08x, the header says 0x%08x (at byte 528)", headerSum(base, 40), le.Uint32(base[528:]))},
		},
		"primary entries": {
			func(d []byte) []byte { d[1024+300]++; return d }, "backup",
			[]string{fmt.Sprintf("primary table: partition entries: checksum is 0x%08x, the header says 0x%08x (at byte 1024)", entriesSum(base, 300), le.Uint32(base[512+88:]))},
		},
		"primary in the wrong place": {
			func(d []byte) []byte { le.PutUint64(d[512+24:], 7); resum(d, 512); return d }, "backup",
			[]string{"primary table: header: it says that it is in sector 7, but is in sector 1 (at byte 536)"},
		},
		"entry count": {
			func(d []byte) []byte { le.PutUint32(d[512+80:], 0xffffffff); resum(d, 512); return d }, "backup",
			[]string{"primary table: header: 4294967295 entries of 128 bytes are more than is reasonable (at byte 592)"},
		},
		"entry size": {
			func(d []byte) []byte { le.PutUint32(d[512+84:], 100); resum(d, 512); return d }, "backup",
			[]string{"primary table: header: entry size 100 is not 128, 256, 512 … (at byte 596)"},
		},
		"entries off the disk": {
			func(d []byte) []byte { le.PutUint64(d[512+72:], 1<<60); resum(d, 512); return d }, "backup",
			[]string{"primary table: header: the entries are at sector 1152921504606846976, the disk has 16384 (at byte 584)"},
		},
		"backup header": {
			func(d []byte) []byte { d[last] = 0; return d }, "primary",
			[]string{`backup table: header: no signature "EFI PART" (at byte 8388096)`},
		},
		"copies differ": {
			func(d []byte) []byte {
				at := int(le.Uint64(d[last+72:])) * 512
				d[at+56] = 'A'
				resum(d, last)
				return d
			}, "primary",
			[]string{"backup table: its entries differ from those of the primary (at byte 8388096)"},
		},
		"other disk's backup": {
			func(d []byte) []byte { d[last+56]++; resum(d, last); return d }, "primary",
			[]string{"backup table: its disk GUID is 0F4E7C37-55B1-4C5D-8E7F-0A2B3C4D5E6F, that of the primary 0F4E7C36-55B1-4C5D-8E7F-0A2B3C4D5E6F (at byte 8388096)"},
		},
		"grown": {
			func(d []byte) []byte { return append(d, make([]byte, mib)...) }, "primary",
			[]string{"the backup table is at sector 16383, but the last sector is 18431: the disk has grown (at byte 512)"},
		},
		"grown and damaged": {
			func(d []byte) []byte { d[512] = 'x'; return append(d, make([]byte, mib)...) }, "backup",
			[]string{
				`primary table: header: no signature "EFI PART" (at byte 512)`,
				"the backup table is at sector 16383, but the last sector is 18431: the disk has grown (at byte 8388096)",
			},
		},
		"truncated": {
			func(d []byte) []byte { return d[:4*mib] }, "primary",
			[]string{
				"the backup table should be at sector 16383, but the last sector is 8191: the disk has been truncated (at byte 512)",
				"partition p2 starts at byte 4194304, behind the end of the disk at byte 4194304 (at byte 1152)",
			},
		},
		"overlap": {
			func(d []byte) []byte { le.PutUint64(d[1024+128+32:], 3000); resum(d, 512); d[last] = 0; return d }, "primary",
			[]string{
				`backup table: header: no signature "EFI PART" (at byte 8388096)`,
				"partition p2 overlaps partition p1 (at byte 1152)",
			},
		},
		"backwards and huge": {
			func(d []byte) []byte {
				le.PutUint64(d[1024+40:], 5)
				le.PutUint64(d[1024+128+40:], 0xffffffffffffffff)
				resum(d, 512)
				d[last] = 0
				return d
			}, "primary",
			[]string{
				"partition p1, sector 2048 to 5, is impossible (at byte 1024)",
				"partition p2, sector 8192 to 18446744073709551615, is impossible (at byte 1152)",
				`backup table: header: no signature "EFI PART" (at byte 8388096)`,
			},
		},
		"GUIDs": {
			func(d []byte) []byte {
				copy(d[1024+16:][:16], make([]byte, 16))
				copy(d[1024+256:], d[1024+128:1024+256])
				le.PutUint64(d[1024+256+32:], 12000)
				le.PutUint64(d[1024+256+40:], 12001)
				resum(d, 512)
				d[last] = 0
				return d
			}, "primary",
			[]string{
				`backup table: header: no signature "EFI PART" (at byte 8388096)`,
				"partition p1 has no GUID of its own (at byte 1024)",
				"partition p3 has the same GUID as partition p2 (at byte 1280)",
			},
		},
		"outside the usable range": {
			func(d []byte) []byte { le.PutUint64(d[1024+32:], 40); resum(d, 512); d[last] = 0; return d }, "primary",
			[]string{
				`backup table: header: no signature "EFI PART" (at byte 8388096)`,
				"partition p1 is not inside the usable range of the table (at byte 1024)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := c.damage(append([]byte(nil), base...))
			tab, err := Read(blockio.NewMemory(data))
			require.NoError(t, err)
			assert.Equal(t, c.source, tab.Source)
			assert.Equal(t, c.want, problems(tab))
			assert.Equal(t, "0f4e7c36-55b1-4c5d-8e7f-0a2b3c4d5e6f", tab.ID)
		})
	}
}

// headerSum is the checksum of the header with the byte at incremented.
func headerSum(base []byte, at int) uint32 {
	h := append([]byte(nil), base[512:512+92]...)
	h[at]++
	le.PutUint32(h[16:], 0)
	return crc32.ChecksumIEEE(h)
}

func entriesSum(base []byte, at int) uint32 {
	a := append([]byte(nil), base[1024:1024+16384]...)
	a[at]++
	return crc32.ChecksumIEEE(a)
}

func TestReadNamesBothCopiesWhenBothAreBad(t *testing.T) {
	data := load(t, script(t, 8*mib, layouts["empty"]...))
	data[512+40]++
	data[len(data)-512] = 0
	_, err := Read(blockio.NewMemory(data))
	var corrupt *vfs.CorruptError
	require.ErrorAs(t, err, &corrupt)
	assert.Contains(t, corrupt.Detail, "primary: header: checksum is")
	assert.Contains(t, corrupt.Detail, `backup: header: no signature "EFI PART"`)
}

func TestReadWhereThereIsNone(t *testing.T) {
	for _, n := range []int{0, 512, 1024, 1536, mib} {
		_, err := Read(blockio.NewMemory(make([]byte, n)))
		assert.ErrorIs(t, err, part.ErrNotFound, "%d bytes", n)
	}
}

// UEFI allows entries of 256, 512 … bytes and a longer header; go-diskfs does
// not, so they reach it in the plain form.
func TestReadLargerEntriesAndHeader(t *testing.T) {
	data := load(t, script(t, 8*mib, layouts["names"]...))
	plain, err := Read(blockio.NewMemory(append([]byte(nil), data...)))
	require.NoError(t, err)
	wide := make([]byte, 128*256)
	for i := range 128 {
		copy(wide[i*256:], data[1024+i*128:][:128])
	}
	copy(data[1024:], wide)
	h := data[512:]
	le.PutUint32(h[84:], 256)
	le.PutUint32(h[12:], 96)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(wide))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:96]))
	tab, err := Read(blockio.NewMemory(data))
	require.NoError(t, err)
	assert.Equal(t, "primary", tab.Source)
	assert.Equal(t, plain.Entries, tab.Entries)
}

// systemd-id128 knows the identifiers of the specification.
func TestTypesAgreeWithSystemd(t *testing.T) {
	testtool.Need(t, "systemd-id128")
	seen := 0
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+) +([0-9a-f]{32})$`).
		FindAllStringSubmatch(testtool.Run(t, "systemd-id128", "show"), -1) {
		id, g := m[1], m[2]
		if regexp.MustCompile(`^(root|usr)(-secondary)?(-verity(-sig)?)?$`).MatchString(id) {
			continue // whatever machine this test runs on
		}
		guid := g[:8] + "-" + g[8:12] + "-" + g[12:16] + "-" + g[16:20] + "-" + g[20:]
		info, ok := TypeInfo(guid)
		if assert.True(t, ok, "%s %s", id, guid) {
			assert.Equal(t, id, info.ID())
			seen++
		}
	}
	assert.Greater(t, seen, 100)
}

// sfdisk knows names, for some of which we have longer ones.
func TestTypesKnowWhatSfdiskKnows(t *testing.T) {
	testtool.Need(t, "sfdisk")
	for _, m := range regexp.MustCompile(`(?m)^([0-9A-Fa-f-]{36})  +(.+)$`).
		FindAllStringSubmatch(testtool.Run(t, "sfdisk", "--label", "gpt", "--list-types"), -1) {
		_, ok := TypeInfo(m[1])
		assert.True(t, ok, "%s %s", m[1], m[2])
	}
}

func TestTypeInfo(t *testing.T) {
	info, ok := TypeInfo("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	assert.True(t, ok)
	assert.Equal(t, Type{Name: "Linux root (x86-64)", Role: "root", Arch: "x86-64"}, info)
	info, _ = TypeInfo("E7BB33FB-06CF-4E81-8273-E543B413E2E2")
	assert.Equal(t, "usr-x86-64-verity-sig", info.ID())
	info, _ = TypeInfo(TypeEFISystem)
	assert.Equal(t, "esp", info.ID())
	info, ok = TypeInfo(TypeOpenBSD)
	assert.True(t, ok)
	assert.Equal(t, Type{Name: "OpenBSD data"}, info)
	_, ok = TypeInfo("no GUID at all")
	assert.False(t, ok)
}

// small is a table on a disk of 68 KiB.
func small(t testing.TB) []byte {
	img := filepath.Join(t.TempDir(), "small.img")
	testtool.Need(t, "sgdisk")
	require.NoError(t, os.WriteFile(img, make([]byte, 68<<10), 0o600))
	testtool.Run(t, "sgdisk", "-a", "1", "-n", "1:40:60", "-n", "5:70:90", "-c", "1:name", "-t", "1:8304", img)
	return load(t, img)
}

// FuzzRead gets only what matters of a disk, in small pieces that the fuzzer
// can work with: the table of the MBR, and header and first entries of both
// copies. It makes checksums right again where told to, or nothing behind them
// would ever be reached.
func FuzzRead(f *testing.F) {
	const header, entries = 92, 5 * 128
	data := small(f)
	backup := len(data) - 512
	array := backup - 16384
	f.Add(data[446:512], data[512:512+header], data[1024:1024+entries], data[backup:backup+header], data[array:array+entries], true, true)
	f.Add(data[446:512], data[512:512+header], data[1024:1024+entries], data[backup:backup+header], data[array:array+entries], false, true)
	f.Add([]byte{}, []byte{}, []byte{}, data[backup:backup+header], data[array:array+entries], false, true)
	f.Fuzz(func(t *testing.T, mbr, primary, entries1, backup, entries2 []byte, sum1, sum2 bool) {
		disk := make([]byte, len(data))
		copy(disk[446:512], mbr)
		copy(disk[512:1024], primary)
		copy(disk[1024:], entries1)
		copy(disk[array:], entries2)
		copy(disk[len(disk)-512:], backup)
		if sum1 {
			resum(disk, 512)
		}
		if sum2 {
			resum(disk, len(disk)-512)
		}
		check(t, disk)
	})
}

func check(t *testing.T, data []byte) {
	tab, err := Read(blockio.NewMemory(data))
	if err != nil {
		var corrupt *vfs.CorruptError
		if !errors.Is(err, part.ErrNotFound) && !errors.As(err, &corrupt) {
			t.Fatalf("error of an unknown kind: %v", err)
		}
		return
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
	base := small(t)
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		data := append([]byte(nil), base...)
		for range 1 + rng.IntN(8) {
			places := []int{512, 1024, 1024 + 512, len(data) - 512, len(data) - 512 - 16384}
			data[places[rng.IntN(len(places))]+rng.IntN(128)] = byte(rng.Uint32())
		}
		resum(data, 512)
		if rng.IntN(2) == 0 {
			resum(data, len(data)-512)
		}
		check(t, data)
	}
}
