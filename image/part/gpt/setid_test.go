package gpt

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/integration/testtool"
)

const otherGUID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"

// sfdisk reads the new GUIDs, sgdisk has nothing to say about the checksums and
// copies, and nothing else has changed.
func TestSetID(t *testing.T) {
	testtool.Need(t, "sgdisk")
	for name, lines := range layouts {
		t.Run(name, func(t *testing.T) {
			img := script(t, 64*mib, lines...)
			_, want := sfdisk(t, img)
			f, err := blockio.OpenWritableFile(img)
			require.NoError(t, err)
			tab, err := Read(f)
			require.NoError(t, err)
			require.NoError(t, SetID(f, tab, otherGUID))
			if len(tab.Entries) > 0 {
				last := &tab.Entries[len(tab.Entries)-1]
				require.NoError(t, SetUUID(f, tab, last, strings.Replace(otherGUID, "0f1e", "ABCD", 1)))
				want[len(want)-1].UUID = strings.ToUpper(last.UUID)
				assert.True(t, strings.HasPrefix(last.UUID, "abcd"))
			}
			require.NoError(t, f.Close())
			id, got := sfdisk(t, img)
			assert.Equal(t, strings.ToUpper(otherGUID), id)
			assert.Equal(t, want, got)
			assert.Contains(t, testtool.Run(t, "sgdisk", "-v", img), "No problems found")
			again, err := Read(blockio.NewMemory(load(t, img)))
			require.NoError(t, err)
			assert.Empty(t, again.Problems)
			assert.Equal(t, tab.Entries, again.Entries)
		})
	}
}

func TestSetIDRefuses(t *testing.T) {
	img := script(t, 8*mib, layouts["linux"][:3]...)
	data := load(t, img)
	tab, err := Read(blockio.NewMemory(data))
	require.NoError(t, err)
	for _, id := range []string{"", "0f1e", otherGUID + "0", strings.Repeat("0", 8) + "-0000-0000-0000-000000000000", "g" + otherGUID[1:]} {
		assert.ErrorContains(t, SetID(blockio.NewMemory(data), tab, id), "is no GUID")
		assert.ErrorContains(t, SetUUID(blockio.NewMemory(data), tab, &part.Entry{Index: 1}, id), "is no GUID")
	}
	for off, want := range map[int]string{512 + 60: "primary table: ", len(data) - 512 + 60: "backup table: "} {
		bad := append([]byte(nil), data...)
		bad[off] ^= 1
		dev := blockio.NewMemory(bad)
		assert.ErrorContains(t, SetID(dev, tab, otherGUID), want)
	}
}
