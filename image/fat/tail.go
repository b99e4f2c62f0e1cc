package fat

import "github.com/resflash/resflash/image/vfs"

// A tail is the end of the chain of a file: where more clusters are added.
type tail struct {
	last uint32 // cluster; 0: there is no chain
	n    uint32 // clusters in the chain
}

// tail returns the end of the chain of a file.
func (o *op) tail(in *file) (tail, error) {
	first := o.f.firstCluster(&in.dirent)
	if first == 0 {
		return tail{}, nil
	}
	return o.tailOf(in.ino, first)
}

// tailOf returns the end of the chain that begins in a cluster and belongs to
// ino.
func (o *op) tailOf(ino vfs.Ino, first uint32) (tail, error) {
	if t, ok := o.w.tails.get(ino); ok {
		return t, nil
	}
	t, err := o.walk(first)
	if err == nil {
		o.w.tails.put(ino, t, 1)
	}
	return t, err
}

// walk finds the end of a chain.
func (o *op) walk(first uint32) (tail, error) {
	var t tail
	for num := uint32(0); ; num++ {
		s, err := o.f.segment(o.ctx, first, num)
		switch {
		case err != nil:
			return t, err
		case s == nil:
			return t, nil
		case s.err != nil:
			return t, s.err
		}
		r := s.runs[len(s.runs)-1]
		t.n += s.clusters
		t.last = r.cluster + s.clusters - 1 - r.at
		if s.next == 0 {
			return t, nil
		}
	}
}

// lengthen adds a run of clusters to the chain of a file, of which t is the
// tail.
func (o *op) lengthen(in *file, t tail, r clusterRun) error {
	first := o.f.firstCluster(&in.dirent)
	ino := in.ino
	o.undos = append(o.undos, func() {
		o.w.tails.forget(ino)
		if first != 0 {
			o.f.forgetChain(first)
		}
	})
	if err := o.join(first, t, r); err != nil {
		return err
	}
	if first == 0 {
		o.f.setStart(&in.dirent, r.first)
	}
	o.w.tails.put(ino, tail{r.first + r.n - 1, t.n + r.n}, 1)
	return nil
}

// join adds a run of clusters to a chain, or makes one of it.
func (o *op) join(first uint32, t tail, r clusterRun) error {
	if err := o.chain(r); err != nil {
		return err
	}
	o.w.space.next = r.first + r.n
	if first == 0 {
		o.f.forgetChain(r.first) // of a file that began there before
		return nil
	}
	old, err := o.w.rawNext(t.last)
	if err != nil {
		return err
	}
	if !o.f.bits.IsEnd(old) {
		return vfs.Corruptf(o.f.entryOff(t.last), "file allocation table", "entry %d is %#x, not the end of a chain", t.last, old)
	}
	o.f.forgetTail(first, t.n)
	return o.redirect(t.last, old, r.first)
}
