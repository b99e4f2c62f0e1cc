// Package model compares a file-system driver with a model of it, by doing
// random operations to both.
//
// A [Run] makes up operations ([Op]) from a seed, does each to a driver and to
// a [memfs.FS], and compares what comes of it: errors, attributes, and from
// time to time the whole trees. After every commit the model's state is kept
// ([Run.Committed]), for tests that look at what a crash leaves.
//
// The operations of a run follow from its seed and from what the driver could
// do (a driver may run out of space, the model does not). All of them are
// logged, and can be done again, in full or in part: [Run.Replay], [Minimise].
package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// Options say what to do in a run.
type Options struct {
	Seed uint64

	// Limits are those of the format. Its BlockSize is the unit in which it
	// has holes.
	Limits memfs.Options
	// FragSize is a smaller unit of allocation, if there is one.
	FragSize int
	// Sizes are file sizes at which something changes in the format: where
	// indirect blocks begin.
	Sizes []int64
	// Targets are lengths of symbolic links at which something changes.
	Targets []int
	// From and To bound the times that files are given.
	From, To time.Time

	// Bytes and Names are how much there is to be, roughly, in the end.
	Bytes int64
	Names int
	// Full allows ENOSPC. Otherwise it is an error, like any other.
	Full bool

	// Committed is called after every commit with the state that is on the
	// medium now. The error ends the run.
	Committed func(ctx context.Context, state *memfs.FS) error
	// Reopen closes a driver, after a commit, and opens the file system again.
	// If nil, this is not done.
	Reopen func(ctx context.Context, old vfs.WritableFS) (vfs.WritableFS, error)

	// Every is after how many operations the whole trees are compared; 100 if
	// 0, never if negative.
	Every int
	// Comparison is how.
	Comparison Comparison
}

// A Run is a driver and the model of it.
type Run struct {
	// Log is what has been done so far.
	Log []Op
	// NoSpace counts the operations that were ENOSPC.
	NoSpace int
	// Commits counts the commits.
	Commits int

	opt           Options
	rnd           *rand.Rand
	driver, model side
	committed     *memfs.FS
	seq           int
	last          ID // the ID given last
	tables
}

// New begins a run on an empty file system.
func New(driver vfs.WritableFS, opt Options) *Run {
	if opt.Every == 0 {
		opt.Every = 100
	}
	if opt.FragSize == 0 {
		opt.FragSize = opt.Limits.BlockSize
	}
	if opt.Bytes == 0 {
		opt.Bytes = 1 << 20
	}
	if opt.Names == 0 {
		opt.Names = 300
	}
	if opt.From.IsZero() {
		opt.From, opt.To = time.Unix(-1<<31, 0), time.Unix(1<<31-1, 0)
	}
	m := memfs.NewWith(opt.Limits)
	opt.Limits = m.Options()
	r := &Run{
		opt: opt, rnd: rand.New(rand.NewPCG(opt.Seed, 7)),
		driver: side{driver, map[ID]vfs.Ino{0: driver.Root()}},
		model:  side{m, map[ID]vfs.Ino{0: m.Root()}},
	}
	r.committed = m.Snapshot()
	r.tables.init()
	m.SetClock(r.now)
	if !r.setClock() {
		r.opt.Comparison.SkipCtime = true
	}
	return r
}

// now is the clock of both sides.
func (r *Run) now() time.Time { return clock(r.seq) }

func (r *Run) setClock() bool {
	c, ok := r.driver.fs.(vfs.Clocked)
	if ok {
		c.SetClock(r.now)
	}
	return ok
}

// Model is what the driver should hold now. It is not to be changed.
func (r *Run) Model() *memfs.FS { return r.model.fs.(*memfs.FS) }

// Committed is what the medium should hold: the state at the last commit. It
// does not change any more.
func (r *Run) Committed() *memfs.FS { return r.committed }

