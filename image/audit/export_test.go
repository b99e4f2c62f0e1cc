package audit

import (
	"testing"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// A Sample is a tree that breaks rules, for the tests of others.
type Sample struct {
	Rules []string
	FS    *memfs.FS
	build func(testing.TB) *Target

	tree, bad files
}

// Target is the sample as an audit sees it, as it is now.
func (s Sample) Target(t testing.TB) *Target { return s.build(t) }

// Odd are samples of which one file is what it should not be.
func (s Sample) Odd() map[string]Sample {
	all := map[string]Sample{}
	for name, f := range s.bad {
		for what, odd := range map[string]thing{
			"loop": symlink(name), "to another file": symlink("/victim"), "directory": dir(0o755), "FIFO": {mode: vfs.FIFO | 0o644},
			"not UTF-8": text("\xff\xfe\x80\n:::::\xc3\x28=\xff\n[\x00\x01"),
		} {
			if f.mode.IsDir() {
				continue
			}
			fsys := s.tree.with(files{name: odd, "/victim": text("stays")}).build()
			all[name+" as "+what] = Sample{Rules: s.Rules, FS: fsys, build: func(t testing.TB) *Target { return one(t, fsys) }}
		}
	}
	return all
}

// EachSample calls fn for every sample.
func EachSample(t *testing.T, fn func(*testing.T, Sample)) {
	eachSample(t, func(t *testing.T, system System, c sample) {
		tree := systemFiles[system].with(c.bad)
		fsys := tree.build()
		fn(t, Sample{words(c.rules), fsys, func(t testing.TB) *Target { return one(t, fsys) }, tree, c.bad})
	})
}
