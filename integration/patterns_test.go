package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nothing compiles a regular expression at the start of the program, or again
// at each use: the patterns that are known are variables of package lazyregexp.
// That they compile is seen here, not when they are first used.
func TestPatternsAreLazy(t *testing.T) {
	fset := token.NewFileSet()
	patterns := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		dir := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			inside(dir, outside) || dir == "image/lazyregexp" {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		n, problems := patternProblems(fset, file)
		for _, p := range problems {
			t.Error(p)
		}
		patterns += n
		return nil
	}))
	assert.Greater(t, patterns, 100)
}

// patternProblems returns what is wrong with the regular expressions of a file,
// and how many there are.
func patternProblems(fset *token.FileSet, file *ast.File) (n int, problems []string) {
	for _, decl := range file.Decls {
		_, inFunction := decl.(*ast.FuncDecl)
		ast.Inspect(decl, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			var pattern *ast.BasicLit
			if len(call.Args) == 1 {
				pattern, _ = call.Args[0].(*ast.BasicLit)
			}
			problem := func(format string, args ...any) {
				problems = append(problems, fmt.Sprintf("%s: ", fset.Position(call.Pos()))+fmt.Sprintf(format, args...))
			}
			switch name := calledName(call); name {
			case "regexp.MustCompile", "regexp.Compile", "regexp.MustCompilePOSIX", "regexp.CompilePOSIX":
				if !inFunction || pattern != nil {
					problem("%s of a known pattern: make it a variable of lazyregexp.New", name)
				}
			case "lazyregexp.New":
				n++
				switch {
				case inFunction:
					problem("%s in a function is compiled at each call: make it a variable of the package", name)
				case pattern == nil:
					problem("%s of something else than one literal", name)
				default:
					text, err := strconv.Unquote(pattern.Value)
					if err == nil {
						_, err = regexp.Compile(text)
					}
					if err != nil {
						problem("%v", err)
					}
				}
			}
			return true
		})
	}
	return n, problems
}

// calledName is "package.Function", or empty for calls of another kind.
func calledName(call *ast.CallExpr) string {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := f.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return pkg.Name + "." + f.Sel.Name
}

// The rule itself is tested, so that it cannot rot.
func TestPatternRules(t *testing.T) {
	for _, c := range []struct {
		source  string
		problem string
	}{
		{"var a = lazyregexp.New(`a+`)", ""},
		{"var a = []row{{1, lazyregexp.New(`a`), f(lazyregexp.New(\"b\\n\"))}}", ""},
		{"func f(s string) { regexp.MustCompile(regexp.QuoteMeta(s) + `$`) }", ""},
		{"func f(s string) { regexp.Compile(s) }", ""},
		{"var a = regexp.MustCompile(`a`)", "a.go:2:9: regexp.MustCompile of a known pattern"},
		{"var a = []row{{regexp.MustCompile(b)}}", "known pattern"},
		{"func f() { g(regexp.MustCompile(`a`)) }", "known pattern"},
		{"func f() { g(lazyregexp.New(`a`)) }", "in a function"},
		{"var a = lazyregexp.New(b)", "something else"},
		{"var a = lazyregexp.New(`a(`)", "missing closing )"},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "a.go", "package a\n"+c.source, 0)
		require.NoError(t, err, c.source)
		_, problems := patternProblems(fset, file)
		if c.problem == "" {
			assert.Empty(t, problems, c.source)
		} else if assert.Len(t, problems, 1, c.source) {
			assert.Contains(t, problems[0], c.problem, c.source)
		}
	}
}
