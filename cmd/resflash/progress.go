package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A progress shows on standard error, if that is a terminal, how far something
// has come that takes longer than a second.
type progress struct {
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
	if f, ok := w.stderr.(*os.File); ok && !w.quiet && !w.json {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			p.w = w
		}
	}
	return p
}

// add counts n more bytes.
func (p *progress) add(n int64) {
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
	if p.shown {
		fmt.Fprint(p.w.stderr, "\r\x1b[K")
		p.shown = false
	}
}
