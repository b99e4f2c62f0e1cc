package customize

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// files are a system: contents by path. "->x" is a symbolic link to x, "/" a
// directory.
type files map[string]string

func (f files) with(more files) files {
	all := files{}
	for _, m := range []files{f, more} {
		for name, content := range m {
			all[name] = content
		}
	}
	return all
}

var (
	debian = files{
		"/etc/os-release": "ID=debian\nNAME=\"Debian GNU/Linux\"\n", "/etc/debian_version": "12.5\n",
		"/usr/lib/systemd/systemd": "", "/etc/group": "root:x:0:\nshadow:x:42:\n",
		"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\nme:x:1000:1000::/home/me:/bin/bash\n",
		"/etc/shadow": "root:*:19700:0:99999:7:::\nme:$6$old$hash:19700:0:99999:7:::\n",
		"/root":       "/", "/home/me": "/",
	}
	openbsd = files{
		"/etc/signify/openbsd-76-base.pub": "key\n", "/etc/group": "wheel:*:0:root\n_shadow:*:65:\n",
		"/etc/master.passwd": "root:*:0:0:daemon:0:0:Charlie &:/root:/bin/ksh\n_syslogd:*:73:73::0:0:Syslog:/var/empty:/sbin/nologin\n",
		"/etc/rc.conf":       "# defaults\nsshd_flags=\nntpd_flags=NO\nsmtpd_flags=\npf=YES\n",
		"/etc/rc.d/sshd":     "#!/bin/ksh\n", "/etc/rc.d/nginx": "#!/bin/ksh\n", "/etc/rc.d/dbus_daemon": "#!/bin/ksh\n",
		"/root": "/",
	}
	freebsd = files{
		"/etc/os-release": "ID=freebsd\nNAME=FreeBSD\n", "/etc/group": "wheel:*:0:root\n",
		"/etc/master.passwd": "# $FreeBSD$\n#\nroot:*:0:0::0:0:Charlie &:/root:/bin/sh\ntoor:*:0:0::0:0:Bourne-again:/root:\n",
		"/etc/rc.conf":       "hostname=\"old\" # of the builder\nsshd_enable=\"NO\"\n",
		"/etc/rc.d/sshd":     "rcvar=\"sshd_enable\"\n", "/usr/local/etc/rc.d/my-daemon": "rcvar=${name}_enable\n",
		"/root": "/",
	}
)

// editor begins to edit a system that is in memory.
func editor(t *testing.T, f files) *Editor {
	t.Helper()
	fsys := memfs.New()
	var names []string
	for name := range f {
		names = append(names, name)
	}
	sort.Strings(names)
	made := map[string]bool{"/": true}
	var parents func(dir string)
	parents = func(dir string) {
		if !made[dir] {
			parents(path.Dir(dir))
			fsys.AddDir(dir)
			made[dir] = true
		}
	}
	for _, name := range names {
		switch content := f[name]; {
		case content == "/":
			parents(name)
		case strings.HasPrefix(content, "->"):
			parents(path.Dir(name))
			fsys.AddSymlink(name, content[2:])
		default:
			parents(path.Dir(name))
			fsys.AddFile(name, []byte(content))
		}
	}
	epoch := time.Unix(1700000000, 0)
	e, err := OnFS(fsys, Options{Epoch: &epoch, Record: true})
	require.NoError(t, err)
	return e
}

// apply does operations that are written as in a script.
func apply(t *testing.T, e *Editor, lines ...string) error {
	t.Helper()
	var steps []Step
	for _, line := range lines {
		name, arg, _ := strings.Cut(line, " ")
		op, err := Parse(name, arg)
		if err != nil {
			return err
		}
		steps = append(steps, Step{Operation: op})
	}
	return e.Apply(context.Background(), steps)
}

// tree is what is in a system: contents, targets of links.
func tree(t *testing.T, e *Editor, below string) files {
	t.Helper()
	ctx := context.Background()
	all := files{}
	err := vfs.NewTree(e.root.fs).Walk(ctx, below, func(name string, attr vfs.Attr, err error) error {
		require.NoError(t, err)
		switch {
		case attr.Mode.IsSymlink():
			target, err := e.Readlink(ctx, name)
			require.NoError(t, err)
			all[name] = "->" + target
		case attr.Mode.IsRegular():
			b, err := e.ReadFile(ctx, name, MaxText)
			require.NoError(t, err)
			all[name] = string(b)
		}
		return nil
	})
	require.NoError(t, err)
	return all
}

// differences are the files that are not as they were; "" is one that is gone.
func differences(t *testing.T, e *Editor, before files) files {
	t.Helper()
	after, diff := tree(t, e, "/"), files{}
	for name, content := range after {
		if old, ok := before[name]; !ok || old != content {
			diff[name] = content
		}
	}
	for name, content := range before {
		if _, ok := after[name]; !ok && content != "/" {
			diff[name] = ""
		}
	}
	return diff
}

// onHost writes a system to a folder of the host, for foreign programs.
func onHost(t *testing.T, f files) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range f {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		switch {
		case content == "/":
			require.NoError(t, os.MkdirAll(at, 0o755))
		case strings.HasPrefix(content, "->"):
			require.NoError(t, os.Symlink(content[2:], at))
		default:
			require.NoError(t, os.WriteFile(at, []byte(content), 0o644))
		}
	}
	return dir
}

