package testimage

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

func write(t *testing.T, opt Options) string {
	img := filepath.Join(t.TempDir(), "resflash.img")
	require.NoError(t, Resflash(img, opt))
	return img
}

// mmls returns the disklabel as sleuthkit reads it: letter, start and length.
func mmls(t *testing.T, img string) map[string][2]int64 {
	got := map[string][2]int64{}
	out := testtool.Run(t, "mmls", "-t", "bsd", "-o", strconv.Itoa(efiStart+efiSectors), img)
	for _, m := range regexp.MustCompile(`(?m)^\d+:  (\d{3}) +(\d+) +\d+ +(\d+) `).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		start, _ := strconv.ParseInt(m[2], 10, 64)
		size, _ := strconv.ParseInt(m[3], 10, 64)
		got[string(rune('a'+n))] = [2]int64{start, size}
	}
	return got
}

// The sizes are those of the image in resflash's own documentation.
func TestResflashLayout(t *testing.T) {
	testtool.Need(t, "mmls", "sfdisk")
	img := write(t, Options{})
	assert.Equal(t, map[string][2]int64{
		"a": {8192, 8192}, "c": {0, 3903488}, "d": {16384, 1814528}, "e": {1830912, 1814528}, "f": {3645440, 258048}, "i": {64, 6144},
	}, mmls(t, img))
	dump := testtool.Run(t, "sfdisk", "--dump", img)
	assert.Regexp(t, `resflash.img1 : start= +64, size= +6144, type=ef\n`, dump)
	assert.Regexp(t, `resflash.img4 : start= +6208, size= +3897280, type=a6, bootable\n`, dump)

	with := mmls(t, write(t, Options{SwapMB: 256}))
	assert.Equal(t, [2]int64{16384, 524288}, with["b"])
	assert.Equal(t, int64(540672), with["d"][0])
}

func TestResflashIsSparseAndRepeatable(t *testing.T) {
	a, b := write(t, Options{SizeMB: 256, Seed: 7}), write(t, Options{SizeMB: 256, Seed: 7})
	testtool.Need(t, "cmp", "du")
	testtool.Run(t, "cmp", a, b)
	kb, err := strconv.Atoi(strings.Fields(testtool.Run(t, "du", "-k", a))[0])
	require.NoError(t, err)
	assert.Less(t, kb, 64<<10)
	other := write(t, Options{SizeMB: 256, Seed: 8})
	assert.Error(t, exec.Command("cmp", "-s", a, other).Run())

	assert.ErrorIs(t, Resflash(a, Options{}), os.ErrExist)
	_, err = os.Stat(a)
	assert.NoError(t, err, "an image that was there is not touched")
	bad := filepath.Join(t.TempDir(), "bad.img")
	assert.Error(t, Resflash(bad, Options{Active: "x"}))
	_, err = os.Stat(bad)
	assert.ErrorIs(t, err, os.ErrNotExist, "no half image is left behind")
}

// Every volume of every kind of image is read by foreign tools.
func TestResflashAgreesWithForeignReaders(t *testing.T) {
	testtool.Need(t, "fls", "icat", "grub-fstest", "mtype", "fsck.fat")
	for name, opt := range map[string]Options{
		"d active":        {SizeMB: 300},
		"e active":        {SizeMB: 300, Active: "e", OSVersion: "7.6"},
		"FFS1 of 2015":    {SizeMB: 300, FFSVersion: 1, OSVersion: "5.8"},
		"documentation's": {FillE: true},
	} {
		t.Run(name, func(t *testing.T) {
			img := write(t, opt)
			require.NoError(t, opt.defaults())
			parts := mmls(t, img)
			content := contentOf(opt)
			for letter, tree := range content {
				if letter == "i" {
					continue
				}
				sector := strconv.FormatInt(parts[letter][0], 10)
				list := testtool.Run(t, "fls", "-o", sector, "-r", "-p", img)
				inode := map[string]string{}
				for _, m := range regexp.MustCompile(`(?m)^\S+ (\d+):\t(.*)$`).FindAllStringSubmatch(list, -1) {
					if !strings.HasPrefix(m[2], "$") {
						inode[m[2]] = m[1]
					}
				}
				assert.Len(t, inode, len(tree)-1, "files of %s", letter)
				for _, file := range []string{"bsd", "boot", "etc/boot.conf", "etc/fstab", "usr/share/misc/sparse.db", "usr/share/dict/words", "var/db/host.random"} {
					if n := tree[file]; n != nil {
						out, err := exec.Command("icat", "-o", sector, img, inode[file]).Output()
						require.NoError(t, err)
						assert.True(t, bytes.Equal(n.Data, out), "%s:/%s", letter, file)
					}
				}
			}
			if !opt.FillE {
				zeros := make([]byte, 1<<20)
				f, err := os.Open(img)
				require.NoError(t, err)
				head := make([]byte, 1<<20)
				_, err = f.ReadAt(head, parts["e"][0]*512)
				require.NoError(t, err)
				require.NoError(t, f.Close())
				assert.True(t, bytes.Equal(zeros, head), "slot e is empty")
			}
			assert.Equal(t, "set device hd0"+opt.Active+"\n", testtool.Run(t, "grub-fstest", img, "cat", "(loop0,openbsd1)/etc/boot.conf"))
			slot := map[string]int{"d": 4, "e": 5}[opt.Active]
			assert.Contains(t, testtool.Run(t, "grub-fstest", img, "cat", fmt.Sprintf("(loop0,openbsd%d)/resflash/BUILD", slot)), "version: "+opt.OSVersion)

			efi := fmt.Sprintf("%s@@%d", img, efiStart*512)
			out, err := exec.Command("mtype", "-i", efi, "::efi/boot/BOOTX64.EFI").Output()
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content["i"]["efi/boot/BOOTX64.EFI"].Data, out))
		})
	}
}

func TestPreviousRelease(t *testing.T) {
	assert.Equal(t, "7.5", previous("7.6"))
	assert.Equal(t, "6.9", previous("7.0"))
}
