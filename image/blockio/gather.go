package blockio

import "sync"

const (
	gatherLen   = 256 << 10 // what is held back at most
	gatherShort = 64 << 10  // a write of so much does not wait
)

// A gather holds short writes back, as long as each begins where the one before
// has ended, so that they reach the device as one: a thousand small files are a
// few writes. Its owner must see to it that nobody needs them on the device.
//
// What cannot be written stays, to be tried again.
type gather struct {
	mu  sync.Mutex
	buf []byte
	off int64 // of buf
}

// write takes p, or passes it on to device when it is long.
func (g *gather) write(p []byte, off int64, device func(p []byte, off int64) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	end := g.off + int64(len(g.buf))
	if off >= g.off && off+int64(len(p)) <= end {
		copy(g.buf[off-g.off:], p)
		return nil
	}
	if len(g.buf) > 0 && (off != end || len(p) > gatherLen-len(g.buf)) {
		if err := g.flushLocked(device); err != nil {
			return err
		}
	}
	if len(p) >= gatherShort {
		return device(p, off)
	}
	if g.buf == nil {
		g.buf = make([]byte, 0, gatherLen)
	}
	if len(g.buf) == 0 {
		g.off = off
	}
	g.buf = append(g.buf, p...)
	return nil
}

// flush writes what is held back.
func (g *gather) flush(device func(p []byte, off int64) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.flushLocked(device)
}

func (g *gather) flushLocked(device func(p []byte, off int64) error) error {
	if len(g.buf) == 0 {
		return nil
	}
	if err := device(g.buf, g.off); err != nil {
		return err
	}
	g.buf = g.buf[:0]
	return nil
}

// drop forgets what is held back.
func (g *gather) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf = g.buf[:0]
}

// overlaps says whether any of the bytes from off to end is held back.
func (g *gather) overlaps(off, end int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return off < g.off+int64(len(g.buf)) && g.off < end && len(g.buf) > 0
}

// readOver reads p at off with read, and lays what is held back over it.
func (g *gather) readOver(p []byte, off int64, read func(p []byte, off int64) (int, error)) (int, error) {
	if !g.overlaps(off, off+int64(len(p))) {
		return read(p, off)
	}
	// It must not be written in between.
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := read(p, off)
	if from := max(off, g.off); from < off+int64(n) {
		copy(p[from-off:n], g.buf[min(from-g.off, int64(len(g.buf))):])
	}
	return n, err
}
