package image_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A randomTree is a file system that things happen to, and what must be in it.
type randomTree struct {
	t     *testing.T
	rnd   *rand.Rand
	tree  *vfs.Tree
	files map[string][]byte
	names []string // of files
}

func (r *randomTree) pick() string { return r.names[r.rnd.IntN(len(r.names))] }

// step does something, mostly with a file that is there. What it writes must
// stay, and what it takes away must go.
func (r *randomTree) step(i int) {
	t, fsys := r.t, r.tree.FS().(vfs.WritableFS)
	if len(r.names) < 5 || r.rnd.IntN(4) == 0 {
		name := fmt.Sprintf("/d%d/%s-%d", r.rnd.IntN(3), strings.Repeat("n", r.rnd.IntN(60)), i)
		require.NoError(t, r.tree.MkdirAll(ctx, name[:3], vfs.NewNode{Mode: vfs.Dir | 0o755}))
		_, err := r.tree.WriteFile(ctx, name, strings.NewReader(""), vfs.NewNode{Mode: vfs.Regular | 0o644})
		require.NoError(t, err)
		r.files[name] = nil
		r.names = append(r.names, name)
		return
	}
	name := r.pick()
	attr, err := r.tree.Resolve(ctx, name)
	require.NoError(t, err)
	data := r.files[name]
	switch r.rnd.IntN(10) {
	case 0, 1, 2, 3: // write, often behind the end
		off := r.rnd.IntN(len(data) + 1 + r.rnd.IntN(30_000))
		p := bytes.Repeat([]byte{byte('a' + i%26)}, 1+r.rnd.IntN(1<<(3+r.rnd.IntN(13))))
		_, err := fsys.WriteAt(ctx, attr.Ino, p, int64(off))
		require.NoError(t, err)
		if end := off + len(p); end > len(data) {
			data = append(data, make([]byte, end-len(data))...)
		}
		copy(data[off:], p)
		r.files[name] = data
	case 4: // with secrets at the end, which go again
		p := []byte(secrets(r.rnd.IntN(20_000) + 1))
		_, err := fsys.WriteAt(ctx, attr.Ino, p, int64(len(data)))
		require.NoError(t, err)
		require.NoError(t, r.tree.Truncate(ctx, name, int64(len(data))))
	case 5:
		n := r.rnd.IntN(len(data) + 1)
		require.NoError(t, r.tree.Truncate(ctx, name, int64(n)))
		r.files[name] = data[:n:n]
	case 6: // space that was never written
		if f, ok := fsys.(vfs.Fallocater); ok {
			mode := vfs.AllocMode(0)
			if r.rnd.IntN(2) == 0 {
				mode = vfs.AllocKeepSize
			}
			n := r.rnd.IntN(40_000) + 1
			if f.Fallocate(ctx, attr.Ino, mode, int64(len(data)), int64(n)) == nil && mode == 0 {
				r.files[name] = append(data, make([]byte, n)...)
			}
		}
	case 7: // an attribute that goes again, beside one that stays
		if x, ok := fsys.(vfs.XattrWriter); ok {
			require.NoError(t, x.SetXattr(ctx, attr.Ino, "user.kept", []byte("kept"), false, false))
			require.NoError(t, x.SetXattr(ctx, attr.Ino, "user.gone", []byte(secrets(r.rnd.IntN(300)+7)), false, false))
			require.NoError(t, x.RemoveXattr(ctx, attr.Ino, "user.gone"))
		}
	case 8:
		to := fmt.Sprintf("/d%d/%s-%d", r.rnd.IntN(3), secret, i)
		require.NoError(t, r.tree.MkdirAll(ctx, to[:3], vfs.NewNode{Mode: vfs.Dir | 0o755}))
		require.NoError(t, r.tree.Rename(ctx, name, to, 0))
		require.NoError(t, r.tree.Rename(ctx, to, name, 0))
	default:
		require.NoError(t, r.tree.Remove(ctx, name))
		delete(r.files, name)
		for k := range r.names {
			if r.names[k] == name {
				r.names = append(r.names[:k], r.names[k+1:]...)
				break
			}
		}
	}
}

// Whatever has happened to a file system, a scrub leaves what is in it, and
// nothing else.
func TestScrubAfterAnything(t *testing.T) {
	testtool.Sequential(t)
	for k, c := range scrubCases {
		t.Run(c.name, func(t *testing.T) {
			name := poisoned(t, c.size)
			c.make(t, name)
			r := &randomTree{t: t, rnd: rand.New(rand.NewPCG(7, uint64(k))), files: map[string][]byte{}}
			steps := 0
			for range 3 {
				d, v := edited(t, name, image.EditOptions{Atomic: true})
				r.tree = v.Tree
				for range 150 {
					r.step(steps)
					steps++
				}
				report, err := image.Scrub(ctx, d, image.ScrubOptions{Punch: true})
				require.NoError(t, err)
				require.Empty(t, report.Volumes[0].Skipped)
				require.NoError(t, d.Commit(ctx))
				v, err = v.Partition.Edit(ctx)
				require.NoError(t, err)
				for path, want := range r.files {
					attr, err := v.Tree.Resolve(ctx, path)
					require.NoError(t, err)
					got, err := io.ReadAll(v.Tree.Reader(ctx, attr))
					require.NoError(t, err)
					require.True(t, bytes.Equal(want, got), path)
				}
				require.NoError(t, d.Close())
				for _, at := range whereIs(t, name) {
					assert.Less(t, at, c.boot, "%x", at)
				}
				if c.judge != nil {
					testtool.Run(t, c.judge[0], append(c.judge[1:], name)...)
				}
			}
		})
	}
}
