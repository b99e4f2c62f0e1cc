package testimage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// hardTree has what is hard to get right: every kind of file, sizes around all
// limits, tails, holes, long names, large directories.
func hardTree(g *geometry) Tree {
	t := Tree{}
	bs, fs := g.bsize, g.fsize
	rng := rand.New(rand.NewPCG(1, 2))
	data := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	for _, n := range []int{0, 1, fs - 1, fs, fs + 1, bs - 1, bs, bs + 1, bs + fs, 12*bs - fs, 12*bs - 1, 12 * bs, 12*bs + 1, 13 * bs, 20*bs + 5} {
		t.File(fmt.Sprintf("sizes/%d", n), 0o644, data(n))
	}
	large := (12 + int(g.nindir) + 3) * bs // needs a double indirect block
	if large < 40<<20 {
		t.File("sizes/double", 0o600, data(large+77))
	}
	holes := make([]byte, 15*bs+3)
	copy(holes[13*bs:], data(100))
	t.Set("holes/inside", &Node{Mode: ModeRegular | 0o644, Data: holes, Holes: true})
	t.Set("holes/all", &Node{Mode: ModeRegular | 0o644, Data: make([]byte, 30*bs), Holes: true})
	for i := range 700 {
		t.File(fmt.Sprintf("many/%s-%03d", strings.Repeat("n", i%200), i), 0o644, nil)
	}
	t.File("names/"+strings.Repeat("x", 255), 0o644, []byte("255"))
	t.File("names/\xe4\xff in no encoding", 0o644, []byte("bytes"))
	for _, n := range []int{1, 59, 60, 61, 119, 120, 121, 1000} {
		t.Symlink(fmt.Sprintf("links/%d", n), strings.Repeat("t", n))
	}
	t.Link("links/hard-a", "sizes/1")
	t.Link("links/hard-b", "sizes/1")
	t.Device("dev/null", ModeChar, 0o666, 0, 2, 2)
	t.Device("dev/sd0a", ModeBlock, 0o640, 5, 4, 0)
	t.Set("dev/fifo", &Node{Mode: ModeFIFO | 0o600})
	t.Set("dev/socket", &Node{Mode: ModeSocket | 0o600})
	t.Set("owned", &Node{Mode: ModeRegular | 0o4751, UID: 1000, GID: 70000, Mtime: time.Unix(1234567890, 987654321), Data: []byte("mine"), Flags: 0x20000})
	t.Dir("deep/a/b/c/d/e/f/g/h", 0o1777)
	return t
}

func imageFile(t *testing.T, size int64) (*os.File, string) {
	name := filepath.Join(t.TempDir(), "fs.img")
	f, err := os.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	require.NoError(t, f.Truncate(size))
	return f, name
}

// Sleuthkit reads every file of every shape of file system back, and its view
// of what is allocated is that of the inodes.
func TestFFSAgreesWithSleuthkit(t *testing.T) {
	testtool.Need(t, "fls", "icat", "istat", "blkls", "fsstat")
	for _, c := range []struct {
		version, bsize, fsize int
		size                  int64
	}{
		{1, 16384, 2048, 64 << 20},
		{2, 16384, 2048, 64<<20 - 3*2048}, // ends inside a block
		{1, 4096, 512, 48 << 20},
		{2, 8192, 8192, 48 << 20},
		{2, 65536, 8192, 96 << 20},
	} {
		t.Run(fmt.Sprintf("FFS%d %d-%d %d", c.version, c.bsize, c.fsize, c.size), func(t *testing.T) {
			t.Parallel()
			f, img := imageFile(t, c.size)
			g, err := newGeometry(c.version, c.size, c.bsize, c.fsize)
			require.NoError(t, err)
			tree := hardTree(g)
			made, err := WriteFFS(f, c.size, FFSOptions{Version: c.version, BlockSize: c.bsize, FragSize: c.fsize,
				Time: time.Unix(1728477296, 0), Mounted: "/mnt"}, tree)
			require.NoError(t, err)

			// Names and inode numbers.
			var want, got []string
			for name := range tree {
				if name != "" {
					want = append(want, fmt.Sprintf("%d %s", made.Inode(name), name))
				}
			}
			for _, line := range strings.Split(testtool.Run(t, "fls", "-r", "-p", img), "\n") {
				if m := regexp.MustCompile(`^\S+ (\d+):\t(.*)$`).FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[2], "$") {
					got = append(got, m[1]+" "+m[2])
				}
			}
			sort.Strings(want)
			sort.Strings(got)
			assert.Equal(t, want, got)

			// Contents.
			for name, n := range tree {
				if n.HardLink != "" || n.Mode&modeType != ModeRegular || strings.HasPrefix(name, "many/") {
					continue
				}
				out, err := exec.Command("icat", img, strconv.Itoa(int(made.Inode(name)))).Output()
				require.NoError(t, err)
				assert.True(t, bytes.Equal(n.Data, out), "contents of %s", name)
			}
			checkAllocation(t, img, made, tree)
		})
	}
}

