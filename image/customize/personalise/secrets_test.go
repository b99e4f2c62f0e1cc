package personalise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// ssh-keygen reads the key, and finds in it the public one beside it.
func TestHostKey(t *testing.T) {
	testtool.Need(t, "ssh-keygen")
	seen := map[string]bool{}
	for range 3 {
		private, public, err := newHostKey("root@fw7")
		require.NoError(t, err)
		name := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(name, private, 0o600))
		require.NoError(t, os.WriteFile(name+".pub", public, 0o644))
		assert.Equal(t, string(public), testtool.Run(t, "ssh-keygen", "-y", "-f", name))
		assert.Contains(t, testtool.Run(t, "ssh-keygen", "-l", "-f", name), "root@fw7 (ED25519)")
		signed := filepath.Join(t.TempDir(), "text")
		require.NoError(t, os.WriteFile(signed, []byte("x"), 0o600))
		testtool.Run(t, "ssh-keygen", "-q", "-Y", "sign", "-n", "test", "-f", name, signed)
		assert.False(t, seen[string(private)])
		seen[string(private)] = true
	}
}

func TestDir(t *testing.T) {
	for path, want := range map[string]string{"/etc/x": "/etc", "d:/etc/x": "d:/etc", "/entropy": "/", "d:/entropy": "d:/"} {
		assert.Equal(t, want, dir(path), strings.TrimSpace(path))
	}
}