// fromHost reads such a folder.
func fromHost(t *testing.T, dir string) files {
	t.Helper()
	all := files{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		at := strings.TrimPrefix(name, dir)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			require.NoError(t, err)
			all[at] = "->" + target
		case d.Type().IsRegular():
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			all[at] = string(b)
		}
		return nil
	}))
	return all
}

func TestHostname(t *testing.T) {
	for _, c := range []struct {
		what         string
		before, want files
	}{
		{"Debian", debian.with(files{"/etc/hostname": "old\n", "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1 old.example.net old\n::1 localhost\n"}),
			files{"/etc/hostname": "fw1.example.net\n", "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tfw1.example.net fw1\n::1 localhost\n"}},
		{"no 127.0.1.1", debian.with(files{"/etc/hosts": "127.0.0.1\tlocalhost\r\n::1 localhost"}),
			files{"/etc/hostname": "fw1.example.net\n", "/etc/hosts": "127.0.0.1\tlocalhost\r\n127.0.1.1\tfw1.example.net fw1\n::1 localhost"}},
		{"no hosts", debian, files{"/etc/hostname": "fw1.example.net\n", "/etc/hosts": "127.0.1.1\tfw1.example.net fw1\n"}},
		{"not Debian", files{"/etc/os-release": "ID=fedora\n", "/etc/hosts": "127.0.0.1 localhost\n"}, files{"/etc/hostname": "fw1.example.net\n"}},
		{"OpenBSD", openbsd.with(files{"/etc/myname": "old\n"}), files{"/etc/myname": "fw1.example.net\n"}},
		{"FreeBSD", freebsd, files{"/etc/rc.conf": "hostname=\"fw1.example.net\" # of the builder\nsshd_enable=\"NO\"\n"}},
		{"rc.conf.local", freebsd.with(files{"/etc/rc.conf.local": "hostname='older'"}), files{"/etc/rc.conf.local": "hostname=\"fw1.example.net\""}},
	} {
		e := editor(t, c.before)
		require.NoError(t, apply(t, e, "hostname fw1.example.net"), c.what)
		assert.Equal(t, c.want, differences(t, e, c.before), c.what)
	}
	for _, name := range []string{"", "-a", "a-", "a..b", "a_b", "a b", "a\n", strings.Repeat("a", 64) + ".b", strings.Repeat("abcdefgh.", 8)} {
		assert.Error(t, apply(t, editor(t, debian), "hostname "+name), "%q", name)
	}
	assert.ErrorContains(t, apply(t, editor(t, debian.with(files{"/etc/hostname": "->/etc/passwd"})), "hostname a"), "/etc/hostname: is a symbolic link: refused")
	assert.ErrorContains(t, apply(t, editor(t, files{"/a": ""}), "hostname a"), "no operating system was recognised")
}

func TestTimezone(t *testing.T) {
	zones := files{"/usr/share/zoneinfo/Europe/Berlin": "TZif2…", "/usr/share/zoneinfo/UTC": "TZif2…", "/usr/share/zoneinfo/zone.tab": "# a table"}
	for _, c := range []struct {
		what         string
		before, want files
	}{
		{"Debian", debian.with(files{"/etc/localtime": "->/usr/share/zoneinfo/UTC", "/etc/timezone": "Etc/UTC\n"}),
			files{"/etc/localtime": "->../usr/share/zoneinfo/Europe/Berlin", "/etc/timezone": "Europe/Berlin\n"}},
		{"a copy", debian.with(files{"/etc/localtime": "TZif"}), files{"/etc/localtime": "->../usr/share/zoneinfo/Europe/Berlin"}},
		{"nothing", debian, files{"/etc/localtime": "->../usr/share/zoneinfo/Europe/Berlin"}},
		{"the same", debian.with(files{"/etc/localtime": "->/usr/share/zoneinfo/Europe/Berlin"}), files{}},
		{"OpenBSD", openbsd.with(files{"/etc/localtime": "->/usr/share/zoneinfo/UTC"}), files{"/etc/localtime": "->/usr/share/zoneinfo/Europe/Berlin"}},
		{"FreeBSD", freebsd.with(files{"/var/db/zoneinfo": "UTC\n"}),
			files{"/etc/localtime": "->/usr/share/zoneinfo/Europe/Berlin", "/var/db/zoneinfo": "Europe/Berlin\n"}},
	} {
		before := c.before.with(zones)
		e := editor(t, before)
		require.NoError(t, apply(t, e, "timezone Europe/Berlin"), c.what)
		assert.Equal(t, c.want, differences(t, e, before), c.what)
	}
	for zone, want := range map[string]string{
		"Europe/Bonn": "the system has no time zone Europe/Bonn", "Europe": "", "zone": "no time zone", "../../../etc/passwd": "is no name", "": "is no name", "/UTC": "is no name",
	} {
		assert.ErrorContains(t, apply(t, editor(t, debian.with(zones)), "timezone "+zone), want, zone)
	}
	assert.ErrorContains(t, apply(t, editor(t, debian.with(files{"/usr/share/zoneinfo/tab": "# a table"})), "timezone tab"), "does not begin with TZif")
}
