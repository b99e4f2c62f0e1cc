package customize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/part/gpt"
	"github.com/resflash/resflash/image/part/mbr"
)

// setDiskID gives the disk another identifier in its partition table: a GUID in
// a GPT, a signature in an MBR. An empty one is made up.
type setDiskID struct{ id string }

var signature = lazyregexp.New(`^0x[0-9A-Fa-f]{8}$`)

func parseSetDiskID(arg string) (Operation, error) {
	if arg == "random" {
		return setDiskID{}, nil
	}
	if !uuid.MatchString(arg) && !signature.MatchString(arg) {
		return nil, fmt.Errorf("%q is no identifier: want a GUID (GPT), a signature as 0x1234abcd (MBR) or random", arg)
	}
	return setDiskID{strings.ToLower(arg)}, nil
}

// outerTable is the table that the disk has, not one in a partition: its GPT
// rather than the MBR that protects it.
func (e *Editor) outerTable() (*part.Table, error) {
	if e.disk == nil {
		return nil, errors.New("this is a bare file system, and has no partition table")
	}
	var found *part.Table
	for _, t := range e.disk.Tables() {
		if t.Scheme == "GPT" || t.Scheme == "MBR" && found == nil {
			found = t
		}
	}
	if found == nil {
		return nil, errors.New("the disk has neither a GPT nor an MBR")
	}
	return found, nil
}

func (o setDiskID) Apply(ctx context.Context, e *Editor) error {
	t, err := e.outerTable()
	if err != nil {
		return err
	}
	old, id := t.ID, o.id
	partitions := map[int]string{}
	for _, p := range t.Entries {
		partitions[p.Index] = p.UUID
	}
	if t.Scheme == "GPT" {
		if id == "" {
			if id, err = e.newGUID(); err != nil {
				return err
			}
		}
		err = gpt.SetID(e.disk.Transaction(), t, id)
	} else {
		if id == "" {
			var b [4]byte
			if _, err := io.ReadFull(e.Rand(), b[:]); err != nil {
				return err
			}
			b[0] |= 1 // it is not zero
			id = fmt.Sprintf("0x%x", b)
		}
		err = mbr.SetID(e.disk.Transaction(), t, id)
	}
	if err != nil {
		return err
	}
	e.Set("", "disk-id", old, t.ID)
	if err := e.replaceID(ctx, strings.TrimPrefix(old, "0x"), strings.TrimPrefix(t.ID, "0x")); err != nil {
		return err
	}
	// Those of an MBR are made of its signature.
	for _, p := range t.Entries {
		if err := e.replaceID(ctx, partitions[p.Index], p.UUID); err != nil {
			return err
		}
	}
	return nil
}

func (o setDiskID) String() string {
	if o.id == "" {
		return "set-disk-id random"
	}
	return "set-disk-id " + o.id
}

// newGUID makes a GUID up.
func (e *Editor) newGUID() (string, error) { return e.newUUID("00000000-0000-0000-0000-000000000000") }

// setPartUUID gives a partition of a GPT another GUID. An empty one is made up.
type setPartUUID struct{ volume, id string }

func parseSetPartUUID(arg string) (Operation, error) {
	volume, id, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	if id == "random" {
		return setPartUUID{volume, ""}, nil
	}
	if !uuid.MatchString(id) {
		return nil, fmt.Errorf("%q is no GUID", id)
	}
	return setPartUUID{volume, strings.ToLower(id)}, nil
}

func (o setPartUUID) Apply(ctx context.Context, e *Editor) error {
	if e.disk == nil {
		return errors.New("this is a bare file system, and has no partition table")
	}
	p, err := e.disk.Find(ctx, o.volume)
	if err != nil {
		return err
	}
	if p.Table == nil || p.Table.Scheme != "GPT" {
		return fmt.Errorf("volume %s is no partition of a GPT, and has no GUID (set-disk-id changes those of an MBR)", p.ID)
	}
	id := o.id
	if id == "" {
		if id, err = e.newGUID(); err != nil {
			return err
		}
	}
	old := p.Entry.UUID
	if err := gpt.SetUUID(e.disk.Transaction(), p.Table, p.Entry, id); err != nil {
		return err
	}
	e.Set(p.ID, "partuuid", old, p.Entry.UUID)
	return e.replaceID(ctx, old, p.Entry.UUID)
}

func (o setPartUUID) String() string {
	if o.id == "" {
		return "set-partuuid " + o.volume + ":random"
	}
	return "set-partuuid " + o.volume + ":" + o.id
}
