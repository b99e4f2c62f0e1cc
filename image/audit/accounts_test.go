package audit

import (
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/resflash/resflash/image/passwd"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/integration/testtool"
)

// openssl passwd -6 -salt HUNTER2 toor
const sha512toor = "$6$HUNTER2$H6C.Wxh1BKf0L9isOyqRUBc3WKPPEX2a89B7qH07oDsdODAYh62fvumESyFrWL2evEmL2x68aF6Th2nNDQ0t60"

const goodPasswd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n"

// shadow is a tree with a hash for root.
func shadow(hash string) files {
	return files{"/etc/passwd": text(goodPasswd), "/etc/shadow": private("root:" + hash + ":1::::::\ndaemon:*:1::::::\n")}
}

var _ = addSamples(Linux,
	sample{rules: "password-empty", bad: shadow(""), good: shadow("!")},
	sample{rules: "password-set password-unverified", bad: shadow("$y$j9T$HUNTER2$HUNTER2"), good: shadow("!$y$j9T$HUNTER2$HUNTER2")},
	sample{rules: "password-weak-hash", bad: shadow("$1$HUNTER2$xxxxxxxxxxxxxxxxxxxxxx"), good: shadow("$6$a$HUNTER2")},
	sample{rules: "password-default", bad: shadow(sha512toor), good: shadow("$6$HUNTER2$" + strings.Repeat("a", 86))},
	sample{
		rules: "passwd-odd",
		bad:   files{"/etc/passwd": text(goodPasswd + "toor2:x:0:0::/:/bin/sh\ngone:x:33:33::/:/bin/false\n"), "/etc/shadow": private("root:*:1::::::\ndaemon:*:1::::::\n")},
		good:  shadow("*"),
		at:    "/etc/passwd",
	},
	sample{
		rules: "human-account",
		bad:   files{"/etc/passwd": text(goodPasswd + "me:x:1000:1000::/home/me:/bin/zsh\n")},
		good:  files{"/etc/passwd": text(goodPasswd + "svc:x:1000:1000::/:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/sh\n")},
	},
	sample{rules: "passwd-backup", bad: files{"/etc/shadow-": private("root:HUNTER2:1::::::\n")}, good: files{"/etc/shadow-": private("")}},
	sample{
		rules: "privilege-nopasswd",
		bad:   files{"/etc/sudoers.d/packer": private("packer ALL=(ALL) NOPASSWD: ALL\n"), "/etc/doas.conf": text("permit nopass :wheel\n")},
		good:  files{"/etc/sudoers": private("# %wheel ALL=(ALL) NOPASSWD: ALL\n"), "/etc/doas.conf": text("permit persist :wheel\n")},
	},
	sample{
		rules: "autologin",
		bad: files{
			"/etc/systemd/system/getty@tty1.service.d/a.conf": text("[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root %I\n"),
			"/etc/lightdm/lightdm.conf":                       text("[Seat:*]\nautologin-user=me\n"),
		},
		good: files{"/etc/systemd/system/getty@tty1.service.d/a.conf": text("ExecStart=-/sbin/agetty %I\n"), "/etc/lightdm/lightdm.conf": text("#autologin-user=\n")},
	},
)

var _ = addSamples(OpenBSD,
	sample{
		rules: "resflash-root-password",
		bad:   master(bcryptOf("resflash20241009")).with(files{"/resflash/BUILD": text("version: 7.6.0\nbuild date: 2024-10-09 12:00:00\n")}),
		good:  master(bcryptOf("resflash20191009")).with(files{"/resflash/BUILD": text("version: 7.6.0\nbuild date: 2024-10-09 12:00:00\n")}),
	},
	sample{rules: "password-empty", bad: master(""), good: master("*************")},
)

func master(hash string) files {
	return files{"/etc/master.passwd": private("root:" + hash + ":0:0:daemon:0:0:Charlie &:/root:/bin/ksh\n")}
}

// database is the spwd.db of that file.
func database(hash string) thing {
	db, err := passwd.OpenBSD([]byte(master(hash)["/etc/master.passwd"].text), binary.LittleEndian)
	if err != nil {
		panic(err)
	}
	return private(string(db.Secret))
}

func bcryptOf(password string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return strings.Replace(string(hash), "$2a$", "$2b$", 1)
}

