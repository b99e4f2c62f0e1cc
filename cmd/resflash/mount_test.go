package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/integration/testtool"
	"golang.org/x/sys/unix"
)

// needFUSE skips a test where nothing can be mounted.
func needFUSE(t *testing.T) {
	t.Helper()
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		if os.Getenv("RESFLASH_STRICT") == "1" {
			t.Fatalf("/dev/fuse: %v", err)
		}
		t.Skipf("/dev/fuse: %v", err)
	}
	if os.Geteuid() != 0 {
		testtool.Need(t, "fusermount3")
	}
}

// mounted mounts in the background and sees to it that nothing is left.
func mounted(t *testing.T, args ...string) string {
	t.Helper()
	needFUSE(t)
	dir := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(dir, 0o700))
	t.Cleanup(func() { resflash("umount", "--lazy", dir) })
	works(t, append(append([]string{"mount"}, args...), dir)...)
	return dir
}

func TestMountShowsVolumesByIDAndRole(t *testing.T) {
	dir := mounted(t, "-q", diskImage(t))
	assert.Equal(t, []string{"a", "cfg", "d", "efi", "f", "i", "mbr", "p1", "root"}, names(t, dir))
	assert.Equal(t, "plain\n", mustRead(t, dir+"/root/try/plain"))
	assert.Equal(t, "set device hd0d\n", mustRead(t, dir+"/mbr/etc/boot.conf"))
	assert.Empty(t, works(t, "umount", dir))
	assert.Empty(t, names(t, dir))
}

// What is missing from the mount is said.
func TestMountSaysWhatItLeavesOut(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	_, stderr, code := resflash("mount", "--read-only", diskImage(t), dir)
	assert.Equal(t, 0, code)
	assert.Equal(t, "resflash: left out: volume e: empty: no file system, only zeros\n", stderr)
	works(t, "umount", dir)
}

func TestMountOfOneVolume(t *testing.T) {
	for _, args := range [][]string{{"--volume", "mbr", diskImage(t)}, {diskImage(t) + ":a"}} {
		dir := mounted(t, args...)
		assert.Equal(t, "set device hd0d\n", mustRead(t, dir+"/etc/boot.conf"))
		works(t, "umount", dir)
	}
}

func TestMountOfAssembledTree(t *testing.T) {
	dir := mounted(t, "-q", "--root", diskImage(t))
	assert.Equal(t, "plain\n", mustRead(t, dir+"/try/plain"))
	assert.Equal(t, "set device hd0d\n", mustRead(t, dir+"/mbr/etc/boot.conf"), "noauto, and still there")
	works(t, "umount", dir)
}

func TestMountTwice(t *testing.T) {
	dir := mounted(t, "-q", diskImage(t))
	_, stderr, code := resflash("mount", diskImage(t), dir)
	assert.Equal(t, "resflash: mount on "+dir+": an image is mounted there already\nhint: resflash umount "+dir+"\n", stderr)
	assert.Equal(t, exitMount, code)
}

func TestUmountOfBusyMount(t *testing.T) {
	// What is detached ends when it likes; for writing it would be in the way.
	dir := mounted(t, "-q", "--read-only", diskImage(t))
	f, err := os.Open(dir + "/root/try/plain")
	require.NoError(t, err)
	_, stderr, code := resflash("umount", dir)
	assert.Equal(t, "resflash: unmount "+dir+": device or resource busy\nhint: fuser -vm "+dir+" shows who uses it; --lazy takes it away all the same\n", stderr)
	assert.Equal(t, exitMount, code)
	works(t, "umount", "--lazy", dir)
	assert.Empty(t, names(t, dir))
	f.Close()
}

// The errors of the process in the background are those of the command.
func TestErrorsComeOutOfTheBackground(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	_, stderr, code := resflash("mount", "--volume", "e", diskImage(t), dir)
	assert.Equal(t, "resflash: "+diskImage(t)+": volume e: empty: no file system, only zeros\n", stderr)
	assert.Equal(t, exitNotImage, code)
	_, _, code = resflash("mount", "--volume", "nosuch", diskImage(t), dir)
	assert.Equal(t, exitNoVolume, code)
	_, _, code = resflash("mount", "--root", "--volume", "d", diskImage(t), dir)
	assert.Equal(t, exitUsage, code)
}

