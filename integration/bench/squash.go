package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// textSize is the size of the file that is stored compressed, in bytes.
const textSize = 64 << 20

// squashSets are the workloads on squashfs, a set for each compression. There
// are none where a program that they need is missing.
func squashSets(f *fileset, cfg config) (sets []set, err error) {
	for _, need := range []string{"mksquashfs", "squashfuse"} {
		if _, err := exec.LookPath(need); err != nil {
			progress("%s is not here: squashfs is not measured", need)
			return nil, nil
		}
	}
	for _, comp := range []string{"gzip", "zstd", "xz"} {
		name := "squash-" + comp
		if cfg.only != "" && !listed(cfg.only, name) {
			continue
		}
		image, err := makeSquash(f, comp)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set{
			[]workload{{
				name: name, what: fmt.Sprintf("sequential read %d MB, %s, cold", textSize>>20, comp),
				do: func(tree string) error { return readAll(tree, textSize) }, vsForeign: 1,
			}},
			squashSystems(image, cfg.binary),
		})
	}
	return sets, nil
}

func squashSystems(image, binary string) []system {
	all := []system{
		{name: "squashfs", role: ours, image: image, command: func(mnt string) *exec.Cmd {
			return exec.Command(binary, "mount", "--foreground", image, mnt)
		}},
		{name: "squashfuse", role: foreign, image: image, command: func(mnt string) *exec.Cmd {
			return exec.Command("squashfuse", "-f", image, mnt)
		}},
	}
	if os.Geteuid() == 0 {
		all = append(all, system{name: "kernel", role: kernel, image: image, mount: func(mnt string) (func() error, error) {
			return func() error { return command("umount", mnt) }, command("mount", "-t", "squashfs", "-o", "loop,ro", image, mnt)
		}})
	}
	return all
}

// makeSquash makes an image of one file: words and noise, as programs are.
func makeSquash(f *fileset, comp string) (image string, err error) {
	image = filepath.Join(f.dir, comp+".squashfs")
	if _, err := os.Stat(image); !errors.Is(err, fs.ErrNotExist) {
		return image, err
	}
	tree := filepath.Join(f.dir, "text")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return "", err
	}
	rnd := rand.New(rand.NewPCG(4, 4))
	text := make([]byte, 0, textSize+100)
	for len(text) < textSize {
		text = fmt.Appendf(text, "line %d: block %d of inode %x\n", len(text), rnd.IntN(1000), rnd.Uint32())
	}
	if err := os.WriteFile(filepath.Join(tree, bigFile), text[:textSize], 0o644); err != nil {
		return "", err
	}
	return image, command("mksquashfs", tree, image, "-comp", comp, "-quiet", "-no-progress", "-noappend")
}
