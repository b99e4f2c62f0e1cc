package iso9660

import (
	"fmt"
	"sync"

	"github.com/resflash/resflash/image/vfs"
)

// parents remembers which directory each directory was found in, and which of
// its records led there. A directory that is found by two records is an error.
// So the directories are a tree whatever the volume says: a walk comes to an
// end, and passes each of them once.
type parents struct {
	mu     sync.Mutex
	owners map[vfs.Ino]owner
}

type owner struct {
	dir    vfs.Ino
	record int64
}

// maxParents bounds the memory of parents, to some 64 MiB.
const maxParents = 1 << 20

func (p *parents) claim(child, dir vfs.Ino, record int64, root vfs.Ino) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.owners[child]
	switch {
	case child == root:
		return vfs.Corruptf(record, structure(dir), "leads back to the root directory")
	case ok && o != owner{dir, record}:
		return vfs.Corruptf(record, structure(dir), "leads to directory %d, as the record at byte %d does", child, o.record)
	case ok:
		return nil
	case len(p.owners) >= maxParents:
		return &vfs.NotSupportedError{What: fmt.Sprintf("more than %d directories", maxParents), Off: -1}
	}
	p.owners[child] = owner{dir, record}
	return nil
}

func (p *parents) has(child vfs.Ino) bool {
	_, ok := p.get(child)
	return ok
}

func (p *parents) get(child vfs.Ino) (vfs.Ino, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.owners[child]
	return o.dir, ok
}
