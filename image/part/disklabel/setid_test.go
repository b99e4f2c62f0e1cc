package disklabel

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
)

// A label with another DUID is, byte for byte, the label that is built with it.
func TestSetID(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		s := resflashSpec()
		s.order, s.sectors = order, 20000
		dev := disk(20000*512, map[int][]byte{512: s.build()})
		tab, err := Read(dev, 0, dev.Size(), OpenBSD)
		require.NoError(t, err)
		require.NoError(t, SetID(dev, tab, "0123456789ABCDEF"))
		assert.Equal(t, "0123456789abcdef", tab.ID)
		s.duid = "\x01\x23\x45\x67\x89\xab\xcd\xef"
		want := disk(20000*512, map[int][]byte{512: s.build()})
		a, err := blockio.ReadFull(dev, 0, 4096)
		require.NoError(t, err)
		b, err := blockio.ReadFull(want, 0, 4096)
		require.NoError(t, err)
		assert.Equal(t, b, a)
		again, err := Read(dev, 0, dev.Size(), OpenBSD)
		require.NoError(t, err)
		assert.Equal(t, "0123456789abcdef", again.ID)
	}
}

func TestSetIDRefuses(t *testing.T) {
	s := resflashSpec()
	dev := disk(20000*512, map[int][]byte{512: s.build()})
	tab, err := Read(dev, 0, dev.Size(), OpenBSD)
	require.NoError(t, err)
	for _, id := range []string{"", "0000000000000000", "0123", "0123456789abcdeg", "0123456789abcdef00"} {
		assert.ErrorContains(t, SetID(dev, tab, id), "is no DUID")
	}
	const id = "0123456789abcdef"
	assert.ErrorContains(t, SetID(dev, &part.Table{Scheme: "GPT"}, id), "no disklabel of OpenBSD")
	assert.ErrorContains(t, SetID(dev, &part.Table{Scheme: "disklabel", Flavor: string(FreeBSD)}, id), "no disklabel of OpenBSD")
	assert.ErrorContains(t, SetID(dev, &part.Table{Scheme: "disklabel", Flavor: string(OpenBSD), Off: dev.Size()}, id), "behind the end")
	_, err = dev.WriteAt([]byte("damage"), tab.Off+70)
	require.NoError(t, err)
	assert.ErrorContains(t, SetID(dev, tab, id), "checksum is")
	s.version = 0
	old := disk(20000*512, map[int][]byte{512: s.build()})
	tab, err = Read(old, 0, old.Size(), OpenBSD)
	require.NoError(t, err)
	assert.ErrorContains(t, SetID(old, tab, id), "disklabel of version 0")
}
