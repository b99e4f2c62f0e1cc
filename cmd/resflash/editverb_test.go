package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/integration/testtool"
)

// The operations of options and scripts are done in the order given, whatever
// their names.
func TestEditKeepsTheOrder(t *testing.T) {
	newFS(t)
	require.NoError(t, os.WriteFile("s", []byte("append-line /log:script ${X}\n"), 0o644))
	works(t, "edit", "--append-line", "/log:1", "new.fs", "--edit=/log:s/1/one/", "--append-line=/log:1", "-f", "s", "--edit", "/log:s/script/done/",
		"--set", "X=a,b", "--append-line", "/log:-end")
	assert.Equal(t, "one\n1\ndone a,b\n-end\n", works(t, "cat", "new.fs:/log"))
	_, stderr, code := resflashWith("append-line /log:typed\n", "edit", "new.fs", "-f", "-")
	require.Equal(t, 0, code, stderr)
	assert.Contains(t, works(t, "cat", "new.fs:/log"), "-end\ntyped\n")
	clean(t, "new.fs")
}

// One image of several that fails keeps all of them as they are.
func TestEditOfSeveralImages(t *testing.T) {
	newFS(t)
	command(t, ".", "cp", "new.fs", "second.fs")
	works(t, "rm", "second.fs:/two")
	before := digest(t, "new.fs")
	_, stderr, code := resflash("edit", "new.fs", "second.fs", "--write", "/new:x", "--chmod", "0600:/two")
	assert.Equal(t, exitNotFound, code)
	assert.Contains(t, stderr, "resflash: second.fs: chmod 0600:/two: stat /two: no such file or directory\n")
	assert.Contains(t, stderr, "resflash: new.fs: nothing was changed\n")
	assert.Contains(t, stderr, "resflash: second.fs: nothing was changed\n")
	_, _, code = resflash("ls", "new.fs:/new")
	assert.Equal(t, exitNotFound, code)
	works(t, "edit", "new.fs", "second.fs", "--write", "/new:x")
	assert.Equal(t, "xx", works(t, "cat", "new.fs:/new", "second.fs:/new"))
	assert.NotEqual(t, before, digest(t, "new.fs"))
	clean(t, "new.fs", "second.fs")
}

// The manifest has digests that another program agrees with.
func TestEditManifest(t *testing.T) {
	newFS(t)
	works(t, "edit", "new.fs", "--append-line", "/two:2", "--delete", "/dir", "--symlink", "two:/link", "--manifest", "m.json")
	var m editReport
	data, err := os.ReadFile("m.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &m))
	require.Len(t, m.Images, 1)
	assert.Equal(t, "resflash-edit-1", m.Schema)
	assert.Equal(t, []operationReport{{"append-line /two:(1 bytes)", ""}, {"delete /dir", ""}, {"symlink two:/link", ""}}, m.Images[0].Operations)
	var said []string
	for _, c := range m.Images[0].Changes {
		said = append(said, c.Action+" "+c.Path)
		if c.Path == "/two" {
			out, err := exec.Command("sh", "-c", "printf 'two\n2\n' | sha256sum").Output()
			require.NoError(t, err)
			assert.Equal(t, strings.Fields(string(out))[0], c.After.SHA256)
			assert.Equal(t, customize.State{
				Type: "file", Mode: "0644", Size: 4, Mtime: c.Before.Mtime,
				SHA256: "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a",
			}, *c.Before)
		}
	}
	assert.Equal(t, []string{"remove /dir", "remove /dir/one", "create /link", "change /two"}, said)
	list, err := filepath.Glob(".resflash-*")
	require.NoError(t, err)
	assert.Empty(t, list)
}

// Paths go through the volumes that the system mounts, and both slots can be
// edited at once.
func TestEditOfVolumes(t *testing.T) {
	testtool.Sequential(t)
	ownDisk(t)
	require.NoError(t, os.MkdirAll("tree/cfg/etc", 0o755))
	require.NoError(t, os.WriteFile("tree/cfg/etc/deep", []byte("deep"), 0o644))
	require.NoError(t, os.WriteFile("tree/top", []byte("top"), 0o644))
	works(t, "edit", "disk.img", "--write", "/cfg/a:cfg", "--write", "cfg:/b:cfg", "--write", "/mbr/c:mbr", "--symlink", "/cfg:/etc/to-cfg",
		"--write", "/etc/to-cfg/d:d", "--copy-in", "tree/.:/", "--write", "/etc/moved:m", "--move", "/etc/moved:/cfg/moved", "--write", "efi:/E.TXT:efi")
	for name, want := range map[string]string{
		"cfg:/a": "cfg", "cfg:/b": "cfg", "mbr:/c": "mbr", "cfg:/d": "d", "cfg:/etc/deep": "deep", "/top": "top", "cfg:/moved": "m", "efi:/E.TXT": "efi",
	} {
		assert.Equal(t, want, works(t, "cat", "disk.img:"+name), name)
	}
	_, stderr, code := resflash("edit", "disk.img", "--delete", "/cfg")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, stderr, "remove /cfg: device or resource busy")
	_, _, code = resflash("edit", "disk.img:root", "--all-slots", "--touch", "/x")
	assert.Equal(t, exitUsage, code)
	works(t, "edit", "disk.img", "--all-slots", "--touch", "/x") // e is empty
	// What one system has done to a volume, the next one sees.
	works(t, "edit", "disk.img", "disk.img:d", "--append-line", "/cfg/log:x", "--append-line", "/log:y")
	assert.Equal(t, "x\nx\ny\ny\n", works(t, "cat", "disk.img:cfg:/log", "disk.img:/log"))
	_, stderr, code = resflash("edit", "disk.img:e", "--touch", "/x")
	assert.Equal(t, exitNotImage, code, stderr)
	clean(t, "disk.img")
}

