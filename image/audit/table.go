package audit

import (
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// Many rules are broken by what is simply there. These make checks of them.

// present is broken by regular files with something in them.
func present(r *Rule, message string, patterns ...string) check {
	return presentIf(r, message, nil, patterns...)
}

// A condition decides whether the fix may be made for a file.
type condition func(*scan, *file) detail

// detail is the verdict of a condition, if there is one.
func (c condition) detail(s *scan, f *file) detail {
	if c == nil {
		return func(*Finding) {}
	}
	return c(s, f)
}

// presentIf is present for a fix with a condition.
func presentIf(r *Rule, message string, decide condition, patterns ...string) check {
	return check{rules: []*Rule{r}, look: func(s *scan) {
		for _, f := range s.files(patterns...) {
			if f.filled() {
				s.found(r, f, message, shown("%s", bytesOf(f.attr.Size)), decide.detail(s, f))
			}
		}
	}}
}

// secrets is present for files that are secrets as a whole, too long to be
// guessed.
func secrets(r *Rule, kind string, patterns ...string) check {
	return secretsIf(r, kind, nil, patterns...)
}

// secretsIf is secrets for a fix with a condition.
func secretsIf(r *Rule, kind string, decide condition, patterns ...string) check {
	return check{rules: []*Rule{r}, look: func(s *scan) {
		for _, f := range s.files(patterns...) {
			if b, ok := s.head(f, maxText); ok && len(b) > 0 {
				s.found(r, f, article(kind)+kind, secret(kind, b), decide.detail(s, f))
			}
		}
	}}
}

// A pattern is a line of a text that breaks a rule.
type pattern struct {
	files   []string
	comment string // signs that begin a comment
	line    *lazyregexp.Regexp
	message string
	hidden  bool      // the line is a secret that could be guessed
	unique  string    // the line is an identifier of that kind, which nobody can guess
	worse   Severity  // instead of the rule's, if not Off
	decide  condition // nil: the fix has none
}

// matching is broken by lines of texts.
func matching(r *Rule, patterns ...pattern) check {
	return check{rules: []*Rule{r}, look: func(s *scan) {
		for _, p := range patterns {
			for _, f := range s.files(p.files...) {
				for n, l := range lines(s.text(f), p.comment) {
					if !p.line.MatchString(l) {
						continue
					}
					details := []detail{line(n), p.decide.detail(s, f)}
					if p.hidden {
						details = append(details, guessable("secret", l))
					}
					if p.unique != "" {
						details = append(details, secret(p.unique, []byte(l)))
					}
					if p.worse != Off {
						details = append(details, s.as(p.worse))
					}
					s.found(r, f, p.message, details...)
				}
			}
		}
	}}
}

// entries is broken by anything in directories, but names that are as they
// should be.
func entries(r *Rule, message string, fine *lazyregexp.Regexp, patterns ...string) check {
	return check{rules: []*Rule{r}, look: func(s *scan) {
		for _, f := range s.links(patterns...) {
			if fine != nil && fine.MatchString(f.name()) {
				continue
			}
			s.found(r, f, message, shown("%s", typeName(f)))
		}
	}}
}

// article is the one that a word wants.
func article(word string) string {
	if strings.ContainsAny(word[:1], "aeiou") {
		return "an "
	}
	return "a "
}
