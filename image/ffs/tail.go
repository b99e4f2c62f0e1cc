package ffs

import (
	"fmt"
	"io"
)

// extendTo prepares a file for bytes at off, beyond its end: what lies between
// reads as zeros then.
func (o *op) extendTo(in *inode, off int64) error {
	if in.size&(o.g.blockSize-1) != 0 {
		if err := o.zeroTail(in, off); err != nil {
			return err
		}
	}
	in.size, in.dirty = off, true
	return nil
}

// zeroTail makes the last block of a file as long as it has to be when the file
// ends at off, with zeros behind the present end.
func (o *op) zeroTail(in *inode, off int64) error {
	g := o.g
	lbn := in.size >> g.blockShift
	addr, _, err := o.f.run(in, lbn, 1)
	if err != nil || addr == 0 {
		return err
	}
	have, want := g.tailFrags(in.size, lbn), g.tailFrags(off, lbn)
	if have < want {
		_, err = o.growTail(in, lbn, addr, have, want, off, off)
		return err
	}
	if err := o.f.checkAddr(in, addr, have); err != nil {
		return err
	}
	skip := in.size - lbn<<g.blockShift
	n := min(off-lbn<<g.blockShift, have<<g.fragShift) - skip
	return o.data(o.w.zeros[:n], addr<<g.fragShift+skip)
}

// growTail makes the last block of a file, have fragments at addr, want of them
// long. Behind the end of the file it is zeros then; the bytes of the file from
// off to end may be left out, because they are written next.
func (o *op) growTail(in *inode, lbn, addr, have, want, off, end int64) (int64, error) {
	g := o.g
	if err := o.f.checkAddr(in, addr, have); err != nil {
		return 0, err
	}
	start := lbn << g.blockShift
	used := in.size - start
	if have < want {
		to, err := o.growFrags(addr, have, want, o.wishFor(in, lbn, o.prevBlock(in, lbn)))
		if err != nil {
			return 0, err
		}
		in.hold(g, want-have)
		if to != addr {
			return to, o.moveTail(in, lbn, addr, have, to, want, used)
		}
		o.forget(addr+have, want-have)
	}
	// In place: zeros from the end of the file on, but not where data comes.
	zero := func(from, to int64) error {
		if from >= to {
			return nil
		}
		return o.data(o.w.zeros[:to-from], addr<<g.fragShift+from)
	}
	most := want << g.fragShift
	if err := zero(used, min(max(off-start, used), most)); err != nil {
		return 0, err
	}
	return addr, zero(max(min(end-start, most), used), most)
}

// moveTail copies the last block of a file to its new place.
func (o *op) moveTail(in *inode, lbn, addr, have, to, want, used int64) error {
	g := o.g
	b := o.w.scratch[:want<<g.fragShift]
	if err := o.readOld(in, b[:used], addr); err != nil {
		return err
	}
	clear(b[used:])
	if err := o.newData(b, to); err != nil {
		return err
	}
	in.Direct[lbn] = to
	in.dirty = true
	return o.release(in, addr, have, false)
}

// readOld reads contents that lie at addr.
func (o *op) readOld(in *inode, b []byte, addr int64) error {
	if n, err := o.f.dev.ReadAt(b, addr<<o.g.fragShift); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read inode %d at byte %d: %w", in.num, addr<<o.g.fragShift, err)
	}
	return nil
}
