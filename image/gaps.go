package image

import (
	"slices"

	"github.com/resflash/resflash/image/part"
)

// A Gap is a part of the disk that no partition has.
type Gap struct {
	Off int64 // bytes from the start of the image
	Len int64 // bytes
	// Spare says that nothing is known to keep something there: it lies between
	// partitions, or behind the last. In front of the first boot loaders lie,
	// and in partitions that are divided further their tables do.
	Spare bool
}

// tableRoom is what is kept at the end of a disk for the other copy of a GPT:
// its header and 128 entries, also with sectors of 4096 bytes.
const tableRoom = 20 << 10

// What is kept at both ends of a partition with a disklabel: boot blocks and the
// label itself, and what FreeBSD's mirrors write to the last sector.
const (
	labelRoom = 8 << 10
	labelTail = 4 << 10
)

// hasLabel reports whether there is a disklabel in the partition that begins at
// a byte.
func (d *Disk) hasLabel(start int64) bool {
	return slices.ContainsFunc(d.tables, func(t *part.Table) bool {
		return t.Scheme == schemeDisklabel && t.Parent != nil && t.Parent.Start == start
	})
}

// Gaps returns what no partition has, in the order on the disk; nothing of an
// image that is one file system.
func (d *Disk) Gaps() []Gap {
	if len(d.tables) == 0 {
		return nil
	}
	type span struct {
		off, end int64
		leaf     bool
	}
	first := d.Size()
	var taken []span
	for _, p := range d.partitions {
		if p.ID == "whole" {
			return nil
		}
		taken = append(taken, span{p.Start, p.Start + p.Size, true})
		first = min(first, p.Start)
	}
	end := d.Size() - tableRoom
	for _, t := range d.tables {
		if t.Scheme == "GPT" {
			first, end = max(first, t.BoundStart), min(end, t.BoundEnd)
		}
		for _, e := range t.Entries {
			if !e.Container || t.Scheme == schemeDisklabel || t.Flavor == "protective" {
				continue
			}
			if !d.hasLabel(e.Start) {
				// Tables of logical partitions lie in front of each.
				taken = append(taken, span{e.Start, e.End(), false})
				continue
			}
			head := e.End()
			for _, p := range d.partitions {
				if p.Start >= e.Start {
					head = min(head, p.Start)
				}
			}
			taken = append(taken, span{e.Start, max(head, e.Start+labelRoom), false}, span{e.End() - labelTail, e.End(), false})
		}
	}
	// Every place where something begins or ends, and between two of them one
	// answer.
	cuts := []int64{0, first, end, d.Size()}
	for _, s := range taken {
		cuts = append(cuts, s.off, s.end)
	}
	slices.Sort(cuts)
	var gaps []Gap
	for i := range len(cuts) - 1 {
		from, to := max(cuts[i], 0), min(cuts[i+1], d.Size())
		if from >= to {
			continue
		}
		inside, leaf := false, false
		for _, s := range taken {
			if s.off <= from && from < s.end {
				inside, leaf = true, leaf || s.leaf
			}
		}
		if leaf {
			continue
		}
		g := Gap{from, to - from, !inside && from >= first && to <= end}
		if k := len(gaps) - 1; k >= 0 && gaps[k].Off+gaps[k].Len == from && gaps[k].Spare == g.Spare {
			gaps[k].Len += g.Len
			continue
		}
		gaps = append(gaps, g)
	}
	return gaps
}
