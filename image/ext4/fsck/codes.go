package fsck

// The codes of findings. They are stable: scripts rely on them.
const (
	codeSuper           = "superblock"
	codeSuperField      = "superblock-field"
	codeTotals          = "superblock-totals"
	codeNotClean        = "not-clean"
	codeJournal         = "journal"
	codeJournalReplay   = "journal-replay"
	codeJournalError    = "journal-error"
	codeGroupDesc       = "group-descriptor"
	codeGroupFlags      = "group-flags"
	codeGroupUnused     = "group-unused"
	codeGroupCounts     = "group-counts"
	codeBlockMap        = "block-bitmap"
	codeBlockMapSum     = "block-bitmap-checksum"
	codeInodeMap        = "inode-bitmap"
	codeInodeMapSum     = "inode-bitmap-checksum"
	codeOrphan          = "orphan"
	codeOrphanFile      = "orphan-file"
	codeResize          = "resize-inode"
	codeReserved        = "inode-reserved"
	codeInodeSum        = "inode-checksum"
	codeInodeType       = "inode-type"
	codeSymlink         = "symlink-target"
	codeInodeFlags      = "inode-flags"
	codeInodeField      = "inode-field"
	codeExtraIsize      = "inode-extra-size"
	codeInodeTime       = "inode-time"
	codeDtime           = "inode-deletion-time"
	codeInline          = "inline-data"
	codeXattr           = "attributes"
	codeXattrSum        = "attributes-checksum"
	codeXattrRefs       = "attributes-references"
	codeExtentNode      = "extent-node"
	codeExtentSum       = "extent-checksum"
	codeExtentOrder     = "extent-order"
	codeExtentIndex     = "extent-index"
	codeExtentUnwritten = "extent-unwritten"
	codeInodePointer    = "inode-pointer"
	codeInodeSize       = "inode-size"
	codeInodeBlocks     = "inode-blocks"
	codeDuplicate       = "inode-duplicate"
	codeRoot            = "root"
	codeDirEmpty        = "directory-empty"
	codeDirHole         = "directory-hole"
	codeDirBlock        = "directory-block"
	codeDirTail         = "directory-tail"
	codeDirSum          = "directory-checksum"
	codeDirDot          = "directory-dot"
	codeDirDotDot       = "directory-dotdot"
	codeDirExtraDot     = "directory-extra-dot"
	codeDirExtraLink    = "directory-extra-link"
	codeDirUnattached   = "directory-unattached"
	codeIndex           = "directory-index"
	codeIndexSum        = "directory-index-checksum"
	codeEntryName       = "entry-name"
	codeEntryTwice      = "entry-twice"
	codeEntryInode      = "entry-inode"
	codeEntryFree       = "entry-unallocated"
	codeEntryType       = "entry-type"
	codeLinkCount       = "link-count"
	codeUnreferenced    = "inode-unreferenced"
)

// A Code is a kind of finding.
type Code struct {
	Code    string
	Meaning string
	// Preen says that e2fsck -p mends it: always, sometimes or never.
	Preen string
}

// Codes returns the kinds of findings, in the order of the passes.
func Codes() []Code {
	const always, sometimes, never = "always", "sometimes", "never"
	return []Code{
		{codeSuper, "the primary superblock is lost or makes no sense; a copy of it does", never},
		{codeSuperField, "a field of the superblock does not follow from the others, or is out of its range", sometimes},
		{codeGroupDesc, "a group descriptor is damaged", sometimes},
		{codeGroupFlags, "a group descriptor has flags that it cannot have", always},
		{codeJournal, "the journal cannot be used, or does not fit the superblock", never},
		{codeJournalReplay, "the journal has to be replayed", sometimes},
		{codeJournalError, "the kernel noted an error in the journal", always},
		{codeNotClean, "the file system was not cleanly unmounted, or has met errors", always},
		{codeOrphan, "files were being deleted or cut when the file system was last mounted", sometimes},
		{codeOrphanFile, "the file that lists such files is damaged", never},
		{codeResize, "the inode for online resizing is not what follows from the superblock", never},
		{codeReserved, "an inode with a number of its own is not what it should be", never},
		{codeInodeSum, "the checksum of an inode is wrong", sometimes},
		{codeInodeType, "the mode of an inode is of no type of file, or does not fit the rest", never},
		{codeSymlink, "a symbolic link has no legible target", never},
		{codeInodeFlags, "an inode has flags that it cannot have", never},
		{codeInodeField, "a field of an inode that is not in use is not zero", never},
		{codeExtraIsize, "the fields of an inode behind its first 128 bytes do not end where they can", never},
		{codeInodeTime, "a time is in the notation of kernels before 3.14", always},
		{codeDtime, "the time of deletion does not fit the link count", always},
		{codeInline, "an inode has the flag of inline data, but not the attribute for it", never},
		{codeXattr, "extended attributes are damaged", never},
		{codeXattrSum, "the checksum of a block of attributes is wrong", always},
		{codeXattrRefs, "attributes, or the value of one, count other users than they have", sometimes},
		{codeExtentNode, "a node of an extent tree is none", never},
		{codeInodePointer, "blocks of a file are outside the file system, in its metadata, or cannot be otherwise", never},
		{codeExtentOrder, "extents are out of order", never},
		{codeExtentUnwritten, "a directory has blocks that were never written", never},
		{codeExtentIndex, "an entry of an extent index does not begin where what is below it does", never},
		{codeExtentSum, "the checksum of a node of an extent tree is wrong", sometimes},
		{codeInodeSize, "the size of a file does not fit its blocks", sometimes},
		{codeInodeBlocks, "an inode counts other blocks than it has", always},
		{codeDirEmpty, "a directory has no blocks at all", never},
		{codeDuplicate, "two files have the same block", never},
		{codeRoot, "there is no root directory", never},
		{codeDirHole, "a directory has a hole", never},
		{codeIndex, "the hash tree of a directory is damaged", never},
		{codeIndexSum, "the checksum of a block of a hash tree is wrong", always},
		{codeDirTail, "a block of a directory has no checksum", never},
		{codeDirSum, "the checksum of a block of a directory is wrong", sometimes},
		{codeDirBlock, "the entries in a block of a directory cannot be followed to their end", never},
		{codeDirDot, "the first entry of a directory is not itself", never},
		{codeDirDotDot, "the second entry of a directory is not its parent", sometimes},
		{codeDirExtraDot, "a directory has a second \".\" or \"..\"", never},
		{codeDirExtraLink, "a directory has a second name", never},
		{codeEntryName, "a name cannot be one", never},
		{codeEntryTwice, "a directory has the same name twice", never},
		{codeEntryInode, "a name leads to an inode that no name may lead to", never},
		{codeEntryFree, "a name leads to an inode that is not in use", never},
		{codeGroupUnused, "an inode is in use that its group says was never used", never},
		{codeEntryType, "a name says another type of file than its inode", always},
		{codeDirUnattached, "a directory cannot be reached from the root", never},
		{codeUnreferenced, "an inode is in use, but has no name", never},
		{codeLinkCount, "a file has more or fewer names than its inode counts", always},
		{codeBlockMap, "the block bitmap of a group is wrong", always},
		{codeBlockMapSum, "the checksum of a block bitmap is wrong", always},
		{codeInodeMap, "the inode bitmap of a group is wrong", always},
		{codeInodeMapSum, "the checksum of an inode bitmap is wrong", always},
		{codeGroupCounts, "a group counts wrongly what is free", always},
		{codeTotals, "the superblock counts wrongly what is free", always},
	}
}
