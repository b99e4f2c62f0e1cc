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
}

// A volume that cannot be opened makes everything about it unknown.
func TestLockedVolume(t *testing.T) {
	name := filepath.Join(t.TempDir(), "luks.img")
	require.NoError(t, os.WriteFile(name, append([]byte("LUKS\xba\xbe\x00\x02"), make([]byte, 1<<20)...), 0o644))
	r := auditDisk(t, name, Options{})
	assert.Equal(t, []string{"whole at byte 0"}, found(r, "luks-volume-key"))
	assert.Equal(t, []string{"whole"}, found(r, "audit-incomplete"))
	assert.False(t, r.Complete())
	for _, v := range r.Rules {
		assert.NotEqual(t, Pass, v.Status, v.Rule)
	}

	accepted := auditDisk(t, name, Options{Waivers: []*Waiver{{Rule: "audit-incomplete", Volume: "whole", Reason: "it is meant to be closed"}}})
	assert.True(t, accepted.Complete())
}
