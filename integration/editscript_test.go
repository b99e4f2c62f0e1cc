package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// A scriptSubject is a format that a script of edits is run on.
type scriptSubject struct {
	typ    string // of resflash mkfs
	driver string
	size   string
	unix   bool // it has owners, links and devices
	judge  func(t *testing.T, img string)
}

func scriptSubjects() []scriptSubject {
	return []scriptSubject{
		{"ffs2", "ffs", "2M", true, func(t *testing.T, img string) { resflash(t, "check", img) }},
		{"ext4", "ext4", "4M", true, func(t *testing.T, img string) { e2fsck(t, img, []string{}) }},
		{"fat12", "fat", "2M", false, func(t *testing.T, img string) {
			out, err := exec.Command("fsck.fat", "-n", img).CombinedOutput()
			assert.NoErrorf(t, err, "fsck.fat says: %s", out)
		}},
	}
}

// editScript writes a script of at least 60 operations, with what it needs of
// the host, and an image for it, into the working directory.
func editScript(t *testing.T, s scriptSubject) {
	t.Helper()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for i := range 12 {
		write(fmt.Sprintf("start/etc/conf%d", i), strings.Repeat(fmt.Sprintf("option%d = old\n", i), 1+i*20))
		write(fmt.Sprintf("start/var/log/%d.log", i), strings.Repeat("log\n", i*100))
		write(fmt.Sprintf("tree/sub/%d", i), strings.Repeat("tree", i*i*20))
	}
	write("start/home/dir/x", "x")
	write("up", strings.Repeat("uploaded\n", 1000))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 4 {
		body := strings.Repeat("t", 3000*i)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("./tar/%d", i), Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(body))}))
		w.Write([]byte(body))
	}
	require.NoError(t, w.Close())
	write("x.tar", b.String())

	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for i := range 12 {
		add("edit /etc/conf%d:s/old/new ${SITE}/", i)
		add("append-line /etc/conf%d:last", i)
		add("upload up:/home/up%d", i)
		add("write /etc/new%d:<<END\nof ${SITE}\n%d\nEND", i, i)
	}
	add("delete /var/log/[0-5].log")
	add("move /var/log/6.log:/var/six")
	add("move /home/dir:/etc/moved")
	add("mkdir /deep/er/and/deeper")
	add("touch /deep/er/empty")
	add("truncate /var/log/7.log:100")
	add("truncate /var/log/8.log:64K")
	add("copy-in tree:/deep")
	add("tar-in x.tar:/deep")
	add("chmod 0444:/etc/conf1")
	add("write /etc/conf2:all is new")
	add("delete /deep/tree/sub/1*")
	add("include more.script")
	write("more.script", "write /etc/more:of an include\n")
	if s.unix {
		add("chown 5:6:/etc/conf3")
		add("chmod 4755:/home/up1")
		add("link /etc/conf4:/etc/conf4.link")
		add("append-line /etc/conf4.link:through a link")
		add("symlink ../home:/etc/home:/etc/home2")
		add("upload up:/etc/home/through")
		add("mknod 0600:c:5:1:/deep/console")
		add("symlink new:/etc/conf5")
	}
	require.GreaterOrEqual(t, len(lines), 60)
	write("s.script", strings.Join(lines, "\n")+"\n")
	resflash(t, "mkfs", "--type", s.typ, "--size", s.size, "--seed", "1", "--from", "start", "old.img")
}

const scriptEpoch = 1_700_000_000

// editReport is what "edit --json" prints.
type editReport struct {
	DryRun bool
	Images []struct {
		Image   string
		Changes []customize.Change
	}
}

func reportOf(t *testing.T, text string) editReport {
	var r editReport
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	require.Len(t, r.Images, 1)
	return r
}

// A script of 60 operations: a dry run says what will happen, it happens, the
// checkers of others find nothing, and a second run on an equal image gives
// equal bytes.
func TestScriptOfEdits(t *testing.T) {
	testtool.Need(t, "e2fsck", "fsck.fat")
	for _, s := range scriptSubjects() {
		t.Run(s.typ, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("SOURCE_DATE_EPOCH", fmt.Sprint(scriptEpoch))
			editScript(t, s)
			old, err := os.ReadFile("old.img")
			require.NoError(t, err)
			args := []string{"-f", "s.script", "--set", "SITE=vienna"}

			dry := reportOf(t, resflash(t, append([]string{"edit", "--dry-run", "--json", "old.img"}, args...)...))
			now, err := os.ReadFile("old.img")
			require.NoError(t, err)
			assert.True(t, bytes.Equal(old, now), "a dry run writes nothing")

			before := exported(t, "old.img")
			require.NoError(t, os.WriteFile("new.img", old, 0o644))
			wet := reportOf(t, resflash(t, append([]string{"edit", "--json", "--manifest", "m.json", "new.img"}, args...)...))
			assert.Equal(t, dry.Images[0].Changes, wet.Images[0].Changes)
			kept, err := os.ReadFile("m.json")
			require.NoError(t, err)
			assert.Equal(t, wet, reportOf(t, string(kept)))
			s.judge(t, "new.img")
			changesAgree(t, before, exported(t, "new.img"), wet.Images[0].Changes)

			// Once more, beside the original.
			resflash(t, append([]string{"edit", "-o", "again.img", "old.img"}, args...)...)
			one, err := os.ReadFile("new.img")
			require.NoError(t, err)
			two, err := os.ReadFile("again.img")
			require.NoError(t, err)
			assert.True(t, bytes.Equal(one, two), "the same script on equal images gives equal bytes")
		})
	}
}

