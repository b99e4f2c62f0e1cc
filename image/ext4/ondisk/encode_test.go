package ondisk

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was decoded and is encoded where it lay changes nothing there, nor in
// what the decoders leave out.
func TestEncodersKeepWhatTheyDoNotKnow(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		for _, size := range []int{InodeSizeOld, 256} {
			b := randomBytes(rng, size)
			if size > InodeSizeOld {
				le.PutUint16(b[0x80:], uint16(rng.IntN(size-InodeSizeOld)))
			}
			was := bytes.Clone(b)
			var in Inode
			DecodeInode(b, &in)
			EncodeInode(b, &in)
			require.Equal(t, was, b)
		}
		for _, size := range []int{GroupDescSize, GroupDescSize64} {
			b := randomBytes(rng, size)
			was := bytes.Clone(b)
			var d GroupDesc
			DecodeGroupDesc(b, &d)
			EncodeGroupDesc(b, &d)
			require.Equal(t, was, b)
		}
		b := randomBytes(rng, ExtentHeaderSize+ExtentEntrySize)
		was := bytes.Clone(b)
		if x := DecodeExtent(b, 0); x.Len > 0 {
			EncodeExtent(b, 0, x)
			require.Equal(t, was, b)
		}
		block, leaf := DecodeExtentIndex(b, 0)
		EncodeExtentIndex(b, 0, block, leaf)
		require.Equal(t, was[:len(was)-2], b[:len(b)-2])
		for _, blockSize := range []int{1024, 4096, 1 << 16} {
			e := DirEntry{Ino: rng.Uint32(), RecLen: 4 * (1 + rng.IntN(blockSize/4)), NameLen: rng.IntN(256), Type: 2}
			EncodeDirEntry(b, e, blockSize)
			require.Equal(t, e, DecodeDirEntry(b, blockSize))
		}
	}
}

func TestSuperblocksAreEncodedAsTheyWere(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		b := randomBytes(rng, SuperSize)
		was := bytes.Clone(b)
		sb, err := DecodeSuperblock(b)
		require.NoError(t, err)
		clear(b)
		EncodeSuperblock(b, sb)
		require.Equal(t, was[:SuperSize-4], b[:SuperSize-4])
		if sb.FeatureROCompat&ROCompatMetadataCsum != 0 {
			assert.Equal(t, SuperChecksum(b), le.Uint32(b[SuperSize-4:]))
		} else {
			assert.Equal(t, was, b)
		}
	}
}

func TestSealsAreWhatTheReaderExpects(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, size := range []int{InodeSizeOld, 256} {
		for _, extra := range []uint16{0, 2, 4, 32} {
			b := randomBytes(rng, size)
			if size > InodeSizeOld {
				le.PutUint16(b[0x80:], extra)
			}
			SealInode(7, b)
			var in Inode
			DecodeInode(b, &in)
			assert.Equal(t, InodeChecksum(7, b, in.HasHi), in.Checksum)
			assert.Equal(t, size > InodeSizeOld && extra >= 4, in.HasHi)
		}
	}
	b := randomBytes(rng, 1024)
	SealDir(7, b)
	sum, ok := DirTail(b)
	assert.True(t, ok)
	assert.Equal(t, DirChecksum(7, b), sum)
	SealExtentNode(7, b, 84)
	got, want := ExtentTail(7, b, 84)
	assert.Equal(t, want, got)
	sb := &Superblock{FeatureROCompat: ROCompatMetadataCsum}
	for _, feature := range []ROCompat{ROCompatMetadataCsum, ROCompatGDTCsum} {
		sb.FeatureROCompat = feature
		d := randomBytes(rng, GroupDescSize64)
		SealGroupDesc(sb, 9, d)
		var g GroupDesc
		DecodeGroupDesc(d, &g)
		want := GroupChecksum(sb.Seed(), 9, d)
		if feature == ROCompatGDTCsum {
			want = GroupChecksum16(sb.UUID, 9, d)
		}
		assert.Equal(t, want, g.Checksum)
	}
}
