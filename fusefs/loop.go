package fusefs

import (
	"fmt"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// loop answers the requests of a mount. (go-fuse has one, too, with several
// readers that the kernel wakes in turn. What a program waits for in FUSE is
// mostly such waking.) One goroutine reads, the leader, and what is answered
// quickly it answers itself. Before what may take longer it leaves the lead to
// another, so that requests are answered side by side where that pays.
type loop struct {
	dev   device
	raw   *raw
	ps    *fuse.ProtocolServer
	maxIn int // bytes that one request writes
	debug bool

	lead    chan leader   // to the next of those who wait for it
	ended   chan struct{} // closed when there will be no more requests
	end     sync.Once
	serving sync.WaitGroup

	mu      sync.Mutex
	workers map[*worker]bool
	waiting int // of them, for the lead
	owed    int // leads for those who will be free first
}

const (
	// workersMax bounds the goroutines, and with them the memory: each needs twice
	// 1 MiB at the most.
	workersMax = 32
	// spareMax is how many of them are kept although there is nothing to do.
	spareMax = 2

	// answerMax is the size of the largest answer, in bytes: directories are
	// read in as much as is written at once.
	answerMax = writeMax + 4096
)

// connect makes the loop of a new mount, of which fd is the device.
func connect(fd int, raw *raw, settings *fuse.MountOptions) (*loop, error) {
	l := &loop{
		dev: device{fd}, raw: raw, ps: fuse.NewProtocolServer(raw, settings), maxIn: settings.MaxWrite, debug: settings.Debug,
		lead: make(chan leader, workersMax), ended: make(chan struct{}), workers: map[*worker]bool{},
	}
	flags, err := l.dev.connect(l.ps, requestBuffer(l.maxIn), make([]byte, answerMax))
	if err != nil {
		l.dev.close()
		return nil, err
	}
	raw.connected(flags)
	return l, nil
}

// serve answers requests until the mount ends.
func (l *loop) serve() {
	l.pass(leader{})
	l.serving.Wait()
	l.dev.close()
}

// pass gives the lead to another goroutine.
func (l *loop) pass(ld leader) {
	l.mu.Lock()
	switch {
	case l.waiting > 0:
		l.waiting--
	case len(l.workers) < workersMax:
		w := newWorker(l)
		l.workers[w] = true
		l.serving.Add(1)
		go w.run()
	default:
		l.owed++
	}
	l.mu.Unlock()
	l.lead <- ld
}

// finish ends the loop. ENODEV: the mount has ended; ECONNABORTED: somebody has
// cut the connection, by /sys/fs/fuse/connections.
func (l *loop) finish(err error) {
	l.end.Do(func() {
		if err != unix.ENODEV {
			l.raw.logf("the mount cannot be served any more: %v", fmt.Errorf("read a request: %w", err))
		}
		close(l.ended)
		l.cancel()
	})
}

// cancel interrupts what is still being answered, since nobody waits for it, and
// returns when it has ended.
func (l *loop) cancel() {
	out := make([]byte, answerMax)
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		busy := false
		for _, unique := range l.unanswered() {
			busy = true
			l.ps.HandleRequest([][]byte{interruption(unique)}, [][]byte{out})
		}
		if !busy {
			return
		}
		time.Sleep(pause)
	}
}

// unanswered lists the unique numbers of the requests that are being answered.
func (l *loop) unanswered() (list []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.workers {
		if unique := w.answering.Load(); unique != 0 {
			list = append(list, unique)
		}
	}
	return list
}
