package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A mount that is not in the foreground is served by a second process: the
// same program with the same request, in a session of its own. It has a pipe
// on which it says that the mount is ready; if it ends before, its errors and
// exit code are those of the command.

// readyFD names the descriptor of that pipe to the child.
const readyFD = "RESFLASH_READY_FD"

func isDaemon() bool { return os.Getenv(readyFD) != "" }

// daemonize starts the child and waits until it is ready.
func daemonize(ctx context.Context, w *world, c *mountCmd, name string) error {
	self, err := os.Executable()
	if err != nil {
		return hostError(err)
	}
	args := []string{"mount", "--volume=" + c.Volume}
	if c.Root {
		args = []string{"mount", "--root"}
	}
	for flag, set := range map[string]bool{"--allow-other": c.AllowOther, "--read-only": c.ReadOnly, "--keep-owner": c.KeepOwner} {
		if set {
			args = append(args, flag)
		}
	}
	if c.Owner != "" {
		args = append(args, "--owner="+c.Owner)
	}
	args = append(args, "--commit-interval="+c.CommitInterval.String())
	if w.quiet {
		args = append(args, "--quiet")
	}
	if w.sectorSize != 0 {
		args = append(args, fmt.Sprintf("--sector-size=%d", w.sectorSize))
	}
	args = append(args, "--", name, c.Dir)

	readEnd, writeEnd, err := os.Pipe()
	if err != nil {
		return hostError(err)
	}
	defer readEnd.Close()
	// Errors are read from a pipe, which does not keep the command waiting
	// for the child as its own standard error would.
	talkRead, talkWrite, err := os.Pipe()
	if err != nil {
		writeEnd.Close()
		return hostError(err)
	}
	defer talkRead.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), readyFD+"=3")
	cmd.Stderr = talkWrite
	cmd.ExtraFiles = []*os.File{writeEnd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	writeEnd.Close()
	talkWrite.Close()
	if err != nil {
		return hostError(err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	// Both pipes are closed when the mount is ready, or the child is dead.
	relayed := make(chan struct{})
	go func() {
		io.Copy(w.stderr, talkRead)
		close(relayed)
	}()
	word, _ := io.ReadAll(readEnd)
	<-relayed
	if string(word) == readyWord {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return reported{exit.ExitCode()}
	}
	return fmt.Errorf("the process that was to serve the mount ended: %v", cmd.ProcessState)
}

const readyWord = "ready\n"

// ready tells the waiting command that the mount can be used, and lets go of
// its standard error (what goes wrong from now on nobody reads) and of the
// working directory, which a daemon must not keep busy.
func ready() {
	if !isDaemon() {
		return
	}
	unix.CloseOnExec(3)
	os.Chdir("/")
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			unix.Dup2(int(null.Fd()), fd)
		}
		null.Close()
	}
	pipe := os.NewFile(3, "ready")
	io.WriteString(pipe, readyWord)
	pipe.Close()
}

// A hostMount is a line of /proc/self/mountinfo.
type hostMount struct {
	device string // "0:45"
	dir    string
	fstype string
	source string
}

func hostMounts() []hostMount {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var list []hostMount
	for line := range strings.Lines(string(data)) {
		// 36 35 0:45 / /mnt rw,noatime shared:1 - fuse.resflash SOURCE OPTIONS
		head, tail, _ := strings.Cut(line, " - ")
		f, t := strings.Fields(head), strings.Fields(tail)
		if len(f) >= 5 && len(t) >= 2 {
			list = append(list, hostMount{f[2], unescapeMount(f[4]), t[0], unescapeMount(t[1])})
		}
	}
	return list
}

// findMount returns the topmost mount on dir, which is an absolute path free
// of symbolic links.
func findMount(dir string) (found hostMount, ok bool) {
	for _, m := range hostMounts() {
		if m.dir == dir {
			found, ok = m, true
		}
	}
	return found, ok
}

// unescapeMount undoes the escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
