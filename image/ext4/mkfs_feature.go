package ext4

import (
	"maps"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A featureSet is the three words of features of a superblock.
type featureSet struct {
	compat   ondisk.Compat
	incompat ondisk.Incompat
	ro       ondisk.ROCompat
}

// features are what can be made, by the names of mke2fs -O.
var features = map[string]featureSet{
	"has_journal":  {compat: ondisk.CompatHasJournal},
	"ext_attr":     {compat: ondisk.CompatExtAttr},
	"resize_inode": {compat: ondisk.CompatResizeInode},
	"dir_index":    {compat: ondisk.CompatDirIndex},

	"filetype":           {incompat: ondisk.IncompatFiletype},
	"meta_bg":            {incompat: ondisk.IncompatMetaBg},
	"extent":             {incompat: ondisk.IncompatExtents},
	"extents":            {incompat: ondisk.IncompatExtents},
	"64bit":              {incompat: ondisk.Incompat64Bit},
	"flex_bg":            {incompat: ondisk.IncompatFlexBg},
	"ea_inode":           {incompat: ondisk.IncompatEAInode},
	"metadata_csum_seed": {incompat: ondisk.IncompatCsumSeed},
	"large_dir":          {incompat: ondisk.IncompatLargeDir},
	"inline_data":        {incompat: ondisk.IncompatInlineData},

	"sparse_super":  {ro: ondisk.ROCompatSparseSuper},
	"large_file":    {ro: ondisk.ROCompatLargeFile},
	"huge_file":     {ro: ondisk.ROCompatHugeFile},
	"uninit_bg":     {ro: ondisk.ROCompatGDTCsum},
	"gdt_csum":      {ro: ondisk.ROCompatGDTCsum},
	"dir_nlink":     {ro: ondisk.ROCompatDirNlink},
	"extra_isize":   {ro: ondisk.ROCompatExtraIsize},
	"bigalloc":      {ro: ondisk.ROCompatBigalloc},
	"metadata_csum": {ro: ondisk.ROCompatMetadataCsum},
	"project":       {ro: ondisk.ROCompatProject},
}

// unmade are those that exist, and that are not made, with the reason.
var unmade = map[string]string{
	"casefold":      "names without case are not supported",
	"encrypt":       "encryption is not supported",
	"fast_commit":   "the kernel's fast commits are not supported",
	"journal_dev":   "journals on devices of their own are not supported",
	"mmp":           "multiple mount protection is not supported",
	"orphan_file":   "orphan files are not supported",
	"quota":         "quota are not supported",
	"sparse_super2": "sparse_super2 is not supported",
	"stable_inodes": "stable inode numbers serve encryption, which is not supported",
	"verity":        "verity is not supported",
}

// The features that mke2fs.conf gives to each type.
const (
	baseFeatures = "sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr"
	ext3Features = "has_journal"
	ext4Features = "has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize"
)

// edit adds the features in list to f and takes those away that have a ^ in
// front, as mke2fs -O does: "none" takes all away.
func (f *featureSet) edit(list string) error {
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, off := strings.CutPrefix(strings.ToLower(word), "^")
		if name == "none" && !off {
			*f = featureSet{}
			continue
		}
		add, ok := features[name]
		if why := unmade[name]; why != "" {
			if off {
				continue
			}
			return cannotMake("feature %s: %s", name, why)
		}
		if !ok {
			return cannotMake("feature %q is not known; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(features)), ", "))
		}
		if off {
			f.compat &^= add.compat
			f.incompat &^= add.incompat
			f.ro &^= add.ro
			continue
		}
		f.compat |= add.compat
		f.incompat |= add.incompat
		f.ro |= add.ro
	}
	return nil
}

// check finds the first rule of mke2fs that f breaks. Both kinds of checksums
// at once mean the better one.
func (f *featureSet) check() error {
	if f.ro&ondisk.ROCompatMetadataCsum != 0 {
		f.ro &^= ondisk.ROCompatGDTCsum
	}
	extents := f.incompat&ondisk.IncompatExtents != 0
	switch {
	case f.incompat&ondisk.Incompat64Bit != 0 && !extents:
		return cannotMake("feature 64bit needs extent: add it, or take 64bit away (^64bit)")
	case f.ro&ondisk.ROCompatBigalloc != 0 && !extents:
		return cannotMake("feature bigalloc needs extent")
	case f.incompat&ondisk.IncompatMetaBg != 0 && f.compat&ondisk.CompatResizeInode != 0:
		return cannotMake("features meta_bg and resize_inode exclude each other: take one away (^resize_inode)")
	case f.compat&ondisk.CompatResizeInode != 0 && f.ro&ondisk.ROCompatSparseSuper == 0:
		return cannotMake("feature resize_inode needs sparse_super: take it away too (^resize_inode)")
	case f.incompat&ondisk.IncompatCsumSeed != 0 && f.ro&ondisk.ROCompatMetadataCsum == 0:
		return cannotMake("feature metadata_csum_seed needs metadata_csum")
	}
	return nil
}
