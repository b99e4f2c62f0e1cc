package testimage

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

func TestFATPassesFsckAndMtools(t *testing.T) {
	testtool.Need(t, "fsck.fat", "mdir", "mtype", "mcopy")
	f, img := imageFile(t, 3<<20)
	tree := Tree{}
	tree.File("efi/boot/BOOTX64.EFI", 0o644, noise(1, 100001))
	tree.File("README.TXT", 0o644, []byte("short name\r\n"))
	tree.File("a long name with spaces.config", 0o644, []byte("long"))
	tree.File("a long name with spaces.conf", 0o644, []byte("same alias"))
	tree.File("exactly13char", 0o644, []byte("13"))
	tree.File("größe.txt", 0o644, []byte("umlaut"))
	tree.File("empty", 0o644, nil)
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		tree.File("dir/"+strings.Repeat(string(c), 60)+".data", 0o644, []byte(string(c)))
	}
	when := time.Date(2024, 10, 9, 12, 34, 56, 0, time.UTC)
	require.NoError(t, WriteFAT(f, 3<<20, FATOptions{Label: "efi", Hidden: 64, Serial: 0x12345678, Time: when}, tree))

	out := testtool.Run(t, "fsck.fat", "-n", "-v", img)
	for _, want := range []string{
		`System ID "BSD  4.4"`, "512 bytes per logical sector", "4096 bytes per cluster", "1 reserved sector",
		"2 FATs, 12 bit entries", "1536 bytes per FAT (= 3 sectors)", "512 root directory entries",
		"Data area starts at byte 19968 (sector 39)", "763 data clusters", "63 sectors/track, 1 heads", "64 hidden sectors", "6144 sectors total",
	} {
		assert.Contains(t, out, want)
	}
	assert.NotContains(t, out, "Differences")
	assert.Contains(t, testtool.Run(t, "mdir", "-i", img, "::"), "Volume in drive : is efi")
	assert.Contains(t, testtool.Run(t, "mdir", "-i", img, "::"), "1234-5678")
	assert.Contains(t, testtool.Run(t, "mdir", "-i", img, "::efi/boot"), "BOOTX64  EFI    100001 2024-10-09  12:34")
	for name, n := range tree {
		if n.Mode&modeType == ModeRegular {
			got, err := exec.Command("mtype", "-i", img, "::"+name).Output()
			require.NoError(t, err, name)
			assert.True(t, bytes.Equal(n.Data, got), "contents of %s", name)
		}
	}
	// Long names come out as they went in.
	dir := t.TempDir()
	testtool.Run(t, "mcopy", "-s", "-i", img, "::dir", dir)
	for name := range tree {
		if strings.HasPrefix(name, "dir/") {
			assert.FileExists(t, filepath.Join(dir, name))
		}
	}
}

func TestFATRefusesWhatCannotBe(t *testing.T) {
	f, _ := imageFile(t, 3<<20)
	for name, tree := range map[string]Tree{
		"full":    {"big": {Mode: ModeRegular, Data: make([]byte, 4<<20)}},
		"symlink": {"link": {Mode: ModeSymlink, Target: "x"}},
	} {
		assert.Error(t, WriteFAT(f, 3<<20, FATOptions{}, tree), name)
	}
	assert.Error(t, WriteFAT(f, 30<<20, FATOptions{}, Tree{}), "too large for FAT12")
	assert.Error(t, WriteFAT(f, 512, FATOptions{}, Tree{}), "too small")
}
