package ext4

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// The journal is a ring of blocks. A transaction in it is a series of
// descriptor blocks, each followed by copies of the blocks that it names, of
// revoke blocks, which name blocks whose older copies must not be used, and a
// commit block at the end. Replaying means to put the copies where they belong,
// the newest last, for all transactions whose commit block is there.
//
// Here nothing is put anywhere: the result is where the newest copy of each
// block is.

// knownJournal are the features of journals that this package reads.
const knownJournal = ondisk.JournalIncompatRevoke | ondisk.JournalIncompat64Bit | ondisk.JournalIncompatAsyncCommit |
	ondisk.JournalIncompatCsumV2 | ondisk.JournalIncompatCsumV3 | ondisk.JournalIncompatFastCommit

// recovery is what a journal has to say.
type recovery struct {
	journal   *journal
	overlay   *overlay     // nil if no block is to be replaced
	fast      *fastRecords // nil if there are none
	fastError error        // why they cannot be read
	note      string       // for people
}

// journal is a journal that is being read.
type journal struct {
	fs   *FS
	js   *ondisk.JournalSuperblock
	m    mapper // of the journal's inode
	off  int64  // byte offset of its superblock
	last uint32 // the log is [js.First, last)
	seed uint32
	buf  []byte // one block

	copies  []loggedBlock // of complete transactions, in the order of the log
	revokes []loggedBlock // blocks with revoke records
	commits int
	end     uint32 // the first transaction that is not complete
	damage  string // why the log ends, if not because it just does
}

// loggedBlock is a block of the log.
type loggedBlock struct {
	home    uint64 // where the copy belongs; for a revoke block, nothing
	src     uint64 // block on the device, with escaped
	seq     uint32 // transaction
	revoked uint32 // for the first copy of a block: the last transaction that revokes it
	has     bool   // revoked means something
}

// readJournal reads the journal of fs, whose superblock says that it is
// needed.
func (fs *FS) readJournal(ctx context.Context) (*recovery, error) {
	j, err := fs.openJournal()
	if err != nil {
		return nil, err
	}
	re := &recovery{journal: j}
	if j.js.Start == 0 {
		re.note = "needs recovery, but its journal is empty"
		return re, nil
	}
	if err := j.scan(ctx); err != nil {
		return nil, err
	}
	patches, err := j.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if len(patches) > 0 {
		re.overlay = &overlay{dev: fs.dev, blockSize: fs.blockSize, patches: patches}
	}
	re.note = fmt.Sprintf("journal replayed in memory: %d %s, %d %s",
		j.commits, plural(j.commits, "transaction"), len(patches), plural(len(patches), "block"))
	if j.damage != "" {
		re.note += "; JOURNAL DAMAGED, what follows in it is not shown: " + j.damage
	}
	if j.js.Errno != 0 {
		re.note += fmt.Sprintf("; the journal was aborted by error %d", int32(j.js.Errno))
	}
	if j.js.Incompat(ondisk.JournalIncompatFastCommit) && j.damage == "" {
		fast, err := j.readFastCommits(ctx)
		switch {
		case isCorrupt(err) || isNotSupported(err):
			re.fastError = err
			re.note += fmt.Sprintf("; FAST COMMITS NOT REPLAYED: %v", err)
		case err != nil:
			return nil, err
		}
		re.fast = fast
	}
	return re, nil
}

// openJournal reads the superblock of the journal.
func (fs *FS) openJournal() (*journal, error) {
	in := new(inode) // the mapper keeps it
	if err := fs.readAnyInode(vfs.Ino(fs.sb.JournalIno), in); err != nil {
		if isErrno(err) {
			err = superError(0xE0, "journal is inode %d, which is not in use", fs.sb.JournalIno)
		}
		return nil, err
	}
	if !in.mode().IsRegular() || in.has(ondisk.FlInlineData) {
		return nil, in.corrupt("journal is no regular file: mode %#o", in.Mode)
	}
	j := &journal{fs: fs, m: fs.mapper(in), buf: make([]byte, fs.blockSize)}
	at, err := j.at(0)
	if err != nil {
		return nil, err
	}
	j.off = fs.offset(at)
	if err := devRead(fs.dev, j.buf, j.off); err != nil {
		return nil, err
	}
	if j.js, err = ondisk.DecodeJournalSuperblock(j.buf); err != nil {
		return nil, err
	}
	return j, j.check(in.size)
}

func (j *journal) corrupt(format string, args ...any) error {
	return vfs.Corruptf(j.off, "journal superblock", format, args...)
}

