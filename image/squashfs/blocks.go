package squashfs

import (
	"context"
	"sync"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// blockCount is how many blocks in the list of a file there are: its end is one
// of them unless it is in a fragment.
func (f *FS) blockCount(in *inode) int64 {
	size := int64(f.sb.BlockSize)
	n := int64(in.Size) / size
	if in.Fragment == ondisk.NoFragment && int64(in.Size)%size != 0 {
		n++
	}
	return n
}

// A wordList goes through the list of the blocks of a file. A block lies behind the
// one before, so where it lies is the sum of all sizes up to there.
type wordList struct {
	f    *FS
	in   *inode
	c    cursor
	next int64 // the block that read reads
	off  int64 // where it lies
}

// A dataWord is an entry of such a list.
type dataWord struct {
	block int64 // which one
	off   int64 // where it lies
	word  ondisk.BlockWord
}

// list begins to read the list of the blocks of a file at a block. Every block
// that is passed over moves on in the inode table, whose size so bounds the
// time that it takes.
func (f *FS) list(ctx context.Context, in *inode, block int64) (wordList, error) {
	s := f.spots.before(in.ino, block)
	if s.block == 0 {
		s = spot{place: in.tail, off: int64(in.Start)}
	}
	l := wordList{f: f, in: in, next: s.block, off: s.off}
	if err := f.inside(in.name(), s.off, 0); err != nil && in.Start != 0 {
		return l, in.name().corrupt(in.at, "its blocks begin at byte %d of a file system of %d bytes", in.Start, f.size)
	}
	var err error
	if l.c, err = f.cursor(in.name(), s.place, int64(f.sb.DirectoryTable)); err != nil {
		return l, err
	}
	for l.next < block {
		if l.next%spotEvery == 0 && ctx.Err() != nil {
			return l, ctx.Err()
		}
		if _, err := l.read(); err != nil {
			return l, err
		}
	}
	return l, nil
}

// read returns the next entry.
func (l *wordList) read() (dataWord, error) {
	if l.next%spotEvery == 0 && l.next > 0 {
		l.f.spots.add(l.in.ino, spot{l.c.place(), l.next, l.off})
	}
	var buf [ondisk.BlockWordSize]byte
	b, err := l.c.bytes(ondisk.BlockWordSize, buf[:])
	if err != nil {
		return dataWord{}, err
	}
	w := dataWord{l.next, l.off, ondisk.DecodeBlockWord(b)}
	if !w.word.Known() {
		return w, l.in.name().corrupt(l.c.at, "block %d has the size %#x", l.next, uint32(w.word))
	}
	l.next++
	l.off += w.word.Size()
	return w, nil
}

// spots are places in the lists of large files from which on to add up: without
// them, every read at the end of such a file would begin at its beginning.
type spots struct {
	mu    sync.Mutex
	files map[vfs.Ino][]spot // every spotEvery blocks, without gaps
	count int
}

type spot struct {
	place
	block int64
	off   int64
}

const (
	spotEvery = 1024
	maxSpots  = 32 << 10
)

// before returns the last spot in front of a block; the zero value if there is
// none.
func (s *spots) before(ino vfs.Ino, block int64) spot {
	if block < spotEvery {
		return spot{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.files[ino]
	i := min(block/spotEvery, int64(len(known)))
	if i == 0 {
		return spot{}
	}
	return known[i-1]
}

func (s *spots) add(ino vfs.Ino, at spot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(len(s.files[ino]))+1 != at.block/spotEvery {
		return // there already, or others were forgotten
	}
	if s.files == nil || s.count >= maxSpots {
		s.files, s.count = make(map[vfs.Ino][]spot), 0
		if at.block != spotEvery {
			return
		}
	}
	s.files[ino] = append(s.files[ino], at)
	s.count++
}
