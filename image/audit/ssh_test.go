package audit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

const (
	pemKey    = "-----BEGIN OPENSSH PRIVATE KEY-----\nHUNTER2\n-----END OPENSSH PRIVATE KEY-----\n"
	publicRSA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMadeUpForThisImageMadeUpForThisImageMadeUp me@here\n"
	rootLine  = "root:x:0:0:root:/root:/bin/bash\n"
)

var _ = addSamples(Linux,
	sample{
		rules: "ssh-host-key ssh-host-key-empty",
		bad: files{
			"/etc/ssh/ssh_host_rsa_key":     private(pemKey),
			"/etc/ssh/ssh_host_ed25519_key": private(""),
			"/etc/ssh/sshd_config":          text("Include /etc/ssh/sshd_config.d/*.conf\n"),
			"/etc/ssh/sshd_config.d/a.conf": text("HostKey /srv/keys/mine\n"),
			"/srv/keys/mine":                private(pemKey + "x"),
		},
		good: files{"/etc/ssh/ssh_host_rsa_key.pub": text(publicRSA)},
		at:   "/srv/keys/mine",
	},
	sample{
		rules: "ssh-no-regenerator",
		bad:   files{"/etc/systemd/system/multi-user.target.wants/ssh.service": symlink("/lib/systemd/system/ssh.service"), "/lib/systemd/system/ssh.service": text("[Service]\nExecStartPre=/usr/sbin/sshd -t\n")},
		good: files{
			"/etc/systemd/system/multi-user.target.wants/ssh.service": symlink("/lib/systemd/system/ssh.service"),
			"/lib/systemd/system/ssh.service":                         text("[Service]\nExecStartPre=/usr/bin/ssh-keygen -A\n"),
		},
	},
	sample{
		rules: "authorized-keys ssh-known-bad-key ssh-user-key ssh-known-hosts",
		bad: files{
			"/etc/passwd":                      text(rootLine + "op:x:1000:1000::/srv/op:/bin/sh\n"),
			"/root/.ssh/authorized_keys":       private("# mine\nssh-rsa " + vagrantRSA + " vagrant insecure public key\n"),
			"/srv/op/.ssh/authorized_keys2":    private("from=\"10.0.0.1\" " + publicRSA),
			"/srv/op/.ssh/work":                private(pemKey),
			"/home/other/.ssh/id_ed25519":      private("HUNTER2"),
			"/home/other/.ssh/known_hosts.old": private("|1|HUNTER2"),
		},
		good: files{"/root/.ssh/authorized_keys": private(""), "/root/.ssh/id_rsa.pub": text(publicRSA), "/root/.ssh/known_hosts": text(""), "/root/.ssh/config": text("Host *\n")},
		at:   "/srv/op/.ssh/authorized_keys2",
	},
	sample{
		rules: "authorized-keys",
		bad:   files{"/etc/passwd": text(rootLine), "/etc/ssh/sshd_config": text("AuthorizedKeysFile /etc/keys/%u\n"), "/etc/keys/root": text(publicRSA)},
		good:  files{"/etc/passwd": text(rootLine), "/etc/ssh/sshd_config": text("AuthorizedKeysFile none\n"), "/etc/keys/root": text(publicRSA)},
	},
	sample{
		rules: "sshd-root-password",
		bad:   files{"/etc/passwd": text(rootLine), "/etc/shadow": private("root:$6$salt$HUNTER2:1::::::\n"), "/etc/ssh/sshd_config": text("PermitRootLogin yes\n")},
		good:  files{"/etc/passwd": text(rootLine), "/etc/shadow": private("root:$6$salt$HUNTER2:1::::::\n"), "/etc/ssh/sshd_config": text("PermitRootLogin yes\nPasswordAuthentication no\n")},
	},
)

// The evidence of a key is what ssh-keygen -l says of it.
func TestHostKeyFingerprint(t *testing.T) {
	testtool.Need(t, "ssh-keygen")
	dir := t.TempDir()
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		name := filepath.Join(dir, kind)
		out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", name).CombinedOutput()
		require.NoError(t, err, string(out))
		key, err := os.ReadFile(name)
		require.NoError(t, err)
		listed, err := exec.Command("ssh-keygen", "-l", "-f", name).Output()
		require.NoError(t, err)
		r := audit(t, one(t, files{"/etc/ssh/ssh_host_" + kind + "_key": private(string(key))}.build()), Options{Only: []string{"ssh"}})
		require.Len(t, r.Findings, 1)
		assert.Contains(t, r.Findings[0].Evidence, strings.Fields(string(listed))[1])
	}
}

// Cut off anywhere, a key is no reason to panic.
func TestHostKeyCutOff(t *testing.T) {
	for n := range len("openssh-key-v1\x00") + 24 {
		opensshPublic([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\n" + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZf////8AAAAB"[:n] + "\n-----END OPENSSH PRIVATE KEY-----\n"))
	}
}

// Whether new keys will be made is said with the finding.
func TestRegenerator(t *testing.T) {
	key := files{"/etc/ssh/ssh_host_rsa_key": private(pemKey)}
	for name, c := range map[string]struct {
		system System
		files  files
		want   string
	}{
		"plain Debian": {Linux, key, "does not hold"},
		"a unit":       {Linux, key.with(files{"/etc/systemd/system/multi-user.target.wants/k.service": text("ExecStart=/usr/bin/ssh-keygen -A\n")}), "k.service makes"},
		"a comment":    {Linux, key.with(files{"/etc/rc.local": text("# ssh-keygen -A\n")}), "does not hold"},
		"cloud-init":   {Linux, key.with(files{"/etc/cloud/cloud.cfg": text("cloud_init_modules:\n - ssh\n")}), "cloud-init"},
		"disabled":     {Linux, key.with(files{"/etc/cloud/cloud.cfg": text("x:\n - ssh\n"), "/etc/cloud/cloud-init.disabled": text("")}), "does not hold"},
		"OpenBSD":      {OpenBSD, key.with(files{"/etc/rc": text("ssh-keygen -A\n")}), "/etc/rc makes"},
		"FreeBSD":      {FreeBSD, key.with(files{"/etc/rc.d/sshd": text("x")}), "/etc/rc.d/sshd makes"},
	} {
		r := audit(t, one(t, systemFiles[c.system].with(c.files).build()), Options{Only: []string{"ssh-host-key"}})
		require.Len(t, r.Findings, 1, name)
		assert.Contains(t, r.Findings[0].FixNote, c.want, name)
	}
}
