package fat

import (
	"context"
	"errors"
	"sort"
	"sync"

	"github.com/resflash/resflash/image/vfs"
)

// segmentClusters is how many clusters of a chain are decoded at a time.
const segmentClusters = 8192

// A chain is the list of clusters of one file, named by its first cluster.
// It is cut into segments of segmentClusters: the chain only remembers where
// each begins, in 4 bytes, and the segments are decoded when they are needed.
// So a file of 4 GiB in single clusters of 512 bytes needs 4 KiB for its chain, and
// any offset of it is one binary search away once the chain has been walked.
//
// A chain is walked as far as somebody reads, never to the end for its own
// sake.
type chain struct {
	mu    sync.Mutex
	marks []uint32 // first cluster of each segment that has been reached

	// Loops are found by Brent's method, on the first walk over a segment: each
	// cluster is compared with one that was passed before, the tortoise, which
	// moves up whenever the distance from the start has doubled. These are the
	// values at the start of the last segment in marks.
	tortoise uint32
	moveAt   int64 // in clusters from the start of the chain
}

// A segment is a part of a chain as runs of clusters that follow each other on
// the device.
type segment struct {
	runs     []run
	clusters uint32
	next     uint32 // first cluster of the next segment, 0 at the end of the chain
	err      error  // why the chain ends here, if it is damaged
}

// A run is a number of consecutive clusters; it ends where the next begins.
type run struct {
	at      uint32 // clusters from the start of the segment
	cluster uint32
}

type segmentKey struct {
	first uint32
	num   uint32
}

// segment returns the segment num of the chain that begins in cluster first;
// nil if the chain is shorter. An error is a failed read, or damage before that
// segment.
func (f *FS) segment(ctx context.Context, first, num uint32) (*segment, error) {
	if s, ok := f.segments.get(segmentKey{first, num}); ok {
		return s, nil
	}
	ch, ok := f.chains.get(first)
	if !ok {
		ch = &chain{marks: []uint32{first}}
		f.chains.put(first, ch, 1)
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	i := min(num, uint32(len(ch.marks)-1))
	for ; ; i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := f.decodeSegment(ch, i)
		if err != nil {
			return nil, err
		}
		f.segments.put(segmentKey{first, i}, s, len(s.runs)+8)
		switch {
		case i == num:
			return s, nil
		case s.err != nil:
			return nil, s.err
		case s.next == 0:
			return nil, nil
		}
	}
}

// decodeSegment walks the clusters of a segment whose start is known.
// Requires ch.mu.
func (f *FS) decodeSegment(ch *chain, num uint32) (*segment, error) {
	s := &segment{}
	t := table{f: f}
	cluster := ch.marks[num]
	last := int(num) == len(ch.marks)-1
	tortoise, moveAt := ch.tortoise, ch.moveAt
	pos := int64(num) * segmentClusters
	expect := uint32(0)
	for s.clusters < segmentClusters {
		if last {
			if cluster == tortoise {
				s.err = vfs.Corruptf(f.entryOff(cluster), "file allocation table",
					"the chain of cluster %d comes back to cluster %d", ch.marks[0], cluster)
				return s, nil
			}
			if pos == moveAt {
				tortoise, moveAt = cluster, 2*moveAt+1
			}
			pos++
		}
		if cluster != expect {
			s.runs = append(s.runs, run{s.clusters, cluster})
		}
		s.clusters++
		next, err := t.next(cluster)
		if corrupt := (*vfs.CorruptError)(nil); errors.As(err, &corrupt) {
			s.err = err
			return s, nil
		} else if err != nil {
			return nil, err
		}
		if next == 0 {
			return s, nil
		}
		expect, cluster = cluster+1, next
	}
	s.next = cluster
	if last {
		ch.marks = append(ch.marks, cluster)
		ch.tortoise, ch.moveAt = tortoise, moveAt
	}
	return s, nil
}

// extent is a part of a file that lies in one piece on the device.
type extent struct {
	off int64 // on the device
	n   int64
}

// extent returns the piece at the byte offset off of the chain that begins in
// cluster first, merged with what follows it on the device, up to about want
// bytes. n is 0 if the chain ends before off.
func (f *FS) extent(ctx context.Context, first uint32, off, want int64) (extent, error) {
	at := off / f.clusterSize // in clusters
	in := off % f.clusterSize
	var e extent
	for {
		num := uint32(at / segmentClusters)
		s, err := f.segment(ctx, first, num)
		if err != nil {
			if e.n > 0 { // what was found is good
				return e, nil
			}
			return e, err
		}
		if s == nil {
			return e, nil
		}
		i := uint32(at % segmentClusters)
		if i >= s.clusters {
			if e.n == 0 {
				return e, s.err
			}
			return e, nil
		}
		r := sort.Search(len(s.runs), func(k int) bool { return s.runs[k].at > i }) - 1
		end := s.clusters
		if r+1 < len(s.runs) {
			end = s.runs[r+1].at
		}
		start := f.clusterOff(s.runs[r].cluster + (i - s.runs[r].at))
		n := int64(end-i) * f.clusterSize
		if e.n == 0 {
			e = extent{start + in, n - in}
		} else if start == e.off+e.n {
			e.n += n
		} else {
			return e, nil
		}
		if end < s.clusters || e.n >= want {
			return e, nil
		}
		at += int64(end - i)
	}
}
