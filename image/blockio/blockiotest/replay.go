package blockiotest

import "math/rand/v2"

// A Replay goes through recorded operations, and knows what a power cut may
// leave. It is not safe for concurrent use.
type Replay struct {
	ops []Op
	at  int // operations done

	all     *Medium // everything in order: the process was killed, the host lives
	durable *Medium // what no power cut takes away

	// What came after the last sync, of which any part may be on the medium.
	image   []Op
	journal []Op
	removed bool // the removal of the journal
}

// NewReplay begins with start, what the medium held before ops.
func NewReplay(start *Medium, ops []Op) *Replay {
	return &Replay{ops: ops, all: start.Clone(), durable: start.Clone()}
}

// At is the number of operations that have been done.
func (r *Replay) At() int { return r.at }

// Done says that there are no more operations.
func (r *Replay) Done() bool { return r.at == len(r.ops) }

// Next is the operation that comes next.
func (r *Replay) Next() Op { return r.ops[r.at] }

// Step does the next operation.
func (r *Replay) Step() {
	op := r.ops[r.at]
	r.at++
	r.all.Apply(op)
	pending := &r.image
	if op.On == Journal {
		pending = &r.journal
	}
	switch op.Kind {
	case Sync:
		for _, p := range *pending {
			r.durable.Apply(p)
		}
		*pending = (*pending)[:0]
	case Create:
		r.durable.Apply(op)
		r.journal, r.removed = r.journal[:0], false
	case Remove:
		r.removed = true
	default:
		*pending = append(*pending, op)
	}
}

// Cut returns the medium after a kill: everything done so far is there.
func (r *Replay) Cut() *Medium { return r.all.Clone() }

// Torn is Cut with part of the next operation, a write: its first sectors.
// Without more than one sector to write it returns nil.
func (r *Replay) Torn(rnd *rand.Rand) *Medium {
	op := r.ops[r.at]
	n := sectorsOf(op)
	if op.Kind != Write || n < 2 {
		return nil
	}
	m := r.Cut()
	upTo := 1 + rnd.IntN(n-1)
	m.Apply(slice(op, 0, upTo))
	return m
}

// Pending is the number of operations of which a power cut may leave any part.
func (r *Replay) Pending() int { return len(r.image) + len(r.journal) }

// Shuffle returns what a power cut may leave: what is durable, and any of the
// sectors written since, in any order.
func (r *Replay) Shuffle(rnd *rand.Rand) *Medium {
	m := r.durable.Clone()
	share := rnd.Float64()
	for _, list := range [][]Op{r.image, r.journal} {
		for _, i := range rnd.Perm(len(list)) {
			if rnd.Float64() > share {
				continue
			}
			op := list[i]
			n := sectorsOf(op)
			if op.Kind != Write || n < 2 || rnd.IntN(2) == 0 {
				m.Apply(op)
				continue
			}
			if rnd.IntN(2) == 0 {
				first := rnd.IntN(n)
				m.Apply(slice(op, first, first+1+rnd.IntN(n-first)))
				continue
			}
			for sec := range n {
				if rnd.IntN(2) == 0 {
					m.Apply(slice(op, sec, sec+1))
				}
			}
		}
	}
	if r.removed && rnd.IntN(2) == 0 {
		m.Apply(Op{On: Journal, Kind: Remove})
	}
	return m
}

// sectorsOf is the number of sectors a write touches.
func sectorsOf(op Op) int {
	if len(op.Data) == 0 {
		return 0
	}
	return int((op.Off+int64(len(op.Data))-1)/sectorLen - op.Off/sectorLen + 1)
}

// slice is part of a write: its sectors from first to before last.
func slice(op Op, first, last int) Op {
	start := op.Off / sectorLen * sectorLen
	from := max(start+int64(first)*sectorLen, op.Off)
	to := min(start+int64(last)*sectorLen, op.Off+int64(len(op.Data)))
	return Op{On: op.On, Kind: Write, Off: from, Data: op.Data[from-op.Off : to-op.Off]}
}
