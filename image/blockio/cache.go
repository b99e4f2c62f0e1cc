package blockio

import (
	"container/list"
	"io"
	"sync"
)

// A Cache keeps the most recently used pages of a device in memory, up to a
// bound, and hands out slices of them. It is meant for metadata: inode tables,
// directories, indirect blocks. File contents are read around it, straight
// into the caller's buffer (the host's page cache is good at those).
//
// A Cache is itself a [Device]. It is safe for concurrent use; two goroutines
// that miss on the same page read it once.
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
}

type cachePage struct {
	num  int64
	once sync.Once
	data []byte
	err  error
}

// NewCache returns a cache over dev with pages of pageSize bytes (a power of
// two; the file system's block size is a good choice) that holds at most
// about maxBytes.
func NewCache(dev Device, pageSize int, maxBytes int64) *Cache {
	if pageSize <= 0 || pageSize&(pageSize-1) != 0 {
		panic("bug: blockio.NewCache: page size is not a power of two")
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
		for s.lru.Len() > s.max {
			old := s.lru.Back()
			s.lru.Remove(old)
			delete(s.pages, old.Value.(*cachePage).num)
		}
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
