package fat

import (
	"fmt"
	"iter"
	"sync"

	"github.com/resflash/resflash/image/vfs"
)

// claims remembers which clusters the directories that were read consist of,
// and which entry each of them belongs to. A cluster or a directory that is
// claimed twice is an error. So the directories are a tree whatever the volume
// says: a walk comes to an end, and passes each of them once.
type claims struct {
	mu       sync.Mutex
	clusters map[uint32]uint32  // cluster → first cluster of its directory
	owners   map[uint32]vfs.Ino // first cluster → inode number
}

// maxClaims bounds the memory of claims, to some 40 MiB; a volume with so many
// directories is not in use anywhere.
const maxClaims = 1 << 20

var errTooManyClaims = &vfs.NotSupportedError{What: fmt.Sprintf("more than %d clusters of directories", maxClaims), Off: -1}

func newClaims() claims {
	return claims{clusters: make(map[uint32]uint32), owners: make(map[uint32]vfs.Ino)}
}

// claim claims the clusters of d, all or none.
func (c *claims) claim(f *FS, d *dir) error {
	if d.start == 0 {
		return nil // the fixed root directory has no clusters
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if owner, ok := c.owners[d.start]; ok && owner != d.ino {
		return vfs.Corruptf(f.clusterOff(d.start), d.structure(),
			"begins in cluster %d, as directory %d does", d.start, owner)
	}
	fresh := 0
	for cluster := range f.clustersOf(d) {
		start, ok := c.clusters[cluster]
		if ok && start != d.start {
			return vfs.Corruptf(f.clusterOff(cluster), d.structure(),
				"has cluster %d, as the directory that begins in cluster %d does", cluster, start)
		}
		if !ok {
			fresh++
		}
	}
	if len(c.clusters)+fresh > maxClaims {
		return errTooManyClaims
	}
	c.owners[d.start] = d.ino
	if fresh > 0 {
		for cluster := range f.clustersOf(d) {
			c.clusters[cluster] = d.start
		}
	}
	return nil
}

// clustersOf yields the clusters of a directory.
func (f *FS) clustersOf(d *dir) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, e := range d.extents {
			first := f.clusterAt(e.off)
			for i := range uint32(e.n / f.clusterSize) {
				if !yield(first + i) {
					return
				}
			}
		}
	}
}

// owner returns the inode number of the directory that begins in a cluster, if
// it was read before.
func (c *claims) owner(start uint32) (vfs.Ino, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ino, ok := c.owners[start]
	return ino, ok
}

// has reports whether a cluster belongs to a directory that was read.
func (c *claims) has(cluster uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.clusters[cluster]
	return ok
}

// anyIn returns a cluster of a run that belongs to a directory.
func (c *claims) anyIn(r clusterRun) (cluster uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.clusters) < int(r.n) {
		for cluster := range c.clusters {
			if r.holds(cluster) {
				return cluster, true
			}
		}
		return 0, false
	}
	for cluster := r.first; cluster < r.first+r.n; cluster++ {
		if _, ok := c.clusters[cluster]; ok {
			return cluster, true
		}
	}
	return 0, false
}

// release gives up what the directory that begins in start has claimed.
func (c *claims) release(start uint32, runs []clusterRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range runs {
		for cluster := r.first; cluster < r.first+r.n; cluster++ {
			delete(c.clusters, cluster)
		}
	}
	delete(c.owners, start)
}

// grow claims more clusters for the directory that begins in start. They were
// free.
func (c *claims) grow(start uint32, r clusterRun) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.clusters)+int(r.n) > maxClaims {
		return errTooManyClaims
	}
	for cluster := r.first; cluster < r.first+r.n; cluster++ {
		c.clusters[cluster] = start
	}
	return nil
}

// shrink gives up clusters that a directory has claimed and did not get.
func (c *claims) shrink(r clusterRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cluster := r.first; cluster < r.first+r.n; cluster++ {
		delete(c.clusters, cluster)
	}
}
