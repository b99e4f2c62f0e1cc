package mbr

import (
	"fmt"

	"github.com/resflash/resflash/image/blockio"
)

// maxLogical bounds the length of a chain. Linux stops at 256 partitions a
// disk, OpenBSD at 256 EBRs.
const maxLogical = 256

// logicals follows the chains of all extended partitions found so far.
func (r *reader) logicals() {
	next := 5
	for i := range len(r.table.Entries) { // the primaries: the slice grows in the loop
		e := r.table.Entries[i]
		if e.Container && e.Type != fmt.Sprintf("0x%02x", TypeGPT) {
			next = r.chain(e.Index, e.Start/r.ss, e.Size/r.ss, next)
		}
	}
}

// chain follows the EBRs of the extended partition p (sectors first up to
// first+size), numbers their partitions from next, and returns the number
// after the last.
//
// The first entry of an EBR is a partition, relative to the EBR itself; the
// second one is a link, relative to the extended partition. Like Linux, this
// takes whichever entry is of an extended type as the link, and the others as
// partitions.
func (r *reader) chain(p int, first, size int64, next int) int {
	t := r.table
	end := first + size
	seen := make(map[int64]bool)
	for at := first; ; {
		off := at * r.ss
		if at < first || at >= end {
			t.Problemf(off, "the chain of extended partition p%d leaves it: next boot record at sector %d, partition is %d to %d",
				p, at, first, end-1)
			return next
		}
		if seen[at] {
			t.Problemf(off, "the chain of extended partition p%d is a loop: sector %d comes twice", p, at)
			return next
		}
		if len(seen) >= maxLogical {
			t.Problemf(off, "the chain of extended partition p%d has more than %d boot records; the rest is not followed", p, maxLogical)
			return next
		}
		seen[at] = true
		sector, err := blockio.ReadFull(r.dev, off, sectorBytes)
		if err != nil {
			t.Problemf(off, "extended boot record of p%d: %v", p, err)
			return next
		}
		if sector[magicOff] != 0x55 || sector[magicOff+1] != 0xaa {
			// An extended partition with nothing in it may never have been
			// written to.
			if at != first || !blockio.IsZero(sector) {
				t.Problemf(off, "extended boot record of p%d has no signature 55 AA", p)
			}
			return next
		}
		link := int64(-1)
		for i, w := range decode(sector) {
			switch {
			case !w.used():
			case IsExtended(w.typ):
				if link < 0 {
					link = first + int64(w.start)
				} else {
					t.Problemf(entryOff(off, i), "extended boot record of p%d has two links", p)
				}
			default:
				r.logical(next, w, at, first, end, entryOff(off, i))
				next++
			}
		}
		if link < 0 {
			return next
		}
		at = link
	}
}

// logical adds one logical partition, which should lie behind its boot record
// and inside the extended partition.
func (r *reader) logical(index int, w wire, ebr, first, end, off int64) {
	if !w.statusOK() {
		r.table.Problemf(off, "partition p%d has the status byte 0x%02x, neither 00 nor 80", index, w.status)
	}
	r.add(index, w, ebr, off)
	start := ebr + int64(w.start)
	if w.start == 0 || start+int64(w.size) > end {
		r.table.Problemf(off, "logical partition p%d (sectors %d to %d) is not inside its extended partition (%d to %d)",
			index, start, start+int64(w.size)-1, first, end-1)
	}
}