// Adopt takes the attributes of the driver's root directory for those of the
// model, and the directories in it, which are empty and stay so: a file system
// that was just made has some of its own. It is to be called before the first
// Step.
func (r *Run) Adopt(ctx context.Context) error {
	root := r.driver.fs.Root()
	for e, err := range r.driver.fs.ReadDir(ctx, root, 0) {
		if err != nil {
			return err
		}
		r.Model().AddDir("/" + e.Name)
		if err := r.adopt(ctx, "/"+e.Name, e.Ino); err != nil {
			return err
		}
	}
	if err := r.adopt(ctx, "/", root); err != nil {
		return err
	}
	r.committed = r.Model().Snapshot()
	return nil
}

func (r *Run) adopt(ctx context.Context, path string, ino vfs.Ino) error {
	attr, err := r.driver.fs.Getattr(ctx, ino)
	if err != nil {
		return err
	}
	r.Model().SetAttr(path, func(a *vfs.Attr) {
		a.Mode, a.UID, a.GID, a.Flags = attr.Mode, attr.UID, attr.GID, attr.Flags
		a.Atime, a.Mtime, a.Ctime, a.Btime = attr.Atime, attr.Mtime, attr.Ctime, attr.Btime
	})
	return nil
}

// A Failure says where a run ended.
type Failure struct {
	Seed uint64
	Op   Op // the last one
	Err  error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, operation %d: %v\n%v", f.Seed, f.Op.Seq, f.Err, f.Op)
}

// Unwrap returns what is wrong.
func (f *Failure) Unwrap() error { return f.Err }

// Step makes up one operation and does it. Any error is a *Failure.
func (r *Run) Step(ctx context.Context) (Op, error) {
	op := r.next()
	return op, r.Do(ctx, op)
}

// Steps does n operations, and compares the trees at the end.
func (r *Run) Steps(ctx context.Context, n int) error {
	for range n {
		if _, err := r.Step(ctx); err != nil {
			return err
		}
	}
	return r.fail(Op{Seq: r.seq, Kind: "compare"}, r.Compare(ctx))
}

// Sync commits.
func (r *Run) Sync(ctx context.Context) error {
	r.seq++
	return r.Do(ctx, Op{Seq: r.seq, Kind: Sync})
}

// Do does op, which Step has made up, in this run or another.
func (r *Run) Do(ctx context.Context, op Op) error {
	r.seq = op.Seq
	r.Log = append(r.Log, op)
	err := r.do(ctx, op)
	if err == nil && r.opt.Every > 0 && op.Seq%r.opt.Every == 0 {
		err = r.Compare(ctx)
	}
	return r.fail(op, err)
}

func (r *Run) fail(op Op, err error) error {
	if err == nil {
		return nil
	}
	return &Failure{Seed: r.opt.Seed, Op: op, Err: err}
}

// Replay does operations again, in a new run. Those about files that are not
// there are left out.
func (r *Run) Replay(ctx context.Context, ops []Op) error {
	for _, op := range ops {
		if err := r.Do(ctx, op); err != nil {
			return err
		}
	}
	return r.fail(Op{Seq: r.seq, Kind: "compare"}, r.Compare(ctx))
}

// Compare compares the whole trees, and the files that have no name left.
func (r *Run) Compare(ctx context.Context) error {
	if err := r.opt.Comparison.Compare(ctx, r.model.fs, r.driver.fs); err != nil {
		return fmt.Errorf("trees differ: %w", err)
	}
	// Where a driver keeps those is its own affair, so holes may be lost.
	loose := r.opt.Comparison
	loose.ExactHoles = false
	for _, id := range r.pinned.list {
		if r.files[id].names == 0 && id != 0 {
			c := newComparing(ctx, loose, r.model.fs, r.driver.fs)
			if err := c.unnamed(r.model.ino[id], r.driver.ino[id]); err != nil {
				return fmt.Errorf("file %d, which has no name left: %w", id, err)
			}
		}
	}
	return nil
}

