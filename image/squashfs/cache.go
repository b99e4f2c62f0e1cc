package squashfs

import (
	"container/list"
	"context"
	"sync"
)

// A blockCache keeps blocks that have been decompressed, up to a bound, for all
// readers together. A block that several ask for at once is decompressed by the
// first of them, and the others wait.
type blockCache struct {
	mu     sync.Mutex
	blocks map[blockKey]*block
	lru    list.List // of those that are there; front is the most recently used
	size   int64     // bytes of those
	max    int64
}

// A blockKey is where a block lies, and how long it is. An image that is
// damaged may say different things of one place.
type blockKey struct {
	off  int64
	size int64
}

// A block is one in the cache, or on its way there.
type block struct {
	key   blockKey
	ready chan struct{} // closed when what follows is there
	data  []byte
	err   error
	el    *list.Element // under the lock of the cache; nil until ready
}

// blockOverhead is about what a block takes besides its data.
const blockOverhead = 256

func newBlockCache(max int64) *blockCache {
	return &blockCache{blocks: make(map[blockKey]*block), max: max}
}

// find returns the block of a key. If it is new, the caller must fill it.
func (c *blockCache) find(key blockKey) (b *block, isNew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.blocks[key]; b != nil {
		if b.el != nil {
			c.lru.MoveToFront(b.el)
		}
		return b, false
	}
	b = &block{key: key, ready: make(chan struct{})}
	c.blocks[key] = b
	return b, true
}

// has reports whether a block is there, or on its way.
func (c *blockCache) has(key blockKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[key] != nil
}

// fill puts what load returns into b, and makes room for it. Errors are not
// kept.
func (c *blockCache) fill(b *block, load func() ([]byte, error)) {
	b.data, b.err = load()
	close(b.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.err != nil {
		delete(c.blocks, b.key)
		return
	}
	b.el = c.lru.PushFront(b)
	c.size += int64(len(b.data)) + blockOverhead
	for c.size > c.max && c.lru.Len() > 1 {
		old := c.lru.Remove(c.lru.Back()).(*block)
		delete(c.blocks, old.key)
		c.size -= int64(len(old.data)) + blockOverhead
	}
}

// get returns the contents of a block, which are not to be changed. Waiting for
// another reader ends with ctx.
func (c *blockCache) get(ctx context.Context, key blockKey, load func() ([]byte, error)) ([]byte, error) {
	b, isNew := c.find(key)
	if isNew {
		c.fill(b, load)
		return b.data, b.err
	}
	select {
	case <-b.ready:
		return b.data, b.err
	default:
	}
	select {
	case <-b.ready:
		return b.data, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
