package audit

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// longKey is a key with enough of a body to be one.
var longKey = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + strings.Repeat("HUNTER2abcdefghijklm", 3) + "\n-----END OPENSSH PRIVATE KEY-----\n"

// keytab is a secret that is known by nothing but its bytes.
var keytab = func() string {
	b := make([]byte, 300)
	for i := range b {
		b[i] = byte(i*i>>3 ^ 0x5a)
	}
	return string(b)
}()

// freeCases are file systems, and how they are made of a file of zeros.
var freeCases = map[string]struct {
	tools []string
	size  int64
	slack bool // its driver leaves removed names
}{
	"ext4":     {[]string{"mke2fs", "-q", "-F", "-t", "ext4"}, 16 << 20, false},
	"ext3":     {[]string{"mke2fs", "-q", "-F", "-t", "ext3", "-b", "1024"}, 8 << 20, false},
	"inline":   {[]string{"mke2fs", "-q", "-F", "-t", "ext4", "-I", "256", "-O", "inline_data"}, 8 << 20, false},
	"bigalloc": {[]string{"mke2fs", "-q", "-F", "-t", "ext4", "-O", "bigalloc"}, 16 << 20, false},
	"FAT16":    {[]string{"mkfs.fat", "-F", "16"}, 10 << 20, true},
	"FAT32":    {[]string{"mkfs.fat", "-F", "32"}, 40 << 20, true},
	"ffs1":     {nil, 8 << 20, true},
	"ffs2":     {nil, 8 << 20, true},
}

// freeImage makes a file system with nothing in it.
func freeImage(t *testing.T, kind string) string {
	c := freeCases[kind]
	name := filepath.Join(t.TempDir(), kind+".img")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	require.NoError(t, os.Truncate(name, c.size))
	if c.tools != nil {
		testtool.Need(t, c.tools[0])
		testtool.Run(t, c.tools[0], append(c.tools[1:], name)...)
		return name
	}
	d, err := image.Edit(context.Background(), name, image.EditOptions{New: true})
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Partitions()[0].Format(context.Background(), vfs.FormatOptions{Type: kind}))
	require.NoError(t, d.Commit(context.Background()))
	return name
}

// editTree changes the file system of an image, in as many commits as there are
// functions.
func editTree(t *testing.T, name string, steps ...func(tree *vfs.Tree)) {
	d, err := image.Edit(context.Background(), name, image.EditOptions{})
	require.NoError(t, err)
	defer d.Close()
	p, err := d.Find(context.Background(), "")
	require.NoError(t, err)
	v, err := p.Edit(context.Background())
	require.NoError(t, err)
	for _, step := range steps {
		step(v.Tree)
		require.NoError(t, d.Commit(context.Background()))
	}
}

func writeFile(t *testing.T, tree *vfs.Tree, name, text string) {
	require.NoError(t, tree.MkdirAll(context.Background(), filepath.Dir(name), vfs.NewNode{Mode: vfs.Dir | 0o755}))
	_, err := tree.WriteFile(context.Background(), name, strings.NewReader(text), vfs.NewNode{Mode: vfs.Regular | 0o600})
	require.NoError(t, err)
}

// messages are what the findings of a rule say.
func messages(r *Report, rule string) (all []string) {
	for _, f := range r.Findings {
		if f.Rule == rule {
			all = append(all, f.Message)
		}
	}
	return all
}

