package testimage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

// Options choose what the resflash image looks like. The zero value is the
// amd64 image of 1906 MB that resflash's documentation shows.
type Options struct {
	SizeMB     int64     // of the image, in MiB; at least 48
	SwapMB     int64     // of partition b; 0 for none
	Active     string    // "d" or "e": the slot that boot.conf names; "" is "d"
	FillE      bool      // a system in e as well, as after an upgrade; Active "e" implies it
	OSVersion  string    // of the active slot: "7.6"
	OldVersion string    // of the other slot, if filled: the release before
	Arch       string    // "amd64"
	DUID       [8]byte   // disk identifier; zero for one made from Seed
	FFSVersion int       // 1 as images up to 2016, or 2
	Time       time.Time // when everything was written
	Seed       uint64    // of everything that is random
	Dirty      bool      // the active slot was not unmounted
	// Edit changes the files of a volume before it is written. The volumes are
	// "a" (/mbr), "d", "e", "f" (/cfg) and "i" (/efi).
	Edit func(volume string, t Tree)
}

// Layout is where the partitions of an image went, in bytes, by letter.
type Layout map[string]Extent

// Extent is a range of bytes of the image.
type Extent struct{ Start, Size int64 }

const (
	mib         = 1 << 20
	efiStart    = 64   // sectors
	efiSectors  = 6144 // 3 MiB
	mbrStart    = 8192 // sectors: 4 MiB
	mbrBytes    = 4 * mib
	cfgAndSlack = 102 // MB that resflash reserves for /cfg, and a bit
	headMB      = 32  // MB that it reserves for everything before the slots
)

func (o *Options) defaults() error {
	if o.SizeMB == 0 {
		o.SizeMB = 1906
	}
	if o.Active == "" {
		o.Active = "d"
	}
	if o.OSVersion == "" {
		o.OSVersion = "7.6"
	}
	if o.OldVersion == "" {
		o.OldVersion = previous(o.OSVersion)
	}
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.FFSVersion == 0 {
		o.FFSVersion = 2
	}
	if o.Time.IsZero() {
		o.Time = time.Date(2024, 10, 9, 12, 34, 56, 0, time.UTC)
	}
	if o.DUID == [8]byte{} {
		rng := rand.New(rand.NewPCG(o.Seed, 0x6475_6964))
		for i := range o.DUID {
			o.DUID[i] = byte(1 + rng.IntN(255))
		}
	}
	if o.Active == "e" {
		o.FillE = true
	}
	if o.Active != "d" && o.Active != "e" {
		return fmt.Errorf("slot %q is not d or e", o.Active)
	}
	if o.SizeMB < 48 || o.SizeMB > 1<<20 {
		return fmt.Errorf("an image of %d MB", o.SizeMB)
	}
	return nil
}

// previous is the OpenBSD release before: 7.0 came after 6.9.
func previous(version string) string {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return version
	}
	if minor == 0 {
		return fmt.Sprintf("%d.9", major-1)
	}
	return fmt.Sprintf("%d.%d", major, minor-1)
}

// slotBytes is the size of d and of e. It is resflash's formula, scaled down
// for images that would have no room for slots by it.
func (o *Options) slotBytes() int64 {
	free := o.SizeMB - headMB - o.SwapMB - cfgAndSlack
	if o.SizeMB < 400 {
		free = (o.SizeMB - 8 - o.SwapMB) * 3 / 4
	}
	return free * mib / 2 / mib * mib
}

// Resflash writes an image in the resflash layout to the file name, which must
// not exist. The file is sparse: only what is used takes space.
func Resflash(name string, opt Options) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(name)
		}
	}()
	if opt.SizeMB == 0 {
		opt.SizeMB = 1906
	}
	if err := f.Truncate(opt.SizeMB * mib); err != nil {
		return err
	}
	_, err = WriteResflash(f, opt)
	return err
}

