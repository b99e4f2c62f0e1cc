package testimage

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Values that newfs of OpenBSD arrives at.
func TestGeometryIsThatOfNewfs(t *testing.T) {
	for _, c := range []struct {
		mib, version, ncg, fpg, ipg    int64
		sblkno, cblkno, iblkno, dblkno int64
		cssize, cgsize, dsize          int64
	}{
		{4, 2, 4, 512, 128, 40, 48, 56, 72, 2048, 2048, 1879},
		{16, 2, 4, 2048, 512, 40, 48, 56, 120, 2048, 2048, 7831},
		{20, 1, 4, 2560, 640, 8, 16, 24, 64, 2048, 2048, 10007},
		{100, 2, 4, 12800, 3200, 40, 48, 56, 456, 2048, 4096, 49495},
		{884, 2, 5, 103680, 25920, 40, 48, 56, 3296, 2048, 16384, 436287},
		{1599, 2, 8, 103680, 25920, 40, 48, 56, 3296, 2048, 16384, 792599},
	} {
		g, err := newGeometry(int(c.version), c.mib<<20, 16384, 2048)
		require.NoError(t, err)
		assert.Equal(t, []int64{c.ncg, c.fpg, c.ipg, c.sblkno, c.cblkno, c.iblkno, c.dblkno, c.cssize, c.cgsize, c.dsize},
			[]int64{g.ncg, g.fpg, g.ipg, g.sblkno, g.cblkno, g.iblkno, g.dblkno, g.cssize, g.cgsize, g.dsize}, "%d MiB", c.mib)
	}
}
