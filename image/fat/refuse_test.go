package fat_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// What is not to be written to is refused, with the reason.
func TestRefused(t *testing.T) {
	type damage struct {
		name string
		do   func(p []byte)
		off  int64 // of a *vfs.CorruptError; -1: a *vfs.DirtyError
	}
	le := binary.LittleEndian
	for bits, list := range map[int][]damage{
		12: {
			{"dirty", func(p []byte) { p[0x25] = 1 }, -1},
			{"tables differ", func(p []byte) { p[512+30] ^= 1 }, 512 + int64(512*6) + 30},
		},
		16: {
			{"dirty", func(p []byte) { p[0x25] = 1 }, -1},
			{"not clean in the table", func(p []byte) { p[2048+3] &^= 0x80 }, -1},
			{"errors in the table", func(p []byte) { p[2048+3] &^= 0x40 }, -1},
		},
		32: {
			{"dirty", func(p []byte) { p[0x41] = 1 }, -1},
			{"not clean in the table", func(p []byte) { p[32*512+7] &^= 0x08 }, -1},
			{"chains that meet", func(p []byte) {
				size := int(le.Uint32(p[0x24:])) * 512
				for _, at := range []int{32 * 512, 32*512 + size} {
					le.PutUint32(p[at+4*100:], 300)
					le.PutUint32(p[at+4*200:], 300)
					le.PutUint32(p[at+4*300:], 0x0fffffff)
				}
			}, 32*512 + 4*200},
		},
	} {
		for _, c := range list {
			t.Run(fmt.Sprint(bits, " ", c.name), func(t *testing.T) {
				args := []string{"-F", fmt.Sprint(bits), "-s", map[int]string{12: "1", 16: "4", 32: "1"}[bits]}
				p := imageBytes(t, inMemory(t, format(t, map[int]int{12: 1 << 10, 16: 16 << 10, 32: 34 << 10}[bits], args...)))
				c.do(p)
				_, err := fat.Open(ctx, blockio.NewMemory(bytes.Clone(p)))
				require.NoError(t, err, "it can be read")
				mem := blockio.NewMemory(bytes.Clone(p))
				_, err = fat.OpenWritable(ctx, blockio.NewSession(mem, blockio.SessionOptions{}))
				var dirty *vfs.DirtyError
				var corrupt *vfs.CorruptError
				if c.off < 0 {
					require.ErrorAs(t, err, &dirty)
				} else {
					require.ErrorAs(t, err, &corrupt)
					if c.name != "tables differ" {
						assert.Equal(t, c.off, corrupt.Off)
					}
				}
				assert.Equal(t, p, imageBytes(t, mem))
			})
		}
	}
}

// A device that ends before the volume does cannot be written to.
func TestRefusedShortDevice(t *testing.T) {
	p := imageBytes(t, inMemory(t, format(t, 4<<10, "-F", "12")))
	_, err := fat.OpenWritable(ctx, blockio.NewSession(blockio.NewMemory(p[:3<<20]), blockio.SessionOptions{}))
	var corrupt *vfs.CorruptError
	require.True(t, errors.As(err, &corrupt), "%v", err)
}

// Only the active table of a FAT32 is written where the others are not kept.
func TestNoMirroring(t *testing.T) {
	p := imageBytes(t, inMemory(t, format(t, 34<<10, "-F", "32", "-s", "1")))
	size := int(binary.LittleEndian.Uint32(p[0x24:])) * 512
	p[0x28] = 0x81 // the second is active
	mem := blockio.NewMemory(p)
	first := bytes.Clone(p[32*512 : 32*512+size])
	w := openWriter(t, mem, blockio.SessionOptions{})
	ino := mustCreate(t, w, w.Root(), "file", vfs.Regular|0o644)
	mustWrite(t, w, ino, make([]byte, 100_000), 0)
	require.NoError(t, w.Sync(ctx))
	require.NoError(t, w.Audit())
	now := imageBytes(t, mem)
	assert.Equal(t, first, now[32*512:32*512+size], "the stale table")
	assert.NotEqual(t, first, now[32*512+size:32*512+2*size])
}

