package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A holder is the process that has an image locked for writing.
type holder struct {
	pid     int
	command string // its command line
	dir     string // where it has the image mounted, if it has
}

func (h holder) String() string {
	if h.dir != "" {
		return fmt.Sprintf("it is mounted on %s (process %d)", h.dir, h.pid)
	}
	return fmt.Sprintf("process %d (%s)", h.pid, h.command)
}

// lockHolder finds out who has the image locked, as far as one may look: the
// kernel shows the locks of an open file to those who may trace its process.
func lockHolder(name string) holder {
	st, err := os.Stat(name)
	if err != nil {
		return holder{}
	}
	sys := st.Sys().(*syscall.Stat_t)
	// "lock: 1: OFDLCK ADVISORY WRITE -1 fd:01:1234 0 EOF". The device there
	// is that of the file system, which some show differently to stat(2); the
	// descriptor's own file settles it.
	inode := ":" + strconv.FormatUint(sys.Ino, 10) + " "
	list, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range list {
		// Only what has a path is a file. To ask about an epoll descriptor may
		// take for ever: it is locked while its process waits for a dead mount.
		if target, err := os.Readlink(fd); err != nil || !filepath.IsAbs(target) {
			continue
		}
		proc := filepath.Dir(filepath.Dir(fd))
		data, err := os.ReadFile(filepath.Join(proc, "fdinfo", filepath.Base(fd)))
		if err != nil || !strings.Contains(string(data), "OFDLCK") || !strings.Contains(string(data), inode) {
			continue
		}
		if own, err := os.Stat(fd); err != nil || !os.SameFile(st, own) {
			continue
		}
		h := holder{}
		h.pid, _ = strconv.Atoi(filepath.Base(proc))
		args, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		words := strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
		h.command = strings.Join(words, " ")
		if len(h.command) > 60 {
			h.command = h.command[:60] + "…"
		}
		h.dir = mountOf(name, words)
		return h
	}
	return holder{}
}

// mountOf returns where the image is mounted, if a process with these
// arguments serves that mount.
func mountOf(name string, args []string) string {
	serves := false
	for _, a := range args {
		serves = serves || a == "mount"
	}
	source, err := filepath.Abs(name)
	if err != nil || !serves {
		return ""
	}
	for _, m := range hostMounts() {
		if m.fstype == mountType && m.source == source {
			return m.dir
		}
	}
	return ""
}
