package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Driver reads, changes and makes ext2, ext3 and ext4.
var Driver = vfs.Driver{
	Name: "ext4", Probe: probe, Open: open, OpenWritable: openWritable,
	Formats: []string{"ext2", "ext3", "ext4"}, Format: Format,
}

func openWritable(ctx context.Context, dev blockio.Transaction) (vfs.WritableFS, error) {
	w, err := openWriter(ctx, dev)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// probe looks for the magic number. External journals have it as well; open
// refuses them by name.
func probe(dev blockio.Device) (bool, error) {
	if dev.Size() < ondisk.SuperOff+ondisk.SuperSize {
		return false, nil
	}
	b, err := blockio.ReadFull(dev, ondisk.SuperOff+0x38, 2)
	if err != nil {
		return false, err
	}
	return binary.LittleEndian.Uint16(b) == ondisk.SuperMagic, nil
}

func open(ctx context.Context, dev blockio.Device) (vfs.FS, error) {
	fs, err := load(dev)
	if err != nil {
		return nil, err
	}
	var notes []string
	recover := fs.sb.FeatureIncompat&ondisk.IncompatRecover != 0
	if recover {
		var note string
		if fs, note, err = recovered(ctx, fs); err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	if err := fs.checkRoot(); err != nil {
		return nil, err
	}
	fs.info.State, notes = state(fs.sb, recover, notes)
	fs.info.StateNote = strings.Join(notes, "; ")
	return fs, nil
}

// recovered returns fs as it is after its journal has been replayed, and what
// to tell about that. A journal that cannot be used is no reason to show
// nothing: then the file system is shown as it lies there, and the note says so.
func recovered(ctx context.Context, fs *FS) (*FS, string, error) {
	const asIs = "shown without the changes in the journal"
	if fs.sb.JournalIno == 0 {
		return fs, fmt.Sprintf("needs recovery from an external journal (UUID %s), which is not supported: %s",
			uuidString(fs.sb.JournalUUID), asIs), nil
	}
	re, err := fs.readJournal(ctx)
	if isCorrupt(err) || isNotSupported(err) {
		return fs, fmt.Sprintf("JOURNAL NOT REPLAYED: %v: %s", err, asIs), nil
	}
	if err != nil {
		return nil, "", err
	}
	if re.overlay == nil && re.fast == nil {
		return fs, re.note, nil
	}
	after := fs
	if re.overlay != nil {
		if after, err = load(re.overlay); err != nil {
			return nil, "", fmt.Errorf("after replaying the journal: %w", err)
		}
		after.over = re.overlay
	}
	note := re.note
	if re.fast != nil {
		err = after.applyFastCommits(ctx, re.fast)
		switch {
		case isCorrupt(err) || isNotSupported(err):
			note += fmt.Sprintf("; FAST COMMITS NOT REPLAYED: %v: newer changes exist in the journal than are shown", err)
		case err != nil:
			return nil, "", err
		default:
			note += fmt.Sprintf(" and %d fast %s", re.fast.commits, plural(re.fast.commits, "commit"))
		}
	}
	return after, note, nil
}

// state says whether the file system was unmounted cleanly, from its
// superblock and from whether the journal had to be looked at.
func state(sb *ondisk.Superblock, recover bool, notes []string) (vfs.State, []string) {
	s := vfs.Clean
	if recover {
		s = vfs.Dirty
	}
	if sb.State&ondisk.StateError != 0 {
		s = vfs.Dirty
		note := "the system found errors in it and wants it checked"
		if sb.ErrorCount > 0 {
			note += fmt.Sprintf(" (%d %s recorded)", sb.ErrorCount, plural(uint64(sb.ErrorCount), "error"))
		}
		notes = append(notes, note)
	}
	if sb.State&ondisk.StateValid == 0 && !recover {
		s = vfs.Dirty
		notes = append(notes, "not unmounted")
	}
	if sb.LastOrphan != 0 || sb.FeatureROCompat&ondisk.ROCompatOrphanPresent != 0 {
		notes = append(notes, "has orphans: files that were deleted or truncated while open, which the next mount cleans up")
	}
	return s, notes
}

func plural[N int | uint64](n N, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
