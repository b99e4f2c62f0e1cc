package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
)

// populateVerb makes the program fill an image, so that its CPU time and memory
// are those of a process of its own.
const populateVerb = "populate"

const (
	populateFiles = 20_000
	populateBytes = 500 << 20
	populateImage = 700 << 20
)

// populateTree makes a tree of 20,000 files and 500 MB: most are small, some
// are not.
func populateTree(root string) error {
	if _, err := os.Stat(root); err == nil {
		return nil
	}
	noise := rand.NewChaCha8([32]byte{4})
	p := make([]byte, 4<<20)
	_, _ = noise.Read(p)
	left := populateBytes
	for i := range populateFiles {
		// 1 to 16 KiB, and one in 100 has so much that the sum is right.
		size := 1024 + i%16*1024
		if i%100 == 99 {
			size = left / ((populateFiles-i-1)/100 + 1) * 2 / 3
		}
		size = min(size, len(p), left)
		left -= size
		dir := filepath.Join(root, fmt.Sprintf("d%02d/e%d", i/1000, i/100%10))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%05d", i)), p[:size], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// populateFFS2 does what the verb asks for.
func populateFFS2(args []string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: bench populate TREE IMAGE")
	}
	_ = os.Remove(args[1])
	if err := os.WriteFile(args[1], nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(args[1], populateImage); err != nil {
		return err
	}
	file, err := blockio.OpenWritableFile(args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	profile(func() { err = populateOn(blockio.NewSession(file, blockio.SessionOptions{Atomic: true}), args[0]) })
	return err
}

func populateOn(session *blockio.Session, tree string) error {
	ctx := context.Background()
	if err := ffs.Format(session, vfs.FormatOptions{}); err != nil {
		return err
	}
	w, err := ffs.OpenWritable(ctx, session)
	if err != nil {
		return err
	}
	if _, err := populate.Copy(ctx, w, tree, w.Root(), ".", populate.Options{}); err != nil {
		return err
	}
	if err := session.Commit(ctx); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return session.Commit(ctx)
}

// measurePopulate prints what it takes to fill FFS2 from a tree, without a
// mount, next to makefs.
func measurePopulate(w io.Writer, f *fileset, rounds int) (missed int, err error) {
	if _, err := exec.LookPath("makefs"); err != nil {
		progress("makefs is not installed: populate is not measured")
		return 0, nil
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	tree, image := filepath.Join(f.dir, "populate"), filepath.Join(f.dir, "populate.img")
	if err := populateTree(tree); err != nil {
		return 0, err
	}
	type cost struct {
		wall, cpu []time.Duration
		peak      int64 // KiB
	}
	commands := []struct {
		name string
		args []string
		cost
	}{
		{name: "resflash", args: []string{self, populateVerb, tree, image}},
		{name: "makefs", args: []string{"makefs", "-t", "ffs", "-s", fmt.Sprint(populateImage), "-o", "version=2,bsize=16384,fsize=2048", image, tree}},
	}
	// Before the first, the tree is read once: whoever came first would pay for
	// bringing it into memory.
	if err := command("cp", "-r", tree, tree+".copy"); err != nil {
		return 0, err
	}
	if err := os.RemoveAll(tree + ".copy"); err != nil {
		return 0, err
	}
	for range rounds {
		for i := range commands {
			c := &commands[i]
			_ = os.Remove(image)
			cmd := exec.Command(c.args[0], c.args[1:]...)
			begin := time.Now()
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			peak := watchMemory(cmd.Process.Pid)
			if err := cmd.Wait(); err != nil {
				return 0, fmt.Errorf("%v: %w\n%s", c.args, err, said.Bytes())
			}
			c.wall = append(c.wall, time.Since(begin))
			c.cpu = append(c.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			c.peak = max(c.peak, peak())
		}
	}
	_ = os.Remove(image)
	fmt.Fprintf(w, "\nA tree of %d files and %d MB into FFS2, without a mount, medians of %d runs:\n", populateFiles, populateBytes>>20, rounds)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(tab, "%s\t%.2f s\t%.2f s of CPU\t%d MiB peak\n", c.name, median(c.wall).Seconds(), median(c.cpu).Seconds(), (c.peak+1023)>>10)
	}
	if err := tab.Flush(); err != nil {
		return 0, err
	}
	verdict := "ok"
	if median(commands[0].cpu) > median(commands[1].cpu) {
		verdict, missed = "MISSED", missed+1
	}
	if commands[0].peak > memoryLimit>>10 {
		verdict, missed = "MISSED (memory)", missed+1
	}
	fmt.Fprintf(w, "CPU of makefs over ours: %.2f; target 1 and %d MiB: %s\n",
		median(commands[1].cpu).Seconds()/median(commands[0].cpu).Seconds(), memoryLimit>>20, verdict)
	return missed, nil
}
