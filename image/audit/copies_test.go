package audit

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

var _ = addSamples(OpenBSD,
	sample{
		rules: "obsd-same-link", at: "/bsd",
		bad:  files{"/bsd": text("kernel"), "/etc/fstab": text("0123456789abcdef.d / ffs ro 1 1\n")},
		good: files{"/bsd": text("kernel"), "/etc/fstab": text("0123456789abcdef.a / ffs rw 1 1\n0123456789abcdef.d /usr ffs ro 1 1\n")},
	},
	sample{
		rules: "obsd-same-link", at: "/etc/rc.conf.local",
		bad:  files{"/bsd": text("kernel"), "/etc/rc.conf.local": text("ntpd_flags=\nlibrary_aslr=NO\n")},
		good: files{"/bsd": text("kernel"), "/etc/rc.conf.local": text("#library_aslr=NO\n")},
	},
	sample{
		rules: "obsd-changelist", at: "/etc/ipsec.conf",
		bad:  files{"/etc/changelist": text("/etc/fstab\n+/etc/ipsec.conf\n+/etc/iked.*\n"), "/etc/ipsec.conf": text("ike psk HUNTER2\n"), "/etc/fstab": text("")},
		good: files{"/etc/changelist": text("/etc/fstab\n+/etc/ipsec.conf\n"), "/etc/ipsec.conf": private("ike\n"), "/etc/fstab": text("")},
	},
)

var _ = addSamples(Linux,
	sample{
		rules: "firstboot-capability", at: "/usr/lib/systemd/systemd",
		bad: files{"/usr/lib/systemd/systemd": text("ELF"), "/usr/bin/systemd-tmpfiles": text("ELF")},
		good: files{"/usr/lib/systemd/systemd": text("ELF"), "/usr/bin/systemd-tmpfiles": text("ELF"), "/usr/bin/systemd-sysusers": text("ELF"),
			"/usr/bin/systemd-firstboot": text("ELF")},
	},
	sample{
		rules: "swap-content", at: "/swap.img",
		bad:  files{"/etc/fstab": text("/swap.img none swap sw 0 0\n"), "/swap.img": private(strings.Repeat("\x00", 70<<10) + "HUNTER2")},
		good: files{"/etc/fstab": text("/swap.img none swap sw 0 0\n/dev/sda2 none swap sw 0 0\n"), "/swap.img": thing{mode: vfs.Regular | 0o600, text: "SWAPSPACE2", size: 1 << 20}},
	},
)

var _ = addSamples(FreeBSD,
	sample{rules: "fbsd-zpool", bad: files{"/boot/zfs/zpool.cache": text("pool")}, good: files{"/boot/zfs/zpool.cache": text("")}},
)

func TestCopies(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, testimage.Resflash(name, testimage.Options{SizeMB: 96, Seed: 7}))
	r := auditDisk(t, name, Options{Only: []string{"copies"}})
	m := messages(r, "fs-uuid-shared")
	require.Len(t, m, 1)
	assert.Contains(t, m[0], "disklabel ")
	assert.Contains(t, m[0], ", d ")
	had(t, "fs-uuid-shared", positive)
	assert.Equal(t, []string{"root is mounted read-only"}, messages(r, "obsd-same-link"))
	assert.Empty(t, found(r, "growfs-unconfigured"), "OpenBSD does not grow")

	empty := filepath.Join(t.TempDir(), "empty.img")
	require.NoError(t, os.WriteFile(empty, make([]byte, 1<<20), 0o644))
	assert.Empty(t, auditDisk(t, empty, Options{Only: []string{"copies"}}).Findings)
	had(t, "fs-uuid-shared", negative)
}

