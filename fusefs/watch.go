package fusefs

import (
	"sync/atomic"
	"time"
)

// watch looks after a leader who answers requests itself. If it is stuck in one,
// because the image lies on a server that is gone, it loses the lead: others must
// go on, and the signal be read that ends the waiting. The timer runs while there
// is something to do; the leader pays with two additions for a request.
type watch struct {
	deposed func() // called when the lead has been lost

	beats atomic.Uint64 // odd: in an answer
	on    atomic.Bool   // the timer runs
	timer *time.Timer
	seen  uint64 // beats when the timer ran out the last time; the timer's
}

// patience is how long an answer is waited for; it may be twice that.
const patience = 10 * time.Millisecond

func newWatch(deposed func()) *watch {
	w := &watch{deposed: deposed}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
	return w
}

// begin is called before an answer. It returns what end wants.
func (w *watch) begin() uint64 {
	beat := w.beats.Add(1)
	if !w.on.Load() {
		w.start()
	}
	return beat
}

// end is called after an answer, and reports whether the lead has been kept.
func (w *watch) end(beat uint64) bool { return w.beats.CompareAndSwap(beat, beat+1) }

func (w *watch) start() {
	if w.on.CompareAndSwap(false, true) {
		w.timer.Reset(patience)
	}
}

// look is called when the timer has run out.
func (w *watch) look() {
	beat := w.beats.Load()
	if beat != w.seen {
		w.seen = beat
		w.timer.Reset(patience)
		return
	}
	if beat%2 == 1 && w.beats.CompareAndSwap(beat, beat+1) {
		beat++
		w.deposed()
	}
	w.on.Store(false)
	if w.beats.Load() != beat {
		w.start() // an answer begun in between has seen the timer run
	}
}
