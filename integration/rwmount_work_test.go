package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// The programs of daily work, run by an ordinary user on an image of theirs that
// they have mounted. After each the image is unmounted, checked, and compared
// with what went in, by mounting it anew.
func TestWorkOnAMount(t *testing.T) {
	testtool.Need(t, "fusermount3", "tar", "git", "sqlite3", "rsync")
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			w := newWorkshop(t, format)
			t.Run("tar", w.tar)
			t.Run("git", w.git)
			t.Run("sqlite", w.sqlite)
			t.Run("rsync", w.rsync)
			t.Run("rm", w.rm)
		})
	}
}

// A workshop is an image of an ordinary user, and where it is mounted.
type workshop struct {
	format     writableFormat
	image, dir string // dir is everybody's
	mnt, home  string
	files      uint64 // free in the empty file system
	space      uint64
}

func newWorkshop(t *testing.T, format writableFormat) *workshop {
	t.Helper()
	needFUSE(t)
	dir := openToAll(t)
	w := &workshop{
		format: format, dir: dir, image: filepath.Join(dir, format.name+".img"),
		mnt: filepath.Join(dir, "mnt"), home: filepath.Join(dir, "home"),
	}
	for _, d := range []string{w.mnt, w.home} {
		require.NoError(t, os.Mkdir(d, 0o755))
	}
	format.make(t, w.image, "512M")
	if asRoot {
		for _, name := range []string{w.image, w.mnt, w.home} {
			require.NoError(t, os.Chown(name, nobody, nobody))
		}
		// Where udev did not set it up, as in a container.
		if fi, err := os.Stat("/dev/fuse"); err == nil && fi.Mode()&0o006 != 0o006 {
			require.NoError(t, os.Chmod("/dev/fuse", 0o666))
			t.Cleanup(func() { os.Chmod("/dev/fuse", fi.Mode().Perm()) })
		}
	}
	w.session(t, func() { w.files, w.space = w.free(t) })
	return w
}

// run runs a program as the user, with the mount point as its directory, and
// returns what it says.
func (w *workshop) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	start := time.Now()
	cmd := exec.Command(name, args...)
	if asRoot {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	cmd.Dir = w.home
	cmd.Env = append(os.Environ(), "HOME="+w.home, "GIT_CONFIG_NOSYSTEM=1", "MNT="+w.mnt, "TMPDIR="+w.home)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %.5000s", name, strings.Join(args, " "), out)
	if took := time.Since(start); took > time.Second {
		t.Logf("%s: %.1f s", filepath.Base(name), took.Seconds())
	}
	return string(out)
}

func (w *workshop) script(t *testing.T, lines string) string {
	t.Helper()
	return w.run(t, "sh", "-euc", lines)
}

// session mounts the image, calls fn, and unmounts; then the image must be
// clean.
func (w *workshop) session(t *testing.T, fn func()) {
	t.Helper()
	w.run(t, program, "mount", "--quiet", w.image, w.mnt)
	defer func() {
		t.Helper()
		if t.Failed() {
			_ = unix.Unmount(w.mnt, unix.MNT_DETACH)
			return
		}
		w.run(t, program, "umount", w.mnt)
		mustBeClean(t, w.image)
	}()
	fn()
}

// free returns how many files and blocks are free, as the user sees it.
func (w *workshop) free(t *testing.T) (files, blocks uint64) {
	t.Helper()
	_, err := fmt.Sscan(w.run(t, "stat", "-f", "-c", "%d %f", w.mnt), &files, &blocks)
	require.NoError(t, err)
	return files, blocks
}

// holds compares the directory name of the image, mounted anew, with one of the
// host. Owners are those of the image.
func (w *workshop) holds(t *testing.T, name, want string) {
	t.Helper()
	dir, end := mountForWriting(t, w.image, "--read-only")
	defer end()
	a, b := manifest.ReadDir(want, manifest.Options{}), manifest.ReadDir(filepath.Join(dir, name), manifest.Options{})
	require.Empty(t, a.Errors())
	require.Empty(t, b.Errors())
	diff := manifest.Diff(a, b, w.fields(), 20)
	assert.Empty(t, diff, "%d files", len(a))
}

