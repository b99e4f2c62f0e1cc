package fusefs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// background is the context of everything that changes something: what a
// program has asked for is done to its end, or not at all.
var background = context.Background()

// writer is the part of a volume that is there only if it is written to.
type writer struct {
	fs vfs.WritableFS

	// Abilities; nil where the file system has them not.
	falloc vfs.Fallocater
	xattrs vfs.XattrWriter

	refs refs
	// names keeps names from being taken away between finding a file by one
	// and counting the reference to it: shared for the one, alone for the
	// other. The kernel has locks of its own for that, and this one is hardly
	// ever waited for.
	names sync.RWMutex

	changes changes
	// done counts changes, and saved is the count that the last commit has
	// surely seen.
	done, saved atomic.Uint64
	commits     sync.Mutex // one commit at a time
	// freed says that space has become free since the last commit. It cannot
	// be used before the next.
	freed      atomic.Bool
	forgetting atomic.Int32 // Forgets that are being worked on
}

func newWriter(fsys vfs.WritableFS) *writer {
	w := &writer{fs: fsys}
	w.falloc, _ = fsys.(vfs.Fallocater)
	w.xattrs, _ = fsys.(vfs.XattrWriter)
	return w
}

// changed notes that something has been changed.
func (w *writer) changed() { w.done.Add(1) }

// forget takes back references of the kernel. With the last one goes a file
// that has no name any more.
func (w *writer) forget(ino vfs.Ino, n uint64) error {
	w.forgetting.Add(1)
	defer w.forgetting.Add(-1)
	if !w.refs.drop(ino, n) {
		return nil
	}
	return w.unpin(ino)
}

func (w *writer) unpin(ino vfs.Ino) error {
	err := w.fs.Unpin(background, ino)
	w.freed.Store(true)
	w.changed()
	return err
}

// settle waits until what the kernel has forgotten is gone: it forgets without
// waiting for an answer, and the next request may be answered earlier.
func (w *writer) settle() {
	for range 100 {
		if w.forgetting.Load() == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// remove calls fn, which takes a name from the file victim (0: from none), and
// keeps the file while the kernel knows it. Requires w.names, alone, until fn
// has returned.
func (w *writer) remove(victim *vfs.Attr, fn func() error) error {
	// A file with other names is not in danger.
	last := victim != nil && (victim.Mode.IsDir() || victim.Nlink <= 1)
	if last {
		w.fs.Pin(victim.Ino)
	}
	err := fn()
	if err == nil {
		w.freed.Store(true)
	}
	if last && (err != nil || !w.refs.hold(victim.Ino)) {
		err = errors.Join(err, w.fs.Unpin(background, victim.Ino))
	}
	return err
}

// roomy calls fn, and once more if there was no space but a commit can make
// some.
func (w *writer) roomy(fn func() error) error {
	err := fn()
	if err != nil && errors.Is(err, syscall.ENOSPC) && w.makeRoom() {
		err = fn()
	}
	return err
}

// makeRoom lets what has been freed be used again, if there is any.
func (w *writer) makeRoom() bool {
	if !w.freed.Load() {
		return false
	}
	// What was removed last may be about to be forgotten; the one who waits here
	// may be the one who reads that, until the lead is taken away.
	time.Sleep(3 * patience)
	w.settle()
	return w.commit() == nil
}

// commit makes what has been changed so far durable.
func (w *writer) commit() error {
	w.commits.Lock()
	defer w.commits.Unlock()
	before := w.done.Load()
	if before == w.saved.Load() {
		return nil
	}
	freed := w.freed.Swap(false)
	if err := w.fs.Sync(background); err != nil {
		if freed {
			w.freed.Store(true)
		}
		return err
	}
	w.saved.Store(before)
	return nil
}

// end gives up what the kernel held when it has gone, and commits.
func (w *writer) end() error {
	var errs []error
	for _, ino := range w.refs.clear() {
		errs = append(errs, w.unpin(ino))
	}
	return errors.Join(append(errs, w.commit())...)
}
