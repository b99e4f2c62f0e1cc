package fat_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// fuzzBase makes a small volume with something in it.
func fuzzBase(t testing.TB, bits int) []byte {
	args := map[int][]string{
		12: {"-F", "12", "-s", "1", "-r", "64"}, 16: {"-F", "16", "-s", "1", "-r", "64"}, 32: {"-F", "32", "-s", "1"},
	}[bits]
	mem := inMemory(t, format(t, map[int]int{12: 128, 16: 2400, 32: 300}[bits], args...))
	w := openWriter(t, mem, blockio.SessionOptions{})
	dir := mustCreate(t, w, w.Root(), "directory", vfs.Dir)
	for i := range 6 {
		for _, d := range []vfs.Ino{w.Root(), dir} {
			mustWrite(t, w, mustCreate(t, w, d, fmt.Sprint("file number ", i), vfs.Regular|0o644), make([]byte, 700*i), 0)
		}
	}
	mustCreate(t, w, dir, "sub", vfs.Dir)
	require.NoError(t, w.Sync(ctx))
	return imageBytes(t, mem)
}

// workAnyhow does whatever comes to a volume that may be damaged. It must
// neither panic nor go on for ever, and nothing outside of the volume exists.
func workAnyhow(data []byte, seed uint64, steps int) {
	fsys, err := fat.OpenWritable(ctx, blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{}))
	if err != nil {
		return
	}
	w := fsys.(*fat.Writer)
	defer w.Close()
	rnd := rand.New(rand.NewPCG(seed, 1))
	inos := []vfs.Ino{w.Root()}
	names := []string{"new", "NEW", "file number 3", "FILENU~1", "sub", "directory", "..", strings.Repeat("n", 100)}
	list := func(dir vfs.Ino) {
		for e, err := range w.ReadDir(ctx, dir, 0) {
			if err != nil || len(inos) > 200 {
				break
			}
			inos = append(inos, e.Ino)
			names = append(names, e.Name)
		}
	}
	list(w.Root())
	for range steps {
		ino, dir, to := inos[rnd.IntN(len(inos))], inos[rnd.IntN(len(inos))], inos[rnd.IntN(len(inos))]
		name, other := names[rnd.IntN(len(names))], names[rnd.IntN(len(names))]
		size := rnd.Int64N(5000)
		switch rnd.IntN(10) {
		case 0:
			list(dir)
		case 1:
			_, _ = w.WriteAt(ctx, ino, make([]byte, size), rnd.Int64N(3000))
		case 2:
			_, _ = w.Setattr(ctx, ino, vfs.SetAttr{Size: &size})
		case 3:
			_ = w.Unlink(ctx, dir, name)
		case 4:
			_ = w.Rmdir(ctx, dir, name)
		case 5:
			_ = w.Rename(ctx, dir, name, to, other, vfs.RenameFlags(rnd.IntN(3)))
		case 6, 7:
			mode := vfs.Regular
			if rnd.IntN(3) == 0 {
				mode = vfs.Dir
			}
			if attr, err := w.Create(ctx, dir, name, vfs.NewNode{Mode: mode | 0o644}); err == nil {
				inos = append(inos, attr.Ino)
			}
		case 8:
			w.Pin(ino)
		case 9:
			_ = w.Unpin(ctx, ino)
			_ = w.Sync(ctx)
		}
	}
}

// FuzzWrite changes bytes anywhere in a small volume and then works on it. The
// input is a list of changes, 4 bytes each (offset and value).
func FuzzWrite(f *testing.F) {
	var bases [][]byte
	for i, bits := range []int{12, 16, 32} {
		bases = append(bases, fuzzBase(f, bits))
		f.Add(uint8(i), uint64(1), []byte{})
		f.Add(uint8(i), uint64(2), []byte{0x40, 0x02, 0, 0x07})
	}
	f.Fuzz(func(_ *testing.T, which uint8, seed uint64, changes []byte) {
		data := bytes.Clone(bases[int(which)%len(bases)])
		for ; len(changes) >= 4; changes = changes[4:] {
			data[(int(changes[0])|int(changes[1])<<8|int(changes[2])<<16)%len(data)] = changes[3]
		}
		workAnyhow(data, seed, 60)
	})
}

// Volumes with random damage in their tables and directories.
func TestWorkOnDamage(t *testing.T) {
	testtool.Sequential(t)
	for _, bits := range []int{12, 16, 32} {
		base := fuzzBase(t, bits)
		rnd := rand.New(rand.NewPCG(uint64(bits), 2))
		// The tables and directories are at the beginning; both copies of the
		// table are changed alike, for otherwise nothing is opened.
		boot := int(base[14]) | int(base[15])<<8
		table := int(base[22]) | int(base[23])<<8
		if bits == 32 {
			table = int(base[36]) | int(base[37])<<8
		}
		for range 1500 {
			data := bytes.Clone(base)
			for range 1 + rnd.IntN(4) {
				at, v := rnd.IntN(40), byte(rnd.Uint32())
				if rnd.IntN(2) == 0 {
					v &= 0x1f
				}
				if rnd.IntN(2) == 0 {
					for i := range 2 {
						data[512*(boot+i*table)+4+at*int(bits)/8] = v
					}
				} else {
					data[512*(boot+2*table)+rnd.IntN(8192)] = v
				}
			}
			workAnyhow(data, rnd.Uint64(), 60)
		}
	}
}
