package fsck

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// sound asks of any bytes that checking them ends, and that a repair ends in a
// sound volume or in an error that says what is wrong.
func sound(t *testing.T, data []byte) {
	start := time.Now()
	img := &image{t, data}
	_, err := img.check()
	if _, rerr := img.repair(vfs.RepairAll); rerr != nil {
		requireClear(t, rerr)
		return
	}
	require.NoError(t, err, "what can be repaired can be checked")
	left, err := img.check()
	require.NoError(t, err)
	require.Empty(t, tell(left))
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// fuzzImages are the smallest volumes of FAT12 and FAT16 with files of all kinds.
func fuzzImages(t testing.TB) (list [][]byte) {
	for _, k := range kinds[:2] {
		list = append(list, newImage(t, k).data)
	}
	return list
}

// Bytes changed anywhere.
func TestRandomBytes(t *testing.T) {
	for _, healthy := range fuzzImages(t) {
		r := rand.New(rand.NewPCG(1, 9))
		for range 60 {
			data := bytes.Clone(healthy)
			for range 1 + r.IntN(200) {
				at := r.IntN(len(data))
				if r.IntN(2) == 0 {
					at = r.IntN(min(len(data), 100<<10)) // where the tables are
				}
				data[at] = byte(r.Uint32())
			}
			sound(t, data)
		}
	}
}

// FuzzCheckRepair writes the bytes of the input into a small volume: 3 of an
// offset, one of a length, and so many.
func FuzzCheckRepair(f *testing.F) {
	images := fuzzImages(f)
	for _, off := range []int{11, 13, 14, 16, 17, 19, 22, 512, 515, 600, 3072, 3600, 4096} {
		f.Add(false, []byte{byte(off >> 16), byte(off >> 8), byte(off), 2, 0, 7})
		f.Add(true, []byte{byte(off >> 16), byte(off >> 8), byte(off), 4, 0xff, 0xff, 1, 0})
	}
	f.Fuzz(func(t *testing.T, second bool, input []byte) {
		n := 0
		if second {
			n = 1
		}
		data := bytes.Clone(images[n])
		for len(input) > 4 {
			off := (int(input[0])<<16 | int(input[1])<<8 | int(input[2])) % len(data)
			size := min(int(input[3]), len(input)-4)
			copy(data[off:], input[4:4+size])
			input = input[4+size:]
		}
		sound(t, data)
	})
}

// A device that is too short, or holds nothing, is an error.
func TestNoVolume(t *testing.T) {
	for _, data := range [][]byte{nil, make([]byte, 100), make([]byte, 512), make([]byte, 1<<20), bytes.Repeat([]byte{0xff}, 1<<20)} {
		err := Check(ctx, blockio.NewMemory(data), nil)
		require.Error(t, err)
		requireClear(t, err)
	}
}
