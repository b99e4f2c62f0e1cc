package blockio

import "io"

// A JournalStore is the place of the journal of one image: a file beside it, or
// memory in tests.
type JournalStore interface {
	// Name is what messages call the journal.
	Name() string
	// Open opens the journal that is there. Without one, the error wraps
	// [io/fs.ErrNotExist].
	Open(write bool) (JournalFile, error)
	// Create makes an empty journal. It is there even after a power cut once
	// Create has returned.
	Create() (JournalFile, error)
	// Remove removes the journal. A power cut may bring it back; it must be
	// known to be dead by then.
	Remove() error
}

// A JournalFile is an opened journal. Writes and truncations are durable once
// Sync has returned.
type JournalFile interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}
