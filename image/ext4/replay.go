package ext4

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// replay puts what the journal of fs holds where it belongs, as part of the
// transaction. It returns the file system as it is then, and what else the
// journal has to say: fast commits, which are still to be made. After that it is
// to be marked as empty.
//
// A journal that cannot be replayed to its end is for e2fsck, which may have to
// mend what is missing then.
func replay(ctx context.Context, fs *FS, tx blockio.Transaction) (*FS, *recovery, error) {
	re, err := fs.readJournal(ctx)
	if isCorrupt(err) || isNotSupported(err) {
		return nil, nil, &vfs.DirtyError{Why: fmt.Sprintf("its journal cannot be replayed: %v", err)}
	}
	if err != nil {
		return nil, nil, err
	}
	switch js := re.journal.js; {
	case re.journal.damage != "":
		return nil, nil, &vfs.DirtyError{Why: "its journal is damaged: " + re.journal.damage}
	case re.fastError != nil:
		return nil, nil, &vfs.DirtyError{Why: fmt.Sprintf("its journal has fast commits that cannot be replayed: %v", re.fastError)}
	case js.Errno != 0:
		return nil, nil, &vfs.DirtyError{Why: fmt.Sprintf("its journal was aborted by error %d", int32(js.Errno))}
	}
	if re.overlay != nil {
		after, err := load(re.overlay)
		if err != nil {
			return nil, nil, fmt.Errorf("after replaying the journal: %w", err)
		}
		// What there is to refuse is refused before anything is written.
		if err := after.refuse(); err != nil {
			return nil, nil, err
		}
		if err := after.dirty(); err != nil {
			return nil, nil, err
		}
		if err := re.overlay.apply(ctx, tx); err != nil {
			return nil, nil, err
		}
	}
	after, err := load(tx)
	if err != nil {
		err = fmt.Errorf("after replaying the journal: %w", err)
	}
	return after, re, err
}

// apply writes the copies of blocks where they belong.
func (o *overlay) apply(ctx context.Context, tx blockio.Transaction) error {
	b := make([]byte, o.blockSize)
	for i, p := range o.patches {
		if err := checkpoint(ctx, i); err != nil {
			return err
		}
		if err := devRead(o.dev, b, int64(p.src&^escaped)*o.blockSize); err != nil {
			return err
		}
		if p.src&escaped != 0 {
			binary.BigEndian.PutUint32(b, ondisk.JournalMagic)
		}
		if _, err := tx.WriteAt(b, int64(p.block)*o.blockSize); err != nil {
			return err
		}
	}
	return nil
}

// markEmpty says in the superblock of a journal that there is nothing in it
// (jbd2_mark_journal_empty). Its next transaction has a number that none in it
// has, fast commits included.
func (j *journal) markEmpty(tx blockio.Transaction) error {
	if err := devRead(j.fs.dev, j.buf, j.off); err != nil {
		return err
	}
	js := *j.js
	if js.Start != 0 {
		js.Sequence = j.end + 1
	}
	js.Start = 0
	js.FeatureIncompat &^= ondisk.JournalIncompatFastCommit // set again by the first fast commit
	ondisk.EncodeJournalSuperblock(j.buf, &js)
	_, err := tx.WriteAt(j.buf, j.off)
	return err
}
