package fsck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testdamage"
)

// CODES.md is for people; it is made from the list of codes.
func TestCodesTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("# What the checker of FFS finds\n\n" +
		"In the order of its passes. Preen: `check --repair` mends it without `--yes`.\n\n" +
		"| code | what is wrong | preen |\n| --- | --- | --- |\n")
	for _, c := range Codes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Code, c.Meaning, c.Preen)
	}
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile("CODES.md", []byte(b.String()), 0o644))
	}
	have, err := os.ReadFile("CODES.md")
	require.NoError(t, err)
	assert.Equal(t, b.String(), string(have), "UPDATE=1 go test -run TestCodesTable writes it anew")
}

func TestVolumeTooShort(t *testing.T) {
	img := newImage(t, kinds[1], sampleTree(kinds[1]))
	img.data = img.data[:len(img.data)-4096]
	assert.Equal(t, []string{codeVolumeShort}, codes(img.check()))
	_, err := img.tryRepair(vfs.RepairAll)
	var corrupt *vfs.CorruptError
	assert.ErrorAs(t, err, &corrupt)
}

// NetBSD keeps maps of clusters, in either byte order.
func TestClusterMap(t *testing.T) {
	for _, order := range []string{"le", "be"} {
		for _, version := range []string{"version=1", "version=2"} {
			img := makefs(t, "-B", order, "-s", "12m", "-o", version+",bsize=8192,fsize=1024")
			m := img.cgMaps(img.header(0), true)
			m.clusters[len(m.clusters)-2] ^= 1
			m.clusterSum[7]++
			assert.Equal(t, []string{codeClusterMap}, codes(img.check()))
			assert.Equal(t, []string{codeClusterMap}, codes(img.repair(vfs.RepairPreen)))
			assert.Empty(t, img.check())
			img.edit(ondisk.RootIno, func(in *ondisk.Inode) { in.Mode = 0 })
			img.repair(vfs.RepairAll)
			assert.Empty(t, tell(img.check()))
		}
	}
}

// What has features that only their own systems can write is checked, but not
// repaired.
func TestRefusesToRepair(t *testing.T) {
	for name, change := range map[string]func(s *ondisk.Super, o ondisk.Order){
		"unknown flags": func(s *ondisk.Super, _ ondisk.Order) { s.Word1308 = 0x800 },
		"metackhash":    func(s *ondisk.Super, o ondisk.Order) { freeBSD(s, o); s.Word1312 |= ondisk.FlagMetaCkHash },
		"SUJ":           func(s *ondisk.Super, o ondisk.Order) { freeBSD(s, o); s.Word1312 |= ondisk.FlagSUJ },
		"gjournal":      func(s *ondisk.Super, o ondisk.Order) { freeBSD(s, o); s.Word1312 |= ondisk.FlagGjournal },
		"WAPBL":         func(s *ondisk.Super, _ ondisk.Order) { s.Spare64[0], s.Spare64[1] = 1, 1 },
		"quotas": func(s *ondisk.Super, o ondisk.Order) {
			o.PutU32(s.Spare64[40:], ondisk.QuotaMagic)
			s.Word1312 = ondisk.FlagQuota2
		},
		"flags to come":  func(s *ondisk.Super, o ondisk.Order) { freeBSD(s, o); s.Word1312 |= 0x4000 },
		"flags of FFS1?": func(s *ondisk.Super, _ ondisk.Order) { s.Word1308 = 0x10 },
	} {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, kinds[1], sampleTree(kinds[1]))
			change(img.super, img.order)
			copy(img.superBytes(), img.super.Append(nil, img.order))
			assert.Empty(t, tell(img.check()))
			before := bytes.Clone(img.data)
			_, err := img.tryRepair(vfs.RepairAll)
			var no *vfs.NotSupportedError
			require.ErrorAs(t, err, &no)
			assert.True(t, bytes.Equal(before, img.data))
		})
	}
}

// freeBSD makes a superblock look like one of FreeBSD.
func freeBSD(s *ondisk.Super, o ondisk.Order) { o.PutU64(s.Spare64[992-864:], 65536) }

