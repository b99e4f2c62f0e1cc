package blockio

import "io"

var zeroUnit [512]byte

// IsZero reports whether b is nothing but zeros.
func IsZero(b []byte) bool {
	for ; len(b) >= len(zeroUnit); b = b[len(zeroUnit):] {
		if [len(zeroUnit)]byte(b) != zeroUnit {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// NextData returns where d has data, at off or behind it; its size if there is
// none. Where d knows of no holes, and behind its end, that is off.
func NextData(d Device, off int64) int64 {
	h, ok := d.(interface{ SeekData(int64) (int64, error) })
	if !ok {
		return off
	}
	next, err := h.SeekData(off)
	switch {
	case err == io.EOF && off < d.Size():
		return d.Size()
	case err != nil:
		return off
	}
	return next
}
