package kernelvm

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Kernel is what is needed to boot one.
type Kernel struct {
	Image   string       // the vmlinuz
	Log     func(string) // told the end of the console's text after every boot; may be nil
	modules []string     // the .ko files to load, in this order
	init    string       // the program init
	accel   []string     // qemu's options
}

// The modules that the file systems need, without those that they depend on.
// crc32c_generic is what ext4 asks for by the name of a digest, not as a
// dependency.
var wanted = []string{"virtio_pci", "virtio_blk", "ufs", "nls_ascii", "nls_cp437", "nls_utf8", "vfat", "crc32c_generic", "ext4", "isofs"}

// CacheDir is where the kernel is kept between runs: $RESFLASH_TEST_CACHE, or
// a folder in the user's cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("RESFLASH_TEST_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "resflash-test"), err
}

// Fetch makes the kernel ready in dir: from there, or else from Debian's
// package linux-image-amd64. It needs apt-get and dpkg-deb, the Go toolchain, and
// for newer packages xz.
func Fetch(ctx context.Context, dir string) (*Kernel, error) {
	dir = filepath.Join(dir, "kernel")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := download(ctx, dir); err != nil {
		return nil, err
	}
	k := &Kernel{Image: filepath.Join(dir, "vmlinuz"), init: filepath.Join(dir, "init")}
	if k.modules, err = loadOrder(filepath.Join(dir, "modules")); err != nil {
		return nil, err
	}
	// The program is ours and changes: it is built every time.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", k.init,
		"github.com/resflash/resflash/integration/kernelvm/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build init: %w: %s", err, out)
	}
	k.accel = accel()
	return k, nil
}

// download puts vmlinuz and the folder modules into dir, unless they are there.
func download(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "linux-image-amd64").Output()
	if err != nil {
		return fmt.Errorf("apt-cache: %w", err)
	}
	var pkg string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
			pkg = name
			break
		}
	}
	if pkg == "" {
		return errors.New("linux-image-amd64 is not in the package lists (apt-get update?)")
	}
	tmp, err := os.MkdirTemp(dir, "unpack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	get := exec.CommandContext(ctx, "apt-get", "-qq", "download", pkg)
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s: %w: %s", pkg, err, out)
	}
	deb, err := only(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	root := filepath.Join(tmp, "root")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, out)
	}
	image, err := only(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return err
	}
	tree, err := only(filepath.Join(root, "lib", "modules", "*"))
	if err != nil {
		if tree, err = only(filepath.Join(root, "usr", "lib", "modules", "*")); err != nil {
			return err
		}
	}
	if err := keepModules(ctx, tree, filepath.Join(dir, "modules")); err != nil {
		return err
	}
	if err := os.Rename(image, filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "complete"), []byte(pkg+"\n"), 0o644)
}

func only(pattern string) (string, error) {
	names, err := filepath.Glob(pattern)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("%d files match %s", len(names), pattern)
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// keepModules copies the wanted modules and those that they depend on from the
// tree into the folder dir, unpacked.
func keepModules(ctx context.Context, tree, dir string) error {
	files := map[string]string{} // module name → its file
	err := filepath.WalkDir(tree, func(name string, d os.DirEntry, err error) error {
		if base, _, ok := strings.Cut(d.Name(), ".ko"); ok && err == nil {
			files[moduleName(base)] = name
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	done := map[string]bool{}
	var keep func(name string) error
	keep = func(name string) error {
		src := files[name]
		if done[name] || src == "" { // "": built into the kernel
			return nil
		}
		done[name] = true
		dst := filepath.Join(dir, name+".ko")
		if err := unpack(ctx, src, dst); err != nil {
			return err
		}
		deps, err := depends(dst)
		if err != nil {
			return err
		}
		for _, d := range deps {
			if err := keep(d); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range wanted {
		if err := keep(name); err != nil {
			return err
		}
	}
	return nil
}

// moduleName is the name as the kernel prints it: files may have dashes.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func unpack(ctx context.Context, src, dst string) error {
	var cmd *exec.Cmd
	switch filepath.Ext(src) {
	case ".xz":
		cmd = exec.CommandContext(ctx, "xz", "-dc", src)
	case ".zst":
		cmd = exec.CommandContext(ctx, "zstd", "-qdc", src)
	default:
		return os.Rename(src, dst)
	}
	data, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return os.WriteFile(dst, data, 0o644)
}

// depends reads which modules a module needs, from its section .modinfo.
func depends(name string) ([]string, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info := f.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("%s has no section .modinfo", name)
	}
	data, err := info.Data()
	if err != nil {
		return nil, err
	}
	var out []string
	for field := range strings.SplitSeq(string(data), "\x00") {
		key, val, _ := strings.Cut(field, "=")
		if key == "depends" && val != "" {
			for d := range strings.SplitSeq(val, ",") {
				out = append(out, moduleName(d))
			}
		}
	}
	return out, nil
}

// loadOrder sorts the modules in dir so that each comes behind those that it
// depends on.
func loadOrder(dir string) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		file := filepath.Join(dir, name+".ko")
		if seen[name] {
			return nil
		}
		seen[name] = true
		if _, err := os.Stat(file); err != nil {
			return nil // built into the kernel
		}
		deps, err := depends(file)
		if err != nil {
			return err
		}
		for _, d := range deps {
			if err := add(d); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// accel is how QEMU runs the machine: emulation, because hardware
// virtualisation that is there but does not work (as inside other virtual
// machines) is not told apart from one that does. RESFLASH_TEST_ACCEL=kvm
// tries it.
func accel() []string {
	if a := os.Getenv("RESFLASH_TEST_ACCEL"); a != "" {
		return []string{"-accel", a, "-cpu", "max"}
	}
	return []string{"-accel", "tcg", "-cpu", "max"}
}

func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
