package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// execInDir names, to a process that was started by [startIn], the directory
// in which it is to become another program.
const execInDir = "RESFLASH_EXEC_IN"

// startIn prepares a command that is run in a directory which this process
// serves itself. Between fork and exec nothing else may run in this process,
// so what must look into the directory, changing to it and executing, cannot be
// done there: this program is run again, and does that.
func startIn(dir string, argv []string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, hostError(err)
	}
	cmd := exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), execInDir+"="+dir)
	return cmd, nil
}

// The exit status of a command that could not be run, as shells have it.
const (
	exitNoCommand = 127
	exitCannotRun = 126
)

// execIn becomes the command, in the directory that it belongs in. It returns
// only if that fails, or nothing of the kind was asked for.
func execIn() {
	dir, ok := os.LookupEnv(execInDir)
	if !ok {
		return
	}
	os.Unsetenv(execInDir)
	argv := os.Args[1:]
	err := os.Chdir(dir)
	if err == nil {
		var path string
		if path, err = exec.LookPath(argv[0]); err == nil || errors.Is(err, exec.ErrDot) {
			err = syscall.Exec(path, argv, os.Environ())
		}
	}
	code := exitCannotRun
	if notFound := (*exec.Error)(nil); errors.As(err, &notFound) {
		err = notFound.Err
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code, err = exitNoCommand, errors.New("no such command")
	}
	fmt.Fprintf(os.Stderr, "resflash: %s: %v\n", argv[0], err)
	os.Exit(code)
}