// WriteResflash is [Resflash] into something that reads as zeros.
func WriteResflash(w io.WriterAt, opt Options) (Layout, error) {
	if err := opt.defaults(); err != nil {
		return nil, err
	}
	sectors := opt.SizeMB * mib / sectorBytes
	slot := opt.slotBytes() / sectorBytes
	var parts [16]labelPart
	at := int64(mbrStart)
	place := func(letter byte, size int64, fstype byte) {
		if size > 0 {
			parts[letter-'a'] = labelPart{start: at, size: size, fstype: fstype}
			at += size
		}
	}
	place('a', mbrBytes/sectorBytes, fsBSDFFS)
	place('b', opt.SwapMB*mib/sectorBytes, fsSwap)
	place('d', slot, fsBSDFFS)
	place('e', slot, fsBSDFFS)
	place('f', (sectors-at)/32*32, fsBSDFFS)
	parts['c'-'a'] = labelPart{size: sectors, fstype: fsUnused}
	parts['i'-'a'] = labelPart{start: efiStart, size: efiSectors, fstype: fsMSDOS}

	layout := Layout{}
	for i, p := range parts {
		if p.size > 0 {
			layout[string(rune('a'+i))] = Extent{p.start * sectorBytes, p.size * sectorBytes}
		}
	}
	image := &resflashImage{w: w, opt: opt, layout: layout, content: contentOf(opt)}
	mbrFS, err := image.ffs("a", "/mbr")
	if err != nil {
		return nil, err
	}
	parts[0].ffs = mbrFS
	if _, err := image.ffs("d", "/"); err != nil {
		return nil, err
	}
	if opt.FillE {
		if _, err := image.ffs("e", "/"); err != nil {
			return nil, err
		}
	}
	if parts['f'-'a'].ffs, err = image.ffs("f", "/cfg"); err != nil {
		return nil, err
	}
	efi := layout["i"]
	err = WriteFAT(io.NewOffsetWriter(w, efi.Start), efi.Size, FATOptions{
		Label: "efi", Hidden: efiStart, Serial: uint32(opt.Seed) ^ 0x1d2e0b5d, Time: opt.Time,
	}, image.tree("i"))
	if err != nil {
		return nil, fmt.Errorf("partition i: %w", err)
	}

	bsdStart := int64(efiStart + efiSectors)
	boot := mbrFS.Inode("boot")
	for _, sector := range []struct {
		at   int64
		data []byte
	}{
		{0, masterBootRecord([4]slice{
			{typ: 0xef, start: efiStart, size: efiSectors},
			3: {active: true, typ: 0xa6, start: bsdStart, size: sectors - bsdStart},
		})},
		{bsdStart, partitionBootRecord(bootParams{mbrFS, parts[0].start, boot, int64(len(image.content["a"]["boot"].Data))})},
		{bsdStart + 1, disklabel(sectors, bsdStart, sectors, opt.DUID, parts)},
	} {
		if _, err := w.WriteAt(sector.data, sector.at*sectorBytes); err != nil {
			return nil, err
		}
	}
	return layout, nil
}

// DUIDString is the identifier of a disk as fstab has it.
func DUIDString(duid [8]byte) string { return hex.EncodeToString(duid[:]) }

type resflashImage struct {
	w       io.WriterAt
	opt     Options
	layout  Layout
	content map[string]Tree
}

// tree is the content of a volume with the caller's changes.
func (r *resflashImage) tree(letter string) Tree {
	t := r.content[letter]
	if r.opt.Edit != nil {
		r.opt.Edit(letter, t)
	}
	return t
}

func (r *resflashImage) ffs(letter, mounted string) (*FFS, error) {
	at := r.layout[letter]
	f, err := WriteFFS(io.NewOffsetWriter(r.w, at.Start), at.Size, FFSOptions{
		Version: r.opt.FFSVersion,
		Time:    r.opt.Time,
		Seed:    r.opt.Seed<<8 | uint64(letter[0]),
		Mounted: mounted,
		Dirty:   r.opt.Dirty && letter == r.opt.Active,
	}, r.tree(letter))
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", letter, err)
	}
	return f, nil
}