// fields are what of a file the format keeps.
func (w *workshop) fields() manifest.Fields {
	if w.format.opt.Plain {
		return manifest.Size | manifest.Mtime2 | manifest.Sum
	}
	return manifest.All &^ manifest.Owner
}

// source is a large tree of source code: the whole of Go's, or a part.
func (w *workshop) source(t *testing.T) (root string, parts []string) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	root = filepath.Join(strings.TrimSpace(string(out)), "src")
	if fi, err := os.Stat(root); err != nil || !fi.IsDir() {
		testtool.Missing(t, "the Go source is not installed in %s", root)
	}
	if w.format.name == "ffs2" || w.format.name == "ext4" {
		return root, []string{"."}
	}
	return root, []string{"cmd/compile", "runtime", "net"}
}

func (w *workshop) tar(t *testing.T) {
	root, parts := w.source(t)
	w.session(t, func() {
		w.script(t, fmt.Sprintf(`mkdir "$MNT/go"; tar -C %s -cf - %s | tar -C "$MNT/go" -xpf -`, root, strings.Join(parts, " ")))
	})
	for _, part := range parts {
		w.holds(t, filepath.Join("go", part), filepath.Join(root, part))
	}
}

func (w *workshop) git(t *testing.T) {
	origin := filepath.Join(w.home, "origin")
	w.script(t, `
git config --global user.name test; git config --global user.email test@example.org
git config --global init.defaultBranch main; git config --global protocol.file.allow always
git config --global safe.directory '*' # what is made in the image belongs to root
git init -q origin; cd origin
for d in a b c d e f; do
	mkdir -p $d/sub
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		seq $n$n 1 $((n * 300)) > $d/$n; seq $n > $d/sub/$n.txt
	done
done
chmod +x a/1; ln -s ../a/1 b/link
git add .; git commit -qm first
git checkout -qb side; git mv a moved; echo changed >> moved/7; git rm -q b/3; git commit -qam second
git checkout -q main; echo other >> c/5; git commit -qam third; git merge -q -m merged side`)
	w.session(t, func() {
		w.script(t, `
git clone -q "file://$PWD/origin" "$MNT/clone"; cd "$MNT/clone"
git checkout -q origin/side; git checkout -q main; git fsck --full --strict
test -z "$(git status --porcelain)"
git repack -adq; git gc -q; git fsck --full --strict
git checkout -qb mine; echo mine > mine; git add mine; git commit -qm mine; git checkout -q main
git stash list; git worktree add -q ../side side; cd ../side; test -z "$(git status --porcelain)"`)
	})
	w.session(t, func() {
		w.script(t, `cd "$MNT/clone"; git fsck --full --strict; test -z "$(git status --porcelain)"; git diff --quiet origin/main`)
		for _, name := range []string{"moved/7", "c/5", "d/sub/20.txt"} {
			want, err := os.ReadFile(filepath.Join(origin, name))
			require.NoError(t, err)
			assert.Equal(t, string(want), w.run(t, "cat", filepath.Join(w.mnt, "clone", name)))
		}
	})
}