// The four bits of FAT32 entries that are reserved stay what they are.
func TestReservedBits(t *testing.T) {
	p := imageBytes(t, inMemory(t, format(t, 34<<10, "-F", "32", "-s", "1")))
	size := int(binary.LittleEndian.Uint32(p[0x24:])) * 512
	for at := 32 * 512; at < 32*512+2*size; at += 4 {
		p[at+3] |= 0xa0
	}
	mem := blockio.NewMemory(p)
	w := openWriter(t, mem, blockio.SessionOptions{})
	for i := range 3 {
		ino := mustCreate(t, w, w.Root(), fmt.Sprint("file", i), vfs.Regular|0o644)
		mustWrite(t, w, ino, make([]byte, 100_000), 0)
	}
	require.NoError(t, w.Unlink(ctx, w.Root(), "file1"))
	require.NoError(t, w.Sync(ctx))
	now := imageBytes(t, mem)
	for at := 32 * 512; at < 32*512+2*size; at += 4 {
		require.Equal(t, byte(0xa0), now[at+3]&0xf0, "byte %d", at+3)
	}
}

// What is met of damage on the way is an error, and nothing is written.
func TestDamageOnTheWay(t *testing.T) {
	testtool.Sequential(t)
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		damage func(w *fat.Writer, table []byte, first, second uint32)
		do     func(w *fat.Writer, ino vfs.Ino) error
	}{
		"a loop": {
			func(_ *fat.Writer, table []byte, first, _ uint32) { le.PutUint32(table[4*(first+2):], first) },
			func(w *fat.Writer, _ vfs.Ino) error { return w.Unlink(ctx, w.Root(), "first") },
		},
		"a chain into free clusters": {
			func(_ *fat.Writer, table []byte, first, _ uint32) { le.PutUint32(table[4*(first+2):], 9000) },
			func(w *fat.Writer, _ vfs.Ino) error { return w.Unlink(ctx, w.Root(), "first") },
		},
		"a chain that leads nowhere": {
			func(_ *fat.Writer, table []byte, first, _ uint32) { le.PutUint32(table[4*(first+2):], 0x0fffff00) },
			func(w *fat.Writer, ino vfs.Ino) error {
				_, err := w.WriteAt(ctx, ino, make([]byte, 10_000), 4000)
				return err
			},
		},
		"a chain that is too short": {
			func(_ *fat.Writer, table []byte, first, _ uint32) { le.PutUint32(table[4*(first+2):], 0x0fffffff) },
			func(w *fat.Writer, ino vfs.Ino) error {
				_, err := w.WriteAt(ctx, ino, make([]byte, 10_000), 4000)
				return err
			},
		},
		"a start in another chain": {
			func(_ *fat.Writer, table []byte, first, second uint32) {
				le.PutUint32(table[4*(second-1):], second)
			},
			func(w *fat.Writer, _ vfs.Ino) error { return w.Unlink(ctx, w.Root(), "second") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := imageBytes(t, inMemory(t, format(t, 34<<10, "-F", "32", "-s", "1")))
			mem := blockio.NewMemory(p)
			w := openWriter(t, mem, blockio.SessionOptions{})
			for _, name := range []string{"first", "second"} {
				mustWrite(t, w, mustCreate(t, w, w.Root(), name, vfs.Regular|0o644), make([]byte, 4096), 0)
			}
			require.NoError(t, w.Sync(ctx))
			p = imageBytes(t, mem)
			size := int(le.Uint32(p[0x24:])) * 512
			first := startOf(t, p, "FIRST      ")
			second := startOf(t, p, "SECOND     ")
			for _, at := range []int{32 * 512, 32*512 + size} {
				c.damage(w, p[at:], first, second)
			}
			mem = blockio.NewMemory(bytes.Clone(p))
			w = openWriter(t, mem, blockio.SessionOptions{})
			attr, err := w.Lookup(ctx, w.Root(), "first")
			require.NoError(t, err)
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, c.do(w, attr.Ino), &corrupt)
			require.NoError(t, w.Sync(ctx))
			assert.True(t, bytes.Equal(p, imageBytes(t, mem)), "something was written")
		})
	}
}

// startOf is the first cluster of a file, by its short name.
func startOf(t *testing.T, p []byte, name string) uint32 {
	t.Helper()
	at := bytes.Index(p, []byte(name))
	require.Positive(t, at)
	return uint32(p[at+26]) | uint32(p[at+27])<<8 | uint32(p[at+20])<<16
}
