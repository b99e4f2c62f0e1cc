// Command init is process 1, and the only one, of the virtual machine of
// package kernelvm: it loads the modules, mounts the disks of its plan one after
// the other, lists what it sees, writes the answer to the last disk and turns
// the machine off.
package main

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/resflash/resflash/integration/kernelvm/plan"
	"github.com/resflash/resflash/integration/manifest"
	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init runs only in a virtual machine")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init: power off:", err)
	}
	select {}
}

func run() error {
	for _, m := range [][2]string{{"devtmpfs", "/dev"}, {"sysfs", "/sys"}, {"proc", "/proc"}} {
		if err := unix.Mount("none", m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	f, err := os.Open("/" + plan.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	var p plan.Plan
	if err := gob.NewDecoder(f).Decode(&p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if len(p.Run) > 0 {
		return become(p)
	}
	disks, err := findDisks(len(p.Mounts) + 1)
	if err != nil {
		return err
	}
	results := make([]plan.Result, len(p.Mounts))
	for i, m := range p.Mounts {
		start := time.Now()
		results[i].Manifest, err = list(disks[i], m)
		fmt.Printf("init: %s, %s: %d entries in %.1f s\n", plan.Serial(i), m.FS, len(results[i].Manifest), time.Since(start).Seconds())
		if err != nil {
			results[i].Err = err.Error() + kernelSaid(filepath.Base(disks[i]))
		}
	}
	return answer(disks[len(p.Mounts)], results)
}

// become makes the only disk the root, and process 1 the program that is to run
// there.
func become(p plan.Plan) error {
	disks, err := findDisks(1)
	if err != nil {
		return err
	}
	const root = "/mnt"
	if err := unix.Mount(disks[0], root, p.Mounts[0].FS, 0, p.Mounts[0].Options); err != nil {
		return fmt.Errorf("mount the root: %w%s", err, kernelSaid(filepath.Base(disks[0])))
	}
	for _, dir := range []string{"/dev", "/sys", "/proc"} {
		if err := unix.Mount(dir, root+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := errors.Join(unix.Chdir(root), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return fmt.Errorf("%s: %w", p.Run[0], unix.Exec(p.Run[0], p.Run, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=vt100", "HOME=/root"}))
}

// loadModules loads /modules/*.ko; their names are in the right order.
func loadModules() error {
	names, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			fmt.Printf("init: %s: %v\n", name, err) // perhaps it is not needed
		}
	}
	return nil
}

// findDisks waits for n disks and returns their device nodes by serial number.
func findDisks(n int) ([]string, error) {
	disks := make([]string, n)
	for range 1000 {
		found := 0
		for i := range disks {
			serials, _ := filepath.Glob("/sys/block/vd*/serial")
			for _, s := range serials {
				text, err := os.ReadFile(s)
				if err == nil && strings.TrimSpace(string(text)) == plan.Serial(i) {
					disks[i] = "/dev/" + filepath.Base(filepath.Dir(s))
					found++
				}
			}
		}
		if found == n {
			return disks, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("some of %d disks did not appear: %q", n, disks)
}

func list(disk string, m plan.Mount) (_ manifest.Manifest, err error) {
	giveBack := func() error { return nil }
	if m.LendSuper != 0 {
		if giveBack, err = lendSuper(disk, m.LendSuper); err != nil {
			return nil, fmt.Errorf("lend superblock: %w", err)
		}
	}
	const dir = "/mnt"
	if err := unix.Mount(disk, dir, m.FS, unix.MS_RDONLY|unix.MS_NOATIME, m.Options); err != nil {
		return nil, fmt.Errorf("mount -t %s -o %s: %w", m.FS, m.Options, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, 0)) }()
	if err := giveBack(); err != nil {
		return nil, fmt.Errorf("give the place of the superblock back: %w", err)
	}
	return manifest.ReadDir(dir, manifest.Options{Quick: true, Xattrs: m.FS == "ext4"}), nil
}

// lendSuper copies the FFS2 superblock from byte 8192 to off. The function it
// returns puts back what was there; once mounted, the kernel's driver does not
// look at the superblock again. It reads inodes and directories through the
// page cache of the device, as we write, but file contents from the device
// itself: hence the sync.
func lendSuper(disk string, off int64) (giveBack func() error, err error) {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	super, old := make([]byte, 8192), make([]byte, 8192)
	if _, err := f.ReadAt(super, 8192); err != nil {
		return nil, err
	}
	if _, err := f.ReadAt(old, off); err != nil {
		return nil, err
	}
	_, err = f.WriteAt(super, off)
	return func() error {
		_, err := f.WriteAt(old, off)
		return errors.Join(err, f.Sync(), f.Close())
	}, err
}

// kernelSaid returns the last kernel messages about disk or a file system.
func kernelSaid(disk string) string {
	buf := make([]byte, 1<<18)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(buf[:n])) {
		low := strings.ToLower(line)
		for _, word := range []string{disk, "ufs", "fat-fs", "iso"} {
			if strings.Contains(low, word) {
				lines = append(lines, strings.TrimSpace(line))
				break
			}
		}
	}
	return "; kernel: " + strings.Join(lines[max(0, len(lines)-4):], " / ")
}

// answer writes the results, and the magic in front of them last.
func answer(disk string, results []plan.Result) error {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := f.Seek(int64(len(plan.Magic)), 0); err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := gob.NewEncoder(w).Encode(results); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(plan.Magic), 0); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
