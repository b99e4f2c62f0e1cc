package fsck

import (
	"encoding/binary"
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An entry is a file, a directory or a label, with its long name.
type entry struct {
	slot   int // of dirent
	first  int // slot of its long name, or slot
	dirent ondisk.Dirent
	long   []uint16
	gone   bool // it has been removed
}

func (e *entry) isLabel() bool { return e.dirent.Attr&ondisk.AttrLabel != 0 }
func (e *entry) isDir() bool   { return e.dirent.Attr&ondisk.AttrDir != 0 }

// A longName is a long name on its way to its entry.
type longName struct {
	first int // slot; -1: none is under way
	parts int
	left  int
	sum   uint8
	units [ondisk.LongParts * ondisk.LongUnits]uint16
}

// entries lists the entries of a directory. The first time it reports what is
// wrong with long names, and mends that; later it is quiet.
func (c *checker) entries(d *dir, quiet bool) (list []*entry, err error) {
	long := longName{first: -1}
	// orphans reports the parts before slot end that belong to no entry.
	orphans := func(end int, why string) error {
		first := long.first
		long.first = -1
		if first < 0 || quiet {
			return nil
		}
		if !c.problem(vfs.Finding{
			Code: codeLongOrphan, Structure: "long name", Off: c.slotOff(d, first), Path: c.path(d.ref), Preen: true,
			Detail: fmt.Sprintf("%d of its entries belong to no file: %s", end-first, why),
		}) {
			return nil
		}
		return c.erase(d, first, end)
	}
	for i := d.firstSlot(); i < d.slots(); i++ {
		raw := d.slot(i)
		switch {
		case raw[0] == ondisk.MarkEnd:
			return list, orphans(i, "no file follows")
		case raw[0] == ondisk.MarkDeleted:
			err = orphans(i, "no file follows")
		case ondisk.IsLong(raw):
			err = c.longPart(d, i, &long, orphans, quiet)
		default:
			e := &entry{slot: i, first: i, dirent: ondisk.DecodeDirent(raw)}
			switch why := long.belongs(&e.dirent); {
			case why != "":
				err = orphans(i, why)
			case long.first >= 0:
				e.first, e.long = long.first, append([]uint16(nil), long.name()...)
				long.first = -1
			}
			list = append(list, e)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, orphans(d.slots(), "the directory ends")
}

// longPart takes up the part of a long name in slot i.
func (c *checker) longPart(d *dir, i int, long *longName, orphans func(int, string) error, quiet bool) error {
	raw := d.slot(i)
	if !quiet && (raw[11] != ondisk.AttrLong || raw[12] != 0 || binary.LittleEndian.Uint16(raw[26:]) != 0) {
		if c.problem(vfs.Finding{
			Code: codeLongField, Structure: "long name", Off: c.slotOff(d, i), Path: c.path(d.ref), Preen: true,
			Detail: fmt.Sprintf("attributes %#02x, type %d, cluster %d, not %#02x, 0, 0",
				raw[11], raw[12], binary.LittleEndian.Uint16(raw[26:]), ondisk.AttrLong),
		}) {
			raw[11], raw[12], raw[26], raw[27] = ondisk.AttrLong, 0, 0, 0
			if err := c.put(d, i); err != nil {
				return err
			}
		}
	}
	ord, sum := ondisk.LongOrd(raw), ondisk.LongChecksum(raw)
	n := int(ord & ondisk.LongOrdMask)
	switch {
	case ord&^ondisk.LongOrdMask == ondisk.LongLast && n >= 1 && n <= ondisk.LongParts:
		if err := orphans(i, "another long name begins"); err != nil {
			return err
		}
		long.first, long.parts, long.sum = i, n, sum
	case long.first < 0:
		long.first = i
		return orphans(i+1, fmt.Sprintf("part %d comes first", n))
	case int(ord) != long.left || ord == 0:
		why := fmt.Sprintf("part %d follows part %d", n, long.left+1)
		return orphans(i+1, why)
	case sum != long.sum:
		return orphans(i+1, "its parts have different checksums")
	}
	long.left = n - 1
	ondisk.LongName(raw, (*[ondisk.LongUnits]uint16)(long.units[(n-1)*ondisk.LongUnits:]))
	return nil
}

// belongs tells why a long name does not belong to an entry; "": it does, or
// there is none.
func (l *longName) belongs(d *ondisk.Dirent) string {
	switch {
	case l.first < 0:
		return ""
	case l.left != 0:
		return fmt.Sprintf("part %d is missing", l.left)
	case l.sum != d.Checksum():
		return fmt.Sprintf("checksum %#02x, that of the short name behind is %#02x", l.sum, d.Checksum())
	}
	name := l.name()
	switch {
	case len(name) == 0:
		return "the name is empty"
	case len(name) > ondisk.LongMax:
		return fmt.Sprintf("the name has %d characters", len(name))
	case name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.'):
		return "the name is that of another directory"
	}
	return ""
}

// name is the long name, when it is complete.
func (l *longName) name() []uint16 {
	name := l.units[:l.parts*ondisk.LongUnits]
	for i, u := range name {
		if u == 0 {
			return name[:i]
		}
	}
	return name
}
