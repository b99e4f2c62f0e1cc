package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// exerciseMax is how large the file gets.
const exerciseMax = 1 << 20

// Exercise changes one file in dir count times, in every way there is: through
// several openings, through a mapping, by truncating, by punching holes, by
// copying ranges. After each it compares what a read, a mapping or a copy shows
// with what must be there.
//
// It must not run in the process that serves the mount: while a page of a
// mapping is fetched, the Go runtime cannot stop the world.
func Exercise(dir string, opt Options, seed uint64, count int) error {
	x := &exercise{Rand: rand.New(rand.NewPCG(seed, 1)), name: filepath.Join(dir, "exercise")}
	var err error
	if x.a, err = os.OpenFile(x.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
		return err
	}
	defer x.a.Close()
	if x.b, err = os.OpenFile(x.name, os.O_RDWR, 0); err != nil {
		return err
	}
	defer x.b.Close()
	for i := range count {
		what, err := x.step(opt)
		if err == nil {
			err = x.look()
		}
		if err == nil && i%64 == 0 {
			err = x.whole()
		}
		if err != nil {
			return fmt.Errorf("seed %d, step %d: %s: %w", seed, i, what, err)
		}
	}
	return errors.Join(x.whole(), os.Remove(x.name))
}

// exerciseEnv makes [ExerciseMain] work, and says at what.
const exerciseEnv = "RESFLASH_CONFORMANCE_EXERCISE"

// ExerciseMain is to be called first in TestMain: it makes the program the
// other process of [ExerciseElsewhere], if it is that.
func ExerciseMain() {
	var opt Options
	var seed uint64
	var count int
	dir, args, ok := strings.Cut(os.Getenv(exerciseEnv), "\x01")
	if !ok {
		return
	}
	_, err := fmt.Sscan(args, &seed, &count, &opt.NoFallocate, &opt.Host)
	if err == nil {
		err = Exercise(dir, opt, seed, count)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ExerciseElsewhere runs [Exercise] in another process.
func ExerciseElsewhere(t *testing.T, dir string, opt Options, seed uint64, count int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s\x01%d %d %t %t", exerciseEnv, dir, seed, count, opt.NoFallocate, opt.Host))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

type exercise struct {
	*rand.Rand
	name string
	a, b *os.File // two openings
	want []byte
}

func (x *exercise) fd() int {
	if x.IntN(2) == 0 {
		return int(x.a.Fd())
	}
	return int(x.b.Fd())
}

// spot returns a place to change, which may lie beyond the end.
func (x *exercise) spot() (off, n int) {
	n = 1 + x.IntN([]int{10, 5000, 70_000}[x.IntN(3)])
	off = x.IntN(exerciseMax - n)
	if x.IntN(2) == 0 && len(x.want) > 0 {
		off = min(x.IntN(len(x.want)), exerciseMax-n)
	}
	if x.IntN(4) == 0 {
		off &^= 4095
	}
	return off, n
}

func (x *exercise) fill(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(x.Uint32() | 1)
	}
	return p
}

// set puts p at off in what is expected.
func (x *exercise) set(p []byte, off int) {
	if end := off + len(p); end > len(x.want) {
		x.want = append(x.want, make([]byte, end-len(x.want))...)
	}
	copy(x.want[off:], p)
}

func (x *exercise) step(opt Options) (string, error) {
	off, n := x.spot()
	switch x.IntN(13) {
	case 0, 1, 2:
		p := x.fill(n)
		k, err := unix.Pwrite(x.fd(), p, int64(off))
		if err == nil && k != n {
			err = fmt.Errorf("wrote %d", k)
		}
		x.set(p, off)
		return fmt.Sprintf("pwrite %d at %d", n, off), err
	case 3:
		x.resize(off)
		return fmt.Sprintf("truncate to %d", off), unix.Ftruncate(x.fd(), int64(off))
	case 4, 5, 6:
		return x.mapped(off, n)
	case 7:
		fd := x.fd()
		return "fsync", unix.Fsync(fd)
	case 8, 9, 10:
		if opt.NoFallocate {
			break
		}
		mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE}[x.IntN(4)]
		if opt.Host && mode == unix.FALLOC_FL_ZERO_RANGE {
			break
		}
		if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
			x.resize(max(len(x.want), off+n))
		}
		if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 && off < len(x.want) {
			clear(x.want[off:min(off+n, len(x.want))])
		}
		return fmt.Sprintf("fallocate %#x %d at %d", mode, n, off), unix.Fallocate(x.fd(), mode, int64(off), int64(n))
	case 11:
		return x.copied(off, n)
	}
	// Appending, through an opening of its own.
	if len(x.want)+n > exerciseMax {
		return "nothing", nil
	}
	p := x.fill(n)
	f, err := os.OpenFile(x.name, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.Write(p)
		f.Close()
	}
	x.want = append(x.want, p...)
	return fmt.Sprintf("append %d", n), err
}

