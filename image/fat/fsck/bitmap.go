package fsck

// A bitmap has a bit for each cluster, by its number.
type bitmap []uint64

// makeBitmap returns an empty bitmap of n bits, in the memory of old if that is
// enough.
func makeBitmap(old bitmap, n int64) bitmap {
	words := int((n + 63) / 64)
	if cap(old) < words {
		return make(bitmap, words)
	}
	old = old[:words]
	clear(old)
	return old
}

func (b bitmap) has(i uint32) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitmap) set(i uint32)      { b[i/64] |= 1 << (i % 64) }
func (b bitmap) unset(i uint32)    { b[i/64] &^= 1 << (i % 64) }
