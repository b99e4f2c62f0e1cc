package model

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/vfs"
)

// sync commits, and has the commit looked at.
func (r *Run) sync(ctx context.Context) error {
	if err := r.driver.fs.Sync(ctx); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	r.Commits++
	r.committed = r.Model().Snapshot()
	if r.opt.Committed == nil {
		return nil
	}
	if err := r.opt.Committed(ctx, r.committed); err != nil {
		return fmt.Errorf("after the commit: %w", err)
	}
	return nil
}

// reopen closes the driver and opens the file system again, with no pins left.
func (r *Run) reopen(ctx context.Context) error {
	if r.opt.Reopen == nil {
		return nil
	}
	for len(r.pinned.list) > 0 {
		id := r.pinned.list[0]
		op := Op{Seq: r.seq, Kind: Unpin, File: id}
		if err := r.do(ctx, op); err != nil {
			return fmt.Errorf("unpin %d: %w", id, err)
		}
	}
	if err := r.sync(ctx); err != nil {
		return err
	}
	fsys, err := r.opt.Reopen(ctx, r.driver.fs)
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	r.driver = side{fsys, map[ID]vfs.Ino{0: fsys.Root()}}
	r.setClock()
	if err := r.Compare(ctx); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	// Inode numbers may be others now.
	below := map[ID][]key{}
	for _, k := range r.names.list {
		below[k.dir] = append(below[k.dir], k)
	}
	for todo := []ID{0}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		for _, k := range below[dir] {
			attr, err := fsys.Lookup(ctx, r.driver.ino[dir], k.name)
			if err != nil {
				return fmt.Errorf("look up %q in directory %d again: %w", k.name, dir, err)
			}
			id := r.byName[k]
			r.driver.ino[id] = attr.Ino
			if attr.Mode.IsDir() {
				todo = append(todo, id)
			}
		}
	}
	return nil
}

// readDir lists a directory of the driver that changes meanwhile. Whatever is
// there from the beginning to the end must be listed once.
func (r *Run) readDir(ctx context.Context, op Op) error {
	dir, ok := r.driver.ino[op.Dir]
	if !ok {
		return nil
	}
	before, wantErr := entries(ctx, r.model.fs, r.model.ino[op.Dir])
	fold := r.opt.Limits.Limits.Folded
	seen := map[string]int{}
	cookie := uint64(0)
	list := func(limit int) error {
		for e, err := range r.driver.fs.ReadDir(ctx, dir, cookie) {
			if err != nil {
				return err
			}
			seen[e.Name]++
			if cookie = e.Next; len(seen) >= limit {
				break
			}
		}
		return nil
	}
	err := list(int(op.Len))
	if errno(err) != errno(wantErr) || (err == nil) != (wantErr == nil) {
		return fmt.Errorf("the driver says %w, the model %w", orOK(err), orOK(wantErr))
	}
	if err != nil {
		return nil
	}
	touched := map[string]bool{}
	for _, m := range op.Meanwhile {
		m.Seq = op.Seq
		if err := r.do(ctx, m); err != nil {
			return fmt.Errorf("%v: %w", m, err)
		}
		if m.Dir == op.Dir {
			touched[fold(m.Name)] = true
		}
		if m.To == op.Dir {
			touched[fold(m.ToName)] = true
		}
	}
	if _, ok := r.driver.ino[op.Dir]; !ok {
		return nil
	}
	if err := list(1 << 30); err != nil {
		return fmt.Errorf("go on listing: %w", err)
	}
	for name, times := range seen {
		if _, was := before[name]; !was && !touched[fold(name)] {
			return fmt.Errorf("%q is listed, which never was there", name)
		} else if was && !touched[fold(name)] && times > 1 {
			return fmt.Errorf("%q is listed %d times", name, times)
		}
	}
	for name := range before {
		if !touched[fold(name)] && seen[name] == 0 {
			return fmt.Errorf("%q is not listed, and was there all the time (%d names, %d listed first)", name, len(before), op.Len)
		}
	}
	return nil
}
