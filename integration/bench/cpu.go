package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// memoryLimit is what a program of ours may take, whatever the size.
const memoryLimit = 128 << 20

// peakMemory returns the most memory that a process has had, in KiB, 0 if it
// cannot be read.
func peakMemory(pid int) (kib int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	if _, after, ok := strings.Cut(string(text), "VmHWM:"); ok {
		_, _ = fmt.Sscan(after, &kib)
	}
	return kib
}

// watchMemory watches a process until the returned function is called, which
// returns its peak. (What wait4(2) says of a process begins with the peak of
// the one that started it.)
func watchMemory(pid int) (peak func() int64) {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		most := peakMemory(pid)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				result <- most
				return
			case <-tick.C:
				most = max(most, peakMemory(pid))
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-result
	}
}

// cpuTime returns how long all threads of a process have run, in user space
// and in the kernel, from /proc (the numbers of getrusage have jiffies for a
// unit). 0 if it cannot be read.
func cpuTime(pid int) time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var total time.Duration
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err == nil {
			total += time.Duration(ns)
		}
	}
	return total
}
