// Command resflash looks into disk images, changes, mounts, makes and checks the
// file systems in them, without root, loop devices or a kernel that knows them.
//
// This package is glue: cli.go has the grammar, each verb is a struct with a Run
// method in a file of its own, address.go says how IMAGE:VOLUME:/path is read,
// exit.go what the exit codes mean, and edit.go makes one transaction of what a
// verb changes. What the verbs do is in the libraries below image, in
// image/export, image/populate and fusefs. Tests call run in-process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	execIn()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
