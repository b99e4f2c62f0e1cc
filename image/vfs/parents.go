package vfs

import (
	"fmt"
	"sync"
)

// Parents remembers by which entry each directory was found, for formats in
// which nothing keeps two entries from leading to one directory. A driver that
// takes the second for damage makes the directories a tree, whatever the image
// says: a walk comes to an end, and passes each of them once. The zero value is
// ready to use, by many at once.
type Parents struct {
	mu    sync.Mutex
	found map[Ino]FoundIn
}

// FoundIn is the entry that leads to a directory: the directory that it is in,
// and a number that tells it from the others there.
type FoundIn struct {
	Dir   Ino
	Entry int64
}

// maxParents bounds the memory of Parents, to some 64 MiB.
const maxParents = 1 << 20

// Claim notes that an entry leads to the directory child. If another one was
// first, it is that one's, and is returned with false.
func (p *Parents) Claim(child Ino, by FoundIn) (first FoundIn, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.found[child]; ok {
		return first, first == by, nil
	}
	if len(p.found) >= maxParents {
		return by, false, &NotSupportedError{What: fmt.Sprintf("more than %d directories", maxParents), Off: -1}
	}
	if p.found == nil {
		p.found = map[Ino]FoundIn{}
	}
	p.found[child] = by
	return by, true, nil
}

// Of returns the directory in which the directory child was found, if it was.
func (p *Parents) Of(child Ino) (Ino, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in, ok := p.found[child]
	return in.Dir, ok
}
