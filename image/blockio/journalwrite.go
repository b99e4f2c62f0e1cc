package blockio

import (
	"fmt"
	"hash/crc32"
	"math/bits"
)

// A journal is the journal of a session, being written. What it holds between
// commits is nothing but the place where collected sectors are spilled to.
type journal struct {
	store     JournalStore
	imageSize int64

	file  JournalFile // nil: not made yet
	seq   uint64      // of the commit that is being written
	state journalState

	sealed  bool   // the records are those of the last commit
	end     int64  // where the next record goes
	flushed int64  // up to here the file is written; the rest is in buf
	count   uint64 // records
	sum     uint32 // of their headers
	buf     []byte
}

// journalState says what an opening after a crash would make of the journal.
type journalState int

const (
	journalDead  journalState = iota // nothing
	journalDying                     // nothing, or the last commit, which is in its place already
	journalLive                      // the last commit
)

const journalBuffer = 256 << 10

// maxIdleJournal is how large the file may stay between commits. Its blocks are
// kept, so that the next commit finds them there.
const maxIdleJournal = 32 << 20

func newJournal(store JournalStore, imageSize int64) *journal {
	return &journal{store: store, imageSize: imageSize, seq: 1, end: journalStart, flushed: journalStart}
}

// wrap says in an error which file it is about.
func (j *journal) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("journal %s: %w", j.store.Name(), err)
}

// append writes a page to the journal: the sectors of mem that mask names. It
// returns where they are. before are the checksums of what the image holds.
func (j *journal) append(num int64, mask uint8, mem *[pageLen]byte, before *[pageSectors]uint32) (at int64, err error) {
	if j.file == nil {
		if j.file, err = j.store.Create(); err != nil {
			return 0, j.wrap(err)
		}
	}
	r := record{seq: j.seq, off: num * pageLen, mask: mask, before: *before}
	for sec := range pageSectors {
		if mask>>sec&1 != 0 {
			r.after[sec] = sectorSum(mem[sec*sectorLen:])
		}
	}
	if int64(len(j.buf))+r.size() > journalBuffer {
		if err := j.flush(); err != nil {
			return 0, err
		}
	}
	if j.buf == nil {
		j.buf = make([]byte, 0, journalBuffer)
	}
	head := len(j.buf)
	j.buf = j.buf[:head+recordLen]
	r.encode(j.buf[head:])
	j.sum = crc32.Update(j.sum, castagnoli, j.buf[head:head+recordLen])
	j.count++
	for rest := mask; rest != 0; {
		first := bits.TrailingZeros8(rest)
		n := bits.TrailingZeros8(^(rest >> first))
		j.buf = append(j.buf, mem[first*sectorLen:(first+n)*sectorLen]...)
		rest &^= uint8(1<<n-1) << first
	}
	at = j.end + recordLen
	j.end += r.size()
	return at, nil
}

// flush writes what is in the buffer. After an error it may be called again.
func (j *journal) flush() error {
	if len(j.buf) == 0 {
		return nil
	}
	if _, err := j.file.WriteAt(j.buf, j.flushed); err != nil {
		return j.wrap(err)
	}
	j.flushed += int64(len(j.buf))
	j.buf = j.buf[:0]
	return nil
}

// mark is a point that the journal can be set back to.
type mark struct {
	end   int64
	count uint64
	sum   uint32
}

func (j *journal) mark() mark { return mark{j.end, j.count, j.sum} }

// back forgets what was appended since m, which was taken after a flush.
func (j *journal) back(m mark) {
	j.end, j.flushed, j.count, j.sum = m.end, m.end, m.count, m.sum
	j.buf = j.buf[:0]
}

// seal writes the commit record and the header, and makes it all durable: when
// it returns without an error, the commit has happened.
func (j *journal) seal() error {
	if err := j.flush(); err != nil {
		return err
	}
	j.state = journalLive // from now on it may be
	var b [recordLen]byte
	commitRecord{seq: j.seq, count: j.count, sum: j.sum}.encode(b[:])
	if _, err := j.file.WriteAt(b[:], j.end); err != nil {
		return j.wrap(err)
	}
	if err := j.writeHeader(true); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return j.wrap(err)
	}
	j.sealed = true
	return nil
}

func (j *journal) writeHeader(live bool) error {
	h := journalHeader{version: journalVersion, live: live, seq: j.seq, imageSize: j.imageSize}
	_, err := j.file.WriteAt(h.encode(), 0)
	return j.wrap(err)
}

// kill marks the last commit as done with. Readers see it at once; a power cut
// may bring it back to life until buried.
func (j *journal) kill() error {
	if j.state != journalLive {
		return nil
	}
	if err := j.writeHeader(false); err != nil {
		return err
	}
	j.state = journalDying
	if j.end > maxIdleJournal {
		return j.wrap(j.file.Truncate(maxIdleJournal))
	}
	return nil
}

// bury makes the death durable.
func (j *journal) bury() error {
	if err := j.kill(); err != nil {
		return err
	}
	if j.state == journalDying {
		if err := j.file.Sync(); err != nil {
			return j.wrap(err)
		}
		j.state = journalDead
	}
	return nil
}

// begin makes the journal ready for the records of the next commit, unless it
// has some already. They go over those of the last commit, which is known to be
// in its place for good.
func (j *journal) begin() error {
	if !j.sealed {
		return nil
	}
	if err := j.kill(); err != nil {
		return err
	}
	j.seq++
	j.sealed = false
	j.end, j.flushed, j.count, j.sum, j.buf = journalStart, journalStart, 0, 0, nil
	return nil
}

// withdraw makes sure that a commit that failed half-way never comes back, and
// gives the space after m back to the host. Records before m stay: there are
// sectors spilled there.
func (j *journal) withdraw(m mark) error {
	if j.file == nil {
		return nil
	}
	// Truncating needs no space on a full host, and what is cut off includes
	// the commit record.
	if err := j.file.Truncate(m.end); err != nil {
		return j.wrap(err)
	}
	j.back(m)
	if err := j.file.Sync(); err != nil {
		return j.wrap(err)
	}
	j.state = journalDead
	return nil
}

// close removes the journal, which must be dead. A live one stays, for the next
// opening.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.wrap(j.file.Close())
	j.file = nil
	if j.state == journalDead && err == nil {
		err = j.wrap(j.store.Remove())
	}
	return err
}
