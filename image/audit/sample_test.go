package audit

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// thing is a file of a sample.
type thing struct {
	mode   vfs.Mode
	text   string // contents, or the target of a link
	size   int64  // of a sparse file, if longer than text
	uid    uint32
	xattrs map[string]string
}

func text(s string) thing                 { return thing{mode: vfs.Regular | 0o644, text: s} }
func private(s string) thing              { return thing{mode: vfs.Regular | 0o600, text: s} }
func moded(perm vfs.Mode, s string) thing { return thing{mode: vfs.Regular | perm, text: s} }
func symlink(target string) thing         { return thing{mode: vfs.Symlink | 0o777, text: target} }
func dir(perm vfs.Mode) thing             { return thing{mode: vfs.Dir | perm} }
func sparse(size int64) thing             { return thing{mode: vfs.Regular | 0o600, size: size} }

// files are a sample of a tree.
type files map[string]thing

// with is the sample and more.
func (f files) with(more files) files {
	all := maps.Clone(f)
	maps.Copy(all, more)
	return all
}

// build puts a sample into a file system.
func (f files) build() *memfs.FS {
	fsys := memfs.New()
	made := map[string]bool{"/": true}
	var parents func(string)
	parents = func(dir string) {
		if made[dir] {
			return
		}
		made[dir] = true
		parents(path.Dir(dir))
		set := func(*vfs.Attr) {}
		if d, ok := f[dir]; ok {
			if !d.mode.IsDir() {
				panic("sample: " + dir + " is no directory")
			}
			set = func(a *vfs.Attr) { a.Mode, a.UID = d.mode, d.uid }
		}
		fsys.AddDir(dir, set)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		t := f[name]
		parents(path.Dir(name))
		set := func(a *vfs.Attr) { a.Mode, a.UID = t.mode, t.uid }
		switch t.mode.Type() {
		case vfs.Dir:
			parents(name)
		case vfs.Symlink:
			fsys.AddSymlink(name, t.text)
		case vfs.FIFO:
			fsys.AddFIFO(name, set)
		case vfs.Char:
			fsys.AddDevice(name, vfs.Char, vfs.Dev{Major: 1, Minor: 3}, set)
		default:
			fsys.AddSparse(name, max(t.size, int64(len(t.text))), []memfs.Data{{Off: 0, Bytes: []byte(t.text)}}, set)
		}
		for k, v := range t.xattrs {
			fsys.AddXattr(name, k, []byte(v))
		}
	}
	return fsys
}

// volume makes one of a file system.
func volume(id, role string, fsys vfs.FS) *Volume {
	return &Volume{ID: id, Role: role, Tree: vfs.NewTree(fsys)}
}

// one is a target of a single volume with a system.
func one(t testing.TB, fsys vfs.FS) *Target {
	v := volume("whole", image.RoleRoot, fsys)
	os, err := image.IdentifyOS(context.Background(), v.Tree)
	require.NoError(t, err)
	return &Target{Name: "test.img", Volumes: []*Volume{v}, Systems: []*Installed{{Root: v, OS: os, Active: true}}}
}

// audit runs an audit that must not fail.
func audit(t testing.TB, target *Target, opt Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), target, opt)
	require.NoError(t, err)
	return r
}

// found lists the findings of a rule: their places.
func found(r *Report, rule string) []string {
	var places []string
	for _, f := range r.Findings {
		if f.Rule == rule {
			places = append(places, f.Where())
		}
	}
	return places
}

// status is the verdict of a rule.
func status(r *Report, rule string) Status {
	for _, v := range r.Rules {
		if v.Rule == rule {
			return v.Status
		}
	}
	return Status("no rule " + rule)
}

// brokenFS answers EIO for some files.
type brokenFS struct {
	*memfs.FS
	broken map[vfs.Ino]bool
}

func (b *brokenFS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if b.broken[ino] {
		return 0, vfs.Corruptf(4096, "inode", "damaged for a test")
	}
	return b.FS.ReadAt(ctx, ino, p, off)
}

// words splits a list.
func words(s string) []string { return strings.Fields(s) }

func (b *brokenFS) Xattrs(ctx context.Context, ino vfs.Ino) (map[string][]byte, error) {
	if b.broken[ino] {
		return nil, vfs.Corruptf(4096, "extended attributes", "damaged for a test")
	}
	return b.FS.Xattrs(ctx, ino)
}
