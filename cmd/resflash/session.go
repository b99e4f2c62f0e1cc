package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image"
)

// A session is a mount for one command, and one transaction.
type session struct {
	w     *world
	flags sessionFlags
	argv  []string
	shell bool // the command is a person's shell
	disk  *image.Disk
}

// run mounts the image, runs the command, ends the mount and then commits, or
// does not.
func (s *session) run(ctx context.Context, name string) error {
	a := parseAddress(name, isHostFile)
	if a.path != "" {
		return usageError("name the volume, and look below $RESFLASH_ROOT", fmt.Errorf("%s: a path cannot be mounted", name))
	}
	var err error
	s.disk, err = s.w.openEdit(ctx, a.image, image.EditOptions{Atomic: true, DryRun: s.flags.DryRun, Output: s.flags.Output})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "resflash-")
	if err == nil {
		defer os.Remove(dir)
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return hostError(err)
	}
	server, err := s.mount(ctx, a.volume, dir)
	if err != nil {
		return mountError(err)
	}
	s.greet(dir)
	// From here on a key that interrupts is for the command: how that ends
	// decides, as with system(3).
	defer signal.Reset(os.Interrupt, syscall.SIGQUIT)
	code, runErr := s.command(ctx, dir)
	keep := runErr == nil && s.keeps(ctx, code)
	if err := s.unmount(server); err != nil {
		s.discarded("the mount could not be ended")
		return mountError(err)
	}
	switch {
	case ctx.Err() != nil:
		s.discarded("interrupted")
		return ctx.Err()
	case runErr != nil:
		s.discarded("the command did not run")
		return runErr
	case !keep:
		s.discarded(fmt.Sprintf("the command exited with %d", code))
		return reported{code}
	}
	return s.commit(ctx, server)
}

func (s *session) discarded(why string) { s.w.note("%s: nothing was changed: %s", s.disk.Name(), why) }

// mount mounts the system in the image, or one volume of it.
func (s *session) mount(ctx context.Context, volume, dir string) (*fusefs.Server, error) {
	m := &mounting{w: s.w, disk: s.disk, write: true, mountCmd: &mountCmd{
		Volume: volume, Owner: s.flags.Owner, KeepOwner: s.flags.KeepOwner, CommitInterval: time.Hour, Dir: dir,
	}}
	p, err := s.disk.Find(ctx, volume)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.disk.Name(), err)
	}
	// A volume that others are only looked at in is no place for a command
	// that is to change something.
	v, err := p.Edit(ctx)
	if err != nil {
		return nil, volumeEditError(s.disk.Name(), p, err)
	}
	if volume == "" {
		// Without an fstab there is nothing to be mounted in the root.
		_, err := v.Tree.Resolve(ctx, "/etc/fstab")
		if m.Root = err == nil; !m.Root {
			m.Volume = p.ID
		}
	}
	server, err := m.mount(ctx)
	for _, n := range m.notes {
		s.w.note("%s", n)
	}
	return server, err
}

// command runs the command, and returns its exit status as a shell gives it.
func (s *session) command(ctx context.Context, dir string) (int, error) {
	s.w.out.Flush()
	cmd, err := startIn(dir, s.argv)
	if err != nil {
		return 0, err
	}
	cmd.Env = append(cmd.Env, "RESFLASH_ROOT="+dir, "PWD="+dir)
	if abs, err := filepath.Abs(s.disk.Name()); err == nil {
		cmd.Env = append(cmd.Env, "RESFLASH_IMAGE="+abs)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.w.stdin, s.w.stdout, s.w.stderr
	if err := cmd.Start(); err != nil {
		return 0, hostError(err)
	}
	// Not before it has started: it would inherit that.
	signal.Ignore(os.Interrupt, syscall.SIGQUIT)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return exitOf(cmd, err)
	case <-ctx.Done():
	}
	// Whoever ends this wants the command to end.
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(killAfter):
		cmd.Process.Kill()
		<-done
	}
	return 128 + int(syscall.SIGTERM), nil
}

// killAfter is how long a command has to end when it is asked to.
const killAfter = 10 * time.Second

// exitOf is the exit status of a command that has ended.
func exitOf(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 1, hostError(err)
	}
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return 128 + int(st.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// stragglers is how long processes that the command has left behind may keep
// the mount busy.
const stragglers = 3 * time.Second

// unmount ends the mount. In any case there is none when it returns.
func (s *session) unmount(server *fusefs.Server) error {
	for end := time.Now().Add(stragglers); ; {
		err := server.Unmount()
		if err == nil || !errors.Is(err, syscall.EBUSY) {
			return err
		}
		if time.Now().After(end) {
			return errors.Join(&fusefs.MountError{Op: "unmount", Dir: server.Dir(), Err: syscall.EBUSY,
				Hint: "the command has left processes behind that use files there: let it wait for them"}, server.Detach())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// commit saves the changes.
func (s *session) commit(ctx context.Context, server *fusefs.Server) error {
	end := s.w.waiting("saving")
	defer end()
	s.w.signalIsEnd = true // it comes too late
	err := s.disk.Commit(context.WithoutCancel(ctx))
	end()
	if err != nil {
		s.discarded("it could not be saved")
		return fmt.Errorf("%s: %w", s.disk.Name(), err)
	}
	report := newReport(s.disk.Name(), server.Changes(), nil, nil)
	switch {
	case len(report.Volumes) == 0:
		s.w.note("%s: the command has changed nothing", s.disk.Name())
	case s.flags.Verbose || s.flags.DryRun:
		for _, line := range report.lines(s.w, true) {
			s.w.note("%s", line)
		}
	}
	return nil
}
