package fsck

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
)

// fuzzKinds are the file systems that the fuzzer damages: the smallest that have
// everything.
var fuzzKinds = []kind{{1, 4096, 512, 400 << 10}, {2, 4096, 1024, 800 << 10}}

// fuzzTree is a few files of every kind.
func fuzzTree(k kind) testimage.Tree {
	t := testimage.Tree{}
	t.File("a/one", 0o644, make([]byte, 1))
	t.File("a/tail", 0o644, make([]byte, k.bsize+1))
	t.File("a/indirect", 0o644, make([]byte, 14*k.bsize))
	t.Symlink("a/short", "x")
	t.Symlink("long", strings.Repeat("t", 128))
	t.Link("hard", "a/one")
	t.Device("dev", testimage.ModeChar, 0o600, 0, 1, 2)
	t.Dir("a/b/c", 0o755)
	return t
}

// FuzzCheckRepair writes the bytes of the input into a small file system: 3 of
// an offset, one of a length, and so many. Whatever that makes, checking ends,
// and a repair ends in a sound file system or an error.
func FuzzCheckRepair(f *testing.F) {
	var images [2][]byte
	for i, k := range fuzzKinds {
		img := newImage(f, k, fuzzTree(k))
		require.Empty(f, tell(img.check()))
		images[i] = img.data
		s, _, err := findSuper(ctx, blockio.NewMemory(img.data))
		require.NoError(f, err)
		at := func(off int64, b ...byte) []byte {
			return append([]byte{byte(off >> 16), byte(off >> 8), byte(off), byte(len(b))}, b...)
		}
		f.Add(i == 1, at(s.at+1372, 0, 0))
		f.Add(i == 1, at(s.at+48, 1, 2, 3, 4))
		f.Add(i == 1, at((s.geo.start(1)+s.geo.cblkno)<<s.geo.fshift+4, 0))
		f.Add(i == 1, at((s.geo.start(1)+s.geo.cblkno)<<s.geo.fshift+120, 0xff, 0xff))
		for ino := range uint32(12) {
			for _, off := range []int64{0, 2, 8, 16, 40, 44, 88, 104, 112, 120, 208} {
				f.Add(i == 1, at(s.geo.inodeOff(2+ino)+off, byte(ino), 0x47, 0x12))
			}
		}
	}
	f.Fuzz(func(t *testing.T, second bool, input []byte) {
		n := 0
		if second {
			n = 1
		}
		data := append([]byte(nil), images[n]...)
		for len(input) > 4 {
			off := (int(input[0])<<16 | int(input[1])<<8 | int(input[2])) % len(data)
			size := min(int(input[3]), len(input)-4)
			copy(data[off:], input[4:4+size])
			input = input[4+size:]
		}
		start := time.Now()
		err := Check(ctx, blockio.NewMemory(data), func(vfs.Finding) {})
		tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{})
		if rerr := Repair(ctx, tx, vfs.RepairAll, func(vfs.Finding) {}); rerr != nil {
			requireClear(t, rerr)
			return
		}
		require.NoError(t, err, "what can be repaired can be checked")
		require.NoError(t, tx.Commit(ctx))
		img := &image{t: t, data: data}
		require.Empty(t, tell(img.check()))
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// requireClear asks of an error that it says what is wrong.
func requireClear(t *testing.T, err error) {
	var corrupt *vfs.CorruptError
	var no *vfs.NotSupportedError
	if !errors.As(err, &corrupt) && !errors.As(err, &no) && !errors.Is(err, errNoSpace) {
		t.Fatalf("unclear error: %v", err)
	}
}
