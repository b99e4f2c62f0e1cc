package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// diskJSON is what of inspect --json the tests look at. It is written out again
// here: these names are a promise to scripts.
type diskJSON struct {
	Layout *struct {
		Kind   string `json:"kind"`
		Active string `json:"active"`
		Slots  []struct {
			ID     string `json:"id"`
			Active bool   `json:"active"`
			Empty  bool   `json:"empty"`
		} `json:"slots"`
	} `json:"layout"`
	Tables []struct {
		Scheme  string `json:"scheme"`
		ID      string `json:"id"`
		Entries []struct {
			ID       string `json:"id"`
			Start    int64  `json:"start"`
			Size     int64  `json:"size"`
			Type     string `json:"type"`
			Name     string `json:"name"`
			UUID     string `json:"uuid"`
			Bootable bool   `json:"bootable"`
		} `json:"entries"`
	} `json:"tables"`
	Volumes []struct {
		ID       string   `json:"id"`
		Role     string   `json:"role"`
		Start    int64    `json:"start"`
		Size     int64    `json:"size"`
		Kind     string   `json:"kind"`
		Type     string   `json:"type"`
		Label    string   `json:"label"`
		Features []string `json:"features"`
		UUID     string   `json:"uuid"`
		OS       *struct {
			ID      string `json:"id"`
			Version string `json:"version"`
		} `json:"os"`
	} `json:"volumes"`
	Problems []string `json:"problems"`
}

func inspect(t testing.TB, image string) diskJSON {
	t.Helper()
	var disks []diskJSON
	require.NoError(t, json.Unmarshal([]byte(resflash(t, "inspect", "--json", image)), &disks))
	require.Len(t, disks, 1)
	return disks[0]
}

func TestResflashLayout(t *testing.T) {
	for _, active := range []string{"d", "e"} {
		t.Run("active "+active, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "resflash.img")
			require.NoError(t, testimage.Resflash(image, testimage.Options{Active: active, FillE: active == "e"}))
			disk := inspect(t, image)
			require.NotNil(t, disk.Layout)
			assert.Equal(t, "resflash", disk.Layout.Kind)
			assert.Equal(t, active, disk.Layout.Active)
			require.Len(t, disk.Layout.Slots, 2)
			assert.Equal(t, active == "d", disk.Layout.Slots[1].Empty, "slot e is empty until the first upgrade")
			assert.Empty(t, disk.Problems)

			roles := map[string]string{}
			for _, v := range disk.Volumes {
				roles[v.Role] = v.ID
			}
			inactive := map[string]string{"d": "e", "e": "d"}[active]
			for role, id := range map[string]string{"mbr": "a", "root": active, "inactive": inactive, "cfg": "f", "efi": "i"} {
				assert.Equal(t, id, roles[role], role)
			}
			assert.Contains(t, resflash(t, "cat", image+":/etc/fstab"), "/cfg")
			assert.Contains(t, resflash(t, "ls", image+":cfg:/"), "etc")
			assert.Contains(t, resflash(t, "cat", image+":mbr:/etc/boot.conf"), "hd0"+active)
			assert.Equal(t, resflash(t, "cat", image+":"+active+":/etc/fstab"), resflash(t, "cat", image+":root:/etc/fstab"))

			t.Run("mount", func(t *testing.T) {
				dir := mount(t, image)
				for _, name := range []string{"root/etc/fstab", "cfg/etc", "mbr/etc/boot.conf"} {
					_, err := os.Stat(filepath.Join(dir, name))
					assert.NoError(t, err)
				}
			})
			t.Run("sfdisk", func(t *testing.T) { sameAsSfdisk(t, image) })
		})
	}
}

