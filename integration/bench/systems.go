package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is something that can mount the tree.
type system struct {
	name    string
	role    role
	image   string                                 // file to drop from the host's cache
	command func(mnt string) *exec.Cmd             // serves in the foreground until it is unmounted
	mount   func(mnt string) (func() error, error) // instead of command
	fresh   func() error                           // of one that is written to: empties it
}

type role int

const (
	ours    role = iota
	foreign      // fuse2fs, squashfuse
	kernel
	loopback
	memory
)

// available returns the systems that this host can run.
func available(f *fileset, binary string) []system {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	child := func(kind, path string) func(string) *exec.Cmd {
		return func(mnt string) *exec.Cmd { return exec.Command(self, serveVerb, kind, path, mnt) }
	}
	own := func(image string) func(string) *exec.Cmd {
		if exec.Command(binary, "mount", "--help").Run() == nil {
			return func(mnt string) *exec.Cmd { return exec.Command(binary, "mount", "--foreground", image, mnt) }
		}
		return child("image", image)
	}
	all := []system{{name: "ext4", role: ours, image: f.ext4, command: own(f.ext4)}}
	if f.ffs != "" {
		all = append(all, system{name: "ffs", role: ours, image: f.ffs, command: own(f.ffs)})
	}
	if _, err := exec.LookPath("fuse2fs"); err == nil {
		all = append(all, system{name: "fuse2fs", role: foreign, image: f.ext4, command: func(mnt string) *exec.Cmd {
			return exec.Command("fuse2fs", "-f", "-o", "ro", f.ext4, mnt)
		}})
	}
	if os.Geteuid() == 0 {
		all = append(all, system{name: "kernel", role: kernel, image: f.ext4, mount: func(mnt string) (func() error, error) {
			return func() error { return command("umount", mnt) }, command("mount", "-o", "loop,ro", f.ext4, mnt)
		}})
	}
	return append(all,
		system{name: "loopback", role: loopback, image: filepath.Join(f.source, bigFile), command: child("loopback", f.source)},
		system{name: "memory", role: memory, image: f.ext4, command: child("memory", f.source)},
		system{name: "rawmem", role: memory, image: f.ext4, command: child("rawmem", f.source)},
	)
}

// sample is one measurement.
type sample struct {
	wall time.Duration
	cpu  time.Duration // of the process that serves
	end  time.Duration // of the unmount, where it is written to
	peak int64         // memory of the process that serves, in KiB
}

// measure mounts the tree anew, does the work, and unmounts it.
func (s system) measure(w workload, f *fileset) (t sample, err error) {
	if s.role == kernel {
		dropCaches(s.image) // before: the loop device reads as it is mounted
	}
	if s.fresh != nil {
		if err := s.fresh(); err != nil {
			return t, err
		}
	}
	tree, pid, end, err := s.start(f.mnt)
	if err != nil {
		return t, err
	}
	if w.before != nil {
		err = w.before(tree)
	}
	dropCaches(s.image)
	if w.warm && err == nil {
		err = w.do(tree)
	}
	if err == nil {
		start, before := time.Now(), cpuTime(pid)
		err = w.do(tree)
		t = sample{wall: time.Since(start), cpu: cpuTime(pid) - before, peak: peakMemory(pid)}
	}
	start := time.Now()
	if e := end(); err == nil {
		err = e
	}
	if s.fresh != nil {
		t.end = time.Since(start)
	}
	return t, err
}

// start mounts, and returns where the tree is, the process that serves it (0:
// none) and a function that unmounts.
func (s system) start(mnt string) (tree string, pid int, end func() error, err error) {
	if s.mount != nil {
		end, err = s.mount(mnt)
		return mnt, 0, end, err
	}
	before, err := device(mnt)
	if err != nil {
		return "", 0, nil, err
	}
	cmd := s.command(mnt)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	end = func() error {
		if err := unmount(mnt); err != nil {
			return err
		}
		return <-exited
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-exited:
			return "", 0, nil, fmt.Errorf("%s ended before it was mounted: %v", s.name, err)
		default:
		}
		if now, err := device(mnt); err == nil && now != before {
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			return "", 0, nil, fmt.Errorf("%s has not mounted in a minute", s.name)
		}
	}
	if s.fresh != nil {
		return mnt, cmd.Process.Pid, end, nil
	}
	// A program that mounts volumes has the tree one level below.
	for _, pattern := range []string{bigFile, "*/" + bigFile} {
		if found, _ := filepath.Glob(filepath.Join(mnt, pattern)); len(found) > 0 {
			return filepath.Dir(found[0]), cmd.Process.Pid, end, nil
		}
	}
	_ = end()
	return "", 0, nil, fmt.Errorf("%s shows no %s", s.name, bigFile)
}

func device(path string) (uint64, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	return st.Dev, err
}

func unmount(mnt string) error {
	var err error
	for range 50 {
		if os.Geteuid() == 0 {
			err = unix.Unmount(mnt, 0)
		} else {
			err = command("fusermount3", "-u", mnt)
		}
		if err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("unmount %s: %w", mnt, err)
}

// dropCaches makes the next read of the image come from the medium, as far as
// we are allowed to.
func dropCaches(image string) {
	if os.Geteuid() == 0 {
		unix.Sync()
		_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
		return
	}
	if f, err := os.Open(image); err == nil {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
	}
}
