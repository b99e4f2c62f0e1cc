package audit

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// countingFS counts how often a directory is listed.
type countingFS struct {
	*memfs.FS
	listed map[vfs.Ino]int
}

func (c *countingFS) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	c.listed[dir]++
	return c.FS.ReadDir(ctx, dir, cookie)
}

// largeTree has as many files as a small Debian.
func largeTree() (*memfs.FS, vfs.Ino) {
	fsys := files{
		"/etc/os-release": text("ID=debian\nIMAGE_ID=a\nIMAGE_VERSION=1\n"), "/etc/passwd": text(goodPasswd), "/usr/share/doc": dir(0o755),
		"/usr/bin/su": moded(0o4755, "x"),
	}.build()
	var last vfs.Ino
	for i := range 350 {
		name := fmt.Sprintf("/usr/share/doc/package%d", i)
		last = fsys.AddDir(name)
		for j := range 100 {
			fsys.AddFile(fmt.Sprintf("%s/file%d", name, j), []byte("text"))
		}
	}
	return fsys, last
}

// All rules that look at every file share one walk; a quick audit walks
// nothing.
func TestOneWalk(t *testing.T) {
	fsys, deep := largeTree()
	for profile, want := range map[Profile]int{Quick: 0, Golden: 1} {
		counting := &countingFS{FS: fsys, listed: map[vfs.Ino]int{}}
		v := volume("whole", image.RoleRoot, counting)
		target := &Target{Volumes: []*Volume{v}, Systems: []*Installed{{Root: v, OS: image.OS{ID: "debian"}}}}
		r, err := Run(context.Background(), target, Options{Profile: profile})
		require.NoError(t, err)
		assert.Equal(t, want, counting.listed[deep], profile)
		assert.Equal(t, want, len(found(r, "setuid-inventory")), profile)
	}
}

func BenchmarkAudit(b *testing.B) {
	fsys, _ := largeTree()
	for _, profile := range []Profile{Quick, Golden} {
		b.Run(string(profile), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				audit(b, one(b, fsys), Options{Profile: profile})
			}
		})
	}
}

// A cancelled audit ends, with the context's error.
func TestCancelled(t *testing.T) {
	fsys, _ := largeTree()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Run(ctx, one(t, fsys), Options{})
	assert.ErrorIs(t, err, context.Canceled)
}

// A rule that is broken everywhere does not fill the memory.
func TestManyFindings(t *testing.T) {
	fsys := files{"/srv": dir(0o755)}.build()
	for i := range maxPerRule + 20 {
		fsys.AddFile(fmt.Sprintf("/srv/%d", i), []byte("x"), func(a *vfs.Attr) { a.Mode = vfs.Regular | 0o666 })
	}
	r := audit(t, one(t, fsys), Options{Only: []string{"world-writable"}})
	assert.Len(t, r.Findings, maxPerRule)
	assert.Equal(t, 20, r.Rules[0].More)
	assert.Equal(t, Fail, r.Rules[0].Status)
}
