// Package iso9660 reads ISO 9660 volumes, with Rock Ridge or Joliet names.
//
// A volume is described by a list of volume descriptors, each of which leads
// to a tree of directories of its own. A directory is one contiguous extent of
// records; a record says where a file lies, in one extent or several, and with
// Rock Ridge carries a list of system use entries with the POSIX attributes.
//
// Which tree is shown is decided as Linux does: the primary one if it has Rock
// Ridge, else that of Joliet, else the primary one with its short names in
// lower case and without ";1".
//
// There are no inodes. The inode number of a file is the byte offset of its
// first directory record, that of a directory the byte offset of its own
// record ("."), which is where it begins. So both can be found again without a
// table. Names that were hard links are records of their own, and so have
// inodes of their own; their link count is the one that Rock Ridge recorded.
//
// Without Rock Ridge files are 0444, directories 0555, everything belongs to
// 0:0, and directories have 1 link, for nobody counts them.
//
// Bytes that no name may hold, NUL and "/", are shown as U+FFFD. Compressed
// files (zisofs), sparse and interleaved ones are listed, but not read. High
// Sierra volumes are not recognised.
package iso9660

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/iso9660/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Driver is the entry of the driver table.
var Driver = vfs.Driver{Name: "iso9660", Probe: Probe, Open: Open}

const (
	pageSize  = 64 << 10 // of the metadata cache
	cacheSize = 8 << 20
)

// nameBuffer is room for the longest name, with every byte or code unit
// replaced.
const nameBuffer = 3 * rockMax

// The longest names, in bytes: those of Rock Ridge are as long as on Linux, and
// those of Joliet have as many code units as fit into a record, of at most three
// bytes each.
const (
	rockMax   = 255
	jolietMax = (ondisk.MaxRecord - ondisk.RecordSize) / 2 * 3
)

func (f *FS) nameMax() int {
	if f.naming == joliet {
		return jolietMax
	}
	return rockMax
}

// naming is where names come from.
type naming int

const (
	plain naming = iota
	joliet
	rockRidge
)

// FS is an open ISO 9660 volume.
type FS struct {
	dev       blockio.Device
	cache     *blockio.Cache // directories
	volume    ondisk.Volume  // the descriptor of the tree that is shown
	info      vfs.Info
	blockSize int64
	root      vfs.Ino
	naming    naming
	skip      int // bytes before the entries in each system use area

	parents vfs.Parents

	indexMu sync.Mutex
	indexes map[vfs.Ino]index
	indexed int // entries in indexes
}

// Probe reports whether the first volume descriptor is there.
func Probe(dev blockio.Device) (bool, error) {
	const off = ondisk.FirstSector * ondisk.SectorSize
	if dev.Size() < off+ondisk.DescriptorSize {
		return false, nil
	}
	p, err := blockio.ReadFull(dev, off+1, len(ondisk.StandardID))
	return string(p) == ondisk.StandardID, err
}

// Open opens the volume on dev.
func Open(ctx context.Context, dev blockio.Device) (vfs.FS, error) {
	set, err := readDescriptors(dev)
	if err != nil {
		return nil, err
	}
	f := &FS{
		dev:     dev,
		cache:   blockio.NewCache(dev, pageSize, cacheSize),
		indexes: make(map[vfs.Ino]index),
	}
	var features []string
	if err := f.use(set.primary); err != nil {
		return nil, err
	}
	err = f.findRockRidge()
	if err != nil && set.joliet == nil {
		return nil, err
	}
	at := set.primary
	if f.naming == rockRidge {
		features = append(features, "Rock Ridge")
	} else if set.joliet != nil {
		f.naming, at = joliet, set.joliet
		if err := f.use(at); err != nil {
			return nil, err
		}
	}
	if set.joliet != nil {
		features = append(features, fmt.Sprintf("Joliet level %d", set.joliet.JolietLevel()))
	}
	f.info = vfs.Info{
		Type:       "ISO 9660",
		Label:      set.label(),
		UUID:       set.uuid(),
		BlockSize:  int(f.blockSize),
		FragSize:   int(f.blockSize),
		Features:   append(features, set.features...),
		UsedOffset: at.off,
	}
	if n := int64(at.Space.LE) * f.blockSize; n > dev.Size() {
		f.info.StateNote = fmt.Sprintf("the volume has %d bytes, the device only %d", n, dev.Size())
	}
	// A volume whose root directory cannot be read is refused.
	if _, err := f.dir(f.root); err != nil {
		return nil, err
	}
	return f, nil
}

