package vfs

import (
	"context"
	"errors"
	"iter"
)

// A Remnants file system knows which bytes of its device hold nothing that
// belongs to it any more, but may hold what did once: what an audit looks
// through, and what a scrub zeroes.
type Remnants interface {
	// Remnants yields those ranges, group by group, as the maps of the file
	// system have them: whoever writes there checks the file system first, and
	// nobody changes it meanwhile. A range that is known to be zeros may be
	// left out. After an error the sequence ends.
	Remnants(ctx context.Context) iter.Seq2[Remnant, error]
}

// A Remnant is a range of the device that holds nothing live.
type Remnant struct {
	Kind RemnantKind
	Off  int64 // bytes from the start of the volume
	Len  int64 // bytes
	Ino  Ino   // whose slack it is; 0: nobody's
	// Seal says that the range is covered by a checksum; nil: by none.
	Seal *Seal
}

// A Seal is a structure with a checksum: it is made anew after a range in it
// was zeroed.
type Seal struct {
	Off int64          // of the structure, bytes from the start of the volume
	Len int            // bytes
	Sum func(b []byte) // writes the checksum into the structure's bytes
}

// RemnantKind says what a remnant was.
type RemnantKind uint8

// The kinds of remnants.
const (
	// FreeSpace is blocks, fragments and clusters that are free.
	FreeSpace RemnantKind = iota + 1
	// FileSlack is what is allocated to a file behind its end, or was never
	// written by it: the rest of its last block, preallocated space.
	FileSlack
	// DirSlack is room in directories that no name takes up: removed names.
	DirSlack
	// MetaSlack is inodes that are free, and room in inodes and other metadata
	// that nothing takes up.
	MetaSlack
	// LogSlack is the journal of a file system that does not need it.
	LogSlack
	// BehindEnd is the rest of the partition behind the file system. Volume
	// managers and RAID keep their labels there.
	BehindEnd
)

var remnantNames = [...]string{"unknown", "free space", "file slack", "directory slack", "metadata slack", "journal", "space behind the file system"}

func (k RemnantKind) String() string {
	if int(k) >= len(remnantNames) {
		k = 0
	}
	return remnantNames[k]
}

// EachRemnant is [Remnants] made of a walk: what walk passes to add is yielded,
// as far as it is on a device of size bytes, and the error it returns, unless
// that is add's own, which says that nobody wants any more.
func EachRemnant(size int64, walk func(add func(Remnant) error) error) iter.Seq2[Remnant, error] {
	return func(yield func(Remnant, error) bool) {
		stopped := false
		err := walk(func(r Remnant) error {
			if r.Len = min(r.Len, size-r.Off); r.Len <= 0 || r.Off < 0 {
				return nil
			}
			if !yield(r, nil) {
				stopped = true
				return errEnough
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Remnant{}, err)
		}
	}
}

// errEnough ends a walk.
var errEnough = errors.New("nobody wants any more")
