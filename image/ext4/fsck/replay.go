package fsck

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A logged block is a copy in the log, or a block of revoke records.
type logged struct {
	home  uint64 // where the copy belongs
	src   uint64 // where it is
	seq   uint32
	magic bool // its first word is that of the journal, and zero in the copy
}

// A journalLog is what the log of a journal has in complete transactions.
type journalLog struct {
	j       *journal
	copies  []logged
	revokes []logged
	commits int
	end     uint32 // the first transaction that is not complete
	damage  string
}

// block is where block n of the journal lies.
func (j *journal) block(n uint32) (uint64, error) {
	i, ok := slices.BinarySearchFunc(j.runs, uint64(n), func(r run, b uint64) int {
		switch {
		case r.lblk+r.n <= b:
			return -1
		case r.lblk > b:
			return 1
		}
		return 0
	})
	if !ok {
		return 0, vfs.Corruptf(j.c.inodeOff(j.c.sb.JournalIno), "journal", "no block %d", n)
	}
	return j.runs[i].start + uint64(n) - j.runs[i].lblk, nil
}

func (j *journal) next(n uint32) uint32 {
	if n+1 >= j.last {
		return j.first
	}
	return n + 1
}

// load reads block n of the journal into j.buf.
func (j *journal) load(n uint32) (at uint64, err error) {
	if at, err = j.block(n); err != nil {
		return 0, err
	}
	return at, j.c.readBlock(j.buf, at)
}

// scan reads the log up to the first transaction that is not complete.
func (j *journal) scan() (*journalLog, error) {
	log := &journalLog{j: j, end: j.js.Sequence}
	if j.js.Start == 0 {
		return log, nil
	}
	pos := j.js.Start
	crc := ^uint32(0)
	copies, revokes, problem := 0, 0, ""
	lastTime := uint64(0)
	sums := j.js.BlockChecksums()
	for left := int64(j.last - j.first); left > 0; left-- {
		if err := j.c.ctx.Err(); err != nil {
			return nil, err
		}
		at, err := j.load(pos)
		if err != nil {
			return nil, err
		}
		h := ondisk.DecodeJournalHeader(j.buf)
		if h.Magic != ondisk.JournalMagic || h.Sequence != log.end {
			break
		}
		here := pos
		pos = j.next(pos)
		if h.BlockType == ondisk.JournalDescriptor || h.BlockType == ondisk.JournalRevoke {
			if got, want := ondisk.JournalBlockChecksum(j.seed, j.buf); sums && got != want && problem == "" {
				problem = fmt.Sprintf("block %d of the journal has a wrong checksum", here)
			}
		}
		switch h.BlockType {
		case ondisk.JournalDescriptor:
			crc = ondisk.CRC32BE(crc, j.buf)
			n, why, err := log.descriptor(&pos, &crc)
			if err != nil {
				return nil, err
			}
			left -= n
			if problem == "" {
				problem = why
			}
			continue
		case ondisk.JournalRevoke:
			log.revokes = append(log.revokes, logged{src: at, seq: log.end})
			continue
		case ondisk.JournalCommit:
			commit := ondisk.DecodeJournalCommit(j.buf)
			if problem == "" && !j.commitGood(commit, crc) {
				problem = "a commit block has a wrong checksum"
			}
			if problem != "" {
				if commit.Sec >= lastTime {
					log.damage = fmt.Sprintf("transaction %d: %s", log.end, problem)
				}
				break
			}
			copies, revokes = len(log.copies), len(log.revokes)
			log.commits++
			log.end++
			crc, lastTime = ^uint32(0), commit.Sec
			continue
		}
		break
	}
	log.copies, log.revokes = log.copies[:copies], log.revokes[:revokes]
	return log, nil
}

