package fat

import (
	"context"
	"fmt"
	"math/bits"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// space is which clusters are in use, in memory: three or four bits for each.
type space struct {
	clusters  uint32
	used      clusterSet // the table has something other than 0
	committed clusterSet // the same, in the last commit
	linked    clusterSet // another cluster leads to it
	held      clusterSet // of files without a name; nil: none
	free      uint32     // not used
	nheld     uint32
	next      uint32 // where to look for the next free cluster
}

// readSpace reads the table, every copy of it, and looks for what a writer must
// not make worse: copies that differ, and chains that meet.
func (f *FS) readSpace(ctx context.Context) (space, error) {
	s := space{
		clusters: f.clusters, used: newClusterSet(f.clusters), linked: newClusterSet(f.clusters),
		next: ondisk.FirstCluster,
	}
	var (
		end   = f.clusters + ondisk.FirstCluster
		step  = uint32(f.bits.Entries(countChunk))
		buf   = make([]byte, min(countChunk, f.fatBytes))
		other = make([]byte, len(buf))
	)
	for first := uint32(0); first < end; first += step {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		off := f.bits.Offset(first)
		p := buf[:min(int64(len(buf)), f.fatBytes-off)]
		if _, err := f.dev.ReadAt(p, f.tableOff+off); err != nil {
			return s, fmt.Errorf("read file allocation table at byte %d: %w", f.tableOff+off, err)
		}
		last := min(first+step, end)
		for cluster := max(first, ondisk.FirstCluster); cluster < last; cluster++ {
			v := f.bits.Entry(p[f.bits.Offset(cluster)-off:], cluster)
			if v == 0 {
				s.free++
				continue
			}
			s.used.add(cluster)
			if !f.holds(v) {
				continue
			}
			if s.linked.has(v) {
				return s, vfs.Corruptf(f.entryOff(cluster), "file allocation table",
					"cluster %d leads to cluster %d, as another one does", cluster, v)
			}
			s.linked.add(v)
		}
		// Only what belongs to clusters counts: what lies behind may differ.
		n := min(int64(len(p)), f.bits.Offset(last-1)+int64(f.bits.Width())-off)
		for _, at := range f.copies() {
			q := other[:n]
			if _, err := f.dev.ReadAt(q, at+off); err != nil {
				return s, fmt.Errorf("read file allocation table at byte %d: %w", at+off, err)
			}
			for i := range q {
				if p[i] != q[i] {
					return s, vfs.Corruptf(at+off+int64(i), "file allocation table",
						"differs from that at byte %d", f.tableOff)
				}
			}
		}
	}
	// No cluster behind the last.
	if rest := f.clusters % 64; rest != 0 {
		s.used[len(s.used)-1] |= ^uint64(0) << rest
	}
	s.committed = append(clusterSet(nil), s.used...)
	return s, nil
}

// copies returns where the tables lie that are to be like the active one.
func (f *FS) copies() []int64 {
	if f.bits == 32 && f.boot.fat32.Flags&ondisk.FlagNoMirroring != 0 {
		return nil
	}
	var list []int64
	for i := range int64(f.fats) {
		if at := f.fatStart + i*f.fatBytes; at != f.tableOff {
			list = append(list, at)
		}
	}
	return list
}

// busy returns the word of clusters that cannot be allocated now. With reuse,
// those that were freed since the last commit can.
func (s *space) busy(i uint32, reuse bool) uint64 {
	w := s.used[i]
	if !reuse {
		w |= s.committed[i]
	}
	if s.held != nil {
		w |= s.held[i]
	}
	return w
}

// available counts the clusters that can be allocated now.
func (s *space) available(reuse bool) uint32 {
	n := 0
	for i := range uint32(len(s.used)) {
		n += bits.OnesCount64(^s.busy(i, reuse))
	}
	return uint32(n)
}

// nextFree returns the first cluster from one on, below end, that can be
// allocated, or end.
func (s *space) nextFree(from, end uint32, reuse bool) uint32 {
	at, stop := from-ondisk.FirstCluster, end-ondisk.FirstCluster
	for at < stop {
		if w := ^s.busy(at/64, reuse) >> (at % 64); w != 0 {
			return min(at+uint32(bits.TrailingZeros64(w)), stop) + ondisk.FirstCluster
		}
		at += 64 - at%64
	}
	return end
}

// freeRun returns how many clusters from one on can be allocated, at most want.
func (s *space) freeRun(from, want uint32, reuse bool) uint32 {
	at := from - ondisk.FirstCluster
	stop := at + min(want, s.clusters-min(at, s.clusters))
	start := at
	for at < stop {
		if w := s.busy(at/64, reuse) >> (at % 64); w != 0 {
			return min(at+uint32(bits.TrailingZeros64(w)), stop) - start
		}
		at += 64 - at%64
	}
	return stop - start
}

// triedRuns is how many runs that are too short are looked at.
const triedRuns = 512

// find finds up to want clusters in one run: right behind the cluster that they
// are to follow, or else where there is room for all of them, from where the
// last were found on; or the longest run of the first that it comes across.
// ENOSPC if there is none.
func (s *space) find(behind, want uint32, reuse bool) (clusterRun, error) {
	end := s.clusters + ondisk.FirstCluster
	if behind != 0 && behind+1 < end {
		if n := s.freeRun(behind+1, want, reuse); n > 0 {
			return clusterRun{behind + 1, n}, nil
		}
	}
	var best clusterRun
	tried := 0
	start := s.next
	if start < ondisk.FirstCluster || start >= end {
		start = ondisk.FirstCluster
	}
	for _, part := range [2][2]uint32{{start, end}, {ondisk.FirstCluster, start}} {
		for at := part[0]; at < part[1] && tried < triedRuns; tried++ {
			at = s.nextFree(at, part[1], reuse)
			if at >= part[1] {
				break
			}
			n := s.freeRun(at, want, reuse)
			if n > best.n {
				best = clusterRun{at, n}
			}
			if n == want {
				return best, nil
			}
			at += n + 1
		}
	}
	if best.n == 0 {
		return best, syscall.ENOSPC
	}
	return best, nil
}

// find finds up to want clusters for the operation: see [space.find].
func (o *op) find(behind, want uint32) (clusterRun, error) {
	r, err := o.w.space.find(behind, want, o.reuse)
	if err == syscall.ENOSPC && !o.reuse {
		o.blocked = true
	}
	return r, err
}

// room says ENOSPC if there are not so many clusters.
func (o *op) room(want int64) error {
	s := &o.w.space
	if want <= 0 {
		return nil
	}
	if want > int64(s.free) || want > int64(s.available(o.reuse)) {
		o.blocked = want <= int64(s.free)
		return syscall.ENOSPC
	}
	return nil
}

// hold keeps the clusters of a file without a name from being allocated.
func (s *space) hold(runs []clusterRun) {
	if s.held == nil {
		s.held = newClusterSet(s.clusters)
	}
	for _, r := range runs {
		s.nheld += uint32(s.held.addRun(r))
	}
}

// letGo gives them back.
func (s *space) letGo(runs []clusterRun) {
	if s.held == nil {
		return
	}
	for _, r := range runs {
		s.nheld -= uint32(s.held.removeRun(r))
	}
	if s.nheld == 0 {
		s.held = nil
	}
}
