package model

import (
	"context"
	"math/rand/v2"

	"github.com/resflash/resflash/image/vfs"
)

// A key is a name in a directory.
type key struct {
	dir  ID
	name string
}

// key is the key of a name, by any spelling.
func (r *Run) key(dir ID, name string) key { return key{dir, r.opt.Limits.Limits.Folded(name)} }

// An entry is what a run knows of a file that exists.
type entry struct {
	typ   vfs.Mode
	names int
	pins  int
}

// tables are the files that there are, for operations to be made up about.
type tables struct {
	files   map[ID]*entry
	byName  map[key]ID
	names   bag[key]
	all     bag[ID]
	dirs    bag[ID]
	regular bag[ID]
	pinned  bag[ID]
	flagged bag[ID] // files that got flags at some time
}

func (t *tables) init() {
	t.files, t.byName = map[ID]*entry{}, map[key]ID{}
	t.add(0, vfs.Dir)
	t.files[0].names = 1
}

func (t *tables) add(id ID, typ vfs.Mode) {
	t.files[id] = &entry{typ: typ}
	t.all.add(id)
	switch typ {
	case vfs.Dir:
		t.dirs.add(id)
	case vfs.Regular:
		t.regular.add(id)
	}
}

func (t *tables) setName(k key, id ID) {
	t.byName[k] = id
	t.names.add(k)
	t.files[id].names++
}

func (t *tables) dropName(k key) ID {
	id := t.byName[k]
	delete(t.byName, k)
	t.names.remove(k)
	t.files[id].names--
	return id
}

// note records what op did, which succeeded.
func (r *Run) note(ctx context.Context, op Op, want, got Result) {
	from, to := r.key(op.Dir, op.Name), r.key(op.To, op.ToName)
	switch op.Kind {
	case Create:
		r.model.ino[op.File], r.driver.ino[op.File] = want.Attr.Ino, got.Attr.Ino
		r.last = max(r.last, op.File)
		r.add(op.File, op.Node.Mode.Type())
		r.setName(from, op.File)
		if op.Node.Flags != 0 {
			r.flagged.add(op.File)
		}
	case Link:
		r.setName(from, op.File)
	case Unlink, Rmdir:
		r.reap(r.dropName(from))
	case Rename:
		id, over, taken := r.byName[from], ID(0), false
		if over, taken = r.byName[to]; taken && over == id {
			break
		}
		r.dropName(from)
		if taken {
			r.dropName(to)
		}
		r.setName(to, id)
		if vfs.RenameFlags(op.Flags) == vfs.RenameExchange {
			r.setName(from, over)
		} else if taken {
			r.reap(over)
		}
	case Setattr:
		if op.Set.Flags != nil {
			if *op.Set.Flags != 0 {
				r.flagged.add(op.File)
			} else {
				r.flagged.remove(op.File)
			}
		}
	case Pin:
		r.files[op.File].pins++
		r.pinned.add(op.File)
	case Unpin:
		if e := r.files[op.File]; e.pins > 1 {
			e.pins--
		} else {
			e.pins = 0
			r.pinned.remove(op.File)
			r.reap(op.File)
		}
	}
}

// reap forgets a file that is gone.
func (r *Run) reap(id ID) {
	if e := r.files[id]; e.names > 0 || e.pins > 0 {
		return
	}
	delete(r.files, id)
	delete(r.model.ino, id)
	delete(r.driver.ino, id)
	for _, b := range []*bag[ID]{&r.all, &r.dirs, &r.regular, &r.pinned, &r.flagged} {
		b.remove(id)
	}
}

// A bag is a set from which a random element can be taken, in a way that
// depends on nothing but what was done to it.
type bag[K comparable] struct {
	list []K
	at   map[K]int
}

func (b *bag[K]) add(k K) {
	if b.at == nil {
		b.at = map[K]int{}
	}
	if _, ok := b.at[k]; !ok {
		b.at[k] = len(b.list)
		b.list = append(b.list, k)
	}
}

func (b *bag[K]) remove(k K) {
	i, ok := b.at[k]
	if !ok {
		return
	}
	last := b.list[len(b.list)-1]
	b.list[i], b.at[last] = last, i
	b.list = b.list[:len(b.list)-1]
	delete(b.at, k)
}

func (b *bag[K]) pick(rnd *rand.Rand) (k K, ok bool) {
	if len(b.list) == 0 {
		return k, false
	}
	return b.list[rnd.IntN(len(b.list))], true
}
