package vfs

import "iter"

// dirBatch is how many entries are read under one lock.
const dirBatch = 128

// InBatches lists a directory that may be changed between two entries. read
// appends to batch, whose capacity it does not exceed, the entries from a cookie
// on; it holds a lock for as long as it runs, and no other time. A batch that is
// not full is the last one.
func InBatches(cookie uint64, read func(cookie uint64, batch []DirEntry) ([]DirEntry, error)) iter.Seq2[DirEntry, error] {
	return func(yield func(DirEntry, error) bool) {
		batch := make([]DirEntry, 0, dirBatch)
		for {
			var failed error
			batch, failed = read(cookie, batch[:0])
			for _, e := range batch {
				if !yield(e, nil) {
					return
				}
			}
			if failed != nil {
				yield(DirEntry{}, failed)
				return
			}
			if len(batch) < cap(batch) {
				return
			}
			cookie = batch[len(batch)-1].Next
		}
	}
}
