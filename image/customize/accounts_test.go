package customize

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/image/passwd/berkeley"
	"github.com/resflash/resflash/image/passwd/crypt"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// fieldOf is the password field of an account in a file.
func fieldOf(t *testing.T, e *Editor, file, user string) string {
	t.Helper()
	b, err := e.ReadFile(context.Background(), file, MaxText)
	require.NoError(t, err)
	f, ok := passwd.Parse(b).Find(user)
	require.True(t, ok)
	return f[passwd.Password]
}

// hasPassword asserts that a hash is of a password.
func hasPassword(t *testing.T, hash, password string) {
	t.Helper()
	match, known := crypt.Verify(hash, password)
	assert.True(t, known && match, hash)
}

func TestPasswordOnLinux(t *testing.T) {
	testtool.Sequential(t)
	for _, c := range []struct {
		what, prefix string
		more         files
	}{
		{"nothing said", "$6$", nil},
		{"PAM", "$y$", files{"/etc/pam.d/common-password": "password [success=1 default=ignore] pam_unix.so obscure yescrypt\n"}},
		{"PAM, SHA-512", "$6$", files{"/etc/pam.d/system-auth": "password sufficient pam_unix.so sha512 shadow\n", "/etc/login.defs": "ENCRYPT_METHOD YESCRYPT\n"}},
		{"login.defs", "$y$", files{"/etc/login.defs": "# ENCRYPT_METHOD DES\nENCRYPT_METHOD YESCRYPT\n"}},
	} {
		before := debian.with(c.more)
		e := editor(t, before)
		require.NoError(t, apply(t, e, "root-password password:hunter2"), c.what)
		hash := fieldOf(t, e, "/etc/shadow", "root")
		assert.True(t, strings.HasPrefix(hash, c.prefix), "%s: %s", c.what, hash)
		hasPassword(t, hash, "hunter2")
		assert.Equal(t, files{"/etc/shadow": "root:" + hash + ":19675:0:99999:7:::\nme:$6$old$hash:19700:0:99999:7:::\n"}, differences(t, e, before), c.what)
		// The time that stands for now gives the salt.
		again := editor(t, before)
		require.NoError(t, apply(t, again, "root-password password:hunter2"))
		assert.Equal(t, hash, fieldOf(t, again, "/etc/shadow", "root"))
	}
}

func TestPasswordSelectors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("hunter2\r\nsecond line\n"), 0o600))
	e := editor(t, debian)
	require.NoError(t, apply(t, e, "password me:file:"+file))
	hasPassword(t, fieldOf(t, e, "/etc/shadow", "me"), "hunter2")
	require.NoError(t, apply(t, e, "password me:disabled"))
	assert.Equal(t, "*", fieldOf(t, e, "/etc/shadow", "me"))
	require.NoError(t, apply(t, e, "password me:hash:$6$salt$"+strings.Repeat("x", 86)))
	assert.Equal(t, "$6$salt$"+strings.Repeat("x", 86), fieldOf(t, e, "/etc/shadow", "me"))
	require.NoError(t, apply(t, e, "password-lock me"))
	assert.Equal(t, "!$6$salt$"+strings.Repeat("x", 86), fieldOf(t, e, "/etc/shadow", "me"))
	require.NoError(t, apply(t, e, "password-lock me", "password-lock root"))
	assert.Equal(t, "!$6$salt$"+strings.Repeat("x", 86), fieldOf(t, e, "/etc/shadow", "me"))
	assert.Equal(t, "*", fieldOf(t, e, "/etc/shadow", "root"))

	for line, want := range map[string]string{
		"root-password hunter2":                   "want password:SECRET, file:FILE",
		"root-password password:":                 "let everybody in",
		"root-password file:":                     "no file follows the colon",
		"root-password file:/nonexistent":         "no such file",
		"root-password hash:hunter2":              "no hash of crypt(3)",
		"root-password hash:$2b$10$short":         "has 60 characters",
		"root-password hash:$6$a:b$c":             "no blanks and colons",
		"root-password disabled:hunter2":          "want password:SECRET",
		"root-password password:" + "hunter2\x00": "NUL",
		"password hunter2":                        "no colon follows the user",
		"password +:password:hunter2":             "is no name of an account",
		"password nobody:password:hunter2":        "/etc/passwd has no entry of nobody",
		"password-lock a:b":                       "is no name of an account",
		"password-lock nobody":                    "/etc/passwd has no entry of nobody",
	} {
		e := editor(t, debian)
		err := apply(t, e, line)
		if assert.ErrorContains(t, err, want, line) {
			assert.NotContains(t, err.Error(), "hunter2")
		}
		assert.Empty(t, differences(t, e, debian))
	}
}

