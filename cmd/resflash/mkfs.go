package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

type mkfsCmd struct {
	Type          string  `short:"t" required:"" placeholder:"TYPE" help:"ffs1, ffs2, ext2, ext3, ext4, fat12, fat16, fat32, or fat, which chooses one by the size."`
	Size          string  `short:"s" placeholder:"SIZE" help:"Size of a new file; units k, M, G."`
	Force         bool    `short:"f" help:"Replace a file that exists, or the contents of a volume."`
	Label         string  `short:"l" placeholder:"NAME" help:"Label of the volume."`
	BlockSize     string  `placeholder:"SIZE" help:"Size of a block."`
	FragmentSize  string  `placeholder:"SIZE" help:"Size of a fragment (FFS)."`
	ClusterSize   string  `placeholder:"SIZE" help:"Size of a cluster (FAT; ext4 with bigalloc)."`
	BytesPerInode string  `placeholder:"SIZE" help:"One inode for so many bytes."`
	Inodes        int64   `placeholder:"N" help:"So many inodes (ext)."`
	InodeSize     string  `placeholder:"SIZE" help:"Size of an inode (ext)."`
	JournalSize   string  `placeholder:"SIZE" help:"Size of the journal (ext3, ext4)."`
	Features      string  `short:"O" placeholder:"LIST" help:"Features to add or, with ^, to leave out, as with mke2fs (ext)."`
	Reserve       *int    `placeholder:"PERCENT" help:"Space that only the superuser may fill."`
	MountPoint    string  `placeholder:"DIR" help:"Recorded as the directory where it was last mounted."`
	UUID          string  `name:"uuid" placeholder:"ID" help:"Identifier of the file system: a UUID for ext, 1234-ABCD for FAT."`
	HashSeed      string  `placeholder:"UUID" help:"What the hashes of names start from (ext)."`
	FATs          int     `name:"fats" placeholder:"N" help:"Copies of the file allocation table (FAT)."`
	RootEntries   int     `placeholder:"N" help:"Room in the root directory (FAT12, FAT16)."`
	Hidden        *uint32 `placeholder:"SECTORS" help:"Sectors of the disk before the volume; if not given, where it begins (FAT)."`
	Seed          *uint64 `placeholder:"N" help:"Make all that is random follow from N."`
	From          string  `placeholder:"DIR" help:"Copy the contents of a directory of the host into it."`
	Owner         string  `placeholder:"UID:GID" xor:"owner" help:"With --from: whom everything belongs to (0:0)."`
	KeepOwner     bool    `xor:"owner" help:"With --from: everything belongs to the numbers that the originals do."`
	DryRun        bool    `help:"Change nothing, only say what would be made."`
	Output        string  `short:"o" placeholder:"NEW.img" help:"Leave the image as it is: the result is NEW.img."`
	JSON          bool    `name:"json" help:"Print a JSON document."`
	Target        string  `arg:"" name:"file" help:"FILE, which is made, or IMAGE:VOLUME."`
}

// Help is the long help text.
func (*mkfsCmd) Help() string {
	return `Makes an empty file system: in a new file, which appears when it is complete, or in a
volume of an image, in one transaction. What holds something is left alone without
--force. Sizes that are not given are those that the format's own system would choose.

With --from it gets the contents of a directory and its mode and time, as with cp -a, in
the same transaction: a file that cannot be copied, and nothing was made.

With --seed, and with SOURCE_DATE_EPOCH set, the same command gives the same bytes.

	resflash mkfs --type ffs2 --size 64M root.fs
	resflash mkfs --type ffs2 --label cfg disk.img:cfg --force
	resflash mkfs --type ffs1 --size 2M --bytes-per-inode 4096 --seed 1 small.fs
	resflash mkfs --type ext4 --label root --size 2G root.img
	resflash mkfs --type ext4 -O ^has_journal,inline_data --reserve 0 --size 200M data.img
	resflash mkfs --type ext2 --block-size 1k --inodes 64 --size 4M boot.img
	resflash mkfs --type ext4 --from rootfs --keep-owner --size 2G root.img
	resflash mkfs --type fat32 --label ESP --size 64M esp.img
	resflash mkfs --type fat --uuid 1234-ABCD --force disk.img:efi

--json prints {"image", "volume", "type", "size", "blockSize", "fragmentSize",
"free", "inodes", "files", "label", "uuid"}, where files is how many were copied.` + exitStatus
}