// changesAgree compares what was said to change with what has, but for the
// directories that names were made in and taken from.
func changesAgree(t *testing.T, before, after manifest.Manifest, said []customize.Change) {
	t.Helper()
	a, b := before.Map(), after.Map()
	want := map[string]string{}
	for path, e := range a {
		f, ok := b[path]
		switch {
		case !ok:
			want["/"+path] = "remove"
		case e.Type != 'd' && (e.Type != f.Type || e.Sum != f.Sum || e.Target != f.Target || e.Mode != f.Mode || e.UID != f.UID || e.GID != f.GID || e.Sec != f.Sec):
			want["/"+path] = "change"
		}
	}
	for path := range b {
		if _, ok := a[path]; !ok {
			want["/"+path] = "create"
		}
	}
	got := map[string]string{}
	for _, c := range said {
		got[c.Path] = c.Action
		path := strings.TrimPrefix(c.Path, "/")
		if c.Before != nil && c.Before.Type == "file" {
			assert.Equal(t, a[path].Sum, c.Before.SHA256, c.Path)
		}
		if c.After != nil && c.After.Type == "file" {
			assert.Equal(t, b[path].Sum, c.After.SHA256, c.Path)
			assert.Equal(t, b[path].Size, c.After.Size, c.Path)
		}
	}
	assert.Equal(t, want, got)
}

// A script that is cut off at any write, by a kill or with the power, leaves
// the old tree or the new one, and no damage.
func TestScriptOfEditsIsOneChange(t *testing.T) {
	for _, s := range scriptSubjects() {
		t.Run(s.typ, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("SOURCE_DATE_EPOCH", fmt.Sprint(scriptEpoch))
			editScript(t, s)
			data, err := os.ReadFile("old.img")
			require.NoError(t, err)
			start := blockiotest.DiskOf(data)
			driver := driverOf(s.driver)
			script, err := os.Open("s.script")
			require.NoError(t, err)
			defer script.Close()
			steps, err := customize.ReadScript("s.script", script, map[string]string{"SITE": "vienna"})
			require.NoError(t, err)

			// What the new tree is, is told without any cut.
			run := func(tx blockio.Transaction) {
				fsys, err := driver.OpenWritable(context.Background(), tx)
				require.NoError(t, err)
				epoch := time.Unix(scriptEpoch, 0)
				e, err := customize.OnFS(fsys, customize.Options{Epoch: &epoch})
				require.NoError(t, err)
				require.NoError(t, e.Apply(context.Background(), steps))
			}
			quiet := start.Clone()
			session := blockio.NewSession(quiet, blockio.SessionOptions{Atomic: true})
			run(session)
			require.NoError(t, session.Commit(context.Background()))
			require.NoError(t, session.Close())
			oldTree, err := treeText(driver, start)
			require.NoError(t, err)
			newTree, err := treeText(driver, quiet)
			require.NoError(t, err)
			require.NotEqual(t, oldTree, newTree)

			distinct := 0
			holds := func(want string) func(dev blockio.Device) error {
				return func(dev blockio.Device) error {
					distinct++
					text, err := treeText(driver, dev)
					if err == nil && text != want {
						err = errors.New("is another tree")
					}
					return err
				}
			}
			old, changed := outcomes(t, start, 5, run, holds(oldTree), holds(newTree))
			t.Logf("%d operations; %d cuts left the old tree, %d the new one; looked at %d images", len(steps), old, changed, distinct)
			assert.Positive(t, old)
			assert.Positive(t, changed)
		})
	}
}

func sumOf(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// treeText is everything in a file system, as text; that it is damaged is an
// error.
func treeText(driver *vfs.Driver, dev blockio.Device) (string, error) {
	ctx := context.Background()
	var found []error
	if err := driver.Check(ctx, dev, func(f vfs.Finding) { found = append(found, errors.New(f.String())) }); err != nil {
		return "", err
	}
	if len(found) > 0 {
		return "", fmt.Errorf("the checker finds: %w", errors.Join(found...))
	}
	fsys, err := driver.Open(ctx, dev)
	if err != nil {
		return "", err
	}
	defer fsys.Close()
	tree := vfs.NewTree(fsys)
	var lines []string
	err = tree.Walk(ctx, "/", func(path string, a vfs.Attr, err error) error {
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%q %v %d %d:%d %d %v %d", path, a.Mode, a.Nlink, a.UID, a.GID, a.Flags, a.Rdev, a.Mtime.Unix())
		switch {
		case a.Mode.IsRegular():
			b := make([]byte, a.Size)
			if _, err := tree.Reader(ctx, a).ReadAt(b, 0); err != nil && a.Size > 0 {
				return err
			}
			line += " " + sumOf(b)
		case a.Mode.IsSymlink():
			target, err := fsys.Readlink(ctx, a.Ino)
			if err != nil {
				return err
			}
			line += " " + target
		}
		lines = append(lines, line)
		return nil
	})
	sort.Strings(lines)
	return strings.Join(lines, "\n"), err
}
