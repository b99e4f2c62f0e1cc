package fsck

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testdamage"
	"github.com/resflash/resflash/integration/testext"
	"github.com/resflash/resflash/integration/testtool"
)

// ext4Damages is how often each kind of damage is done, over all shapes:
// RESFLASH_DAMAGES, or few.
func ext4Damages(t *testing.T) (from, n int) {
	n = 12
	if v := os.Getenv("RESFLASH_DAMAGES"); v != "" {
		first, count, ok := strings.Cut(v, "+")
		var err error
		if !ok {
			count = v
			first = "0"
		}
		n, err = strconv.Atoi(count)
		require.NoError(t, err)
		from, err = strconv.Atoi(first)
		require.NoError(t, err)
	}
	return from, n
}

// damagedMixes are the shapes that are damaged.
var damagedMixes = []string{"1k", "no-csum-1k", "default", "ext2", "ext3-1k", "inline-data-1k", "small-groups", "bigalloc",
	"orphan-file", "meta-bg", "no-uninit", "small-inodes"}

type healthyExt4 struct {
	name string
	data []byte
}

// healthyExt4s makes the file systems that are damaged, with hash trees.
func healthyExt4s(t *testing.T) (list []healthyExt4) {
	testtool.Need(t, "e2fsck")
	tree := testext.Tree(t)
	require.NoError(t, os.Remove(filepath.Join(tree, "sparse"))) // it takes long to read
	mixes := map[string]testext.Mix{}
	for _, m := range testext.Mixes() {
		mixes[m.Name] = m
	}
	for _, name := range damagedMixes {
		m := mixes[name]
		m.Size = 8 << 20
		file := m.Make(t, tree)
		_ = exec.Command("e2fsck", "-fyD", file).Run() // 1: the file system was changed
		testtool.Run(t, "e2fsck", "-fn", file)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		list = append(list, healthyExt4{name, data})
	}
	return list
}

// e2fsck says whether e2fsck finds anything in an image, and what.
func e2fsck(t *testing.T, dir string, data []byte) (found bool, said string) {
	t.Helper()
	name := filepath.Join(dir, "image")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	defer os.Remove(name)
	cmd := exec.Command("e2fsck", "-fn", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	// The exit code is 0 even after some of what it offers to mend.
	offers := strings.Count(string(out), "? no") - strings.Count(string(out), "Optimize? no")
	return err != nil || offers > 0, string(out)
}

// Whatever happens to a file system, we find something if e2fsck does, and a
// repair makes it sound again for both: the files that were not touched are what
// they were.
func TestRepair(t *testing.T) {
	testtool.Sequential(t)
	healthy := healthyExt4s(t)
	from, n := ext4Damages(t)
	for _, what := range testdamage.Ext4Kinds() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			found, lost, theirs, ours := map[string]int{}, 0, 0, 0
			for i := from; i < from+n; i++ {
				h := healthy[i%len(healthy)]
				r := repairExt4(t, dir, h, what, uint64(i))
				for _, f := range r.list {
					found[f.Code]++
					if f.Lost != "" {
						lost++
					}
				}
				theirs += r.theirs
				ours += r.ours
			}
			t.Logf("%d damages, %d seen by e2fsck alone, %d by us alone, %d findings with a loss: %v", n, theirs, ours, lost, found)
		})
	}
}