// No form of a locked account is a password, on any system.
func TestLockedAccounts(t *testing.T) {
	for _, hash := range strings.Fields("* ! !! !* !$6$a$b x !unprovisioned ************* *LOCKED* *NP* *LK*") {
		r := audit(t, one(t, shadow(hash).build()), Options{Only: []string{"accounts"}})
		assert.Empty(t, found(r, "password-empty"), hash)
		assert.Empty(t, found(r, "password-set"), hash)
		assert.Empty(t, found(r, "password-unverified"), hash)
	}
}

// The date may be said by the build, by the name of the image or by the files,
// and be off by a few days.
func TestResflashDate(t *testing.T) {
	for name, c := range map[string]struct {
		image, password string
		profile         Profile
		want            bool
	}{
		"build date":       {"x.img", "resflash20241009", Golden, true},
		"build, quick":     {"x.img", "resflash20241009", Quick, true},
		"two days off":     {"x.img", "resflash20241011", Golden, true},
		"too far":          {"x.img", "resflash20241019", Golden, false},
		"name":             {"/tmp/resflash-20230102.img", "resflash20230102", Quick, true},
		"date of a file":   {"x.img", "resflash20010203", Golden, true}, // that of memfs
		"another password": {"x.img", "hunter2", Golden, false},
	} {
		target := one(t, systemFiles[OpenBSD].with(master(bcryptOf(c.password))).with(files{"/resflash/BUILD": text("build date: 2024-10-09\n")}).build())
		target.Name = c.image
		r := audit(t, target, Options{Profile: c.profile, Only: []string{"resflash-root-password"}})
		assert.Equal(t, c.want, len(r.Findings) == 1, name)
	}
}

// Users that the policy names may be there.
func TestAllowedUsers(t *testing.T) {
	f := files{"/etc/passwd": text(goodPasswd + "op:$6$a$b:1000:1000::/home/op:/bin/sh\n")}
	opt := Options{Only: words("human-account password-set")}
	assert.Len(t, audit(t, one(t, f.build()), opt).Findings, 2)
	opt.Policy = &Policy{Users: []string{"op"}}
	assert.Empty(t, audit(t, one(t, f.build()), opt).Findings)
}

// The default password in a hash that openssl has made is found.
func TestDefaultPassword(t *testing.T) {
	testtool.Need(t, "openssl")
	out, err := exec.Command("openssl", "passwd", "-6", "vagrant").Output()
	require.NoError(t, err)
	r := audit(t, one(t, shadow(strings.TrimSpace(string(out))).build()), Options{})
	assert.Equal(t, []string{"/etc/shadow"}, found(r, "password-default"))
	assert.Equal(t, image.RoleRoot, r.Findings[0].Role)
}

// The databases are what counts: an account that only they have is a way in
// that nobody sees, and one that is locked in the file alone is not locked.
func TestPasswordDatabases(t *testing.T) {
	const line = ":daemon:0:0::/root:/bin/ksh\n"
	made := func(text string) *passwd.Databases {
		db, err := passwd.OpenBSD([]byte(text), binary.LittleEndian)
		require.NoError(t, err)
		return db
	}
	hash := bcryptOf("x")
	for _, c := range []struct {
		what, file, db string
		want           []string
	}{
		{"the same", "root:" + hash + ":0:0" + line, "root:" + hash + ":0:0" + line, nil},
		{"locked in two ways", "root:*:0:0" + line, "root:*************:0:0" + line, nil},
		{"locked in the file", "root:*:0:0" + line, "root:" + hash + ":0:0" + line, []string{"spwd.db has another password for root"}},
		{"none in the database", "root:*:0:0" + line, "root::0:0" + line, []string{"spwd.db has another password for root"}},
		{"not in the database", "root:*:0:0" + line + "a:*:1:1" + line, "root:*:0:0" + line, []string{"a is not in spwd.db"}},
		{"only in the database", "root:*:0:0" + line, "root:*:0:0" + line + "a:*:0:0" + line, []string{"a is in spwd.db and not in master.passwd"}},
	} {
		target := one(t, systemFiles[OpenBSD].with(files{"/etc/master.passwd": private(c.file), "/etc/spwd.db": private(string(made(c.db).Secret))}).build())
		var got []string
		for _, f := range audit(t, target, Options{Only: []string{"obsd-passwd-db"}}).Findings {
			got = append(got, f.Message)
		}
		assert.Equal(t, c.want, got, c.what)
	}
}
