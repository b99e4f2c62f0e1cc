package customize

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

var units = debian.with(files{
	"/usr/lib/systemd/system/ssh.service":            "[Unit]\nDescription=x\nWantedBy=no.target\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n",
	"/usr/lib/systemd/system/web.socket":             "[Socket]\nListenStream=80\n[Install]\nWantedBy=sockets.target\n",
	"/usr/lib/systemd/system/web.service":            "[Service]\nExecStart=/bin/true\n[Install]\n# two lines, and one that is continued\nWantedBy=a.target \\\n b.target\nRequiredBy=c.target\nAlso=web.socket\n",
	"/usr/lib/systemd/system/getty@.service":         "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
	"/usr/lib/systemd/system/job@.service":           "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=dev-%i.device\n",
	"/usr/lib/systemd/system/static.service":         "[Service]\nExecStart=/bin/true\n",
	"/usr/lib/systemd/system/emptied.service":        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=a.target\nWantedBy=\nWantedBy=b.target\n",
	"/etc/systemd/system/own.timer":                  "[Timer]\nOnBootSec=1\n[Install]\nWantedBy=timers.target\n",
	"/usr/lib/systemd/system/other.service":          "->ssh.service",
	"/etc/systemd/system/hidden.service":             "->/dev/null",
	"/usr/lib/systemd/system/hidden.service":         "[Install]\nWantedBy=a.target\n",
	"/etc/systemd/system/b.target.wants/web.service": "->/usr/lib/systemd/system/web.service",
})

// systemctl is the judge: it makes and removes the same links.
func TestUnitsAgainstSystemctl(t *testing.T) {
	testtool.Need(t, "systemctl")
	for _, c := range [][]string{
		{"enable ssh"}, {"enable ssh.service", "disable ssh"}, {"enable web"}, {"enable web", "disable web"}, {"disable web.service"}, {"enable web.socket"},
		{"enable getty@tty3"}, {"enable getty@"}, {"enable getty@tty3", "enable getty@tty4", "disable getty@tty3"}, {"enable getty@tty3", "enable getty@tty4", "disable getty@"},
		{"enable job@sda"}, {"enable own.timer"}, {"enable own.timer", "disable own.timer"}, {"enable emptied"}, {"enable other"}, {"disable other"},
	} {
		dir := onHost(t, units)
		e := editor(t, units)
		for _, line := range c {
			verb, name, _ := strings.Cut(line, " ")
			testtool.Run(t, "systemctl", "--root="+dir, "-q", verb, unitName(name))
			require.NoError(t, apply(t, e, line), line)
		}
		want := fromHost(t, dir)
		assert.Equal(t, want, tree(t, e, "/"), "%v", c)
	}
}

func TestUnitsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"enable static":   "it has no section Install",
		"enable hidden":   "is masked",
		"enable nothing":  "the system has no unit nothing.service",
		"disable nothing": "the system has no unit nothing.service",
		"enable job@":     "is a template: say of what, as in job@NAME.service",
		"enable ../x":     "is no name of a service",
		"enable a/b":      "is no name of a service",
		"enable ":         "is no name of a service",
		"enable loop":     "circle",
		"enable odd":      `"../../../a.target" in its section Install is no name of a unit`,
		"enable spec":     "not supported: a specifier",
		"enable file":     "there is a file of that name",
	} {
		before := units.with(files{
			"/etc/systemd/system/loop.service": "->loop.service", "/etc/systemd/system/a.target.wants/file.service": "a file",
			"/etc/systemd/system/odd.service":  "[Install]\nWantedBy=../../../a.target\n",
			"/etc/systemd/system/spec.service": "[Install]\nWantedBy=%H.target\n",
			"/etc/systemd/system/file.service": "[Install]\nWantedBy=a.target\n",
		})
		e := editor(t, before)
		assert.ErrorContains(t, apply(t, e, line), want, line)
		assert.Empty(t, differences(t, e, before), line)
	}
}

