package customize

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

// Options say how a system is edited.
type Options struct {
	// Volume names its root; empty is the root of the active system.
	Volume string
	// Epoch, if it is not nil, is "now", and what would be random follows from
	// it: the same operations on equal images give the same bytes. It is what
	// SOURCE_DATE_EPOCH asks for.
	Epoch *time.Time
	// Record keeps what [Editor.Changes] needs. It reads everything that is
	// overwritten or removed.
	Record bool
	// DryRun says that nothing may be written to the host either.
	DryRun bool
	// Note, if it is not nil, is told what the user should know and what is no
	// error.
	Note func(text string)
}

// An Editor is one system in an image that is being changed. Its methods take
// paths as a process of that system would write them; they lead through all
// volumes that its fstab mounts from the image, noauto or not, and symbolic
// links never lead out of it. "VOLUME:/path" is a path in one volume, which
// follows its links in that volume.
//
// An Editor is for one goroutine.
type Editor struct {
	disk    *image.Disk // nil if it is a bare file system
	opt     Options
	root    *volume
	volumes map[*image.Partition]*volume
	mounts  map[string]*volume // by the real path, never "/"
	os      *image.OS          // once it is known
	random  io.Reader
	log     record
}

// New begins to edit the system whose root is in the volume opt.Volume of a
// disk that was opened by [image.Edit].
func New(ctx context.Context, d *image.Disk, opt Options) (*Editor, error) {
	e := newEditor(opt)
	e.disk = d
	layout := d.Layout(ctx) // gives the roles
	p, err := d.Find(ctx, opt.Volume)
	if err != nil {
		return nil, err
	}
	if e.root, err = e.volume(ctx, p); err != nil {
		return nil, err
	}
	return e, e.mount(ctx, layout)
}

// OnFS begins to edit a file system that is not on a disk.
func OnFS(fsys vfs.WritableFS, opt Options) (*Editor, error) {
	e := newEditor(opt)
	e.root = &volume{id: "whole", fs: fsys, w: fsys}
	return e, e.setClock(fsys)
}

func newEditor(opt Options) *Editor {
	e := &Editor{opt: opt, volumes: map[*image.Partition]*volume{}, mounts: map[string]*volume{}, random: crand.Reader}
	if opt.Epoch != nil {
		var seed [32]byte
		binary.LittleEndian.PutUint64(seed[:], uint64(opt.Epoch.Unix()))
		e.random = rand.NewChaCha8(seed)
	}
	e.log.on = opt.Record
	return e
}

// A volume is one that was opened. It is opened for changing when something is
// changed in it: that alone may replay a journal.
type volume struct {
	id   string
	part *image.Partition // nil for a bare file system
	fs   vfs.FS
	w    vfs.WritableFS // nil before the first change
}

func (v *volume) tree() *vfs.Tree { return vfs.NewTree(v.fs) }

// volume opens the file system in a partition.
func (e *Editor) volume(ctx context.Context, p *image.Partition) (*volume, error) {
	if v := e.volumes[p]; v != nil {
		return v, nil
	}
	v := &volume{id: p.ID, part: p}
	if opened := p.Edited(); opened != nil {
		v.fs = opened.FS // another editor has changed something there
	} else if opened, err := p.Volume(ctx); err == nil {
		v.fs = opened.FS
	} else {
		return nil, err
	}
	e.volumes[p] = v
	return v, nil
}

// writable opens a volume for changing. fresh says that it was not before: what
// was found in it has to be found again.
func (e *Editor) writable(ctx context.Context, v *volume) (fresh bool, err error) {
	if v.w != nil {
		return false, nil
	}
	opened, err := v.part.Edit(ctx)
	if err != nil {
		return false, err
	}
	w, ok := opened.FS.(vfs.WritableFS)
	if !ok {
		return false, fmt.Errorf("volume %s: %w", v.id, &vfs.NotSupportedError{What: "writing to " + opened.FS.Info().Type, Off: -1})
	}
	if err := e.setClock(w); err != nil {
		return false, err
	}
	if r, ok := w.(vfs.Recovered); ok && r.Recovered() != "" {
		e.note("volume %s: %s", v.id, r.Recovered())
	}
	v.fs, v.w = w, w
	return true, nil
}