// checkAllocation compares the blocks of all inodes, as istat has them, with
// the fragments that blkls says are free, and both with the counters.
func checkAllocation(t *testing.T, img string, made *FFS, tree Tree) {
	t.Helper()
	free := map[int64]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(\d+)\|f$`).FindAllStringSubmatch(testtool.Run(t, "blkls", "-l", img), -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		free[n] = true
	}
	g := made.geom
	owner := map[int64]string{}
	for name, n := range tree {
		// An empty file has no blocks to look at.
		if n.HardLink != "" || strings.HasPrefix(name, "many/") || n.Mode&modeType == ModeChar || n.Mode&modeType == ModeBlock {
			continue
		}
		out := testtool.Run(t, "istat", img, strconv.Itoa(int(made.Inode(name))))
		_, blocks, _ := strings.Cut(out, "Blocks:\n")
		for _, word := range strings.Fields(strings.ReplaceAll(blocks, "Indirect Blocks:", "")) {
			at, err := strconv.ParseInt(word, 10, 64)
			if err != nil || at == 0 {
				continue
			}
			other, twice := owner[at]
			owner[at] = name
			switch {
			case free[at]:
				t.Errorf("%s uses the free fragment %d", name, at)
			case twice && other != name:
				t.Errorf("the fragment %d belongs to %s and %s", at, name, other)
			case at < g.dblkno:
				t.Errorf("%s uses the reserved fragment %d", name, at)
			}
		}
	}
	stat := testtool.Run(t, "fsstat", img)
	sum := func(field string) (total int64) {
		_, locals, _ := strings.Cut(stat, "Group: 0")
		for _, m := range regexp.MustCompile(`Local Summary[^\n]*\n((?:    [^\n]*\n)*)`).FindAllStringSubmatch(locals, -1) {
			if v := regexp.MustCompile(field + `: (\d+)`).FindStringSubmatch(m[1]); v != nil {
				n, _ := strconv.ParseInt(v[1], 10, 64)
				total += n
			}
		}
		return total
	}
	if strings.Contains(stat, "Group: 0") {
		// Sleuthkit does not count the space before the superblock copies.
		assert.LessOrEqual(t, int64(len(free)), sum("Num of Avail Blocks")*int64(g.frag)+sum("Num of Avail Frags"))
		dirs := 0
		for _, n := range tree {
			if n.HardLink == "" && n.Mode&modeType == ModeDir {
				dirs++
			}
		}
		assert.Equal(t, int64(dirs), sum("Num of Dirs"))
	}
}

// GRUB finds the superblock where OpenBSD has it. Its symbolic links are not
// asked for: it cuts off the last byte of short targets.
func TestFFSAgreesWithGRUB(t *testing.T) {
	testtool.Need(t, "grub-fstest")
	for _, version := range []int{1, 2} {
		f, img := imageFile(t, 64<<20)
		g, err := newGeometry(version, 64<<20, 16384, 2048)
		require.NoError(t, err)
		tree := hardTree(g)
		_, err = WriteFFS(f, 64<<20, FFSOptions{Version: version, Time: time.Unix(1728477296, 0)}, tree)
		require.NoError(t, err)
		for name, n := range tree {
			if n.HardLink != "" || n.Mode&modeType != ModeRegular || strings.HasPrefix(name, "many/") || strings.HasPrefix(name, "names/") {
				continue
			}
			out := testtool.Run(t, "grub-fstest", img, "cat", "(loop0)/"+name)
			assert.True(t, bytes.Equal(n.Data, []byte(out)), "contents of %s in FFS%d", name, version)
		}
	}
}

func TestFFSRefusesWhatCannotBe(t *testing.T) {
	f, _ := imageFile(t, 16<<20)
	for name, tree := range map[string]Tree{
		"full":           {"big": {Mode: ModeRegular, Data: make([]byte, 17<<20)}},
		"name":           {strings.Repeat("x", 256): {Mode: ModeRegular}},
		"no parent":      {"a/b": {Mode: ModeRegular}},
		"parent is file": {"a": {Mode: ModeRegular}, "a/b": {Mode: ModeRegular}},
		"no type":        {"a": {Mode: 0o644}},
		"link to none":   {"a": {HardLink: "b"}},
		"link to dir":    {"a": {HardLink: "b"}, "b": {Mode: ModeDir}},
		"root":           {"": {Mode: ModeRegular}},
	} {
		_, err := WriteFFS(f, 16<<20, FFSOptions{Time: time.Unix(0, 0)}, tree)
		assert.Error(t, err, name)
	}
	_, err := WriteFFS(f, 100<<10, FFSOptions{}, Tree{})
	assert.Error(t, err)
	_, err = WriteFFS(f, 16<<20, FFSOptions{BlockSize: 16384, FragSize: 1024}, Tree{})
	assert.Error(t, err)
}
