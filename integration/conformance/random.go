package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Random does count random operations to the directories mnt and reference, and
// compares after each what they answered and what there is. check, if it is not
// nil, is called after each with the paths that there are, "" being mnt itself;
// fds are files open in mnt, which may have no name any more.
func Random(t *testing.T, mnt, reference string, opt Options, seed uint64, count int, check func(paths []string, fds []int)) {
	t.Helper()
	defer unix.Umask(unix.Umask(0o022))
	r := &random{
		Rand: rand.New(rand.NewPCG(seed, 0)), opt: opt,
		sides: [2]side{{root: mnt}, {root: reference}},
	}
	r.sides[0].mount = true
	defer func() {
		for len(r.open) > 0 {
			r.closeAt(0)
		}
	}()
	what, i := "", 0
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, step %d: %s (%s)", seed, i, what, r.answers[0])
		}
	}()
	for i = range count {
		what = r.step()
		a, b := r.answers[0], r.answers[1]
		if a != b {
			t.Fatalf("the answers differ:\n mount: %s\n  host: %s", a, b)
		}
		paths, diff := r.compare(i%16 == 0)
		if diff != "" {
			t.Fatal(diff)
		}
		if check != nil {
			check(paths, r.mountFDs())
		}
		if t.Failed() {
			return
		}
	}
	require.NotZero(t, r.worked, "no operation has succeeded")
}

type side struct {
	root  string
	mount bool
}

// random is the state of a run.
type random struct {
	*rand.Rand
	opt     Options
	sides   [2]side
	answers [2]string
	open    [][2]int // files open on both sides
	worked  int
}

func (r *random) mountFDs() (fds []int) {
	for _, pair := range r.open {
		fds = append(fds, pair[0])
	}
	return fds
}

// path returns a path, below the root, that may or may not be there.
func (r *random) path() string {
	p := ""
	for range 1 + r.IntN(3) {
		p += "/" + string("abcdef"[r.IntN(6)])
		if r.IntN(2) == 0 {
			break
		}
	}
	return p
}

// do calls fn for both sides, and keeps what it answers.
func (r *random) do(fn func(s *side) (string, error)) {
	for i := range r.sides {
		out, err := fn(&r.sides[i])
		if err != nil {
			out = tell(errno(err))
		} else if i == 0 {
			r.worked++
		}
		r.answers[i] = out
	}
}

// call is do for what answers nothing else.
func (r *random) call(fn func(s *side) error) {
	r.do(func(s *side) (string, error) { return "", fn(s) })
}

// bytes returns something to write.
func (r *random) bytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

const randomFileMax = 300_000

func (r *random) size() int {
	switch r.IntN(4) {
	case 0:
		return r.IntN(100)
	case 1:
		return r.IntN(20_000)
	case 2:
		return 512 << r.IntN(8)
	}
	return r.IntN(randomFileMax)
}

