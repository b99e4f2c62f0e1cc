package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// identity is what inspect says of a disk.
func identity(t *testing.T, name string) (duid string, uuids map[string]string) {
	t.Helper()
	var disks []struct {
		Tables  []struct{ Scheme, ID string }
		Volumes []struct{ ID, UUID string }
	}
	require.NoError(t, json.Unmarshal([]byte(works(t, "inspect", "--json", name)), &disks))
	for _, table := range disks[0].Tables {
		if table.Scheme == "disklabel" {
			duid = table.ID
		}
	}
	uuids = map[string]string{}
	for _, v := range disks[0].Volumes {
		uuids[v.ID] = v.UUID
	}
	return duid, uuids
}

// Two copies of an image have nothing in common that only one machine may have,
// even if the clock stands still.
func TestPersonaliseCopies(t *testing.T) {
	here(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	works(t, "seal", "-o", "golden.img", "--opt-in", "obsd-random-seed", "--skip", "ssh", "--skip", "resflash-cfg", "disk.img")
	golden := digest(t, "golden.img")
	assert.NotEmpty(t, works(t, "personalise", "--dry-run", "--host-key", "golden.img"))
	works(t, "personalise", "--hostname", "fw1.example.net", "--host-key", "-o", "1.img", "golden.img")
	works(t, "personalise", "--hostname", "fw2.example.net", "--host-key", "-o", "2.img", "golden.img")
	assert.Equal(t, golden, digest(t, "golden.img"))
	clean(t, "1.img", "2.img")

	one, uuidsOne := identity(t, "1.img")
	two, uuidsTwo := identity(t, "2.img")
	first, _ := identity(t, "golden.img")
	assert.NotEqual(t, one, two)
	assert.NotEqual(t, first, one)
	assert.NotEqual(t, uuidsOne["i"], uuidsTwo["i"])
	fstab := works(t, "cat", "1.img:d:/etc/fstab")
	assert.Contains(t, fstab, one+".d / ")
	assert.NotContains(t, fstab, first)
	assert.Equal(t, "fw1.example.net\n", works(t, "cat", "1.img:cfg:/etc/myname"))
	for path, size := range map[string]int{"d:/etc/random.seed": 512, "d:/var/db/host.random": 65536} {
		assert.Len(t, works(t, "cat", "1.img:"+path), size, path)
		assert.NotEqual(t, works(t, "cat", "1.img:"+path), works(t, "cat", "2.img:"+path))
		assert.Contains(t, works(t, "ls", "-l", "1.img:"+path), "-rw------- ", "no sticky bit: it is not used yet")
	}
	works(t, "compare", "1.img", "2.img")
	assert.Contains(t, works(t, "cat", "1.img:cfg:/etc/ssh/ssh_host_ed25519_key.pub"), "root@fw1.example.net")

	_, stderr, code := resflash("personalise", "--hostname", "no name", "-o", "3.img", "golden.img")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "is no host name")
	assert.NoFileExists(t, "3.img")
}

// The identifier of an ext4 is another one, and so is what mounts it.
func TestPersonaliseLinux(t *testing.T) {
	linuxImage(t, map[string]string{"/root/.keep": "", "/var/lib/systemd/.keep": ""})
	_, uuids := identity(t, "linux.img")
	old := uuids["whole"]
	writes(t, "UUID="+old+" / ext4 defaults 0 1\n", "linux.img:/etc/fstab")
	works(t, "seal", "linux.img")
	require.NoError(t, os.WriteFile("key.pub", []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hZGUgdXAgZm9yIGEgdGVzdCBvZiByZXNmbGFzaC4h me@here\n"), 0o644))
	works(t, "personalise", "--hostname", "web1", "--ssh-inject", "root:file:key.pub", "linux.img")
	clean(t, "linux.img")
	_, uuids = identity(t, "linux.img")
	assert.NotEqual(t, old, uuids["whole"])
	assert.Equal(t, "UUID="+uuids["whole"]+" / ext4 defaults 0 1\n", works(t, "cat", "linux.img:/etc/fstab"))
	assert.Equal(t, "web1\n", works(t, "cat", "linux.img:/etc/hostname"))
	assert.Contains(t, works(t, "cat", "linux.img:/root/.ssh/authorized_keys"), "me@here")
	assert.Len(t, works(t, "cat", "linux.img:/var/lib/systemd/random-seed"), 512)
	assert.Equal(t, "uninitialized\n", works(t, "cat", "linux.img:/etc/machine-id"), "the machine makes that by itself")
}