// fat32Clusters is how many clusters a FAT32 has at least, by Microsoft's
// specification: there it is their number that makes the type.
const fat32Clusters = 65525

// mkfsJSON is what mkfs --json prints.
type mkfsJSON struct {
	Image        string `json:"image"`
	Volume       string `json:"volume"`
	Type         string `json:"type"`
	Size         int64  `json:"size"` // bytes
	BlockSize    int    `json:"blockSize"`
	FragmentSize int    `json:"fragmentSize,omitempty"`
	Free         int64  `json:"free"` // bytes
	Inodes       uint64 `json:"inodes"`
	Files        int64  `json:"files,omitempty"` // copied
	Label        string `json:"label,omitempty"`
	UUID         string `json:"uuid,omitempty"`
}

// Run makes the file system.
func (c *mkfsCmd) Run(ctx context.Context, w *world) error {
	opt, err := c.options()
	if err != nil {
		return err
	}
	a := parseAddress(c.Target, isHostFile)
	switch {
	case a.path != "":
		return usageError("", fmt.Errorf("%s: a file system is made in a file or a volume, not at a path", c.Target))
	case a.volume != "" && isHostFile(a.image):
		return c.inPlace(ctx, w, a, opt)
	}
	return c.newFile(ctx, w, c.Target, opt)
}

// options reads the flags.
func (c *mkfsCmd) options() (vfs.FormatOptions, error) {
	opt := vfs.FormatOptions{
		Type: strings.ToLower(c.Type), ReservePct: c.Reserve, Inodes: c.Inodes, Features: c.Features,
		Label: c.Label, MountPoint: c.MountPoint, UUID: c.UUID, HashSeed: c.HashSeed, Seed: c.Seed,
		FATs: c.FATs, RootEntries: c.RootEntries, Hidden: c.Hidden,
	}
	known := strings.Join(image.FormatTypes(), ", ")
	if !slices.Contains(image.FormatTypes(), opt.Type) {
		return opt, usageError("resflash help mkfs", fmt.Errorf("--type %q: want one of %s", c.Type, known))
	}
	for _, f := range []struct {
		text string
		to   *int
	}{
		{c.BlockSize, &opt.BlockSize}, {c.FragmentSize, &opt.FragSize}, {c.ClusterSize, &opt.ClusterSize},
		{c.BytesPerInode, &opt.BytesPerInode}, {c.InodeSize, &opt.InodeSize},
	} {
		if f.text == "" {
			continue
		}
		n, err := parseSize(f.text)
		if err == nil && (n < 1 || n > 1<<30) {
			err = fmt.Errorf("size %q: makes no sense", f.text)
		}
		if err != nil {
			return opt, usageError("resflash help mkfs", err)
		}
		*f.to = int(n)
	}
	if c.JournalSize != "" {
		var err error
		if opt.JournalSize, err = parseSize(c.JournalSize); err != nil {
			return opt, usageError("resflash help mkfs", err)
		}
	}
	if c.Reserve != nil && (*c.Reserve < 0 || *c.Reserve > 99) {
		return opt, usageError("resflash help mkfs", errors.New("--reserve is a percentage"))
	}
	if err := c.foreign(opt.Type); err != nil {
		return opt, err
	}
	if c.From == "" && (c.Owner != "" || c.KeepOwner) {
		return opt, usageError("", errors.New("--owner and --keep-owner are for --from"))
	}
	if c.DryRun && c.Output != "" {
		return opt, usageError("", errors.New("--dry-run writes nothing, so --output makes no sense"))
	}
	var err error
	opt.Time, err = now()
	return opt, err
}

// foreign refuses flags that mean nothing for a type: who gives one expects
// it to have an effect.
func (c *mkfsCmd) foreign(kind string) error {
	ffs, ext, fat := strings.HasPrefix(kind, "ffs"), strings.HasPrefix(kind, "ext"), strings.HasSuffix(strings.TrimRight(kind, "0123456789"), "fat")
	for _, f := range []struct {
		name  string
		given bool
		has   bool // the type
	}{
		{"block-size", c.BlockSize != "", true}, // of FAT: a cluster
		{"fragment-size", c.FragmentSize != "", ffs},
		{"cluster-size", c.ClusterSize != "", ext || fat},
		{"bytes-per-inode", c.BytesPerInode != "", ffs || ext},
		{"inodes", c.Inodes != 0, ext},
		{"inode-size", c.InodeSize != "", ext},
		{"journal-size", c.JournalSize != "", ext && kind != "ext2"},
		{"features", c.Features != "", ext},
		{"reserve", c.Reserve != nil, ffs || ext},
		{"mount-point", c.MountPoint != "", ffs || ext},
		{"uuid", c.UUID != "", ext || fat},
		{"hash-seed", c.HashSeed != "", ext},
		{"fats", c.FATs != 0, fat},
		{"root-entries", c.RootEntries != 0, fat && kind != "fat32"},
		{"hidden", c.Hidden != nil, fat},
	} {
		if f.given && !f.has {
			return usageError("resflash help mkfs", fmt.Errorf("--%s means nothing for %s", f.name, kind))
		}
	}
	return nil
}

