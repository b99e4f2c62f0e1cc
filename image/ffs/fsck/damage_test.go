package fsck

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
)

var le = binary.LittleEndian

// A damage breaks one rule.
type damage struct {
	name  string
	do    func(img *image)
	codes []string // all that Check finds
	preen bool     // RepairPreen mends it
}

// patch changes a number of 32 bits.
func patch(b []byte, off int, fn func(uint32) uint32) { le.PutUint32(b[off:], fn(le.Uint32(b[off:]))) }
func set32(b []byte, off int, v uint32)               { le.PutUint32(b[off:], v) }
func add32(n int32) func(uint32) uint32               { return func(v uint32) uint32 { return v + uint32(n) } }

// leak gives up what an inode has, by the counters only: what the other passes
// find after a pointer has been lost.
var leak = []string{codeGroupCounts, codeFreeMap, codeSummary, codeSuperTotals}

func with(code string, more ...string) []string { return append([]string{code}, more...) }

var damages = []damage{
	{"clean flag", func(img *image) { img.superBytes()[209] = 0 }, []string{codeNotClean}, true},
	{"total of free blocks", func(img *image) {
		off := 1016
		if img.version == ondisk.V1 {
			off = 196
		}
		patch(img.superBytes(), off, add32(3))
	}, []string{codeSuperTotals}, true},
	{"bmask", func(img *image) { patch(img.superBytes(), 72, add32(1)) }, []string{codeSuperField}, true},
	{"fsbtodb", func(img *image) { patch(img.superBytes(), 100, add32(1)) }, []string{codeSuperField}, true},
	{"maxfilesize", func(img *image) { patch(img.superBytes(), 1328, add32(1)) }, []string{codeSuperField}, true},
	{"maxsymlinklen", func(img *image) { patch(img.superBytes(), 1320, add32(-4)) }, []string{codeSuperField}, true},
	{"qbmask", func(img *image) { patch(img.superBytes(), 1336, add32(-4)) }, []string{codeSuperField}, true},
	{"minfree", func(img *image) { set32(img.superBytes(), 60, 100) }, []string{codeSuperField}, false},
	{"optimization", func(img *image) { set32(img.superBytes(), 128, 2) }, []string{codeSuperField}, false},
	{"pending blocks", func(img *image) { set32(img.superBytes(), 1104, 2) }, []string{codeSuperPending}, true},
	{"superblock wiped", func(img *image) { clear(img.superBytes()) }, []string{codeSuper}, false},
	{"superblock of newfs that did not finish", func(img *image) { set32(img.superBytes(), 1372, ondisk.MagicBad) }, []string{codeSuper}, false},
	{"block size", func(img *image) { patch(img.superBytes(), 48, add32(1)) }, []string{codeSuper}, false},
	{"inodes per group", func(img *image) { patch(img.superBytes(), 184, add32(-int32(img.inopb))) }, []string{codeSuper}, false},
	{"fragments per group", func(img *image) { patch(img.superBytes(), 188, add32(int32(img.frag))) }, []string{codeSuper}, false},
	{"copy in the last group wiped", func(img *image) {
		clear(img.fragBytes(img.start(img.ncg-1)+img.sblkno, 1)[:min(img.fsize, 1024)])
	}, []string{codeSuperCopy}, true},
	{"fragment size in the last copy", func(img *image) {
		patch(img.fragBytes(img.start(img.ncg-1)+img.sblkno, img.frag), 52, add32(512))
	}, []string{codeSuperCopy}, true},

	{"group magic", func(img *image) { set32(img.header(1), 4, 0) }, []string{codeGroupMagic}, false},
	{"group index", func(img *image) { set32(img.header(0), 12, 1) }, []string{codeGroupMagic}, false},
	{"fragments of a group", func(img *image) { patch(img.header(1), 20, add32(-1)) }, []string{codeGroupHeader}, true},
	{"initialised inodes", func(img *image) {
		n := uint32(0) // of none
		if img.version == ondisk.V1 {
			n = 5 // which does not count
		}
		set32(img.header(int64(img.ino("many"))/img.ipg), 120, n)
	}, []string{codeGroupHeader}, false},
	{"more initialised inodes than there are", func(img *image) {
		set32(img.header(int64(img.ino("many"))/img.ipg), 120, 1<<31+7)
	}, []string{codeGroupHeader}, false},
	{"spare in a group header", func(img *image) { set32(img.header(1), 160, 1) }, []string{codeGroupHeader}, true},
	{"rotor", func(img *image) { patch(img.header(1), 40, func(uint32) uint32 { return uint32(img.fpg) }) }, []string{codeGroupHeader}, true},
	{"freeoff", func(img *image) { patch(img.header(1), 96, add32(4)) }, []string{codeGroupHeader}, true},
	{"directories of a group", func(img *image) { patch(img.header(0), 24, add32(1)) }, []string{codeGroupCounts}, true},
	{"free runs", func(img *image) { patch(img.header(0), 56, add32(1)) }, []string{codeGroupCounts}, true},
	{"inode map", func(img *image) { img.cgMaps(img.header(0), true).inodes[0] ^= 0x80 }, []string{codeInodeMap}, true},
	{"free map", func(img *image) { img.cgMaps(img.header(1), true).free[img.sblkno/8] ^= 1 << (img.sblkno & 7) }, []string{codeFreeMap}, true},
	{"free map behind the end", func(img *image) {
		m := img.cgMaps(img.header(img.ncg-1), true).free
		if img.frags(img.ncg-1) < img.fpg {
			m[(img.fpg-1)/8] ^= 1 << ((img.fpg - 1) & 7)
		} else {
			m[0] ^= 1
		}
	}, []string{codeFreeMap}, true},
	{"summary area", func(img *image) { patch(img.fragBytes(img.csaddr, 1), 16+8, add32(-1)) }, []string{codeSummary}, true},

	{"size of a free inode", func(img *image) {
		img.inodeBytes(3 + uint32(img.freeInode()))[map[ondisk.Version]int{1: 8, 2: 16}[img.version]] = 1
	}, []string{codeInodeFree}, false},
	{"mode without a type", func(img *image) {
		img.edit(img.ino("sizes/0"), func(in *ondisk.Inode) { in.Mode |= 0o170000 })
	}, []string{codeInodeType}, false},
	{"size beyond all pointers", func(img *image) {
		img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Size = 1 << 60 })
	}, []string{codeInodeSize}, false},
	{"size that overflows", func(img *image) {
		img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Size = 1<<64 - 2 })
	}, []string{codeInodeSize}, false},
	{"size of a directory too small", func(img *image) {
		img.edit(img.ino("many"), func(in *ondisk.Inode) { in.Size = 0 })
	}, []string{codeInodeSize}, false},
	{"pointer of an empty file", func(img *image) {
		img.edit(img.ino("sizes/0"), func(in *ondisk.Inode) { in.Direct[0] = img.size - 1 })
	}, []string{codeInodeBeyond}, false},
	{"pointers of a device", func(img *image) {
		img.edit(img.ino("dev/null"), func(in *ondisk.Inode) { in.Direct[3] = 7 })
	}, []string{codeInodeBeyond}, false},
	{"indirect pointer of a short file", func(img *image) {
		img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Indirect[1] = img.size - 8 })
	}, []string{codeInodeBeyond}, false},
	{"pointer in an indirect block behind the end", func(img *image) {
		b := img.fragBytes(img.inode(img.ino("long")).Indirect[0], img.frag)
		b[len(b)-8] = 99
	}, []string{codeIndirBeyond}, true},
	{"block count", func(img *image) {
		img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Blocks++ })
	}, []string{codeInodeBlocks}, true},
	{"blocks of a device", func(img *image) {
		img.edit(img.ino("dev/null"), func(in *ondisk.Inode) { in.Blocks = 8 })
	}, []string{codeInodeBlocks}, true},
	{"padding of a short link", func(img *image) {
		img.edit(img.ino("links/1"), func(in *ondisk.Inode) { in.Direct[1] = 1 })
	}, []string{codeSymlink}, false},
	{"padding of a longer link", func(img *image) {
		img.edit(img.ino("links/1"), func(in *ondisk.Inode) { in.Indirect[2] = 1 })
	}, []string{codeSymlink}, false},
	{"link with a NUL", func(img *image) {
		img.version.Inline(img.inodeBytes(img.ino("links/59")))[30] = 0
	}, []string{codeTarget}, false},
	{"long link with a NUL", func(img *image) {
		img.fragBytes(img.inode(img.ino("links/700")).Direct[0], 1)[5] = 0
	}, []string{codeTarget}, false},
	{"long link that is a hole", func(img *image) {
		img.edit(img.ino("links/700"), func(in *ondisk.Inode) { in.Direct[0], in.Blocks = 0, 0 })
	}, with(codeTarget, leak...), false},
	{"link that should not be in a block", func(img *image) {
		img.edit(img.ino("links/700"), func(in *ondisk.Inode) { in.Size = 7 })
	}, with(codeSymlink, leak...), false},
	{"pointer beyond the volume", func(img *image) {
		img.edit(img.ino("holes/inside"), func(in *ondisk.Inode) {
			in.Direct[2] = img.size
			in.Blocks += uint64(img.bsize / 512)
		})
	}, []string{codeInodePointer}, false},
	{"pointer into the inode table", func(img *image) {
		img.edit(img.ino("holes/inside"), func(in *ondisk.Inode) { in.Direct[2] = img.start(1) + img.iblkno })
	}, []string{codeInodePointer}, false},
	{"pointer to the summary area", func(img *image) {
		img.edit(img.ino("holes/inside"), func(in *ondisk.Inode) { in.Direct[2] = img.csaddr &^ (img.frag - 1) })
	}, []string{codeInodePointer}, false},
	{"negative pointer", func(img *image) {
		img.edit(img.ino("holes/inside"), func(in *ondisk.Inode) { in.Direct[2] = -8 })
	}, []string{codeInodePointer}, false},
	{"bad pointer in an indirect block", func(img *image) {
		b := img.fragBytes(img.inode(img.ino("holes/inside")).Indirect[0], img.frag)
		b[0] = 1 // block 12 is a hole
	}, []string{codeInodePointer}, false},
	{"indirect block that contains itself", func(img *image) {
		at := img.inode(img.ino("holes/inside")).Indirect[0]
		b := img.fragBytes(at, img.frag)
		set32(b, 0, uint32(at))
	}, []string{codeInodePointer}, false},
	{"two files with a block", func(img *image) {
		at := img.inode(img.ino("long")).Direct[3]
		img.edit(img.ino("holes/inside"), func(in *ondisk.Inode) {
			in.Direct[2] = at
			in.Blocks += uint64(img.bsize / 512)
		})
	}, []string{codeDuplicate}, false},
	{"one file with a block twice", func(img *image) {
		img.edit(img.ino("holes/inside"), func(in *ondisk.Inode) {
			in.Direct[2], in.Direct[3] = img.inode(img.ino("long")).Direct[0], img.inode(img.ino("long")).Direct[0]
			in.Blocks += 2 * uint64(img.bsize/512)
		})
	}, []string{codeDuplicate}, false},
	{"two files with an indirect block", func(img *image) {
		long := img.inode(img.ino("long"))
		img.edit(img.ino("long2"), func(in *ondisk.Inode) { in.Indirect[0] = long.Indirect[0] })
	}, with(codeDuplicate, leak...), false},

	{"root not in use", func(img *image) {
		img.edit(2, func(in *ondisk.Inode) { *in = ondisk.Inode{Gen: in.Gen} })
	}, nil, false},
	{"root a file", func(img *image) {
		img.edit(2, func(in *ondisk.Inode) { in.Mode = in.Mode&0o7777 | 0o100000 })
	}, nil, false},
	{"directory without contents", func(img *image) {
		img.edit(img.ino("empty"), func(in *ondisk.Inode) { in.Size, in.Blocks, in.Direct[0] = 0, 0, 0 })
	}, with(codeDirEmpty, leak...), false},
	{"directory size no multiple of 512", func(img *image) {
		img.edit(img.ino("many"), func(in *ondisk.Inode) { in.Size -= 100 })
	}, []string{codeDirSize}, true},
	{"directory of a few bytes", func(img *image) {
		img.edit(img.ino("empty"), func(in *ondisk.Inode) { in.Size = 12 })
	}, []string{codeDirSize}, false},
	{"directory with a hole at its end", func(img *image) {
		img.edit(img.ino("empty"), func(in *ondisk.Inode) {
			in.Size = uint64(img.bsize) + 512
			in.Direct[0] = img.inode(img.ino("many")).Direct[0]
		})
	}, nil, false},
	{"entry length 0", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		le.PutUint16(b[4:], 0)
	}, nil, false},
	{"name with a slash", func(img *image) {
		b, _ := img.entry(img.ino("etc"), "motd")
		b[9] = '/'
	}, nil, false},
	{"name without its end", func(img *image) {
		b, _ := img.entry(img.ino("links"), "700")
		b[11] = 'x'
	}, nil, false},
	{"chunk of garbage", func(img *image) {
		in := img.inode(img.ino("many"))
		b := img.fragBytes(in.Direct[0], 1)[:512]
		for i := range b {
			b[i] = byte(i * 31)
		}
	}, nil, false},
	{"number of .", func(img *image) {
		b, _ := img.entry(img.ino("etc"), ".")
		set32(b, 0, 2)
	}, []string{codeDirDot}, false},
	{"type of .", func(img *image) {
		b, _ := img.entry(img.ino("etc"), ".")
		b[6] = 8
	}, []string{codeDirDot}, false},
	{". missing", func(img *image) {
		b, _ := img.entry(img.ino("etc"), ".")
		b[8] = 'x'
	}, nil, false},
	{"number of ..", func(img *image) {
		b, _ := img.entry(img.ino("a/b/c"), "..")
		set32(b, 0, img.ino("etc"))
	}, []string{codeDirDotDot}, false},
	{"type of ..", func(img *image) {
		b, _ := img.entry(img.ino("a/b/c"), "..")
		b[6] = 0
	}, []string{codeDirDotDot}, false},
	{".. missing", func(img *image) {
		b, _ := img.entry(img.ino("a/b/c"), "..")
		set32(b, 0, 0)
	}, []string{codeDirDotDot}, false},
	{"another .", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		b[7] = 1
		copy(b[8:], ".\x00\x00\x00\x00")
	}, nil, false},
	{"number beyond all inodes", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		set32(b, 0, 1<<31)
	}, nil, false},
	{"number of an inode that is free", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		set32(b, 0, uint32(img.freeInode())+3)
	}, nil, false},
	{"type of a name", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		b[6] = 8
	}, []string{codeEntryType}, false},
	{"second name of a directory", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		set32(b, 0, img.ino("empty"))
		b[6] = 4
	}, nil, false},
	{"directory in itself", func(img *image) {
		// a/b/c/d becomes the parent of a/b.
		b, _ := img.entry(img.ino("a/b/c/d"), "deep")
		set32(b, 0, img.ino("a/b"))
		b[6] = 4
		b, _ = img.entry(img.ino("a"), "b")
		set32(b, 0, img.ino("a/b/c/d/deep"))
		b[6] = 8
		b, _ = img.entry(img.ino("a/b"), "..")
		set32(b, 0, img.ino("a/b/c/d"))
	}, nil, false},
	{"directory without a name", func(img *image) {
		b, at := img.entry(img.ino("a/b"), "c")
		img.drop(b[:], -1, &entry{at: 0})
		_ = at
	}, []string{codeDirUnattached}, false},

	{"link count too high", func(img *image) {
		img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Nlink++ })
	}, []string{codeLinkCount}, true},
	{"link count too low", func(img *image) {
		img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Nlink-- })
	}, []string{codeLinkCount}, false},
	{"link count of a directory", func(img *image) {
		img.edit(img.ino("a"), func(in *ondisk.Inode) { in.Nlink++ })
	}, []string{codeLinkCount}, true},
	{"link count 0 with a name", func(img *image) {
		img.edit(img.ino("etc/motd"), func(in *ondisk.Inode) { in.Nlink = 0 })
	}, []string{codeLinkCount}, false},
	{"file without a name", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		set32(b, 0, img.ino("etc/motd"))
		b[6] = 8
		img.edit(img.ino("etc/motd"), func(in *ondisk.Inode) { in.Nlink++ })
	}, []string{codeUnreferenced}, false},
	{"file removed while it was open", func(img *image) {
		b, _ := img.entry(img.ino("dev"), "null")
		set32(b, 0, img.ino("etc/motd"))
		b[6] = 8
		img.edit(img.ino("etc/motd"), func(in *ondisk.Inode) { in.Nlink++ })
		img.edit(img.ino("dev/null"), func(in *ondisk.Inode) { in.Nlink = 0 })
	}, []string{codeUnreferenced}, true},
}

