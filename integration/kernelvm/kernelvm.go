// Package kernelvm lists file systems as the Linux kernel's own drivers read
// them, on any machine with QEMU, whatever its own kernel can mount and whoever
// asks.
//
// [Fetch] unpacks the kernel of Debian's package into a cache folder (nothing is
// installed). [Kernel.Read] boots it in QEMU with a program of ours as the only
// process (the folder init), the file systems as disks, and gets a
// [manifest.Manifest] of each, with quick sums only. Many disks share one boot. The disks are never
// changed.
package kernelvm

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/resflash/resflash/integration/kernelvm/plan"
	"github.com/resflash/resflash/integration/manifest"
)

// A Disk is a file system in an image.
type Disk struct {
	Path      string
	Off, Size int64  // where it lies in Path, in bytes; Size 0 is the rest
	FS        string // as in mount -t: "ufs", "vfat", "ext4", "iso9660"
	Options   string // as in mount -o
	// LendSuper is for FFS2 with its superblock at byte 8192, which Linux does
	// not look for: if not 0, the superblock is shown to the kernel here while
	// it mounts.
	LendSuper int64
}

// A Result is what the kernel had to say about one [Disk].
type Result struct {
	Manifest manifest.Manifest
	Err      error // it could not be mounted
}

// disksPerBoot stays below the slots of the machine's PCI bus.
const disksPerBoot = 24

// Read lists every disk; the results are in the same order.
func (k *Kernel) Read(ctx context.Context, disks []Disk) ([]Result, error) {
	var out []Result
	for len(disks) > 0 {
		n := min(len(disks), disksPerBoot)
		results, err := k.boot(ctx, disks[:n])
		if err != nil {
			return nil, err
		}
		out = append(out, results...)
		disks = disks[n:]
	}
	return out, nil
}

func (k *Kernel) boot(ctx context.Context, disks []Disk) (_ []Result, err error) {
	dir, err := os.MkdirTemp("", "kernelvm")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	var p plan.Plan
	for _, d := range disks {
		p.Mounts = append(p.Mounts, plan.Mount{FS: d.FS, Options: d.Options, LendSuper: d.LendSuper})
	}
	if err := k.writeInitramfs(filepath.Join(dir, "initramfs"), p); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	answer := filepath.Join(dir, "answer")
	if err := sparseFile(answer, plan.AnswerSize); err != nil {
		return nil, err
	}
	console := filepath.Join(dir, "console")

	args := k.machine(dir, console)
	add := func(i int, opts string) {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=disk%d,%s", i, opts),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,serial=%s", i, plan.Serial(i)))
	}
	for i, d := range disks {
		opts := fmt.Sprintf("driver=raw,offset=%d,file.driver=file,file.locking=off,file.filename=%s",
			d.Off, strings.ReplaceAll(d.Path, ",", ",,"))
		if d.Size != 0 {
			opts += fmt.Sprintf(",size=%d", d.Size)
		}
		if d.LendSuper == 0 {
			opts += ",read-only=on"
		} else {
			opts += ",snapshot=on" // what is written goes to a layer that is thrown away
		}
		add(i, opts)
	}
	add(len(disks), "driver=raw,file.driver=file,file.filename="+answer)

	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	said, runErr := cmd.CombinedOutput()
	results, err := readAnswer(answer)
	log, _ := os.ReadFile(console)
	if k.Log != nil {
		k.Log(string(tail(log, 4000)))
	}
	if err != nil {
		return nil, fmt.Errorf("no answer from the virtual machine: %w (qemu: %v %s)\n%s", err, runErr, said, tail(log, 4000))
	}
	out := make([]Result, len(disks))
	for i, r := range results {
		out[i].Manifest = r.Manifest
		if r.Err != "" {
			out[i].Err = errors.New(r.Err)
		}
	}
	return out, nil
}

// machine are the arguments of QEMU, without disks.
func (k *Kernel) machine(dir, console string) []string {
	args := []string{"-machine", "pc", "-m", "1024", "-nodefaults", "-no-reboot", "-display", "none",
		"-serial", "file:" + console, "-kernel", k.Image, "-initrd", filepath.Join(dir, "initramfs"),
		"-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off no_timer_check"}
	return append(args, k.accel...)
}

// Boot makes disk the root file system of the machine and runs a program there
// as process 1, until the console has shown the text until, and returns all that
// it has shown. The disk is not changed: what is written to it is thrown away.
func (k *Kernel) Boot(ctx context.Context, disk Disk, until string, run ...string) (said string, err error) {
	dir, err := os.MkdirTemp("", "kernelvm")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := plan.Plan{Mounts: []plan.Mount{{FS: disk.FS, Options: disk.Options}}, Run: run}
	if err := k.writeInitramfs(filepath.Join(dir, "initramfs"), p); err != nil {
		return "", fmt.Errorf("initramfs: %w", err)
	}
	console := filepath.Join(dir, "console")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append(k.machine(dir, console),
		"-drive", "if=none,id=disk0,driver=raw,snapshot=on,file.driver=file,file.locking=off,file.filename="+strings.ReplaceAll(disk.Path, ",", ",,"),
		"-device", "virtio-blk-pci,drive=disk0,serial="+plan.Serial(0))...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &errs, &errs
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var end error
		over := false
		select {
		case end = <-ended:
			over = true
		case <-tick.C:
		}
		log, _ := os.ReadFile(console)
		switch {
		case bytes.Contains(log, []byte(until)):
			if !over {
				stop()
				<-ended
			}
			return string(log), nil
		case over:
			return string(log), fmt.Errorf("the virtual machine ended before it said %q: %w %s\n%s", until, errors.Join(end, ctx.Err()), errs.Bytes(), tail(log, 4000))
		}
	}
}

func readAnswer(name string) ([]plan.Result, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, len(plan.Magic))
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	if !bytes.Equal(head, []byte(plan.Magic)) {
		return nil, errors.New("the answer is empty")
	}
	var results []plan.Result
	return results, gob.NewDecoder(f).Decode(&results)
}

func sparseFile(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
