package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
)

// A progress shows on standard error, if that is a terminal, how far something
// has come that takes longer than a second.
type progress struct {
	mu    sync.Mutex
	w     *world
	what  string
	bytes int64
	total int64 // 0 if not known
	start time.Time
	last  time.Time
	shown bool
}

// progress begins to measure; total is in bytes, 0 if it is not known.
func (w *world) progress(what string, total int64) *progress {
	p := &progress{what: what, total: total, start: time.Now()}
	p.last = p.start.Add(800 * time.Millisecond)
	if w.watched() {
		p.w = w
	}
	return p
}

// watched reports whether somebody looks at standard error.
func (w *world) watched() bool {
	f, ok := w.stderr.(*os.File)
	if !ok || w.quiet || w.json {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// waiting shows that something goes on whose end nobody knows, if it takes
// longer than a second.
func (w *world) waiting(what string) (end func()) {
	p := &progress{what: what}
	if w.watched() {
		p.w = w
	}
	timer := time.AfterFunc(time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.w != nil {
			p.shown = true
			fmt.Fprintf(p.w.stderr, "\r\x1b[K%s …", escape(p.what))
		}
	})
	return func() {
		timer.Stop()
		p.end()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.w = nil
	}
}

// countedDevice counts what is read of a device, and countedTransaction of one
// that is written to.
type countedDevice struct {
	blockio.Device
	bar *progress
}

func (d countedDevice) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.Device.ReadAt(p, off)
	d.bar.add(int64(n))
	return n, err
}

type countedTransaction struct {
	blockio.Transaction
	bar *progress
}

func (t countedTransaction) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.Transaction.ReadAt(p, off)
	t.bar.add(int64(n))
	return n, err
}

// add counts n more bytes.
func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
	if p.w == nil {
		return
	}
	now := time.Now()
	if now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	rate := int64(float64(p.bytes) / now.Sub(p.start).Seconds())
	line := fmt.Sprintf("%s: %s, %s/s", p.what, size(p.bytes), size(rate))
	if p.total > 0 {
		line = fmt.Sprintf("%s, %d%%", line, min(p.bytes*100/p.total, 100))
	}
	fmt.Fprintf(p.w.stderr, "\r\x1b[K%s", escape(line))
}

// end clears the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w.stderr, "\r\x1b[K")
		p.shown = false
	}
}
