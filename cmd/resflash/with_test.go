package main

import (
	"bytes"
	"context"
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
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/testtool"
)

// ownDisk makes a copy of the disk in a folder of its own, which also gets the
// temporary directories, and sees to it that nothing is left mounted.
func ownDisk(t *testing.T) {
	t.Helper()
	needFUSE(t)
	data, err := os.ReadFile(diskImage(t))
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("disk.img", data, 0o644))
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		assert.Empty(t, names(t, tmp), "no directory is left")
		for _, m := range hostMounts() {
			assert.False(t, strings.HasPrefix(m.dir, tmp), "%s is still mounted", m.dir)
		}
	})
}

// What a command does is saved if it succeeds: in all volumes.
func TestWithSaves(t *testing.T) {
	ownDisk(t)
	stdout, stderr, code := resflashWith("typed\n", "with", "disk.img", "--", "sh", "-ec",
		`cat > etc/typed; test "$(pwd -P)" = "$(cd "$RESFLASH_ROOT" && pwd -P)"; echo cfg > cfg/new; ls -d cfg mbr; rm try/plain`)
	require.Equal(t, 0, code, stderr)
	assert.Equal(t, "cfg\nmbr\n", stdout)
	assert.Equal(t, "typed\n", works(t, "cat", "disk.img:/etc/typed"))
	assert.Equal(t, "cfg\n", works(t, "cat", "disk.img:cfg:/new"))
	_, _, code = resflash("ls", "disk.img:/try/plain")
	assert.Equal(t, exitNotFound, code)
	clean(t, "disk.img")
}

// Otherwise nothing has happened, and the exit status is that of the command.
func TestWithDiscards(t *testing.T) {
	testtool.Sequential(t)
	ownDisk(t)
	before := digest(t, "disk.img")
	tree := works(t, "export", "--format", "mtree", "disk.img")
	for _, tt := range []struct {
		command []string
		code    int
		stderr  string
	}{
		{[]string{"sh", "-c", "echo x > etc/new; exit 7"}, 7, "resflash: disk.img: nothing was changed: the command exited with 7\n"},
		{[]string{"--", "sh", "-c", "echo x > etc/new; kill -9 $$"}, 137, "the command exited with 137\n"},
		{[]string{"nosuch"}, 127, "resflash: nosuch: no such command\n"},
		{[]string{"etc/fstab"}, 126, "resflash: etc/fstab: permission denied\n"},
		{[]string{"--"}, exitUsage, "which command?"},
	} {
		_, stderr, code := resflash(append([]string{"with", "disk.img"}, tt.command...)...)
		assert.Equal(t, tt.code, code, tt.command)
		assert.Contains(t, stderr, tt.stderr, tt.command)
	}
	assert.Equal(t, tree, works(t, "export", "--format", "mtree", "disk.img"))

	_, stderr, code := resflash("with", "-v", "--dry-run", "disk.img", "--", "sh", "-c", "echo x > etc/new")
	assert.Equal(t, 0, code)
	assert.Contains(t, stderr, "created /etc/new")
	assert.Equal(t, tree, works(t, "export", "--format", "mtree", "disk.img"))

	_, stderr, code = resflash("with", "disk.img", "true")
	assert.Equal(t, 0, code)
	assert.Equal(t, "resflash: disk.img: the command has changed nothing\n", stderr)
	assert.Len(t, before, len(digest(t, "disk.img")))
	clean(t, "disk.img")
}

// The result can be another image, and the volume another.
func TestWithOutputAndVolume(t *testing.T) {
	testtool.Sequential(t)
	ownDisk(t)
	before := digest(t, "disk.img")
	works(t, "with", "-o", "new.img", "--owner", "5:6", "disk.img:cfg", "--", "touch", "made")
	assert.Equal(t, before, digest(t, "disk.img"))
	assert.Contains(t, works(t, "ls", "-ln", "new.img:cfg:/made"), "  5  6  0  ")
	_, _, code := resflash("with", "-o", "other.img", "disk.img", "false")
	assert.Equal(t, 1, code)
	assert.NoFileExists(t, "other.img")
	_, _, code = resflash("with", "disk.img:nosuch", "true")
	assert.Equal(t, exitNoVolume, code)
	_, _, code = resflash("with", "disk.img:e", "true")
	assert.Equal(t, exitNotImage, code)
	works(t, "mkfs", "--type", "ffs2", "--size", "8M", "bare.fs")
	works(t, "with", "bare.fs", "mkdir", "dir")
	clean(t, "new.img", "bare.fs")
	setByte(t, "bare.fs", 65536+209, 0) // fs_clean
	_, stderr, code := resflash("with", "bare.fs", "true")
	assert.Equal(t, exitDirty, code)
	assert.Contains(t, stderr, "hint: resflash check --repair bare.fs\n")
}

