package memfs

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// names are the entries of a directory, in the order in which they were added.
// Each has a cookie that no other entry of the directory ever had, so that a
// listing can go on behind one that is gone.
type names struct {
	list []vfs.DirEntry    // by Next; removed ones have Ino 0
	at   map[string]uint64 // key of the name to Next
	last uint64            // the cookie given last
	opt  *Options
}

func newNames(opt *Options) *names { return &names{at: map[string]uint64{}, opt: opt} }

func (d *names) clone() *names {
	return &names{list: slices.Clone(d.list), at: maps.Clone(d.at), last: d.last, opt: d.opt}
}

// key is what at has for a name.
func (d *names) key(name string) string { return d.opt.Limits.Folded(name) }

// behind returns the place of the first entry with a cookie above that.
func (d *names) behind(cookie uint64) int {
	return sort.Search(len(d.list), func(i int) bool { return d.list[i].Next > cookie })
}

// find returns the inode number that name has, or 0.
func (d *names) find(name string) vfs.Ino {
	cookie, ok := d.at[d.key(name)]
	if !ok {
		return 0
	}
	return d.list[d.behind(cookie-1)].Ino
}

// set gives name, which may be there or not, to n.
func (d *names) set(name string, n *node) {
	if cookie, ok := d.at[d.key(name)]; ok {
		e := &d.list[d.behind(cookie-1)]
		e.Ino, e.Type = n.attr.Ino, n.attr.Mode.Type()
		return
	}
	d.last++
	d.at[d.key(name)] = d.last
	d.list = append(d.list, vfs.DirEntry{Name: name, Ino: n.attr.Ino, Type: n.attr.Mode.Type(), Next: d.last})
}

// spelled returns a name as it is listed.
func (d *names) spelled(name string) string {
	return d.list[d.behind(d.at[d.key(name)]-1)].Name
}

// remove takes name away, which is there.
func (d *names) remove(name string) {
	key := d.key(name)
	d.list[d.behind(d.at[key]-1)].Ino = 0
	delete(d.at, key)
	if len(d.list) > 16 && len(d.list) > 2*len(d.at) {
		d.list = slices.DeleteFunc(d.list, func(e vfs.DirEntry) bool { return e.Ino == 0 })
	}
}

// Lookup implements [vfs.FS].
func (fs *FS) Lookup(_ context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	d, err := fs.dir(dir)
	if err != nil {
		return vfs.Attr{}, err
	}
	n, err := fs.lookup(d, name)
	if err != nil {
		return vfs.Attr{}, err
	}
	return n.attr, nil
}

// lookup finds name in d. Requires fs.mu.
func (fs *FS) lookup(d *node, name string) (*node, error) {
	if len(name) > fs.opt.NameMax {
		return nil, syscall.ENAMETOOLONG
	}
	switch name {
	case ".":
		return d, nil
	case "..":
		return fs.node(d.parent)
	}
	return fs.node(d.names.find(name))
}

// listed is how many entries ReadDir takes with the lock held once.
const listed = 128

// ReadDir implements [vfs.FS]. The cookie of an entry is its own for good, and
// entries that come later have higher ones.
func (fs *FS) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		var some []vfs.DirEntry
		for {
			fs.mu.RLock()
			d, err := fs.dir(dir)
			some = some[:0]
			if err == nil {
				for _, e := range d.names.list[d.names.behind(cookie):] {
					if e.Ino != 0 {
						some = append(some, e)
					}
					if len(some) == listed {
						break
					}
				}
			}
			fs.mu.RUnlock()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(vfs.DirEntry{}, err)
				return
			}
			for _, e := range some {
				if !yield(e, nil) {
					return
				}
				cookie = e.Next
			}
			if len(some) < listed {
				return
			}
		}
	}
}