func TestFree(t *testing.T) {
	testtool.Sequential(t)
	ctx := context.Background()
	for kind := range freeCases {
		t.Run(kind, func(t *testing.T) {
			name := freeImage(t, kind)
			empty := auditDisk(t, name, Options{Only: []string{"free"}})
			assert.Empty(t, messages(empty, "free-space-secret"))
			assert.Empty(t, messages(empty, "slack-secret"))
			assert.Equal(t, Pass, status(empty, "free-space-secret"))

			editTree(t, name, func(tree *vfs.Tree) {
				writeFile(t, tree, "/gone/key", strings.Repeat("x", 5000)+longKey+strings.Repeat("x", 5000))
				writeFile(t, tree, "/gone/tab", strings.Repeat("x", 6000)+keytab)
				writeFile(t, tree, "/etc/krb5.keytab", keytab)
				writeFile(t, tree, "/etc/cut", strings.Repeat("x", 200)+longKey)
				writeFile(t, tree, "/names/AGE-SECRET-KEY-1"+strings.Repeat("HUNTER2", 10), "")
				writeFile(t, tree, "/names/keep", "")
			}, func(tree *vfs.Tree) {
				require.NoError(t, tree.RemoveAll(ctx, "/gone"))
				require.NoError(t, tree.Truncate(ctx, "/etc/cut", 150))
				require.NoError(t, tree.Remove(ctx, "/names/AGE-SECRET-KEY-1"+strings.Repeat("HUNTER2", 10)))
			})
			r := auditDisk(t, name, Options{})
			assert.ElementsMatch(t, []string{"free space: private key", "free space: a copy of what is in /etc/krb5.keytab"}, messages(r, "free-space-secret"))
			assert.NotEmpty(t, messages(r, "free-space-data"))
			had(t, "free-space-secret free-space-data", positive)
			assert.True(t, r.Complete())
			for _, write := range Formats {
				var b bytes.Buffer
				require.NoError(t, write(&b, Tool{}, []*Report{r}))
				assert.NotContains(t, b.String(), "HUNTER2")
			}

			d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true})
			require.NoError(t, err)
			_, err = image.Scrub(ctx, d, image.ScrubOptions{})
			require.NoError(t, err)
			require.NoError(t, d.Commit(ctx))
			require.NoError(t, d.Close())
			clean := auditDisk(t, name, Options{Only: []string{"free"}})
			assert.Empty(t, clean.Findings)
			for _, rule := range words("free-space-secret free-space-data slack-secret fs-journal-remnant") {
				assert.Equal(t, Pass, status(clean, rule))
				had(t, rule, negative)
			}
		})
	}
}

// What the drivers of others leave behind the ends of files, in directories and
// in the journal.
func TestFreeSlack(t *testing.T) {
	testtool.Sequential(t)
	put := func(t *testing.T, name, find string, behind int, with string) {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		at := bytes.Index(b, []byte(find))
		require.Positive(t, at)
		copy(b[at+len(find)+behind:], with)
		require.NoError(t, os.WriteFile(name, b, 0o644))
	}
	for _, kind := range words("ext3 FAT16 ffs1 ffs2") {
		t.Run(kind, func(t *testing.T) {
			name := freeImage(t, kind)
			editTree(t, name, func(tree *vfs.Tree) { writeFile(t, tree, "/etc/file", "the end of the file") })
			put(t, name, "the end of the file", 0, longKey)
			r := auditDisk(t, name, Options{Only: []string{"free"}})
			assert.Equal(t, []string{"file slack: private key"}, messages(r, "slack-secret"))
			had(t, "slack-secret", positive)
		})
	}
	t.Run("journal", func(t *testing.T) {
		testtool.Need(t, "debugfs")
		name := freeImage(t, "ext4")
		put(t, name, "\xc0\x3b\x39\x98\x00\x00\x00\x04", 3*4096, "names")
		r := auditDisk(t, name, Options{Only: []string{"free"}})
		assert.Equal(t, []string{"blocks that are not zero"}, messages(r, "fs-journal-remnant"))
		had(t, "fs-journal-remnant", positive)
		assert.Equal(t, Warning, r.Worst())
		put(t, name, "names", 0, longKey)
		r = auditDisk(t, name, Options{Only: []string{"free"}})
		assert.Equal(t, []string{"journal: private key"}, messages(r, "fs-journal-remnant"))
		assert.Equal(t, Error, r.Worst())
	})
	t.Run("deleted FAT entry", func(t *testing.T) {
		testtool.Need(t, "mcopy", "mdel")
		name := freeImage(t, "FAT16")
		host := filepath.Join(t.TempDir(), "x")
		require.NoError(t, os.WriteFile(host, []byte("x"), 0o644))
		testtool.Run(t, "mcopy", "-i", name, host, "::a name that is long enough to be removed.txt")
		testtool.Run(t, "mdel", "-i", name, "::a name that is long enough to be removed.txt")
		r := auditDisk(t, name, Options{Only: []string{"free"}})
		require.Len(t, r.Findings, 1)
		assert.Contains(t, r.Findings[0].Evidence, "directory slack")
	})
}