func (w *workshop) sqlite(t *testing.T) {
	for _, journal := range []string{"delete", "wal", "truncate"} {
		w.session(t, func() {
			out := w.run(t, "sqlite3", filepath.Join(w.mnt, journal+".db"), `
pragma journal_mode=`+journal+`;
create table t(id integer primary key, name text, data blob);
create index names on t(name);
begin;
with recursive n(i) as (select 1 union all select i+1 from n where i < 20000)
	insert into t select i, 'name ' || (i * 7919 % 20011), randomblob(i % 300) from n;
commit;
delete from t where id % 3 = 0;
update t set data = zeroblob(1000) where id % 100 = 1;
vacuum;
insert into t(name) values ('one'), ('two');
pragma integrity_check;`)
			assert.True(t, strings.HasSuffix(out, "\nok\n"), "%s", out)
		})
		w.session(t, func() {
			out := w.run(t, "sqlite3", filepath.Join(w.mnt, journal+".db"), `
pragma integrity_check; pragma foreign_key_check; select count(*) from t; select count(*) from t where name = 'two';`)
			assert.Equal(t, "ok\n13336\n1\n", out)
		})
	}
}

func (w *workshop) rsync(t *testing.T) {
	w.script(t, `
mkdir -p tree/deep/er/still "tree/odd name"; cd tree
echo text > file; ln file deep/hard; ln file "odd name/harder"; ln -s ../file deep/soft; ln -s /nowhere dangling
mkfifo fifo; chmod 0600 fifo; echo secret > private; chmod 0400 private; chmod 0711 deep; printf x > setuid; chmod 4755 setuid
truncate -s 20M sparse; printf middle | dd of=sparse bs=1 seek=10000000 conv=notrunc 2>/dev/null
head -c 3000000 /dev/urandom > random; : > empty
for i in $(seq 300); do echo $i > "deep/er/still/file number $i"; done
find . -exec touch -h -d '2020-02-03 04:05:06.789012345' {} + # else rsync may find the time of now good enough
touch -d '1999-12-31 23:59:59.123456789' file; touch -h -d '2030-01-02 03:04:05.5' dangling; touch -d '1971-01-01' deep/er`)
	tree := filepath.Join(w.home, "tree")
	if w.format.opt.Plain {
		w.session(t, func() {
			w.script(t, `find tree ! -type f ! -type d -delete; chmod -R u+rw tree
touch -d '1999-12-31 23:59:58' tree/file; touch -d '1981-01-01' tree/deep/er
rsync -rt tree/ "$MNT/tree/"`)
			assert.Empty(t, w.script(t, `rsync -rt --modify-window=1 --checksum --itemize-changes --dry-run tree/ "$MNT/tree/"`))
		})
		w.holds(t, "tree", tree)
		return
	}
	w.session(t, func() {
		w.script(t, `rsync -aHAX --sparse tree/ "$MNT/tree/"`)
		assert.Empty(t, w.script(t, `rsync -aHAX --checksum --itemize-changes --dry-run --omit-dir-times tree/ "$MNT/tree/" | grep -v '^\.[fdLS]\.\.\.\.\.\.\?g' || true`))
		w.script(t, `rsync -aHAX --sparse "$MNT/tree/" back/`)
		assert.Less(t, w.blocks(t, "tree/sparse"), int64(1000), "the holes stay holes")
	})
	w.holds(t, "tree", tree)
	a := manifest.ReadDir(tree, manifest.Options{})
	b := manifest.ReadDir(filepath.Join(w.home, "back"), manifest.Options{})
	assert.Empty(t, manifest.Diff(a, b, manifest.All&^manifest.Owner, 20))
}

func (w *workshop) blocks(t *testing.T, name string) (n int64) {
	t.Helper()
	_, err := fmt.Sscan(w.run(t, "stat", "-c", "%b", filepath.Join(w.mnt, name)), &n)
	require.NoError(t, err)
	return n
}

func (w *workshop) rm(t *testing.T) {
	w.session(t, func() {
		w.script(t, `chmod -R u+w "$MNT"; find "$MNT" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +; ls -A "$MNT" | { ! grep -vx lost+found; }`)
	})
	w.session(t, func() {
		files, space := w.free(t)
		assert.Equal(t, w.files, files)
		// The root directory has grown, and directories do not shrink.
		assert.InDelta(t, w.space, space, 64)
	})
}