// The tree of mount --root is put together as the fstab in the image says, with
// what it does not mount at boot.
func TestAssembledRoot(t *testing.T) {
	image := filepath.Join(t.TempDir(), "resflash.img")
	require.NoError(t, testimage.Resflash(image, testimage.Options{}))
	dir := mount(t, "--root", image)
	for name, address := range map[string]string{
		"etc/fstab": "/etc/fstab", "cfg/etc/myname": "cfg:/etc/myname", "mbr/etc/boot.conf": "mbr:/etc/boot.conf",
		"efi/efi/boot/BOOTX64.EFI": "efi:/efi/boot/BOOTX64.EFI",
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if assert.NoError(t, err) {
			assert.Equalf(t, resflash(t, "cat", image+":"+address), string(data), "%s", name)
		}
	}
}

// sameAsSfdisk compares the outermost table with what sfdisk finds.
func sameAsSfdisk(t *testing.T, image string) {
	t.Helper()
	testtool.Need(t, "sfdisk")
	var theirs struct {
		PartitionTable struct {
			Label      string
			Partitions []struct {
				Start, Size int64
				Type        string
				UUID        string
				Name        string
				Bootable    bool
			}
		}
	}
	out := testtool.Run(t, "sfdisk", "--json", image)
	require.NoError(t, json.Unmarshal([]byte(out), &theirs))
	disk := inspect(t, image)
	table := disk.Tables[0]
	if theirs.PartitionTable.Label == "gpt" {
		for _, candidate := range disk.Tables {
			if candidate.Scheme == "GPT" {
				table = candidate
			}
		}
	}
	type row struct {
		start, size     int64
		typ, uuid, name string
		bootable        bool
	}
	var want, got []row
	for _, p := range theirs.PartitionTable.Partitions {
		r := row{p.Start * 512, p.Size * 512, normalType(p.Type), strings.ToLower(p.UUID), p.Name, p.Bootable}
		want = append(want, r)
	}
	for _, e := range table.Entries {
		r := row{e.Start, e.Size, normalType(e.Type), strings.ToLower(e.UUID), e.Name, e.Bootable}
		if theirs.PartitionTable.Label != "gpt" {
			r.uuid = ""
		}
		got = append(got, r)
	}
	if theirs.PartitionTable.Label == "gpt" {
		for i := range got {
			got[i].bootable = false // an attribute there
		}
	}
	assert.Equal(t, want, got)
}

// normalType makes "0xa6", "A6" and "a6" one, and GUIDs lower case.
func normalType(s string) string {
	return strings.TrimLeft(strings.TrimPrefix(strings.ToLower(s), "0x"), "0")
}

// TestTables compares tables that sfdisk and sgdisk made with their own dumps.
func TestTables(t *testing.T) {
	testtool.Need(t, "sfdisk", "sgdisk")
	for name, script := range map[string]string{
		"MBR":         "label: dos\n,10M,83,*\n,20M,c\n,5M,82\n",
		"MBR logical": "label: dos\n,10M,83,*\n,80M,5\n,10M,83\n,10M,b\n,10M,82\n",
		"GPT":         "label: gpt\nsize=10M, type=U, name=\"EFI system\"\nsize=20M, type=L, name=\"größe 名\"\nsize=5M, type=S\n",
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "disk.img")
			filled(t, image, 128<<20)
			// The disk must not look partitioned by luck.
			f, err := os.OpenFile(image, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt(bytes.Repeat([]byte{0}, 512), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			file := filepath.Join(t.TempDir(), "script")
			require.NoError(t, os.WriteFile(file, []byte(script), 0o644))
			testtool.Run(t, "sh", "-c", `LC_ALL=C.UTF-8 sfdisk -q --no-reread "$0" <"$1"`, image, file)
			sameAsSfdisk(t, image)
			if name == "GPT" {
				info := testtool.Run(t, "sgdisk", "-i", "1", image)
				assert.Contains(t, strings.ToLower(info), strings.ToLower(gptFirst(t, image)))
			}
		})
	}
}

// gptFirst returns the UUID of the first entry of the GPT.
func gptFirst(t *testing.T, image string) string {
	for _, table := range inspect(t, image).Tables {
		if table.Scheme == "GPT" {
			return table.Entries[0].UUID
		}
	}
	require.Fail(t, "no GPT")
	return ""
}
