package squashfs

import (
	"fmt"
	"sync"

	"github.com/resflash/resflash/image/vfs"
)

// parents remembers which directory each directory was found in, and where. A
// directory that is found twice is an error. So the directories are a tree
// whatever the image says: a walk comes to an end, and passes each of them once.
type parents struct {
	mu     sync.Mutex
	owners map[vfs.Ino]owner
}

type owner struct {
	dir vfs.Ino
	pos int64 // of the entry in the directory
}

// maxParents bounds the memory of parents, to some 64 MiB.
const maxParents = 1 << 20

// claim notes that the entry at pos of dir, in the metadata block at off, leads
// to the directory child.
func (p *parents) claim(child, dir, root vfs.Ino, pos, off int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.owners[child]
	switch {
	case child == root:
		return dirName(dir).corrupt(off, "leads back to the root directory")
	case ok && o != owner{dir, pos}:
		return dirName(dir).corrupt(off, "leads to directory %d, as directory %d does", child, o.dir)
	case ok:
		return nil
	case len(p.owners) >= maxParents:
		return &vfs.NotSupportedError{What: fmt.Sprintf("more than %d directories", maxParents), Off: -1}
	}
	p.owners[child] = owner{dir, pos}
	return nil
}

func (p *parents) get(child vfs.Ino) (vfs.Ino, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.owners[child]
	return o.dir, ok
}
