package customize

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// small is a system with little in it.
var small = files{
	"/etc/hosts": "127.0.0.1 localhost\n", "/etc/motd": "->../var/motd", "/var/motd": "old",
	"/etc/sshd_config": "#PermitRootLogin no\nPort 22\n  Port 2222\n", "/etc/passwd": "root:x:0:0::/:/bin/sh\nwww:x:33:33::/:\n",
	"/etc/group": "root:x:0:\nweb:x:34:\n", "/var/log/a.log": "a", "/var/log/b.log": "b", "/var/log/sub/c.log": "c", "/var/log/.hidden.log": "h",
	"/loop": "->loop", "/up": "->../../../etc", "/dangling": "->var/new", "/home": "/",
}

// hostFiles are what operations find on the host, in the working directory.
func hostFiles(t *testing.T) {
	t.Helper()
	t.Chdir(onHost(t, files{"/up.txt": "up\n", "/tree/a/b": "b", "/tree/l": "->a/b", "/tree/x": "x", "/tree/etc/hosts": "new"}))
	require.NoError(t, os.Chmod("up.txt", 0o750))
}

// What every operation does to files.
func TestFileOperations(t *testing.T) {
	for _, tt := range []struct {
		lines string // separated by newlines
		diff  files
	}{
		{"write /etc/new:a:b ${x} 'c'", files{"/etc/new": "a:b ${x} 'c'"}},
		{"write /etc/motd:new", files{"/var/motd": "new"}},
		{"write /dangling:d", files{"/var/new": "d"}},
		{"write /up/x:1", files{"/etc/x": "1"}},
		{"write /etc/../../var/motd:", files{"/var/motd": ""}},
		{"append-line /var/motd:more", files{"/var/motd": "old\nmore\n"}},
		{"append-line /etc/hosts:10.0.0.1 fw", files{"/etc/hosts": "127.0.0.1 localhost\n10.0.0.1 fw\n"}},
		{"append-line /etc/none:x", files{"/etc/none": "x\n"}},
		{"edit /etc/sshd_config:s/^#?PermitRootLogin .*/PermitRootLogin yes/", files{"/etc/sshd_config": "PermitRootLogin yes\nPort 22\n  Port 2222\n"}},
		{"edit /etc/sshd_config:s|22|23|", files{"/etc/sshd_config": "#PermitRootLogin no\nPort 23\n  Port 2322\n"}},
		{"edit /etc/sshd_config:s/22/23/g; /^#/d", files{"/etc/sshd_config": "Port 23\n  Port 2323\n"}},
		{`edit /etc/sshd_config:s/port (\d)(\d)$/$2$1x\n&\$/i`, files{"/etc/sshd_config": "#PermitRootLogin no\n22x\n&$\n  Port 2222\n"}},
		{`edit /etc/hosts:s/(?P<ip>[0-9.]+) /\1\t${ip}\/$x /`, files{"/etc/hosts": "127.0.0.1\t127.0.0.1/$x localhost\n"}},
		{"edit /var/motd:s/$/!/", files{"/var/motd": "old!"}},
		{"edit /var/motd:s/none/x/", files{}},
		{"truncate /etc/hosts", files{"/etc/hosts": ""}},
		{"truncate /etc/hosts:3", files{"/etc/hosts": "127"}},
		{"truncate /var/motd:5", files{"/var/motd": "old\x00\x00"}},
		{"mkdir /a/b/c\nwrite /a/b/c/d:x", files{"/a/b/c/d": "x"}},
		{"mkdir /etc", files{}},
		{"touch /etc/new", files{"/etc/new": ""}},
		{"touch /etc/hosts", files{}},
		{"move /etc/hosts:/etc/hosts.old", files{"/etc/hosts": "", "/etc/hosts.old": "127.0.0.1 localhost\n"}},
		{"move /etc/motd:/home", files{"/etc/motd": "", "/home/motd": "->../var/motd"}},
		{"move /var/log:/home/", files{
			"/var/log/a.log": "", "/var/log/b.log": "", "/var/log/sub/c.log": "", "/var/log/.hidden.log": "",
			"/home/log/a.log": "a", "/home/log/b.log": "b", "/home/log/sub/c.log": "c", "/home/log/.hidden.log": "h",
		}},
		{"link /etc/hosts:/etc/hosts2\nappend-line /etc/hosts2:x", files{"/etc/hosts": "127.0.0.1 localhost\nx\n", "/etc/hosts2": "127.0.0.1 localhost\nx\n"}},
		{"symlink ../usr:/etc/u:/etc/v", files{"/etc/u": "->../usr", "/etc/v": "->../usr"}},
		{"symlink new:/etc/motd", files{"/etc/motd": "->new"}},
		{"delete /var/log/*", files{"/var/log/a.log": "", "/var/log/b.log": "", "/var/log/sub/c.log": ""}},
		{"delete /var/*/[ab].log", files{"/var/log/a.log": "", "/var/log/b.log": ""}},
		{"delete /var/log/.h*", files{"/var/log/.hidden.log": ""}},
		{"delete /etc/motd", files{"/etc/motd": ""}},
		{"delete /none/*", files{}},
		{"delete /none", files{}},
		{"upload up.txt:/etc/motd", files{"/var/motd": "up\n"}},
		{"upload up.txt:/home", files{"/home/up.txt": "up\n"}},
		{"upload up.txt:/home/other", files{"/home/other": "up\n"}},
		{"copy-in tree:/home", files{"/home/tree/a/b": "b", "/home/tree/l": "->a/b", "/home/tree/x": "x", "/home/tree/etc/hosts": "new"}},
		{"copy-in tree/.:/", files{"/a/b": "b", "/l": "->a/b", "/x": "x", "/etc/hosts": "new"}},
		{"copy-in up.txt:/home", files{"/home/up.txt": "up\n"}},
	} {
		t.Run(strings.ReplaceAll(tt.lines, "/", "|"), func(t *testing.T) {
			hostFiles(t)
			e := editor(t, small)
			before := tree(t, e, "/")
			require.NoError(t, apply(t, e, strings.Split(tt.lines, "\n")...))
			assert.Equal(t, tt.diff, differences(t, e, before))
			recordAgrees(t, e, before)
		})
	}
}

