// Package image opens a disk image, a file-system image or a block device and
// says what is in it: partition tables, volumes, their roles, the operating
// system.
//
//	Disk ── Tables        what partitions it, outermost first
//	     ── Partitions    the leaves, with the ids people type
//	           └─ Volume  the file system in one of them, opened on demand
//	     ── Layout        which partitions are root slots, and which is active
//
// Formats are the business of the packages below: part/… for tables, ffs,
// ext4, fat and iso9660 for file systems, each behind the vfs contract and
// listed in drivers.go. [Open] opens an image for reading, [Edit] for changing:
// everything that is written is part of one transaction of the whole image.
package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
)

// A Disk is an opened image.
type Disk struct {
	name       string
	dev        blockio.Device   // what everything is read from
	session    *blockio.Session // nil: opened for reading
	private    bool             // nobody else sees what session writes before it is committed
	recovery   blockio.Recovery
	closers    []func() error // what is below, to be closed in reverse order
	tables     []*part.Table
	partitions []*Partition

	layoutOnce sync.Once
	layout     Layout
}

// An Option changes how an image is opened.
type Option func(*options)

type options struct {
	sectorSize int
}

func readOptions(opts []Option) (options, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.sectorSize != 0 && o.sectorSize != 512 && o.sectorSize != 4096 {
		return o, fmt.Errorf("sector size %d: only 512 and 4096 are supported", o.sectorSize)
	}
	return o, nil
}

// sector is the sector size that was asked for, or that of the file.
func (o options) sector(file *blockio.File) int {
	if o.sectorSize != 0 {
		return o.sectorSize
	}
	return file.SectorSize()
}

// WithSectorSize says how large a logical sector is (512 or 4096 bytes). An
// image file of a disk with 4096-byte sectors does not say so itself, except
// in a GPT.
func WithSectorSize(n int) Option { return func(o *options) { o.sectorSize = n } }

// ErrTooSmall reports a file that is too short to be an image.
var ErrTooSmall = errors.New("not an image: shorter than one sector")

// Open opens the image file or block device called name and finds its
// partitions. Tables that are damaged do not keep it from opening: see
// [Disk.Problems].
//
// What is seen is the last commit, even if a writer was interrupted and has
// left it in the journal. The image is not a snapshot: a writer that comes
// later changes it.
func Open(ctx context.Context, name string, opts ...Option) (*Disk, error) {
	o, err := readOptions(opts)
	if err != nil {
		return nil, err
	}
	d := &Disk{name: name}
	if d.dev, err = d.openRecovered(o); err == nil {
		err = d.find(ctx)
	}
	if err != nil {
		d.Close()
		return nil, withName(name, err)
	}
	return d, nil
}

// openRecovered opens the image for reading, with what is in its journal.
func (d *Disk) openRecovered(o options) (blockio.Device, error) {
	file, err := blockio.OpenFile(d.name)
	if err != nil {
		return nil, err
	}
	d.onClose(file.Close)
	file = file.WithSectorSize(o.sector(file))
	journal, err := blockio.JournalOf(file)
	if err != nil {
		return nil, err
	}
	pending, err := blockio.OpenRecovered(file, journal)
	if err != nil || pending == nil {
		return file, err
	}
	d.onClose(pending.Close)
	return pending, nil
}

// openShared is openRecovered, and keeps writers away.
func (d *Disk) openShared(o options) (blockio.Device, error) {
	share, err := blockio.ShareFile(d.name)
	if err != nil {
		return nil, err
	}
	d.onClose(share.Unlock)
	return d.openRecovered(o)
}

func (d *Disk) onClose(fn func() error) { d.closers = append(d.closers, fn) }

