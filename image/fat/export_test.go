package fat

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/resflash/resflash/image/vfs"
)

// Audit compares what a Writer keeps in memory with what it would read from its
// volume as it is now, and returns what differs.
func (w *Writer) Audit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.copyTable(); err != nil {
		return err
	}
	if err := w.cache.Flush(w.tx); err != nil {
		return err
	}
	fresh, err := Open(context.Background(), w.tx)
	if err != nil {
		return err
	}
	f := fresh.(*FS)
	s, err := f.readSpace(context.Background())
	switch {
	case err != nil:
		return err
	case s.free != w.space.free:
		return fmt.Errorf("%d clusters free, not %d", w.space.free, s.free)
	case !slices.Equal(s.used, w.space.used):
		return fmt.Errorf("other clusters are in use than it says in memory")
	case !slices.Equal(s.linked, w.space.linked):
		return fmt.Errorf("other clusters are led to than it says in memory")
	}
	for ino, p := range w.inos.at {
		if w.inos.by[p] != ino {
			return fmt.Errorf("inode %d is at %d, where %d is", ino, p, w.inos.by[p])
		}
	}
	if len(w.inos.at) != len(w.inos.by) {
		return fmt.Errorf("%d inodes moved, to %d places", len(w.inos.at), len(w.inos.by))
	}
	for ino := range w.dirs.m {
		if err := w.auditDir(f, ino); err != nil {
			return fmt.Errorf("directory %d: %w", ino, err)
		}
	}
	for ino, t := range w.tails.m {
		first := f.rootCluster
		if ino != rootIno {
			in, err := (&op{f: w.FS, w: w, ctx: context.Background()}).open(ino)
			if err != nil {
				return fmt.Errorf("inode %d has a tail: %w", ino, err)
			}
			first = f.firstCluster(&in.dirent)
		}
		got, err := (&op{f: f, ctx: context.Background()}).walk(first)
		if err != nil || got != t.v {
			return fmt.Errorf("inode %d ends with %v, not %v (%w)", ino, t.v, got, err)
		}
	}
	return nil
}

func (w *Writer) auditDir(f *FS, ino vfs.Ino) error {
	ctx := context.Background()
	at, ok := w.inos.position(ino)
	if !ok {
		return fmt.Errorf("has no place")
	}
	d := w.dirs.m[ino].v
	want, err := f.dir(ctx, at)
	switch {
	case err != nil:
		return err
	case d.start != want.start, d.size != want.size, d.subdirs != want.subdirs, !slices.Equal(d.extents, want.extents), !slices.Equal(d.firsts, want.firsts):
		return fmt.Errorf("is %+v, not %+v", d, want)
	}
	if x, ok := w.indexes.m[ino]; ok {
		other, err := f.index(ctx, want)
		if err != nil {
			return err
		}
		if x.v.n != other.n {
			return fmt.Errorf("%d names in the index, not %d", x.v.n, other.n)
		}
		for hash := range maps.Keys(other.first) {
			a, b := slices.Sorted(x.v.slots(hash)), slices.Sorted(other.slots(hash))
			if !slices.Equal(a, b) {
				return fmt.Errorf("names at slots %v, not %v", a, b)
			}
		}
	}
	if m, ok := w.slotMaps.m[ino]; ok {
		other, err := f.readSlots(ctx, want)
		if err != nil {
			return err
		}
		for i := range uint32(max(len(m.v.used), len(other.used))) {
			if m.v.word(i) != other.word(i) {
				return fmt.Errorf("slots from %d on in use: %x, not %x", i*64, m.v.word(i), other.word(i))
			}
		}
		if m.v.end != other.end {
			return fmt.Errorf("slots end at %d, not %d", m.v.end, other.end)
		}
	}
	return nil
}

// MakeName is makeName, with the short names that are taken.
func MakeName(name string, taken map[string]bool) (short string, caseBits uint8, long bool, err error) {
	n, err := makeName(name, func(short [11]byte) (bool, error) { return taken[string(short[:])], nil })
	return string(n.short[:]), n.caseBits, n.long != nil, err
}