func (r *Run) do(ctx context.Context, op Op) error {
	switch op.Kind {
	case Sync:
		return r.sync(ctx)
	case Reopen:
		return r.reopen(ctx)
	case ReadDir:
		return r.readDir(ctx, op)
	}
	got := r.driver.do(ctx, op)
	if got.Err == errSkip {
		return nil
	}
	if errno(got.Err) == syscall.ENOSPC {
		var done bool
		var err error
		if got, done, err = r.noSpace(ctx, op, got); err != nil || done {
			return err
		}
	}
	want := r.model.do(ctx, op)
	switch {
	case (want.Err == nil) != (got.Err == nil), errno(want.Err) != errno(got.Err):
		return fmt.Errorf("the driver says %w, the model %w", orOK(got.Err), orOK(want.Err))
	case want.N != got.N:
		return fmt.Errorf("%d bytes were written, not %d", got.N, want.N)
	case got.Err != nil:
		return nil
	}
	r.note(ctx, op, want, got)
	switch op.Kind {
	case Create, Link, Setattr:
		if err := r.opt.Comparison.attr(want.Attr, got.Attr); err != nil {
			return fmt.Errorf("attributes returned: %w", err)
		}
	}
	return r.sameAttrs(ctx, op)
}

var errOK = errors.New("that all is well")

func orOK(err error) error {
	if err == nil {
		return errOK
	}
	return err
}

// sameAttrs compares the attributes of the files that op was about.
func (r *Run) sameAttrs(ctx context.Context, op Op) error {
	for _, id := range []ID{op.File, op.Dir, op.To} {
		ino, ok := r.model.ino[id]
		if !ok {
			continue
		}
		want, err := r.model.fs.Getattr(ctx, ino)
		if err != nil {
			return fmt.Errorf("in the model: file %d: %w", id, err)
		}
		got, err := r.driver.fs.Getattr(ctx, r.driver.ino[id])
		if err == nil {
			err = r.opt.Comparison.attr(want, got)
		}
		if err != nil {
			return fmt.Errorf("afterwards, file %d: %w", id, err)
		}
	}
	return nil
}

// noSpace looks at an ENOSPC. It is for good if done; otherwise the operation
// has been tried again, after a commit, with the result got.
func (r *Run) noSpace(ctx context.Context, op Op, got Result) (again Result, done bool, err error) {
	if much, err := r.muchXattrs(ctx, op); err != nil || much {
		return got, true, errors.Join(err, r.sameAttrs(ctx, op))
	}
	r.NoSpace++
	if !r.opt.Full {
		return got, true, fmt.Errorf("the driver says %w", got.Err)
	}
	for try := 0; ; try++ {
		if got.N > 0 {
			// What was written is written in the model as well.
			part := op
			part.Len = int64(got.N)
			if want := r.model.do(ctx, part); want.N != got.N || got.N >= int(op.Len) {
				return got, true, fmt.Errorf("%d of %d bytes were written, where there is no space (the model writes %d: %w)", got.N, op.Len, want.N, orOK(want.Err))
			}
			return got, true, r.sameAttrs(ctx, op)
		}
		trial := side{r.Model().Snapshot(), r.model.ino}
		if _, ok := r.model.ino[op.File]; ok && r.files[op.File].names == 0 || r.files[op.Dir] != nil && r.files[op.Dir].names == 0 {
			trial.fs = nil // not in a snapshot
		}
		if trial.fs != nil {
			if want := trial.do(ctx, op); want.Err != nil {
				return got, true, fmt.Errorf("the driver says %w, the model %w", got.Err, want.Err)
			}
		}
		if op.Kind == Fallocate {
			if err := r.adoptSpace(ctx, op); err != nil {
				return got, true, err
			}
		}
		if err := r.sameAttrs(ctx, op); err != nil {
			return got, true, err
		}
		full, st, err := r.isFull(ctx, op)
		switch {
		case err != nil:
			return got, true, err
		case full:
			return got, true, nil
		case try > 0:
			return got, true, fmt.Errorf("the driver says %w, with %d of %d units of %d bytes and %d inodes free", got.Err, st.Avail, st.Blocks, st.BlockSize, st.FilesFree)
		}
		// Space that was freed since the last commit may count as free and
		// be of no use yet.
		if err := r.sync(ctx); err != nil {
			return got, true, err
		}
		if got = r.driver.do(ctx, op); errno(got.Err) != syscall.ENOSPC {
			return got, false, nil
		}
	}
}