// What went wrong once.
func TestOnceMissed(t *testing.T) {
	testtool.Sequential(t)
	for _, h := range healthyExt4s(t) {
		for _, was := range []struct {
			mix, what string
			seed      uint64
		}{
			// An error that the kernel had noted in the journal, which e2fsck clears.
			{"1k", "anything", 12},
			// An inode for online resizing of 158 TiB, which e2fsck cuts.
			{"no-uninit", "anything", 250},
			// An extent of garbage over a dozen files, which lost their blocks to it
			// because there was no space for copies.
			{"inline-data-1k", "anything", 257},
			// A journal with a larger size than it has blocks.
			{"no-uninit", "special inodes", 34},
			// A node of the extent trees of two files, sealed for the one and the
			// other by turns.
			{"meta-bg", "inodes", 261},
			// The number of an inode as the time of deletion of a reserved inode.
			{"1k", "special inodes", 324},
			// Links to the reserved inode of quotas.
			{"meta-bg", "special inodes", 633},
			// A file with extents that became a short symbolic link.
			{"no-uninit", "fields", 310},
			// An inode for online resizing that got the same block of others again
			// and again, which the block bitmap called free.
			{"inline-data-1k", "anything", 593},
			// An inode that was damaged in a group whose descriptor was, too, and that
			// was taken for one that was never written.
			{"inline-data-1k", "anything", 401},
			// Attributes of the inode for online resizing; a count of blocks of 48
			// bits without the feature for it.
			{"small-inodes", "special inodes", 983},
			{"small-groups", "special inodes", 750},
			// Inline data of the inode of a boot loader, which has none.
			{"inline-data-1k", "special inodes", 785},
			// An inode for online resizing that is a bit larger than mke2fs makes it,
			// which is no damage.
			{"ext2", "special inodes", 399},
		} {
			if h.name == was.mix {
				repairExt4(t, t.TempDir(), h, was.what, was.seed)
			}
		}
	}
}

// A block of pointers that leads to itself, and that the file has twice.
func TestPointersToThemselves(t *testing.T) {
	testtool.Sequential(t)
	for _, h := range healthyExt4s(t) {
		if h.name != "ext2" {
			continue
		}
		data := bytes.Clone(h.data)
		tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
		c := newChecker(ctx, tx, vfs.RepairAll, nil)
		c.tx = tx
		require.NoError(t, c.setup())
		var in inode
		for n := c.firstIno; ; n++ {
			require.NoError(t, c.load(n, &in))
			if in.isReg() && in.Links > 0 && le.Uint32(in.Block[4*directPointers:]) != 0 {
				break
			}
		}
		at := le.Uint32(in.Block[4*directPointers:])
		le.PutUint32(ondisk.InodeBlock(in.raw)[4*(directPointers+1):], at)
		require.NoError(t, c.store(&in))
		b := make([]byte, c.bsize)
		require.NoError(t, c.readBlock(b, uint64(at)))
		le.PutUint32(b, at)
		le.PutUint32(b[4:], uint32(c.blocks))
		require.NoError(t, c.writeBlock(b, uint64(at)))
		require.NoError(t, tx.Commit(ctx))

		list := repairBytes(t, data, vfs.RepairAll)
		assert.Empty(t, tell(check(t, data)))
		found, said := e2fsck(t, t.TempDir(), data)
		assert.False(t, found, "%s\nafter\n%s", said, tell(list))
	}
}

func TestErrorNotedInTheJournal(t *testing.T) {
	testtool.Sequential(t)
	h := healthyExt4s(t)[0]
	data := bytes.Clone(h.data)
	at := bytes.Index(data, []byte{0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4})
	require.Positive(t, at)
	data[at+0x23] = 5
	found, _ := e2fsck(t, t.TempDir(), data)
	assert.True(t, found)
	tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
	var list []vfs.Finding
	require.NoError(t, Repair(ctx, tx, vfs.RepairPreen, func(f vfs.Finding) { list = append(list, f) }))
	require.NoError(t, tx.Commit(ctx))
	require.Len(t, list, 1)
	assert.Equal(t, "journal-error", list[0].Code)
	assert.Contains(t, list[0].Detail, "error 5")
	found, said := e2fsck(t, t.TempDir(), data)
	assert.False(t, found, said)
	assert.Equal(t, h.data, data)
}

type ext4Result struct {
	list         []vfs.Finding
	theirs, ours int
}

var saveMu sync.Mutex

