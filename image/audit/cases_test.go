package audit

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// The cases that every rule must have had when all tests are through: it is
// found where it is broken, not where it is not, and what it looks at has been
// made into everything odd.
const (
	positive  = "positive"
	negative  = "negative"
	asSymlink = "symlink"
	asDir     = "directory"
	unread    = "unreadable"
	asSparse  = "4 GiB sparse"
	notUTF8   = "bad UTF-8"
)

// ofVolumes are rules that look at no file, which could be of another type.
var ofVolumes = words("fs-dirty fs-mount-trace luks-volume-key swap-content free-space-secret free-space-data slack-secret fs-journal-remnant fs-uuid-shared container-remnant")

// done are the cases that each rule has had.
var done = struct {
	sync.Mutex
	cases map[string]map[string]bool
}{cases: map[string]map[string]bool{}}

// had records that a rule has had a case. Call it behind the assertions.
func had(t testing.TB, rules, of string) {
	t.Helper()
	done.Lock()
	defer done.Unlock()
	for _, rule := range words(rules) {
		require.True(t, slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.ID == rule }), rule)
		if done.cases[rule] == nil {
			done.cases[rule] = map[string]bool{}
		}
		done.cases[rule][of] = true
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	all := !testing.Short() // which leaves out hostile cases
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		all = all && flag.Lookup(name).Value.String() == ""
	}
	if code == 0 && all {
		code = missingCases()
	}
	os.Exit(code)
}

// missingCases says which rules lack which cases, after all tests.
func missingCases() (code int) {
	for _, r := range Rules() {
		for _, c := range []string{positive, negative, asSymlink, asDir, unread, asSparse, notUTF8} {
			if (c == asSymlink || c == asDir) && slices.Contains(ofVolumes, r.ID) {
				continue
			}
			if !done.cases[r.ID][c] {
				fmt.Printf("rule %s has no %s case\n", r.ID, c)
				code = 1
			}
		}
	}
	return code
}

// odds are what a file may be made into.
var odds = map[string]thing{
	asSymlink: symlink("../../../../../../etc/shadow"), asDir: dir(0o755), asSparse: sparse(4 << 30),
	notUTF8: text("\xff\xfe\x80\n:::::\xc3\x28=\xff\n[\x00\x01"),
}

// unreadable is a file system of which some files cannot be read.
type unreadable struct {
	vfs.FS
	broken map[vfs.Ino]bool
}

func (u *unreadable) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if u.broken[ino] {
		return 0, vfs.Corruptf(4096, "inode", "damaged for a test")
	}
	return u.FS.ReadAt(ctx, ino, p, off)
}

// withFiles is a tree of a sample, of which some files cannot be read.
func withFiles(t testing.TB, f files, broken ...string) *vfs.Tree {
	fsys := f.build()
	u := &unreadable{fsys, map[vfs.Ino]bool{}}
	for _, name := range broken {
		attr, err := vfs.NewTree(fsys).ResolveLink(context.Background(), name)
		require.NoError(t, err)
		u.broken[attr.Ino] = true
	}
	return vfs.NewTree(u)
}

// Rules about the volumes of a disk, and what is in their files: whatever these
// are, an audit ends soon, and what it could not read is not called good.
func TestHostileOnDisk(t *testing.T) {
	testtool.Sequential(t)
	name := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, testimage.Resflash(name, testimage.Options{SizeMB: 96, Seed: 7}))
	d, err := image.Open(context.Background(), name)
	require.NoError(t, err)
	defer d.Close()
	quick := Options{Skip: words("free password-default password-unverified resflash-root-password")} // these take long, and are elsewhere
	clean := auditDisk(t, name, quick)
	for _, rule := range words("fs-dirty fs-mount-trace ab-layout fstab-dangling audit-incomplete") {
		assert.Equal(t, Pass, status(clean, rule), rule)
		had(t, rule, negative)
	}
	debian := systemFiles[Linux]
	grown := debian.with(files{"/etc/fstab": text("LABEL=root / ext4 x-systemd.growfs 0 1\n")})
	gpt, err := image.Open(context.Background(), rootDisk(t, "\nstart=16384, size=8192, type="+typeVar, nil))
	require.NoError(t, err)
	defer gpt.Close()
	for _, c := range []struct {
		rule, volume string
		linux        bool
		tree         files
		hostile      string // the file that becomes odd
	}{
		{"fstab-dangling", "d", false, files{"/etc/fstab": text("0123456789abcdef.k /usr ffs rw 1 2\n")}, "/etc/fstab"},
		{"ab-layout", "d", false, files{"/etc/fstab": text("0123456789abcdef.e / ffs ro 1 1\n")}, "/etc/fstab"},
		{"ab-layout", "a", false, files{"/etc/boot.conf": text("set device hd0e\n")}, "/etc/boot.conf"},
		{"resflash-cfg", "f", false, files{"/etc/ssh/ssh_host_rsa_key": private(pemKey)}, "/etc/ssh/ssh_host_rsa_key"},
		{"bootloader-dangling", "d", true, debian.with(files{"/boot/grub/grub.cfg": text("search --fs-uuid --set=root aaaaaaaa-2222-3333-4444-555555555555\n")}), "/boot/grub/grub.cfg"},
		{"machine-id-missing", "d", true, debian.with(files{"/etc/fstab": text("/dev/sda1 / ext4 ro 0 1\n"), "/usr/lib/systemd/systemd": text("x")}), "/etc/fstab"},
		{"os-release-missing", "d", true, debian, "/etc/os-release"},
		{"growfs-unconfigured", "p1", true, grown, "/etc/fstab"},
		{"dps-var-bound", "p1", true, debian.with(files{"/etc/machine-id": text(oneID)}), "/etc/machine-id"},
		{"shared-secret", "d", true, debian.with(files{"/etc/machine-id": text(oneID)}), "/etc/machine-id"},
		{"audit-incomplete", "d", true, debian.with(files{"/etc/shadow": private(shadowLine)}), "/etc/shadow"},
	} {
		look := func(kind string, tree *vfs.Tree) (got Status, complete bool) {
			on := d
			if c.volume == "p1" {
				on = gpt
			}
			target, err := FromDisk(context.Background(), on)
			require.NoError(t, err)
			for _, v := range target.Volumes {
				if v.ID == c.volume {
					v.Tree = tree
				}
			}
			if c.linux {
				for _, s := range target.Systems {
					s.OS, s.Mounts = image.OS{ID: "debian"}, nil
				}
			}
			start := time.Now()
			r, again := audit(t, target, quick), audit(t, target, quick)
			Across([]*Report{r, again})
			assert.Less(t, time.Since(start), 20*time.Second, "%s, %s", c.rule, kind)
			for _, write := range Formats {
				require.NoError(t, write(&strings.Builder{}, Tool{}, []*Report{r}))
			}
			return status(r, c.rule), r.Complete()
		}
		for kind, odd := range odds {
			_, complete := look(kind, withFiles(t, c.tree.with(files{c.hostile: odd})))
			assert.True(t, complete, "%s, %s: all of it can be read", c.rule, kind)
			had(t, c.rule, kind)
		}
		got, complete := look(unread, withFiles(t, c.tree, c.hostile))
		assert.False(t, complete, "%s: something could not be read", c.rule)
		if c.rule != "shared-secret" { // which speaks only of what others have found
			assert.Contains(t, []Status{Unknown, Fail}, got, "%s: what could not be read passed", c.rule)
		}
		had(t, c.rule, unread)
		if c.rule == "resflash-cfg" {
			got, _ = look(negative, withFiles(t, files{"/etc/myname": text("x\n")}))
			assert.Equal(t, Pass, got)
			had(t, c.rule, negative)
		}
	}
}

