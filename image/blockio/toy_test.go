package blockio_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/resflash/resflash/image/blockio"
)

// toyFS is the smallest driver that obeys the rules of a transaction: a table
// of files, each of which has one block of contents and an entry that is larger
// than a sector, so that it can be torn. It keeps the table in memory, and
// writes it when it is frozen.
type toyFS struct {
	mu    sync.Mutex
	tx    blockio.Transaction
	files [toyFiles]toyFile
	free  []int64 // blocks that were free in the last commit
	freed []int64 // not to be used before the next
	dirty map[int]bool
	// freezeErr makes Freeze fail.
	freezeErr error
}

type toyFile struct {
	block   int64  // 0: no file
	version uint64 // what the contents are made from
	loose   bool   // the contents were overwritten in place
	young   bool   // the block was free in the last commit
}

const (
	toyFiles  = 24
	toyEntry  = 1536 // three sectors
	toyBlock  = 2048
	toyStart  = 40960 // of the blocks
	toyBlocks = 64
	toySize   = toyStart + toyBlocks*toyBlock + 300 // an odd end
)

func newToy(tx blockio.Transaction) *toyFS {
	fs := &toyFS{tx: tx, dirty: map[int]bool{}}
	for b := range int64(toyBlocks) {
		fs.free = append(fs.free, b+1)
	}
	return fs
}

func toyContents(file int, version uint64) []byte {
	p := make([]byte, toyBlock)
	rnd := rand.New(rand.NewPCG(uint64(file), version))
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rnd.Uint64())
	}
	return p
}

// step does something at random.
func (fs *toyFS) step(rnd *rand.Rand) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	i := rnd.IntN(toyFiles)
	f := &fs.files[i]
	switch {
	case f.block != 0 && rnd.IntN(4) == 0:
		fs.release(*f, rnd)
		*f = toyFile{}
		fs.dirty[i] = true
	case f.block != 0 && rnd.IntN(3) == 0: // in place; the entry stays
		off := 512 * rnd.IntN(3)
		p := toyContents(i, rnd.Uint64())[off : off+512+rnd.IntN(500)]
		f.loose = true
		return fs.tx.WriteData(p, toyStart+(f.block-1)*toyBlock+int64(off), false)
	default:
		if len(fs.free) == 0 {
			return nil
		}
		n := rnd.IntN(len(fs.free))
		block := fs.free[n]
		fs.free = slices.Delete(fs.free, n, n+1)
		if f.block != 0 {
			fs.release(*f, rnd)
		}
		*f = toyFile{block: block, version: rnd.Uint64(), young: true}
		fs.dirty[i] = true
		if rnd.IntN(3) == 0 { // as a directory would
			_, err := fs.tx.WriteAt(toyContents(i, f.version), toyStart+(block-1)*toyBlock)
			return err
		}
		return fs.tx.WriteData(toyContents(i, f.version), toyStart+(block-1)*toyBlock, true)
	}
	return nil
}

// release frees the block of a file. One that was free in the last commit may be
// used again at once.
func (fs *toyFS) release(f toyFile, rnd *rand.Rand) {
	if f.young && rnd.IntN(2) == 0 {
		fs.free = append(fs.free, f.block)
	} else {
		fs.freed = append(fs.freed, f.block)
	}
}

func toyEncode(i int, f toyFile) []byte {
	p := bytes.Repeat([]byte{byte(f.version), byte(f.block)}, toyEntry/2)
	binary.LittleEndian.PutUint64(p, uint64(f.block))
	binary.LittleEndian.PutUint64(p[8:], f.version)
	return p
}

func (fs *toyFS) Freeze(context.Context) error {
	fs.mu.Lock()
	if fs.freezeErr != nil {
		return fs.freezeErr
	}
	for i := range fs.files {
		if !fs.dirty[i] {
			continue
		}
		if _, err := fs.tx.WriteAt(toyEncode(i, fs.files[i]), 100+int64(i)*toyEntry); err != nil {
			return err
		}
		delete(fs.dirty, i)
	}
	return nil
}

func (fs *toyFS) Thaw(committed bool) {
	if committed {
		fs.free = append(fs.free, fs.freed...)
		fs.freed = nil
		for i := range fs.files {
			fs.files[i].young = false
		}
	}
	fs.mu.Unlock()
}

// A toyState is what a commit holds.
type toyState [toyFiles]toyFile

func (fs *toyFS) state() toyState {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.files
}

// readToy reads what is on a device, and whether it hangs together.
func readToy(dev blockio.Device) (toyState, error) {
	var st toyState
	seen := map[int64]int{}
	for i := range st {
		p := make([]byte, toyEntry)
		if _, err := dev.ReadAt(p, 100+int64(i)*toyEntry); err != nil {
			return st, err
		}
		f := toyFile{block: int64(binary.LittleEndian.Uint64(p)), version: binary.LittleEndian.Uint64(p[8:])}
		if !bytes.Equal(p, make([]byte, toyEntry)) && !bytes.Equal(p, toyEncode(i, f)) {
			return st, fmt.Errorf("entry %d is torn", i)
		}
		st[i] = f
		if f.block == 0 {
			continue
		}
		if other, ok := seen[f.block]; ok {
			return st, fmt.Errorf("files %d and %d share block %d", other, i, f.block)
		}
		seen[f.block] = i
	}
	return st, nil
}

// sameToy compares a device with a commit. Contents that have been overwritten
// in place since then, or before, are not compared, unless strict.
func sameToy(dev blockio.Device, want toyState, loose func(file int) bool) error {
	got, err := readToy(dev)
	if err != nil {
		return err
	}
	for i, w := range want {
		if got[i].block != w.block || got[i].version != w.version {
			return fmt.Errorf("file %d: block %d, want %d", i, got[i].block, w.block)
		}
		if w.block == 0 || w.loose || loose(i) {
			continue
		}
		p := make([]byte, toyBlock)
		if _, err := dev.ReadAt(p, toyStart+(w.block-1)*toyBlock); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(p, toyContents(i, w.version)) {
			return fmt.Errorf("file %d: other contents", i)
		}
	}
	return nil
}
