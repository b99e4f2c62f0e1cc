package squashfs

import (
	"sync"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// ahead decompresses blocks that will be asked for soon, while whoever asks is
// busy with those in front of them.
type ahead struct {
	f       *FS
	workers int // at most

	mu      sync.Mutex
	queue   []job
	running int
	stopped bool
	wg      sync.WaitGroup
}

// A job is a block to decompress.
type job struct {
	name structure
	key  blockKey
}

// maxQueue bounds the jobs that wait. More are left to those who need them.
const maxQueue = 64

func (a *ahead) init(f *FS, workers int) { a.f, a.workers = f, workers }

// add has a block decompressed, unless it is there or too many are waiting. It
// reports false if it is no use to go on adding.
func (a *ahead) add(j job) bool {
	if a.f.data.has(j.key) {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped || len(a.queue) >= maxQueue {
		return false
	}
	a.queue = append(a.queue, j)
	if a.running < a.workers {
		a.running++
		a.wg.Add(1)
		go a.work()
	}
	return true
}

func (a *ahead) work() {
	defer a.wg.Done()
	for {
		a.mu.Lock()
		if len(a.queue) == 0 || a.stopped {
			a.running--
			a.mu.Unlock()
			return
		}
		j := a.queue[0]
		if a.queue = a.queue[1:]; len(a.queue) == 0 {
			a.queue = nil
		}
		a.mu.Unlock()
		// An error will be found again by who needs the block.
		if b, isNew := a.f.data.find(j.key); isNew {
			a.f.data.fill(b, func() ([]byte, error) { return a.f.loadData(j.name, j.key) })
		}
	}
}

// stop ends the work, and waits for what is being done.
func (a *ahead) stop() {
	a.mu.Lock()
	a.stopped, a.queue = true, nil
	a.mu.Unlock()
	a.wg.Wait()
}

// streams notices who reads a file from front to end.
type streams struct {
	mu   sync.Mutex
	last [16]stream // by inode number
}

type stream struct {
	ino  vfs.Ino
	next int64 // the block to go on with
}

// onward notes that the blocks first to last of a file are being read, and
// reports whether that goes on from where the file was read last. Requests of
// one reader may overtake each other a little.
func (s *streams) onward(ino vfs.Ino, first, last int64) bool {
	const slack = 2
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.last[ino%vfs.Ino(len(s.last))]
	if x.ino == ino && first >= x.next-1-slack && first <= x.next+slack {
		x.next = max(x.next, last+1)
		return true
	}
	*x = stream{ino, last + 1}
	return false
}

// window is how many bytes are decompressed ahead of a reader who goes on.
const window = 1 << 20

// readAhead has blocks decompressed that a reader of the blocks first to last
// will need: those behind the first, and if it goes on from where it was, some
// behind the last. l is at first.
func (f *FS) readAhead(in *inode, l wordList, first, last int64) {
	end := last
	if f.streams.onward(in.ino, first, last) {
		end += max(window/int64(f.sb.BlockSize), int64(f.ahead.workers))
	}
	end = min(end, f.blockCount(in)-1)
	for i := first; i <= end; i++ {
		w, err := l.read()
		if err != nil {
			return
		}
		if i == first || w.word == 0 || w.word.Raw() {
			continue
		}
		if !f.ahead.add(job{in.name(), blockKey{w.off, w.word.Size()}}) {
			return
		}
	}
	// The end of the file comes from a fragment.
	if end < f.blockCount(in)-1 || in.Fragment == ondisk.NoFragment || int64(in.Size)%int64(f.sb.BlockSize) == 0 {
		return
	}
	if t, err := f.tail(in); err == nil && end > first && !t.Word.Raw() && t.Word != 0 {
		f.ahead.add(job{t.name, blockKey{int64(t.Start), t.Word.Size()}})
	}
}
