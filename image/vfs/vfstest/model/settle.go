package model

import (
	"context"
	"fmt"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// Settle brings the tree into a shape that other programs can cope with, and
// commits: no flags, no pins, no file larger than size, no path longer than
// path, no times before 1970, and one file, "/settled", that has some blocks.
// It is done by operations like any others.
func (r *Run) Settle(ctx context.Context, size int64, path int) error {
	do := func(op Op) error {
		r.seq++
		op.Seq = r.seq
		return r.Do(ctx, op)
	}
	for len(r.pinned.list) > 0 {
		if err := do(Op{Kind: Unpin, File: r.pinned.list[0]}); err != nil {
			return err
		}
	}
	for _, id := range append([]ID(nil), r.all.list...) {
		attr, err := r.model.fs.Getattr(ctx, r.model.ino[id])
		if err != nil {
			return fmt.Errorf("in the model: %w", err)
		}
		set := vfs.SetAttr{Flags: new(vfs.Flags)}
		if attr.Mode.IsRegular() && attr.Size > size {
			set.Size = &size
		}
		if early := time.Unix(0, 0); attr.Mtime.Before(early) || attr.Atime.Before(early) {
			set.Mtime, set.Atime = &early, &early
		}
		if attr.Flags == 0 && set == (vfs.SetAttr{Flags: set.Flags}) {
			continue
		}
		if err := do(Op{Kind: Setattr, File: id, Set: &set}); err != nil {
			return err
		}
	}
	if err := r.flatten(do, path); err != nil {
		return err
	}
	r.last++
	id := r.last
	for _, op := range []Op{
		{Kind: Create, File: id, Name: "settled", Node: &vfs.NewNode{Mode: vfs.Regular | 0o644}},
		{Kind: Write, File: id, Len: 150_000, Data: 1},
	} {
		for {
			before := r.NoSpace
			if err := do(op); err != nil {
				return err
			}
			if r.NoSpace == before {
				break
			}
			if err := r.makeRoom(do, id); err != nil {
				return err
			}
		}
	}
	return do(Op{Kind: Sync})
}

// flatten moves directories that are too far down to the root.
func (r *Run) flatten(do func(Op) error, path int) error {
	var visit func(dir ID, length int) error
	visit = func(dir ID, length int) error {
		var here []key
		for _, k := range r.names.list {
			if k.dir == dir {
				here = append(here, k)
			}
		}
		for _, k := range here {
			id := r.byName[k]
			if r.files[id].typ != vfs.Dir {
				continue
			}
			below := length + 1 + len(k.name)
			if below > path-256 {
				name := fmt.Sprint("flat", id)
				if err := do(Op{Kind: Rename, Dir: k.dir, Name: k.name, To: 0, ToName: name}); err != nil {
					return err
				}
				below = 1 + len(name)
			}
			if err := visit(id, below); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(0, 0)
}

// makeRoom empties the largest file other than keep, or, if all are empty,
// removes one, and commits so that its space can be used. Every call leaves
// less to take from, so that it ends.
func (r *Run) makeRoom(do func(Op) error, keep ID) error {
	largest, most := ID(-1), int64(0)
	for _, id := range r.regular.list {
		if id == keep {
			continue
		}
		if attr, err := r.model.fs.Getattr(context.Background(), r.model.ino[id]); err == nil && attr.Blocks > most {
			largest, most = id, attr.Blocks
		}
	}
	if largest >= 0 {
		if err := do(Op{Kind: Setattr, File: largest, Set: &vfs.SetAttr{Size: new(int64)}}); err != nil {
			return err
		}
		return do(Op{Kind: Sync})
	}
	for _, k := range r.names.list {
		if id := r.byName[k]; id != keep && r.files[id].typ != vfs.Dir {
			if err := do(Op{Kind: Unlink, Dir: k.dir, Name: k.name}); err != nil {
				return err
			}
			return do(Op{Kind: Sync})
		}
	}
	return fmt.Errorf("no space, and no file to have some from")
}
