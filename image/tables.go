package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/part/disklabel"
	"github.com/resflash/resflash/image/part/gpt"
	"github.com/resflash/resflash/image/part/mbr"
	"github.com/resflash/resflash/image/vfs"
)

// readTables finds the partition tables of a disk, the outermost first: an MBR,
// a GPT behind its protective MBR, and the disklabels inside their partitions.
// A device without any is an empty list and no error: it may hold one file
// system, or nothing.
//
// Damage never hides what can still be read: it becomes a problem of the table
// around it. Only where nothing else was found it is the error: a
// *vfs.CorruptError, or a *vfs.NotSupportedError for tables of other machines.
func readTables(ctx context.Context, dev blockio.Device) ([]*part.Table, error) {
	outer, err := outerTables(ctx, dev)
	if err != nil && len(outer) == 0 && !damaged(err) {
		return nil, err
	}
	tables := outer
	for _, t := range outer {
		inner, err := innerLabels(ctx, dev, t)
		tables = append(tables, inner...)
		if err != nil {
			return tables, err
		}
	}
	if len(tables) == len(outer) && !sectorOneTaken(dev, outer) {
		// OpenBSD looks at sector 1 of a disk that has no partition for it.
		label, labelErr := disklabel.Read(dev, 0, dev.Size(), disklabel.Unknown)
		switch {
		case labelErr == nil:
			tables = append(tables, label)
		case errors.Is(labelErr, part.ErrNotFound):
		case len(tables) > 0:
			if damaged(labelErr) {
				problem(tables[0], 0, "", labelErr)
			}
		case err == nil:
			err = labelErr
		}
	}
	if len(tables) > 0 {
		return tables, ctx.Err()
	}
	return nil, err
}

// outerTables reads the MBR and the GPT. The error is what is wrong where no
// table could be read.
func outerTables(ctx context.Context, dev blockio.Device) ([]*part.Table, error) {
	m, mbrErr := mbr.Read(dev)
	if mbrErr != nil && !errors.Is(mbrErr, part.ErrNotFound) {
		return nil, mbrErr
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g, gptErr := gpt.Read(dev)
	if g != nil && m != nil && g.SectorSize != m.SectorSize {
		// The disk was made with other sectors than the caller assumes, and
		// the MBR counts in them as well.
		if again, err := mbr.Read(resectored{dev, g.SectorSize}); err == nil {
			m = again
		}
	}
	switch {
	case m == nil && g == nil:
		if errors.Is(gptErr, part.ErrNotFound) {
			return nil, nil
		}
		return nil, gptErr
	case m == nil:
		if g.Source == "backup" {
			// What is left of a table at the end of a disk whose start is
			// something else now says nothing about this disk.
			return nil, nil
		}
		g.Problemf(0, "the protective MBR is missing")
		return []*part.Table{g}, nil
	case g == nil:
		if m.Flavor != "" {
			problem(m, int64(m.SectorSize), "", gptErr)
		}
		return []*part.Table{m}, nil
	case m.Flavor == "" && len(m.Entries) == 0 && g.Source == "primary":
		g.Problemf(0, "the MBR has no protective entry")
		return []*part.Table{g}, nil
	case m.Flavor == "":
		// The MBR has partitions of its own and none that announces the GPT:
		// firmware and systems go by the MBR.
		if g.Source == "primary" {
			m.Problemf(g.Off, "there is a GPT, but no entry of the MBR announces it; it is ignored")
		}
		return []*part.Table{m}, nil
	}
	return []*part.Table{m, g}, nil
}

// innerLabels reads the disklabels inside the partitions of t: in the first one
// of OpenBSD and of NetBSD, in all of FreeBSD's slices, as these systems do.
func innerLabels(ctx context.Context, dev blockio.Device, t *part.Table) ([]*part.Table, error) {
	var labels []*part.Table
	taken := make(map[disklabel.Flavor]bool)
	for i := range t.Entries {
		e := &t.Entries[i]
		flavor := labelFlavor(t.Scheme, e.Type)
		if flavor == disklabel.Unknown || taken[flavor] && flavor != disklabel.FreeBSD {
			continue
		}
		taken[flavor] = true
		if e.Start >= dev.Size() {
			continue // has a problem already
		}
		if err := ctx.Err(); err != nil {
			return labels, err
		}
		label, err := disklabel.Read(dev, e.Start, e.Size, flavor)
		if err != nil {
			if !errors.Is(err, part.ErrNotFound) {
				problem(t, e.Start, "partition "+e.ID(t.Scheme)+": ", err)
			}
			continue
		}
		label.Parent, label.ParentID = e, e.ID(t.Scheme)
		e.Container = true
		labels = append(labels, label)
	}
	return labels, nil
}

// labelFlavor says whose disklabel a partition of this type holds.
func labelFlavor(scheme, typ string) disklabel.Flavor {
	switch {
	case scheme == "MBR" && typ == fmt.Sprintf("0x%02x", mbr.TypeOpenBSD), scheme == "GPT" && typ == gpt.TypeOpenBSD:
		return disklabel.OpenBSD
	case scheme == "MBR" && typ == fmt.Sprintf("0x%02x", mbr.TypeFreeBSD), scheme == "GPT" && typ == gpt.TypeFreeBSDData:
		return disklabel.FreeBSD
	case scheme == "MBR" && typ == fmt.Sprintf("0x%02x", mbr.TypeNetBSD):
		return disklabel.NetBSD
	}
	return disklabel.Unknown
}

// sectorOneTaken reports whether a partition covers the place of a label
// outside all partitions.
func sectorOneTaken(dev blockio.Device, tables []*part.Table) bool {
	at := int64(dev.SectorSize())
	for _, t := range tables {
		if t.Scheme == "GPT" {
			return true
		}
		for _, e := range t.Entries {
			if e.Start <= at && at < e.End() {
				return true
			}
		}
	}
	return false
}

// damaged reports whether err is about the medium, not about reading it.
func damaged(err error) bool {
	var corrupt *vfs.CorruptError
	return errors.As(err, &corrupt)
}

// problem turns an error into a problem of the table t.
func problem(t *part.Table, off int64, prefix string, err error) {
	var corrupt *vfs.CorruptError
	if errors.As(err, &corrupt) {
		t.Problemf(corrupt.Off, "%s%s: %s", prefix, corrupt.Structure, corrupt.Detail)
		return
	}
	t.Problemf(off, "%s%v", prefix, err)
}

// resectored is a device with another sector size.
type resectored struct {
	blockio.Device
	size int
}

func (r resectored) SectorSize() int { return r.size }