// muchXattrs says whether op asks for more extended attributes than a file has
// room for.
func (r *Run) muchXattrs(ctx context.Context, op Op) (bool, error) {
	room := r.opt.Limits.Limits.XattrRoom
	if op.Kind != SetXattr || room == 0 {
		return false, nil
	}
	attrs, err := r.Model().Xattrs(ctx, r.model.ino[op.File])
	if err != nil {
		return false, err
	}
	const unit, each = 4, 16
	size := func(n int) int { return (n + unit - 1) / unit * unit }
	attrs[op.Name] = make([]byte, op.Len)
	for name, value := range attrs {
		room -= each + size(len(name)) + size(len(value))
	}
	return room < 0, nil
}

// isFull says whether ENOSPC is plausible: what is free is not enough, or so
// little that it may well lie in pieces too small to use.
func (r *Run) isFull(ctx context.Context, op Op) (bool, vfs.Statfs, error) {
	st, err := r.driver.fs.Statfs(ctx)
	if err != nil {
		return false, st, err
	}
	avail, all := int64(st.Avail)*st.BlockSize, int64(st.Blocks)*st.BlockSize
	need := int64(4 * r.opt.Limits.BlockSize)
	if op.Kind == Write || op.Kind == Fallocate || op.Kind == Create {
		need += op.Len
	}
	if r.opt.Limits.Limits.NoHoles {
		need += op.Off
		if op.Set != nil && op.Set.Size != nil {
			need += *op.Set.Size
		}
	}
	return avail < need+all/4 || st.Files > 0 && st.FilesFree == 0, st, nil
}

// adoptSpace makes the model do what a Fallocate that failed has done: it may
// have allocated something, and made zeros of the first part.
func (r *Run) adoptSpace(ctx context.Context, op Op) error {
	ino, other := r.model.ino[op.File], r.driver.ino[op.File]
	was, err := r.model.fs.Getattr(ctx, ino)
	if err != nil {
		return err
	}
	end := min(op.Off+op.Len, was.Size)
	if op.Flags&uint32(vfs.AllocZeroRange) != 0 && op.Off < end {
		p := make([]byte, end-op.Off)
		if n, err := r.driver.fs.ReadAt(ctx, other, p, op.Off); n < len(p) {
			return fmt.Errorf("read what could not be made zeros: %w", err)
		}
		zero := int64(len(p) - len(bytes.TrimLeft(p, "\x00")))
		if err := r.Model().Wipe(ino, op.Off, zero); err != nil {
			return err
		}
	}
	if err := r.adoptBlocks(ctx, ino, other, op.Off, end); err != nil {
		return err
	}
	// That counts as a change only if the driver thinks so as well.
	got, err := r.driver.fs.Getattr(ctx, other)
	if err != nil {
		return err
	}
	if got.Ctime.Equal(was.Ctime) {
		r.Model().Restore(ino, was)
	}
	return nil
}

func (r *Run) adoptBlocks(ctx context.Context, ino, other vfs.Ino, off, end int64) error {
	h, ok := r.driver.fs.(vfs.HoleSeeker)
	if !ok {
		return nil
	}
	for off < end {
		data, err := h.SeekData(ctx, other, off)
		if errors.Is(err, syscall.ENXIO) || data >= end {
			break
		} else if err != nil {
			return err
		}
		hole, err := h.SeekHole(ctx, other, data)
		if err != nil {
			return err
		}
		off = min(hole, end)
		if err := r.Model().Fallocate(ctx, ino, 0, data, off-data); err != nil {
			return err
		}
	}
	return nil
}
