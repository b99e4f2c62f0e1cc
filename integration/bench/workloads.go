package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// workload is something to do to a mounted tree.
type workload struct {
	name string
	what string
	warm bool // do it once before it is measured
	do   func(tree string) error

	// before, if there is one, is done to the empty file system first.
	before func(tree string) error

	// Targets: how fast to be at least, as the time of the other over ours.
	// 0 is no target.
	vsForeign, vsLoopback, vsMemory float64
}

// The tree that all of them are done to.
const (
	bigFile     = "big.bin"
	bigSize     = 256 << 20
	smallDir    = "small" // 5,000 files of 1 to 8 KiB
	smallFiles  = 5000
	findDir     = "find" // 20,000 files in 500 directories
	findDirs    = 500
	findPerDir  = 40
	listDir     = "list" // 10,000 entries
	listEntries = 10000
)

var workloads = []workload{
	{name: "seqcold", what: "sequential read 256 MB, cold", do: readBig, vsForeign: 1, vsLoopback: 0.9},
	{name: "seqwarm", what: "sequential read 256 MB, warm", warm: true, do: readBig, vsForeign: 1, vsLoopback: 0.9},
	{name: "random", what: "random reads of 4 KiB, 10,000, cold", do: readRandom},
	{name: "find", what: "find + stat, 20,000 files, cold", do: findAll, vsForeign: 4, vsMemory: 1 / 1.5},
	{name: "findwarm", what: "find + stat, 20,000 files, warm", warm: true, do: findAll, vsForeign: 4, vsMemory: 1 / 1.5},
	{name: "small", what: "read 5,000 small files, cold", do: readSmall},
	{name: "ls", what: "ls -l, 10,000 entries, cold", do: listAll, vsForeign: 4, vsMemory: 1 / 1.5},
}

// readBig reads as cat(1) does.
func readBig(tree string) error { return readAll(tree, bigSize) }

func readAll(tree string, size int) error {
	f, err := os.Open(filepath.Join(tree, bigFile))
	if err != nil {
		return err
	}
	defer f.Close()
	total := 0
	buf := make([]byte, 128<<10)
	for {
		n, err := f.Read(buf)
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != size {
		return fmt.Errorf("read %d bytes of %d", total, size)
	}
	return nil
}

func readRandom(tree string) error {
	f, err := os.Open(filepath.Join(tree, bigFile))
	if err != nil {
		return err
	}
	defer f.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 4096)
	for range 10_000 {
		if _, err := f.ReadAt(buf, rnd.Int64N(bigSize/4096)*4096); err != nil {
			return err
		}
	}
	return nil
}

// visit lists a directory as ls -U and find do, in its own order, and stats
// every entry.
func visit(dir string, fn func(path string, st *syscall.Stat_t) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return err
	}
	for _, name := range names {
		var st syscall.Stat_t
		path := dir + "/" + name
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		if err := fn(path, &st); err != nil {
			return err
		}
	}
	return nil
}

func findAll(tree string) error {
	files := 0
	var walk func(path string, st *syscall.Stat_t) error
	walk = func(path string, st *syscall.Stat_t) error {
		if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			return visit(path, walk)
		}
		files++
		return nil
	}
	if err := visit(filepath.Join(tree, findDir), walk); err != nil {
		return err
	}
	if files != findDirs*findPerDir {
		return fmt.Errorf("found %d files", files)
	}
	return nil
}

func listAll(tree string) error {
	n := 0
	err := visit(filepath.Join(tree, listDir), func(string, *syscall.Stat_t) error { n++; return nil })
	if err == nil && n != listEntries {
		err = fmt.Errorf("%d entries", n)
	}
	return err
}

func readSmall(tree string) error {
	buf := make([]byte, 16<<10)
	for i := range smallFiles {
		f, err := os.Open(filepath.Join(tree, smallName(i)))
		if err != nil {
			return err
		}
		_, err = io.ReadFull(f, buf)
		f.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%s: %v", f.Name(), err)
		}
	}
	return nil
}
