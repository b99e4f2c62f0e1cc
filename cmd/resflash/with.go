package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sessionFlags are those of the verbs that mount an image for one command.
type sessionFlags struct {
	DryRun    bool   `xor:"result" help:"Let the command do what it likes, say what it changed, and change nothing."`
	Output    string `short:"o" xor:"result" placeholder:"NEW.img" help:"Leave the image as it is: the result is NEW.img, which begins as a reflink or sparse copy."`
	Owner     string `placeholder:"UID:GID" xor:"owner" help:"Whom new files belong to (0:0)."`
	KeepOwner bool   `xor:"owner" help:"New files belong to whoever makes them."`
	Verbose   bool   `short:"v" help:"Say what was changed."`
}

const sessionHelp = `The image is mounted in a temporary directory, as "resflash mount --root" does it: the
root volume, with the others where its /etc/fstab has them; of IMAGE:VOLUME, that volume
alone. RESFLASH_ROOT names the directory. No root privilege is needed, and the command
runs with yours: its programs are those of the host, and it can change everything in the
image. All changes are one transaction.`

type withCmd struct {
	sessionFlags
	Image   string   `arg:"" help:"IMAGE or IMAGE:VOLUME."`
	Command []string `arg:"" passthrough:"" help:"The command and its arguments; -- may be in front."`
}

// Help is the long help text.
func (*withCmd) Help() string {
	return `Runs a command in an image. If it exits with 0 the changes are saved, and otherwise
nothing has happened. The exit status is that of the command: 128 and the number of the
signal if one ended it, 127 if there is no such command.

` + sessionHelp + `

	resflash with disk.img -- sh -c 'sed -i s/fw1/fw7/ etc/myname && rm -rf var/log/*'
	resflash with -o new.img disk.img -- rsync -a ../overlay/ .
	resflash with disk.img:efi -- cp grub.cfg EFI/BOOT/` + exitStatus
}

// Run runs the command.
func (c *withCmd) Run(ctx context.Context, w *world) error {
	argv := c.Command
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return usageError("resflash with IMAGE -- COMMAND", errors.New("which command?"))
	}
	s := session{w: w, flags: c.sessionFlags, argv: argv}
	return s.run(ctx, c.Image)
}

type shellCmd struct {
	sessionFlags
	Image string `arg:"" help:"IMAGE or IMAGE:VOLUME."`
}

// Help is the long help text.
func (*shellCmd) Help() string {
	return `Runs a shell ($SHELL, or sh) in an image. If it exits with 0 ("exit 0") the changes are
saved, and otherwise ("exit 1") nothing has happened. A shell that is left with no
number exits with that of the last command: on a terminal it is asked then whether the
changes are to be saved.

` + sessionHelp + `

	resflash shell disk.img
	resflash shell -o new.img disk.img:inactive` + exitStatus
}

// Run runs the shell.
func (c *shellCmd) Run(ctx context.Context, w *world) error {
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	s := session{w: w, flags: c.sessionFlags, argv: []string{shell}, shell: true}
	return s.run(ctx, c.Image)
}

// greet says what a shell is in.
func (s *session) greet(dir string) {
	if s.shell {
		s.w.note("%s is mounted on %s; \"exit 0\" saves the changes, \"exit 1\" discards them", s.disk.Name(), dir)
	}
}

// keeps reports whether the changes are to be saved, after an exit status.
func (s *session) keeps(ctx context.Context, code int) bool {
	if code == 0 {
		return true
	}
	if !s.shell || !isTerminal(s.w.stdin) || ctx.Err() != nil {
		return false
	}
	fmt.Fprintf(s.w.stderr, "resflash: the shell exited with %d. Save the changes all the same? [y/N] ", code)
	var answer [64]byte
	n, _ := s.w.stdin.Read(answer[:])
	text := strings.ToLower(strings.TrimSpace(string(answer[:n])))
	return ctx.Err() == nil && (text == "y" || text == "yes")
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
