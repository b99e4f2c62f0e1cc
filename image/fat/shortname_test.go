package fat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/fat"
)

func TestMakeName(t *testing.T) {
	const lowerBase, lowerExt = 8, 16
	for _, c := range []struct {
		name, short string
		caseBits    uint8
		long        bool
	}{
		{"README.TXT", "README  TXT", 0, false},
		{"readme.txt", "README  TXT", lowerBase | lowerExt, false},
		{"README.txt", "README  TXT", lowerExt, false},
		{"readme.TXT", "README  TXT", lowerBase, false},
		{"noext", "NOEXT      ", lowerBase, false},
		{"12345678.123", "12345678123", 0, false},
		{"$%'-_@~`", "$%'-_@~`   ", 0, false},
		{"Readme.txt", "README  TXT", 0, true},
		{"readme.TxT", "README  TXT", 0, true},
		{"longer than that.text", "LONGER~1TEX", 0, true},
		{"123456789", "123456~1   ", 0, true},
		{"a.text", "A~1     TEX", 0, true},
		{"a.b.c", "AB~1    C  ", 0, true},
		{".profile", "PROFIL~1   ", 0, true},
		{"..x", "X~1        ", 0, true},
		{" x", "X~1        ", 0, true},
		{"a b.c", "AB~1    C  ", 0, true},
		{"a+b=c.[x]", "A_B_C~1 _X_", 0, true},
		{"Grüße.txt", "GR__E~1 TXT", 0, true},
		{"😀", "_~1        ", 0, true},
		{"a;.b", "A_~1    B  ", 0, true},
	} {
		short, caseBits, long, err := fat.MakeName(c.name, nil)
		require.NoError(t, err)
		assert.Equal(t, c.short, short, c.name)
		assert.Equal(t, c.caseBits, caseBits, c.name)
		assert.Equal(t, c.long, long, c.name)
	}
}

// Short names of names that begin alike are all different, and soon found.
func TestManyAliases(t *testing.T) {
	taken := map[string]bool{}
	for i := range 20_000 {
		short, _, _, err := fat.MakeName(fmt.Sprintf("the same beginning %d.text", i), taken)
		require.NoError(t, err)
		require.False(t, taken[short], short)
		require.Equal(t, short, strings.ToUpper(short))
		require.Equal(t, i < 4, strings.HasPrefix(short, "THESAM~"), "%d: %s", i, short)
		taken[short] = true
	}
}
