package customize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// A script is a list of operations, one on a line:
//
//	# comment
//	upload fw.conf:/etc/fw.conf
//	write /etc/myname:${NAME}.example.net
//	edit /etc/ssh/sshd_config:s/^#?PermitRootLogin .*/PermitRootLogin no/
//	write /etc/motd:<<END
//	Welcome to ${NAME}.
//	END
//	include common.script
//
// The first word is the operation, and the rest of the line its argument, just
// as it is: blanks, quotes and backslashes in it mean nothing, only those
// around it go. What else there is:
//
//   - A line that ends with a backslash goes on in the next.
//   - ${NAME} is the value of a variable; $${ is ${. One that is not set is an
//     error. Values are not looked into again.
//   - An argument in double quotes is a string of Go: "\n", "\t", "\"", "\\".
//     One in single quotes is taken as it is, without variables.
//   - An argument that ends with :<<WORD goes on with the lines that follow, up
//     to the one that is WORD: a here-document. :<<'WORD' has no variables in
//     it, and :<<-WORD loses the tabs in front of its lines.
//   - include FILE reads another script, whose name is relative to this one.
//
// Names of files of the host in operations are relative to the working
// directory, as those of options are.
type script struct {
	vars  map[string]string
	steps []Step
	open  []string // scripts that are being read, the innermost last
}

// A ScriptError says where a script makes no sense.
type ScriptError struct {
	Name string
	Line int // 0: not in a line
	Err  error
}

func (e *ScriptError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err)
}

func (e *ScriptError) Unwrap() error { return e.Err }

// The limits of what is taken for a script.
const (
	maxScript   = 64 << 20 // bytes, of each
	maxIncludes = 16       // scripts in each other
	maxSteps    = 1 << 20
)

// ReadScript reads the script called name from r. Errors are *ScriptError.
func ReadScript(name string, r io.Reader, vars map[string]string) ([]Step, error) {
	s := &script{vars: vars}
	err := s.read(name, r)
	return s.steps, err
}

func (s *script) read(name string, r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxScript+1))
	switch {
	case err != nil:
		return &ScriptError{name, 0, err}
	case len(text) > maxScript:
		return &ScriptError{name, 0, fmt.Errorf("is larger than %d bytes: no script", maxScript)}
	case bytes.IndexByte(text, 0) >= 0:
		return &ScriptError{name, 1 + bytes.Count(text[:bytes.IndexByte(text, 0)], []byte("\n")), errors.New("has a zero byte in it: no script")}
	}
	s.open = append(s.open, name)
	defer func() { s.open = s.open[:len(s.open)-1] }()
	l := lines{rest: string(text)}
	for {
		line, ok := l.command()
		if !ok {
			return nil
		}
		at := l.first
		if err := s.line(name, at, line, &l); err != nil {
			if known := (*ScriptError)(nil); errors.As(err, &known) {
				return err // of an include
			}
			return &ScriptError{name, at, err}
		}
	}
}

// line reads one operation.
func (s *script) line(name string, n int, line string, l *lines) error {
	word, arg := line, ""
	if end := strings.IndexAny(line, " \t"); end >= 0 {
		word, arg = line[:end], strings.Trim(line[end:], blanks)
	}
	arg, err := s.argument(arg, l)
	if err != nil {
		return err
	}
	if word == "include" {
		return s.include(name, arg)
	}
	op, err := Parse(word, arg)
	if err != nil {
		return err
	}
	if len(s.steps) == maxSteps {
		return fmt.Errorf("more than %d operations", maxSteps)
	}
	s.steps = append(s.steps, Step{op, name + ":" + strconv.Itoa(n)})
	return nil
}

func (s *script) include(from, name string) error {
	if name == "" {
		return errors.New("include what?")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(from), name)
	}
	switch {
	case slices.Contains(s.open, name):
		return fmt.Errorf("include %s: it includes itself", name)
	case len(s.open) >= maxIncludes:
		return fmt.Errorf("include %s: %d scripts are in each other already", name, maxIncludes)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.read(name, f)
}

