package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// What an audit of an image as large as a small Debian may take.
const (
	auditImageSize = 4 << 30
	auditFiles     = 35_000
	auditCPU       = time.Second // with the profile quick
	auditMemory    = 64 << 20
	manyImages     = 10
)

// measureAudit prints what an audit takes, next to mounting the image and
// running find in it, and how many processors the audit of ten images uses.
func measureAudit(w io.Writer, dir string, cfg config) (missed int, err error) {
	if _, err := os.Stat(cfg.binary); err != nil {
		progress("%s is not there: audits are not measured", cfg.binary)
		return 0, nil
	}
	img, err := auditImage(dir)
	if err != nil {
		return 0, err
	}
	verdict := func(ok bool) string {
		if ok {
			return "ok"
		}
		missed++
		return "MISSED"
	}
	fmt.Fprintf(w, "\nAn audit of an ext4 of %d GiB with %d files, medians of %d runs:\n", auditImageSize>>30, auditFiles, cfg.rounds)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	walls := map[string]time.Duration{}
	for _, profile := range []string{"quick", "golden"} {
		var all []sample
		for range cfg.rounds {
			dropCaches(img)
			s, err := auditOnce(cfg.binary, profile, img)
			if err != nil {
				return 0, err
			}
			all = append(all, s)
		}
		peak := int64(0)
		for _, s := range all {
			peak = max(peak, s.peak)
		}
		walls[profile] = medianOf(all, wall)
		busy, judged := medianOf(all, cpu), ""
		if profile == "quick" {
			judged = fmt.Sprintf("target %v CPU, %d MiB: %s", auditCPU, auditMemory>>20, verdict(busy < auditCPU && peak<<10 < auditMemory))
		}
		fmt.Fprintf(tab, "audit --profile %s\t%.3f s\t%.3f s CPU\t%d MiB peak\t%s\n", profile, walls[profile].Seconds(), busy.Seconds(), (peak+1023)>>10, judged)
	}
	mnt := filepath.Join(dir, "mnt")
	for _, s := range mounts(img, cfg.binary) {
		var times []time.Duration
		for range cfg.rounds {
			took, err := mountAndFind(s, mnt)
			if err != nil {
				return 0, err
			}
			times = append(times, took)
		}
		took := median(times)
		fmt.Fprintf(tab, "mount by %s, and find\t%.3f s\tx %.2f of quick\tx %.2f of golden\t\n", s.name, took.Seconds(), took.Seconds()/walls["quick"].Seconds(), took.Seconds()/walls["golden"].Seconds())
	}
	var names []string
	for i := range manyImages {
		name := filepath.Join(dir, fmt.Sprintf("audit-%d.img", i))
		if err := os.Link(img, name); err != nil && !errors.Is(err, os.ErrExist) {
			return 0, err
		}
		names = append(names, name)
	}
	if _, err := auditOnce(cfg.binary, "golden", names...); err != nil { // to read it in
		return 0, err
	}
	s, err := auditOnce(cfg.binary, "golden", names...)
	if err != nil {
		return 0, err
	}
	cores := s.cpu.Seconds() / s.wall.Seconds()
	fmt.Fprintf(tab, "%d images at once\t%.3f s\t%.3f s CPU\t%d MiB peak\t%.2f processors\n", manyImages, s.wall.Seconds(), s.cpu.Seconds(), (s.peak+1023)>>10, cores)
	return missed, tab.Flush()
}

// auditOnce runs the program.
func auditOnce(binary, profile string, images ...string) (sample, error) {
	cmd := exec.Command(binary, append([]string{"audit", "--profile", profile, "--fail-on", "never", "--format", "ndjson"}, images...)...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	s := sample{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: peak()}
	if err != nil {
		return s, fmt.Errorf("audit %v: %w", images, err)
	}
	return s, nil
}

// mountAndFind is what somebody does who has no audit.
func mountAndFind(s system, mnt string) (time.Duration, error) {
	dropCaches(s.image)
	start := time.Now()
	tree, _, end, err := s.start(mnt)
	if err != nil {
		return 0, err
	}
	err = exec.Command("find", tree, "-ls").Run()
	if e := end(); err == nil {
		err = e
	}
	return time.Since(start), err
}

// mounts are the ways to mount an image.
func mounts(img, binary string) []system {
	all := []system{{name: "resflash", image: img, command: func(mnt string) *exec.Cmd {
		return exec.Command(binary, "mount", "--foreground", "--read-only", img, mnt)
	}}}
	if _, err := exec.LookPath("fuse2fs"); err == nil {
		all = append(all, system{name: "fuse2fs", role: foreign, image: img, command: func(mnt string) *exec.Cmd {
			return exec.Command("fuse2fs", "-f", "-o", "ro", img, mnt)
		}})
	}
	if os.Geteuid() == 0 {
		all = append(all, system{name: "the kernel", role: kernel, image: img, mount: func(mnt string) (func() error, error) {
			return func() error { return command("umount", mnt) }, command("mount", "-o", "loop,ro", img, mnt)
		}})
	}
	return all
}

// auditImage is a made-up Debian: what an audit reads of it, and as many files
// as there would be.
func auditImage(dir string) (string, error) {
	img, src := filepath.Join(dir, "audit.img"), filepath.Join(dir, "audit")
	if _, err := os.Stat(img); err == nil {
		return img, nil
	}
	for name, text := range map[string]string{
		"etc/os-release": "ID=debian\nPRETTY_NAME=\"Debian\"\n", "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/shadow": "root:*:19000:0:99999:7:::\n",
		"etc/group": "root:x:0:\n", "etc/machine-id": "4e5c0f3bd15c4a6e8d36b84b2cdaa111\n", "etc/hostname": "builder\n", "etc/ssh/sshd_config": "UsePAM yes\n",
		"var/log/dpkg.log": "x\n", bigFile: "", // the last is how a mount is known
	} {
		if err := os.MkdirAll(filepath.Join(src, filepath.Dir(name)), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	const perDir = 70
	for i := range auditFiles / perDir {
		folder := filepath.Join(src, []string{"usr/share/doc", "usr/lib", "usr/bin", "etc", "var/lib/dpkg/info"}[i%5], fmt.Sprintf("package-%03d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return "", err
		}
		for j := range perDir {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file-%02d.conf", j)), fmt.Appendf(nil, "# %d\nname = value\n", j), 0o644); err != nil {
				return "", err
			}
		}
	}
	return img, command("mke2fs", "-q", "-F", "-t", "ext4", "-d", src, img, fmt.Sprint(int64(auditImageSize)>>10))
}
