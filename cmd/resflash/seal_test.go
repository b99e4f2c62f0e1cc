package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linuxImage makes linux.img, an ext4 with a system that has been booted once.
func linuxImage(t *testing.T, files map[string]string) {
	t.Helper()
	here(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	works(t, "mkfs", "--type", "ext4", "--size", "16M", "--seed", "1", "linux.img")
	all := map[string]string{
		"/etc/os-release":              "ID=debian\nIMAGE_ID=test\nIMAGE_VERSION=1\n",
		"/etc/passwd":                  "root:x:0:0:root:/root:/bin/bash\n",
		"/etc/group":                   "root:x:0:\n",
		"/etc/shadow":                  "root:*:1::::::\n",
		"/etc/machine-id":              "4e5c0f3bd15c4a6e8d36b84b2cdaa111\n",
		"/var/lib/dbus/machine-id":     "4e5c0f3bd15c4a6e8d36b84b2cdaa111\n",
		"/var/lib/systemd/random-seed": "0123456789abcdef0123456789abcdef",
		"/etc/hostname":                "builder7\n",
		"/var/log/syslog":              "builder7 booted\n",
		"/var/log/syslog.1":            "builder7 booted\n",
		"/root/.bash_history":          "passwd\n",
	}
	for name, text := range files {
		all[name] = text
	}
	dirs := []string{"mkdir", "-p"}
	for name := range all {
		dirs = append(dirs, "linux.img:"+name[:len(name)-len(base(name))-1])
	}
	works(t, dirs...)
	for name, text := range all {
		writes(t, text, "linux.img:"+name)
	}
	works(t, "chmod", "0600", "linux.img:/etc/shadow", "linux.img:/var/lib/systemd/random-seed")
}

func base(name string) string {
	i := len(name)
	for i > 0 && name[i-1] != '/' {
		i--
	}
	return name[i:]
}

// A sealed image passes the audit, its checker has nothing to say, and to seal
// it again does not write to it.
func TestSealTwice(t *testing.T) {
	linuxImage(t, nil)
	_, _, code := resflash("audit", "linux.img")
	require.Equal(t, exitFindings, code)
	before := digest(t, "linux.img")
	works(t, "seal", "-o", "new.img", "linux.img")
	assert.Equal(t, before, digest(t, "linux.img"), "--output leaves the image as it is")
	works(t, "seal", "linux.img")
	assert.Equal(t, digest(t, "new.img"), digest(t, "linux.img"), "the same input and the same command give the same bytes")
	clean(t, "linux.img")
	works(t, "audit", "--fail-on", "warning", "linux.img")
	assert.Equal(t, "uninitialized\n", works(t, "cat", "linux.img:/etc/machine-id"))
	for _, gone := range []string{"/var/lib/dbus/machine-id", "/var/lib/systemd/random-seed", "/etc/hostname", "/var/log/syslog.1", "/root/.bash_history"} {
		_, _, code := resflash("stat", "linux.img:"+gone)
		assert.Equal(t, exitNotFound, code, gone)
	}
	assert.Empty(t, works(t, "cat", "linux.img:/var/log/syslog"), "logs are emptied, not removed")

	sealed, written := digest(t, "linux.img"), modified(t, "linux.img")
	_, stderr, code := resflash("seal", "linux.img")
	assert.Equal(t, 0, code)
	assert.Contains(t, stderr, "nothing to do")
	assert.Equal(t, sealed, digest(t, "linux.img"))
	assert.Equal(t, written, modified(t, "linux.img"), "it was written to")
}

func modified(t *testing.T, name string) int64 {
	t.Helper()
	st, err := os.Stat(name)
	require.NoError(t, err)
	return st.ModTime().UnixNano()
}

// Each way to reset a machine ID is kept by a second run.
func TestSealMachineID(t *testing.T) {
	for mode, want := range map[string]string{"uninitialized": "uninitialized\n", "empty": "", "remove": "no file"} {
		t.Run(mode, func(t *testing.T) {
			linuxImage(t, nil)
			works(t, "seal", "--machine-id", mode, "linux.img")
			got, _, code := resflash("cat", "linux.img:/etc/machine-id")
			if code == exitNotFound {
				got = "no file"
			}
			assert.Equal(t, want, got)
			sealed := digest(t, "linux.img")
			works(t, "seal", "--machine-id", mode, "linux.img")
			assert.Equal(t, sealed, digest(t, "linux.img"))
		})
	}
}

const hostKey = "-----BEGIN OPENSSH PRIVATE KEY-----\nmadeup\n-----END OPENSSH PRIVATE KEY-----\n"

// A host key that nothing makes anew stays, and the image is not sealed, unless
// somebody accepts that or has something installed that does.
func TestSealRefusesToBrickSSH(t *testing.T) {
	system := map[string]string{
		"/etc/ssh/ssh_host_ed25519_key":                     hostKey,
		"/etc/ssh/ssh_host_ed25519_key.pub":                 "ssh-ed25519 AAAA root@builder\n",
		"/usr/sbin/sshd":                                    "\x7fELF",
		"/usr/bin/ssh-keygen":                               "\x7fELF",
		"/usr/lib/systemd/system/ssh.service":               "[Service]\nExecStartPre=/usr/sbin/sshd -t\nExecStart=/usr/sbin/sshd -D\n",
		"/etc/systemd/system/multi-user.target.wants/.keep": "",
	}
	linuxImage(t, system)
	works(t, "chmod", "0600", "linux.img:/etc/ssh/ssh_host_ed25519_key")
	works(t, "ln", "-s", "/usr/lib/systemd/system/ssh.service", "linux.img:/etc/systemd/system/multi-user.target.wants/ssh.service")
	before := works(t, "export", "--format", "mtree", "linux.img")
	stdout, stderr, code := resflash("seal", "linux.img")
	assert.Equal(t, exitNotSealed, code)
	assert.Contains(t, stdout, "left: error linux.img:/etc/ssh/ssh_host_ed25519_key (ssh-host-key; refused: nothing was found that would make new keys; --install-regenerator adds a unit that does)")
	assert.Contains(t, stderr, "linux.img: nothing was changed")
	assert.Equal(t, before, works(t, "export", "--format", "mtree", "linux.img"))
	clean(t, "linux.img")

	require.NoError(t, os.WriteFile("accept.toml", []byte("[[waiver]]\nrule = \"ssh-host-key\"\nreason = \"a test\"\n"), 0o644))
	works(t, "seal", "--waivers", "accept.toml", "-o", "accepted.img", "linux.img")
	assert.Equal(t, hostKey, works(t, "cat", "accepted.img:/etc/ssh/ssh_host_ed25519_key"))

	works(t, "seal", "--install-regenerator", "linux.img")
	assert.NotContains(t, works(t, "ls", "linux.img:/etc/ssh"), "ssh_host")
	assert.Contains(t, works(t, "cat", "linux.img:/etc/systemd/system/multi-user.target.wants/ssh-host-keys.service"), "ExecStart=/usr/bin/ssh-keygen -A")
	works(t, "audit", "linux.img")
	sealed := digest(t, "linux.img")
	works(t, "seal", "linux.img")
	assert.Equal(t, sealed, digest(t, "linux.img"))
	clean(t, "linux.img")
}

// What makes keys at the first boot only makes none where an empty machine ID
// says that it is not the first.
func TestSealFirstBoot(t *testing.T) {
	linuxImage(t, map[string]string{
		"/etc/ssh/ssh_host_ed25519_key":                     hostKey,
		"/usr/sbin/sshd":                                    "\x7fELF",
		"/usr/lib/systemd/system/keys.service":              "[Unit]\nConditionFirstBoot=yes\n[Service]\nExecStart=/usr/bin/ssh-keygen -A\n",
		"/etc/systemd/system/multi-user.target.wants/.keep": "",
	})
	works(t, "chmod", "0600", "linux.img:/etc/ssh/ssh_host_ed25519_key")
	works(t, "ln", "-s", "/usr/lib/systemd/system/keys.service", "linux.img:/etc/systemd/system/multi-user.target.wants/keys.service")
	stdout, _, code := resflash("seal", "--machine-id", "empty", "linux.img")
	assert.Equal(t, exitNotSealed, code)
	assert.Contains(t, stdout, "never has")
	works(t, "seal", "linux.img")
	assert.NotContains(t, works(t, "ls", "linux.img:/etc/ssh"), "ssh_host")
}

// A file that cannot be removed is no reason to leave half of the work
// behind.
func TestSealIsAllOrNothing(t *testing.T) {
	linuxImage(t, nil)
	works(t, "chflags", "schg", "linux.img:/root/.bash_history")
	before := works(t, "export", "--format", "mtree", "linux.img")
	_, stderr, code := resflash("seal", "linux.img")
	assert.NotEqual(t, 0, code)
	assert.Contains(t, stderr, "/root/.bash_history")
	assert.Equal(t, before, works(t, "export", "--format", "mtree", "linux.img"))
	clean(t, "linux.img")
}
