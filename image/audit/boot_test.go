package audit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// What a boot loader looks for must be in the image.
func TestBootReferences(t *testing.T) {
	testtool.Need(t, "mke2fs")
	dir := t.TempDir()
	const uuid = "0e3f1c52-6b7d-4a3c-9a44-2f6f2b1e7c11"
	for name, content := range map[string]string{
		"etc/os-release":             "ID=debian\n",
		"boot/loader/entries/a.conf": "options root=UUID=" + uuid + " quiet\n",
		"boot/loader/entries/b.conf": "options root=UUID=11111111-2222-3333-4444-555555555555 resume=LABEL=swap\n",
		"boot/grub/grub.cfg":         "search --no-floppy --fs-uuid --set=root " + uuid + "\nsearch --no-floppy --fs-uuid --set=root aaaaaaaa-2222-3333-4444-555555555555\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	image := filepath.Join(t.TempDir(), "root.img")
	testtool.Run(t, "mke2fs", "-q", "-t", "ext4", "-U", uuid, "-d", dir, image, "8M")
	r := auditDisk(t, image, Options{Only: []string{"bootloader-dangling"}})
	assert.Equal(t, words("/boot/grub/grub.cfg /boot/loader/entries/b.conf /boot/loader/entries/b.conf"), found(r, "bootloader-dangling"))
	had(t, "bootloader-dangling", positive)
	had(t, "bootloader-dangling", negative) // a.conf, and the first search
}
