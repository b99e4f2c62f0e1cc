package fusefs

import (
	"sync"

	"github.com/resflash/resflash/image/vfs"
)

// refs counts what the kernel knows of the files of a volume that is written
// to. Every answer that names a file gives the kernel one reference to it, and
// the kernel says how many it gives back when it forgets the file: when nobody
// has it open, or as a working directory, and it is in no cache.
//
// That makes opening and closing files free of messages, and still a file that
// has lost its last name is there for as long as somebody uses it: it is pinned
// when the name goes (see hold), and unpinned when the kernel forgets it.
//
// There is one count per file that the kernel has looked at, so counting must
// be cheap; the maps are many so that requests are not in each other's way.
type refs struct {
	shards [refShards]refShard
}

const refShards = 64

type refShard struct {
	mu   sync.Mutex
	refs map[vfs.Ino]ref
	_    [48]byte // a cache line of its own
}

type ref struct {
	count  uint64
	pinned bool // by hold
}

func (r *refs) shard(ino vfs.Ino) *refShard { return &r.shards[uint64(ino)%refShards] }

// take counts a reference that is given to the kernel.
func (r *refs) take(ino vfs.Ino) {
	s := r.shard(ino)
	s.mu.Lock()
	if s.refs == nil {
		s.refs = map[vfs.Ino]ref{}
	}
	one := s.refs[ino]
	one.count++
	s.refs[ino] = one
	s.mu.Unlock()
}

// drop takes n references back, and reports whether that ends a pin.
func (r *refs) drop(ino vfs.Ino, n uint64) (unpin bool) {
	s := r.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.refs[ino]
	switch {
	case !ok:
		return false
	case n < one.count:
		one.count -= n
		s.refs[ino] = one
		return false
	}
	delete(s.refs, ino)
	return one.pinned
}

// hold makes the references of the kernel own a pin of ino, which the caller
// has set. If there are none, or they own one already, the pin stays the
// caller's.
func (r *refs) hold(ino vfs.Ino) bool {
	s := r.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.refs[ino]
	if !ok || one.pinned {
		return false
	}
	one.pinned = true
	s.refs[ino] = one
	return true
}

// clear forgets everything, as the kernel does without a word when the mount
// ends, and returns what was pinned.
func (r *refs) clear() (pinned []vfs.Ino) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for ino, one := range s.refs {
			if one.pinned {
				pinned = append(pinned, ino)
			}
		}
		s.refs = nil
		s.mu.Unlock()
	}
	return pinned
}
