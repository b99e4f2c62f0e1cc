// Bench measures how fast a mount is, next to others that do the same work:
// fuse2fs, the kernel (as root), and two ceilings built on go-fuse itself: its
// loopback file system without passthrough, and a tree held in memory. All are
// served by processes of their own, from the same files. Memory is there twice,
// as go-fuse's tree of nodes and as a bare table; the faster one counts.
//
// Writing is measured on empty file systems, FFS2 and ext4 against ext4 by
// fuse2fs and against the same two ceilings, and without a mount against makefs.
// Reading what is compressed is measured on squashfs, against squashfuse. An audit
// is measured against mounting the image and running find in it.
//
// What counts are ratios. Every round measures all systems one after the
// other, so that a busy host slows them alike; the median of the rounds is
// taken, and the host's own speed drops out of the ratio. The CPU time of the
// servers is printed as well: it is what remains comparable on a host that is
// busy with other things.
//
//	go run ./integration/bench [-rounds 5] [-check] [-only find,ls]
//
// With -check the exit status is 1 when a target is missed. As root the caches
// of the kernel are emptied before each cold measurement; without, only the
// image is dropped from them.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type config struct {
	rounds  int
	check   bool
	only    string
	systems string
	dir     string
	binary  string
	keep    bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == serveVerb {
		if err := serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench serve:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == populateVerb {
		if err := populateVolume(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench populate:", err)
			os.Exit(1)
		}
		return
	}
	var cfg config
	flag.IntVar(&cfg.rounds, "rounds", 5, "rounds to take the median of")
	flag.BoolVar(&cfg.check, "check", false, "fail when a target is missed")
	flag.StringVar(&cfg.only, "only", "", "comma-separated workloads; default all")
	flag.StringVar(&cfg.systems, "systems", "", "comma-separated systems; default all there are")
	flag.StringVar(&cfg.dir, "dir", "", "folder for the images (4 GB); default a temporary one")
	flag.StringVar(&cfg.binary, "resflash", "./resflash", "the program to measure")
	flag.BoolVar(&cfg.keep, "keep", false, "keep the images for the next run (with -dir)")
	flag.Parse()
	missed, err := run(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if missed > 0 && cfg.check {
		fmt.Fprintf(os.Stderr, "bench: %d targets missed\n", missed)
		os.Exit(1)
	}
}

func run(cfg config) (missed int, err error) {
	dir := cfg.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "resflash-bench-"); err != nil {
			return 0, err
		}
	}
	if !cfg.keep {
		defer os.RemoveAll(dir)
	}
	if cfg.binary, err = filepath.Abs(cfg.binary); err != nil {
		return 0, err
	}
	progress("making the images in %s", dir)
	files, err := prepare(dir)
	if err != nil {
		return 0, err
	}
	// First of all: a program's peak of memory counts from that of the process
	// that started it, which is small only now.
	var program bytes.Buffer
	if cfg.only == "" || listed(cfg.only, "inspect") || listed(cfg.only, "cat") {
		if err := measureProgram(&program, dir, cfg); err != nil {
			return 0, err
		}
	}
	if cfg.only == "" || listed(cfg.only, "audit") {
		n, err := measureAudit(&program, dir, cfg)
		if err != nil {
			return 0, err
		}
		missed += n
	}
	if cfg.only == "" || listed(cfg.only, populateVerb) {
		n, err := measurePopulate(&program, files, cfg.rounds)
		if err != nil {
			return 0, err
		}
		missed += n
	}
	sets := []set{{workloads, available(files, cfg.binary)}, {writings(files), writers(files, cfg.binary)}}
	squash, err := squashSets(files, cfg)
	if err != nil {
		return 0, err
	}
	for _, s := range append(sets, squash...) {
		n, err := measureAll(cfg, files, s.workloads, s.systems)
		if err != nil {
			return 0, err
		}
		missed += n
	}
	_, err = program.WriteTo(os.Stdout)
	return missed, err
}

// A set is what is measured and reported together.
type set struct {
	workloads []workload
	systems   []system
}

// measureAll does the workloads to the systems, and prints what came out.
func measureAll(cfg config, files *fileset, workloads []workload, systems []system) (missed int, err error) {
	if cfg.systems != "" {
		systems = slices.DeleteFunc(systems, func(s system) bool { return !listed(cfg.systems, s.name) })
	}
	chosen := slices.DeleteFunc(slices.Clone(workloads), func(w workload) bool { return cfg.only != "" && !listed(cfg.only, w.name) })
	if len(chosen) == 0 || len(systems) == 0 {
		return 0, nil
	}
	// times[workload][system] of each round
	times := map[string]map[string][]sample{}
	for round := range cfg.rounds {
		for _, w := range chosen {
			if times[w.name] == nil {
				times[w.name] = map[string][]sample{}
			}
			for i := range systems {
				// Another order each round: the first pays for what the
				// one before it left behind.
				s := systems[(i+round)%len(systems)]
				took, err := s.measure(w, files)
				if err != nil && s.role != ours {
					// go-fuse's tree of nodes loses a name now and then
					// while the kernel drops its caches.
					took, err = s.measure(w, files)
				}
				if err != nil {
					return 0, fmt.Errorf("%s on %s: %w", w.name, s.name, err)
				}
				times[w.name][s.name] = append(times[w.name][s.name], took)
			}
		}
		progress("round %d of %d done", round+1, cfg.rounds)
	}
	return report(os.Stdout, chosen, systems, times), nil
}

func listed(list, name string) bool { return slices.Contains(strings.Split(list, ","), name) }

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// medianOf is the median of what of returns for each measurement.
func medianOf(all []sample, of func(sample) time.Duration) time.Duration {
	var values []time.Duration
	for _, s := range all {
		values = append(values, of(s))
	}
	return median(values)
}

func wall(s sample) time.Duration { return s.wall }
func cpu(s sample) time.Duration  { return s.cpu }
func end(s sample) time.Duration  { return s.wall + s.end }

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
