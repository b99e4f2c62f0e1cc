package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// fileset are the files that the systems serve.
type fileset struct {
	dir    string // of all of them
	source string // the tree itself, for the loopback and memory
	ext4   string
	ffs    string // "" where makefs is missing
	mnt    string // an empty directory

	smallTree, smallTar string // 20,000 small files
	goTar               string // "" where there is no Go
}

func smallName(i int) string { return fmt.Sprintf("%s/d%02d/file-%04d", smallDir, i/100, i) }

// prepare makes the tree and the images, unless a run before has left them.
func prepare(dir string) (*fileset, error) {
	f := &fileset{
		dir: dir, source: filepath.Join(dir, "source"), ext4: filepath.Join(dir, "ext4.img"),
		ffs: filepath.Join(dir, "ffs.img"), mnt: filepath.Join(dir, "mnt"),
	}
	if err := os.MkdirAll(f.mnt, 0o755); err != nil {
		return nil, err
	}
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err != nil {
		if err := makeTree(f.source); err != nil {
			return nil, err
		}
		if err := command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-N", "65536", "-d", f.source, f.ext4, "600M"); err != nil {
			return nil, err
		}
		if _, err := exec.LookPath("makefs"); err == nil {
			if err := command("makefs", "-t", "ffs", "-o", "version=2,optimization=space", "-b", "20%", "-f", "10%", f.ffs, f.source); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(f.ffs); err != nil {
		f.ffs = ""
	}
	return f, prepareWriting(f)
}

func makeTree(root string) error {
	noise := rand.NewChaCha8([32]byte{1})
	write := func(name string, size int) error {
		p := make([]byte, size)
		_, _ = noise.Read(p)
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, p, 0o644)
	}
	if err := write(bigFile, bigSize); err != nil {
		return err
	}
	for i := range smallFiles {
		if err := write(smallName(i), 1024+i*7168/smallFiles); err != nil {
			return err
		}
	}
	for i := range findDirs * findPerDir {
		if err := write(fmt.Sprintf("%s/p%02d/q%03d/entry-%05d.c", findDir, i/findPerDir/25, i/findPerDir, i), 100); err != nil {
			return err
		}
	}
	for i := range listEntries {
		if err := write(fmt.Sprintf("%s/entry-%05d.txt", listDir, i), i%64); err != nil {
			return err
		}
	}
	return nil
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}