// The inodes that NetBSD keeps its journal and its quotas in have no names.
func TestHiddenInodes(t *testing.T) {
	img := newImage(t, kinds[1], damageTree(kinds[1]))
	b, _ := img.entry(img.ino("etc"), "motd")
	le.PutUint32(b, 0)
	assert.Equal(t, []string{codeUnreferenced}, codes(img.check()))
	s := img.super
	s.Spare64[0], s.Spare64[1] = ondisk.JournalVersion1, 2
	img.order.PutU64(s.Spare64[896-864:], uint64(img.ino("etc/motd")))
	copy(img.superBytes(), s.Append(nil, img.order))
	assert.Empty(t, tell(img.check()))
}

// FreeBSD has blocks of extended attributes, which OpenBSD does not look at.
func TestExtendedAttributes(t *testing.T) {
	img := newImage(t, kinds[1], damageTree(kinds[1]))
	ino := img.ino("sizes/2049")
	img.edit(ino, func(in *ondisk.Inode) {
		in.Ext[0], in.ExtSize = in.Direct[0], 2049
		in.Direct[0], in.Size = 0, 0
	})
	assert.Equal(t, with(codeInodeBlocks, leak...), codes(img.check()))
	freeBSD(img.super, img.order)
	copy(img.superBytes(), img.super.Append(nil, img.order))
	assert.Empty(t, tell(img.check()))

	// All that can be wrong with the pointers of a file can be with these.
	healthy := img
	for name, change := range map[string]func(in *ondisk.Inode){
		codeInodePointer: func(in *ondisk.Inode) { in.Ext[0] = img.size },
		codeInodeBeyond:  func(in *ondisk.Inode) { in.Ext[1] = 800 },
		codeDuplicate:    func(in *ondisk.Inode) { in.Ext[0] = img.inode(img.ino("sizes/16384")).Direct[0] },
	} {
		img := healthy.clone()
		img.edit(ino, change)
		assert.Contains(t, codes(img.check()), name)
		img.repair(vfs.RepairAll)
		assert.Empty(t, tell(img.check()), name)
	}
}

// A directory that was removed while it was open is taken away without asking.
func TestRemovedDirectory(t *testing.T) {
	for _, emptied := range []bool{false, true} {
		img := newImage(t, kinds[1], damageTree(kinds[1]))
		b, _ := img.entry(ondisk.RootIno, "empty")
		le.PutUint32(b, 0)
		img.edit(ondisk.RootIno, func(in *ondisk.Inode) { in.Nlink-- })
		img.edit(img.ino("empty"), func(in *ondisk.Inode) {
			in.Nlink = 0
			if emptied {
				in.Size, in.Blocks, in.Direct[0] = 0, 0, 0
			}
		})
		found := img.repair(vfs.RepairPreen)
		assert.Equal(t, codeUnreferenced, found[0].Code, tell(found))
		assert.Empty(t, tell(img.check()))
		assert.Zero(t, img.inode(img.ino("empty")).Mode)
	}
}

// Preening touches nothing once it has met something that needs a decision.
func TestPreenStops(t *testing.T) {
	img := newImage(t, kinds[1], damageTree(kinds[1]))
	b, _ := img.entry(img.ino("etc"), "motd")
	b[6] = 4                                                                   // pass 2: needs a decision
	img.edit(img.ino("sizes/1"), func(in *ondisk.Inode) { in.Nlink++ })        // pass 4
	img.cgMaps(img.header(0), true).free[int(img.dblkno)/8+40] ^= 1            // pass 5
	img.edit(img.ino("sizes/2048"), func(in *ondisk.Inode) { in.Blocks += 4 }) // pass 1
	img.superBytes()[209] = 0
	found := img.repair(vfs.RepairPreen)
	fixed := map[string]bool{}
	for _, f := range found {
		fixed[f.Code] = f.Fixed
	}
	assert.Equal(t, map[string]bool{
		codeInodeBlocks: true, codeEntryType: false, codeLinkCount: false, codeFreeMap: false, codeNotClean: false,
	}, fixed)
	assert.Equal(t, []string{codeEntryType, codeLinkCount, codeFreeMap, codeNotClean}, codes(img.check()))
	img.repair(vfs.RepairAll)
	assert.Empty(t, tell(img.check()))
}