// check checks the superblock of a journal in a file of size bytes
// (journal_get_superblock, jbd2_journal_load).
func (j *journal) check(size int64) error {
	js := j.js
	if js.Header.Magic != ondisk.JournalMagic {
		return j.corrupt("bad magic %#08x, want %#08x", js.Header.Magic, uint32(ondisk.JournalMagic))
	}
	if t := js.Header.BlockType; t != ondisk.JournalSuperV1 && t != ondisk.JournalSuperV2 {
		return j.corrupt("block type %d", t)
	}
	if unknown := js.FeatureIncompat &^ knownJournal; unknown != 0 {
		return &vfs.NotSupportedError{What: fmt.Sprintf("journal feature bits %#x", unknown), Off: j.off + 0x28}
	}
	if js.BlockChecksums() {
		if js.ChecksumType != ondisk.JournalCRC32C {
			return &vfs.NotSupportedError{What: fmt.Sprintf("journal checksum type %d", js.ChecksumType), Off: j.off + 0x50}
		}
		if want := ondisk.JournalSuperChecksum(j.buf); js.Checksum != want {
			return j.corrupt("checksum %#08x, want %#08x", js.Checksum, want)
		}
	}
	j.seed = js.JournalSeed()
	if int64(js.BlockSize) != j.fs.blockSize {
		return j.corrupt("blocks of %d bytes, want %d", js.BlockSize, j.fs.blockSize)
	}
	// No journal has more blocks than the file system: that bounds the walk.
	if int64(js.MaxLen) > size/j.fs.blockSize || uint64(js.MaxLen) > j.fs.blocks {
		return j.corrupt("%d blocks in a journal of %d bytes", js.MaxLen, size)
	}
	j.last = js.MaxLen
	if js.Incompat(ondisk.JournalIncompatFastCommit) {
		if n := j.fastBlocks(); uint64(n)+ondisk.JournalMinBlocks <= uint64(j.last) {
			j.last -= n
		}
	}
	if js.First == 0 || js.First >= j.last {
		return j.corrupt("log begins at block %d of %d", js.First, j.last)
	}
	if js.Start != 0 && (js.Start < js.First || js.Start >= j.last) {
		return j.corrupt("first transaction at block %d, outside the log from %d to %d", js.Start, js.First, j.last)
	}
	return nil
}

// fastBlocks is how many blocks at the end are for fast commits.
func (j *journal) fastBlocks() uint32 {
	if j.js.NumFCBlks == 0 {
		return ondisk.DefaultFastCommitBlocks
	}
	return j.js.NumFCBlks
}

// at is the block of the device that holds block n of the journal.
func (j *journal) at(n uint32) (uint64, error) {
	r, err := j.m.at(uint64(n))
	if err == nil && r.start == 0 {
		err = j.m.in.corrupt("journal has no block %d", n)
	}
	return r.start, err
}

// next is the block of the log behind n.
func (j *journal) next(n uint32) uint32 {
	if n++; n >= j.last {
		return j.js.First
	}
	return n
}

// scan reads the log from its start to the last complete transaction, verifying
// what checksums there are (do_one_pass with PASS_SCAN). The first thing that
// does not fit ends it: mostly that is what an older round left there.
func (j *journal) scan(ctx context.Context) error {
	js := j.js
	pos, seq := js.Start, js.Sequence
	crc := ^uint32(0) // of the transaction, with JournalCompatChecksum
	var lastCommit uint64
	copies, revokes := 0, 0 // of complete transactions
	suspect := ""           // what is wrong with the transaction being read
	j.end = seq

	// A log that never ends has been damaged: it is read once around.
	for left := int64(j.last-js.First) + 1; left > 0; left-- {
		if err := checkpoint(ctx, int(left)); err != nil {
			return err
		}
		at, err := j.read(pos)
		if err != nil {
			return err
		}
		h := ondisk.DecodeJournalHeader(j.buf)
		if h.Magic != ondisk.JournalMagic || h.Sequence != seq {
			break
		}
		here := pos
		pos = j.next(pos)
		switch h.BlockType {
		case ondisk.JournalDescriptor:
			crc = ondisk.CRC32BE(crc, j.buf)
			if !j.blockSumOK() {
				suspect = fmt.Sprintf("descriptor at block %d has a bad checksum", here)
			}
			n, problem, err := j.descriptor(ctx, &pos, seq, &crc)
			if err != nil {
				return err
			}
			left -= int64(n)
			if suspect == "" {
				suspect = problem
			}
			continue
		case ondisk.JournalRevoke:
			if !j.blockSumOK() {
				suspect = fmt.Sprintf("revoke block %d has a bad checksum", here)
			}
			j.revokes = append(j.revokes, loggedBlock{src: at, seq: seq})
			continue
		case ondisk.JournalCommit:
			c := ondisk.DecodeJournalCommit(j.buf)
			if suspect == "" && !j.commitSumOK(c, crc) {
				suspect = "its commit block has a bad checksum"
			}
			if suspect == "" {
				copies, revokes = len(j.copies), len(j.revokes)
				j.commits++
				seq++
				crc, lastCommit = ^uint32(0), c.Sec
				continue
			}
			// An older round of the log may by chance fit here; its commits
			// are older.
			if c.Sec >= lastCommit {
				j.damage = fmt.Sprintf("transaction %d: %s", seq, suspect)
			}
		}
		break
	}
	j.copies, j.revokes, j.end = j.copies[:copies], j.revokes[:revokes], seq
	return nil
}

// read reads block n of the journal into j.buf.
func (j *journal) read(n uint32) (at uint64, err error) {
	if at, err = j.at(n); err != nil {
		return 0, err
	}
	return at, devRead(j.fs.dev, j.buf, j.fs.offset(at))
}