func (x *exercise) resize(size int) {
	if size <= len(x.want) {
		x.want = x.want[:size]
		return
	}
	x.want = append(x.want, make([]byte, size-len(x.want))...)
}

// mapped writes through a mapping, inside the file.
func (x *exercise) mapped(off, n int) (string, error) {
	if len(x.want) == 0 {
		return "nothing", nil
	}
	off = min(off, len(x.want)-1)
	n = min(n, len(x.want)-off)
	what := fmt.Sprintf("mmap and write %d at %d", n, off)
	m, err := unix.Mmap(x.fd(), 0, len(x.want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return what, err
	}
	p := x.fill(n)
	copy(m[off:], p)
	x.set(p, off)
	if x.IntN(2) == 0 {
		if err := unix.Msync(m, unix.MS_SYNC); err != nil {
			return what + " msync", err
		}
	}
	return what, unix.Munmap(m)
}

// copied copies a range within the file.
func (x *exercise) copied(off, n int) (string, error) {
	if len(x.want) == 0 {
		return "nothing", nil
	}
	from := x.IntN(len(x.want))
	n = min(n, len(x.want)-from)
	if from < off+n && off < from+n {
		return "nothing", nil // overlapping is EINVAL
	}
	what := fmt.Sprintf("copy_file_range %d from %d to %d", n, from, off)
	p := bytes.Clone(x.want[from : from+n])
	x.set(p, off)
	in, out := int64(from), int64(off)
	for n > 0 {
		k, err := unix.CopyFileRange(int(x.a.Fd()), &in, int(x.b.Fd()), &out, n, 0)
		if err == nil && k == 0 {
			err = fmt.Errorf("%d bytes short", n)
		}
		if err != nil {
			return what, err
		}
		n -= k
	}
	return what, nil
}

// look compares a piece of the file, read in one way or another.
func (x *exercise) look() error {
	var st unix.Stat_t
	if err := unix.Fstat(x.fd(), &st); err != nil {
		return err
	}
	if st.Size != int64(len(x.want)) {
		return fmt.Errorf("the file is %d bytes long, not %d", st.Size, len(x.want))
	}
	if len(x.want) == 0 {
		return nil
	}
	off := x.IntN(len(x.want))
	n := min(1+x.IntN(50_000), len(x.want)-off)
	got := make([]byte, n)
	how := "pread"
	if x.IntN(3) == 0 {
		how = "a mapping"
		m, err := unix.Mmap(x.fd(), 0, len(x.want), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(got, m[off:])
		if err := unix.Munmap(m); err != nil {
			return err
		}
	} else if k, err := unix.Pread(x.fd(), got, int64(off)); err != nil || k != n {
		return errors.Join(err, fmt.Errorf("pread of %d bytes at %d ended after %d", n, off, k))
	}
	return x.differ(how, got, off)
}

func (x *exercise) whole() error {
	got, err := os.ReadFile(x.name)
	if err != nil {
		return err
	}
	if len(got) != len(x.want) {
		return fmt.Errorf("read %d bytes, not %d", len(got), len(x.want))
	}
	return x.differ("reading all", got, 0)
}

func (x *exercise) differ(how string, got []byte, off int) error {
	for i, c := range got {
		if c != x.want[off+i] {
			return fmt.Errorf("%s shows byte %d as %#x, not %#x", how, off+i, c, x.want[off+i])
		}
	}
	return nil
}
