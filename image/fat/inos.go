package fat

import (
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A position is where a directory entry lies on the volume, in units of its
// size. It is the inode number of the file, as long as the file stays there.
type position = vfs.Ino

func positionOf(off int64) position { return position(off / ondisk.DirentSize) }

// firstMadeUp is the first inode number that is no position on any volume.
const firstMadeUp vfs.Ino = 1 << 41

// maxMoved bounds the memory of inos, to some 100 MiB.
const maxMoved = 1 << 20

// inos keeps inode numbers what they are while entries move. A file that was
// renamed keeps its number, which is then not its position; and a file that is
// put where the number belongs to another, which was moved away or is open
// without a name, gets a number that is no position. Everything else has its
// position for a number, and is not in here.
type inos struct {
	at   map[vfs.Ino]position
	by   map[position]vfs.Ino
	next vfs.Ino
}

func newInos() *inos {
	return &inos{at: map[vfs.Ino]position{}, by: map[position]vfs.Ino{}, next: firstMadeUp}
}

// of returns the inode number of the file whose entry is at p.
func (t *inos) of(p position) vfs.Ino {
	if t != nil {
		if ino, ok := t.by[p]; ok {
			return ino
		}
	}
	return p
}

// position returns where the entry of ino is. ok is false if no file can have
// that number.
func (t *inos) position(ino vfs.Ino) (p position, ok bool) {
	if t == nil {
		return ino, true
	}
	if p, ok := t.at[ino]; ok {
		return p, true
	}
	_, taken := t.by[ino]
	return ino, !taken
}

// set says that the entry of ino is at p from now on.
func (t *inos) set(ino vfs.Ino, p position) {
	t.drop(ino)
	if ino == p {
		delete(t.by, p)
		return
	}
	t.at[ino], t.by[p] = p, ino
}

// drop forgets a file.
func (t *inos) drop(ino vfs.Ino) {
	if p, ok := t.at[ino]; ok {
		delete(t.at, ino)
		if t.by[p] == ino {
			delete(t.by, p)
		}
	}
}

// fresh returns a number for a new file at p. used says whether a number is
// that of a file which has no entry.
func (t *inos) fresh(p position, used func(vfs.Ino) bool) vfs.Ino {
	if _, moved := t.at[p]; !moved && !used(p) {
		return p
	}
	t.next++
	return t.next - 1
}

// shrink forgets the numbers of files that nobody holds, when there are too
// many. Each then has its position for a number again, or a new one where that
// still belongs to a file that is held.
func (t *inos) shrink(held func(vfs.Ino) bool) {
	if len(t.at) <= maxMoved {
		return
	}
	old := t.by
	t.at, t.by = map[vfs.Ino]position{}, map[position]vfs.Ino{}
	for p, ino := range old {
		if held(ino) {
			t.at[ino], t.by[p] = p, ino
		}
	}
	for p := range old {
		if _, ok := t.by[p]; ok {
			continue
		}
		if ino := t.fresh(p, held); ino != p {
			t.at[ino], t.by[p] = p, ino
		}
	}
}
