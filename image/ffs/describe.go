package ffs

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// describe puts what people want to know of a superblock into words.
func describe(s *ondisk.Super, o ondisk.Order, g *geometry, at, devSize int64) vfs.Info {
	flags := s.Flags(g.flavour)
	info := vfs.Info{
		Type:       fmt.Sprintf("FFS%d", g.version),
		UUID:       fmt.Sprintf("%08x%08x", s.ID[0], s.ID[1]),
		LastMount:  cString(s.MountPoint[:]),
		BlockSize:  int(g.blockSize),
		FragSize:   int(g.fragSize),
		BigEndian:  o.Big,
		Features:   features(s, g, flags),
		UsedOffset: at,
	}
	if g.flavour != ondisk.FourTwoBSD { // which has tables there
		info.Label = cString(s.VolumeName[:])
	}

	// FS_ISCLEAN; NetBSD shifts it to FS_WASCLEAN (2) while mounted.
	var notes []string
	if s.Clean == 1 && flags&(ondisk.FlagUnclean|ondisk.FlagNeedsFsck) == 0 {
		info.State = vfs.Clean
	} else {
		info.State = vfs.Dirty
		notes = append(notes, whyDirty(s, g, flags))
	}
	if missing := g.frags<<g.fragShift - devSize; missing > 0 {
		notes = append(notes, fmt.Sprintf("the device ends %d bytes before the file system does", missing))
	}
	info.StateNote = strings.Join(notes, "; ")
	return info
}

// whyDirty says what a file system that was not unmounted means for a reader.
func whyDirty(s *ondisk.Super, g *geometry, flags uint32) string {
	switch {
	case s.Clean == 1 && flags&ondisk.FlagNeedsFsck != 0:
		return "fsck found errors that it left for a full check"
	case s.Clean == 1:
		return "mounted while unclean: needs fsck"
	case hasWAPBL(s, g, flags):
		return "not cleanly unmounted: the WAPBL journal is not replayed, so recent changes may be missing or half done"
	case g.flavour == ondisk.FreeBSD && flags&ondisk.FlagSUJ != 0:
		return "not cleanly unmounted: the soft update journal (.sujournal) is not replayed; " +
			"counts and free maps may be off, and unlinked files may hold space"
	case g.flavour == ondisk.FreeBSD && flags&ondisk.FlagGjournal != 0:
		return "not cleanly unmounted: gjournal below the file system is not replayed, so recent changes may be missing"
	case flags&ondisk.FlagSoftdep != 0:
		return "not cleanly unmounted with soft updates: counts and free maps may be off, and unlinked files may hold space; needs fsck"
	}
	return "not cleanly unmounted: needs fsck"
}

func hasWAPBL(s *ondisk.Super, g *geometry, flags uint32) bool {
	version, location := s.Journal()
	return g.flavour == ondisk.NetBSD && flags&ondisk.FlagWAPBL != 0 && version != 0 && location != 0
}

// features lists what a file system has beyond the plain format, the format
// marks first, then the flags by rising bit.
func features(s *ondisk.Super, g *geometry, flags uint32) []string {
	var names []string
	add := func(cond bool, name string) {
		if cond {
			names = append(names, name)
		}
	}
	add(g.flavour == ondisk.FourTwoBSD, "4.2bsd-tables")
	add(g.oldIDs, "4.2bsd-inodes")
	add(g.oldDirs, "old-directories")
	add(s.Magic == ondisk.MagicFFS2EA, "ea")
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if flags&bit != 0 && bit != ondisk.FlagFlagsUpdated {
			names = append(names, flagName(g.flavour, bit))
		}
	}
	if g.flavour == ondisk.FreeBSD {
		add(len(nonZero(s.Snapshots[:])) > 0, "snapshots")
	}
	return names
}

func nonZero(list []uint32) []uint32 {
	var out []uint32
	for _, v := range list {
		if v != 0 {
			out = append(out, v)
		}
	}
	return out
}

func flagName(f ondisk.Flavour, bit uint32) string {
	switch bit {
	case ondisk.FlagUnclean:
		return "unclean"
	case ondisk.FlagSoftdep:
		return "softdep"
	}
	if f != ondisk.OpenBSD && f != ondisk.FourTwoBSD {
		switch bit {
		case ondisk.FlagNeedsFsck:
			return "needs-fsck"
		case ondisk.FlagACLs:
			return "acls"
		case ondisk.FlagMultilabel:
			return "multilabel"
		case ondisk.FlagGjournal:
			return "gjournal"
		case ondisk.FlagTrim:
			return "trim"
		}
	}
	switch {
	case f == ondisk.FreeBSD && bit == ondisk.FlagSUJ:
		return "suj"
	case f == ondisk.FreeBSD && bit == ondisk.FlagNFS4ACLs:
		return "nfsv4acls"
	case f == ondisk.FreeBSD && bit == ondisk.FlagMetaCkHash:
		return "metackhash"
	case f == ondisk.NetBSD && bit == ondisk.FlagWAPBL:
		return "wapbl"
	case f == ondisk.NetBSD && bit == ondisk.FlagQuota2:
		return "quota2"
	}
	return fmt.Sprintf("flag-%#x", bit)
}

// count computes what statfs(2) reports, like ffs_statfs of OpenBSD. Counts
// that a damaged superblock makes negative or larger than the whole are cut.
func count(s *ondisk.Super, g *geometry) vfs.Statfs {
	data, total := s.DataSize, s.Total
	if g.version == ondisk.V1 {
		data = int64(s.OldDataSize)
		total.FreeBlocks, total.FreeFrags = int64(s.OldTotal.FreeBlocks), int64(s.OldTotal.FreeFrags)
		total.FreeInodes = int64(s.OldTotal.FreeInodes)
	}
	data = clamp(data, g.frags)
	free := clamp(clamp(total.FreeBlocks, g.frags/g.frag)*g.frag+clamp(total.FreeFrags, g.frags), data)
	reserved := data / 100 * clamp(int64(s.MinFree), 100)
	reserved += data % 100 * clamp(int64(s.MinFree), 100) / 100
	files := int64(g.inodes()) - ondisk.RootIno
	return vfs.Statfs{
		BlockSize: g.fragSize,
		Blocks:    uint64(data),
		Free:      uint64(free),
		Avail:     uint64(max(free-reserved, 0)),
		Files:     uint64(files),
		FilesFree: uint64(clamp(total.FreeInodes, files)),
		NameMax:   ondisk.MaxNameLen,
	}
}

func clamp(v, most int64) int64 { return min(max(v, 0), most) }

// cString returns b up to its first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