// umount returns when the image is no longer in use, and so does the end of a
// mount in the foreground, which a signal brings about.
func TestForegroundMountEndsBySignal(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs bytes.Buffer
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"mount", "-q", "--foreground", diskImage(t), dir}, nil, &out, &errs)
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir + "/root/try")
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	cancel()
	assert.Equal(t, 0, <-ended, errs.String())
	assert.Empty(t, names(t, dir))
}

func TestBackgroundMountEndsBySignal(t *testing.T) {
	dir := mounted(t, "-q", diskImage(t))
	m, ok := findMount(dir)
	require.True(t, ok)
	end := awaitEnd(m)
	pid := serverOf(t, dir)
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	report, ok, err := end.wait(context.Background(), time.Minute, func() {})
	require.True(t, ok)
	require.NoError(t, err)
	assert.Empty(t, report.Volumes)
	assert.Empty(t, names(t, dir))
}

// serverOf finds the process that serves the mount on dir by its command line.
func serverOf(t *testing.T, dir string) int {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range list {
		data, _ := os.ReadFile(name)
		if strings.HasSuffix(string(data), "\x00"+dir+"\x00") && strings.Contains(string(data), "\x00mount\x00") {
			var pid int
			for _, c := range filepath.Base(filepath.Dir(name)) {
				pid = pid*10 + int(c-'0')
			}
			return pid
		}
	}
	t.Fatal("nobody serves " + dir)
	return 0
}

