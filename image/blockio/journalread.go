package blockio

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// A redo is a complete journal: a commit that has happened, but may not have
// reached its place in the image, or not all of it.
type redo struct {
	name   string
	file   JournalFile
	header journalHeader
	set    sectorSet // spilled to file
}

// ErrForeignJournal reports a complete journal that does not belong to the image
// it lies beside.
var ErrForeignJournal = errors.New("the journal does not belong to this image, or the image was changed by another program since")

// A ForeignJournalError says where an image contradicts its journal. It is
// [ErrForeignJournal].
type ForeignJournalError struct {
	Journal string
	Off     int64 // in the image; -1 if it is the size
	Detail  string
}

func (e *ForeignJournalError) Error() string {
	at := ""
	if e.Off >= 0 {
		at = fmt.Sprintf(" at byte %d of the image", e.Off)
	}
	return fmt.Sprintf("%s holds a commit that was interrupted, but%s %s: %v. If the image is to stay as it is now, remove the journal",
		e.Journal, at, e.Detail, ErrForeignJournal)
}

// Is makes errors.Is(err, ErrForeignJournal) true.
func (e *ForeignJournalError) Is(target error) bool { return target == ErrForeignJournal }

// readJournal returns what file holds, or errIncomplete. No length in it is
// trusted.
func readJournal(file JournalFile, name string, imageSize int64) (*redo, error) {
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", name, err)
	}
	r := &redo{name: name, file: file}
	r.set.file = file
	r.header, err = readHeader(file)
	switch {
	case errors.Is(err, errIncomplete):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("journal %s: %w", name, err)
	case !r.header.live:
		return nil, errIncomplete
	}
	in := bufio.NewReaderSize(io.NewSectionReader(file, journalStart, max(size-journalStart, 0)), 32<<10)
	if err := r.readRecords(in); err != nil {
		if errors.Is(err, errIncomplete) {
			return nil, err
		}
		return nil, fmt.Errorf("journal %s: %w", name, err)
	}
	if r.header.imageSize != imageSize {
		return nil, &ForeignJournalError{Journal: name, Off: -1, Detail: fmt.Sprintf(
			"it is for an image of %d bytes, and this one has %d", r.header.imageSize, imageSize)}
	}
	return r, nil
}

func readHeader(file io.ReaderAt) (journalHeader, error) {
	b := make([]byte, headerLen)
	if _, err := file.ReadAt(b, 0); err != nil {
		if err == io.EOF {
			return journalHeader{}, errIncomplete
		}
		return journalHeader{}, err
	}
	return decodeHeader(b)
}

// readRecords fills the set, up to the commit record.
func (r *redo) readRecords(in *bufio.Reader) error {
	var head [recordLen]byte
	sectors := make([]byte, pageLen)
	at, count, sum := int64(journalStart), uint64(0), uint32(0)
	short := func(err error) error {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return errIncomplete
		}
		return err
	}
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return short(err)
		}
		if c, ok := decodeCommit(head[:]); ok {
			if c.seq != r.header.seq || c.count != count || c.sum != sum {
				return errIncomplete
			}
			return nil
		}
		rec, ok := decodeRecord(head[:])
		if !ok || rec.seq != r.header.seq || !rec.inside(r.header.imageSize) {
			return errIncomplete
		}
		data := sectors[:rec.size()-recordLen]
		if _, err := io.ReadFull(in, data); err != nil {
			return short(err)
		}
		for rest := rec.mask; rest != 0; rest &= rest - 1 {
			if sectorSum(data) != rec.after[bits.TrailingZeros8(rest)] {
				return errIncomplete
			}
			data = data[sectorLen:]
		}
		pg := r.set.page(rec.off / pageLen)
		if pg.spilled&^rec.mask != 0 {
			return errIncomplete // a later record has all that an earlier one had
		}
		pg.spilled, pg.at = rec.mask, at+recordLen
		count++
		sum = crc32.Update(sum, castagnoli, head[:])
		at += rec.size()
	}
}

// inside says that a record names some sectors, and all of them in an image of
// size bytes.
func (r *record) inside(size int64) bool {
	if r.mask == 0 || r.off < 0 || r.off%pageLen != 0 || r.off >= size {
		return false
	}
	last := int64(bits.Len8(r.mask) - 1)
	return r.off+last*sectorLen < size
}

// check compares the image with the journal: every sector must hold what it
// held before the commit, or what it is to hold after.
func (r *redo) check(dev io.ReaderAt) error {
	var head [recordLen]byte
	page := make([]byte, pageLen)
	return r.set.each(func(num int64, pg *setPage) error {
		if _, err := r.file.ReadAt(head[:], pg.at-recordLen); err != nil {
			return fmt.Errorf("journal %s: %w", r.name, noEOF(err))
		}
		rec, ok := decodeRecord(head[:])
		if !ok || rec.mask != pg.spilled || rec.off != num*pageLen {
			return fmt.Errorf("journal %s: changed while it was read", r.name)
		}
		if err := readPadded(dev, page, rec.off); err != nil {
			return err
		}
		for rest := rec.mask; rest != 0; rest &= rest - 1 {
			sec := bits.TrailingZeros8(rest)
			if got := sectorSum(page[sec*sectorLen:]); got != rec.before[sec] && got != rec.after[sec] {
				return &ForeignJournalError{Journal: r.name, Off: rec.off + int64(sec)*sectorLen,
					Detail: "there is neither what was there before nor what the commit wrote"}
			}
		}
		return nil
	})
}

// readPadded reads a page; behind the end of the device there are zeros.
func readPadded(dev io.ReaderAt, p []byte, off int64) error {
	n, err := dev.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return err
	}
	clear(p[n:])
	return nil
}
