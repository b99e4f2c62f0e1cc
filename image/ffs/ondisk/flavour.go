package ondisk

// Flavour is the system that a file system belongs to. The format does not
// record it, but a few fields and the packing of device numbers depend on it.
type Flavour int

// The flavours.
const (
	FlavourUnknown Flavour = iota // some descendant of 4.4BSD
	OpenBSD
	FreeBSD
	NetBSD
	FourTwoBSD // 4.2BSD and 4.3BSD
)

func (f Flavour) String() string {
	switch f {
	case OpenBSD:
		return "OpenBSD"
	case FreeBSD:
		return "FreeBSD"
	case NetBSD:
		return "NetBSD"
	case FourTwoBSD:
		return "4.2BSD"
	}
	return "BSD"
}

// Flavour guesses whose file system this is, by marks that only one system
// leaves, the surest first:
//
//   - 4.2BSD tables lie over everything else;
//   - FreeBSD records the last mount and the place of the superblock copy in
//     words that are spare elsewhere, and names its check hashes;
//   - NetBSD has a magic number, a journal version and a quota magic of its own;
//   - OpenBSD fills the rotational fields in FFS2 too, where the others write
//     zeros, and never keeps cluster summaries, which the others have.
//
// Anything else is unknown: NetBSD and FreeBSD of before 2009 look alike.
func (s *Super) Flavour(o Order) Flavour {
	if s.OldPostblFmt == PostblFormat42 {
		return FourTwoBSD
	}
	if s.Magic == MagicFFS2EA {
		return NetBSD
	}
	if s.SuperActualLoc(o) != 0 || s.MountTime(o) != 0 {
		return FreeBSD
	}
	version, location := s.Journal()
	if version == JournalVersion1 && (location == 1 || location == 2) || s.QuotaMagicWord(o) == QuotaMagic {
		return NetBSD
	}
	if s.ProviderSize(o) != 0 || s.MetaSpace(o) != 0 ||
		s.Word1312&FlagMetaCkHash != 0 && s.Word1308 != 0 && s.Word1308&^0x1f == 0 {
		return FreeBSD
	}
	if s.Magic == MagicFFS2 {
		if s.OldPostblFmt == PostblFormat44 && s.OldCpg >= 1 {
			return OpenBSD
		}
		if s.SuperLoc == SuperFFS1 {
			return NetBSD // its makefs; nobody else puts FFS2 there
		}
		return FlavourUnknown
	}
	if s.ContigSumSize <= 0 && s.OldInodeFormat == InodeFormat44 {
		return OpenBSD
	}
	return FlavourUnknown
}

// Flags returns fs_flags from where the flavour keeps it. FFS1 has an old place
// of 8 bits, which counts until a kernel has moved the flags.
func (s *Super) Flags(f Flavour) uint32 {
	if s.Magic == MagicFFS1 && s.OldFlags&FlagFlagsUpdated == 0 {
		return uint32(s.OldFlags)
	}
	if f == OpenBSD {
		return s.Word1308
	}
	return s.Word1312
}

// Device takes a device number apart as the flavour packs it. raw is the first
// block pointer of the inode: 32 bits in FFS1, 64 in FFS2. The low 8 bits of
// both numbers lie at the same place everywhere; only large ones differ.
func (f Flavour) Device(raw uint64) (major, minor uint32) {
	x := uint32(raw)
	switch f {
	case FourTwoBSD:
		return x >> 8 & 0xff, x & 0xff
	case OpenBSD: // 8 bits of major; minor is split around it
		return x >> 8 & 0xff, x&0xff | x>>8&0xffff00
	case FreeBSD: // since 12 of 64 bits, with the high parts above the old 32
		hi := uint32(raw >> 32)
		return hi&0xffffff00 | x>>8&0xff, hi&0xff<<8 | x&0xffff00ff
	default: // NetBSD: 12 bits of major, 20 of minor; Linux's makefs writes the same
		return x >> 8 & 0xfff, x&0xff | x>>12&0xfff00
	}
}

// PackDevice is the inverse of [Flavour.Device]: the first block pointer of a
// device node, or false if the flavour cannot hold such numbers.
func (f Flavour) PackDevice(major, minor uint32, v Version) (raw uint64, ok bool) {
	switch f {
	case FourTwoBSD:
		raw = uint64(major<<8 | minor)
	case OpenBSD:
		raw = uint64(major<<8&0xff00 | minor&0xff | minor<<8&0xffff0000)
	case FreeBSD:
		raw = uint64(major<<8&0xff00|minor&0xffff00ff) | uint64(major&0xffffff00|minor>>8&0xff)<<32
	default:
		raw = uint64(major<<8&0xfff00 | minor&0xff | minor<<12&0xfff00000)
	}
	if v == V1 {
		raw = uint64(uint32(raw))
	}
	ma, mi := f.Device(raw)
	return raw, ma == major && mi == minor
}
