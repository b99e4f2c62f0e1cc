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

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
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

// populateVolume does what the verb asks for.
func populateVolume(args []string) (err error) {
	if len(args) != 3 {
		return errors.New("usage: bench populate TYPE TREE IMAGE")
	}
	driver := image.DriverFor(args[0])
	if driver == nil || driver.Format == nil || driver.OpenWritable == nil {
		return fmt.Errorf("%s is not made or not written to", args[0])
	}
	file, err := blockio.OpenWritableFile(args[2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	profile(func() {
		session := blockio.NewSession(file, blockio.SessionOptions{Atomic: true, Private: true})
		err = populateOn(session, driver, args[0], args[1])
	})
	return err
}

// emptyImage makes a sparse file to make a file system in.
func emptyImage(name string) error {
	_ = os.Remove(name)
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(name, populateImage)
}

func populateOn(session *blockio.Session, driver *vfs.Driver, kind, tree string) error {
	ctx := context.Background()
	if err := driver.Format(session, vfs.FormatOptions{Type: kind}); err != nil {
		return err
	}
	w, err := driver.OpenWritable(ctx, session)
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

// A filling is a file system made and filled from a tree by us and by somebody
// else's program.
type filling struct {
	kind   string
	tools  []string
	script string  // of the shell, with $image and $tree; the image is there, and empty
	target float64 // how many times more CPU time theirs takes at least
}

var fillings = []filling{
	{"ffs2", []string{"makefs"}, `exec makefs -t ffs -s $size -o version=2,bsize=16384,fsize=2048 "$image" "$tree"`, 1},
	{"ext4", []string{"mke2fs"}, `exec mke2fs -q -F -t ext4 -d "$tree" "$image"`, 2},
	{"fat32", []string{"mkfs.vfat", "mcopy"}, `mkfs.vfat -F 32 "$image" >/dev/null && exec mcopy -s -Q -i "$image" "$tree"/* ::`, 1},
}

// A cost is what it took, run by run.
type cost struct {
	wall, cpu []time.Duration
	peak      int64 // KiB
}

// run runs a command once, and adds what it took.
func (c *cost) run(env []string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	begin := time.Now()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	peak := watchMemory(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %w\n%s", args, err, said.Bytes())
	}
	c.wall = append(c.wall, time.Since(begin))
	c.cpu = append(c.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	c.peak = max(c.peak, peak())
	return nil
}

// measurePopulate prints what it takes to make file systems and fill them from
// a tree, without a mount, next to the programs that others have for it.
func measurePopulate(w io.Writer, f *fileset, rounds int) (missed int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	tree := filepath.Join(f.dir, "populate")
	if err := populateTree(tree); err != nil {
		return 0, err
	}
	// Before the first, the tree is read once: whoever came first would pay for
	// bringing it into memory.
	if err := command("cp", "-r", tree, tree+".copy"); err != nil {
		return 0, err
	}
	if err := os.RemoveAll(tree + ".copy"); err != nil {
		return 0, err
	}
	for _, fill := range fillings {
		n, err := fill.measure(w, self, tree, filepath.Join(f.dir, "populate.img"), rounds)
		if err != nil {
			return 0, err
		}
		missed += n
	}
	return missed, nil
}

func (f filling) measure(w io.Writer, self, tree, img string, rounds int) (missed int, err error) {
	if d := image.DriverFor(f.kind); d == nil || d.Format == nil || d.OpenWritable == nil {
		progress("%s cannot be filled: it is not measured", f.kind)
		return 0, nil
	}
	for _, tool := range f.tools {
		if _, err := exec.LookPath(tool); err != nil {
			progress("%s is not installed: filling %s is not measured", tool, f.kind)
			return 0, nil
		}
	}
	defer os.Remove(img)
	var ours, theirs cost
	env := []string{"image=" + img, "tree=" + tree, fmt.Sprintf("size=%d", populateImage)}
	for range rounds {
		// To throw away what the one before has made is nobody's work.
		if err := emptyImage(img); err != nil {
			return 0, err
		}
		if err := ours.run(nil, self, populateVerb, f.kind, tree, img); err != nil {
			return 0, err
		}
		if err := emptyImage(img); err != nil {
			return 0, err
		}
		if err := theirs.run(env, "sh", "-c", f.script); err != nil {
			return 0, err
		}
	}
	fmt.Fprintf(w, "\nA tree of %d files and %d MB into %s, without a mount, medians of %d runs:\n", populateFiles, populateBytes>>20, f.kind, rounds)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	last := f.tools[len(f.tools)-1]
	for _, c := range []struct {
		name string
		cost
	}{{"resflash", ours}, {last, theirs}} {
		fmt.Fprintf(tab, "%s\t%.2f s\t%.2f s of CPU\t%d MiB peak\n", c.name, median(c.wall).Seconds(), median(c.cpu).Seconds(), (c.peak+1023)>>10)
	}
	if err := tab.Flush(); err != nil {
		return 0, err
	}
	ratio := median(theirs.cpu).Seconds() / median(ours.cpu).Seconds()
	verdict := "ok"
	if ratio < f.target {
		verdict, missed = "MISSED", missed+1
	}
	if ours.peak > memoryLimit>>10 {
		verdict, missed = "MISSED (memory)", missed+1
	}
	fmt.Fprintf(w, "CPU of %s over ours: %.2f; target %g and %d MiB: %s\n", last, ratio, f.target, memoryLimit>>20, verdict)
	return missed, nil
}