// step does one operation, and says which.
func (r *random) step() string {
	a, b := r.path(), r.path()
	mode := uint32(r.IntN(0o10000))
	if len(r.open) > 0 && r.IntN(4) == 0 {
		return r.handleStep()
	}
	switch n := r.IntN(26); n {
	case 0, 1, 2:
		flags := unix.O_CREAT | unix.O_RDWR | []int{0, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_NOFOLLOW}[r.IntN(5)]
		return r.openStep(a, flags|unix.O_NONBLOCK, mode&0o777)
	case 3, 4, 5:
		r.call(func(s *side) error { return unix.Mkdir(s.root+a, mode&0o777) })
		return fmt.Sprintf("mkdir %s %o", a, mode&0o777)
	case 6:
		typ := []uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFREG}[r.IntN(3)]
		r.call(func(s *side) error { return unix.Mknod(s.root+a, typ|mode&0o777, 0) })
		return fmt.Sprintf("mknod %s %o", a, typ|mode&0o777)
	case 7:
		target := []string{"a", "./b", "nowhere/at/all", "b/c", strings.Repeat("long/", r.IntN(60)) + "x"}[r.IntN(5)]
		r.call(func(s *side) error { return unix.Symlink(target, s.root+a) })
		return fmt.Sprintf("symlink %s -> %s", a, target)
	case 8, 9:
		r.call(func(s *side) error { return unix.Link(s.root+a, s.root+b) })
		return fmt.Sprintf("link %s %s", a, b)
	case 10, 11, 12:
		r.call(func(s *side) error { return unix.Unlink(s.root + a) })
		return "unlink " + a
	case 13:
		r.call(func(s *side) error { return unix.Rmdir(s.root + a) })
		return "rmdir " + a
	case 14, 15, 16:
		flags := []uint{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[r.IntN(4)]
		r.call(func(s *side) error {
			return unix.Renameat2(unix.AT_FDCWD, s.root+a, unix.AT_FDCWD, s.root+b, flags)
		})
		return fmt.Sprintf("rename %s %s flags %d", a, b, flags)
	case 17:
		r.call(func(s *side) error { return unix.Chmod(s.root+a, mode) })
		return fmt.Sprintf("chmod %s %o", a, mode)
	case 18:
		uid, gid := -1, -1
		if os.Geteuid() == 0 {
			uid, gid = r.IntN(3)-1, r.IntN(70_000)-1
		}
		r.call(func(s *side) error { return unix.Lchown(s.root+a, uid, gid) })
		return fmt.Sprintf("lchown %s %d:%d", a, uid, gid)
	case 19:
		ts := []unix.Timespec{{Sec: r.Int64N(1 << 31), Nsec: r.Int64N(1e9)}, {Sec: r.Int64N(1 << 31), Nsec: r.Int64N(1e9)}}
		if r.IntN(3) == 0 {
			ts[r.IntN(2)] = unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
		r.call(func(s *side) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, s.root+a, ts, unix.AT_SYMLINK_NOFOLLOW)
		})
		return fmt.Sprintf("utimens %s %v", a, ts)
	case 20, 21:
		size := int64(r.size())
		r.call(func(s *side) error { return unix.Truncate(s.root+a, size) })
		return fmt.Sprintf("truncate %s %d", a, size)
	case 22:
		r.do(func(s *side) (string, error) {
			list, err := os.ReadDir(s.root + a)
			var names []string
			for _, e := range list {
				names = append(names, e.Name()+" "+e.Type().String())
			}
			return strings.Join(names, ","), err
		})
		return "readdir " + a
	case 23:
		r.do(func(s *side) (string, error) {
			buf := make([]byte, 1000)
			n, err := unix.Readlink(s.root+a, buf)
			return string(buf[:max(n, 0)]), err
		})
		return "readlink " + a
	}
	return r.openStep(a, unix.O_RDWR|unix.O_NONBLOCK|[]int{0, unix.O_APPEND, unix.O_TRUNC}[r.IntN(3)], 0)
}

