// Command resflash looks into disk images and copies out of them, without root,
// loop devices or a kernel that knows the file system.
//
// This package is glue: cli.go has the grammar, each verb is a struct with a Run
// method in a file of its own, address.go says how IMAGE:VOLUME:/path is read,
// exit.go what the exit codes mean. What the verbs do is in the libraries below
// image, image/export and fusefs. Tests call run in-process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