// What is printed of a change, and what is written down of it, has no password
// in it, and no hash.
func TestPasswordsAreNotTold(t *testing.T) {
	e := editor(t, debian)
	hash := "$6$salt$" + strings.Repeat("x", 86)
	require.NoError(t, apply(t, e, "root-password password:hunter2", "password me:hash:"+hash))
	list, err := e.Changes(context.Background())
	require.NoError(t, err)
	told, err := json.Marshal(list)
	require.NoError(t, err)
	for _, s := range e.Steps() {
		told = append(told, s.String()...)
	}
	for _, secret := range []string{"hunter2", hash, "$6$"} {
		assert.NotContains(t, string(told), secret)
	}
	assert.Contains(t, string(told), "root-password password:(hidden)")
}

func TestPasswordOfOddFiles(t *testing.T) {
	for _, c := range []struct {
		what string
		more files
		want files
	}{
		{"no shadow at all", files{"/etc/shadow": "", "/etc/passwd": "root:abc:0:0::/root:/bin/sh"}, nil},
		{"not in shadow", files{"/etc/shadow": "bin:*:1::::::\n+:::::::::"}, files{"/etc/shadow": "bin:*:1::::::\nroot:*:19675:0:99999:7:::\n+:::::::::"}},
		{"hash in passwd", files{"/etc/passwd": "root:abc:0:0::/root:/bin/sh\r\n"}, files{"/etc/passwd": "root:x:0:0::/root:/bin/sh\r\n"}},
		{"NIS", files{"/etc/shadow": "+root:x:1\nroot:x:1\n"}, files{"/etc/shadow": "+root:x:1\nroot:*:19675\n"}},
		{"a short line", files{"/etc/shadow": "root:x\n"}, files{"/etc/shadow": "root:*\n"}},
	} {
		before := debian.with(c.more)
		if c.want == nil {
			delete(before, "/etc/shadow")
			c.want = files{"/etc/passwd": "root:*:0:0::/root:/bin/sh"}
		}
		e := editor(t, before)
		require.NoError(t, apply(t, e, "root-password disabled"), c.what)
		diff := differences(t, e, before)
		for name, content := range c.want {
			assert.Equal(t, content, diff[name], c.what)
		}
	}
	for _, name := range []string{"/etc/passwd", "/etc/shadow"} {
		e := editor(t, debian.with(files{name: "->/etc/group"}))
		assert.ErrorContains(t, apply(t, e, "root-password disabled"), name+": is a symbolic link: refused")
	}
	e := editor(t, debian.with(files{"/etc/shadow": "/"}))
	assert.ErrorContains(t, apply(t, e, "root-password disabled"), "directory")
}