func (e *Editor) setClock(fsys vfs.FS) error {
	if e.opt.Epoch == nil {
		return nil
	}
	epoch := *e.opt.Epoch
	if c, ok := fsys.(vfs.Clocked); ok {
		c.SetClock(func() time.Time { return epoch })
	}
	if s, ok := fsys.(vfs.Seeded); ok {
		s.SetSeed(uint64(epoch.Unix()))
	}
	return nil
}

// mount finds out what the system mounts, and where.
func (e *Editor) mount(ctx context.Context, layout image.Layout) error {
	if len(e.disk.Partitions()) == 1 {
		return nil
	}
	lines, err := e.disk.Fstab(ctx, &image.Volume{Partition: e.root.part, FS: e.root.fs, Tree: e.root.tree()})
	if err != nil && !missing(err) {
		// A system without an fstab that can be read mounts nothing.
		e.note("volume %s: /etc/fstab: %v; nothing but this volume is edited", e.root.id, leaf(err))
	}
	for _, line := range append(lines, e.unlisted(ctx, layout)...) {
		if line.Path == "/" || line.Partition == nil || line.Partition == e.root.part {
			continue
		}
		at, err := e.resolve(ctx, line.Path, true)
		if line.Type == "" && e.mounted(line.Partition) {
			continue
		}
		if err != nil || at.attr == nil || !at.attr.Mode.IsDir() || at.isRoot() {
			continue // the system could not mount it either, or has it there
		}
		v, err := e.volume(ctx, line.Partition)
		switch {
		case err == nil:
			e.mounts[at.path] = v
		case !errors.Is(err, image.ErrEmpty):
			e.note("%s: left out: %v", line.Path, err)
		}
	}
	return ctx.Err()
}

// unlisted are the volumes that the system mounts without a line in its fstab:
// on resflash images by its own scripts, and by systemd as
// systemd-gpt-auto-generator(8) does. What the fstab has at such a place, or
// mounts elsewhere, comes first.
func (e *Editor) unlisted(ctx context.Context, layout image.Layout) (list []image.Mount) {
	var roles []image.Mount // by the role, in Spec
	switch layout.Kind {
	case image.LayoutResflash:
		roles = []image.Mount{{Path: "/mbr", Spec: image.RoleMBR}, {Path: "/cfg", Spec: image.RoleCfg}}
	case image.LayoutDiscoverable:
		roles = []image.Mount{
			{Path: "/boot", Spec: image.RoleBoot}, {Path: "/efi", Spec: image.RoleEFI}, {Path: "/boot", Spec: image.RoleEFI},
			{Path: "/home", Spec: "home"}, {Path: "/srv", Spec: "srv"}, {Path: "/var", Spec: "var"}, {Path: "/var/tmp", Spec: "tmp"},
		}
	}
	for _, m := range roles {
		if p, err := e.disk.Find(ctx, m.Spec); err == nil && p.Role == m.Spec {
			m.Partition = p
			list = append(list, m)
		}
	}
	return list
}

// mounted reports whether a partition is mounted somewhere.
func (e *Editor) mounted(p *image.Partition) bool {
	for _, v := range e.mounts {
		if v.part == p {
			return true
		}
	}
	return false
}

// Disk is the disk that is edited; nil if it is a bare file system.
func (e *Editor) Disk() *image.Disk { return e.disk }

// Root is the partition of the root volume; nil if it is a bare file system.
func (e *Editor) Root() *image.Partition { return e.root.part }

// OS says which operating system is being edited. It is as it was before the
// first change.
func (e *Editor) OS(ctx context.Context) (image.OS, error) {
	if e.os == nil {
		os, err := image.IdentifyOS(ctx, e.root.tree())
		if err != nil {
			return os, err
		}
		e.os = &os
	}
	return *e.os, nil
}

// Now is the time that new things are of.
func (e *Editor) Now() time.Time {
	if e.opt.Epoch != nil {
		return *e.opt.Epoch
	}
	return time.Now()
}

// Rand gives random bytes: salts, identities. Where the same operations are to
// give the same image, they follow from the time that stands for now.
func (e *Editor) Rand() io.Reader { return e.random }

// note tells the user something.
func (e *Editor) note(format string, args ...any) {
	if e.opt.Note != nil {
		e.opt.Note(fmt.Sprintf(format, args...))
	}
}

// missing reports whether err says that nothing is there.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// leaf takes the operation and path of a library out of an error.
func leaf(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
