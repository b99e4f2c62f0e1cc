package image

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBootDevice(t *testing.T) {
	for conf, want := range map[string]string{
		"":                  "",
		"set device hd0d\n": "d",
		"set device hd0e":   "e",
		"stty com0 115200\nset tty com0\n set device hd0e \n": "e",
		"set device hd0d\r\nset timeout 5\r\n":                "d",
		"set device hd0d\nset device hd0e\n":                  "e", // the loader obeys the last one
		"# set device hd0d\n":                                 "",
		"set device sd1a\n":                                   "a",
		"boot hd0d:/bsd\n":                                    "",
	} {
		assert.Equal(t, want, bootDevice(conf), "%q", conf)
	}
}

func TestParseFstab(t *testing.T) {
	got := parseFstab("# comment\n\n52fdfc072182654f.d / ffs ro,noatime 1 1\n" +
		"UUID=ab\t/mnt/with\\040space ext4 defaults\nshort line\nswap /tmp mfs rw 0 0\n")
	assert.Equal(t, []fstabLine{
		{"52fdfc072182654f.d", "/", "ffs", "ro,noatime"},
		{"UUID=ab", "/mnt/with space", "ext4", "defaults"},
		{"swap", "/tmp", "mfs", "rw"},
	}, got)
	assert.True(t, isDeviceSpec("52fdfc072182654f.d"))
	assert.True(t, isDeviceSpec("LABEL=root"))
	assert.True(t, isDeviceSpec("/dev/sda1"))
	assert.False(t, isDeviceSpec("swap"))
	assert.False(t, isDeviceSpec("tmpfs"))
	assert.False(t, isDeviceSpec("server:/export"))
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{"root", "root_1~rc1", "root_1", "root_1.1", "root_2", "root_09", "root_10"}
	for i := range ascending {
		for j := range ascending {
			assert.Equal(t, sign(i-j), compareVersions(ascending[i], ascending[j]), "%s and %s", ascending[i], ascending[j])
		}
	}
}

func TestDeviceNames(t *testing.T) {
	d := &Disk{partitions: []*Partition{{ID: "p2"}, {ID: "a"}, {ID: "p12"}}}
	for name, want := range map[string]string{
		"sda2": "sda p2", "vda12": "vda p12", "nvme0n1p2": "nvme0n1 p2", "mmcblk0p12": "mmcblk0 p12", "ada0p2": "ada0 p2",
		"sd0a": "sd0 a", "ada0s1a": "ada0s1 a", "sdp2": "sdp p2", "sda": "", "sda1": "", "nvme0n12": "", "p2": "p p2",
	} {
		got := ""
		if disk, p, ok := d.cutDeviceName(name); ok {
			got = disk + " " + p.ID
		}
		assert.Equal(t, want, got, name)
	}
	for name, want := range map[string]bool{"sda": true, "vda": true, "sd0": true, "nvme0n1": true, "mmcblk0": true,
		"ada0s1": true, "sdb": false, "sd1": false, "nvme1n1": false, "": false} {
		assert.Equal(t, want, firstDisk(name), name)
	}
}

func TestParseRelease(t *testing.T) {
	got := parseRelease("# c\nID=debian\nPRETTY_NAME=\"A \\\"quoted\\\" name\"\nIMAGE_ID='x'\nBROKEN\nEMPTY=\n")
	assert.Equal(t, map[string]string{"ID": "debian", "PRETTY_NAME": `A "quoted" name`, "IMAGE_ID": "x", "EMPTY": ""}, got)
}