// freeInode returns a free inode that is initialised, less 3.
func (img *image) freeInode() int {
	for n := uint32(3); ; n++ {
		if le.Uint16(img.inodeBytes(n)) == 0 {
			return int(n) - 3
		}
	}
}

// damageTree has what the damages are done to.
func damageTree(k kind) testimage.Tree {
	tree := sampleTree(k)
	for _, name := range []string{"long", "long2"} {
		p := make([]byte, 14*k.bsize+5)
		for i := range p {
			p[i] = byte(i>>6 + len(name))
		}
		tree.File(name, 0o644, p)
	}
	tree.Dir("empty", 0o755)
	return tree
}

// Every rule has a damage that breaks just it. Every code that is found is in the
// list of codes, and every one in the list is found.
func TestDamage(t *testing.T) {
	seen := map[string]map[bool]bool{}
	ran := 0
	for _, k := range []kind{kinds[1], kinds[2]} {
		healthy := newImage(t, k, damageTree(k))
		require.Empty(t, tell(healthy.check()))
		for _, d := range damages {
			t.Run(k.String()+"/"+d.name, func(t *testing.T) {
				ran++
				img := healthy.clone()
				img.t = t
				d.do(img)
				found := img.check()
				require.NotEmpty(t, found)
				if d.codes != nil {
					assert.Equal(t, d.codes, codes(found), "%s", tell(found))
				}
				for _, f := range found {
					if seen[f.Code] == nil {
						seen[f.Code] = map[bool]bool{}
					}
					seen[f.Code][f.Preen] = true
					assert.False(t, f.Fixed)
					assert.GreaterOrEqual(t, f.Off, int64(-1))
					assert.Less(t, f.Off, int64(len(img.data)))
				}
				preened := img.clone()
				preened.t = t
				list := preened.repair(vfs.RepairPreen)
				if d.preen {
					assert.Empty(t, tell(preened.check()), "preened: %s", tell(list))
				} else {
					assert.NotEmpty(t, preened.check())
				}
				list = img.repair(vfs.RepairAll)
				assert.Empty(t, tell(img.check()), "repaired: %s", tell(list))
			})
		}
	}
	if ran == 2*len(damages) {
		compareCodes(t, seen)
	}
}

// compareCodes holds the list of codes against what has been found.
func compareCodes(t *testing.T, seen map[string]map[bool]bool) {
	listed := map[string]bool{}
	for _, c := range Codes() {
		assert.False(t, listed[c.Code], "%s is there twice", c.Code)
		listed[c.Code] = true
		assert.NotEmpty(t, c.Meaning)
		switch {
		case c.Code == codeVolumeShort || c.Code == codeClusterMap:
			// See TestVolumeTooShort and TestClusterMap.
		case c.Preen == "always":
			assert.Equal(t, map[bool]bool{true: true}, seen[c.Code], c.Code)
		case c.Preen == "never":
			assert.Equal(t, map[bool]bool{false: true}, seen[c.Code], c.Code)
		default:
			assert.Equal(t, "sometimes", c.Preen)
			assert.Len(t, seen[c.Code], 2, "%s is found both ways", c.Code)
		}
	}
	for code := range seen {
		assert.True(t, listed[code], "%s is not in the list", code)
	}
}