// A failing disk and a cancelled context leave the medium as it is.
func TestFailureChangesNothing(t *testing.T) {
	healthy := newImage(t, kinds[3], damageTree(kinds[3]))
	d, err := testdamage.Open(healthy.data, 3)
	require.NoError(t, err)
	for _, what := range []string{"torn directories", "duplicate blocks", "bitmaps"} {
		d.Do(what)
	}
	broken := errors.New("broken disk")
	reads := 0
	faults := blockio.NewFaults(blockio.NewMemory(healthy.data))
	faults.OnRead(func(n int, _ []byte, _ int64) error { reads = n; return nil })
	require.NoError(t, Check(ctx, faults, func(vfs.Finding) {}))
	require.Greater(t, reads, 20)
	before := bytes.Clone(healthy.data)
	for n := 1; n <= reads; n += 7 {
		faults := blockio.NewFaults(blockio.NewMemory(healthy.data))
		faults.OnRead(func(k int, _ []byte, _ int64) error {
			if k == n {
				return broken
			}
			return nil
		})
		assert.ErrorIs(t, Check(ctx, faults, func(vfs.Finding) {}), broken, "read %d", n)
	}
	for n := 1; n <= 3*reads; n += 23 {
		faults := blockio.NewFaults(blockio.NewMemory(healthy.data))
		stop, cancel := context.WithCancel(ctx)
		faults.OnRead(func(k int, _ []byte, _ int64) error {
			if k == n {
				if n%2 == 0 {
					cancel()
					return nil
				}
				return broken
			}
			return nil
		})
		err := Repair(stop, blockio.NewSession(faults, blockio.SessionOptions{}), vfs.RepairAll, func(vfs.Finding) {})
		if err != nil {
			assert.True(t, errors.Is(err, broken) || errors.Is(err, context.Canceled), "%v", err)
		}
		cancel()
	}
	assert.True(t, bytes.Equal(before, healthy.data))
}

// A copy of the superblock is found wherever it is.
func TestFindsAnyCopy(t *testing.T) {
	for _, k := range []kind{kinds[1], kinds[2], kinds[7]} {
		img := newImage(t, k, sampleTree(k))
		ok, err := Probe(blockio.NewMemory(img.data))
		require.NoError(t, err)
		assert.True(t, ok)
		if img.ncg < 2 {
			continue
		}
		clear(img.superBytes())
		ok, err = Probe(blockio.NewMemory(img.data))
		require.NoError(t, err)
		assert.True(t, ok, "the copy of the first group is left")
		for g := range img.ncg - 1 {
			clear(img.fragBytes(img.start(g)+img.sblkno, 1))
		}
		ok, err = Probe(blockio.NewMemory(img.data))
		require.NoError(t, err)
		assert.False(t, ok, "Probe does not read all of the volume")
		assert.Equal(t, []string{codeSuper}, codes(img.check()), "%v", k)
		img.repair(vfs.RepairAll)
		assert.Empty(t, tell(img.check()), "%v", k)
	}
	ok, err := Probe(blockio.NewMemory(make([]byte, 1<<20)))
	assert.False(t, ok)
	assert.NoError(t, err)
	var corrupt *vfs.CorruptError
	assert.ErrorAs(t, Check(ctx, blockio.NewMemory(make([]byte, 1<<20)), nil), &corrupt)
	assert.ErrorAs(t, Check(ctx, blockio.NewMemory(nil), nil), &corrupt)
}

func BenchmarkCheck(b *testing.B) {
	for _, k := range []kind{{1, 16384, 2048, 16 << 20}, {2, 16384, 2048, 16 << 20}, {2, 16384, 2048, 64 << 20}} {
		img := newImage(b, k, sampleTree(k))
		b.Run(k.String(), func(b *testing.B) {
			b.ReportAllocs()
			dev := blockio.NewMemory(img.data)
			for b.Loop() {
				if err := Check(ctx, dev, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