// blockSumOK verifies the checksum of the descriptor or revoke block in j.buf.
func (j *journal) blockSumOK() bool {
	if !j.js.BlockChecksums() {
		return true
	}
	got, want := ondisk.JournalBlockChecksum(j.seed, j.buf)
	return got == want
}

// commitSumOK verifies the checksums in the commit block in j.buf, crc being
// that of the transaction.
func (j *journal) commitSumOK(c ondisk.JournalCommitBlock, crc uint32) bool {
	if j.js.Compat(ondisk.JournalCompatChecksum) {
		unused := c.ChecksumType == 0 && c.ChecksumSize == 0 && c.Checksum == 0
		if !unused && (c.ChecksumType != 1 || c.ChecksumSize != 4 || c.Checksum != crc) {
			return false
		}
	}
	if j.js.BlockChecksums() {
		got, want := ondisk.JournalCommitChecksum(j.seed, j.buf)
		return got == want
	}
	return true
}

// descriptor takes in the copies that the descriptor in j.buf names, which lie
// in the log from pos on. It moves pos behind them and returns their number,
// and what is wrong with them.
func (j *journal) descriptor(ctx context.Context, pos *uint32, seq uint32, crc *uint32) (n int, problem string, err error) {
	desc := slices.Clone(j.buf)
	room := len(desc)
	if j.js.BlockChecksums() {
		room -= ondisk.JournalTailSize
	}
	size := j.js.TagSize()
	verify := j.js.BlockChecksums() || j.js.Compat(ondisk.JournalCompatChecksum)
	for at := ondisk.JournalHeaderSize; at+size <= room; {
		tag := j.js.DecodeTag(desc[at : at+size])
		at += size
		if tag.Flags&ondisk.TagSameUUID == 0 {
			at += 16
		}
		src, err := j.at(*pos)
		if err != nil {
			return n, "", err
		}
		if verify {
			if err := checkpoint(ctx, n); err != nil {
				return n, "", err
			}
			if err := devRead(j.fs.dev, j.buf, j.fs.offset(src)); err != nil {
				return n, "", err
			}
			*crc = ondisk.CRC32BE(*crc, j.buf)
			if j.js.BlockChecksums() && j.js.TagChecksum(j.seed, seq, j.buf) != tag.Checksum && problem == "" {
				problem = fmt.Sprintf("the copy of block %d has a bad checksum", tag.Block)
			}
		}
		if tag.Block >= j.fs.blocks && problem == "" {
			problem = fmt.Sprintf("a copy of block %d, which is outside the file system", tag.Block)
		}
		if tag.Flags&ondisk.TagEscape != 0 {
			src |= escaped
		}
		j.copies = append(j.copies, loggedBlock{home: tag.Block, src: src, seq: seq})
		*pos = j.next(*pos)
		if n++; n > int(j.last-j.js.First) {
			break // once around
		}
		if tag.Flags&ondisk.TagLast != 0 {
			break
		}
	}
	return n, problem, nil
}

// resolve finds the copy of each block that counts: the newest that was not
// revoked.
func (j *journal) resolve(ctx context.Context) ([]patch, error) {
	slices.SortStableFunc(j.copies, func(a, b loggedBlock) int { return cmp.Compare(a.home, b.home) })
	for i, r := range j.revokes {
		if err := checkpoint(ctx, i); err != nil {
			return nil, err
		}
		if err := devRead(j.fs.dev, j.buf, j.fs.offset(r.src)); err != nil {
			return nil, err
		}
		records, size, ok := j.js.RevokeRecords(j.buf)
		if !ok {
			return nil, vfs.Corruptf(j.fs.offset(r.src), "journal revoke block", "more records than fit")
		}
		for ; len(records) >= size; records = records[size:] {
			j.revoke(ondisk.RevokedBlock(records, size), r.seq)
		}
	}
	var out []patch
	for i := 0; i < len(j.copies); {
		first, chosen := &j.copies[i], -1
		for ; i < len(j.copies) && j.copies[i].home == first.home; i++ {
			if !first.has || later(j.copies[i].seq, first.revoked) {
				chosen = i
			}
		}
		if chosen >= 0 {
			out = append(out, patch{first.home, j.copies[chosen].src})
		}
	}
	return out, nil
}

// revoke notes that transaction seq revokes all copies of block up to its own.
func (j *journal) revoke(block uint64, seq uint32) {
	i := sort.Search(len(j.copies), func(i int) bool { return j.copies[i].home >= block })
	if i == len(j.copies) || j.copies[i].home != block {
		return
	}
	if c := &j.copies[i]; !c.has || later(seq, c.revoked) {
		c.revoked, c.has = seq, true
	}
}

// later compares transaction numbers, which wrap around (tid_gt).
func later(a, b uint32) bool { return int32(a-b) > 0 }

func isNotSupported(err error) bool {
	var ns *vfs.NotSupportedError
	return errors.As(err, &ns)
}

// isErrno reports whether err is a plain answer such as ENOENT.
func isErrno(err error) bool {
	_, ok := err.(syscall.Errno)
	return ok
}
