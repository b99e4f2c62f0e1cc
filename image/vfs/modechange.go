package vfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A ModeChange is what chmod(1) is given: an octal mode, or clauses
// like "u+rwX,g-s,o=".
type ModeChange struct {
	octal   bool
	mode    Mode
	clauses []modeClause
}

// A modeClause is one "u+rwX".
type modeClause struct {
	who   Mode // the bits that belong to those it is about
	op    byte // + - =
	bits  Mode
	exec  bool // X: execution for directories, and for what someone may execute
	copy  byte // u, g or o: the permissions of another class; 0
	setID bool
	stick bool
}

// ParseModeChange reads one. Without ugo a clause is about all: there is no umask
// in an image.
func ParseModeChange(s string) (ModeChange, error) {
	fail := func(err error) (ModeChange, error) {
		return ModeChange{}, fmt.Errorf("mode %q: %w", s, err)
	}
	if s == "" {
		return fail(errors.New("is empty"))
	}
	if s[0] >= '0' && s[0] <= '9' {
		n, err := strconv.ParseUint(s, 8, 32)
		if err != nil || n > 0o7777 {
			return fail(errors.New("not an octal number up to 7777"))
		}
		return ModeChange{octal: true, mode: Mode(n)}, nil
	}
	var m ModeChange
	for _, text := range strings.Split(s, ",") {
		rest := strings.TrimLeft(text, "ugoa")
		who := classes(text[:len(text)-len(rest)])
		if rest == "" || !strings.ContainsRune("+-=", rune(rest[0])) {
			return fail(fmt.Errorf("no +, - or = in %q", text))
		}
		for rest != "" {
			c := modeClause{who: who, op: rest[0]}
			end := 1 + strings.IndexAny(rest[1:], "+-=")
			if end == 0 {
				end = len(rest)
			}
			for _, l := range rest[1:end] {
				switch l {
				case 'r':
					c.bits |= 0o444
				case 'w':
					c.bits |= 0o222
				case 'x':
					c.bits |= 0o111
				case 'X':
					c.exec = true
				case 's':
					c.setID = true
				case 't':
					c.stick = true
				case 'u', 'g', 'o':
					if end != 2 {
						return fail(fmt.Errorf("%q stands alone or not at all", l))
					}
					c.copy = byte(l)
				default:
					return fail(fmt.Errorf("unknown letter %q", l))
				}
			}
			m.clauses = append(m.clauses, c)
			rest = rest[end:]
		}
	}
	return m, nil
}

// classes returns the bits that belong to the letters of "ugoa".
func classes(letters string) Mode {
	var m Mode
	for _, l := range letters {
		switch l {
		case 'u':
			m |= 0o700 | SetUID
		case 'g':
			m |= 0o070 | SetGID
		case 'o':
			m |= 0o007 | Sticky
		case 'a':
			m |= 0o7777
		}
	}
	if letters == "" {
		m = 0o7777
	}
	return m
}

// Apply returns the permissions that a file with mode m has then.
func (c ModeChange) Apply(m Mode) Mode {
	if c.octal {
		return c.mode
	}
	for _, clause := range c.clauses {
		m = clause.apply(m)
	}
	return m.Perm()
}

func (c modeClause) apply(m Mode) Mode {
	bits := c.bits
	if c.exec && (m.IsDir() || m&0o111 != 0) {
		bits |= 0o111
	}
	switch c.copy {
	case 'u':
		bits |= m >> 6 & 7 * 0o111
	case 'g':
		bits |= m >> 3 & 7 * 0o111
	case 'o':
		bits |= m & 7 * 0o111
	}
	if c.setID {
		bits |= SetUID | SetGID
	}
	if c.stick {
		bits |= Sticky
	}
	bits &= c.who
	switch c.op {
	case '+':
		return m | bits
	case '-':
		return m &^ bits
	}
	return m&^(c.who&0o7777) | bits
}