// commitGood verifies the commit block in j.buf.
func (j *journal) commitGood(c ondisk.JournalCommitBlock, crc uint32) bool {
	if j.js.BlockChecksums() {
		got, want := ondisk.JournalCommitChecksum(j.seed, j.buf)
		return got == want
	}
	if !j.js.Compat(ondisk.JournalCompatChecksum) || c.ChecksumType == 0 && c.ChecksumSize == 0 && c.Checksum == 0 {
		return true
	}
	return c.ChecksumType == 1 && c.ChecksumSize == 4 && c.Checksum == crc
}

// descriptor takes in the copies that the descriptor in j.buf tells of, which
// lie from pos on. It returns how many there are, and what is wrong with them.
func (log *journalLog) descriptor(pos, crc *uint32) (n int64, problem string, err error) {
	j := log.j
	room, size := len(j.buf), j.js.TagSize()
	if j.js.BlockChecksums() {
		room -= ondisk.JournalTailSize
	}
	tags := slices.Clone(j.buf[ondisk.JournalHeaderSize:room])
	for len(tags) >= size {
		tag := j.js.DecodeTag(tags[:size])
		skip := size
		if tag.Flags&ondisk.TagSameUUID == 0 {
			skip += 16
		}
		tags = tags[min(skip, len(tags)):]
		at, err := j.load(*pos)
		if err != nil {
			return n, "", err
		}
		*crc = ondisk.CRC32BE(*crc, j.buf)
		switch {
		case problem != "":
		case j.js.BlockChecksums() && j.js.TagChecksum(j.seed, log.end, j.buf) != tag.Checksum:
			problem = fmt.Sprintf("the copy of block %d has a wrong checksum", tag.Block)
		case tag.Block >= j.c.blocks:
			problem = fmt.Sprintf("a copy of block %d, outside the file system", tag.Block)
		}
		log.copies = append(log.copies, logged{home: tag.Block, src: at, seq: log.end, magic: tag.Flags&ondisk.TagEscape != 0})
		*pos = j.next(*pos)
		if n++; n >= int64(j.last-j.first) || tag.Flags&ondisk.TagLast != 0 {
			break
		}
	}
	return n, problem, nil
}

// resolve finds the newest copy of each block that has not been revoked.
func (log *journalLog) resolve() ([]logged, error) {
	j := log.j
	revoked := map[uint64]uint32{} // the last transaction that revokes a block
	wanted := make(map[uint64]bool, len(log.copies))
	for _, l := range log.copies {
		wanted[l.home] = true
	}
	for _, r := range log.revokes {
		if err := j.c.readBlock(j.buf, r.src); err != nil {
			return nil, err
		}
		records, size, ok := j.js.RevokeRecords(j.buf)
		if !ok {
			return nil, vfs.Corruptf(j.c.off(r.src), "journal revoke block", "more records than fit")
		}
		for ; len(records) >= size; records = records[size:] {
			b := ondisk.RevokedBlock(records, size)
			if old, ok := revoked[b]; wanted[b] && (!ok || int32(r.seq-old) > 0) {
				revoked[b] = r.seq
			}
		}
	}
	newest := map[uint64]logged{}
	for _, l := range log.copies {
		if seq, ok := revoked[l.home]; !ok || int32(l.seq-seq) > 0 {
			newest[l.home] = l
		}
	}
	out := make([]logged, 0, len(newest))
	for _, l := range newest {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b logged) int { return cmp.Compare(a.home, b.home) })
	return out, nil
}

// hasFastCommits reports whether there are fast commits behind the log, which
// belong to transaction seq.
func (j *journal) hasFastCommits(seq uint32) (bool, error) {
	if j.last >= j.js.MaxLen {
		return false, nil
	}
	if _, err := j.load(j.last); err != nil {
		return false, err
	}
	r, ok := ondisk.DecodeFCRecord(j.buf)
	if !ok || r.Tag != ondisk.FCHead || !r.Known() {
		return false, nil
	}
	_, tid := r.Head()
	return tid == seq, nil
}
