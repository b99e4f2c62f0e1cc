package main

import (
	"os"
	"runtime/pprof"
)

// profile runs fn, and writes a CPU profile to the file that the environment
// names, if it names one.
func profile(fn func()) {
	name := os.Getenv("BENCH_CPUPROFILE")
	if name == "" {
		fn()
		return
	}
	f, err := os.Create(name)
	if err != nil {
		fn()
		return
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err == nil {
		defer pprof.StopCPUProfile()
	}
	fn()
}