// infoFS says of itself what it is told to.
type infoFS struct {
	*memfs.FS
	info vfs.Info
}

func (f *infoFS) Info() vfs.Info { return f.info }

// What file systems say of themselves may be anything, and partitions may end
// too soon or be larger than what is stored of them.
func TestHostileVolumes(t *testing.T) {
	testtool.Sequential(t)
	for kind, mark := range map[string]string{notUTF8: "/mnt/\xff\xfe\x1b[2J", asSparse: "/" + strings.Repeat("x", 1<<16), unread: "\x00"} {
		fsys := &infoFS{systemFiles[Linux].build(), vfs.Info{Type: "ext4", State: vfs.Dirty, StateNote: mark, LastMount: mark}}
		r := audit(t, one(t, fsys), Options{Only: []string{"volumes"}})
		assert.Equal(t, Fail, status(r, "fs-dirty"))
		assert.Equal(t, Fail, status(r, "fs-mount-trace"))
		var b strings.Builder
		require.NoError(t, Text(&b, Tool{}, []*Report{r}))
		assert.NotContains(t, b.String(), "\x1b")
		had(t, "fs-dirty fs-mount-trace", kind)
		had(t, "fs-dirty fs-mount-trace", positive)
	}

	page := make([]byte, 4096)
	copy(page[4086:], "SWAPSPACE2")
	page[1024], page[1028] = 1, 255 // version, last page
	copy(page[1052:], "\xff\xfe\xff")
	for kind, c := range map[string]struct {
		head []byte
		size int64
	}{
		asSparse: {page, 4 << 30}, notUTF8: {page, 1 << 20}, unread: {page, 5000},
	} {
		name := filepath.Join(t.TempDir(), "swap.img")
		require.NoError(t, os.WriteFile(name, c.head, 0o644))
		require.NoError(t, os.Truncate(name, c.size))
		start := time.Now()
		r := auditDisk(t, name, Options{Only: words("swap-content luks-volume-key free copies")})
		assert.Less(t, time.Since(start), 20*time.Second, kind)
		assert.NotEqual(t, Fail, status(r, "swap-content"), kind)
		had(t, "swap-content fs-uuid-shared", kind)
	}
	luks := []byte("LUKS\xba\xbe\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff")
	for kind, size := range map[string]int64{asSparse: 4 << 30, notUTF8: 1 << 20, unread: 600} {
		name := filepath.Join(t.TempDir(), "luks.img")
		require.NoError(t, os.WriteFile(name, luks, 0o644))
		require.NoError(t, os.Truncate(name, size))
		r := auditDisk(t, name, Options{Only: []string{"volumes"}})
		assert.Equal(t, Fail, status(r, "luks-volume-key"), kind)
		assert.False(t, r.Complete(), kind)
		had(t, "luks-volume-key", kind)
	}
	// Nothing but bytes that are no text, in a disk of which nothing is known.
	name := filepath.Join(t.TempDir(), "noise.img")
	require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("\xff\xfe", 1<<19)), 0o644))
	d, err := image.Open(context.Background(), name, image.WithSectorSize(512))
	if err == nil {
		defer d.Close()
		target, err := FromDisk(context.Background(), d)
		require.NoError(t, err)
		audit(t, target, Options{Only: []string{"free"}})
	}
	had(t, "free-space-secret free-space-data slack-secret fs-journal-remnant", notUTF8)
}
