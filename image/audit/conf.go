package audit

import (
	"fmt"
	"strconv"
	"strings"
)

// Waivers and policies are written in a part of TOML: tables in brackets or
// double brackets, and in them names with a string or a list of strings.
//
//	[[waiver]]
//	rule = "ssh-host-key"
//	reason = "the demo image; nothing connects to it"
//
// Everything else is an error, so that a slip of the pen is not a rule that is
// quietly off.

// A section is a table of such a file.
type section struct {
	name   string
	list   bool // in double brackets
	line   int
	values map[string]value
}

type value struct {
	words []string
	list  bool
	line  int
}

func parseConf(text string) ([]section, error) {
	all := []section{{values: map[string]value{}, line: 1}}
	n := 0
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			s := section{values: map[string]value{}, line: n}
			head := strings.TrimSpace(uncomment(line))
			if s.list = strings.HasPrefix(head, "[["); s.list {
				s.name = strings.TrimSuffix(strings.TrimPrefix(head, "[["), "]]")
			} else {
				s.name = strings.TrimSuffix(strings.TrimPrefix(head, "["), "]")
			}
			if s.name = strings.TrimSpace(s.name); s.name == "" || strings.ContainsAny(s.name, "[]") {
				return nil, fmt.Errorf("line %d: a table's name is written [name] or [[name]]", n)
			}
			all = append(all, s)
		default:
			name, rest, ok := strings.Cut(line, "=")
			if name = strings.Trim(strings.TrimSpace(name), `"`); !ok || name == "" {
				return nil, fmt.Errorf("line %d: want name = \"value\"", n)
			}
			rest = strings.TrimSpace(rest)
			start := n
			// A list may go over several lines.
			for strings.HasPrefix(rest, "[") && !strings.HasSuffix(strings.TrimSpace(uncomment(rest)), "]") && text != "" {
				var more string
				more, text, _ = strings.Cut(text, "\n")
				n++
				rest = strings.TrimSpace(uncomment(rest)) + " " + strings.TrimSpace(uncomment(more))
			}
			v, err := parseValue(rest)
			if err != nil {
				return nil, fmt.Errorf("line %d: %s: %w", start, name, err)
			}
			v.line = start
			into := all[len(all)-1].values
			if _, twice := into[name]; twice {
				return nil, fmt.Errorf("line %d: %s is given twice", start, name)
			}
			into[name] = v
		}
	}
	return all, nil
}

// uncomment takes a comment off the end of a line, unless it is inside quotes.
func uncomment(line string) string {
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == 0 && c == '#':
			return line[:i]
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == '"' && c == '\\':
			i++
		case c == quote:
			quote = 0
		}
	}
	return line
}

func parseValue(text string) (value, error) {
	if !strings.HasPrefix(text, "[") {
		word, rest, err := parseWord(text)
		if err == nil && strings.TrimSpace(uncomment(rest)) != "" {
			err = fmt.Errorf("%q follows the value", strings.TrimSpace(rest))
		}
		return value{words: []string{word}}, err
	}
	v := value{list: true}
	for rest := strings.TrimSpace(text[1:]); ; {
		if strings.HasPrefix(rest, "]") {
			if strings.TrimSpace(uncomment(rest[1:])) != "" {
				return v, fmt.Errorf("%q follows the list", rest[1:])
			}
			return v, nil
		}
		word, after, err := parseWord(rest)
		if err != nil {
			return v, err
		}
		v.words = append(v.words, word)
		rest = strings.TrimSpace(after)
		if comma := strings.HasPrefix(rest, ","); comma {
			rest = strings.TrimSpace(rest[1:])
		} else if !strings.HasPrefix(rest, "]") {
			return v, fmt.Errorf("a list is written [\"a\", \"b\"]")
		}
	}
}

// parseWord reads a string in quotes: single ones keep everything as it is.
func parseWord(text string) (word, rest string, err error) {
	if strings.HasPrefix(text, "'") {
		if word, rest, ok := strings.Cut(text[1:], "'"); ok {
			return word, rest, nil
		}
	}
	if quoted, err := strconv.QuotedPrefix(text); err == nil && strings.HasPrefix(text, `"`) {
		word, err := strconv.Unquote(quoted)
		return word, text[len(quoted):], err
	}
	return "", "", fmt.Errorf("want a string in quotes")
}

// take reads and removes a string of a section.
func (s *section) take(name string) (string, error) {
	v, ok := s.values[name]
	delete(s.values, name)
	if ok && v.list {
		return "", fmt.Errorf("line %d: %s is one string, not a list", v.line, name)
	}
	if !ok {
		return "", nil
	}
	return v.words[0], nil
}

// rest complains about what nobody has taken.
func (s *section) rest() error {
	first, at := "", 0
	for name, v := range s.values {
		if at == 0 || v.line < at {
			first, at = name, v.line
		}
	}
	if at == 0 {
		return nil
	}
	return fmt.Errorf("line %d: %q is not known here", at, first)
}
