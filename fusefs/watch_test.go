package fusefs

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWatchDeposesWhoIsStuck(t *testing.T) {
	var deposed atomic.Int32
	w := newWatch(func() { deposed.Add(1) })
	for range 3 {
		assert.True(t, w.end(w.begin()), "an answer in time")
	}
	beat := w.begin()
	assert.Eventually(t, func() bool { return deposed.Load() == 1 }, 10*time.Second, time.Millisecond)
	time.Sleep(5 * patience)
	assert.Equal(t, int32(1), deposed.Load(), "once for one answer")
	assert.False(t, w.end(beat), "the lead is somebody else's")

	// The timer has ended, and starts again.
	assert.Eventually(t, func() bool { return !w.on.Load() }, 10*time.Second, time.Millisecond)
	beat = w.begin()
	assert.Eventually(t, func() bool { return deposed.Load() == 2 }, 10*time.Second, time.Millisecond)
	assert.False(t, w.end(beat))
}

// However answers and the timer meet, either the one who answers has kept the
// lead, or it has been given away, and never both.
func TestWatchGivesTheLeadAwayOnce(t *testing.T) {
	var given atomic.Int32
	w := newWatch(func() { given.Add(1) })
	kept, lost := 0, int32(0)
	for i := range 60 {
		beat := w.begin()
		time.Sleep(patience - time.Millisecond + time.Duration(i)*patience/40)
		if w.end(beat) {
			kept++
		} else {
			lost++
		}
	}
	assert.Equal(t, lost, given.Load())
	assert.Positive(t, kept)
	assert.Positive(t, lost)
}
