package ext4

import (
	"container/list"
	"context"
	"sync"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// maxNames bounds the index of names in memory: some ten to twenty bytes each.
// A directory with more of them is searched from the start.
const maxNames = 1 << 20

// nameCache has the indexes of large directories without a hash tree, such as
// mke2fs -d makes. The directories used last are kept, up to maxNames names in
// all.
type nameCache struct {
	mu    sync.Mutex
	dirs  map[uint32]*list.Element // by inode; element value is *dirNames
	lru   list.List                // front is the most recently used
	total int                      // names in all of them
}

// dirNames is the index of one directory. It changes only under the lock of the
// [Writer] that changes the directory.
type dirNames struct {
	ino     uint32
	once    sync.Once
	tooBig  bool
	err     error
	counted int // names, as they are in nameCache.total

	nametable.Table
	dirRoom
}

// findNamed finds name through the index in memory. It reports false for a
// directory that is too big for one.
func (fs *FS) findNamed(ctx context.Context, in *inode, name string) (e entry, usable bool, err error) {
	d, err := fs.dirNames(ctx, in)
	if err != nil || d == nil {
		return entry{}, false, err
	}
	m := fs.mapper(in)
	found := false
	d.Each(nametable.Hash(name), func(pos int64) bool {
		b, off, readErr := fs.dirBlock(&m, uint64(pos/fs.blockSize))
		if err = readErr; err == nil {
			e, _, err = fs.entry(in, b, int(pos%fs.blockSize), off)
		}
		found = err == nil && string(e.name) == name
		e.pos = uint64(pos)
		return err == nil && !found
	})
	if err == nil && !found {
		err = syscall.ENOENT
	}
	return e, true, err
}

// dirNames returns the index of a directory, building it if needed; nil if the
// directory is too big for one.
func (fs *FS) dirNames(ctx context.Context, in *inode) (*dirNames, error) {
	d := fs.names.get(in.num)
	// Others may be waiting for the index, so one caller's cancellation does
	// not end it. It takes one pass over the directory at most.
	d.once.Do(func() {
		d.err = fs.collectNames(context.WithoutCancel(ctx), in, d)
		fs.names.filled(d)
	})
	if d.err != nil || d.tooBig {
		return nil, d.err
	}
	return d, nil
}

// collectNames fills an index. Of two entries with one name it finds the first
// first, as a search from the start does.
func (fs *FS) collectNames(ctx context.Context, in *inode, d *dirNames) error {
	d.Table = nametable.New(int(min(in.size/(4*ondisk.DirEntryMin), maxNames)))
	err := fs.scan(ctx, in, 0, func(e *entry) bool {
		if d.Len() == maxNames || e.pos>>32 != 0 {
			d.tooBig = true
			return false
		}
		d.Put(nametable.HashBytes(e.name), int64(e.pos))
		return true
	})
	if err != nil || d.tooBig {
		d.Table = nametable.Table{}
	}
	return err
}

// get returns the index of the directory ino, still to be filled if it is new.
func (c *nameCache) get(ino uint32) *dirNames {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.dirs[ino]; ok {
		c.lru.MoveToFront(el)
		return el.Value.(*dirNames)
	}
	if c.dirs == nil {
		c.dirs = make(map[uint32]*list.Element)
	}
	d := &dirNames{ino: ino}
	c.dirs[ino] = c.lru.PushFront(d)
	return d
}

// built returns the index of a directory if there is one, to be changed.
func (c *nameCache) built(ino uint32) *dirNames {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.dirs[ino]
	if !ok {
		return nil
	}
	d := el.Value.(*dirNames)
	if d.Len() > d.counted+d.counted/4+1000 {
		c.count(d)
	}
	if d.tooBig {
		return nil
	}
	return d
}

// filled counts the names of d. A failure is not remembered.
func (c *nameCache) filled(d *dirNames) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.err != nil {
		if el, ok := c.dirs[d.ino]; ok && el.Value == d {
			c.forget(el)
		}
		return
	}
	c.count(d)
}

// drop forgets the index of a directory.
func (c *nameCache) drop(ino uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.dirs[ino]; ok {
		c.forget(el)
	}
}

// count brings the total up to date with d, and forgets the directories used
// least recently if there are too many names now. Requires c.mu.
func (c *nameCache) count(d *dirNames) {
	c.total += d.Len() + 1 - d.counted
	d.counted = d.Len() + 1
	for c.total > maxNames && c.lru.Len() > 1 {
		el := c.lru.Back()
		if el.Value == d {
			break
		}
		c.forget(el)
	}
}

// forget takes an index out. Requires c.mu.
func (c *nameCache) forget(el *list.Element) {
	d := el.Value.(*dirNames)
	c.lru.Remove(el)
	delete(c.dirs, d.ino)
	c.total -= d.counted
}