// recordAgrees compares what an editor says that it has changed with what is
// different.
func recordAgrees(t *testing.T, e *Editor, before files) {
	t.Helper()
	changes, err := e.Changes(ctx)
	require.NoError(t, err)
	said := map[string]bool{}
	for _, c := range changes {
		if len(c.Operations) == 0 {
			t.Errorf("%s is changed by no operation", c.Path)
		}
		file := func(s *State) bool { return s != nil && (s.Type == "file" || s.Type == "symlink") }
		contents := func(s *State) string {
			if !file(s) {
				return ""
			}
			return s.SHA256 + s.Target
		}
		if (file(c.Before) || file(c.After)) && contents(c.Before) != contents(c.After) {
			said[c.Path] = true
		}
	}
	differ := map[string]bool{}
	for name := range differences(t, e, before) {
		differ[name] = true
	}
	assert.Equal(t, differ, said)
}

// What cannot be done, and why.
func TestFileOperationsRefused(t *testing.T) {
	hostFiles(t)
	for line, want := range map[string]string{
		"write etc/motd:x":                          "does not begin with a path",
		"write /etc/motd":                           "no colon follows the path",
		"write /none/x:y":                           "no such file",
		"write /etc:y":                              "is a directory",
		"write /loop:y":                             "too many levels",
		"write cfg:/x:y":                            "this is no disk",
		"append-line /etc:x":                        "is a directory",
		"edit /none:s/a/b/":                         "no such file",
		"edit /etc/hosts:":                          "the expression is missing",
		"edit /etc/hosts:y/a/b/":                    "want s/OLD/NEW/",
		"edit /etc/hosts:s/a/b":                     "no third",
		"edit /etc/hosts:s/a":                       "no second",
		"edit /etc/hosts:/a/p":                      "needs a d",
		"edit /etc/hosts:s/(/b/":                    "missing closing",
		"edit /etc/hosts:s/a/b/x":                   "follows where it should end",
		"edit /etc/hosts:saabac":                    "cannot be the delimiter",
		"truncate /etc/hosts:1X":                    "want a number",
		"truncate /etc:0":                           "is a directory",
		"mkdir /etc/hosts/x":                        "not a directory",
		"mkdir x":                                   "no path in the image",
		"mknod 0600:x:/dev/x":                       `type "x"`,
		"mknod 0600:c:1:/dev/x":                     "a minor number",
		"mknod 0600:c:1:2:/etc/hosts":               "file exists",
		"move /none:/x":                             "no such file",
		"move /etc:/etc/sub":                        "invalid argument",
		"link /etc/hosts:/etc/motd":                 "file exists",
		"link /etc:/e":                              "not permitted",
		"symlink x:/etc":                            "file exists",
		"symlink x":                                 "no colon",
		"delete etc":                                "no path in the image",
		"delete /[":                                 "syntax error in pattern",
		"delete /":                                  "device or resource busy",
		"chmod 8:/etc":                              "not an octal number",
		"chflags none of it:/etc":                   "no flag is called",
		"chmod 0600:/none":                          "no such file",
		"chown nobody:/etc":                         "no user nobody",
		"chown 0:nobody:/etc":                       "no group nobody",
		"upload none:/etc/x":                        "no such file",
		"upload tree:/etc/x":                        "copy-in copies those",
		"upload up.txt:/none/x":                     "no such file",
		"upload up.txt:/none/":                      "no such file",
		"copy-in tree:/none":                        "no such file",
		"copy-in none:/etc":                         "no such file",
		"copy-in tree:/etc/hosts":                   "not a directory",
		"copy-out /none:.":                          "no such file",
		"copy-out /etc/hosts:none":                  "no such file",
		"tar-in up.txt:/":                           "is no tar archive",
		"nosuch /x":                                 "there is no such operation",
		"write /etc/\x00:x":                         "invalid argument",
		"write /" + strings.Repeat("x", 300) + ":x": "file name too long",
	} {
		e := editor(t, small)
		before := tree(t, e, "/")
		err := apply(t, e, line)
		if assert.ErrorContains(t, err, want, line) && !strings.HasPrefix(line, "copy-in") {
			assert.Empty(t, differences(t, e, before), line)
		}
	}
}

