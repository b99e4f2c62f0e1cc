package inflate

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// writers are kept, as they are large.
var writers = map[int]*zlib.Writer{}

// pack compresses with the standard library.
func pack(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	if writers[level] == nil {
		w, err := zlib.NewWriterLevel(&b, level)
		require.NoError(t, err)
		writers[level] = w
	}
	w := writers[level]
	w.Reset(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// samples are texts, noise, machine code and what repeats itself at all short
// distances.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 70_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	words := make([]string, 3000)
	for i := range words {
		for range 2 + rng.IntN(8) {
			words[i] += string("etaoinshrdlucmfwypvbgkqjxz"[min(rng.IntN(26), rng.IntN(26))])
		}
	}
	var text, mixed, periods bytes.Buffer
	for text.Len() < 128<<10 {
		fmt.Fprintf(&text, "%s%c", words[min(rng.IntN(3000), rng.IntN(3000))], "     ,.\n"[rng.IntN(8)])
	}
	for i := 0; mixed.Len() < 60_000; i++ {
		mixed.WriteString(fmt.Sprint(i * i))
		mixed.Write(noise[rng.IntN(1000):][:rng.IntN(50)])
	}
	for i := range 400 {
		periods.Write(bytes.Repeat(noise[i:][:1+i%20], 1+rng.IntN(40)))
	}
	// Frequencies that grow fast make codes of all lengths.
	var steep bytes.Buffer
	for i, a, b := 0, 1, 1; i < 20; i, a, b = i+1, b, a+b {
		steep.Write(bytes.Repeat(noise[500+i:][:1], a))
	}
	rng.Shuffle(steep.Len(), func(i, j int) { p := steep.Bytes(); p[i], p[j] = p[j], p[i] })
	code, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	return map[string][]byte{
		"zeros": make([]byte, 300_000), "noise": noise, "text": text.Bytes()[:128<<10], "mixed": mixed.Bytes(),
		"code": code[len(code)/4:][:128<<10], "periods": periods.Bytes(),
		"steep": steep.Bytes(),
	}
}

// levels are all kinds of blocks that the standard library makes.
var levels = []int{flate.HuffmanOnly, flate.NoCompression, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// requireSame has data be what packed holds, with any room that is enough.
func requireSame(t *testing.T, data, packed []byte, what ...any) {
	t.Helper()
	for _, more := range []int{0, 1, 1000} {
		dst := make([]byte, len(data)+more)
		n, err := Decode(dst, packed)
		require.NoError(t, err, what...)
		require.True(t, bytes.Equal(data, dst[:n]), what...)
	}
	if len(data) > 0 {
		_, err := Decode(make([]byte, len(data)-1), packed)
		require.ErrorIs(t, err, ErrTooLong, what...)
	}
}

func TestDecode(t *testing.T) {
	for name, data := range samples(t) {
		for _, level := range levels {
			requireSame(t, data, pack(t, data, level), "%s at level %d", name, level)
		}
	}
}

func TestShort(t *testing.T) {
	for name, data := range samples(t) {
		for n := range 301 {
			for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 9} {
				requireSame(t, data[:n], pack(t, data[:n], level), "%d of %s at level %d", n, name, level)
			}
		}
	}
}

// Blocks of all kinds follow each other, wherever a byte ends.
func TestBlocks(t *testing.T) {
	all := samples(t)
	rng := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		var body, want bytes.Buffer
		for range 1 + rng.IntN(10) {
			w, err := flate.NewWriter(&body, levels[rng.IntN(len(levels))])
			require.NoError(t, err)
			for _, data := range all {
				p := data[rng.IntN(1000):][:rng.IntN(1000)]
				want.Write(p)
				_, err = w.Write(p)
				require.NoError(t, err)
				if rng.IntN(2) == 0 {
					require.NoError(t, w.Flush())
				}
			}
			require.NoError(t, w.Flush())
		}
		body.Write([]byte{1, 0, 0, 0xFF, 0xFF})
		requireSame(t, want.Bytes(), stream(body.Bytes(), want.Bytes()))
	}
}

// stream puts header and checksum around deflated data.
func stream(body, data []byte) []byte {
	out := append([]byte{0x78, 0x9C}, body...)
	return binary.BigEndian.AppendUint32(out, adler32(data))
}

func TestEveryPrefixIsAnError(t *testing.T) {
	for name, data := range samples(t) {
		data = data[:3000]
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 9} {
			packed := pack(t, data, level)
			dst := make([]byte, len(data)+500)
			for n := range packed {
				_, err := Decode(dst, packed[:n:n])
				require.ErrorIs(t, err, ErrTooShort, "%d of %d bytes of %s at level %d", n, len(packed), name, level)
			}
		}
	}
}

// No damage gets past the checksum, or makes it panic.
func TestDamage(t *testing.T) {
	data := samples(t)["mixed"][:20_000]
	packed := pack(t, data, 9)
	dst := make([]byte, len(data)+500)
	for i := range packed {
		damaged := bytes.Clone(packed)
		damaged[i] ^= 1 << (i % 8)
		if n, err := Decode(dst, damaged); err == nil { // the size of the window is only a remark
			require.True(t, i < headerSize && bytes.Equal(data, dst[:n]), "byte %d", i)
		}
	}
}

// What follows the stream is none of its business.
func TestWhatFollowsIsIgnored(t *testing.T) {
	data := []byte("some text, and some more text")
	for _, level := range levels {
		requireSame(t, data, append(pack(t, data, level), make([]byte, 50)...))
	}
}

// FuzzDecode compares what we make of arbitrary bytes with what the standard
// library does. That one accepts a preset dictionary if it is empty.
func FuzzDecode(f *testing.F) {
	for _, data := range samples(f) {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 9} {
			f.Add(pack(f, data[:2000], level))
		}
	}
	for _, c := range badStreams {
		f.Add(c.src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		const room = 8192
		buf := make([]byte, room+1)
		n, err := Decode(buf[:room:room], src)
		if n < 0 || n > room || buf[room] != 0 {
			t.Fatalf("wrote beyond the end, or says so: %d", n)
		}
		if len(src) >= headerSize && src[1]&presetDict != 0 {
			if err == nil {
				t.Fatal("did without a preset dictionary")
			}
			return
		}
		var want []byte
		r, bad := zlib.NewReader(bytes.NewReader(src))
		if bad == nil {
			want, bad = io.ReadAll(io.LimitReader(r, room+1))
		}
		if len(want) > room {
			bad = ErrTooLong
		}
		if (err == nil) != (bad == nil) {
			t.Fatalf("%v instead of %v", err, bad)
		}
		if errors.Is(err, ErrChecksum) != errors.Is(bad, zlib.ErrChecksum) {
			t.Fatalf("%v instead of %v", err, bad)
		}
		if (bad == nil || errors.Is(bad, zlib.ErrChecksum)) && !bytes.Equal(want, buf[:n]) {
			t.Fatalf("%d bytes instead of %d", n, len(want))
		}
	})
}