// Mistakes, and what they are answered with.
func TestEditUsage(t *testing.T) {
	newFS(t)
	before := digest(t, "new.fs")
	require.NoError(t, os.WriteFile("bad", []byte("\n\nwrite x\n"), 0o644))
	for args, want := range map[string]string{
		"edit new.fs":                           "nothing is to be done",
		"edit new.fs --write x":                 "--write: \"x\" does not begin with a path",
		"edit new.fs --write /x:y --set 1=2":    "want NAME=VALUE",
		"edit new.fs -f bad":                    "bad:3: write: \"x\" does not begin with a path",
		"edit new.fs --dry-run -o x --touch /x": "--output makes no sense",
		"edit new.fs:/x --touch /x":             "edit takes images",
		"edit new.fs --all-slots --touch /x":    "has no slots",
		"edit new.fs --nosuch /x":               "unknown flag --nosuch",
	} {
		_, stderr, code := resflash(strings.Fields(args)...)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, stderr, want, args)
	}
	for args, code := range map[string]int{
		"edit none.fs --touch /x": exitNotFound, "edit new.fs -f none": exitNotFound, "edit new.fs --upload none:/x": exitNotFound,
		"edit new.fs --truncate /x --touch /x": exitNotFound, "edit new.fs --manifest none/m --dry-run --touch /x": exitHost,
	} {
		_, stderr, got := resflash(strings.Fields(args)...)
		assert.Equal(t, code, got, "%s: %s", args, stderr)
	}
	require.NoError(t, os.WriteFile("big", make([]byte, 12<<20), 0o644))
	_, stderr, code := resflash("edit", "new.fs", "--upload", "big:/big")
	assert.Equal(t, exitFull, code, stderr)
	// What was copied before is in space that is free.
	assert.Len(t, digest(t, "new.fs"), len(before))
	clean(t, "new.fs")
}

// Systems that need no fstab: systemd mounts by the types of partitions.
func TestEditOfDiscoverableVolumes(t *testing.T) {
	testtool.Sequential(t)
	img := testtool.Partitioned(t, 40<<20, "label: gpt",
		"size=8M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "size=16M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "type=4D21B016-B534-45C2-A9FB-5C16E091FD2D")
	works(t, "mkfs", "--type", "fat12", img+":p1")
	works(t, "mkfs", "--type", "ext4", img+":p2")
	works(t, "mkfs", "--type", "ext4", img+":p3")
	works(t, "edit", img, "--mkdir", "/var", "--mkdir", "/boot", "--mkdir", "/etc")
	works(t, "edit", img, "--write", "/boot/loader.cfg:esp", "--write", "/var/v:var", "--write", "/etc/e:root")
	assert.Equal(t, "espvarroot", works(t, "cat", img+":p1:/loader.cfg", img+":p3:/v", img+":p2:/etc/e"))
	works(t, "edit", img, "--mkdir", "/efi")
	works(t, "edit", img, "--write", "/boot/b:root", "--write", "/efi/e:esp")
	assert.Equal(t, "rootesp", works(t, "cat", img+":p2:/boot/b", img+":p1:/e"))
	// An fstab that has the volume elsewhere comes first.
	works(t, "edit", img, "--write", "/etc/fstab:<nothing>", "--mkdir", "/mnt", "--write", "/etc/fstab:/dev/sda2 / ext4 rw\n/dev/sda3 /mnt ext4 rw\n")
	works(t, "edit", img, "--write", "/mnt/m:var", "--write", "/var/w:root")
	assert.Equal(t, "varroot", works(t, "cat", img+":p3:/m", img+":p2:/var/w"))
	clean(t, img)
}

// What an image says about itself leads nowhere else, and ends.
func TestEditOfHostileImage(t *testing.T) {
	newFS(t)
	works(t, "edit", "new.fs", "--mkdir", "/etc", "--symlink", "/../../../../etc/passwd:/etc/passwd", "--symlink", "../../..:/up", "--symlink", "loop:/loop",
		"--symlink", "/etc/fstab:/etc/fstab", "--truncate", "/two:1000G", "--mkdir", "/etc/group")
	host := mustRead(t, "/etc/passwd")
	for args, code := range map[string]int{
		"--append-line /etc/passwd:x": exitFailure, // it is a link to itself
		"--write /up/x:y":             0,
		"--write /up/up/up/etc/x:y":   0,
		"--write /loop/x:y":           exitFailure,
		"--chown root:/up":            exitFailure,
		"--chown 0:root:/up":          exitFailure,
		"--edit /two:s/a/b/":          exitFailure,
		"--append-line /two:x":        exitFailure,
		"--delete /two":               0,
	} {
		_, stderr, got := resflash(append([]string{"edit", "--dry-run", "new.fs"}, strings.Fields(args)...)...)
		assert.Equal(t, code, got, "%s: %s", args, stderr)
	}
	works(t, "edit", "new.fs", "--write", "/up/x:y")
	assert.Equal(t, "y", works(t, "cat", "new.fs:/x"))
	assert.Equal(t, host, mustRead(t, "/etc/passwd"))
	assert.NoFileExists(t, "../x")
}
