package ffs

import (
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// maxGroups bounds what is kept in memory for every group. It is 2 TiB with
// groups as small as 2 MiB; usual ones are a hundred times that.
const maxGroups = 1 << 20

// refuse returns why the file system must not be written to, if there is a
// reason: it is not clean, or keeps something up to date that we would not.
func refuse(s *ondisk.Super, o ondisk.Order, g *geometry, at, devSize int64) error {
	no := func(field int64, format string, args ...any) error {
		return &vfs.NotSupportedError{What: "writing to " + fmt.Sprintf(format, args...), Off: at + field}
	}
	flags, flagsOff := s.Flags(g.flavour), int64(1312)
	switch {
	case g.version == ondisk.V1 && s.OldFlags&ondisk.FlagFlagsUpdated == 0:
		flagsOff = 211
	case g.flavour == ondisk.OpenBSD:
		flagsOff = 1308
	}
	switch {
	case o.Big:
		return no(ondisk.SuperMagicOff, "a big-endian file system")
	case g.flavour == ondisk.FourTwoBSD:
		return no(1356, "a file system of 4.2BSD (postblformat %d)", s.OldPostblFmt)
	case g.oldDirs:
		return no(1320, "directories of the old format (maxsymlinklen %d)", s.MaxSymlinkLen)
	case g.oldIDs:
		return no(1324, "inodes of the old format (inodefmt %d)", s.OldInodeFormat)
	case g.hasEA:
		return no(ondisk.SuperMagicOff, "UFS2 with extended attributes of NetBSD (magic %#x)", s.Magic)
	}

	known := uint32(ondisk.FlagUnclean | ondisk.FlagSoftdep | ondisk.FlagFlagsUpdated)
	if g.flavour != ondisk.OpenBSD {
		known |= ondisk.FlagNeedsFsck | ondisk.FlagACLs | ondisk.FlagMultilabel | ondisk.FlagTrim
	}
	if g.flavour == ondisk.FreeBSD {
		known |= ondisk.FlagNFS4ACLs
	}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if flags&bit&^known != 0 {
			return no(flagsOff, "a file system with %s (flag %#x)", flagName(g.flavour, bit), bit)
		}
	}
	if g.flavour == ondisk.FreeBSD {
		for i, ino := range s.Snapshots {
			if ino != 0 {
				return no(1116+4*int64(i), "a file system with snapshots (inode %d)", ino)
			}
		}
	}
	if err := dirty(s, g, at, flags, flagsOff); err != nil {
		return err
	}
	return unsound(s, g, at, devSize)
}

// dirty says whether fsck has to run first.
func dirty(s *ondisk.Super, g *geometry, at int64, flags uint32, flagsOff int64) error {
	is := func(field int64, format string, args ...any) error {
		return &vfs.DirtyError{Why: fmt.Sprintf("%s (at byte %d)",
			fmt.Sprintf(format, args...), at+field)}
	}
	switch {
	case s.Clean != 1:
		return is(209, "the clean flag is %d: %s", s.Clean, whyDirty(s, g, flags))
	case flags&ondisk.FlagUnclean != 0:
		return is(flagsOff, "flag %#x: %s", ondisk.FlagUnclean, whyDirty(s, g, flags))
	case g.flavour != ondisk.OpenBSD && flags&ondisk.FlagNeedsFsck != 0:
		return is(flagsOff, "flag %#x: %s", ondisk.FlagNeedsFsck, whyDirty(s, g, flags))
	case s.PendingBlocks != 0 && g.version == ondisk.V2:
		return is(1104, "soft updates have left %d blocks to free", s.PendingBlocks)
	case s.PendingInodes != 0 && g.version == ondisk.V2:
		return is(1112, "soft updates have left %d inodes to free", s.PendingInodes)
	}
	return nil
}

// unsound finds what a reader does not care about and a writer must rely on.
func unsound(s *ondisk.Super, g *geometry, at, devSize int64) error {
	bad := func(field int64, format string, args ...any) error {
		return vfs.Corruptf(at+field, "superblock", format, args...)
	}
	summaryAddr, summaryField := s.SummaryAddr, int64(1096)
	if g.version == ondisk.V1 {
		summaryAddr, summaryField = int64(s.OldSummaryAddr), 152
	}
	bytes := int64(g.groups) * summaryEntry
	switch {
	case g.frags > g.devFrags:
		return bad(1080, "the device ends %d bytes before the file system does", g.frags<<g.fragShift-devSize)
	case g.groups > maxGroups:
		return &vfs.NotSupportedError{What: fmt.Sprintf("writing to %d cylinder groups", g.groups), Off: at + 44}
	case g.fragsPerGroup%g.frag != 0 || g.groupOffset%g.frag != 0:
		return bad(188, "groups of %d fragments do not begin with a block", g.fragsPerGroup)
	case g.groupHeader%g.frag != 0 || g.inodeTable%g.frag != 0:
		return bad(12, "group header at fragment %d, inodes at %d: not the start of a block", g.groupHeader, g.inodeTable)
	case s.SuperOff < 0 || int64(s.SuperOff) > g.groupHeader:
		return bad(8, "superblock copy at fragment %d of a group", s.SuperOff)
	case s.SummarySize < 0 || int64(s.SummarySize) < bytes:
		return bad(156, "summaries of %d groups in %d bytes", g.groups, s.SummarySize)
	case summaryAddr <= 0 || summaryAddr > g.frags-(bytes+g.fragSize-1)>>g.fragShift:
		return bad(summaryField, "summaries of groups at fragment %d", summaryAddr)
	case s.ContigSumSize < 0 || int64(s.ContigSumSize) > g.blockSize/8:
		return bad(1316, "contigsumsize %d", s.ContigSumSize)
	case g.inodesPerGroup > uint64(g.blockSize)*8:
		return bad(184, "%d inodes per group are more than a group header has room for", g.inodesPerGroup)
	}
	return nil
}
