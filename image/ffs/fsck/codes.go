package fsck

// The codes of findings. They are stable: scripts rely on them.
const (
	codeSuper         = "superblock"
	codeSuperCopy     = "superblock-copy"
	codeSuperField    = "superblock-field"
	codeSuperPending  = "superblock-pending"
	codeSuperTotals   = "superblock-totals"
	codeNotClean      = "not-clean"
	codeVolumeShort   = "volume-short"
	codeGroupMagic    = "group-magic"
	codeGroupHeader   = "group-header"
	codeGroupCounts   = "group-counts"
	codeSummary       = "group-summary"
	codeInodeMap      = "inode-map"
	codeFreeMap       = "free-map"
	codeClusterMap    = "cluster-map"
	codeInodeFree     = "inode-free"
	codeInodeType     = "inode-type"
	codeInodeSize     = "inode-size"
	codeInodeBeyond   = "inode-beyond-end"
	codeIndirBeyond   = "indirect-beyond-end"
	codeInodePointer  = "inode-pointer"
	codeDuplicate     = "inode-duplicate"
	codeInodeBlocks   = "inode-blocks"
	codeSymlink       = "symlink-inline"
	codeTarget        = "symlink-target"
	codeRoot          = "root"
	codeDirEmpty      = "directory-empty"
	codeDirSize       = "directory-size"
	codeDirHole       = "directory-hole"
	codeDirChunk      = "directory-chunk"
	codeDirDot        = "directory-dot"
	codeDirDotDot     = "directory-dotdot"
	codeDirExtraDot   = "directory-extra-dot"
	codeDirExtraLink  = "directory-extra-link"
	codeDirUnattached = "directory-unattached"
	codeEntryInode    = "entry-inode"
	codeEntryFree     = "entry-unallocated"
	codeEntryType     = "entry-type"
	codeLinkCount     = "link-count"
	codeUnreferenced  = "inode-unreferenced"
)

// A Code is a kind of finding.
type Code struct {
	Code    string
	Meaning string
	// Preen says that fsck -p mends it: always, sometimes or never.
	Preen string
}

// Codes returns the kinds of findings, in the order of the passes.
func Codes() []Code {
	const always, sometimes, never = "always", "sometimes", "never"
	return []Code{
		{codeSuper, "the primary superblock is lost or makes no sense; a copy of it does", never},
		{codeSuperCopy, "the copy of the superblock in the last group differs where nothing ever changes", always},
		{codeSuperField, "a field of the superblock does not follow from the others, or is out of its range", sometimes},
		{codeVolumeShort, "the file system is larger than the volume that it lies in", never},
		{codeSuperPending, "the superblock counts blocks or inodes that soft updates were about to free", always},
		{codeInodeFree, "an inode that is not in use still has a size or block pointers", never},
		{codeInodeType, "the mode of an inode is of no type of file", never},
		{codeInodeSize, "the size of a file is more than its pointers can reach, or less than a directory has", never},
		{codeInodeBeyond, "an inode has block pointers behind the end of its file", never},
		{codeIndirBeyond, "an indirect block has pointers behind the end of its file", always},
		{codeInodePointer, "a block pointer leads out of the file system, into its metadata, or across a block", never},
		{codeSymlink, "behind a symbolic link that lies in its inode is something else than zeros", never},
		{codeTarget, "a symbolic link has no legible target", never},
		{codeInodeBlocks, "an inode counts other blocks than it has", always},
		{codeDuplicate, "two pointers lead to the same block", never},
		{codeRoot, "there is no root directory", never},
		{codeDirEmpty, "a directory has no contents at all", never},
		{codeDirSize, "the size of a directory is no multiple of 512", sometimes},
		{codeDirHole, "a directory has a hole", never},
		{codeDirChunk, "the entries in 512 bytes of a directory cannot be followed to their end", never},
		{codeDirDot, "the first entry of a directory is not itself", never},
		{codeDirDotDot, "the second entry of a directory is not its parent", never},
		{codeDirExtraDot, "a directory has a second \".\" or \"..\"", never},
		{codeDirExtraLink, "a directory has a second name", never},
		{codeEntryInode, "a name refers to an inode that cannot be", never},
		{codeEntryFree, "a name refers to an inode that is not in use", never},
		{codeEntryType, "a name says another type of file than its inode", never},
		{codeDirUnattached, "a directory cannot be reached from the root", never},
		{codeUnreferenced, "an inode is in use, but has no name", sometimes},
		{codeLinkCount, "a file has more or fewer names than its inode counts", sometimes},
		{codeGroupMagic, "a group header is lost", never},
		{codeGroupHeader, "a field of a group header is wrong", sometimes},
		{codeInodeMap, "the map of the inodes in use is wrong", always},
		{codeFreeMap, "the map of free fragments is wrong", always},
		{codeClusterMap, "the map or the summary of free clusters is wrong", always},
		{codeGroupCounts, "a group counts wrongly what is free", always},
		{codeSummary, "the summary of a group differs from the group", always},
		{codeSuperTotals, "the superblock counts wrongly what is free", always},
		{codeNotClean, "the file system was not cleanly unmounted", always},
	}
}
