package integration

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/resflash/resflash"

// A layer is a set of packages. Imports go from a layer to those below it, or
// stay in it.
type layer struct {
	name     string
	packages []string // folders, with all below them
}

// layers, from the top. A package belongs to the entry that names it most
// closely.
var layers = []layer{
	{"commands", []string{"cmd"}},
	{"clients", []string{"fusefs", "build", "upgrade", "image/audit", "image/customize", "image/export", "image/populate", "image/diff"}},
	{"model", []string{"image"}},
	{"drivers", []string{"image/ffs", "image/ext4", "image/fat", "image/iso9660", "image/squashfs", "image/erofs"}},
	{"tables", []string{"image/part", "image/passwd"}},
	{"contract", []string{"image/vfs"}},
	{"devices", []string{"image/blockio"}},
	{"tools", []string{"image/lazyregexp"}},
}

// outside are packages that only tests and tools of this repository use.
var outside = []string{"integration", "image/vfs/vfstest"}

// owners are the packages that may import a module from elsewhere.
var owners = map[string][]string{
	"github.com/hanwen/go-fuse":       {"fusefs", "cmd", "integration/bench"},
	"github.com/diskfs/go-diskfs":     {"image/part/gpt", "image/iso9660"},
	"github.com/klauspost/compress":   {"image/squashfs", "image/customize"},
	"github.com/pierrec/lz4":          {"image/squashfs"},
	"github.com/ulikunitz/xz":         {"image/squashfs", "image/customize"},
	"github.com/alecthomas/kong":      {"cmd"},
	"github.com/stretchr/testify":     {"integration", "image/vfs/vfstest"},
	"github.com/openwall/yescrypt-go": {"image/passwd/crypt"},
	"golang.org/x/crypto":             {"image/passwd/crypt"},
	"golang.org/x/sys":                {""},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func inside(dir string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return d == "" || dir == d || strings.HasPrefix(dir, d+"/") })
}

// layerOf returns the index of the layer of a folder, or -1.
func layerOf(dir string) int {
	best, longest := -1, -1
	for i, l := range layers {
		for _, p := range l.packages {
			if (dir == p || strings.HasPrefix(dir, p+"/")) && len(p) > longest {
				best, longest = i, len(p)
			}
		}
	}
	return best
}

// Imports point one way, and every module from elsewhere has one owner.
func TestImportsPointOneWay(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	checked := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		require.NoError(t, dec.Decode(&p))
		dir := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, problem := range importProblems(dir, p.Imports) {
			t.Error(problem)
		}
		checked++
	}
	assert.Greater(t, checked, 10)
}

func importProblems(dir string, imports []string) []string {
	var out []string
	for _, imp := range imports {
		first, _, _ := strings.Cut(imp, "/")
		if !strings.Contains(first, ".") {
			continue // the standard library
		}
		dep, ours := strings.CutPrefix(imp, module+"/")
		switch {
		case !ours:
			if !ownerOf(dir, imp) {
				out = append(out, dir+" must not import "+imp)
			}
		case inside(dir, outside):
			// Tests may look at everything.
		case inside(dep, outside):
			out = append(out, dir+" is a part of the program, and imports "+dep+", which is for tests")
		case layerOf(dir) < 0:
			out = append(out, dir+" is in no layer: add it to layers in imports_test.go")
		case layerOf(dep) < layerOf(dir):
			out = append(out, dir+" imports "+dep+", which is above it")
		case layerOf(dir) == layerOf(dep) && !related(dir, dep):
			out = append(out, dir+" imports its neighbour "+dep)
		}
	}
	return out
}

// ownerOf says whether dir may import the module of imp.
func ownerOf(dir, imp string) bool {
	for mod, dirs := range owners {
		if strings.HasPrefix(imp, mod+"/") || imp == mod {
			return inside(dir, dirs)
		}
	}
	return false
}

// related packages of one layer may import each other: the folders of one
// driver, and the clients of the model (an upgrade builds), but no two drivers.
func related(a, b string) bool {
	if layerOf(a) <= 2 {
		return true
	}
	return slices.ContainsFunc(layers[layerOf(a)].packages, func(p string) bool {
		return inside(a, []string{p}) && inside(b, []string{p})
	})
}

// The rule itself is tested, so that it cannot rot.
func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		dir, imp string
		ok       bool
	}{
		{"cmd/resflash", module + "/fusefs", true},
		{"cmd/resflash", "github.com/alecthomas/kong", true},
		{"image", module + "/fusefs", false},
		{"image", module + "/image/ffs", true},
		{"image/ffs", module + "/image", false},
		{"image/ffs", module + "/image/ext4", false},
		{"image/ffs", module + "/image/ffs/ondisk", true},
		{"image/ffs", module + "/image/vfs", true},
		{"image/ffs", "github.com/hanwen/go-fuse/v2/fs", false},
		{"image/vfs", module + "/image/part", false},
		{"image/part/gpt", module + "/image/vfs", true},
		{"image/blockio", module + "/image/vfs", false},
		{"image/part/mbr", "github.com/diskfs/go-diskfs/partition/gpt", false},
		{"image/part/gpt", "github.com/diskfs/go-diskfs/partition/gpt", true},
		{"image/fat", "github.com/stretchr/testify/assert", false},
		{"image/fat", module + "/image/vfs/vfstest", false},
		{"image/fat", "golang.org/x/sys/unix", true},
		{"image/fat", "example.com/anything", false},
		{"newcomer", module + "/image", false},
	} {
		problems := importProblems(c.dir, []string{c.imp})
		assert.Equalf(t, c.ok, len(problems) == 0, "%s → %s: %v", c.dir, c.imp, problems)
	}
}
