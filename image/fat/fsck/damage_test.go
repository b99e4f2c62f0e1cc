package fsck

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

var le = binary.LittleEndian

// entryOff returns the offset of the entry of a path.
func (v *victim) at(t testing.TB, path string) int64 {
	t.Helper()
	for _, off := range v.shorts {
		if v.owner[off] == path && !isDots([11]byte(v.data[off:][:11])) {
			return off
		}
	}
	t.Fatalf("no %s", path)
	return 0
}

// startOf is the first cluster of a path.
func (v *victim) startOf(t testing.TB, path string) uint32 {
	e := ondisk.DecodeDirent(v.data[v.at(t, path):])
	return v.start(&e)
}

const (
	big  = "/sub/deep/big file of many clusters"
	long = "/a long name in the root.text"
)

// Every kind of damage is found under its code, and by preening only what loses
// nothing is mended.
func TestDamages(t *testing.T) {
	testtool.Sequential(t)
	for _, k := range kinds[1:] {
		v := newVictim(t, k)
		info, backup := int64(512), int64(6*512)
		for _, tt := range []struct {
			name   string
			only32 bool
			do     func(b []byte, img *image)
			codes  []string
			preen  bool
		}{
			{"boot sector wiped", true, func(b []byte, _ *image) { clear(b[:512]) }, []string{codeBoot}, false},
			{"sectors in a cluster", true, func(b []byte, _ *image) { b[13] = 4 }, []string{codeBoot}, false},
			{"signature", false, func(b []byte, _ *image) { b[510] = 0 }, nil, true},
			{"backup", true, func(b []byte, _ *image) { b[backup+100]++ }, []string{codeBackup}, true},
			{"FSInfo signature", true, func(b []byte, _ *image) { b[info]++ }, []string{codeInfoSignature}, true},
			{"free count", true, func(b []byte, _ *image) { b[info+488]++ }, []string{codeInfoFree}, true},
			{"next free", true, func(b []byte, _ *image) { b[info+495] = 1 }, []string{codeInfoNext}, true},
			{"dirty", false, func(b []byte, _ *image) { b[v.extOff()+1] = 1 }, []string{codeDirty}, true},
			{"not clean", false, func(_ []byte, img *image) {
				v.set(img, 1, v.bits.Mask()&^(0x8000|0x08000000)|map[ondisk.Bits]uint32{16: 0, 32: 0x8000}[v.bits])
			}, []string{codeDirty}, true},
			{"second table", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, big), v.end+1, 1) }, []string{codeTablesDiffer}, true},
			{"first table", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, big), v.end+1, 0) }, []string{codeTablesDiffer}, true},
			{"media byte", false, func(_ []byte, img *image) { v.set(img, 0, v.bits.Mask()) }, []string{codeTableMedia}, true},
			{"beyond the end", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, big), v.end+1) }, []string{codeTableValue, codeFileSize, codeLost}, false},
			{"free cluster", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, big), v.clusters) }, []string{codeChainFree, codeFileSize, codeLost}, false},
			{"bad cluster", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, big), v.bits.Bad()) }, nil, false},
			{"loop", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, big)+5, v.startOf(t, big)+1) }, []string{codeChainLoop, codeFileSize, codeLost}, false},
			{"cross link", false, func(_ []byte, img *image) { v.set(img, v.startOf(t, long), v.startOf(t, big)+3) }, []string{codeCrossLink, codeLost}, false},
			{"size too large", false, func(b []byte, _ *image) { le.PutUint32(b[v.at(t, big)+28:], 1<<30) }, []string{codeFileSize}, false},
			{"size too small", false, func(b []byte, _ *image) { le.PutUint32(b[v.at(t, big)+28:], 512) }, []string{codeChainLong}, false},
			{"lost chain", false, func(b []byte, _ *image) { b[v.at(t, "/EMPTY")+26] = 0; b[v.at(t, "/ONE.TXT")] = 0xe5 }, []string{codeLost}, false},
			{"lost directory", false, func(b []byte, _ *image) { b[v.at(t, "/sub")] = 0xe5 }, nil, false},
			{"start", false, func(b []byte, _ *image) { le.PutUint16(b[v.at(t, "/ONE.TXT")+26:], 1) }, []string{codeEntryStart, codeLost}, false},
			{"directory in itself", false, func(b []byte, _ *image) { le.PutUint16(b[v.at(t, "/sub/deep")+26:], uint16(v.startOf(t, "/sub"))) }, nil, false},
			{"size of a directory", false, func(b []byte, _ *image) { b[v.at(t, "/sub")+28] = 9 }, []string{codeDirSize}, true},
			{"dotdot", false, func(b []byte, _ *image) { b[v.clusterOff(v.startOf(t, "/sub/deep"))+32+26] = 99 }, []string{codeDirDot}, false},
			{"dot", false, func(b []byte, _ *image) { b[v.clusterOff(v.startOf(t, "/sub/deep"))+1] = 'X' }, []string{codeDirDot}, false},
			{"a file as a directory", false, func(b []byte, _ *image) { b[v.at(t, big)+11] |= ondisk.AttrDir }, []string{codeFalseDir}, false},
			{"end", false, func(b []byte, _ *image) { b[v.at(t, "/ONE.TXT")] = 0 }, nil, false},
			{"name", false, func(b []byte, _ *image) { b[v.at(t, "/ONE.TXT")+1] = '*' }, []string{codeName}, false},
			{"name twice", false, func(b []byte, _ *image) { copy(b[v.at(t, "/EMPTY"):], "ONE     TXT") }, []string{codeTwice}, false},
			{"long name checksum", false, func(b []byte, _ *image) { b[v.at(t, long)-32+13]++ }, []string{codeLongOrphan}, true},
			{"long name order", false, func(b []byte, _ *image) { b[v.at(t, long)-32]++ }, []string{codeLongOrphan}, true},
			{"long name type", false, func(b []byte, _ *image) { b[v.at(t, long)-32+12]++ }, []string{codeLongField}, true},
			{"label bit", false, func(b []byte, _ *image) { b[v.at(t, "/ONE.TXT")+11] |= ondisk.AttrLabel }, []string{codeLabelKind}, false},
			{"label in the root directory", false, func(b []byte, _ *image) {
				b[v.at(t, "/EMPTY")+11] |= ondisk.AttrLabel
				copy(b[v.at(t, "/EMPTY"):], "OTHER      ")
			}, []string{codeLabel}, true},
			{"label in the boot sector", true, func(b []byte, _ *image) { copy(b[v.extOff()+labelOff:], "OTHER      "); copy(b[backup:], b[:512]) }, []string{codeLabel}, true},
		} {
			if tt.only32 && v.bits != 32 {
				continue
			}
			t.Run(k.name+"/"+tt.name, func(t *testing.T) {
				img := v.image.clone()
				img.t = t
				tt.do(img.data, img)
				require.False(t, bytes.Equal(img.data, v.data))
				found, err := img.check()
				require.NoError(t, err)
				require.NotEmpty(t, found)
				for _, f := range found {
					assert.GreaterOrEqual(t, f.Off, int64(0), "%v", f)
				}
				if tt.codes != nil {
					got := codes(found)
					if v.bits != 32 {
						assert.Equal(t, tt.codes, got, tell(found))
					} else {
						assert.Subset(t, append(got, codeInfoFree), tt.codes, tell(found))
					}
				}
				preened := img.clone()
				_, err = preened.repair(vfs.RepairPreen)
				require.NoError(t, err)
				left, err := preened.check()
				require.NoError(t, err)
				assert.Equal(t, tt.preen, len(left) == 0, "preening leaves %s", tell(left))
				v.judge(t, img, []string{"/"})
			})
		}
	}
}

// The codes are those that are documented, each once.
func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Codes() {
		assert.False(t, seen[c.Code], c.Code)
		seen[c.Code] = true
		assert.NotEmpty(t, c.Meaning)
	}
}

// A file that is lost comes back with its contents, and a directory with all
// that is in it.
func TestLostIsFound(t *testing.T) {
	v := newVictim(t, kinds[1])
	img := v.image.clone()
	img.data[v.at(t, "/ONE.TXT")] = 0xe5
	img.data[v.at(t, "/sub")] = 0xe5
	_, err := img.repair(vfs.RepairAll)
	require.NoError(t, err)
	after, err := img.files()
	require.NoError(t, err)
	dir, file := "/FSCK0000.REC", "/FSCK0001.REC"
	assert.Equal(t, "directory", after[dir])
	assert.Equal(t, v.files["/sub/deep/big file of many clusters"], after[dir+"/deep/big file of many clusters"])
	assert.Equal(t, v.files["/sub/exact"], after[dir+"/exact"])
	assert.NotEmpty(t, after[file])
	_, bad := img.fsckfat()
	assert.False(t, bad)
}