// inPlace makes it in a volume of an image.
func (c *mkfsCmd) inPlace(ctx context.Context, w *world, a address, opt vfs.FormatOptions) error {
	if c.Size != "" {
		return usageError("", errors.New("--size is that of a new file; a volume has its own"))
	}
	var made mkfsJSON
	err := w.edit(ctx, editFlags{DryRun: c.DryRun, Output: c.Output}, func(e *editor) error {
		d, err := e.open(ctx, a.image)
		if err != nil {
			return err
		}
		p, err := d.Find(ctx, a.volume)
		if err != nil {
			return fmt.Errorf("%s: %w", a.image, err)
		}
		if there := contents(ctx, p); there != "" && !c.Force {
			return &exitError{exitFailure, "--force makes a new one all the same", fmt.Errorf("%s: volume %s holds %s", a.image, p.ID, there)}
		}
		made, err = c.format(ctx, w, a.image, p, opt)
		return err
	})
	if err != nil {
		return err
	}
	if c.Output != "" {
		made.Image = c.Output
	}
	return c.print(w, made)
}

// contents says what is in a partition; nothing if it is empty.
func contents(ctx context.Context, p *image.Partition) string {
	c := p.Content
	label := c.Label
	switch c.Kind {
	case image.KindEmpty:
		return ""
	case image.KindUnknown:
		return "data that resflash does not know"
	case image.KindFilesystem:
		v, err := p.Volume(ctx)
		if err != nil {
			return c.Type + " (unreadable)"
		}
		info := v.FS.Info()
		c.Type, label = info.Type, info.Label
		if info.Label == "" {
			label = info.LastMount
		}
	}
	if label != "" {
		return fmt.Sprintf("%s (%s)", c.Type, label)
	}
	return c.Type
}

