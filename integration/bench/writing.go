package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/vfs"
)

// What is written through a mount. Every measurement begins with an empty file
// system.

const (
	untarSmall  = 20_000 // files of 1 to 8 KiB in 20 directories
	createFiles = 5000
	writeSize   = 256 << 20

	emptySize = 1 << 30 // of the file systems that are written to
)

// writings are the workloads. The targets are those of workload.
func writings(f *fileset) []workload {
	all := []workload{
		{name: "untar-small", what: "tar -x, 20,000 small files", do: untar(f.smallTar), vsForeign: 3, vsMemory: 1 / 1.3},
		{name: "create", what: "create 5,000 files", do: createMany, vsForeign: 4},
		{name: "rm", what: "rm -rf of 5,000 files", before: createMany, do: removeMany, vsForeign: 4},
		{name: "seqwrite", what: "sequential write 256 MB + fsync", do: writeBig, vsLoopback: 0.8},
		{name: "seqread", what: "sequential read of what was written", before: writeBig, do: readBig, vsForeign: 1},
	}
	if f.goTar != "" {
		all = append([]workload{{name: "untar-go", what: "tar -x, source of Go", do: untar(f.goTar), vsForeign: 3, vsMemory: 1 / 1.3}}, all...)
	}
	return all
}

// writers are the systems that can be written to.
func writers(f *fileset, binary string) []system {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	ffsImage, ext4Image, dir := filepath.Join(f.dir, "empty-ffs.img"), filepath.Join(f.dir, "empty-ext4.img"), filepath.Join(f.dir, "empty")
	own := func(image string) func(mnt string) *exec.Cmd {
		return func(mnt string) *exec.Cmd { return exec.Command(binary, "mount", "--foreground", image, mnt) }
	}
	emptyExt4 := func() error {
		_ = os.Remove(ext4Image)
		return command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-N", "65536", ext4Image, fmt.Sprint(emptySize>>10))
	}
	all := []system{
		{name: "ffs2", role: ours, image: ffsImage, fresh: func() error { return emptyFFS(ffsImage) }, command: own(ffsImage)},
		{name: "ext4", role: ours, image: ext4Image, fresh: emptyExt4, command: own(ext4Image)},
	}
	if _, err := exec.LookPath("fuse2fs"); err == nil {
		all = append(all, system{
			name: "fuse2fs", role: foreign, image: ext4Image, fresh: emptyExt4,
			command: func(mnt string) *exec.Cmd { return exec.Command("fuse2fs", "-f", ext4Image, mnt) },
		})
	}
	return append(all,
		system{
			name: "loopback", role: loopback,
			fresh:   func() error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)) },
			command: func(mnt string) *exec.Cmd { return exec.Command(self, serveVerb, "rwloopback", dir, mnt) },
		},
		system{
			name: "memory", role: memory,
			fresh:   func() error { return nil },
			command: func(mnt string) *exec.Cmd { return exec.Command(self, serveVerb, "rwmemory", "-", mnt) },
		})
}

// emptyFFS makes an empty FFS2.
func emptyFFS(image string) error {
	_ = os.Remove(image)
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(image, emptySize); err != nil {
		return err
	}
	file, err := blockio.OpenWritableFile(image)
	if err != nil {
		return err
	}
	session := blockio.NewSession(file, blockio.SessionOptions{})
	err = ffs.Format(session, vfs.FormatOptions{})
	if err == nil {
		err = session.Commit(context.Background())
	}
	return errors.Join(err, file.Close())
}

// prepareWriting makes the archives that are taken apart.
func prepareWriting(f *fileset) error {
	f.smallTar, f.smallTree = filepath.Join(f.dir, "small.tar"), filepath.Join(f.dir, "smalltree")
	if _, err := os.Stat(f.smallTar); errors.Is(err, fs.ErrNotExist) {
		noise := rand.NewChaCha8([32]byte{2})
		for i := range untarSmall {
			p := make([]byte, 1024+i*7168/untarSmall)
			_, _ = noise.Read(p)
			dir := filepath.Join(f.smallTree, fmt.Sprintf("d%02d", i/1000))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%05d.txt", i)), p, 0o644); err != nil {
				return err
			}
		}
		if err := command("tar", "-cf", f.smallTar, "-C", f.smallTree, "."); err != nil {
			return err
		}
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	src := filepath.Join(strings.TrimSpace(string(out)), "src")
	if _, e := os.Stat(src); err != nil || e != nil {
		progress("the source of Go is not here: untar-go is not measured")
		return nil
	}
	f.goTar = filepath.Join(f.dir, "go.tar")
	if _, err := os.Stat(f.goTar); errors.Is(err, fs.ErrNotExist) {
		return command("tar", "-cf", f.goTar, "-C", filepath.Dir(src), "src")
	}
	return nil
}

func untar(archive string) func(tree string) error {
	return func(tree string) error { return command("tar", "-xf", archive, "-C", tree) }
}

// createMany makes files with a line in each, in one directory.
func createMany(tree string) error {
	dir := filepath.Join(tree, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range createFiles {
		if err := os.WriteFile(fmt.Sprintf("%s/file-%04d", dir, i), []byte("one line\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func removeMany(tree string) error { return command("rm", "-rf", filepath.Join(tree, "many")) }

// writeBig writes as dd(1) does with conv=fsync.
func writeBig(tree string) error {
	f, err := os.Create(filepath.Join(tree, bigFile))
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	noise := rand.NewChaCha8([32]byte{3})
	_, _ = noise.Read(buf)
	for range writeSize / len(buf) {
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return f.Sync()
}
