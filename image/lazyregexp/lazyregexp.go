// Package lazyregexp has regular expressions that are compiled when they are
// first used. The program has more than a hundred, and most commands need none of
// them: compiled at the start, they took longer than many a command.
//
//	var rotated = lazyregexp.New(`\.[0-9]+$`)
//
// All patterns of the program are variables of that kind; a test in
// integration compiles them, so that none can be wrong unnoticed. What is made
// of a pattern that somebody gave is compiled by package regexp.
package lazyregexp

import (
	"regexp"
	"sync"
)

// A Regexp is a regular expression, for concurrent use. Its methods are those
// of [regexp.Regexp].
type Regexp struct {
	pattern string
	once    sync.Once
	re      *regexp.Regexp
}

// New returns the regular expression of a pattern. One that is wrong panics at
// its first use.
func New(pattern string) *Regexp { return &Regexp{pattern: pattern} }

func (r *Regexp) compiled() *regexp.Regexp {
	r.once.Do(func() { r.re = regexp.MustCompile(r.pattern) })
	return r.re
}

// Match reports whether there is a match in b.
func (r *Regexp) Match(b []byte) bool { return r.compiled().Match(b) }

// MatchString is Match for a string.
func (r *Regexp) MatchString(s string) bool { return r.compiled().MatchString(s) }

// FindString returns the first match.
func (r *Regexp) FindString(s string) string { return r.compiled().FindString(s) }

// FindIndex returns where the first match is.
func (r *Regexp) FindIndex(b []byte) []int { return r.compiled().FindIndex(b) }

// FindStringIndex is FindIndex for a string.
func (r *Regexp) FindStringIndex(s string) []int { return r.compiled().FindStringIndex(s) }

// FindSubmatch returns the first match and its groups.
func (r *Regexp) FindSubmatch(b []byte) [][]byte { return r.compiled().FindSubmatch(b) }

// FindStringSubmatch is FindSubmatch for a string.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.compiled().FindStringSubmatch(s) }

// FindStringSubmatchIndex returns where the first match and its groups are.
func (r *Regexp) FindStringSubmatchIndex(s string) []int {
	return r.compiled().FindStringSubmatchIndex(s)
}

// FindAllStringSubmatch returns n matches and their groups, all if n is
// negative.
func (r *Regexp) FindAllStringSubmatch(s string, n int) [][]string {
	return r.compiled().FindAllStringSubmatch(s, n)
}

// ReplaceAll replaces all matches by a template.
func (r *Regexp) ReplaceAll(b, template []byte) []byte { return r.compiled().ReplaceAll(b, template) }

// ReplaceAllString is ReplaceAll for a string.
func (r *Regexp) ReplaceAllString(s, template string) string {
	return r.compiled().ReplaceAllString(s, template)
}

// ExpandString appends a template, filled in with a match of s.
func (r *Regexp) ExpandString(dst []byte, template, s string, match []int) []byte {
	return r.compiled().ExpandString(dst, template, s, match)
}