// newFile makes it in a file of its own, under a temporary name.
func (c *mkfsCmd) newFile(ctx context.Context, w *world, name string, opt vfs.FormatOptions) (err error) {
	if c.Output != "" {
		return usageError("", errors.New("--output is for a volume of an image"))
	}
	n, st := int64(0), fs.FileInfo(nil)
	if st, err = os.Stat(name); err == nil {
		switch {
		case st.IsDir():
			return usageError("", fmt.Errorf("%s: is a directory", name))
		case !st.Mode().IsRegular():
			return c.device(ctx, w, name, opt)
		case !c.Force:
			return &exitError{exitFailure, "--force replaces it; IMAGE:VOLUME is a volume in it", fmt.Errorf("%s: %w", name, syscall.EEXIST)}
		}
		n = st.Size()
	}
	if c.Size != "" {
		if n, err = parseSize(c.Size); err != nil {
			return usageError("resflash help mkfs", err)
		}
	}
	if n == 0 {
		return usageError("resflash help mkfs", errors.New("a new file needs --size"))
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.part")
	if err != nil {
		return hostError(fmt.Errorf("%s: %w", name, leaf(err)))
	}
	tmp := f.Name()
	defer os.Remove(tmp) // fails once it is renamed
	err = errors.Join(f.Truncate(n), f.Chmod(0o666&^umask), f.Close())
	if err != nil {
		return hostError(fmt.Errorf("%s: %w", name, leaf(err)))
	}
	d, err := w.openEdit(ctx, tmp, image.EditOptions{Atomic: true, New: true})
	if err != nil {
		return mkfsError(name, tmp, err)
	}
	made, err := c.format(ctx, w, name, d.Partitions()[0], opt)
	if err != nil {
		return mkfsError(name, tmp, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.Commit(context.WithoutCancel(ctx)); err != nil {
		return mkfsError(name, tmp, err)
	}
	if !c.DryRun {
		if err := os.Rename(tmp, name); err != nil {
			return hostError(fmt.Errorf("%s: %w", name, errors.Unwrap(err)))
		}
	}
	return c.print(w, made)
}

// mkfsError takes the temporary name out of an error, and sees to it that the
// right one is in it.
func mkfsError(name, tmp string, err error) error {
	text := strings.ReplaceAll(err.Error(), tmp, name)
	switch {
	case text != err.Error():
		err = &exitError{exitCode(err), hint(err), errors.New(text)}
	case !strings.HasPrefix(text, name+": "):
		err = leaf(err)
	}
	if strings.HasPrefix(err.Error(), name+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// device makes it in a block device, which has no place for another name.
func (c *mkfsCmd) device(ctx context.Context, w *world, name string, opt vfs.FormatOptions) error {
	if c.Size != "" {
		return usageError("", errors.New("--size is that of a new file; a device has its own"))
	}
	var made mkfsJSON
	err := w.edit(ctx, editFlags{DryRun: c.DryRun}, func(e *editor) error {
		d, err := e.open(ctx, name)
		if err != nil {
			return err
		}
		if len(d.Tables()) > 0 {
			return usageError("", fmt.Errorf("%s has a partition table: name a volume, %s:VOLUME", name, name))
		}
		p := d.Partitions()[0]
		if there := contents(ctx, p); there != "" && !c.Force {
			return &exitError{exitFailure, "--force makes a new one all the same", fmt.Errorf("%s holds %s", name, there)}
		}
		made, err = c.format(ctx, w, name, p, opt)
		return err
	})
	if err != nil {
		return err
	}
	return c.print(w, made)
}

// format makes the file system, and fills it, in a transaction that is yet to
// be committed.
func (c *mkfsCmd) format(ctx context.Context, w *world, name string, p *image.Partition, opt vfs.FormatOptions) (mkfsJSON, error) {
	if err := p.Format(ctx, opt); err != nil {
		return mkfsJSON{}, fmt.Errorf("%s: %w", name, leaf(err))
	}
	var fsys vfs.FS
	var files int64
	var err error
	if c.From != "" {
		fsys, files, err = c.fill(ctx, w, name, p)
	} else {
		if fsys, err = p.Content.Driver.Open(ctx, p.Device()); err != nil {
			return mkfsJSON{}, fmt.Errorf("%s: what was made cannot be read: %w", name, err)
		}
		defer fsys.Close()
	}
	if err != nil {
		return mkfsJSON{}, err
	}
	info := fsys.Info()
	st, err := fsys.Statfs(ctx)
	if err != nil {
		return mkfsJSON{}, err
	}
	if info.Type == "FAT32" && st.Blocks < fat32Clusters {
		w.note("%s: some systems take FAT32 for FAT16 if it has fewer than %d clusters; this one has %d. --type fat chooses what fits", name, fat32Clusters, st.Blocks)
	}
	return mkfsJSON{
		Image: name, Volume: p.ID, Type: info.Type, Size: p.Device().Size(), BlockSize: info.BlockSize, FragmentSize: info.FragSize,
		Free: int64(st.Free) * st.BlockSize, Inodes: st.Files, Files: files, Label: info.Label, UUID: info.UUID,
	}, nil
}

func (c *mkfsCmd) print(w *world, m mkfsJSON) error {
	if c.JSON {
		return w.document(m)
	}
	at := m.Image
	if m.Volume != "whole" {
		at += ":" + m.Volume
	}
	unit := "blocks"
	if strings.HasPrefix(m.Type, "FAT") {
		unit = "clusters"
	}
	text := fmt.Sprintf("%s: %s, %s, %s of %s", at, m.Type, size(m.Size), unit, size(int64(m.BlockSize)))
	if m.FragmentSize != m.BlockSize && m.FragmentSize != 0 {
		text += ", fragments of " + size(int64(m.FragmentSize))
	}
	if m.Inodes > 0 {
		text += fmt.Sprintf(", %d inodes", m.Inodes)
	}
	text += fmt.Sprintf(", %s free", size(m.Free))
	if m.Label != "" {
		text += ", label " + m.Label
	}
	if c.From != "" {
		text += fmt.Sprintf(", %s from %s", plural(int(m.Files), "file", "files"), c.From)
	}
	if c.DryRun {
		text += " (dry run)"
	}
	w.printf("%s\n", w.name(text))
	return nil
}
