package ext4

import (
	"cmp"
	"container/list"
	"context"
	"hash/maphash"
	"slices"
	"sort"
	"sync"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// maxNames bounds the index of names in memory: eight bytes each. A directory
// with more of them is searched from the start.
const maxNames = 1 << 20

// nameCache has the names of large directories without a hash tree, such as
// mke2fs -d makes: hashed, not the names themselves. The directories used last
// are kept, up to maxNames names in all.
type nameCache struct {
	mu    sync.Mutex
	dirs  map[uint32]*list.Element // by inode; element value is *dirNames
	lru   list.List                // front is the most recently used
	total int                      // names in all of them
}

// dirNames is the index of one directory.
type dirNames struct {
	ino    uint32
	once   sync.Once
	names  []namePlace // by hash
	tooBig bool
	err    error
}

// namePlace says that a name with this hash is at an offset of the directory.
// Entries begin at multiples of four.
type namePlace struct {
	hash uint32
	pos4 uint32
}

var nameSeed = maphash.MakeSeed()

// findNamed finds name through the index in memory. It reports false for a
// directory that is too big for one.
func (fs *FS) findNamed(ctx context.Context, in *inode, name string) (ino uint32, usable bool, err error) {
	d := fs.names.get(in.num)
	// Others may be waiting for the index, so one caller's cancellation does
	// not end it. It takes one pass over the directory at most.
	d.once.Do(func() {
		d.err = fs.collectNames(context.WithoutCancel(ctx), in, d)
		fs.names.filled(d)
	})
	if d.err != nil || d.tooBig {
		return 0, false, d.err
	}
	hash := uint32(maphash.String(nameSeed, name))
	i := sort.Search(len(d.names), func(i int) bool { return d.names[i].hash >= hash })
	m := fs.mapper(in)
	for ; i < len(d.names) && d.names[i].hash == hash; i++ {
		pos := int64(d.names[i].pos4) * 4
		b, off, err := fs.dirBlock(&m, uint64(pos/fs.blockSize))
		if err != nil {
			return 0, false, err
		}
		e, _, err := fs.entry(in, b, int(pos%fs.blockSize), off)
		if err != nil {
			return 0, false, err
		}
		if string(e.name) == name {
			return e.ino, true, nil
		}
	}
	return 0, true, syscall.ENOENT
}

func (fs *FS) collectNames(ctx context.Context, in *inode, d *dirNames) error {
	// Sizing by the least entry would take too much: names average more.
	d.names = make([]namePlace, 0, min(in.size/(2*ondisk.DirEntryMin), maxNames))
	err := fs.scan(ctx, in, 0, func(e *entry) bool {
		if len(d.names) == maxNames || e.pos>>34 != 0 {
			d.tooBig = true
			return false
		}
		d.names = append(d.names, namePlace{uint32(maphash.Bytes(nameSeed, e.name)), uint32(e.pos / 4)})
		return true
	})
	if err != nil || d.tooBig {
		d.names = nil
		return err
	}
	d.names = slices.Clip(d.names)
	// Of two entries with one name the first counts, as in a search from the
	// start.
	slices.SortFunc(d.names, func(a, b namePlace) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.pos4, b.pos4))
	})
	return nil
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

// drop forgets the index of a directory, whose names have changed.
func (c *nameCache) drop(ino uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.dirs[ino]; ok {
		c.lru.Remove(el)
		delete(c.dirs, ino)
		c.total -= len(el.Value.(*dirNames).names) + 1
	}
}

// filled counts the names of d, and forgets the directories used least
// recently if there are too many now. A failure is not remembered.
func (c *nameCache) filled(d *dirNames) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.err != nil {
		if el, ok := c.dirs[d.ino]; ok && el.Value == d {
			c.lru.Remove(el)
			delete(c.dirs, d.ino)
		}
		return
	}
	c.total += len(d.names) + 1
	for c.total > maxNames && c.lru.Len() > 1 {
		el := c.lru.Back()
		old := el.Value.(*dirNames)
		if old == d {
			break
		}
		c.lru.Remove(el)
		delete(c.dirs, old.ino)
		c.total -= len(old.names) + 1
	}
}
