package customize

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/passwd/berkeley"
	"github.com/resflash/resflash/image/passwd/crypt"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// resflash makes an image in the resflash layout, in which edit may change
// files, and returns its name.
func resflash(t *testing.T, edit func(volume string, tree testimage.Tree)) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "resflash.img")
	require.NoError(t, testimage.Resflash(name, testimage.Options{SizeMB: 96, FillE: true, Seed: 7, Edit: edit}))
	return name
}

// editImage applies operations to the system in a volume of an image, commits,
// and returns the editor of the result.
func editImage(t *testing.T, name, volume string, lines ...string) *Editor {
	t.Helper()
	ctx := context.Background()
	epoch := time.Unix(1700000000, 0)
	d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true})
	require.NoError(t, err)
	e, err := New(ctx, d, Options{Volume: volume, Epoch: &epoch, Record: true})
	require.NoError(t, err)
	require.NoError(t, apply(t, e, lines...))
	require.NoError(t, d.Commit(ctx))
	require.NoError(t, d.Close())
	return reopened(t, name, volume)
}

func reopened(t *testing.T, name, volume string) *Editor {
	t.Helper()
	ctx := context.Background()
	d, err := image.Open(ctx, name)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	e, err := New(ctx, d, Options{Volume: volume})
	require.NoError(t, err)
	return e
}

func read(t *testing.T, e *Editor, path string) string {
	t.Helper()
	b, err := e.ReadFile(context.Background(), path, MaxText)
	require.NoError(t, err)
	return string(b)
}

func absent(t *testing.T, e *Editor, paths ...string) {
	t.Helper()
	for _, path := range paths {
		_, err := e.Lstat(context.Background(), path)
		assert.True(t, missing(err), path)
	}
}

// resflash lays /cfg/etc over /etc at every boot: a password that set_root_pass
// has saved there goes before that of the slot, so that it has to be changed in
// both.
func TestPasswordInTheOverlayOfResflash(t *testing.T) {
	testtool.Sequential(t)
	saved := "root:$2b$10$" + strings.Repeat("s", 53) + ":0:0:daemon:0:0:Charlie &:/root:/bin/ksh\nadmin:*:1000:1000::0:0:Added later:/home/admin:/bin/ksh\nlater:*:1001:1001::0:0:Added later:/:/bin/ksh\n"
	name := resflash(t, func(volume string, tree testimage.Tree) {
		if volume == "f" {
			tree.Text("etc/master.passwd", 0o600, strings.Split(strings.TrimSuffix(saved, "\n"), "\n")...)
			tree.Text("etc/spwd.db", 0o640, "of an old day")
		}
	})
	e := editImage(t, name, "", "root-password password:hunter2")
	hash := fieldOf(t, e, "cfg:/etc/master.passwd", "root")
	match, known := crypt.Verify(hash, "hunter2")
	assert.True(t, match && known)
	assert.Equal(t, hash, fieldOf(t, e, "/etc/master.passwd", "root"))
	assert.Equal(t, strings.Replace(saved, "$2b$10$"+strings.Repeat("s", 53), hash, 1), read(t, e, "cfg:/etc/master.passwd"))
	for dir, accounts := range map[string]int{"/etc": 12, "cfg:/etc": 3} {
		for _, file := range []string{"spwd.db", "pwd.db"} {
			db, err := berkeley.Open([]byte(read(t, e, dir+"/"+file)))
			require.NoError(t, err, dir)
			assert.Equal(t, 3*accounts, db.Len(), "%s/%s", dir, file)
			value, ok, err := db.Get([]byte("1root"))
			require.NoError(t, err)
			assert.Equal(t, file == "spwd.db", ok && strings.Contains(string(value), hash), "%s/%s", dir, file)
		}
	}
	// The library of the system reads from the image what master.passwd has.
	for _, dir := range []string{"/etc", "cfg:/etc"} {
		db := hostScript(t, "spwd.db", read(t, e, dir+"/spwd.db"))
		var lines []string
		for line := range strings.Lines(read(t, e, dir+"/master.passwd")) {
			lines = append(lines, strings.TrimSuffix(line, "\n")+" 0\n")
		}
		testtool.Need(t, "/usr/bin/python3", "db_dump185")
		assert.Equal(t, strings.Join(lines, ""), testtool.Run(t, "/usr/bin/python3", "../passwd/testdata/db185.py", "getpw", db))
	}
	assert.NotEqual(t, hash, fieldOf(t, reopened(t, name, "e"), "/etc/master.passwd", "root"), "the other slot is another system")
}

func TestPasswordWithoutTheOverlayOfResflash(t *testing.T) {
	testtool.Sequential(t)
	name := resflash(t, nil)
	e := editImage(t, name, "e", "root-password password:hunter2", "hostname fw1", "enable sshd")
	absent(t, e, "cfg:/etc/master.passwd", "cfg:/etc/spwd.db", "cfg:/etc/pwd.db", "cfg:/etc/passwd")
	assert.Equal(t, "fw1\n", read(t, e, "/etc/myname"))
	match, known := crypt.Verify(fieldOf(t, e, "/etc/master.passwd", "root"), "hunter2")
	assert.True(t, match && known)
}

func TestOverlayWithoutMasterPasswd(t *testing.T) {
	name := resflash(t, func(volume string, tree testimage.Tree) {
		if volume == "f" {
			tree.Text("etc/spwd.db", 0o640, "alone")
		}
	})
	ctx := context.Background()
	d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true, DryRun: true})
	require.NoError(t, err)
	defer d.Close()
	e, err := New(ctx, d, Options{})
	require.NoError(t, err)
	assert.ErrorContains(t, apply(t, e, "root-password disabled"), "cfg:/etc/spwd.db goes before that of /etc, and there is no master.passwd beside it")
}

func TestSettingsInTheOverlayOfResflash(t *testing.T) {
	name := resflash(t, func(volume string, tree testimage.Tree) {
		if volume == "f" {
			tree.Text("etc/myname", 0o644, "saved.example.net")
			tree.Text("etc/rc.conf.local", 0o644, "sshd_flags=NO")
		}
	})
	e := editImage(t, name, "", "hostname fw1", "enable sshd", "firstboot "+hostScript(t, "one", "true\n"))
	for _, path := range []string{"/etc/myname", "cfg:/etc/myname"} {
		assert.Equal(t, "fw1\n", read(t, e, path))
	}
	assert.Equal(t, "resolvd_flags=NO\nsmtpd_flags=NO\n", read(t, e, "/etc/rc.conf.local"), "it was not off there")
	assert.Equal(t, "", read(t, e, "cfg:/etc/rc.conf.local"))
	// What /etc/rc removes from a copy in memory is back at the next boot.
	absent(t, e, "/etc/rc.firsttime", "/etc/firstboot")
	assert.Contains(t, read(t, e, "cfg:/etc/rc.firsttime"), "mount /cfg && rm -rf /cfg/etc/rc.firsttime /cfg/etc/firstboot && umount /cfg\n")
	assert.Equal(t, "true\n", read(t, e, "cfg:/etc/firstboot/001-one"))
}