// hereDoc is the end of an argument that goes on below.
var hereDoc = lazyregexp.New(`:<<(-?)('?)([A-Za-z_][A-Za-z0-9_]*)('?)$`)

// argument is what an operation gets to see.
func (s *script) argument(arg string, l *lines) (string, error) {
	switch {
	case strings.HasPrefix(arg, `'`):
		if len(arg) < 2 || !strings.HasSuffix(arg, `'`) {
			return "", errors.New("the argument begins with a single quote, and does not end with one")
		}
		return arg[1 : len(arg)-1], nil
	case strings.HasPrefix(arg, `"`):
		text, err := strconv.Unquote(arg)
		if err != nil {
			return "", errors.New("the argument begins with a double quote, and is no string of Go")
		}
		return s.expand(text)
	}
	m := hereDoc.FindStringSubmatch(arg)
	if m == nil {
		return s.expand(arg)
	}
	if m[2] != m[4] {
		return "", fmt.Errorf("%s: one quote is missing", m[0][1:])
	}
	head, err := s.expand(arg[:len(arg)-len(m[0])+1])
	if err != nil {
		return "", err
	}
	body, ok := l.until(m[3], m[1] == "-")
	if !ok {
		return "", fmt.Errorf("the here-document has no end: a line %s", m[3])
	}
	if m[2] == "" {
		if body, err = s.expand(body); err != nil {
			return "", err
		}
	}
	return head + body, nil
}

var variable = lazyregexp.New(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand puts in the values of variables.
func (s *script) expand(text string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		b.WriteString(text[:i])
		m := variable.FindStringSubmatch(text[i:])
		if m == nil {
			return "", fmt.Errorf("%.20q: ${ begins a variable, ${NAME}; write $${ for the two characters", text[i:])
		}
		value, ok := s.vars[m[1]]
		if !ok {
			return "", fmt.Errorf("the variable ${%s} is not set: --set %s=VALUE", m[1], m[1])
		}
		b.WriteString(value)
		text = text[i+len(m[0]):]
	}
}

// ParseVariable reads "NAME=VALUE".
func ParseVariable(text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || variable.FindString("${"+name+"}") != "${"+name+"}" {
		return "", "", fmt.Errorf("%q: want NAME=VALUE, where NAME is of letters, digits and _", text)
	}
	return name, value, nil
}

// lines is a text that is taken line by line.
type lines struct {
	rest  string
	n     int // of lines that were taken
	first int // line that the last command began in
}

func (l *lines) next() (line string, ok bool) {
	if l.rest == "" {
		return "", false
	}
	line, l.rest, _ = strings.Cut(l.rest, "\n")
	l.n++
	return line, true
}

// blanks are what may be around words.
const blanks = " \t\r"

// command takes the next line that is no comment, with those that it goes on
// in, without blanks around it.
func (l *lines) command() (string, bool) {
	for {
		line, ok := l.next()
		if !ok {
			return "", false
		}
		l.first = l.n
		line = strings.Trim(line, blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		for continues(line) {
			line = line[:len(line)-1]
			more, ok := l.next()
			if !ok {
				break
			}
			line += strings.Trim(more, blanks)
		}
		return line, true
	}
}

// continues says that a line ends with a backslash that no other is in front
// of.
func continues(line string) bool {
	bare := strings.TrimRight(line, `\`)
	return (len(line)-len(bare))%2 == 1
}

// until takes lines up to one that is word.
func (l *lines) until(word string, tabs bool) (string, bool) {
	var b strings.Builder
	for {
		line, ok := l.next()
		if !ok {
			return "", false
		}
		if tabs {
			line = strings.TrimLeft(line, "\t")
		}
		if strings.TrimSuffix(line, "\r") == word {
			return b.String(), true
		}
		b.WriteString(line + "\n")
	}
}
