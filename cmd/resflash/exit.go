package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// The exit codes. Scripts rely on them: a number is never given a new meaning.
const (
	exitOK           = 0
	exitFailure      = 1   // anything else, and failures of several kinds in one run
	exitUsage        = 2   // the command line makes no sense
	exitNotFound     = 3   // no such image, or no such file in it
	exitNoVolume     = 4   // the image has no volume of that name
	exitNotImage     = 5   // nothing in there that is known: wrong magic, empty, too short
	exitDamaged      = 6   // structures that cannot be right, or that are cut off
	exitNotSupported = 7   // known, but beyond this program
	exitMount        = 8   // mount point busy or not empty, FUSE missing
	exitHost         = 9   // the host refused: permission, disk full, I/O error
	exitLocked       = 10  // somebody else is writing to the image
	exitDirty        = 11  // a file system must be checked before it is written to
	exitFull         = 12  // no space or no inode left in a volume
	exitFindings     = 13  // an audit found something
	exitIncomplete   = 14  // an audit could not read everything
	exitNotSealed    = 15  // sealing would leave what must not be shipped
	exitDifferent    = 16  // what was compared is not the same
	exitInterrupted  = 130 // ended by SIGINT, SIGTERM or SIGHUP
	exitPipe         = 141 // the reader of standard output went away
)

// exitStatus is the last section of every help text.
const exitStatus = `

EXIT STATUS

	0    success
	1    failure of another kind, or failures of several kinds
	2    wrong usage
	3    no such image, or no such file in it
	4    the image has no such volume
	5    not an image or file system that is known
	6    damaged or truncated
	7    known, but not supported
	8    mount point busy or not empty, or FUSE missing
	9    the host refused (permission, disk full, I/O error)
	10   somebody else is writing to the image
	11   a file system must be checked before it is written to
	12   a volume of the image is full
	13   an audit found something
	14   an audit could not read everything
	15   sealing would leave what must not be shipped
	16   what was compared is not the same
	130  interrupted`

// An exitError is an error whose exit code, and perhaps hint, its maker knows.
type exitError struct {
	code int
	hint string // what the user can do; empty if nothing is known
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(hint string, err error) error { return &exitError{exitUsage, hint, err} }

func hostError(err error) error { return &exitError{exitHost, "", err} }

// reported is the error of a run whose errors have all been printed.
type reported struct{ code int }

func (reported) Error() string { return "failed" }

// exitCode finds the exit code of an error.
func exitCode(err error) int {
	var (
		done    reported
		known   *exitError
		parse   *kong.ParseError
		volume  *image.UnknownVolumeError
		corrupt *vfs.CorruptError
		unsupp  *vfs.NotSupportedError
		limit   *vfs.LimitError
		beyond  *blockio.RangeError
		dirty   *vfs.DirtyError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &done):
		return done.code
	case errors.As(err, &known):
		return known.code
	case errors.As(err, &parse):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, syscall.EPIPE):
		return exitPipe
	case errors.As(err, &volume):
		return exitNoVolume
	case errors.Is(err, blockio.ErrLocked):
		return exitLocked
	case errors.As(err, &dirty):
		return exitDirty
	case errors.As(err, &unsupp), errors.As(err, &limit):
		return exitNotSupported
	case errors.As(err, &corrupt), errors.As(err, &beyond), errors.Is(err, io.ErrUnexpectedEOF):
		return exitDamaged
	case errors.Is(err, image.ErrUnknown), errors.Is(err, image.ErrEmpty),
		errors.Is(err, image.ErrSwap), errors.Is(err, image.ErrTooSmall):
		return exitNotImage
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return exitNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT),
		errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EMFILE):
		return exitHost
	}
	return exitFailure
}

// hint says what the user can do about err, or nothing.
func hint(err error) string {
	var (
		known  *exitError
		parse  *kong.ParseError
		volume *image.UnknownVolumeError
		unsupp *vfs.NotSupportedError
	)
	switch {
	case errors.As(err, &known):
		return known.hint
	case errors.As(err, &parse):
		if n := parse.Context.Selected(); n != nil {
			return "resflash help " + n.Name
		}
		return "resflash --help"
	case errors.As(err, &volume):
		if strings.Contains(volume.Name, "/") {
			return "a path begins with a slash: IMAGE:/etc/fstab"
		}
		return "resflash inspect shows what is in the image"
	case errors.As(err, &unsupp):
		return ""
	case exitCode(err) == exitNotImage && !errors.Is(err, image.ErrEmpty) && !errors.Is(err, image.ErrSwap):
		return "is it compressed, or encrypted? resflash reads raw images"
	}
	return ""
}
