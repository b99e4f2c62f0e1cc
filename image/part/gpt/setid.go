package gpt

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
)

// Offsets in the header and in an entry.
const (
	headerCRCOff  = 16
	diskGUIDOff   = 56
	entriesCRCOff = 88
	entryGUIDOff  = 16 // UniquePartitionGUID
)

// SetID gives the disk another GUID, in both copies of the table, which t was
// read from. A table of which one copy is damaged is refused: it would be
// damaged no less afterwards.
func SetID(dev blockio.Writable, t *part.Table, id string) error {
	guid, err := parseGUID(id)
	if err != nil {
		return err
	}
	return rewrite(dev, t, func(header, _ []byte, _ *tableCopy) { copy(header[diskGUIDOff:], guid[:]) },
		func() { t.ID = strings.ToLower(id) })
}

// SetUUID gives a partition of the table another GUID, in the same way. e is an
// entry of t.
func SetUUID(dev blockio.Writable, t *part.Table, e *part.Entry, id string) error {
	guid, err := parseGUID(id)
	if err != nil {
		return err
	}
	return rewrite(dev, t, func(_, entries []byte, c *tableCopy) {
		copy(entries[(e.Index-1)*int(c.header.EntrySize)+entryGUIDOff:], guid[:])
	}, func() { e.UUID = strings.ToLower(id) })
}

// rewrite changes both copies by edit, each in its own place, and calls done
// when that has succeeded.
func rewrite(dev blockio.Writable, t *part.Table, edit func(header, entries []byte, c *tableCopy), done func()) error {
	ss := t.SectorSize
	primary, err := readCopy(dev, ss, 1)
	if err != nil {
		return fmt.Errorf("primary table: %w", err)
	}
	backup, err := readCopy(dev, ss, int64(primary.header.AlternateLBA))
	if err != nil {
		return fmt.Errorf("backup table: %w", err)
	}
	if primary.header.EntriesCRC != backup.header.EntriesCRC || primary.header.EntrySize != backup.header.EntrySize {
		return fmt.Errorf("the two copies of the table differ: which one is right is not known")
	}
	// The backup first: if something fails in between, the primary is whole.
	for _, c := range []*tableCopy{backup, primary} {
		header, err := blockio.ReadFull(dev, c.off(), ss)
		if err != nil {
			return err
		}
		edit(header, c.entries, c)
		le.PutUint32(header[entriesCRCOff:], crc32.ChecksumIEEE(c.entries))
		le.PutUint32(header[headerCRCOff:], 0)
		le.PutUint32(header[headerCRCOff:], crc32.ChecksumIEEE(header[:c.header.HeaderSize]))
		if _, err := dev.WriteAt(c.entries, int64(c.header.EntriesLBA)*int64(ss)); err != nil {
			return fmt.Errorf("write partition entries: %w", err)
		}
		if _, err := dev.WriteAt(header, c.off()); err != nil {
			return fmt.Errorf("write header at byte %d: %w", c.off(), err)
		}
	}
	done()
	return nil
}

// parseGUID reads a GUID as guidString writes it.
func parseGUID(s string) (guid [16]byte, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != 16 || len(s) != 36 || [16]byte(raw) == [16]byte{} {
		return guid, fmt.Errorf("%q is no GUID: want 8-4-4-4-12 hexadecimal digits, not all of them zero", s)
	}
	copy(guid[:], raw)
	for _, field := range [][]byte{guid[0:4], guid[4:6], guid[6:8]} {
		for i, j := 0, len(field)-1; i < j; i, j = i+1, j-1 {
			field[i], field[j] = field[j], field[i]
		}
	}
	return guid, nil
}
