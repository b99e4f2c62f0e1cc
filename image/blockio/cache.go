package blockio

import (
	"container/list"
	"io"
	"slices"
	"sync"
)

// A Cache keeps the most recently used pages of a device in memory, up to a
// bound, and hands out slices of them. It is meant for metadata: inode tables,
// directories, indirect blocks. File contents are read around it, straight
// into the caller's buffer (the host's page cache is good at those).
//
// A Cache is itself a [Device]. It is safe for concurrent use; two goroutines
// that miss on the same page read it once.
//
// A driver that writes changes pages in place ([Cache.Modify]). They stay in
// memory until they are flushed to the transaction below. Whoever uses a cache
// like this keeps readers and writers apart by a lock of its own.
type Cache struct {
	dev      Device
	pageSize int64
	shards   [cacheShards]cacheShard
}

const cacheShards = 8

type cacheShard struct {
	mu    sync.Mutex
	pages map[int64]*list.Element // by page number; element value is *cachePage
	lru   list.List               // front is the most recently used
	max   int                     // pages
	dirty int                     // pages that were modified, which are never evicted
}

type cachePage struct {
	num  int64
	once sync.Once
	data []byte
	err  error

	// dirty has a bit for every sector of 512 bytes that was modified since the
	// last flush. Under the lock of the shard.
	dirty [maxCachePage / cacheSector / 64]uint64
	held  bool // dirty is not empty
}

const (
	maxCachePage = 64 << 10
	cacheSector  = 512
)

// NewCache returns a cache over dev with pages of pageSize bytes (a power of
// two; the file system's block size is a good choice) that holds at most
// about maxBytes.
func NewCache(dev Device, pageSize int, maxBytes int64) *Cache {
	if pageSize < cacheSector || pageSize > maxCachePage || pageSize&(pageSize-1) != 0 {
		panic("bug: blockio.NewCache: page size is not a power of two from 512 to 64K")
	}
	c := &Cache{dev: dev, pageSize: int64(pageSize)}
	per := max(int(maxBytes/int64(pageSize))/cacheShards, 4)
	for i := range c.shards {
		c.shards[i].pages = make(map[int64]*list.Element)
		c.shards[i].max = per
	}
	return c
}

// Size is that of the device below.
func (c *Cache) Size() int64 { return c.dev.Size() }

// SectorSize is that of the device below.
func (c *Cache) SectorSize() int { return c.dev.SectorSize() }

// Device is the device below.
func (c *Cache) Device() Device { return c.dev }

// Bytes returns the n bytes at off. The slice must not be modified; it stays
// valid after its page has left the cache. Within one page no copy is made.
func (c *Cache) Bytes(off int64, n int) ([]byte, error) {
	if n < 0 || off < 0 || off > c.Size() || int64(n) > c.Size()-off {
		return nil, &RangeError{Off: off, Len: int64(n), Size: c.Size()}
	}
	if n == 0 {
		return nil, nil
	}
	in := off % c.pageSize
	if in+int64(n) <= c.pageSize {
		page, err := c.page(off / c.pageSize)
		if err != nil {
			return nil, err
		}
		return page[in : in+int64(n) : in+int64(n)], nil
	}
	p := make([]byte, n)
	if _, err := c.ReadAt(p, off); err != nil {
		return nil, err
	}
	return p, nil
}

// ReadAt implements [io.ReaderAt] through the cache.
func (c *Cache) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: c.Size()}
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= c.Size() {
			return n, io.EOF
		}
		page, err := c.page(at / c.pageSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], page[at%c.pageSize:])
	}
	return n, nil
}

// evict makes room. Requires s.mu. Modified pages stay, over the bound if need
// be: whoever modifies has to flush in time.
func (s *cacheShard) evict() {
	for el := s.lru.Back(); el != nil && s.lru.Len()-s.dirty > s.max; {
		pg := el.Value.(*cachePage)
		prev := el.Prev()
		if !pg.held && el != s.lru.Front() {
			s.lru.Remove(el)
			delete(s.pages, pg.num)
		}
		el = prev
	}
}

// Modify returns the n bytes at off, which lie within one page, to be changed
// in place. They are written by the next Flush. Until then the slice stays the
// one and only copy.
func (c *Cache) Modify(off int64, n int) ([]byte, error) {
	if n <= 0 || off < 0 || off > c.Size() || int64(n) > c.Size()-off {
		return nil, &RangeError{Off: off, Len: int64(n), Size: c.Size()}
	}
	num, in := off/c.pageSize, int(off%c.pageSize)
	if in+n > int(c.pageSize) {
		panic("bug: blockio.Cache.Modify: range crosses a page")
	}
	s := &c.shards[uint64(num)%cacheShards]
	for {
		data, err := c.page(num)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		el, ok := s.pages[num]
		if !ok || &el.Value.(*cachePage).data[0] != &data[0] {
			s.mu.Unlock() // evicted in between
			continue
		}
		pg := el.Value.(*cachePage)
		for sec := in / cacheSector; sec <= (in+n-1)/cacheSector; sec++ {
			pg.dirty[sec/64] |= 1 << (sec % 64)
		}
		if !pg.held {
			pg.held = true
			s.dirty++
		}
		s.mu.Unlock()
		return data[in : in+n : in+n], nil
	}
}

