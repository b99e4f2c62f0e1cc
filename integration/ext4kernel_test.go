package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// A changer changes a file system: the kernel's, through a mount, or ours.
type changer interface {
	Create(name string, data []byte) error
	WriteAt(name string, data []byte, off int64) error
	Truncate(name string, size int64) error
	Mkdir(name string) error
	Symlink(target, name string) error
	Link(old, new string) error
	Rename(old, new string) error
	Remove(name string) error
	Chmod(name string, mode uint32) error
	Chown(name string, uid, gid int) error
	Chtimes(name string, at time.Time) error
	SetXattr(name, attr string, value []byte) error
}

// byKernel works in a directory that is a mount.
type byKernel struct{ dir string }

func (k byKernel) at(name string) string { return filepath.Join(k.dir, name) }

func (k byKernel) Create(name string, data []byte) error {
	return os.WriteFile(k.at(name), data, 0o644)
}

func (k byKernel) WriteAt(name string, data []byte, off int64) error {
	f, err := os.OpenFile(k.at(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(data, off)
	return err
}

func (k byKernel) Truncate(name string, size int64) error { return os.Truncate(k.at(name), size) }
func (k byKernel) Mkdir(name string) error                { return os.Mkdir(k.at(name), 0o755) }
func (k byKernel) Symlink(target, name string) error      { return os.Symlink(target, k.at(name)) }
func (k byKernel) Link(old, new string) error             { return os.Link(k.at(old), k.at(new)) }
func (k byKernel) Rename(old, new string) error           { return os.Rename(k.at(old), k.at(new)) }
func (k byKernel) Remove(name string) error               { return os.Remove(k.at(name)) }

func (k byKernel) Chmod(name string, mode uint32) error { return unix.Chmod(k.at(name), mode) }
func (k byKernel) Chown(name string, uid, gid int) error {
	return os.Lchown(k.at(name), uid, gid)
}

func (k byKernel) Chtimes(name string, at time.Time) error {
	return os.Chtimes(k.at(name), at, at)
}

func (k byKernel) SetXattr(name, attr string, value []byte) error {
	return unix.Setxattr(k.at(name), attr, value, 0)
}

// byUs works with the driver.
type byUs struct {
	ctx  context.Context
	tree *vfs.Tree
	fs   vfs.WritableFS
}

func (o byUs) Create(name string, data []byte) error {
	_, err := o.tree.WriteFile(o.ctx, name, bytes.NewReader(data), vfs.NewNode{Mode: vfs.Regular | 0o644})
	return err
}

func (o byUs) WriteAt(name string, data []byte, off int64) error {
	attr, err := o.tree.Resolve(o.ctx, name)
	if err != nil {
		return err
	}
	n, err := o.fs.WriteAt(o.ctx, attr.Ino, data, off)
	if err == nil && n != len(data) {
		err = syscall.EIO
	}
	return err
}

func (o byUs) Truncate(name string, size int64) error { return o.tree.Truncate(o.ctx, name, size) }
func (o byUs) Mkdir(name string) error                { return o.tree.Mkdir(o.ctx, name, 0o755) }
func (o byUs) Symlink(target, name string) error      { return o.tree.Symlink(o.ctx, target, name) }
func (o byUs) Link(old, new string) error             { return o.tree.Link(o.ctx, old, new) }
func (o byUs) Rename(old, new string) error           { return o.tree.Rename(o.ctx, old, new, 0) }
func (o byUs) Remove(name string) error               { return o.tree.Remove(o.ctx, name) }

func (o byUs) Chmod(name string, mode uint32) error {
	return o.tree.Chmod(o.ctx, name, vfs.Mode(mode))
}

func (o byUs) Chown(name string, uid, gid int) error {
	return o.tree.Lchown(o.ctx, name, uint32(uid), uint32(gid))
}

func (o byUs) Chtimes(name string, at time.Time) error {
	return o.tree.Chtimes(o.ctx, name, at, at)
}

func (o byUs) SetXattr(name, attr string, value []byte) error {
	a, err := o.tree.Resolve(o.ctx, name)
	if err != nil {
		return err
	}
	return o.fs.(vfs.XattrWriter).SetXattr(o.ctx, a.Ino, attr, value, false, false)
}

// A scribbler changes a tree at random, and knows what is in it.
type scribbler struct {
	rnd   *rand.Rand
	files []string // regular, each a name of its own
	links []string // symbolic
	dirs  []string
	seq   int
}

func (s *scribbler) pick(list []string) string { return list[s.rnd.IntN(len(list))] }

// name makes a new name, now and then a long one.
func (s *scribbler) name() string {
	s.seq++
	n := fmt.Sprintf("n%d", s.seq)
	if s.rnd.IntN(3) == 0 {
		n += strings.Repeat("ö", s.rnd.IntN(120))
	}
	return path.Join(s.pick(s.dirs), n)
}

func (s *scribbler) data(limit int) []byte {
	b := make([]byte, s.rnd.IntN(limit))
	for i := range b {
		b[i] = byte(s.rnd.Uint32())
	}
	return b
}

// take removes a name from a list and returns it.
func (s *scribbler) take(list *[]string) string {
	i := s.rnd.IntN(len(*list))
	name := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return name
}

// step does one change.
func (s *scribbler) step(h changer) error {
	if len(s.files) < 5 {
		return s.create(h)
	}
	switch s.rnd.IntN(16) {
	case 0, 1, 2, 3:
		if len(s.files) > 400 {
			return h.Remove(s.take(&s.files))
		}
		return s.create(h)
	case 4, 5:
		return h.WriteAt(s.pick(s.files), s.data(30_000), int64(s.rnd.IntN(300_000)))
	case 6:
		return h.Truncate(s.pick(s.files), int64(s.rnd.IntN(200_000)))
	case 7, 8:
		return h.Remove(s.take(&s.files))
	case 9:
		from, to := s.take(&s.files), s.name()
		s.files = append(s.files, to)
		return h.Rename(from, to)
	case 10:
		to := s.name()
		err := h.Link(s.pick(s.files), to)
		s.files = append(s.files, to)
		return err
	case 11:
		to := s.name()
		s.links = append(s.links, to)
		return h.Symlink(strings.Repeat("t", 1+s.rnd.IntN(200)), to)
	case 12:
		if len(s.dirs) > 20 {
			return s.moveDir(h)
		}
		to := s.name()
		s.dirs = append(s.dirs, to)
		return h.Mkdir(to)
	case 13:
		name := s.pick(s.files)
		if err := h.Chown(name, s.rnd.IntN(100_000), s.rnd.IntN(10)); err != nil {
			return err
		}
		return h.Chmod(name, uint32(s.rnd.IntN(0o10000)))
	case 14:
		return h.Chtimes(s.pick(s.files), time.Unix(s.rnd.Int64N(1<<31), s.rnd.Int64N(1e9)))
	default:
		return h.SetXattr(s.pick(s.files), fmt.Sprintf("user.a%d", s.rnd.IntN(3)), s.data(300))
	}
}

func (s *scribbler) create(h changer) error {
	name := s.name()
	s.files = append(s.files, name)
	limit := 20_000
	if s.rnd.IntN(20) == 0 {
		limit = 1_000_000
	}
	return h.Create(name, s.data(limit))
}

// moveDir renames a directory that has no other in it, with all that is there.
func (s *scribbler) moveDir(h changer) error {
	from := s.dirs[len(s.dirs)-1]
	s.dirs = s.dirs[:len(s.dirs)-1]
	to := s.name()
	for _, list := range []*[]string{&s.files, &s.links} {
		for i, name := range *list {
			if rest, ok := strings.CutPrefix(name, from+"/"); ok {
				(*list)[i] = to + "/" + rest
			}
		}
	}
	s.dirs = append(s.dirs, to)
	return h.Rename(from, to)
}

// The kernel and we take turns at changing a file system: each finds what the
// other has left, and e2fsck finds nothing.
func TestExt4TurnsWithTheKernel(t *testing.T) {
	if !asRoot {
		testtool.Missing(t, "mounting by the kernel needs root")
	}
	testtool.Need(t, "e2fsck", "mount", "umount")
	for _, c := range []struct {
		name   string
		args   []string
		rounds int
	}{
		{"ext4", []string{"--type", "ext4", "--block-size", "4k"}, 50},
		{"ext4-1k", []string{"--type", "ext4"}, 10},
		{"ext3", []string{"--type", "ext3"}, 10},
		{"ext2", []string{"--type", "ext2"}, 10},
		{"plain", []string{"--type", "ext4", "-O", "^metadata_csum,uninit_bg,^has_journal"}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.rounds < 50 {
				heavy(t)
			}
			img := filepath.Join(t.TempDir(), "turns")
			resflash(t, append(append([]string{"mkfs", "--size", "96M"}, c.args...), img)...)
			// A directory of our own, so that what mkfs made stays out of the way.
			s := &scribbler{rnd: rand.New(rand.NewPCG(7, uint64(len(c.name)))), dirs: []string{"top"}}
			known := []string{} // what the kernel has left
			for round := range c.rounds {
				ourTurn(t, img, round, s)
				e2fsck(t, img, known)
				kernelTurn(t, img, round, s)
				known = append([]string{}, e2fsck(t, img, nil)...)
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
		})
	}
}

// ourTurn changes the file system with the driver.
func ourTurn(t *testing.T, img string, round int, s *scribbler) {
	t.Helper()
	ctx := t.Context()
	d, err := image.Edit(ctx, img, image.EditOptions{Atomic: round%2 == 1})
	require.NoError(t, err)
	defer d.Close()
	v, err := d.Partitions()[0].Edit(ctx)
	require.NoError(t, err)
	h := byUs{ctx, v.Tree, v.FS.(vfs.WritableFS)}
	if round == 0 {
		require.NoError(t, h.Mkdir("top"))
	}
	for i := range 60 {
		require.NoError(t, s.step(h))
		if i%17 == 16 {
			require.NoError(t, h.fs.Sync(ctx))
		}
	}
	require.NoError(t, d.Commit(ctx))
	require.NoError(t, d.Close())
}

// kernelTurn mounts the file system, looks whether the kernel sees what we see,
// and changes it, and then looks whether we see what the kernel sees.
func kernelTurn(t *testing.T, img string, round int, s *scribbler) {
	t.Helper()
	const fields = manifest.All | manifest.Xattrs
	dir := t.TempDir()
	before := exported(t, img).Below("top")
	testtool.Run(t, "mount", "-t", "ext4", "-o", "loop,user_xattr", img, dir)
	mounted := true
	defer func() {
		if mounted {
			testtool.Run(t, "umount", dir)
		}
	}()
	read := func() manifest.Manifest {
		return manifest.ReadDir(dir, manifest.Options{Xattrs: true}).Below("top")
	}
	assert.Empty(t, manifest.Diff(before, read(), fields, 20), "round %d: what the kernel sees of ours", round)
	h := byKernel{dir}
	for range 60 {
		require.NoError(t, s.step(h))
	}
	after := read()
	testtool.Run(t, "umount", dir)
	mounted = false
	assert.Empty(t, manifest.Diff(after, exported(t, img).Below("top"), fields, 20), "round %d: what we see of the kernel's", round)
}

// e2fsck has e2fsck judge: it is to find nothing, but that extent trees could be
// shorter. The kernel leaves such trees behind; which, is returned. If known is
// not nil, there are to be no others.
func e2fsck(t *testing.T, img string, known []string) (tall []string) {
	t.Helper()
	out := testtool.Run(t, "e2fsck", "-fn", img)
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "e2fsck "), strings.HasPrefix(line, "Pass "), strings.Contains(line, " files ("):
		case strings.HasPrefix(line, "Inode ") && strings.Contains(line, "could be shorter.") && (known == nil || slices.Contains(known, line)):
			tall = append(tall, line)
		default:
			t.Errorf("e2fsck says: %s", line)
		}
	}
	return tall
}
