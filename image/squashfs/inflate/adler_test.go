package inflate

import (
	"bytes"
	std "hash/adler32"
	"testing"

	"github.com/stretchr/testify/require"
)

// The checksum is that of the standard library, also where sums are largest.
func TestAdler32(t *testing.T) {
	all := samples(t)
	all["ones"] = bytes.Repeat([]byte{0xFF}, 300_000)
	for name, data := range all {
		for n := range 600 {
			require.Equal(t, std.Checksum(data[:n]), adler32(data[:n]), "%s, %d bytes", name, n)
		}
		for n := 600; n <= len(data); n += 4999 {
			require.Equal(t, std.Checksum(data[:n]), adler32(data[:n]), "%s, %d bytes", name, n)
		}
	}
}

func BenchmarkAdler32(b *testing.B) {
	p := samples(b)["text"]
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		adler32(p)
	}
}
