package blockio

import (
	"errors"
	"fmt"
	"io/fs"
)

// A Recovery says what [Recover] found.
type Recovery struct {
	Finished bool  // a commit was interrupted, and is now complete
	Dropped  bool  // a commit never was complete; the image is as before it
	Bytes    int64 // written to the image
}

// Recover deals with what an earlier session left in the journal: it finishes
// a commit that was interrupted, and removes the journal. It is called with the
// image locked, before anything is written. If the image contradicts the
// journal, nothing is written and the error is a *[ForeignJournalError].
func Recover(dev Writable, store JournalStore) (Recovery, error) {
	var rec Recovery
	file, err := store.Open(true)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err != nil {
		return rec, err
	}
	defer file.Close()
	r, err := readJournal(file, store.Name(), dev.Size())
	switch {
	case errors.Is(err, errIncomplete):
		rec.Dropped = true
	case err != nil:
		return rec, err
	default:
		if err := r.check(dev); err != nil {
			return rec, err
		}
		if rec.Bytes, err = r.finish(dev); err != nil {
			return rec, fmt.Errorf("finish the commit that is in the journal %s: %w", store.Name(), err)
		}
		rec.Finished = true
	}
	// Removing a file is not durable by itself, and a journal that a power cut
	// brings back must be dead. Even one that looks dead may be alive on the
	// medium: whoever killed it may not have come to its Sync.
	if err = file.Truncate(0); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = store.Remove()
	}
	if err != nil {
		return rec, fmt.Errorf("remove the journal %s: %w", store.Name(), err)
	}
	return rec, nil
}

// finish writes the commit to its place.
func (r *redo) finish(dev Writable) (int64, error) {
	if err := preallocate(dev, r.set.extents(dev.Size())); err != nil {
		return 0, err
	}
	n, err := r.set.writeHome(dev)
	if err != nil {
		return n, err
	}
	return n, dev.Sync()
}