// A person without root mounts through fusermount3.
func TestMountAsOrdinaryUser(t *testing.T) {
	needFUSE(t)
	if os.Geteuid() != 0 {
		t.Skip("the other tests run as an ordinary user already")
	}
	testtool.Need(t, "setpriv", "fusermount3")
	if st, err := os.Stat("/dev/fuse"); err != nil || st.Mode().Perm()&0o006 != 0o006 {
		t.Skip("/dev/fuse is for root only here; udev makes it 0666")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "resflash-user-")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "program")
	data, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, data, 0o755))
	disk, err := os.ReadFile(diskImage(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "disk.img"), disk, 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mnt"), 0o755))
	require.NoError(t, os.Chown(filepath.Join(dir, "mnt"), 65534, 65534))
	as := func(command ...string) (string, error) {
		cmd := exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups"}, command...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// The image is root's: there is no writing to it.
	out, err := as(program, "mount", "disk.img", "mnt")
	require.NoError(t, err, out)
	assert.Contains(t, out, "resflash: mounted read-only: ")
	assert.Contains(t, out, "permission denied")
	out, err = as("cat", "mnt/root/try/immutable", "mnt/root/etc/passwd")
	assert.NoError(t, err, out)
	assert.Contains(t, out, "for ever\n")
	out, err = as("touch", "mnt/root/try/new")
	assert.Error(t, err)
	assert.Contains(t, out, "Read-only file system")
	out, err = as(program, "umount", "mnt")
	assert.NoError(t, err, out)
	assert.Empty(t, names(t, filepath.Join(dir, "mnt")))
	out, err = as(program, "rm", "disk.img:/try/plain")
	assert.Error(t, err)
	assert.Contains(t, out, "hint: --output NEW.img changes a copy instead\n")

	// This one is the person's own, and so are its files, whatever their owners.
	require.NoError(t, os.Mkdir(filepath.Join(dir, "home"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "home", "disk.img"), disk, 0o600))
	for _, name := range []string{"home", "home/disk.img"} {
		require.NoError(t, os.Chown(filepath.Join(dir, name), 65534, 65534))
	}
	out, err = as(program, "mount", "-q", "home/disk.img", "mnt")
	require.NoError(t, err, out)
	out, err = as("sh", "-ec", "echo new >mnt/root/etc/motd; chmod 4755 mnt/root/etc/motd; echo changed >mnt/root/try/setuid; rm mnt/root/try/plain; ln mnt/root/try/world mnt/root/link")
	assert.NoError(t, err, out)
	out, err = as(program, "umount", "mnt")
	assert.NoError(t, err, out)
	assert.Contains(t, out, "home/disk.img:d: 2 created, 1 removed, ")
	out, err = as(program, "ls", "-ln", "home/disk.img:/etc/motd")
	assert.NoError(t, err)
	assert.Contains(t, out, "-rwsr-xr-x  1  0  0  4  ", "it is as if root had made it")
	out, err = as("env", "TMPDIR=home", program, "with", "home/disk.img", "--", "sh", "-c", "echo with > $RESFLASH_ROOT/etc/with")
	assert.NoError(t, err, out)
	out, err = as(program, "cat", "home/disk.img:/etc/with")
	assert.NoError(t, err)
	assert.Equal(t, "with\n", out)
	assert.Equal(t, []string{"disk.img"}, names(t, filepath.Join(dir, "home")))
	out, err = as(program, "check", "home/disk.img:d")
	assert.NoError(t, err, out)
}

// ownFS makes a file system in a folder of its own and mounts it.
func ownFS(t *testing.T, args ...string) (image, dir string) {
	t.Helper()
	needFUSE(t)
	image = filepath.Join(t.TempDir(), "own.fs")
	works(t, "mkfs", "--type", "ffs2", "--size", "16M", image)
	return image, mounted(t, append(args, image)...)
}

func TestMountIsForWriting(t *testing.T) {
	image, dir := ownFS(t)
	require.NoError(t, os.MkdirAll(dir+"/etc/ssl", 0o755))
	require.NoError(t, os.WriteFile(dir+"/etc/motd", []byte("hello\n"), 0o644))
	require.NoError(t, os.Rename(dir+"/etc/ssl", dir+"/ssl"))
	out := works(t, "umount", dir)
	assert.Equal(t, image+": 3 created, 0 removed, 1 renamed, 0 changed, 6 B written\n"+
		"  created /etc\n  created /etc/ssl\n  created /etc/motd\n  renamed /etc/ssl to /ssl\n", out)
	assert.Equal(t, "hello\n", works(t, "cat", image+":/etc/motd"))
	assert.Contains(t, works(t, "ls", "-n", "-l", image+":/etc"), "  0  0  6  ", "it belongs to root")
	clean(t, image)

	// Again, and nothing is changed: nothing is said, and no byte is another.
	before := digest(t, image)
	works(t, "mount", image, dir)
	mustRead(t, dir+"/etc/motd")
	assert.Empty(t, works(t, "umount", dir))
	assert.True(t, before == digest(t, image))
}

func TestMountWithOwner(t *testing.T) {
	image, dir := ownFS(t, "--owner", "7:8")
	require.NoError(t, os.WriteFile(dir+"/file", nil, 0o644))
	var report mountReport
	decode(t, works(t, "umount", "--json", dir), &report)
	assert.Equal(t, mountReport{
		Image: image, Notes: []string{},
		Volumes: []changesJSON{{Volume: "whole", Created: 1, Names: []nameJSON{{Action: "created", Path: "/file"}}}},
	}, report)
	assert.Contains(t, works(t, "ls", "-n", "-l", image+":/"), "  7  8  0  ")
	_, stderr, code := resflash("mount", "--owner", "root", image, dir)
	assert.Equal(t, exitUsage, code, stderr)
}

// There is one writer. Readers see the last commit.
func TestSecondWriterIsRefused(t *testing.T) {
	image, dir := ownFS(t)
	require.NoError(t, os.WriteFile(dir+"/file", []byte("x"), 0o644))
	other := t.TempDir()
	pid := strconv.Itoa(serverOf(t, dir))
	holder := "resflash: " + image + ": another process is writing to the image: it is mounted on " + dir + " (process " + pid + ")\n"
	_, stderr, code := resflash("mount", image, other)
	assert.Equal(t, exitLocked, code)
	assert.Equal(t, holder+"hint: resflash umount "+dir+"; --read-only shows the last commit\n", stderr)
	_, stderr, code = resflash("rm", image+":/file")
	assert.Equal(t, exitLocked, code)
	assert.Equal(t, holder+"hint: resflash umount "+dir+"\n", stderr)

	f, err := os.Open(dir)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	f.Close()
	works(t, "mount", "--read-only", image, other)
	assert.Equal(t, "x", mustRead(t, other+"/file"))
	assert.ErrorIs(t, os.WriteFile(other+"/file", nil, 0o644), syscall.EROFS)
	works(t, "umount", other)
	works(t, "umount", dir)
	works(t, "rm", image+":/file")
}

// A signal ends a mount in the foreground, and everything is committed.
func TestForegroundMountCommits(t *testing.T) {
	needFUSE(t)
	image := filepath.Join(t.TempDir(), "own.fs")
	works(t, "mkfs", "--type", "ffs1", "--size", "16M", image)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs bytes.Buffer
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"mount", "--foreground", image, dir}, nil, &out, &errs) }()
	require.Eventually(t, func() bool {
		real, err := filepath.EvalSymlinks(dir)
		require.NoError(t, err)
		_, ok := findMount(real)
		return ok
	}, 10*time.Second, 5*time.Millisecond)
	// This process serves the mount, and must not wait for itself: the Go runtime
	// holds on to a thread while it adds an open file to its poller.
	command(t, "", "sh", "-c", "printf kept > "+dir+"/file")
	cancel()
	assert.Equal(t, 0, <-ended, errs.String())
	assert.Contains(t, out.String(), ": 1 created, 0 removed, 0 changed, 4 B written\n  created /file\n")
	assert.Equal(t, "kept", works(t, "cat", image+":/file"))
	clean(t, image)
}