// repairExt4 damages a file system and repairs it.
func repairExt4(t *testing.T, dir string, h healthyExt4, what string, seed uint64) (r ext4Result) {
	data := bytes.Clone(h.data)
	d, err := testdamage.OpenExt4(data, seed)
	require.NoError(t, err)
	if d.Groups() == 1 && testdamage.NeedsCopies(what) {
		return r
	}
	d.Do(what)
	where := fmt.Sprintf("%s, %s, seed %d", h.name, what, seed)
	to := os.Getenv("RESFLASH_KEEP")
	var damaged []byte
	if to != "" {
		damaged = bytes.Clone(data)
	}
	fail := func(format string, args ...any) {
		t.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
		if to != "" {
			saveMu.Lock()
			defer saveMu.Unlock()
			base := filepath.Join(to, strings.ReplaceAll(fmt.Sprintf("%s-%s-%d", h.name, what, seed), " ", "_"))
			require.NoError(t, os.WriteFile(base+".damaged", damaged, 0o600))
			require.NoError(t, os.WriteFile(base+".after", data, 0o600))
		}
	}

	theirs, said := e2fsck(t, dir, data)
	var seen []vfs.Finding
	if err := Check(ctx, blockio.NewMemory(data), func(f vfs.Finding) { seen = append(seen, f) }); err != nil {
		fail("check: %v", err)
		return r
	}
	switch {
	case theirs && len(seen) == 0:
		r.theirs++
		fail("e2fsck finds something, and we do not:\n%s", said)
	case !theirs && len(seen) > 0:
		r.ours++
		if !oursAlone(seen) {
			fail("we find something, and e2fsck does not:\n%s", tellFindings(seen))
		}
	}

	tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
	err = Repair(ctx, tx, vfs.RepairAll, func(f vfs.Finding) { r.list = append(r.list, f) })
	if err != nil {
		fail("repair: %v, after\n%s", err, tellFindings(r.list))
		return r
	}
	require.NoError(t, tx.Commit(ctx))
	var left []vfs.Finding
	require.NoError(t, Check(ctx, blockio.NewMemory(data), func(f vfs.Finding) { left = append(left, f) }))
	if len(left) > 0 {
		fail("found after a repair:\n%s\nafter\n%s", tellFindings(left), tellFindings(r.list))
	}
	if theirs, said := e2fsck(t, dir, data); theirs {
		fail("e2fsck after a repair:\n%s\nafter\n%s", said, tellFindings(r.list))
	}
	for _, f := range r.list {
		assert.True(t, f.Fixed, "%s: %v", where, f)
	}
	after, err := d.Snapshot()
	if err != nil {
		fail("%v, after\n%s", err, tellFindings(r.list))
		return r
	}
	if diff := d.Compare(d.Before(), after); len(diff) > 0 {
		fail("%s\nafter\n%s", strings.Join(diff, "\n"), tellFindings(r.list))
	}
	return r
}

// oursAlone reports whether all findings are such that e2fsck -n has no eye for.
func oursAlone(list []vfs.Finding) bool {
	for _, f := range list {
		switch {
		case f.Code == "inode-size" && strings.Contains(f.Detail, "inline"): // a file that ends behind its inline data
		case f.Code == "inode-reserved": // it looks at no more than the mode
		case f.Code == "resize-inode" && strings.Contains(f.Detail, "without the feature"): // it looks at the pointers only
		case f.Code == "inline-data" && strings.Contains(f.Detail, "not the attribute"): // for it, a name ends with the first zero
			return true // whatever follows from that
		case f.Code == "attributes" && strings.Contains(f.Detail, "0 bytes, crosses the end"): // it looks at empty values of inline data only
		case f.Code == "attributes" && strings.Contains(f.Detail, "no file may be") && f.Path == "": // it tells with the name
		case f.Code == "inode-flags" && strings.Contains(f.Detail, "compressed"): // it does not look any more
		case f.Code == "inode-flags" && strings.Contains(f.Detail, "AFS") && f.Path == "": // it looks at files only
		case f.Code == "journal" && strings.Contains(f.Detail, "begins at"): // it looks if there is something to replay
		case f.Code == "journal" && strings.Contains(f.Detail, "and blocks for"): // it compares 31 bits of the size
		default:
			return false
		}
	}
	return true
}

func tellFindings(list []vfs.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "  %s %s %v (lost: %s)\n", f.Code, f.Path, f, f.Lost)
	}
	return b.String()
}
