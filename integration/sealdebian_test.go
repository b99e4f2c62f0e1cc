package integration

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
)

// tell has a machine say on its console who it is, as soon as it is up.
var tell = map[string]string{
	"etc/systemd/system/tell.service": `[Unit]
Description=Say who this machine is
After=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/tell

[Install]
WantedBy=multi-user.target
`,
	"usr/local/sbin/tell": `#!/bin/sh
exec >/dev/ttyS0 2>&1
echo
echo "machine-id: $(cat /etc/machine-id)"
for key in /etc/ssh/ssh_host_*_key; do
	echo "host-key: $(ssh-keygen -l -f $key)"
done
echo "sshd: $(systemctl is-active ssh)"
echo "that is ""all"
`,
}

// A Debian system whose host keys nothing makes anew is not sealed without
// something that does. Sealed with it, the audit passes, and two machines made
// of the image have different machine IDs and host keys, and a running sshd.
func TestSealDebian(t *testing.T) {
	heavy(t)
	kernel := kernelvm.Need(t)
	root := debianRoot(t)
	for name, text := range tell {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o755))
	}
	require.NoError(t, os.Symlink("../tell.service", filepath.Join(root, "etc/systemd/system/multi-user.target.wants/tell.service")))
	img := filepath.Join(t.TempDir(), "debian.img")
	resflash(t, "mkfs", "--type", "ext4", "--label", "debian", "--size", "700M", "--from", root, "--keep-owner", img)
	builder, err := os.ReadFile(filepath.Join(root, "etc/machine-id"))
	require.NoError(t, err)

	said, code := fails(t, "seal", img)
	assert.Equal(t, 15, code)
	assert.Contains(t, said, "ssh_host_ed25519_key (ssh-host-key; refused: nothing was found that would make new keys")
	assert.Contains(t, said, "nothing was changed")

	resflash(t, "seal", "--install-regenerator", img)
	resflash(t, "audit", img)
	e2fsck(t, img, []string{})
	sealed := sum(t, img)
	resflash(t, "seal", img)
	assert.Equal(t, sealed, sum(t, img), "to seal it again changes nothing")

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var machines [2]string
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() {
			said, err := kernel.Boot(ctx, kernelvm.Disk{Path: img, FS: "ext4"}, "that is all", "/sbin/init")
			if assert.NoError(t, err) {
				machines[i] = strings.ReplaceAll(said, "\r", "")
			}
		})
	}
	wg.Wait()
	id := regexp.MustCompile(`(?m)^machine-id: ([0-9a-f]{32})$`)
	key := regexp.MustCompile(`(?m)^host-key: [0-9]+ (SHA256:\S+) .*\((RSA|ECDSA|ED25519)\)$`)
	seen := map[string]bool{strings.TrimSpace(string(builder)): true}
	for _, said := range machines {
		m := id.FindStringSubmatch(said)
		require.NotNil(t, m, said)
		assert.False(t, seen[m[1]], "a machine ID is there twice")
		seen[m[1]] = true
		keys := key.FindAllStringSubmatch(said, -1)
		assert.Len(t, keys, 3)
		for _, k := range keys {
			assert.False(t, seen[k[1]], "a host key is there twice")
			seen[k[1]] = true
		}
		assert.Contains(t, said, "sshd: active")
	}
}
