package audit

import (
	"testing"

	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// A Sample is a tree that breaks rules, for the tests of others.
type Sample struct {
	Rules []string
	FS    *memfs.FS
	build func(testing.TB) *Target
}

// Target is the sample as an audit sees it, as it is now.
func (s Sample) Target(t testing.TB) *Target { return s.build(t) }

// EachSample calls fn for every sample.
func EachSample(t *testing.T, fn func(*testing.T, Sample)) {
	eachSample(t, func(t *testing.T, system System, c sample) {
		fsys := systemFiles[system].with(c.bad).build()
		fn(t, Sample{words(c.rules), fsys, func(t testing.TB) *Target { return one(t, fsys) }})
	})
}