// On OpenBSD programs read the databases alone: they hold every account, and
// the new password.
func TestPasswordOnOpenBSD(t *testing.T) {
	testtool.Sequential(t)
	e := editor(t, openbsd)
	require.NoError(t, apply(t, e, "root-password password:hunter2"))
	hash := fieldOf(t, e, "/etc/master.passwd", "root")
	assert.True(t, strings.HasPrefix(hash, "$2b$10$"), hash)
	hasPassword(t, hash, "hunter2")
	diff := differences(t, e, openbsd)
	assert.Len(t, diff, 4)
	assert.Equal(t, "root:*:0:0:Charlie &:/root:/bin/ksh\n_syslogd:*:73:73:Syslog:/var/empty:/sbin/nologin\n", diff["/etc/passwd"])
	for name, want := range map[string]string{"/etc/spwd.db": hash, "/etc/pwd.db": "*"} {
		db, err := berkeley.Open([]byte(diff[name]))
		require.NoError(t, err)
		value, ok, err := db.Get([]byte("1root"))
		require.NoError(t, err)
		assert.True(t, ok && strings.HasPrefix(string(value), "root\x00"+want+"\x00"), "%s: %q", name, value)
		assert.Equal(t, 6, db.Len())
	}
	secret, err := e.Stat(context.Background(), "/etc/spwd.db")
	require.NoError(t, err)
	assert.Equal(t, [3]uint32{0o640, 0, 65}, [3]uint32{uint32(secret.Mode.Perm()), secret.UID, secret.GID})
	public, err := e.Stat(context.Background(), "/etc/pwd.db")
	require.NoError(t, err)
	assert.Equal(t, vfs.Mode(0o644), public.Mode.Perm())

	require.NoError(t, apply(t, e, "password-lock root"))
	assert.Equal(t, "*"+hash, fieldOf(t, e, "/etc/master.passwd", "root"))
	assert.Contains(t, tree(t, e, "/etc")["/etc/spwd.db"], "root\x00*"+hash+"\x00")

	assert.ErrorContains(t, apply(t, e, "root-password hash:$6$a$b"), "OpenBSD takes no hash but bcrypt")
	for name, want := range map[string]string{
		"/etc/master.passwd": "/etc/master.passwd: is a symbolic link: refused", "/etc/spwd.db": "/etc/spwd.db: is a symbolic link: refused",
		"/etc/pwd.db": "/etc/pwd.db: is a symbolic link: refused", "/etc/passwd": "/etc/passwd: is a symbolic link: refused",
	} {
		e := editor(t, openbsd.with(files{name: "->/etc/group"}))
		assert.ErrorContains(t, apply(t, e, "root-password disabled"), want)
	}
	e = editor(t, openbsd.with(files{"/etc/master.passwd": openbsd["/etc/master.passwd"] + "hunter2:broken\n"}))
	err = apply(t, e, "root-password disabled")
	assert.ErrorContains(t, err, "/etc/master.passwd: line 3 has 2 fields instead of 10")
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestPasswordOnFreeBSD(t *testing.T) {
	testtool.Sequential(t)
	e := editor(t, freebsd)
	require.NoError(t, apply(t, e, "root-password password:hunter2"))
	hasPassword(t, fieldOf(t, e, "/etc/master.passwd", "root"), "hunter2")
	diff := differences(t, e, freebsd)
	assert.Len(t, diff, 4)
	assert.True(t, strings.HasPrefix(diff["/etc/passwd"], "# $FreeBSD$\n#\nroot:*:0:0:Charlie"))
	require.NoError(t, apply(t, e, "password-lock root"))
	assert.True(t, strings.HasPrefix(fieldOf(t, e, "/etc/master.passwd", "root"), "*LOCKED*$6$"))
}

// keyOf makes a key with ssh-keygen, and returns the line of its public half.
func keyOf(t *testing.T, args ...string) string {
	t.Helper()
	testtool.Need(t, "ssh-keygen")
	name := filepath.Join(t.TempDir(), "key")
	testtool.Run(t, "ssh-keygen", append([]string{"-q", "-N", "", "-C", "someone@example.net", "-f", name}, args...)...)
	b, err := os.ReadFile(name + ".pub")
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

func TestSSHInject(t *testing.T) {
	ed, ec := keyOf(t, "-t", "ed25519"), keyOf(t, "-t", "ecdsa")
	file := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(file, []byte("# both\n"+ed+"\n\n"+ec+" \n"), 0o600))
	e := editor(t, debian)
	require.NoError(t, apply(t, e, "ssh-inject me:"+ed, "ssh-inject me:file:"+file, "ssh-inject me:string:"+ec+" another comment"))
	assert.Equal(t, files{"/home/me/.ssh/authorized_keys": ed + "\n" + ec + "\n"}, differences(t, e, debian))
	for path, mode := range map[string]vfs.Mode{"/home/me/.ssh": vfs.Dir | 0o700, "/home/me/.ssh/authorized_keys": vfs.Regular | 0o600} {
		attr, err := e.Stat(context.Background(), path)
		require.NoError(t, err)
		assert.Equal(t, mode, attr.Mode, path)
		assert.Equal(t, [2]uint32{1000, 1000}, [2]uint32{attr.UID, attr.GID}, path)
	}
	// OpenSSH reads every line of what was written.
	name := filepath.Join(t.TempDir(), "authorized_keys")
	require.NoError(t, os.WriteFile(name, []byte(tree(t, e, "/home")["/home/me/.ssh/authorized_keys"]), 0o600))
	assert.Equal(t, 2, strings.Count(testtool.Run(t, "ssh-keygen", "-l", "-f", name), "someone@example.net"))

	// A file without a newline at its end, with the key in it behind options.
	before := openbsd.with(files{"/root/.ssh/authorized_keys": `from="10.0.0.1",command="echo \"a b\"" ` + ed + " old"})
	e = editor(t, before)
	require.NoError(t, apply(t, e, "ssh-inject root:"+ed))
	assert.Empty(t, differences(t, e, before))
	require.NoError(t, apply(t, e, "ssh-inject root:"+ec))
	assert.Equal(t, before["/root/.ssh/authorized_keys"]+"\n"+ec+"\n", differences(t, e, before)["/root/.ssh/authorized_keys"])
}

func TestSSHInjectRefuses(t *testing.T) {
	key := keyOf(t, "-t", "ed25519")
	for _, c := range []struct {
		line, want string
		more       files
	}{
		{"ssh-inject me", "has no colon", nil},
		{"ssh-inject me:ssh-ed25519", "no public key", nil},
		{"ssh-inject me:" + key[:40], "cut off", nil},
		{"ssh-inject me:" + strings.Replace(key, "ssh-ed25519", "ssh-rsa", 1), "of another type", nil},
		{"ssh-inject me:-----BEGIN OPENSSH PRIVATE KEY-----", "private key", nil},
		{"ssh-inject me:" + key + "\n" + key, "one line", nil},
		{"ssh-inject me:file:/nonexistent", "no such file", nil},
		{"ssh-inject nobody:" + key, "/etc/passwd has no entry of nobody", nil},
		{"ssh-inject bin:" + key, "the home directory of bin", nil},
		{"ssh-inject me:" + key, ".ssh: is no directory: refused", files{"/home/me/.ssh": "->/etc"}},
		{"ssh-inject me:" + key, "authorized_keys: is a symbolic link: refused", files{"/home/me/.ssh/authorized_keys": "->/etc/shadow"}},
		{"ssh-inject me:" + key, "is no absolute path", files{"/etc/passwd": "me:x:1000:1000::home:/bin/sh\n"}},
	} {
		before := debian.with(c.more)
		e := editor(t, before)
		assert.ErrorContains(t, apply(t, e, c.line), c.want)
		assert.Empty(t, differences(t, e, before))
	}
}

// ssh-keygen and we agree on what is a key.
func TestParseKeyAgainstOpenSSH(t *testing.T) {
	testtool.Need(t, "ssh-keygen")
	for _, args := range [][]string{{"-t", "ed25519"}, {"-t", "ecdsa", "-b", "521"}, {"-t", "rsa", "-b", "1024"}} {
		key := keyOf(t, args...)
		for _, line := range []string{key, "no-pty " + key, `environment="A=b c",no-pty ` + key, key[:len(key)/2], "x" + key, strings.Replace(key, "AAAA", "BBBB", 1)} {
			cmd := exec.Command("ssh-keygen", "-l", "-f", "/dev/stdin")
			cmd.Stdin = strings.NewReader(line + "\n")
			_, err := parseKey(line)
			assert.Equal(t, cmd.Run() == nil, err == nil, "%s: %v", line, err)
		}
	}
}

// What the system would not look at, although it is there, is said.
func TestNotes(t *testing.T) {
	key := keyOf(t, "-t", "ed25519")
	for _, c := range []struct {
		more files
		want []string
	}{
		{nil, nil},
		{files{"/etc/selinux/config": "# x\nSELINUX=permissive\n", "/etc/ssh/sshd_config": "AuthorizedKeysFile .ssh/authorized_keys\n"}, nil},
		{files{"/etc/selinux/config": "SELINUX=enforcing\n", "/.autorelabel": ""}, nil},
		{files{"/etc/selinux/config": "SELINUX=enforcing\n"}, []string{"the system has SELinux, and new files have no label: touch /.autorelabel has them labelled at the first boot"}},
		{files{"/etc/ssh/sshd_config": "# AuthorizedKeysFile x\nauthorizedkeysfile /etc/keys/%u %h/.ssh/other\nAuthorizedKeysFile .ssh/authorized_keys\n"},
			[]string{"/etc/ssh/sshd_config looks for keys in /etc/keys/%u %h/.ssh/other, not in .ssh/authorized_keys"}},
	} {
		e := editor(t, debian.with(c.more))
		var notes []string
		e.opt.Note = func(text string) { notes = append(notes, text) }
		require.NoError(t, apply(t, e, "ssh-inject me:"+key))
		assert.Equal(t, c.want, notes)
	}
}