// Attributes of new files, and of files that are written to.
func TestOwnersAndModes(t *testing.T) {
	hostFiles(t)
	fsys := memfs.New()
	fsys.AddDir("/etc")
	fsys.AddFile("/etc/passwd", []byte("www:x:33:33::/:\n"))
	fsys.AddFile("/etc/group", []byte("web:x:34:\n"))
	fsys.AddFile("/etc/old", []byte("old"))
	e, err := OnFS(fsys, Options{})
	require.NoError(t, err)
	require.NoError(t, apply(t, e, "chown 5:6:/etc/old", "chmod 4751:/etc/old", "chflags uchg,arch:/etc/old"))
	assert.ErrorContains(t, apply(t, e, "write /etc/old:x"), "not permitted")
	require.NoError(t, apply(t, e, "chflags 0:/etc/old"))
	require.NoError(t, e.SetXattr(ctx, "/etc/old", "user.x", []byte("kept")))
	require.NoError(t, e.Chflags(ctx, "/etc/old", vfs.UserNoDump))
	require.NoError(t, apply(t, e,
		"upload up.txt:/etc/old", "write /etc/old:new", "append-line /etc/old:x", "edit /etc/old:s/x/y/", "truncate /etc/old:1",
		"upload up.txt:/etc/new", "write /etc/text:x", "mkdir /etc/dir", "chown www:web:/etc/text", "chmod u+x,go=:/etc/text",
		"mknod 0600:c:5:1:/etc/console", "mknod 0644:b:0x3:4:/etc/disk", "mknod 0620:p:/etc/fifo", "chown www:/etc/dir"))
	for name, want := range map[string]string{
		"old": "-rwsr-x--x 5:6", "new": "-rwxr-x--- 0:0", "text": "-rwx------ 33:34", "dir": "drwxr-xr-x 33:0",
		"console": "crw------- 0:0", "disk": "brw-r--r-- 0:0", "fifo": "prw--w---- 0:0",
	} {
		attr, err := e.Lstat(ctx, "/etc/"+name)
		require.NoError(t, err, name)
		assert.Equal(t, want, fmt.Sprintf("%v %d:%d", attr.Mode, attr.UID, attr.GID), name)
		if name == "disk" {
			assert.Equal(t, vfs.Dev{Major: 3, Minor: 4}, attr.Rdev)
		}
		if name == "old" {
			assert.Equal(t, vfs.UserNoDump, attr.Flags)
			all, err := fsys.Xattrs(ctx, attr.Ino)
			require.NoError(t, err)
			assert.Equal(t, "kept", string(all["user.x"]))
		}
	}
}

