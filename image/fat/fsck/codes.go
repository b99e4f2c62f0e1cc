package fsck

// The codes of findings. They are stable: scripts rely on them.
const (
	codeBoot          = "boot-sector"
	codeBootSignature = "boot-signature"
	codeBackup        = "backup-boot-sector"
	codeBackupPlace   = "backup-place"
	codeInfoPlace     = "fsinfo-place"
	codeInfoSignature = "fsinfo-signature"
	codeInfoFree      = "fsinfo-free"
	codeInfoNext      = "fsinfo-next"
	codeDirty         = "dirty"
	codeTablesDiffer  = "tables-differ"
	codeTableMedia    = "table-media"
	codeTableFlags    = "table-flags"
	codeTableValue    = "table-value"
	codeRoot          = "root"
	codeChainFree     = "chain-free"
	codeChainBad      = "chain-bad"
	codeChainLoop     = "chain-loop"
	codeChainLong     = "chain-long"
	codeCrossLink     = "cross-link"
	codeFileSize      = "file-size"
	codeEntryStart    = "entry-start"
	codeDirDot        = "directory-dot"
	codeExtraDot      = "directory-extra-dot"
	codeDirEnd        = "directory-end"
	codeDirSize       = "directory-size"
	codeDirLarge      = "directory-large"
	codeDirPart       = "directory-part"
	codeDirTwice      = "directory-twice"
	codeFalseDir      = "directory-false"
	codeName          = "name"
	codeCase          = "name-case"
	codeTwice         = "name-twice"
	codeLongOrphan    = "long-name-orphan"
	codeLongField     = "long-name-field"
	codeLabel         = "label"
	codeLabelKind     = "label-kind"
	codeLabelExtra    = "label-extra"
	codeLabelField    = "label-field"
	codeLabelName     = "label-name"
	codeLost          = "lost-chain"
	codeLostDir       = "lost-directory"
)

// A Code is a kind of finding.
type Code struct {
	Code    string
	Meaning string
	Preen   bool // fsck -p mends it
}

// Codes returns the kinds of findings, in the order of the passes.
func Codes() []Code {
	return []Code{
		{codeBoot, "the boot sector makes no sense; its backup does", false},
		{codeBootSignature, "the boot sector does not end in 55 AA", true},
		{codeBackup, "the backup of the boot sector differs from it", true},
		{codeBackupPlace, "the backup of the boot sector is in no reserved sector", true},
		{codeInfoPlace, "FSInfo is in no reserved sector", true},
		{codeTablesDiffer, "the copies of the file allocation table differ; preened if one of them has nothing impossible in it", true},
		{codeTableMedia, "the first entry of the table is not the media byte", true},
		{codeTableFlags, "the second entry of the table is not an end mark", true},
		{codeTableValue, "an entry of the table leads to a cluster that does not exist", false},
		{codeRoot, "the first cluster of the root directory is not in use", false},
		{codeDirPart, "a directory goes on in a cluster that is none of a directory", false},
		{codeDirDot, "the first two entries of a directory are not itself and its parent", false},
		{codeDirEnd, "there are entries behind the end of a directory", false},
		{codeLongOrphan, "parts of a long name belong to no entry", true},
		{codeLongField, "a field of a long name is not 0", true},
		{codeLabelKind, "a file or directory has the mark of a volume label", false},
		{codeLabelExtra, "there is more than one volume label, or one outside of the root directory", false},
		{codeLabelField, "a volume label has a size", true},
		{codeLabelName, "a volume label has characters that are not possible", false},
		{codeExtraDot, "there is a \".\" or \"..\" in a place that is not its own", false},
		{codeName, "a short name has characters that are not possible", false},
		{codeCase, "bits beside those for the case of a name are set", true},
		{codeTwice, "a directory has a name twice", false},
		{codeDirTwice, "a directory is in two places, or in itself", false},
		{codeFalseDir, "what should be a directory is none", false},
		{codeDirSize, "a directory has a size", true},
		{codeDirLarge, "a directory has more than 65536 entries", false},
		{codeEntryStart, "a file or directory begins in a cluster that does not exist", false},
		{codeChainFree, "a chain leads to a free cluster", false},
		{codeChainBad, "a chain leads to a cluster that is marked bad", false},
		{codeChainLoop, "a chain comes back to itself", false},
		{codeCrossLink, "two chains lead to the same cluster", false},
		{codeChainLong, "a file has more clusters than its size needs", false},
		{codeFileSize, "a file has fewer clusters than its size needs", false},
		{codeLostDir, "a directory has no name", false},
		{codeLost, "a chain belongs to no file", false},
		{codeLabel, "the label in the boot sector is not that of the root directory", true},
		{codeInfoSignature, "FSInfo has other signatures", true},
		{codeInfoFree, "FSInfo counts other free clusters than the table has", true},
		{codeInfoNext, "FSInfo looks for free clusters where there are none", true},
		{codeDirty, "the volume was not unmounted", true},
	}
}
