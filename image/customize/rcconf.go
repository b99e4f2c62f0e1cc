package customize

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// assignment is a line NAME=VALUE of a file that a shell reads; what follows a
// value is a comment.
var assignment = lazyregexp.New(`^[ \t]*([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|[^ \t"'#;]*)([ \t].*)?$`)

// A shellConf is a file of such lines: rc.conf and the like. What is no
// assignment stays as it is.
type shellConf struct{ lines []string }

func parseShellConf(text []byte) *shellConf {
	return &shellConf{strings.SplitAfter(string(text), "\n")}
}

func (c *shellConf) bytes() []byte { return []byte(strings.Join(c.lines, "")) }

// last is the number of the line that gives a name its value, the last one of
// several, or -1.
func (c *shellConf) last(name string) (line int, value string) {
	line = -1
	for i, l := range c.lines {
		if m := assignment.FindStringSubmatch(strings.TrimRight(l, "\r\n")); m != nil && m[1] == name {
			line, value = i, strings.Trim(m[2], `"'`)
		}
	}
	return line, value
}

// get returns a value, and whether there is one.
func (c *shellConf) get(name string) (string, bool) {
	line, value := c.last(name)
	return value, line >= 0
}

// set gives a name its value, in the line that did or in a new one. Quoted is
// the value as the shell reads it.
func (c *shellConf) set(name, quoted string) {
	i, _ := c.last(name)
	if i < 0 {
		c.lines = strings.SplitAfter(string(addLine(c.bytes(), name+"="+quoted)), "\n")
		return
	}
	line := strings.TrimRight(c.lines[i], "\r\n")
	end := c.lines[i][len(line):]
	m := assignment.FindStringSubmatch(line)
	c.lines[i] = name + "=" + quoted + m[3] + end
}

// remove takes every line away that gives a name a value.
func (c *shellConf) remove(name string) {
	for {
		i, _ := c.last(name)
		if i < 0 {
			return
		}
		c.lines = append(c.lines[:i:i], c.lines[i+1:]...)
	}
}

// setRCConf sets a variable of FreeBSD's rc.conf, or where a file that is read
// after it does.
func (e *Editor) setRCConf(ctx context.Context, name, value string) error {
	path := "/etc/rc.conf"
	if text, err := e.plain(ctx, "/etc/rc.conf.local"); err == nil {
		if _, ok := parseShellConf(text).get(name); ok {
			path = "/etc/rc.conf.local"
		}
	} else if !missing(err) {
		return err
	}
	if strings.ContainsAny(value, "\"\\$`\n") {
		return fmt.Errorf("the value of %s has a character in it that a shell would take for something else", name)
	}
	return e.rewrite(ctx, path, func(text []byte) ([]byte, error) {
		c := parseShellConf(text)
		if old, ok := c.get(name); !ok || old != value {
			c.set(name, `"`+value+`"`)
		}
		return c.bytes(), nil
	})
}