// Fresh is Modify for a range of whole pages whose contents do not matter:
// nothing is read, and the bytes are zeros.
func (c *Cache) Fresh(off int64) ([]byte, error) {
	if off%c.pageSize != 0 {
		panic("bug: blockio.Cache.Fresh: not the start of a page")
	}
	num := off / c.pageSize
	s := &c.shards[uint64(num)%cacheShards]
	s.mu.Lock()
	if _, ok := s.pages[num]; !ok {
		if off < 0 || off >= c.Size() {
			s.mu.Unlock()
			return nil, &RangeError{Off: off, Len: c.pageSize, Size: c.Size()}
		}
		pg := &cachePage{num: num, data: make([]byte, min(c.pageSize, c.Size()-off))}
		pg.once.Do(func() {})
		s.pages[num] = s.lru.PushFront(pg)
		s.evict()
	}
	s.mu.Unlock()
	b, err := c.Modify(off, int(min(c.pageSize, c.Size()-off)))
	if err == nil {
		clear(b)
	}
	return b, err
}

// Flush writes everything that was modified to w, by rising offset, and keeps
// it as clean pages.
func (c *Cache) Flush(w io.WriterAt) error {
	var dirty []*cachePage
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		if s.dirty > 0 {
			for _, el := range s.pages {
				if pg := el.Value.(*cachePage); pg.held {
					dirty = append(dirty, pg)
				}
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(dirty, func(a, b *cachePage) int { return int(a.num - b.num) })
	for _, pg := range dirty {
		if err := c.flushPage(w, pg); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) flushPage(w io.WriterAt, pg *cachePage) error {
	has := func(sec int) bool { return pg.dirty[sec/64]>>(sec%64)&1 != 0 }
	sectors := (len(pg.data) + cacheSector - 1) / cacheSector
	for sec := 0; sec < sectors; sec++ {
		if !has(sec) {
			continue
		}
		end := sec + 1
		for end < sectors && has(end) {
			end++
		}
		b := pg.data[sec*cacheSector : min(end*cacheSector, len(pg.data))]
		if _, err := w.WriteAt(b, pg.num*c.pageSize+int64(sec*cacheSector)); err != nil {
			return err
		}
		sec = end
	}
	s := &c.shards[uint64(pg.num)%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(pg.dirty[:])
	pg.held = false
	s.dirty--
	s.evict()
	return nil
}

// Modified returns about how many bytes wait for a Flush.
func (c *Cache) Modified() int64 {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.dirty
		s.mu.Unlock()
	}
	return int64(n) * c.pageSize
}

// Drop forgets the n bytes at off, whole sectors, modified or not: they mean
// nothing any more. What lies in the same pages beside them is kept.
func (c *Cache) Drop(off, n int64) {
	for at := off; at < off+n; {
		num, in := at/c.pageSize, at%c.pageSize
		run := min(c.pageSize-in, off+n-at)
		s := &c.shards[uint64(num)%cacheShards]
		s.mu.Lock()
		if el, ok := s.pages[num]; ok {
			pg := el.Value.(*cachePage)
			for sec := in / cacheSector; sec < (in+run)/cacheSector; sec++ {
				pg.dirty[sec/64] &^= 1 << (sec % 64)
			}
			wasHeld := pg.held
			pg.held = pg.dirty != [len(pg.dirty)]uint64{}
			if wasHeld && !pg.held {
				s.dirty--
			}
			if !pg.held {
				s.lru.Remove(el)
				delete(s.pages, num)
			}
		}
		s.mu.Unlock()
		at += run
	}
}

// Update brings pages that are in memory up to date with p, which has been
// written past the cache at off.
func (c *Cache) Update(p []byte, off int64) {
	for done := int64(0); done < int64(len(p)); {
		num, in := (off+done)/c.pageSize, (off+done)%c.pageSize
		n := min(c.pageSize-in, int64(len(p))-done)
		s := &c.shards[uint64(num)%cacheShards]
		s.mu.Lock()
		el, ok := s.pages[num]
		s.mu.Unlock()
		if ok {
			if pg := el.Value.(*cachePage); pg.data != nil {
				copy(pg.data[in:], p[done:done+n])
			}
		}
		done += n
	}
}

// page returns the page num, reading it if needed. The last page of a device
// may be short.
func (c *Cache) page(num int64) ([]byte, error) {
	s := &c.shards[uint64(num)%cacheShards]
	s.mu.Lock()
	el, ok := s.pages[num]
	if ok {
		s.lru.MoveToFront(el)
	} else {
		el = s.lru.PushFront(&cachePage{num: num})
		s.pages[num] = el
		s.evict()
	}
	pg := el.Value.(*cachePage)
	s.mu.Unlock()

	pg.once.Do(func() {
		off := num * c.pageSize
		data := make([]byte, min(c.pageSize, c.dev.Size()-off))
		if _, pg.err = c.dev.ReadAt(data, off); pg.err == io.EOF {
			pg.err = io.ErrUnexpectedEOF
		}
		pg.data = data
	})
	if pg.err != nil {
		// A failed read is not remembered: the next caller tries again.
		s.mu.Lock()
		if el, ok := s.pages[num]; ok && el.Value == pg {
			s.lru.Remove(el)
			delete(s.pages, num)
		}
		s.mu.Unlock()
		return nil, pg.err
	}
	return pg.data, nil
}
