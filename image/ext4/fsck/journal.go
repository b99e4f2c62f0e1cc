package fsck

import (
	"errors"
	"fmt"
	"math"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A journal that needs recovery is replayed before anything else is looked at.
// Where nothing may be changed, that happens in memory: what is noted is where
// the newest copy of each block lies (overlay.go).

// knownJournal are the features of journals that are replayed.
const knownJournal = ondisk.JournalIncompatRevoke | ondisk.JournalIncompat64Bit | ondisk.JournalIncompatAsyncCommit |
	ondisk.JournalIncompatCsumV2 | ondisk.JournalIncompatCsumV3 | ondisk.JournalIncompatFastCommit

// A journal is the journal of the file system.
type journal struct {
	c     *checker
	js    *ondisk.JournalSuperblock
	super []byte // a block
	runs  []run
	first uint32 // the log is [first, last)
	last  uint32
	seed  uint32
	buf   []byte
}

// A badJournal says why a journal cannot be used.
type badJournal struct {
	off  int64
	what string
}

func (e *badJournal) Error() string { return e.what }

// checkJournal looks at the journal, and replays it.
func (c *checker) checkJournal() error {
	needs := c.hasIncompat(ondisk.IncompatRecover)
	if !c.hasCompat(ondisk.CompatHasJournal) {
		if needs || c.sb.JournalIno != 0 {
			f := aboutSuper(codeJournal, 0xE0, "inode %d is the journal, needs recovery: %v, but not the feature has_journal", c.sb.JournalIno, needs)
			if _, mend := c.problem(f); mend {
				c.sb.JournalIno = 0
				le.PutUint32(c.super[0xE0:], 0)
				c.setRecover(false)
			}
		}
		return nil
	}
	if c.sb.JournalIno == 0 {
		return &vfs.NotSupportedError{What: "checking a file system with an external journal", Off: ondisk.SuperOff + 0xE4}
	}
	j, err := c.openJournal()
	var bad *badJournal
	if errors.As(err, &bad) {
		return c.mendJournal(bad)
	}
	if err != nil {
		return err
	}
	if j.js.Errno != 0 {
		if _, mend := c.problem(j.aboutErrno()); mend {
			if err := j.forgive(); err != nil {
				return err
			}
		}
	}
	if j.js.Start == 0 && !needs || j.js.Start != 0 && !needs && !c.fromCopy {
		if j.js.Start != 0 {
			f := aboutSuper(codeJournal, 0x60, "the journal holds transactions, but the superblock does not say that it has to be replayed")
			if f, mend := c.problem(f); mend {
				f.lose("what the journal holds, which no mount would have looked at")
				return j.empty(j.js.Sequence + 1)
			}
		}
		return nil
	}
	return c.replay(j)
}

// replay replays a journal, into the transaction or into an overlay.
func (c *checker) replay(j *journal) error {
	c.replayed = true
	log, err := j.scan()
	if err != nil {
		return err
	}
	patches, err := log.resolve()
	if err != nil {
		return err
	}
	if j.js.Incompat(ondisk.JournalIncompatFastCommit) {
		if some, err := j.hasFastCommits(log.end); err != nil {
			return err
		} else if some {
			return &vfs.NotSupportedError{What: "replaying the fast commits of a journal: mount it once", Off: c.off(j.runs[0].start)}
		}
	}
	detail := fmt.Sprintf("has to be replayed: %s, %s", plural(log.commits, "transaction"), plural(len(patches), "block"))
	f := finding{vfs.Finding{Code: codeJournalReplay, Structure: "journal", Off: c.off(j.runs[0].start), Detail: detail, Preen: true}, 0}
	if log.damage != "" {
		f.Preen = false
		f.Detail += "; damaged, what follows is lost: " + log.damage
		f.Lost = "the transactions behind the damage"
	}
	_, mend := c.problem(f)
	o := &overlay{dev: c.dev, bsize: c.bsize, patches: patches}
	if !mend {
		c.dev = o
		return c.reload()
	}
	b := make([]byte, c.bsize)
	// All is read before anything is written: a block may be copied over one of
	// the journal itself, however senseless that is.
	for _, p := range patches {
		if c.inJournal(j, p.home) {
			return vfs.Corruptf(c.off(j.runs[0].start), "journal", "a copy of block %d, which is in the journal", p.home)
		}
	}
	for _, p := range patches {
		if err := readAt(o, b, c.off(p.home)); err != nil {
			return err
		}
		if err := c.writeBlock(b, p.home); err != nil {
			return err
		}
	}
	if err := j.empty(log.end); err != nil {
		return err
	}
	return c.reload()
}

func (c *checker) inJournal(j *journal, block uint64) bool {
	for _, r := range j.runs {
		if block >= r.start && block < r.start+r.n {
			return true
		}
	}
	return false
}

// reload reads superblock and descriptors again: they may have been in the
// journal.
func (c *checker) reload() error {
	wasCopy := c.fromCopy
	if c.tx != nil && c.superDirty {
		// What has been mended so far.
		if c.csum {
			ondisk.SealSuper(c.super)
		}
		raw := make([]byte, ondisk.SuperSize)
		if err := c.read(raw, ondisk.SuperOff); err != nil {
			return err
		}
		if _, err := parseSuper(raw); err != nil {
			if err := c.write(c.super, ondisk.SuperOff); err != nil {
				return err
			}
		}
	}
	c.superDirty = false
	if err := c.findSuper(); err != nil {
		return err
	}
	c.fromCopy = c.fromCopy || wasCopy
	if c.tx != nil && c.hasIncompat(ondisk.IncompatRecover) && c.findings[len(c.findings)-1].Fixed {
		c.setRecover(false)
	}
	return c.loadDescs()
}

// setRecover sets or clears the feature needs_recovery.
func (c *checker) setRecover(on bool) {
	c.sb.FeatureIncompat &^= ondisk.IncompatRecover
	if on {
		c.sb.FeatureIncompat |= ondisk.IncompatRecover
	}
	le.PutUint32(c.super[0x60:], uint32(c.sb.FeatureIncompat))
	c.superDirty = true
}

// openJournal finds the journal and judges its superblock; the error is a
// *badJournal if it makes no sense.
func (c *checker) openJournal() (*journal, error) {
	ino := c.sb.JournalIno
	bad := func(off int64, format string, args ...any) (*journal, error) {
		return nil, &badJournal{off, fmt.Sprintf(format, args...)}
	}
	if ino > c.inodes {
		return bad(ondisk.SuperOff+0xE0, "the journal is inode %d of %d", ino, c.inodes)
	}
	in := new(inode)
	if err := c.load(ino, in); err != nil {
		return nil, err
	}
	if in.Mode&typeMask != typeReg || in.Links == 0 || in.Flags&ondisk.FlInlineData != 0 {
		return bad(c.inodeOff(ino), "the journal, inode %d, is no file: mode %#o, %d links", ino, in.Mode, in.Links)
	}
	runs, blocks, err := c.journalRuns(in)
	if err != nil {
		return nil, err
	}
	switch {
	case blocks < 2:
		return bad(c.inodeOff(ino), "the journal, inode %d, has no blocks", ino)
	case in.Size > blocks<<c.bshift:
		return bad(c.inodeOff(ino), "the journal, inode %d, has %s, and blocks for %d", ino, claimed(in.Size), blocks<<c.bshift)
	}
	j := &journal{c: c, runs: runs, super: make([]byte, c.bsize), buf: make([]byte, c.bsize)}
	off := c.off(runs[0].start)
	if err := c.readBlock(j.super, runs[0].start); err != nil {
		return nil, err
	}
	if j.js, err = ondisk.DecodeJournalSuperblock(j.super); err != nil {
		return nil, err
	}
	js := j.js
	j.seed = js.JournalSeed()
	switch {
	case js.Header.Magic != ondisk.JournalMagic:
		return bad(off, "bad magic %#08x in the superblock of the journal", js.Header.Magic)
	case js.Header.BlockType != ondisk.JournalSuperV1 && js.Header.BlockType != ondisk.JournalSuperV2:
		return bad(off+4, "superblock of the journal is a block of type %d", js.Header.BlockType)
	case int64(js.BlockSize) != c.bsize:
		return bad(off+0x0C, "the journal has blocks of %d bytes", js.BlockSize)
	case js.Header.BlockType == ondisk.JournalSuperV1 && !blockio.IsZero(j.super[0x24:ondisk.JournalSuperSize]):
		return bad(off+0x24, "superblock of the journal is of version 1, but has fields of version 2")
	case js.NrUsers > 1:
		return bad(off+0x40, "the journal has %d users", js.NrUsers)
	case (js.FeatureIncompat&^knownJournal != 0 || js.FeatureROCompat != 0) && !c.hasIncompat(ondisk.IncompatRecover):
		return bad(off+0x28, "the journal has features that are not known, %#x and %#x, and nothing is in it", js.FeatureIncompat, js.FeatureROCompat)
	case js.FeatureIncompat&^knownJournal != 0 || js.FeatureROCompat != 0:
		return nil, &vfs.NotSupportedError{What: fmt.Sprintf("journal feature bits %#x, %#x", js.FeatureIncompat&^knownJournal, js.FeatureROCompat), Off: off + 0x28}
	case js.Incompat(ondisk.JournalIncompatCsumV2) && js.Incompat(ondisk.JournalIncompatCsumV3),
		js.BlockChecksums() && js.Compat(ondisk.JournalCompatChecksum):
		return bad(off+0x24, "the journal has checksums of two kinds: features %#x and %#x", js.FeatureCompat, js.FeatureIncompat)
	case js.BlockChecksums() && js.ChecksumType != ondisk.JournalCRC32C:
		return bad(off+0x50, "the journal has checksums of type %d", js.ChecksumType)
	case js.BlockChecksums() && js.Checksum != ondisk.JournalSuperChecksum(j.super):
		return bad(off+0xFC, "superblock of the journal: checksum %#08x, want %#08x", js.Checksum, ondisk.JournalSuperChecksum(j.super))
	case uint64(js.MaxLen) > in.Size>>c.bshift:
		return bad(off+0x10, "the journal has %d blocks, its file %d", js.MaxLen, in.Size>>c.bshift)
	case js.MaxLen < ondisk.JournalMinBlocks:
		return bad(off+0x10, "the journal has only %d blocks", js.MaxLen)
	}
	j.first, j.last = js.First, js.MaxLen
	if js.Incompat(ondisk.JournalIncompatFastCommit) {
		n := js.NumFCBlks
		if n == 0 {
			n = ondisk.DefaultFastCommitBlocks
		}
		if uint64(n)+ondisk.JournalMinBlocks > uint64(j.last) {
			return bad(off+0x54, "the journal has %d blocks for fast commits, of %d", n, j.last)
		}
		j.last -= n
	}
	switch {
	case j.first == 0 || j.first >= j.last:
		return bad(off+0x14, "the log of the journal begins at block %d of %d", j.first, j.last)
	case js.Start != 0 && (js.Start < j.first || js.Start >= j.last):
		return bad(off+0x1C, "the first transaction of the journal is at block %d, outside the log from %d to %d", js.Start, j.first, j.last)
	}
	return j, nil
}

// journalRuns are the blocks of the journal, as far as they can be its log, and
// how many these are: none if its inode is no file.
func (c *checker) journalRuns(in *inode) (runs []run, blocks uint64, err error) {
	if !in.isReg() || in.Links == 0 {
		return nil, 0, nil
	}
	// No journal has more pieces than this: extents are 128 MiB long.
	runs, err = c.runs(in, 1<<20)
	for _, r := range runs {
		if r.lblk != blocks || r.unwritten {
			break
		}
		blocks += r.n
	}
	return runs, blocks, err
}

// mendJournal deals with a journal that cannot be used: its inode is restored
// from the copy in the superblock if that helps, or gets the size that its
// blocks have; else the superblock of the journal is written anew, and the last
// resort is to do without.
func (c *checker) mendJournal(bad *badJournal) error {
	f, mend := c.problem(finding{vfs.Finding{Code: codeJournal, Structure: "journal", Off: bad.off, Detail: bad.what}, 0})
	if !mend {
		return nil
	}
	if c.sb.JournalIno != ondisk.JournalIno {
		return c.dropJournal(f)
	}
	var in inode
	if err := c.load(ondisk.JournalIno, &in); err != nil {
		return err
	}
	runs, blocks, err := c.journalRuns(&in)
	if err != nil {
		return err
	}
	sized := blocks > 0 && in.Size == blocks<<c.bshift
	if !sized && c.sb.JnlBackupType == 1 {
		saved := c.savedJournal()
		_, n, err := c.journalRuns(saved)
		if err != nil {
			return err
		}
		if n > 0 && saved.Size == n<<c.bshift {
			f.Detail += "; its inode is restored from the superblock"
			if err := c.store(saved); err != nil {
				return err
			}
			return c.checkJournal()
		}
	}
	switch {
	case blocks < ondisk.JournalMinBlocks || blocks > math.MaxInt32:
		return c.dropJournal(f)
	case !sized:
		f.Detail += "; it has the size of its blocks now"
		ondisk.SetInodeSize(in.raw, blocks<<c.bshift)
		if err := c.store(&in); err != nil {
			return err
		}
		return c.checkJournal()
	}
	return c.formatJournal(runs[0].start, blocks, f)
}

// savedJournal is the inode of the journal as the superblock has saved it.
func (c *checker) savedJournal() *inode {
	in := &inode{num: ondisk.JournalIno, base: c.seed, raw: make([]byte, c.isize)}
	ondisk.SetInodeMode(in.raw, typeReg|0o600)
	ondisk.SetLinks(in.raw, 1)
	for i, v := range c.sb.JnlBlocks[:15] {
		le.PutUint32(ondisk.InodeBlock(in.raw)[i*4:], v)
	}
	ondisk.SetInodeSize(in.raw, uint64(c.sb.JnlBlocks[16])|uint64(c.sb.JnlBlocks[15])<<32)
	if le.Uint16(ondisk.InodeBlock(in.raw)) == ondisk.ExtentMagic {
		ondisk.SetInodeFlags(in.raw, ondisk.FlExtents)
	}
	if c.isize > ondisk.InodeSizeOld {
		ondisk.SetInodeExtraIsize(in.raw, c.extraIsize())
	}
	in.decode()
	return in
}

// loseLog says that what has not been replayed is lost.
func (c *checker) loseLog(f *finding) {
	if c.hasIncompat(ondisk.IncompatRecover) {
		f.lose("what the journal held of the last changes")
	}
}

// dropJournal makes the file system one without a journal.
func (c *checker) dropJournal(f *finding) error {
	c.loseLog(f)
	f.lose("the journal: the file system has none now")
	c.sb.JournalIno = 0
	le.PutUint32(c.super[0xE0:], 0)
	clear(c.super[0x10C : 0x10C+68]) // s_jnl_blocks
	c.super[0xFD] = 0                // s_jnl_backup_type
	c.setCompat(ondisk.CompatHasJournal, false)
	c.setCompat(ondisk.CompatFastCommit, false)
	c.setRecover(false)
	return nil
}

// formatJournal writes an empty journal of so many blocks, of which start is the
// first.
func (c *checker) formatJournal(start, blocks uint64, f *finding) error {
	c.loseLog(f)
	f.Detail += "; it is empty now"
	b := make([]byte, c.bsize)
	for i, v := range []uint32{ondisk.JournalMagic, ondisk.JournalSuperV2, 0, uint32(c.bsize), uint32(blocks), 1, 1} {
		be.PutUint32(b[i*4:], v)
	}
	be.PutUint32(b[0x40:], 1) // s_nr_users
	copy(b[0x30:], c.sb.UUID[:])
	c.setRecover(false)
	return c.writeBlock(b, start)
}

// empty marks the journal as empty: the next transaction is seq.
func (j *journal) empty(seq uint32) error {
	be.PutUint32(j.super[0x18:], seq)
	be.PutUint32(j.super[0x1C:], 0)
	return j.writeSuper()
}

// aboutErrno is the finding of an error that the kernel noted: it noted it here
// because the superblock could not be written, and tells it at the next mount.
func (j *journal) aboutErrno() finding {
	return finding{vfs.Finding{
		Code: codeJournalError, Structure: "journal", Off: j.c.off(j.runs[0].start) + 0x20, Preen: true,
		Detail: fmt.Sprintf("holds error %d, noted when it was mounted the last time", int32(j.js.Errno)),
	}, 0}
}

// forgive clears that error.
func (j *journal) forgive() error {
	be.PutUint32(j.super[0x20:], 0)
	return j.writeSuper()
}

func (j *journal) writeSuper() error {
	if j.js.BlockChecksums() {
		be.PutUint32(j.super[0xFC:], ondisk.JournalSuperChecksum(j.super))
	}
	return j.c.writeBlock(j.super, j.runs[0].start)
}
