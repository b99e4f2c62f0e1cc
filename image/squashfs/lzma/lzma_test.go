package lzma

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
	foreign "github.com/ulikunitz/xz/lzma"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// pack has xz compress data.
func pack(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	testtool.Need(t, "xz")
	cmd := exec.Command("xz", append([]string{"--stdout", "--threads=1"}, args...)...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	require.NoError(t, err, "%v", args)
	return out
}

// samples are texts, noise, machine code and what is between.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 70_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	var text, mixed bytes.Buffer
	for i := 0; text.Len() < 60_000; i++ {
		fmt.Fprintf(&text, "line %d of the text, which says %d\n", i, rng.IntN(1000))
		mixed.WriteString(fmt.Sprint(i * i))
		mixed.Write(noise[rng.IntN(1000):][:rng.IntN(50)])
	}
	code, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	// Calls that are close together, with targets near and far, are what the
	// filter for x86 has its exceptions for.
	calls := make([]byte, 50_000)
	for i := range calls {
		calls[i] = []byte{0xE8, 0xE9, 0x00, 0xFF, 0x01, 0xEB, 0xF0, 0xF8, 0x40, 0x7F, 0x48}[rng.IntN(11)]
	}
	return map[string][]byte{
		"one": {'x'}, "zeros": make([]byte, 300_000), "noise": noise, "text": text.Bytes(), "mixed": mixed.Bytes(),
		"code": code[len(code)/4:][:200_000], "calls": calls, "odd": calls[:4097],
	}
}

// Everything that xz makes is what it was.
func TestXZ(t *testing.T) {
	all := samples(t)
	for name, data := range all {
		for _, args := range [][]string{
			{"-0"}, {"-6"}, {"-9e", "--check=crc64"}, {"--check=none"}, {"--check=sha256"},
			{"--lzma2=lc=0,lp=4,pb=4"}, {"--lzma2=lc=4,lp=0,pb=0,dict=4KiB"}, {"--lzma2=preset=1,nice=4,mf=hc3,mode=fast"},
			{"--x86", "--lzma2"}, {"--arm", "--lzma2"}, {"--armthumb", "--lzma2"}, {"--powerpc", "--lzma2"}, {"--sparc", "--lzma2"},
			{"--x86", "--arm", "--lzma2"},
		} {
			packed := pack(t, data, args...)
			dst := make([]byte, len(data))
			n, err := XZ(dst, packed)
			require.NoError(t, err, "%s %v", name, args)
			require.True(t, n == len(data) && bytes.Equal(data, dst), "%s %v", name, args)
		}
	}
}

// So is every stream of the old form, whether it tells its length or not.
func TestAlone(t *testing.T) {
	for name, data := range samples(t) {
		for _, args := range [][]string{{"-0"}, {"-6"}, {"-9e"}, {"--lzma1=lc=0,lp=4,pb=4"}, {"--lzma1=lc=4,lp=0,pb=0"}} {
			packed := pack(t, data, append(args, "--format=lzma")...)
			dst := make([]byte, len(data)+1)
			n, err := Alone(dst, packed)
			require.NoError(t, err, "%s %v", name, args)
			require.True(t, bytes.Equal(data, dst[:n]), "%s %v", name, args)
			n, err = Alone(dst[:len(data)], packed)
			require.NoError(t, err, "%s %v, with no room to spare", name, args)
			require.Equal(t, len(data), n)
		}
		var told bytes.Buffer
		w, err := foreign.WriterConfig{Size: int64(len(data)), DictCap: 1 << 20}.NewWriter(&told)
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		dst := make([]byte, len(data))
		n, err := Alone(dst, told.Bytes())
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(data, dst[:n]), name)
	}
}

func TestDamage(t *testing.T) {
	data := samples(t)["mixed"][:20_000]
	packed := pack(t, data, "--check=crc32")
	dst := make([]byte, len(data))
	for n := 0; n < len(packed)-32; n += 7 { // index and footer are not needed
		_, err := XZ(dst, packed[:n])
		require.Error(t, err, "%d of %d bytes", n, len(packed))
	}
	for i := 0; i < len(packed)-32; i += 3 {
		damaged := bytes.Clone(packed)
		damaged[i] ^= 0x04
		if i == 7 { // the kind of the check
			continue
		}
		_, err := XZ(dst, damaged)
		require.Error(t, err, "byte %d", i)
	}
	_, err := XZ(dst[:len(dst)-1], packed)
	assert.Error(t, err, "too little room")
	alone := pack(t, data, "--format=lzma")
	_, err = Alone(dst[:len(dst)-1], alone)
	assert.Error(t, err, "too little room")
	for n := 0; n < len(alone)-6; n += 7 {
		_, err := Alone(dst, alone[:n])
		require.Error(t, err, "%d of %d bytes", n, len(alone))
	}
}

func TestFiltersThatAreMissing(t *testing.T) {
	for arg, want := range map[string]string{"--ia64": "xz filter IA-64 BCJ", "--delta": "xz filter delta", "--x86=start=4096": "xz filter with a start offset"} {
		_, err := XZ(make([]byte, 100), pack(t, []byte("data"), arg, "--lzma2"))
		var unsupported *vfs.NotSupportedError
		require.ErrorAs(t, err, &unsupported)
		assert.Equal(t, want, unsupported.What)
	}
}

// FuzzAgainstLibrary compares what we make of arbitrary bytes with what another
// decoder does.
func FuzzAgainstLibrary(f *testing.F) {
	text := samples(f)["mixed"][:3000]
	f.Add(false, pack(f, text))
	f.Add(false, pack(f, text, "--lzma2=lc=0,lp=4,pb=4"))
	f.Add(true, pack(f, text, "--format=lzma"))
	f.Add(true, pack(f, []byte("short"), "--format=lzma"))
	f.Fuzz(func(t *testing.T, alone bool, src []byte) {
		const room = 8192
		dst := make([]byte, room)
		var (
			n   int
			err error
			r   io.Reader
			bad error
		)
		if alone {
			// What a header may say of its dictionary is not for us to allocate.
			if len(src) > AloneHeader && (src[3] > 16 || src[4] > 0) {
				return
			}
			n, err = Alone(dst, src)
			r, bad = foreign.NewReader(bytes.NewReader(src))
		} else {
			n, err = XZ(dst, src)
			r, bad = xz.ReaderConfig{SingleStream: true}.NewReader(bytes.NewReader(src))
		}
		if bad != nil {
			return
		}
		want, bad := io.ReadAll(io.LimitReader(r, room+1))
		if bad == nil && len(want) <= room && !bytes.Equal(want, dst[:n]) {
			t.Fatalf("%d bytes (%v) instead of %d", n, err, len(want))
		}
		if bad == nil && len(want) > room && err == nil && alone {
			t.Fatal("did not see that there is more")
		}
	})
}

func BenchmarkXZ(b *testing.B) {
	for name, data := range samples(b) {
		packed := pack(b, data)
		dst := make([]byte, len(data))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := XZ(dst, packed); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/library", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, err := xz.NewReader(bytes.NewReader(packed))
				require.NoError(b, err)
				_, err = io.ReadFull(r, dst)
				require.NoError(b, err)
			}
		})
	}
}