// use selects the tree of a descriptor.
func (f *FS) use(d *descriptor) error {
	size := int64(d.BlockSize.LE)
	if size < 512 || size > ondisk.SectorSize || size&(size-1) != 0 {
		return vfs.Corruptf(d.off+128, "volume descriptor", "logical blocks of %d bytes", size)
	}
	root := ondisk.DecodeRecord(d.Root[:])
	if root.Flags&ondisk.FlagDirectory == 0 {
		return vfs.Corruptf(d.off+156, "volume descriptor", "the root is no directory (flags %#x)", root.Flags)
	}
	f.volume, f.blockSize = d.Volume, size
	f.root = vfs.Ino(f.blockOff(root.Extent, root.XattrLen))
	return nil
}

// blockOff is the byte offset of a logical block behind the extended
// attributes of a file.
func (f *FS) blockOff(block uint32, xattrBlocks uint8) int64 {
	return (int64(block) + int64(xattrBlocks)) * f.blockSize
}

// Info implements [vfs.FS].
func (f *FS) Info() vfs.Info {
	info := f.info
	info.Features = append([]string(nil), info.Features...)
	return info
}

// Root implements [vfs.FS].
func (f *FS) Root() vfs.Ino { return f.root }

// Statfs implements [vfs.FS]: a volume is always full.
func (f *FS) Statfs(context.Context) (vfs.Statfs, error) {
	return vfs.Statfs{BlockSize: f.blockSize, Blocks: uint64(f.volume.Space.LE), NameMax: f.nameMax()}, nil
}

// Close does nothing: the caches go with the last reference.
func (f *FS) Close() error { return nil }

var (
	_ vfs.FS     = (*FS)(nil)
	_ vfs.Mapper = (*FS)(nil)
)

// A descriptor is a volume descriptor and where it lies.
type descriptor struct {
	ondisk.Volume
	off int64
}

// descriptors are those of a volume that matter.
type descriptors struct {
	primary  *descriptor
	joliet   *descriptor // nil if there is none
	features []string
}

// maxDescriptors bounds the list of volume descriptors.
const maxDescriptors = 64

func readDescriptors(dev blockio.Device) (descriptors, error) {
	var set descriptors
	for i := range int64(maxDescriptors) {
		off := (ondisk.FirstSector + i) * ondisk.SectorSize
		if off+ondisk.DescriptorSize > dev.Size() {
			break
		}
		p, err := blockio.ReadFull(dev, off, ondisk.DescriptorSize)
		if err != nil {
			return set, err
		}
		d := &descriptor{ondisk.DecodeVolume(p), off}
		if string(d.ID[:]) != ondisk.StandardID {
			if i == 0 {
				return set, vfs.Corruptf(off+1, "volume descriptor", "bad identifier %q", d.ID[:])
			}
			break // the terminator is missing: what came before may do
		}
		switch {
		case d.Type == ondisk.TypePrimary && set.primary == nil:
			set.primary = d
		case d.Type == ondisk.TypeSupplementary && d.Version == 2:
			set.features = append(set.features, "enhanced volume descriptor")
		case d.Type == ondisk.TypeSupplementary && set.joliet == nil && d.JolietLevel() > 0:
			set.joliet = d
		case d.Type == ondisk.TypeBoot && strings.HasPrefix(string(p[ondisk.BootSystemOffset:]), ondisk.ElTorito):
			set.features = append(set.features, "El Torito")
		}
		if d.Type == ondisk.TypeTerminator {
			break
		}
	}
	if set.primary == nil {
		return set, vfs.Corruptf(ondisk.FirstSector*ondisk.SectorSize, "volume descriptor", "there is no primary one")
	}
	return set, nil
}

// label is the volume identifier: that of Joliet where it says the same as the
// primary one, which is short and in upper case (like blkid).
func (s *descriptors) label() string {
	short := strings.TrimRight(string(s.primary.Label[:]), " \x00")
	if s.joliet != nil {
		long := strings.TrimRight(string(appendUCS2(nil, s.joliet.Label[:])), " \x00\ufffd")
		n := min(len(short), 16, len(long))
		if n > 0 && strings.EqualFold(short[:n], long[:n]) {
			if len(short) <= 16 || n == len(short) {
				return long
			}
			// Joliet has room for 16 characters only.
			return long + short[n:]
		}
	}
	return strings.ToValidUTF8(short, "\ufffd")
}

// uuid is the time of the last change, or of creation, as blkid prints it.
func (s *descriptors) uuid() string {
	for _, t := range []ondisk.LongTime{s.primary.Modified, s.primary.Created} {
		if t.Time().IsZero() {
			continue
		}
		d := t.Digits
		return fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", d[:4], d[4:6], d[6:8], d[8:10], d[10:12], d[12:14], d[14:16])
	}
	return ""
}