func TestServicesOfOpenBSD(t *testing.T) {
	for _, c := range []struct{ line, before, want string }{
		{"enable ntpd", "", "ntpd_flags=\n"},
		{"enable ntpd", "ntpd_flags=NO\n# x\n", "# x\nntpd_flags=\n"},
		{"enable ntpd", "ntpd_flags=-s", "ntpd_flags=-s"},
		{"disable ntpd", "ntpd_flags=\"-s -v\" # why\n", ""},
		{"disable ntpd", "", ""},
		{"disable sshd", "smtpd_flags=NO", "smtpd_flags=NO\nsshd_flags=NO\n"},
		{"enable sshd", "sshd_flags=NO\n", ""},
		{"disable pf", "", "pf=NO\n"},
		{"enable pf", "pf=NO\n", ""},
		{"enable nginx", "", "pkg_scripts=nginx\n"},
		{"enable nginx", "pkg_scripts=dbus_daemon # first\n", "pkg_scripts=\"dbus_daemon nginx\" # first\n"},
		{"enable nginx", "pkg_scripts=\"nginx dbus_daemon\"\n", "pkg_scripts=\"nginx dbus_daemon\"\n"},
		{"disable nginx", "pkg_scripts=\"dbus_daemon nginx\"\r\n", "pkg_scripts=dbus_daemon\r\n"},
		{"disable nginx", "pkg_scripts=nginx\n", ""},
	} {
		e := editor(t, openbsd.with(files{"/etc/rc.conf.local": c.before}))
		require.NoError(t, apply(t, e, c.line), c.line)
		assert.Equal(t, c.want, tree(t, e, "/etc")["/etc/rc.conf.local"], "%s of %q", c.line, c.before)
	}
	e := editor(t, openbsd)
	require.NoError(t, apply(t, e, "enable ntpd"))
	assert.Equal(t, files{"/etc/rc.conf.local": "ntpd_flags=\n"}, differences(t, e, openbsd))
	assert.ErrorContains(t, apply(t, e, "enable apache"), "the system has no daemon apache")
}

func TestServicesOfFreeBSD(t *testing.T) {
	e := editor(t, freebsd)
	require.NoError(t, apply(t, e, "enable sshd", "enable my-daemon"))
	assert.Equal(t, files{"/etc/rc.conf": "hostname=\"old\" # of the builder\nsshd_enable=\"YES\"\nmy_daemon_enable=\"YES\"\n"}, differences(t, e, freebsd))
	require.NoError(t, apply(t, e, "disable sshd", "disable my-daemon"))
	assert.Contains(t, tree(t, e, "/etc")["/etc/rc.conf"], "sshd_enable=\"NO\"\nmy_daemon_enable=\"NO\"\n")
	assert.ErrorContains(t, apply(t, e, "enable apache"), "the system has no service apache")
}

func TestServicesOfOpenRC(t *testing.T) {
	alpine := files{"/etc/os-release": "ID=alpine\n", "/etc/init.d/sshd": "#!/sbin/openrc-run\n", "/etc/runlevels/boot": "/", "/etc/runlevels/default": "/"}
	e := editor(t, alpine)
	require.NoError(t, apply(t, e, "enable sshd", "enable sshd"))
	assert.Equal(t, files{"/etc/runlevels/default/sshd": "->/etc/init.d/sshd"}, differences(t, e, alpine))
	require.NoError(t, apply(t, e, "disable sshd", "disable sshd"))
	assert.Empty(t, differences(t, e, alpine))
	assert.ErrorContains(t, apply(t, e, "enable apache"), "the system has no service apache")
	assert.ErrorContains(t, apply(t, editor(t, files{"/etc/os-release": "ID=tiny\n"}), "enable sshd"), "neither systemd nor OpenRC")
}

// hostScript writes a script to the host.
func hostScript(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	return name
}