// archiveOf makes a tar archive.
func archiveOf(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := []byte(h.Name)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		require.NoError(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := w.Write(body)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestTarIn(t *testing.T) {
	t.Chdir(t.TempDir())
	past := time.Unix(1600000000, 0)
	data := archiveOf(t,
		&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 1000},
		&tar.Header{Name: "./etc/", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 3, ModTime: past},
		&tar.Header{Name: "./etc/hosts", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 1, Gid: 2, ModTime: past},
		&tar.Header{Name: "./etc/motd", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: past.AddDate(100, 0, 0)}, // replaces the link
		&tar.Header{Name: "/up/abs", Typeflag: tar.TypeReg, Mode: 0o4755, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
		&tar.Header{Name: "deep/er/l", Typeflag: tar.TypeSymlink, Linkname: "../x"},
		&tar.Header{Name: "deep/hard", Typeflag: tar.TypeLink, Linkname: "./etc/hosts"},
		&tar.Header{Name: "deep/fifo", Typeflag: tar.TypeFifo, Mode: 0o600},
		&tar.Header{Name: "deep/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
	)
	require.NoError(t, os.WriteFile("x.tar", data, 0o644))
	e := editor(t, small)
	before := tree(t, e, "/")
	require.NoError(t, apply(t, e, "tar-in x.tar:/"))
	assert.Equal(t, files{
		"/etc/hosts": "./etc/hosts", "/deep/hard": "./etc/hosts", "/etc/motd": "./etc/motd", "/etc/abs": "/up/abs", "/deep/er/l": "->../x",
	}, differences(t, e, before))
	recordAgrees(t, e, before)
	for name, want := range map[string]string{
		"/": "drwxr-xr-x 0:0", "/etc": "drwx--x--x 3:0", "/etc/hosts": "-rw-r----- 1:2", "/etc/abs": "-rwsr-xr-x 0:0",
		"/deep": "drwxr-xr-x 0:0", "/deep/fifo": "prw------- 0:0", "/deep/null": "crw-rw-rw- 0:0",
	} {
		attr, err := e.Lstat(ctx, name)
		require.NoError(t, err, name)
		assert.Equal(t, want, fmt.Sprintf("%v %d:%d", attr.Mode, attr.UID, attr.GID), name)
		switch name {
		case "/etc", "/etc/hosts":
			assert.Equal(t, past.Unix(), attr.Mtime.Unix(), name)
		}
	}
	attr, err := e.Stat(ctx, "/etc/motd")
	require.NoError(t, err)
	assert.Equal(t, e.Now().Unix(), attr.Mtime.Unix(), "a time behind SOURCE_DATE_EPOCH is that")
}

// Members that must not be unpacked as they are.
func TestTarInRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for want, h := range map[string]*tar.Header{
		`".." in its name`: {Name: "../etc/x", Typeflag: tar.TypeReg},
		"no such file":     {Name: "x", Typeflag: tar.TypeLink, Linkname: "etc/none"},
		"is a directory":   {Name: "etc", Typeflag: tar.TypeReg},
		"not a directory":  {Name: "etc/hosts/x", Typeflag: tar.TypeReg},
		"not supported":    {Name: "x", Typeflag: tar.TypeCont},
	} {
		require.NoError(t, os.WriteFile("x.tar", archiveOf(t, h), 0o644))
		e := editor(t, small)
		before := tree(t, e, "/")
		assert.ErrorContains(t, apply(t, e, "tar-in x.tar:/"), want)
		assert.Empty(t, differences(t, e, before), want)
	}
}

// Archives that foreign programs have made and compressed.
func TestExtract(t *testing.T) {
	hostFiles(t)
	testtool.Need(t, "tar")
	for suffix, option := range map[string]string{"tar": "-c", "tgz": "-cz", "tar.bz2": "-cj", "tar.xz": "-cJ", "tar.zst": "-c --zstd"} {
		args := append(strings.Fields(option), "--owner=7", "--group=8", "--format=pax", "-f", "x."+suffix, "-C", "tree", ".")
		out, err := exec.Command("tar", args...).CombinedOutput()
		require.NoError(t, err, "%s: %s", suffix, out)
		e := editor(t, small)
		before := tree(t, e, "/")
		require.NoError(t, apply(t, e, "mkdir /new", "extract x."+suffix+":/new"), suffix)
		assert.Equal(t, files{"/new/a/b": "b", "/new/l": "->a/b", "/new/x": "x", "/new/etc/hosts": "new"}, differences(t, e, before), suffix)
		attr, err := e.Stat(ctx, "/new/a/b")
		require.NoError(t, err)
		assert.Equal(t, []uint32{7, 8}, []uint32{attr.UID, attr.GID})
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(archiveOf(t, &tar.Header{Name: "x", Typeflag: tar.TypeReg}))
	w.Close()
	require.NoError(t, os.WriteFile("x.tgz", b.Bytes(), 0o644))
	e := editor(t, small)
	assert.ErrorContains(t, apply(t, e, "tar-in x.tgz:/"), `"extract" unpacks`)
	require.NoError(t, os.WriteFile("x.tgz", b.Bytes()[:b.Len()/2], 0o644))
	assert.ErrorContains(t, apply(t, e, "extract x.tgz:/"), "unexpected EOF")
}

// What is copied out is the tree as changed so far, and nothing in a dry run.
func TestCopyOut(t *testing.T) {
	for _, dry := range []bool{false, true} {
		t.Chdir(t.TempDir())
		require.NoError(t, os.Mkdir("out", 0o755))
		e := editor(t, small)
		e.opt.DryRun = dry
		require.NoError(t, apply(t, e, "write /etc/hosts:1", "copy-out /etc/hosts:out", "write /etc/hosts:2", "copy-out /var/log:out", "delete /var/log"))
		want := files{"/hosts": "1", "/log/a.log": "a", "/log/b.log": "b", "/log/sub/c.log": "c", "/log/.hidden.log": "h"}
		if dry {
			want = files{}
		}
		here, err := filepath.Abs("out")
		require.NoError(t, err)
		assert.Equal(t, want, fromHost(t, here))
	}
}

// What is as it was in the end, has not changed; what was touched says by
// which operations.
func TestChanges(t *testing.T) {
	e := editor(t, small)
	require.NoError(t, apply(t, e, "write /x:1", "write /etc/hosts:1", "delete /x", "append-line /etc/hosts:2", "chmod 0600:/etc/hosts", "chmod 0644:/etc/hosts"))
	changes, err := e.Changes(ctx)
	require.NoError(t, err)
	require.Len(t, changes, 1)
	c := changes[0]
	assert.Equal(t, "change", c.Action)
	assert.Equal(t, "/etc/hosts", c.Path)
	assert.Equal(t, []int{2, 4, 5, 6}, c.Operations)
	assert.Equal(t, int64(20), c.Before.Size)
	assert.Equal(t, int64(4), c.After.Size)
	sum, err := exec.Command("sh", "-c", "printf '1\n2\n' | sha256sum").Output()
	require.NoError(t, err)
	assert.Equal(t, strings.Fields(string(sum))[0], c.After.SHA256)
}

// Contents may be secrets, and so may what replaces something.
func TestContentsAreNotTold(t *testing.T) {
	for _, line := range []string{"write /x:hunter2", "append-line /x:hunter2", "edit /x:s/p=.*/p=hunter2/"} {
		name, arg, _ := strings.Cut(line, " ")
		op, err := Parse(name, arg)
		require.NoError(t, err)
		assert.NotContains(t, op.String(), "hunter2")
	}
}

// A change to a file is one to each of its names.
func TestChangesOfHardLinks(t *testing.T) {
	fsys := newSmall()
	fsys.AddLink("/a", "/etc/b")
	fsys.AddLink("/a", "/c")
	e, err := OnFS(fsys, Options{Record: true})
	require.NoError(t, err)
	require.NoError(t, apply(t, e, "move /c:/d", "append-line /a:x"))
	changes, err := e.Changes(ctx)
	require.NoError(t, err)
	var said []string
	for _, c := range changes {
		said = append(said, c.Action+" "+c.Path)
	}
	assert.Equal(t, []string{"change /a", "remove /c", "create /d", "change /etc/b"}, said)
}
