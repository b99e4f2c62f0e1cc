package inflate

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/zlib"
	"github.com/stretchr/testify/require"
)

func BenchmarkDecode(b *testing.B) {
	for name, data := range samples(b) {
		packed := pack(b, data, 9)
		dst := make([]byte, len(data))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if n, err := Decode(dst, packed); err != nil || n != len(data) {
					b.Fatal(n, err)
				}
			}
		})
		b.Run(name+"/library", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			src := bytes.NewReader(packed)
			r, err := zlib.NewReader(src)
			require.NoError(b, err)
			for b.Loop() {
				src.Reset(packed)
				require.NoError(b, r.(zlib.Resetter).Reset(src, nil))
				_, err = io.ReadFull(r, dst)
				require.NoError(b, err)
				_, err = r.Read(dst[:1])
				require.Equal(b, io.EOF, err)
			}
		})
	}
}