// The scripts run in their order, each once, whatever they return, and then
// nothing of it is left.
func TestFirstboot(t *testing.T) {
	one, two := hostScript(t, "one.sh", "#!/bin/sh\necho one >>\"$LOG\"\nexit 3\n"), hostScript(t, "zwei drei", "echo two >>\"$LOG\"\n")
	for _, c := range []struct {
		what   string
		before files
		run    string // what runs them
		left   []string
	}{
		{"systemd", debian, "/etc/firstboot/run", nil},
		{"OpenBSD", openbsd, "/etc/rc.firsttime", []string{"/etc/rc.firsttime"}}, // which rc removes
		{"OpenBSD with a script of the installer", openbsd.with(files{"/etc/rc.firsttime": "true fw_update"}), "/etc/rc.firsttime", []string{"/etc/rc.firsttime"}},
		{"FreeBSD", freebsd, "/etc/firstboot/run", []string{"/firstboot"}}, // which rc removes
	} {
		e := editor(t, c.before)
		require.NoError(t, apply(t, e, "firstboot "+one, "firstboot "+two, "firstboot "+one), c.what)
		attr, err := e.Stat(context.Background(), "/etc/firstboot/002-zwei_drei")
		require.NoError(t, err)
		assert.EqualValues(t, 0o700, attr.Mode.Perm())

		// The same on the host, below a folder.
		dir := onHost(t, nil)
		for name, content := range tree(t, e, "/") {
			at := filepath.Join(dir, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
			if target, ok := strings.CutPrefix(content, "->"); ok {
				require.NoError(t, os.Symlink(target, at))
				continue
			}
			for _, abs := range []string{"/etc/firstboot", "/etc/systemd", "/usr/local/etc"} {
				content = strings.ReplaceAll(content, abs, dir+abs)
			}
			require.NoError(t, os.WriteFile(at, []byte(content), 0o755))
		}
		log := filepath.Join(dir, "log")
		cmd := exec.Command("sh", filepath.Join(dir, c.run))
		cmd.Env = append(os.Environ(), "LOG="+log)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Equal(t, "firstboot: 001-one.sh: exit status 3\n", string(out), c.what)
		got, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.Equal(t, "one\ntwo\n", string(got), c.what)
		after := fromHost(t, dir)
		for name := range differences(t, e, c.before) {
			if _, there := after[name]; there {
				assert.Contains(t, c.left, name, c.what)
			}
		}
	}
}

func TestFirstbootUnit(t *testing.T) {
	testtool.Need(t, "systemd-analyze", "systemctl")
	e := editor(t, debian)
	require.NoError(t, apply(t, e, "firstboot "+hostScript(t, "a", "true\n")))
	assert.Equal(t, "->/etc/systemd/system/resflash-firstboot.service", tree(t, e, "/etc")["/etc/systemd/system/multi-user.target.wants/resflash-firstboot.service"])
	dir := onHost(t, tree(t, e, "/"))
	assert.Equal(t, "enabled\n", testtool.Run(t, "systemctl", "--root="+dir, "is-enabled", "resflash-firstboot"))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, "/etc/systemd/system/resflash-firstboot.service")).CombinedOutput()
	assert.NoError(t, err, string(out))
}

func TestFirstbootRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"": "run which script?", "/nonexistent": "no such file", hostScript(t, "empty", ""): "is empty", hostScript(t, "dos", "#!/bin/sh\r\n"): "line ends of DOS",
	} {
		assert.ErrorContains(t, apply(t, editor(t, debian), "firstboot "+name), want)
	}
	alpine := editor(t, files{"/etc/os-release": "ID=alpine\n"})
	assert.ErrorContains(t, apply(t, alpine, "firstboot "+hostScript(t, "a", "true\n")), "not supported")
	linked := editor(t, openbsd.with(files{"/etc/rc.firsttime": "->/etc/rc.conf"}))
	assert.ErrorContains(t, apply(t, linked, "firstboot "+hostScript(t, "a", "true\n")), "is a symbolic link: refused")
}