// What the last commit of a mount in the background could not save, umount
// says. The journal cannot be written here: a directory has its name.
func TestUmountTellsThatACommitFailed(t *testing.T) {
	image, dir := ownFS(t, "--commit-interval", "1h")
	require.NoError(t, os.WriteFile(dir+"/file", []byte("lost"), 0o600))
	require.NoError(t, os.Mkdir(image+".resflash-journal", 0o700))
	stdout, stderr, code := resflash("umount", dir)
	assert.NotEqual(t, 0, code)
	assert.Contains(t, stderr, "resflash: the last changes are lost: ")
	assert.Contains(t, stdout, "1 created")
	require.NoError(t, os.Remove(image+".resflash-journal"))
	assert.Empty(t, works(t, "ls", image+":/"))
	clean(t, image)
}

// Damage that a mount in the background meets is told at the end.
func TestUmountTellsOfDamage(t *testing.T) {
	needFUSE(t)
	image := filepath.Join(t.TempDir(), "own.fs")
	works(t, "mkfs", "--type", "ffs2", "--size", "16M", image)
	works(t, "mkdir", "-p", image+":/dir/torn-entry")
	data, err := os.ReadFile(image)
	require.NoError(t, err)
	at := bytes.Index(data, []byte("torn-entry\x00"))
	require.Positive(t, at)
	setByte(t, image, int64(at-4), 3) // d_reclen
	dir := mounted(t, "--read-only", image)
	_, err = os.ReadDir(dir + "/dir")
	assert.ErrorIs(t, err, syscall.EIO)
	stdout, stderr, code := resflash("umount", dir)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "resflash: ")
	assert.Contains(t, stderr, ": entry length 259")
	assert.Equal(t, 0, code)
	_, _, code = resflash("check", image)
	assert.Equal(t, exitDamaged, code)
}

// A volume that was not unmounted cleanly is mounted, but not for writing.
func TestMountOfDirtyVolume(t *testing.T) {
	needFUSE(t)
	image, dir := filepath.Join(t.TempDir(), "own.fs"), t.TempDir()
	works(t, "mkfs", "--type", "ffs2", "--size", "16M", image)
	setByte(t, image, 65536+209, 0) // fs_clean
	_, stderr, code := resflash("mkdir", image+":/new")
	assert.Equal(t, exitDirty, code)
	assert.Contains(t, stderr, "hint: resflash check --repair "+image+"\n")
	_, stderr, code = resflash("mount", image, dir)
	assert.Equal(t, 0, code)
	assert.Contains(t, stderr, "resflash: read-only: volume whole: ")
	assert.Contains(t, stderr, "(resflash check --repair "+image+")\n")
	assert.ErrorIs(t, os.Mkdir(dir+"/new", 0o755), syscall.EROFS)
	works(t, "umount", dir)
	works(t, "check", "--repair", image)
	works(t, "mkdir", image+":/new")
	clean(t, image)
}