// Containers are not opened, but their headers tell.
func TestContainers(t *testing.T) {
	write := func(b []byte) string {
		name := filepath.Join(t.TempDir(), "container")
		require.NoError(t, os.WriteFile(name, b, 0o644))
		return name
	}
	only := Options{Only: []string{"container-remnant"}}
	t.Run("qcow2", func(t *testing.T) {
		testtool.Need(t, "qemu-img")
		dir := t.TempDir()
		testtool.RunIn(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "base", "1M")
		assert.Empty(t, found(auditDisk(t, filepath.Join(dir, "base"), only), "container-remnant"))
		testtool.RunIn(t, dir, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
		testtool.RunIn(t, dir, "qemu-img", "snapshot", "-c", "before", "top")
		r := auditDisk(t, filepath.Join(dir, "top"), only)
		assert.ElementsMatch(t, []string{"1 internal snapshots", "names a backing file"}, messages(r, "container-remnant"))
		had(t, "container-remnant", positive)
		had(t, "container-remnant", negative)
	})
	t.Run("VMDK", func(t *testing.T) {
		b := make([]byte, 4096)
		copy(b, "KDMV\x01")
		binary.LittleEndian.PutUint64(b[28:], 1)
		copy(b[512:], "# Disk DescriptorFile\nversion=1\nparentFileNameHint=\"/home/me/base.vmdk\"\n")
		assert.Equal(t, []string{"names the image that it is based on"}, messages(auditDisk(t, write(b), only), "container-remnant"))
		binary.LittleEndian.PutUint64(b[28:], 1<<60)
		assert.Empty(t, messages(auditDisk(t, write(b), only), "container-remnant"))
	})
	t.Run("short", func(t *testing.T) {
		b := make([]byte, 512)
		copy(b, "QFI\xfb\x00\x00\x00\x03")
		assert.Empty(t, messages(auditDisk(t, write(b), only), "container-remnant"))
		had(t, "container-remnant", unread)
	})
	t.Run("hostile", func(t *testing.T) {
		b := make([]byte, 4096)
		copy(b, "KDMV\x01")
		binary.LittleEndian.PutUint64(b[28:], 1)
		copy(b[512:], "parentFileNameHint=\"\xff\xfe\x1b[2J\"\n")
		name := write(b)
		require.NoError(t, os.Truncate(name, 4<<30))
		var text strings.Builder
		require.NoError(t, Text(&text, Tool{}, []*Report{auditDisk(t, name, only)}))
		assert.NotContains(t, text.String(), "\x1b")
		had(t, "container-remnant", asSparse)
		had(t, "container-remnant", notUTF8)
	})
}

// rootDisk is a GPT disk with a small Linux in its first partition.
func rootDisk(t *testing.T, more string, tree files) string {
	testtool.Need(t, "mke2fs")
	name := testtool.Partitioned(t, 16<<20, "label: gpt", "start=2048, size=8192, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"+more)
	dir := t.TempDir()
	for path, f := range systemFiles[Linux].with(tree) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), []byte(f.text), 0o644))
	}
	testtool.Run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, "-E", "offset=1048576", name, "4096k")
	return name
}

func TestGrowth(t *testing.T) {
	only := Options{Only: []string{"growfs-unconfigured"}}
	assert.Equal(t, []string{"p1"}, found(auditDisk(t, rootDisk(t, "", nil), only), "growfs-unconfigured"))
	for what, name := range map[string]string{
		"fstab":  rootDisk(t, "", files{"/etc/fstab": text("LABEL=root / ext4 defaults,x-systemd.growfs 0 1\n")}),
		"bit 59": rootDisk(t, ", attrs=\"59\"", nil),
		"repart": rootDisk(t, "", files{"/usr/lib/repart.d/50-root.conf": text("[Partition]\nType=root\n")}),
		"cloud":  rootDisk(t, "", files{"/etc/cloud/cloud.cfg": text("cloud_init_modules:\n  - growpart\n  - resizefs\n")}),
	} {
		assert.Empty(t, found(auditDisk(t, name, only), "growfs-unconfigured"), what)
	}
	had(t, "growfs-unconfigured", positive)
	had(t, "growfs-unconfigured", negative)
}

func TestVarPartition(t *testing.T) {
	// What systemd-id128 machine-id -u -a 4d21b016b53445c2a9fb5c16e091fd2d said.
	const id, uuid = "3d1219c7c4c5404aaa1f6d2a48adfda4", "24e43059-9734-49cd-a32e-bcae30d648ed"
	assert.Equal(t, uuid, idFor(id, typeVar))
	assert.Empty(t, idFor("no", typeVar))
	only := Options{Only: []string{"dps-var-bound"}}
	disk := func(uuid, machineID string) *Report {
		return auditDisk(t, rootDisk(t, "\nstart=16384, size=8192, type="+typeVar+", uuid="+uuid, files{"/etc/machine-id": text(machineID)}), only)
	}
	assert.Equal(t, []string{"p2"}, found(disk(strings.ToUpper(uuid), id+"\n"), "dps-var-bound"))
	assert.Empty(t, found(disk("11112222-3333-4444-8555-666677778888", id+"\n"), "dps-var-bound"))
	assert.Empty(t, found(disk(uuid, "uninitialized\n"), "dps-var-bound"))
	had(t, "dps-var-bound", positive)
	had(t, "dps-var-bound", negative)
}
