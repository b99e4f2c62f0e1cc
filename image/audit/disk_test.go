package audit

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/integration/testimage"
)

// auditDisk audits an image file.
func auditDisk(t *testing.T, name string, opt Options) *Report {
	t.Helper()
	d, err := image.Open(context.Background(), name)
	require.NoError(t, err)
	defer d.Close()
	target, err := FromDisk(context.Background(), d)
	require.NoError(t, err)
	return audit(t, target, opt)
}

// What only a disk can have wrong.
func TestDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk.img")
	opt := testimage.Options{SizeMB: 128, SwapMB: 4, Seed: 7, FillE: true, Dirty: true}
	opt.Edit = func(volume string, tree testimage.Tree) {
		if volume == "e" {
			tree.Text("etc/fstab", 0o644, "0123456789abcdef.d / ffs ro 1 1", "0123456789abcdef.k /usr ffs rw 1 2", "0123456789abcdef.l /data ffs rw,noauto 1 2")
		}
	}
	require.NoError(t, testimage.Resflash(name, opt))
	clean := auditDisk(t, name, Options{Only: words("swap-content luks-volume-key")})
	assert.Empty(t, clean.Findings)
	assert.Equal(t, Pass, status(clean, "swap-content"))
	had(t, "swap-content luks-volume-key", negative)

	d, err := image.Open(context.Background(), name)
	require.NoError(t, err)
	swap, err := d.Find(context.Background(), "swap")
	require.NoError(t, err)
	at := swap.Start + 1<<20
	require.NoError(t, d.Close())
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("HUNTER2"), at)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	r := auditDisk(t, name, Options{Only: []string{"volumes"}})
	assert.Equal(t, []string{"d"}, found(r, "fs-dirty"))
	assert.Equal(t, []string{"b at byte 1048576"}, found(r, "swap-content"))
	assert.Equal(t, []string{"e", "e"}, found(r, "ab-layout"))
	var severities []Severity
	for _, f := range r.Findings {
		if f.Rule == "fstab-dangling" {
			severities = append(severities, f.Severity)
		}
	}
	assert.ElementsMatch(t, []Severity{Error, Info}, severities)
	assert.True(t, r.Complete())
	had(t, "fs-dirty swap-content ab-layout fstab-dangling", positive)
}

// A volume that cannot be opened makes everything about it unknown.
func TestLockedVolume(t *testing.T) {
	name := filepath.Join(t.TempDir(), "luks.img")
	require.NoError(t, os.WriteFile(name, append([]byte("LUKS\xba\xbe\x00\x02"), make([]byte, 1<<20)...), 0o644))
	r := auditDisk(t, name, Options{})
	assert.Equal(t, []string{"whole at byte 0"}, found(r, "luks-volume-key"))
	assert.Equal(t, []string{"whole"}, found(r, "audit-incomplete"))
	assert.False(t, r.Complete())
	had(t, "luks-volume-key audit-incomplete", positive)
	for _, v := range r.Rules {
		assert.NotEqual(t, Pass, v.Status, v.Rule)
	}

	accepted := auditDisk(t, name, Options{Waivers: []*Waiver{{Rule: "audit-incomplete", Volume: "whole", Reason: "it is meant to be closed"}}})
	assert.True(t, accepted.Complete())
}

// A resflash image with everything that must not be in one: each is found, and
// the volume that supplies it is named.
func TestResflash(t *testing.T) {
	name := filepath.Join(t.TempDir(), "resflash-20241009.img")
	hash := bcryptOf("resflash20241009")
	opt := testimage.Options{SizeMB: 96, Seed: 3, FillE: true}
	opt.Edit = func(volume string, tree testimage.Tree) {
		switch volume {
		case "d":
			tree["etc/random.seed"].Mode |= 0o1000
			tree.Text("etc/master.passwd", 0o600, "root:"+hash+":0:0:daemon:0:0:Charlie &:/root:/bin/ksh")
			delete(tree, "etc/soii.key")
		case "e": // the slot of the release before still has a key
			tree.Text("etc/ssh/ssh_host_rsa_key", 0o600, pemKey)
			tree.Text("etc/ssh/ssh_host_ed25519_key", 0o600, pemKey+"old")
		case "f":
			tree.Text("etc/iked/private/local.key", 0o600, pemKey)
			tree.Text("etc/master.passwd", 0o600, "root:"+bcryptOf("hunter2")+":0:0:daemon:0:0:Charlie &:/root:/bin/ksh")
		}
	}
	require.NoError(t, testimage.Resflash(name, opt))
	r := auditDisk(t, name, Options{})
	assert.Equal(t, words("i a d e f d+f e+f"), r.Views)
	assert.True(t, r.Complete())

	views := func(rule, where string) []string {
		for _, f := range r.Findings {
			if f.Rule == rule && f.Where() == where {
				return f.Views
			}
		}
		return nil
	}
	// The seed of the slot, which a boot loader has used.
	assert.Equal(t, words("d d+f"), views("obsd-random-seed", "d:/etc/random.seed"))
	assert.Equal(t, words("d d+f"), views("obsd-random-seed-reused", "d:/etc/random.seed"))
	assert.Equal(t, words("e e+f"), views("obsd-random-seed", "e:/etc/random.seed"))
	assert.Equal(t, words("a"), views("obsd-random-seed", "a:/etc/random.seed"))
	assert.NotEmpty(t, views("booted-evidence", "d:/etc/random.seed"))
	// The password of the slot is hidden by the one in /cfg, and is there all
	// the same.
	assert.Equal(t, words("d"), views("resflash-root-password", "d:/etc/master.passwd"))
	assert.Equal(t, words("f d+f e+f"), views("password-set", "f:/etc/master.passwd"))
	// Keys in /cfg are those of both slots; the old one of slot e is hidden.
	assert.Equal(t, words("f d+f e+f"), views("ssh-host-key", "f:/etc/ssh/ssh_host_ed25519_key"))
	assert.Equal(t, words("e"), views("ssh-host-key", "e:/etc/ssh/ssh_host_ed25519_key"))
	assert.Equal(t, words("e e+f"), views("ssh-host-key", "e:/etc/ssh/ssh_host_rsa_key"))
	assert.Equal(t, words("f d+f e+f"), views("ike-key", "f:/etc/iked/private/local.key"))
	assert.ElementsMatch(t, words("f:/etc/iked/private/local.key f:/etc/master.passwd f:/etc/ssh/ssh_host_ed25519_key f:/var/db/host.random"), found(r, "resflash-cfg"))
	had(t, "resflash-cfg", positive)
	assert.Equal(t, words("e e+f"), views("obsd-soii-key", "e:/etc/soii.key"))
	// What a walk has found is seen in the whole system, too.
	assert.Equal(t, words("d d+f"), views("setuid-inventory", "d:/sbin/ping"))
	// rc is in the slot, not in /cfg: the whole system tells what happens.
	for _, f := range r.Findings {
		if f.Rule == "ssh-host-key" && f.Volume == "f" {
			assert.Contains(t, f.FixNote, "condition holds")
		}
	}
}
