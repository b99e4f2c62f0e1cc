package part

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Problemf adds a problem of the structure at the byte off.
func (t *Table) Problemf(off int64, format string, args ...any) {
	t.Problems = append(t.Problems, Problem{Off: off, Detail: fmt.Sprintf(format, args...)})
}

// Bytes converts a number of units (sectors) to bytes, or reports that the
// result is not a possible offset. Tables are full of 64-bit numbers that
// somebody else wrote.
func Bytes(units uint64, unit int) (int64, bool) {
	if unit <= 0 || units > uint64(math.MaxInt64)/uint64(unit) {
		return 0, false
	}
	return int64(units) * int64(unit), true
}

// CheckBounds marks the entries that reach beyond a disk of size bytes as
// Outside, with a problem each. off tells where the entry with an index (into
// Entries) lies on the disk.
func (t *Table) CheckBounds(size int64, off func(i int) int64) {
	for i := range t.Entries {
		e := &t.Entries[i]
		switch {
		case e.Start >= size:
			e.Outside = true
			t.Problemf(off(i), "partition %s starts at byte %d, behind the end of the disk at byte %d",
				e.ID(t.Scheme), e.Start, size)
		case e.End() > size:
			e.Outside = true
			t.Problemf(off(i), "partition %s ends at byte %d, behind the end of the disk at byte %d",
				e.ID(t.Scheme), e.End(), size)
		}
	}
}

// CheckOverlaps adds a problem for every entry that shares bytes with one
// before it on the disk. Containers are meant to overlap and do not count, and
// neither do entries for which skip returns true.
func (t *Table) CheckOverlaps(off func(i int) int64, skip func(e Entry) bool) {
	order := make([]int, 0, len(t.Entries))
	for i, e := range t.Entries {
		if !e.Container && e.Size > 0 && (skip == nil || !skip(e)) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(t.Entries[a].Start, t.Entries[b].Start)
	})
	// far is the entry that reaches farthest so far: an overlap with any is an
	// overlap with that one.
	far := -1
	for _, i := range order {
		if far >= 0 && t.Entries[i].Start < t.Entries[far].End() {
			a, b := min(i, far), max(i, far)
			t.Problemf(off(b), "partition %s overlaps partition %s",
				t.Entries[b].ID(t.Scheme), t.Entries[a].ID(t.Scheme))
		}
		if far < 0 || t.Entries[i].End() > t.Entries[far].End() {
			far = i
		}
	}
}