// setByte changes a byte of a file.
func setByte(t *testing.T, name string, off int64, b byte) {
	t.Helper()
	writeOver(t, name, off, []byte{b})
}

// writeOver writes over a part of a file.
func writeOver(t *testing.T, name string, off int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt(p, off)
	require.NoError(t, err)
}

// partitionStart is where a partition of an image begins.
func partitionStart(t *testing.T, name, id string) int64 {
	t.Helper()
	disk, err := image.Open(context.Background(), name)
	require.NoError(t, err)
	defer disk.Close()
	part, err := disk.Find(context.Background(), id)
	require.NoError(t, err)
	return part.Start
}

// Nobody is kept from an image in which nothing can be written to.
func TestMountOfWhatIsOnlyRead(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	data, err := os.ReadFile(diskImage(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(image, data, 0o600))
	squash := filepath.Join(t.TempDir(), "squashfs")
	testtool.Need(t, "mksquashfs")
	testtool.Run(t, "mksquashfs", t.TempDir(), squash, "-quiet", "-no-progress")
	p, err := os.ReadFile(squash)
	require.NoError(t, err)
	writeOver(t, image, partitionStart(t, image, "i"), p)
	dir := mounted(t, "-q", image+":i")
	assert.ErrorIs(t, os.WriteFile(dir+"/new", nil, 0o600), syscall.EROFS)
	other := mounted(t, "-q", image+":efi")
	writes(t, "x", image+":/new")
	works(t, "umount", other)
	works(t, "umount", dir)
}

// Through the tree that fstab makes, each volume gets what is written to it.
func TestMountOfAssembledTreeForWriting(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	data, err := os.ReadFile(diskImage(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(image, data, 0o600))
	dir := mounted(t, "-q", "--root", image)
	require.NoError(t, os.WriteFile(dir+"/cfg/new", []byte("cfg"), 0o600))
	require.NoError(t, os.WriteFile(dir+"/new", []byte("root"), 0o600))
	assert.ErrorIs(t, os.Rename(dir+"/new", dir+"/cfg/newer"), syscall.EXDEV)
	works(t, "umount", dir)
	assert.Equal(t, "cfgroot", works(t, "cat", image+":cfg:/new", image+":/new"))
	clean(t, image+":cfg", image+":root")
}

// While a commit takes long, umount says that it waits for it, and goes on to
// print the report only then.
func TestUmountSaysThatItWaits(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		ends[i] = c.(*net.UnixConn)
	}
	said := 0
	report, ok, err := endWaiter{ends[0]}.wait(context.Background(), time.Millisecond, func() {
		said++
		_, err := ends[1].Write([]byte(`{"image":"disk.img"}`))
		require.NoError(t, err)
		require.NoError(t, ends[1].Close())
	})
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "disk.img", report.Image)
	assert.Equal(t, 1, said)
}

// The number of a directory that was removed may be that of another: what was in
// the first is not said to have been in the second.
func TestRemovedDirectoryIsNotTakenForItsSuccessor(t *testing.T) {
	image := filepath.Join(t.TempDir(), "new.fs")
	works(t, "mkfs", "--type", "ext4", "--size", "8M", image)
	works(t, "mkdir", image+":/old")
	writes(t, "x", image+":/old/inside")
	dir := mounted(t, image)
	require.NoError(t, os.RemoveAll(dir+"/old"))
	require.NoError(t, os.Mkdir(dir+"/other", 0o755))
	out := works(t, "umount", dir)
	assert.NotContains(t, out, "inside")
	assert.Contains(t, out, "removed /old")
}