// openStep opens a file on both sides, and keeps it open.
func (r *random) openStep(p string, flags int, mode uint32) string {
	var pair [2]int
	i := 0
	r.call(func(s *side) (err error) {
		pair[i], err = unix.Open(s.root+p, flags|unix.O_CLOEXEC, mode)
		i++
		return err
	})
	switch {
	case pair[0] >= 0 && pair[1] >= 0:
		r.open = append(r.open, pair)
		if len(r.open) > 8 {
			r.closeAt(r.IntN(len(r.open)))
		}
	default:
		for _, fd := range pair {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}
	return fmt.Sprintf("open %s %#x", p, flags)
}

func (r *random) closeAt(i int) {
	for _, fd := range r.open[i] {
		unix.Close(fd)
	}
	r.open = append(r.open[:i], r.open[i+1:]...)
}

// handleStep does something to a file that is open.
func (r *random) handleStep() string {
	i := r.IntN(len(r.open))
	fds := r.open[i]
	turn := -1
	fd := func() int { turn++; return fds[turn] }
	off, n := int64(r.size()), r.size()/4+1
	switch r.IntN(12) {
	case 0:
		r.closeAt(i)
		r.answers = [2]string{}
		return "close"
	case 1, 2, 3:
		p := r.bytes(n)
		r.do(func(*side) (string, error) {
			n, err := unix.Pwrite(fd(), p, off)
			return fmt.Sprint(n), err
		})
		return fmt.Sprintf("pwrite %d at %d", n, off)
	case 4:
		p := r.bytes(n)
		r.do(func(*side) (string, error) {
			n, err := unix.Write(fd(), p)
			return fmt.Sprint(n), err
		})
		return fmt.Sprintf("write %d", n)
	case 5:
		r.call(func(*side) error { return unix.Ftruncate(fd(), off) })
		return fmt.Sprintf("ftruncate %d", off)
	case 6:
		r.do(func(*side) (string, error) {
			p := make([]byte, n)
			n, err := unix.Pread(fd(), p, off)
			return fmt.Sprintf("%d %x", n, p[:max(n, 0)]), err
		})
		return fmt.Sprintf("pread %d at %d", n, off)
	case 7:
		r.call(func(*side) error { return unix.Fchmod(fd(), uint32(n&0o777)) })
		return "fchmod"
	case 8:
		r.call(func(*side) error { return unix.Fsync(fd()) })
		return "fsync"
	case 9, 10:
		return r.allocStep(fd, off, int64(n))
	}
	return r.copyStep(fds, off, n)
}

func (r *random) allocStep(fd func() int, off, n int64) string {
	if r.opt.NoFallocate {
		r.answers = [2]string{}
		return "nothing"
	}
	mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE,
		unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE}[r.IntN(5)]
	r.call(func(s *side) error {
		fd := fd()
		if s.mount || mode&unix.FALLOC_FL_ZERO_RANGE == 0 {
			return unix.Fallocate(fd, mode, off, n)
		}
		// The host may not have that.
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return unix.Fallocate(fd, 0, off, n)
		}
		if mode&unix.FALLOC_FL_KEEP_SIZE == 0 && st.Size < off+n {
			if err := unix.Ftruncate(fd, off+n); err != nil {
				return err
			}
		}
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
	return fmt.Sprintf("fallocate %#x %d at %d", mode, n, off)
}

func (r *random) copyStep(to [2]int, off int64, n int) string {
	from := r.open[r.IntN(len(r.open))]
	src := int64(r.size())
	i := -1
	r.do(func(*side) (string, error) {
		i++
		in, out := src, off
		done := 0
		for done < n {
			k, err := unix.CopyFileRange(from[i], &in, to[i], &out, n-done, 0)
			if err != nil {
				return "", err
			}
			if k == 0 {
				break
			}
			done += k
		}
		return fmt.Sprint(done), nil
	})
	return fmt.Sprintf("copy_file_range %d from %d to %d", n, src, off)
}

// entry is what is compared of a file.
type entry struct {
	path     string
	mode     uint32
	nlink    uint64
	size     int64 // of what is no directory
	uid, gid uint32
	mtime    unix.Timespec // where it was set
	same     string        // another path of the same file
	sum      string        // contents, target
}

// compare compares the two trees, with the contents of files if deep, and
// returns the paths.
func (r *random) compare(deep bool) (paths []string, diff string) {
	a, err := tree(r.sides[0].root, deep)
	if err != nil {
		return nil, "mount: " + err.Error()
	}
	b, err := tree(r.sides[1].root, deep)
	if err != nil {
		return nil, "host: " + err.Error()
	}
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return nil, "the mount lacks " + b[i].path
		case i >= len(b):
			return nil, "only the mount has " + a[i].path
		case a[i] != b[i]:
			return nil, fmt.Sprintf("the files differ:\n mount: %+v\n  host: %+v", a[i], b[i])
		}
		paths = append(paths, a[i].path)
	}
	for i, pair := range r.open {
		var st [2]unix.Stat_t
		for k, fd := range pair {
			if err := unix.Fstat(fd, &st[k]); err != nil {
				return nil, fmt.Sprintf("fstat: %v", err)
			}
		}
		if x, y := [3]int64{int64(st[0].Mode), int64(st[0].Nlink), st[0].Size}, [3]int64{int64(st[1].Mode), int64(st[1].Nlink), st[1].Size}; x != y {
			return nil, fmt.Sprintf("open file %d differs (mode, nlink, size): mount %v, host %v", i, x, y)
		}
	}
	return paths, ""
}

func tree(root string, deep bool) ([]entry, error) {
	var all []entry
	seen := map[uint64]string{}
	var walk func(p string) error
	walk = func(p string) error {
		var st unix.Stat_t
		if err := unix.Lstat(root+p, &st); err != nil {
			return fmt.Errorf("lstat %s: %w", p, err)
		}
		e := entry{path: p, mode: st.Mode, nlink: st.Nlink, uid: st.Uid, gid: st.Gid}
		if p == "" {
			e.uid, e.gid = 0, 0 // who made it, and when, may differ
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if !isDir {
			e.size = st.Size
			if st.Nlink > 1 {
				e.same = seen[st.Ino]
				seen[st.Ino] = p
			}
		}
		// (What goes through a pipe does not come to a mount.)
		if p != "" && st.Mode&unix.S_IFMT != unix.S_IFIFO && (st.Mtim.Sec < 1<<30 || st.Mtim.Sec > 1<<31-1<<28) { // set by utimens, not now
			e.mtime = st.Mtim
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			target, err := os.Readlink(root + p)
			if err != nil {
				return err
			}
			e.sum = target
		case st.Mode&unix.S_IFMT == unix.S_IFREG && deep:
			data, err := os.ReadFile(root + p)
			if err != nil {
				return err
			}
			e.sum = fmt.Sprintf("%d %x", len(data), hash(data))
		}
		all = append(all, e)
		if !isDir {
			return nil
		}
		d, err := os.Open(root + p)
		if err != nil {
			return err
		}
		names, err := d.Readdirnames(-1)
		d.Close()
		if err != nil {
			return err
		}
		sort.Strings(names)
		for _, name := range names {
			if err := walk(path.Join("/", p, name)); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk("")
	return all, err
}

// hash is for telling contents apart, no more.
func hash(p []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range bytes.TrimRight(p, "\x00") {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
