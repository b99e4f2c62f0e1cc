package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// A stop is why following a chain ended.
type stop int

const (
	stopEnd    stop = iota // at an end mark, or at an entry that cannot be
	stopFree               // in a free cluster
	stopBad                // in a cluster that is marked bad
	stopLong               // there is more than what is wanted
	stopLoop               // it comes back to itself
	stopShared             // in a cluster that something else has
)

// A walk is how far a chain could be followed.
type walk struct {
	clusters int64
	last     uint32 // the last cluster that was claimed, or 0
	at       uint32 // the cluster that it stopped in front of
	stop     stop
}

// claim follows the chain that begins in cluster start, up to limit clusters,
// and takes what it goes through.
func (c *checker) claim(start uint32, limit int64) (w walk, err error) {
	for w.at = start; c.holds(w.at); {
		v, err := c.table.get(w.at)
		if err != nil {
			return w, err
		}
		switch {
		case v == 0:
			w.stop = stopFree
			return w, nil
		case v == c.bits.Bad():
			w.stop = stopBad
			return w, nil
		case w.clusters == limit:
			w.stop = stopLong
			return w, nil
		case c.owned.has(w.at):
			w.stop = stopShared
			loop, err := c.isIn(start, w.clusters, w.at)
			if loop {
				w.stop = stopLoop
			}
			return w, err
		}
		c.owned.set(w.at)
		w.clusters++
		w.last, w.at = w.at, v
	}
	return w, nil
}

// isIn reports whether a cluster is among the first n of a chain.
func (c *checker) isIn(start uint32, n int64, cluster uint32) (bool, error) {
	for ; n > 0; n-- {
		if start == cluster {
			return true, nil
		}
		v, err := c.table.get(start)
		if err != nil {
			return false, err
		}
		start = v
	}
	return false, nil
}

// length counts the clusters of the chain that begins in cluster start, up to
// limit, whoever has them.
func (c *checker) length(start uint32, limit int64) (n int64, err error) {
	for c.holds(start) && n < limit {
		v, err := c.table.get(start)
		if err != nil {
			return n, err
		}
		if v == 0 || v == c.bits.Bad() {
			break
		}
		n++
		start = v
	}
	return n, nil
}

// why says what is wrong with where a walk stopped.
func (c *checker) why(w walk) (code, detail string) {
	switch w.stop {
	case stopFree:
		return codeChainFree, fmt.Sprintf("leads to cluster %d, which is free", w.at)
	case stopBad:
		return codeChainBad, fmt.Sprintf("leads to cluster %d, which is marked bad", w.at)
	case stopLoop:
		return codeChainLoop, fmt.Sprintf("comes back to cluster %d after %d clusters", w.at, w.clusters)
	case stopShared:
		return codeCrossLink, fmt.Sprintf("shares cluster %d with something else, after %d clusters of its own", w.at, w.clusters)
	}
	return codeChainLong, fmt.Sprintf("goes on in cluster %d, after %d clusters", w.at, w.clusters)
}

// allocate takes a free cluster, which becomes the end of a chain; 0: there is
// none.
func (c *checker) allocate() (uint32, error) {
	for range c.clusters {
		at := c.allocAt
		if c.allocAt++; c.allocAt == c.end {
			c.allocAt = ondisk.FirstCluster
		}
		if c.owned.has(at) {
			continue
		}
		v, err := c.table.get(at)
		if err != nil {
			return 0, err
		}
		if v == 0 {
			c.owned.set(at)
			return at, c.table.set(at, c.endMark())
		}
	}
	return 0, nil
}

// release frees a chain that was claimed.
func (c *checker) release(start uint32) error {
	for c.holds(start) && c.owned.has(start) {
		v, err := c.table.get(start)
		if err != nil {
			return err
		}
		c.owned.unset(start)
		if err := c.table.set(start, 0); err != nil {
			return err
		}
		start = v
	}
	return nil
}

// clone gives a file copies of up to limit clusters of the chain that begins in
// cluster from, behind its own last cluster, or as its first ones if that is 0.
// It returns the first copy, and how many there are: fewer if the volume is full.
func (c *checker) clone(last, from uint32, limit int64) (first uint32, n int64, err error) {
	buf := make([]byte, c.clusterSize)
	for ; n < limit && c.holds(from); n++ {
		v, err := c.table.get(from)
		if err != nil {
			return first, n, err
		}
		if v == 0 || v == c.bits.Bad() {
			break
		}
		to, err := c.allocate()
		if err != nil || to == 0 {
			return first, n, err
		}
		if err := c.read(buf, c.clusterOff(from)); err != nil {
			return first, n, err
		}
		// What is free now may have been in use in the last commit.
		if err := c.tx.WriteData(buf, c.clusterOff(to), false); err != nil {
			return first, n, err
		}
		if last != 0 {
			if err := c.table.set(last, to); err != nil {
				return first, n, err
			}
		}
		if n == 0 {
			first = to
		}
		last, from = to, v
	}
	return first, n, nil
}
