package customize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// edit changes the lines of a file that match.
type edit struct {
	path  string
	text  string // the expression, as it was given
	rules []editRule
}

// An editRule is one "s/OLD/NEW/g" or "/OLD/d".
type editRule struct {
	re     *regexp.Regexp
	delete bool
	all    bool   // every match in a line, not only the first
	new    []byte // a template of [regexp.Regexp.Expand]
}

func parseEdit(arg string) (Operation, error) {
	path, text, err := cutPath(arg)
	if err != nil {
		return nil, err
	}
	o := edit{path: path, text: text}
	for rest := strings.TrimSpace(text); rest != ""; {
		var rule editRule
		if rule, rest, err = parseEditRule(rest); err != nil {
			return nil, fmt.Errorf("expression %q: %w", text, err)
		}
		o.rules = append(o.rules, rule)
		if rest = strings.TrimLeft(rest, " \t\n"); rest == "" {
			break
		}
		if rest[0] != ';' {
			return nil, fmt.Errorf("expression %q: %q follows where it should end, or a semicolon be", text, rest)
		}
		rest = strings.TrimLeft(rest[1:], " \t\n")
	}
	if len(o.rules) == 0 {
		return nil, errors.New("the expression is missing: s/OLD/NEW/, s/OLD/NEW/g or /OLD/d")
	}
	return o, nil
}

// parseEditRule reads the first rule of an expression.
func parseEditRule(s string) (rule editRule, rest string, err error) {
	isDelete := s[0] == '/'
	if !isDelete {
		if s[0] != 's' || len(s) < 2 {
			return rule, "", errors.New("want s/OLD/NEW/, s/OLD/NEW/g or /OLD/d")
		}
		s = s[1:]
	}
	delim, n := utf8.DecodeRuneInString(s)
	if unicode.IsLetter(delim) || unicode.IsDigit(delim) || unicode.IsSpace(delim) || delim == '\\' {
		return rule, "", fmt.Errorf("%q cannot be the delimiter: s/OLD/NEW/", delim)
	}
	old, s, ok := cutDelimited(s[n:], delim)
	if !ok {
		return rule, "", fmt.Errorf("no second %q", delim)
	}
	if isDelete {
		if !strings.HasPrefix(s, "d") {
			return rule, "", errors.New("/OLD/ needs a d behind it, which deletes the lines that match")
		}
		rule.delete, s = true, s[1:]
	} else {
		var text string
		if text, s, ok = cutDelimited(s, delim); !ok {
			return rule, "", fmt.Errorf("no third %q", delim)
		}
		rule.new = template(text)
	}
	rest = strings.TrimLeft(s, "giI")
	flags := s[:len(s)-len(rest)]
	rule.all = strings.Contains(flags, "g")
	if strings.ContainsAny(flags, "iI") {
		old = "(?i:" + old + ")"
	}
	rule.re, err = regexp.Compile(old)
	return rule, rest, err
}

// cutDelimited splits s at the first delimiter that no backslash is in front
// of. A backslash in front of a delimiter goes; others stay.
func cutDelimited(s string, delim rune) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == delim:
			return b.String(), s[i+n:], true
		case r == '\\' && i+1 < len(s):
			next, k := utf8.DecodeRuneInString(s[i+1:])
			if next != delim {
				b.WriteByte('\\')
			}
			b.WriteString(s[i+1 : i+1+k])
			i += 1 + k
		default:
			b.WriteString(s[i : i+n])
			i += n
		}
	}
	return "", "", false
}

// template turns what people write for a replacement into what Expand takes:
// $1 and \1 are a group, whatever follows; ${name} is a named one; \n, \t and
// \\ are what they are in C; any other $ is a dollar.
func template(s string) []byte {
	var b []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		next := byte(0)
		if i+1 < len(s) {
			next = s[i+1]
		}
		switch {
		case (c == '$' || c == '\\') && next >= '0' && next <= '9':
			b = append(b, '$', '{', next, '}')
			i++
		case c == '$' && next == '{' && strings.IndexByte(s[i:], '}') > 0:
			b = append(b, '$')
		case c == '$':
			b = append(b, "$$"...)
		case c == '\\' && next != 0:
			if e := strings.IndexByte(`nt`, next); e >= 0 {
				next = "\n\t"[e]
			}
			if next == '$' {
				b = append(b, '$')
			}
			b = append(b, next)
			i++
		default:
			b = append(b, c)
		}
	}
	return b
}

func (o edit) Apply(ctx context.Context, e *Editor) error {
	text, err := e.ReadFile(ctx, o.path, MaxText)
	if err != nil {
		return err
	}
	out := o.apply(text)
	if bytes.Equal(out, text) {
		e.note("%s: no line is different", o)
		return nil
	}
	return e.WriteFile(ctx, o.path, out, newText)
}

// apply changes a text line by line.
func (o edit) apply(text []byte) []byte {
	var out []byte
lines:
	for line := range bytes.Lines(text) {
		body, end := bytes.CutSuffix(line, []byte("\n"))
		for _, r := range o.rules {
			if r.delete {
				if r.re.Match(body) {
					continue lines
				}
				continue
			}
			body = r.replace(body)
		}
		out = append(out, body...)
		if end {
			out = append(out, '\n')
		}
	}
	return out
}

func (r editRule) replace(line []byte) []byte {
	n := 1
	if r.all {
		n = -1
	}
	matches := r.re.FindAllSubmatchIndex(line, n)
	if matches == nil {
		return line
	}
	var out []byte
	at := 0
	for _, m := range matches {
		out = append(out, line[at:m[0]]...)
		out = r.re.Expand(out, r.new, line, m)
		at = m[1]
	}
	return append(out, line[at:]...)
}

// String leaves the replacements out: a password may be among them.
func (o edit) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "edit %s:", o.path)
	for i, r := range o.rules {
		if i > 0 {
			b.WriteString("; ")
		}
		if r.delete {
			fmt.Fprintf(&b, "/%s/d", r.re)
			continue
		}
		fmt.Fprintf(&b, "s/%s/…/", r.re)
		if r.all {
			b.WriteByte('g')
		}
	}
	return b.String()
}
