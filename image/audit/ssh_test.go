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
	const system, wants = "/usr/lib/systemd/system/", "/etc/systemd/system/multi-user.target.wants/"
	unit := func(text string) files {
		return files{wants + "k.service": symlink(system + "k.service"), system + "k.service": thing{mode: 0o100644, text: text}}
	}
	for name, c := range map[string]struct {
		system System
		files  files
		want   string // empty: the condition does not hold
	}{
		"plain Debian": {Linux, files{
			wants + "ssh.service": symlink(system + "ssh.service"), system + "ssh.service": text("[Service]\nExecStartPre=/usr/sbin/sshd -t\nExecStart=/usr/sbin/sshd -D\n"),
			"/etc/init.d/ssh": moded(0o755, "#!/bin/sh\n/usr/sbin/sshd -t\n"), "/etc/rc2.d/S01ssh": symlink("../init.d/ssh"),
		}, ""},
		"a unit":                       {Linux, unit("[Service]\nExecStart=/usr/bin/ssh-keygen -A\n"), "k.service makes"},
		"a unit that nobody wants":     {Linux, files{system + "k.service": text("[Service]\nExecStart=/usr/bin/ssh-keygen -A\n")}, ""},
		"a unit that is masked":        {Linux, unit("[Service]\nExecStart=/usr/bin/ssh-keygen -A\n").with(files{"/etc/systemd/system/k.service": symlink("/dev/null")}), ""},
		"its command is taken away":    {Linux, unit("[Service]\nExecStart=/usr/bin/ssh-keygen -A\n").with(files{"/etc/systemd/system/k.service.d/no.conf": text("[Service]\nExecStart=\nExecStart=/bin/true\n")}), ""},
		"added by a drop-in":           {Linux, unit("[Service]\nExecStart=/bin/true\n").with(files{"/etc/systemd/system/k.service.d/a.conf": text("[Service]\nExecStartPre=-/usr/bin/ssh-keygen \\\n  -A\n")}), "k.service makes"},
		"once, and that was":           {Linux, unit("[Unit]\nConditionPathExists=!/var/lib/done\n[Service]\nExecStart=/usr/bin/ssh-keygen -A\n").with(files{"/var/lib/done": text("")}), ""},
		"once, and that will be":       {Linux, unit("[Unit]\nConditionPathExists=!/var/lib/done\n[Service]\nExecStart=/usr/bin/ssh-keygen -A\n"), "k.service makes"},
		"at the first boot":            {Linux, unit("[Unit]\nConditionFirstBoot=yes\n[Service]\nExecStart=/usr/bin/ssh-keygen -A\n"), "k.service makes new keys at the first boot"},
		"where there is no key":        {Linux, unit("[Unit]\nConditionPathExists=!/etc/ssh/ssh_host_rsa_key\n[Service]\nExecStart=/usr/bin/ssh-keygen -A\n"), "k.service makes"},
		"a script of a unit":           {Linux, unit("[Service]\nExecStart=/usr/local/sbin/first-boot\n").with(files{"/usr/local/sbin/first-boot": moded(0o755, "#!/bin/sh\nset -e\nssh-keygen -A\n")}), "/usr/local/sbin/first-boot makes"},
		"a comment in a script":        {Linux, unit("[Service]\nExecStart=/usr/local/sbin/first-boot\n").with(files{"/usr/local/sbin/first-boot": moded(0o755, "#!/bin/sh\n# ssh-keygen -A\n")}), ""},
		"a comment":                    {Linux, unit("[Service]\n#ExecStart=/usr/bin/ssh-keygen -A\n"), ""},
		"wanted through a target":      {Linux, files{"/usr/lib/systemd/system/multi-user.target": text("[Unit]\nRequires=basic.target\n"), system + "basic.target.wants/keys.target": symlink("../keys.target"), system + "keys.target": text("[Unit]\nWants=sshd-keygen@rsa.service\n"), system + "sshd-keygen@.service": text("[Service]\nExecStart=/usr/libexec/openssh/sshd-keygen %i\n")}, "sshd-keygen@.service makes"},
		"started by a socket":          {Linux, files{"/etc/systemd/system/sockets.target.wants/ssh.socket": symlink(system + "ssh.socket"), system + "ssh.socket": text("[Socket]\nListenStream=22\n"), system + "ssh.service": text("[Service]\nExecStartPre=/usr/bin/ssh-keygen -A\n")}, "ssh.service makes"},
		"units that want each other":   {Linux, unit("[Unit]\nWants=k.service l.service\n").with(files{system + "l.service": text("[Unit]\nRequires=k.service\n")}), ""},
		"rc.local":                     {Linux, files{"/etc/rc.local": moded(0o755, "#!/bin/sh\nssh-keygen -A\n")}, "/etc/rc.local makes"},
		"rc.local, not executable":     {Linux, files{"/etc/rc.local": text("#!/bin/sh\nssh-keygen -A\n")}, ""},
		"rc.local, a comment":          {Linux, files{"/etc/rc.local": moded(0o755, "# ssh-keygen -A\n")}, ""},
		"OpenRC":                       {Linux, files{"/etc/runlevels/default/sshd": symlink("/etc/init.d/sshd"), "/etc/init.d/sshd": moded(0o755, "#!/sbin/openrc-run\nssh-keygen -A\n")}, "/etc/init.d/sshd makes"},
		"cloud-init":                   {Linux, files{"/usr/bin/cloud-init": text(""), "/etc/cloud/cloud.cfg": text("cloud_init_modules:\n - seed_random\n - [ssh, always]\n")}, "cloud-init"},
		"cloud-init without ssh":       {Linux, files{"/usr/bin/cloud-init": text(""), "/etc/cloud/cloud.cfg": text("cloud_init_modules:\n - seed_random\nother:\n - ssh\n")}, ""},
		"cloud-init, another file":     {Linux, files{"/usr/bin/cloud-init": text(""), "/etc/cloud/cloud.cfg": text("cloud_init_modules:\n - ssh\n"), "/etc/cloud/cloud.cfg.d/90.cfg": text("cloud_init_modules: [seed_random]\n")}, ""},
		"cloud-init is off":            {Linux, files{"/usr/bin/cloud-init": text(""), "/etc/cloud/cloud.cfg": text("cloud_init_modules:\n - ssh\n"), "/etc/cloud/cloud-init.disabled": text("")}, ""},
		"cloud-init's settings alone":  {Linux, files{"/etc/cloud/cloud.cfg": text("cloud_init_modules:\n - ssh\n")}, ""},
		"OpenBSD":                      {OpenBSD, files{"/etc/rc": text("make_keys() {\n\tssh-keygen -A\n}\n")}, "/etc/rc makes"},
		"OpenBSD, rc says nothing":     {OpenBSD, files{"/etc/rc": text("# ssh-keygen -A\n")}, ""},
		"FreeBSD":                      {FreeBSD, files{"/etc/rc.d/sshd": text("#!/bin/sh\nsshd_keygen_alg() {\n/usr/bin/ssh-keygen -q -t rsa\n}\n")}, "/etc/rc.d/sshd makes"},
		"FreeBSD, rc.d/sshd is no use": {FreeBSD, files{"/etc/rc.d/sshd": text("#!/bin/sh\n")}, ""},
	} {
		r := audit(t, one(t, systemFiles[c.system].with(key).with(c.files).build()), Options{Only: []string{"ssh-host-key"}})
		require.Len(t, r.Findings, 1, name)
		f := r.Findings[0]
		require.NotNil(t, f.Fixable, name)
		assert.Equal(t, c.want != "", *f.Fixable, "%s: %s", name, f.FixNote)
		assert.Contains(t, f.FixNote, c.want, name)
	}
}
