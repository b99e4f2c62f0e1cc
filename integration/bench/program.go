package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"
)

// largeImage is how large the image is that inspect and cat are measured on.
// Nearly all of it is a hole: what is measured is that time and memory do not
// grow with the size.
const largeImage = 8 << 30

// measureProgram prints how long the program takes to inspect a large image
// and to print a file from it, and how much memory.
func measureProgram(w io.Writer, dir string, cfg config) error {
	if _, err := os.Stat(cfg.binary); err != nil {
		progress("%s is not there: inspect and cat are not measured", cfg.binary)
		return nil
	}
	image := filepath.Join(dir, "large.img")
	src := filepath.Join(dir, "large")
	if err := os.MkdirAll(filepath.Join(src, "etc"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, "etc", "motd"), []byte("hello\n"), 0o644); err != nil {
		return err
	}
	const start = 1 << 20
	_ = os.Remove(image)
	if err := command("truncate", "-s", fmt.Sprint(int64(largeImage)), image); err != nil {
		return err
	}
	table := exec.Command("sh", "-c", fmt.Sprintf("echo 'label: dos\nstart=%d, type=83' | sfdisk -q %q", start/512, image))
	if out, err := table.CombinedOutput(); err != nil {
		return fmt.Errorf("sfdisk: %w\n%s", err, out)
	}
	if err := command("mke2fs", "-q", "-F", "-t", "ext4", "-E", fmt.Sprintf("offset=%d", start), "-d", src, image, fmt.Sprint((largeImage-start)/1024)); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nAn image of %d GiB, medians of %d runs:\n", largeImage>>30, cfg.rounds)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, args := range [][]string{{"inspect", image}, {"cat", image + ":p1:/etc/motd"}} {
		var times []time.Duration
		var peak int64
		for range cfg.rounds {
			cmd := exec.Command(cfg.binary, args...)
			begin := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%v: %w\n%s", args, err, out)
			}
			times = append(times, time.Since(begin))
			peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) // KiB
		}
		fmt.Fprintf(tab, "%s\t%.1f ms\t%d MiB peak\n", args[0], float64(median(times).Microseconds())/1000, (peak+1023)>>10)
	}
	return tab.Flush()
}
