package fusefs

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// spinMax is how long the leader asks again and again for the next request
	// before it sleeps. To be woken on another processor takes longer than most
	// programs need from one request to the next, and in a virtual machine
	// several times as long.
	spinMax = 30 * time.Microsecond
	// pauseMax is how many waits do without that when it is in vain.
	pauseMax = 255
	// yieldEvery is how often the leader passes through Go's scheduler. After
	// 10 ms without that Go's monitor believes that it hogs its processor, and
	// looks after it 50,000 times a second.
	yieldEvery = 5 * time.Millisecond

	// slowAnswer is how long an answer takes after which the next one is
	// expected to take long as well.
	slowAnswer = 200 * time.Microsecond
	// crowd is how many requests in a row are there already when the leader
	// looks if several programs wait for answers.
	crowd = 16
	// longWrite is the smallest write that takes long, in bytes.
	longWrite = 64 << 10
)

// spinning pays only if the one who is waited for can run meanwhile.
var spinning = runtime.NumCPU() > 1

// leader is what the one who reads has seen.
type leader struct {
	queued        int       // requests in a row that were there already
	slow          bool      // the last answer took long
	pause, pauses int       // waits without spinning: still to come, and in all
	yielded       time.Time // see yieldEvery
}

// worker is one goroutine of the loop.
type worker struct {
	*loop
	in, out       []byte
	inVec, outVec [1][]byte
	watch         *watch
	answering     atomic.Uint64 // the unique number of a request, or 0
}

func newWorker(l *loop) *worker {
	w := &worker{loop: l, in: requestBuffer(l.maxIn), out: make([]byte, answerMax)}
	w.outVec[0] = w.out
	w.watch = newWatch(func() { l.pass(leader{slow: true}) })
	return w
}

func (w *worker) run() {
	defer w.serving.Done()
	for next := true; next; next = w.await() {
		select {
		case ld := <-w.lead:
			w.serveAs(ld)
		case <-w.ended:
			return
		}
	}
}

// await reports whether the lead will come to this goroutine.
func (w *worker) await() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.owed > 0:
		w.owed--
	case w.waiting < spareMax:
		w.waiting++
	default:
		delete(w.workers, w)
		return false
	}
	return true
}

// serveAs reads and answers requests until the lead is somebody else's.
func (w *worker) serveAs(ld leader) {
	for {
		n, err := w.next(&ld)
		if err != nil {
			w.finish(err)
			return
		}
		w.answering.Store(header(w.in).Unique)
		if ld.slow || ld.queued >= crowd || takesLong(w.in[:n]) {
			ld.slow = false
			w.pass(ld)
			w.answer(n)
			return
		}
		start := time.Now()
		beat := w.watch.begin()
		w.answer(n)
		if !w.watch.end(beat) {
			return
		}
		ld.slow = time.Since(start) > slowAnswer
	}
}

// next waits for a request and reads it.
func (w *worker) next(ld *leader) (n int, err error) {
	if n, err = w.dev.tryRead(w.in); err != unix.EAGAIN {
		ld.queued++
		return n, err
	}
	ld.queued = 0
	start := time.Now()
	if start.Sub(ld.yielded) > yieldEvery {
		ld.yielded = start
		runtime.Gosched()
	}
	if ld.pause > 0 {
		ld.pause--
	} else if spinning {
		for time.Since(start) < spinMax {
			if n, err = w.dev.tryRead(w.in); err != unix.EAGAIN {
				ld.pauses = 0
				return n, err
			}
		}
		ld.pauses = min(2*ld.pauses+1, pauseMax)
		ld.pause = ld.pauses
	}
	for {
		if err := w.dev.wait(); err != nil {
			return 0, os.NewSyscallError("poll", err)
		}
		if n, err = w.dev.tryRead(w.in); err != unix.EAGAIN {
			return n, err
		}
	}
}

// takesLong reports whether the answer to a request is one of those that take
// their time.
func takesLong(request []byte) bool {
	switch header(request).Opcode {
	case opRead:
		return readSize(request) >= spliceMin
	case opWrite:
		return len(request) >= longWrite
	case opFsync, opFsyncdir, opSyncfs, opFallocate, opLseek, opCopyRange:
		return true
	}
	return false
}

// answer answers the request of n bytes in w.in.
func (w *worker) answer(n int) {
	request := w.in[:n]
	unique := header(request).Unique
	defer w.answering.Store(0)
	if w.splice(request) {
		return
	}
	w.inVec[0] = request
	m, status := w.ps.HandleRequest(w.inVec[:], w.outVec[:])
	var err error
	if m > 0 {
		err = w.dev.answer(w.out[:m])
	} else if !status.Ok() { // the request cannot even be parsed
		err = w.dev.answerError(unique, unix.EIO)
	}
	w.complain(err)
}

// splice answers a long read whose bytes lie in one piece in a file of the host,
// without copying them.
func (w *worker) splice(request []byte) bool {
	if w.debug || header(request).Opcode != opRead || readSize(request) < spliceMin {
		return false
	}
	f, at, n, ok := w.raw.run((*fuse.ReadIn)(unsafe.Pointer(unsafe.SliceData(request))))
	if !ok {
		return false
	}
	done, err := w.dev.answerFrom(header(request).Unique, f, at, n)
	if done {
		w.complain(err)
	}
	return done
}

// readSize is how much a read request asks for, in bytes; 0: it is cut off.
func readSize(request []byte) int {
	if len(request) < int(unsafe.Sizeof(fuse.ReadIn{})) {
		return 0
	}
	return int((*fuse.ReadIn)(unsafe.Pointer(unsafe.SliceData(request))).Size)
}

func (w *worker) complain(err error) {
	if err != nil && err != unix.ENODEV {
		w.raw.logOnce("answer", "an answer did not get to the kernel: %v", err)
	}
}
