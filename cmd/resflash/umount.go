package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type umountCmd struct {
	Lazy    bool   `short:"l" help:"Take the mount away although it is in use; it ends when its last user does."`
	Verbose bool   `short:"v" help:"List all names that were changed."`
	JSON    bool   `name:"json" help:"Print a JSON document."`
	Dir     string `arg:"" help:"The mount point."`
}

// Help is the long help text.
func (*umountCmd) Help() string {
	return `Ends a mount that "resflash mount" made, waits until everything is committed and the
image is no longer in use, and says what was changed. If the last commit fails (the disk
of the host is full), that is an error, and the image is as of the commit before. What
went wrong while the mount was in use is printed as well.

	resflash umount mnt
	resflash umount --json mnt
	resflash umount --lazy mnt

--json prints {"image", "volumes": [{"volume", "created", "removed", "renamed",
"changed", "written", "names": [{"action", "path", "to"}], "more"}], "notes", "error",
"code", "hint"}.` + exitStatus
}

// mountType is the type of our mounts, as the host lists them.
const mountType = "fuse.resflash"

// patience is how long umount waits for the last commit before it says so.
const patience = 2 * time.Second

// Run unmounts.
func (c *umountCmd) Run(ctx context.Context, w *world) error {
	fail := func(hint string, err error) error {
		return &exitError{exitMount, hint, fmt.Errorf("unmount %s: %w", c.Dir, err)}
	}
	dir, err := realDir(c.Dir)
	if err != nil {
		return fail("", leaf(err))
	}
	m, ok := findMount(dir)
	switch {
	case !ok:
		return fail("", errors.New("not mounted"))
	case m.fstype != mountType:
		return fail("", fmt.Errorf("a file system of type %s, not a mount of resflash", m.fstype))
	}
	end := awaitEnd(m)
	err = unmount(dir, c.Lazy)
	switch {
	case errors.Is(err, syscall.EBUSY):
		end.close()
		return fail("fuser -vm "+c.Dir+" shows who uses it; --lazy takes it away all the same", err)
	case err != nil:
		end.close()
		return fail("", err)
	}
	if c.Lazy {
		end.close()
		return nil
	}
	report, ok, err := end.wait(ctx, patience, func() { w.note("%s: waiting for the last commit", c.Dir) })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fail("", err)
	case !ok:
		return nil
	}
	if c.JSON {
		if err := w.document(report); err != nil {
			return err
		}
	} else {
		report.print(w, c.Verbose)
	}
	for _, n := range report.Notes {
		w.note("%s", n)
	}
	return report.err()
}

// realDir is the absolute path of a mount point, free of symbolic links. The
// directory itself is not touched: its server may be dead.
func realDir(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if st, err := os.Lstat(abs); err == nil && st.Mode()&os.ModeSymlink != 0 {
		return filepath.EvalSymlinks(abs)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// unmount ends the mount on dir: by itself when root, through fusermount3
// otherwise.
func unmount(dir string, lazy bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		if err := unix.Unmount(dir, flags); err != unix.EPERM {
			return err
		}
	}
	args := []string{"-u", "--", dir}
	if lazy {
		args = []string{"-u", "-z", "--", dir}
	}
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		helper = "fusermount"
	}
	cmd := exec.Command(helper, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	switch {
	case strings.Contains(strings.ToLower(text), "busy"):
		return syscall.EBUSY
	case text != "":
		return errors.New(text)
	}
	return err
}
