package manifest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
)

// digest computes the sums of one file from what is written to it.
type digest struct {
	sha   hash.Hash // nil: not wanted
	block []byte    // the beginning of a block, for the quick sum
	off   uint64    // where that block starts
	quick uint64
}

// newDigest starts a digest; quick leaves the SHA-256 out.
func newDigest(quick bool) *digest {
	d := &digest{block: make([]byte, 0, quickBlock)}
	if !quick {
		d.sha = sha256.New()
	}
	return d
}

const quickBlock = 4096

func (d *digest) Write(p []byte) (int, error) {
	n := len(p)
	if d.sha != nil {
		d.sha.Write(p)
	}
	for len(p) > 0 {
		if len(d.block) == 0 && len(p) >= quickBlock {
			d.add(p[:quickBlock])
			p = p[quickBlock:]
			continue
		}
		take := min(len(p), quickBlock-len(d.block))
		d.block = append(d.block, p[:take]...)
		p = p[take:]
		if len(d.block) == quickBlock {
			d.add(d.block)
			d.block = d.block[:0]
		}
	}
	return n, nil
}

// add mixes one block and its offset into the quick sum, unless the block is
// all zeros.
func (d *digest) add(b []byte) {
	at := d.off
	d.off += uint64(len(b))
	sum, any := at, uint64(0)
	for len(b) >= 8 {
		word := binary.LittleEndian.Uint64(b)
		any |= word
		sum = mix(sum, word)
		b = b[8:]
	}
	for _, c := range b {
		any |= uint64(c)
		sum = mix(sum, uint64(c))
	}
	if any != 0 {
		d.quick = mix(d.quick, sum)
	}
}

// mix is a step of a sum that need not withstand an attack.
func mix(sum, word uint64) uint64 {
	sum = (sum ^ word) * 0x9E3779B97F4A7C15
	return sum ^ sum>>29
}

// store ends the digest and puts the sums into e.
func (d *digest) store(e *Entry) {
	if d.sha != nil {
		e.Sum = hex.EncodeToString(d.sha.Sum(nil))
	}
	d.add(d.block)
	e.Quick = fmt.Sprintf("%016x", mix(d.quick, d.off))
}