// Secrets between partitions, in partitions that nobody knows, and across the
// borders of what is read at once.
func TestFreeGaps(t *testing.T) {
	name := testtool.Partitioned(t, 24<<20, "2048 4096 L", "8192 8192 L")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	for _, at := range []int64{1000, 3<<20 + 5, 20 << 20} {
		_, err := f.WriteAt([]byte(longKey), at)
		require.NoError(t, err)
	}
	// In the second partition, in places around the border of a buffer.
	const start = 8192 * 512
	for _, at := range []int64{siftBytes - 10, 2*siftBytes - 90, 3*siftBytes - 600} {
		_, err := f.WriteAt([]byte(strings.Repeat("x", 700)+longKey), start+at-700)
		require.NoError(t, err)
	}
	r := auditDisk(t, name, Options{Only: []string{"free-space-secret"}})
	var got []string
	for _, f := range r.Findings {
		if f.Rule != "free-space-secret" {
			continue // that nobody knows what is in a partition
		}
		got = append(got, fmt.Sprintf("%s %s", f.Where(), f.Evidence))
	}
	at := len("-----BEGIN OPENSSH ")
	assert.Equal(t, []string{
		fmt.Sprintf("p2 at byte %d 3 times", siftBytes-10+at),
		fmt.Sprintf("disk at byte %d 3 times", 1000+at),
	}, got)
}

// A large image that is nothing but a hole takes no time.
func TestFreeSparse(t *testing.T) {
	testtool.Need(t, "mke2fs")
	name := filepath.Join(t.TempDir(), "sparse.img")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	require.NoError(t, os.Truncate(name, 8<<30))
	testtool.Run(t, "mke2fs", "-q", "-F", "-t", "ext4", name)
	start := time.Now()
	r := auditDisk(t, name, Options{Only: []string{"free"}})
	assert.Empty(t, messages(r, "free-space-secret"))
	assert.Less(t, time.Since(start), 5*time.Second)
	had(t, "free-space-secret free-space-data slack-secret fs-journal-remnant", asSparse)
}

// Whatever the maps of a file system say, looking through it ends, stays in the
// image, and what could not be seen is not called good.
func TestFreeHostile(t *testing.T) {
	for _, kind := range words("ext3 inline FAT16 ffs2") {
		t.Run(kind, func(t *testing.T) {
			testtool.Sequential(t)
			name := freeImage(t, kind)
			editTree(t, name, func(tree *vfs.Tree) {
				for i := range 20 {
					writeFile(t, tree, fmt.Sprintf("/d%d/f", i%4)+fmt.Sprint(i), strings.Repeat("x", 3000*i))
				}
			})
			good, err := os.ReadFile(name)
			require.NoError(t, err)
			rnd := rand.New(rand.NewPCG(1, 2))
			var used []int // sectors that are not zero
			for i := 0; i < len(good); i += 512 {
				if !blockio.IsZero(good[i:i+512]) && !bytes.Contains(good[i:i+512], []byte("xxxx")) {
					used = append(used, i)
				}
			}
			for range 25 {
				bad := bytes.Clone(good)
				for range 1 + rnd.IntN(8) {
					bad[used[rnd.IntN(len(used))]+rnd.IntN(512)] = byte(rnd.Uint32())
				}
				require.NoError(t, os.WriteFile(name, bad, 0o644))
				d, err := image.Open(context.Background(), name)
				require.NoError(t, err)
				target, err := FromDisk(context.Background(), d)
				require.NoError(t, err)
				start := time.Now()
				audit(t, target, Options{Only: []string{"free"}})
				assert.Less(t, time.Since(start), 10*time.Second)
				require.NoError(t, d.Close())
			}
			had(t, "free-space-secret free-space-data slack-secret fs-journal-remnant", unread)
		})
	}
}