// A process that is left behind and uses the mount cannot go on with it.
func TestWithLeavesNoMountToOthers(t *testing.T) {
	ownDisk(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	_, stderr, code := resflash("with", "disk.img", "--", "sh", "-c", "echo x > etc/new; sleep 60 < etc/new > /dev/null 2>&1 & echo $! > "+pidFile+"; exit 0")
	pid, err := strconv.Atoi(strings.TrimSpace(mustRead(t, pidFile)))
	require.NoError(t, err)
	defer syscall.Kill(pid, syscall.SIGKILL)
	assert.Equal(t, exitMount, code)
	assert.Contains(t, stderr, "nothing was changed: the mount could not be ended")
	assert.Contains(t, stderr, "left processes behind")
	_, _, code = resflash("ls", "disk.img:/etc/new")
	assert.Equal(t, exitNotFound, code)
}

// A signal to this program ends the command, and nothing has happened.
func TestInterruptedWith(t *testing.T) {
	ownDisk(t)
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs bytes.Buffer
	ended := make(chan int)
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		ended <- run(ctx, []string{"with", "disk.img", "--", "sh", "-c", "echo x > etc/new; touch " + ready + "; exec sleep 60"}, strings.NewReader(""), &out, &errs)
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 20*time.Second, 5*time.Millisecond)
	cancel()
	assert.Equal(t, exitInterrupted, <-ended)
	assert.Contains(t, errs.String(), "disk.img: nothing was changed: interrupted\n")
	_, _, code := resflash("ls", "disk.img:/etc/new")
	assert.Equal(t, exitNotFound, code)
}

// The key that interrupts is for the command, which decides: this one ends by
// it, and that one goes on.
func TestKeyThatInterruptsWith(t *testing.T) {
	testtool.Sequential(t)
	ownDisk(t)
	self, err := os.Executable()
	require.NoError(t, err)
	for _, tt := range []struct {
		trap string
		code int
	}{{"", 130}, {"trap 'echo caught > etc/caught; exit 0' INT; ", 0}} {
		ready := filepath.Join(t.TempDir(), "ready")
		cmd := exec.Command(self, "with", "disk.img", "--", "sh", "-c", tt.trap+"echo x > etc/new; touch "+ready+"; while :; do sleep 0.05; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 20*time.Second, 5*time.Millisecond)
		time.Sleep(50 * time.Millisecond)
		require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
		cmd.Wait()
		assert.Equal(t, tt.code, cmd.ProcessState.ExitCode())
		_, _, code := resflash("ls", "disk.img:/etc/caught")
		assert.Equal(t, tt.code == 0, code == 0)
	}
}

// A shell is $SHELL, and its exit status decides.
func TestShell(t *testing.T) {
	ownDisk(t)
	t.Setenv("SHELL", "/bin/sh")
	_, stderr, code := resflashWith("echo one > etc/one\nexit 0\n", "shell", "disk.img")
	assert.Equal(t, 0, code, stderr)
	assert.Contains(t, stderr, `disk.img is mounted on `)
	assert.Equal(t, "one\n", works(t, "cat", "disk.img:/etc/one"))
	_, stderr, code = resflashWith("echo two > etc/two\nexit 3\n", "shell", "disk.img")
	assert.Equal(t, 3, code)
	assert.Contains(t, stderr, "nothing was changed: the command exited with 3\n")
	_, _, code = resflash("ls", "disk.img:/etc/two")
	assert.Equal(t, exitNotFound, code)
}

// On a terminal the person is asked whether a shell that ended with the status
// of its last command has done what was wanted.
func TestShellAsks(t *testing.T) {
	ownDisk(t)
	t.Setenv("SHELL", "/bin/false")
	for answer, code := range map[string]int{"y\n": 0, "n\n": 1, "\n": 1} {
		ptm, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
		require.NoError(t, err)
		require.NoError(t, unix.IoctlSetPointerInt(int(ptm.Fd()), unix.TIOCSPTLCK, 0))
		pts, err := unix.IoctlRetInt(int(ptm.Fd()), unix.TIOCGPTPEER)
		require.NoError(t, err)
		terminal := os.NewFile(uintptr(pts), "terminal")
		_, err = ptm.WriteString(answer)
		require.NoError(t, err)
		var out, errs bytes.Buffer
		assert.Equal(t, code, run(context.Background(), []string{"shell", "disk.img"}, terminal, &out, &errs), answer)
		assert.Contains(t, errs.String(), "the shell exited with 1. Save the changes all the same? [y/N] ")
		terminal.Close()
		ptm.Close()
	}
}
