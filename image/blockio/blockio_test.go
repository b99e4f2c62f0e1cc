package blockio_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
)

func pattern(n int) []byte {
	p := make([]byte, n)
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

// sparse makes a file of 8 MiB with one page of data at 4 MiB.
func sparse(t *testing.T) (name string, data []byte) {
	name = filepath.Join(t.TempDir(), "sparse.img")
	data = pattern(4096)
	f, err := os.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 4<<20)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(8<<20))
	require.NoError(t, f.Close())
	return name, data
}

func TestFileReadsByTheRulesOfReaderAt(t *testing.T) {
	name, data := sparse(t)
	f, err := blockio.OpenFile(name)
	require.NoError(t, err)
	defer f.Close()
	assert.Equal(t, int64(8<<20), f.Size())
	assert.Equal(t, 512, f.SectorSize())
	assert.Equal(t, 4096, f.WithSectorSize(4096).SectorSize())

	p := make([]byte, 4096)
	n, err := f.ReadAt(p, 4<<20)
	require.NoError(t, err)
	assert.Equal(t, data, p[:n])
	for _, c := range []struct {
		off int64
		n   int
		err error
	}{{8<<20 - 10, 10, io.EOF}, {8 << 20, 0, io.EOF}, {1 << 62, 0, io.EOF}} {
		n, err := f.ReadAt(p, c.off)
		assert.Equal(t, c.n, n)
		assert.Equal(t, c.err, err)
	}
	_, err = f.ReadAt(p, -1)
	var re *blockio.RangeError
	assert.ErrorAs(t, err, &re)
}

func TestFileFindsHoles(t *testing.T) {
	name, _ := sparse(t)
	f, err := blockio.OpenFile(name)
	require.NoError(t, err)
	defer f.Close()
	at, err := f.SeekData(0)
	require.NoError(t, err)
	if at == 0 {
		t.Skip("the host's file system keeps no holes")
	}
	assert.Equal(t, int64(4<<20), at)
	at, err = f.SeekHole(4 << 20)
	require.NoError(t, err)
	assert.Equal(t, int64(4<<20+4096), at)
	_, err = f.SeekData(5 << 20)
	assert.Equal(t, io.EOF, err)

	s, err := blockio.NewSection(f, 1<<20, 3<<20)
	require.NoError(t, err)
	_, err = s.SeekData(0)
	assert.Equal(t, io.EOF, err, "the data lies behind the section")
	s, err = blockio.NewSection(f, 1<<20, 4<<20)
	require.NoError(t, err)
	at, err = s.SeekData(0)
	require.NoError(t, err)
	assert.Equal(t, int64(3<<20), at)
}

func TestOpenRefusesWhatIsNoImage(t *testing.T) {
	dir := t.TempDir()
	_, err := blockio.OpenFile(dir)
	assert.ErrorIs(t, err, syscall.EISDIR)
	_, err = blockio.OpenFile(filepath.Join(dir, "missing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = blockio.OpenFile("/dev/null")
	assert.ErrorContains(t, err, "neither a regular file nor a block device")
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = blockio.OpenFile(fifo)
	assert.ErrorContains(t, err, "neither a regular file nor a block device", "and does not wait for a writer")
}

func TestSectionStaysInside(t *testing.T) {
	data := pattern(1000)
	m := blockio.NewMemory(data)
	s, err := blockio.NewSection(m, 100, 200)
	require.NoError(t, err)
	p := make([]byte, 300)
	n, err := s.ReadAt(p, 0)
	assert.Equal(t, 200, n)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, data[100:300], p[:n])

	inner, err := blockio.NewSection(s, 50, 50)
	require.NoError(t, err)
	assert.Equal(t, int64(150), inner.Offset())
	n, err = inner.ReadAt(p, 40)
	assert.Equal(t, 10, n)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, data[190:200], p[:n])

	for _, c := range [][2]int64{{-1, 10}, {10, -1}, {0, 1001}, {1001, 0}, {1 << 62, 1 << 62}, {999, 2}} {
		_, err := blockio.NewSection(m, c[0], c[1])
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "%v", c)
	}
}

func TestReadFullNeverAllocatesMoreThanTheDevice(t *testing.T) {
	m := blockio.NewMemory(make([]byte, 100))
	_, err := blockio.ReadFull(m, 0, 1<<40)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	p, err := blockio.ReadFull(m, 90, 10)
	require.NoError(t, err)
	assert.Len(t, p, 10)
}

func TestCacheAgreesWithTheDevice(t *testing.T) {
	data := pattern(100_003)
	c := blockio.NewCache(blockio.NewMemory(data), 1024, 16<<10)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		off, n := rnd.IntN(len(data)), rnd.IntN(3000)
		n = min(n, len(data)-off)
		got, err := c.Bytes(int64(off), n)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[off:off+n], got), "%d bytes at %d", n, off)
		p := make([]byte, n)
		_, err = c.ReadAt(p, int64(off))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[off:off+n], p))
	}
	_, err := c.Bytes(100_000, 4)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	n, err := c.ReadAt(make([]byte, 10), 100_000)
	assert.Equal(t, 3, n)
	assert.Equal(t, io.EOF, err)
}

func TestCacheReadsAPageOnceForManyGoroutines(t *testing.T) {
	f := blockio.NewFaults(blockio.NewMemory(pattern(1 << 20)))
	var reads atomic.Int64
	f.OnRead(func(int, []byte, int64) error { reads.Add(1); return nil })
	c := blockio.NewCache(f, 4096, 4<<20)
	var wg sync.WaitGroup
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for page := range int64(256) {
				_, err := c.Bytes(page*4096, 4096)
				assert.NoError(t, err)
			}
		}()
	}
	wg.Wait()
	assert.Equal(t, int64(256), reads.Load())
}

func TestCacheTriesAgainAfterAFailedRead(t *testing.T) {
	f := blockio.NewFaults(blockio.NewMemory(pattern(8192)))
	bad := errors.New("bad sector")
	f.FailRange(5000, 1, bad)
	c := blockio.NewCache(f, 4096, 1<<20)
	_, err := c.Bytes(0, 100)
	require.NoError(t, err)
	_, err = c.Bytes(4096, 100)
	require.ErrorIs(t, err, bad)
	f.OnRead(nil)
	_, err = c.Bytes(4096, 100)
	require.NoError(t, err)
}

func TestFaultsTearAWrite(t *testing.T) {
	data := make([]byte, 1024)
	f := blockio.NewFaults(blockio.NewMemory(data))
	f.OnWrite(func(n int, p []byte, off int64) (int, error) {
		if n == 2 {
			return 100, syscall.EIO
		}
		return len(p), nil
	})
	full := bytes.Repeat([]byte{1}, 512)
	_, err := f.WriteAt(full, 0)
	require.NoError(t, err)
	n, err := f.WriteAt(full, 512)
	assert.Equal(t, 100, n)
	assert.ErrorIs(t, err, syscall.EIO)
	assert.Equal(t, 612, bytes.Count(data, []byte{1}))
}

func TestSecondWriterIsRefused(t *testing.T) {
	name, _ := sparse(t)
	first, err := blockio.LockFile(name)
	require.NoError(t, err)
	_, err = blockio.LockFile(name)
	assert.ErrorIs(t, err, blockio.ErrLocked)
	r, err := blockio.OpenFile(name)
	require.NoError(t, err, "readers need no lock")
	r.Close()
	require.NoError(t, first.Unlock())
	second, err := blockio.LockFile(name)
	require.NoError(t, err)
	require.NoError(t, second.Unlock())
}