// Close closes the volumes and the image. What was not committed is discarded.
func (d *Disk) Close() error {
	var errs []error
	for _, p := range d.partitions {
		if p.volume != nil {
			errs = append(errs, p.volume.FS.Close())
		}
		if p.edit != nil {
			errs = append(errs, p.edit.FS.Close())
		}
	}
	for _, closer := range slices.Backward(d.closers) {
		errs = append(errs, closer())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// Name is what the image was opened by.
func (d *Disk) Name() string { return d.name }

// Size is the length of the image in bytes.
func (d *Disk) Size() int64 { return d.dev.Size() }

// SectorSize is the logical sector size in bytes.
func (d *Disk) SectorSize() int { return d.dev.SectorSize() }

// Device is the whole image.
func (d *Disk) Device() blockio.Device { return d.dev }

// Tables returns the partition tables, outermost first; none for a bare file
// system.
func (d *Disk) Tables() []*part.Table { return d.tables }

// Partitions returns what can hold a file system, in the order of the tables.
func (d *Disk) Partitions() []*Partition { return d.partitions }

// Problems returns what is wrong with the partition tables.
func (d *Disk) Problems() []part.Problem {
	var all []part.Problem
	for _, t := range d.tables {
		all = append(all, t.Problems...)
	}
	return all
}

// UnknownVolumeError says that an image has no volume of that name.
type UnknownVolumeError struct {
	Name  string
	Known []string // what would have been understood
}

func (e *UnknownVolumeError) Error() string {
	if e.Name == "" {
		return "which volume? none is known to be the root (there are: " + strings.Join(e.Known, ", ") + ")"
	}
	return fmt.Sprintf("no volume %q (there are: %s)", e.Name, strings.Join(e.Known, ", "))
}

// Find returns the partition called name: by id ("d", "p1", "whole"), by role
// ("root", "inactive", "cfg", "mbr", "efi"), or by its label or that of its
// file system, in this order. The empty name is the root volume, or the only
// one there is. A label that two partitions bear is an error.
func (d *Disk) Find(ctx context.Context, name string) (*Partition, error) {
	for _, p := range d.partitions {
		if name == p.ID {
			return p, nil
		}
		for _, alias := range p.Aliases {
			if name == alias {
				return p, nil
			}
		}
	}
	d.Layout(ctx) // gives the roles
	role := name
	if name == "" {
		if len(d.partitions) == 1 {
			return d.partitions[0], nil
		}
		role = "root"
	}
	for _, p := range d.partitions {
		if p.Role == role {
			return p, nil
		}
	}
	var found *Partition
	if name != "" {
		for _, p := range d.partitions {
			if _, label := p.identity(ctx); name != label && (p.Entry == nil || name != p.Entry.Name) {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("label %q is borne by both %s and %s: say which", name, found.ID, p.ID)
			}
			found = p
		}
	}
	if found == nil {
		return nil, &UnknownVolumeError{Name: name, Known: d.names()}
	}
	return found, nil
}

// names lists what Find understands.
func (d *Disk) names() []string {
	var known []string
	for _, p := range d.partitions {
		if p.Role != "" {
			known = append(known, p.ID+" ("+p.Role+")")
		} else {
			known = append(known, p.ID)
		}
	}
	return known
}

// find reads the tables and lists the partitions.
func (d *Disk) find(ctx context.Context) error {
	if d.Size() < blockio.DefaultSectorSize {
		return ErrTooSmall
	}
	// A damaged table is no reason to refuse what may be a bare file system.
	var tableErr error
	if d.tables, tableErr = readTables(ctx, d.dev); ctx.Err() != nil {
		return ctx.Err()
	}
	labels := 0
	for _, t := range d.tables {
		if t.Scheme == schemeDisklabel {
			labels++
		}
	}
	for _, t := range d.tables {
		for i := range t.Entries {
			d.addEntry(t, &t.Entries[i], labels > 1)
		}
	}
	if whole := d.whole(); whole != nil {
		if whole.Content.Kind == KindUnknown && whole.Content.Err == nil {
			whole.Content.Err = tableErr
		}
		d.partitions = append(d.partitions, whole)
	}
	return nil
}

const schemeDisklabel = "disklabel"

// addEntry makes a partition of a table's entry, unless it holds other
// partitions, or is one that an outer table has listed already.
func (d *Disk) addEntry(t *part.Table, e *part.Entry, manyLabels bool) {
	if e.Container || e.Size <= 0 {
		return
	}
	id := e.ID(t.Scheme)
	if manyLabels && t.ParentID != "" {
		id = t.ParentID + "." + id
	}
	for _, inner := range d.tables {
		if inner.ParentID == id && t.Scheme != schemeDisklabel {
			return // a partition that is divided further by a disklabel
		}
	}
	for _, p := range d.partitions {
		if p.Start == e.Start && p.Size == e.Size {
			// OpenBSD's label repeats foreign partitions of the MBR as i, j, …
			// The letter is the name people type; the other one is an alias.
			p.Aliases = append(p.Aliases, p.ID)
			p.ID, p.Table, p.Entry = id, t, e
			return
		}
	}
	p := &Partition{disk: d, ID: id, Start: e.Start, Size: e.Size, Table: t, Entry: e}
	d.partitions = append(d.partitions, p)
	p.recognise()
}

// whole returns the image itself as a partition, if it is one: there is no
// table that divides it, or it is an ISO 9660 image that also has tables (as
// those that boot from a USB stick do).
func (d *Disk) whole() *Partition {
	p := &Partition{disk: d, ID: "whole", Size: d.Size()}
	if len(d.partitions) == 0 {
		p.recognise()
		return p
	}
	iso := driver("iso9660")
	if ok, err := iso.Probe(d.dev); err != nil || !ok {
		return nil
	}
	for _, other := range d.partitions {
		if other.Start == 0 && other.Content.Driver == iso {
			return nil
		}
	}
	p.recognise()
	return p
}

// sortByStart returns the partitions in the order in which they lie on the
// disk.
func sortByStart(list []*Partition) []*Partition {
	sorted := append([]*Partition(nil), list...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].Start < sorted[j].Start })
	return sorted
}
