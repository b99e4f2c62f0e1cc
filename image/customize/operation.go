package customize

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// An Operation is one step of a change.
type Operation interface {
	// Apply does it. Its errors need not say which operation it was.
	Apply(ctx context.Context, e *Editor) error
	// String is the operation as a line of a script, with what may be secret
	// (passwords, contents of files) left out.
	String() string
}

// A Kind describes a kind of operation. "upload" is a line "upload
// LOCAL:/PATH" of a script, and the option --upload=LOCAL:/PATH.
type Kind struct {
	Name string // "append-line"
	Args string // "/PATH:LINE"; empty: it takes none
	Help string // one line, a sentence
	// Parse reads the argument. Its errors say what is wrong with that.
	Parse func(arg string) (Operation, error)
}

// Kinds returns all kinds of operations, in the order in which help lists
// them.
func Kinds() []Kind { return kinds }

// An ArgumentError is an operation that makes no sense.
type ArgumentError struct {
	Name string // of the operation
	Args string // what it takes
	Err  error
}

func (e *ArgumentError) Error() string {
	if e.Args == "" {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s: %v; it is %s %s", e.Name, e.Err, e.Name, e.Args)
}

func (e *ArgumentError) Unwrap() error { return e.Err }

// Parse makes the operation called name.
func Parse(name, arg string) (Operation, error) {
	for _, k := range kinds {
		if k.Name != name {
			continue
		}
		if k.Args == "" && arg != "" {
			return nil, &ArgumentError{name, "", errors.New("takes no argument")}
		}
		op, err := k.Parse(arg)
		if err != nil {
			return nil, &ArgumentError{name, k.Args, err}
		}
		return op, nil
	}
	return nil, &ArgumentError{name, "", errors.New("there is no such operation")}
}

// A Step is an operation and where it was asked for.
type Step struct {
	Operation
	At string // "fw.script:12"; empty: nowhere in particular
}

// Apply does the steps in their order. The first error ends it; whoever opened
// the image then must not commit.
func (e *Editor) Apply(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.log.begin(s)
		if err := s.Apply(ctx, e); err != nil {
			at := ""
			if s.At != "" {
				at = s.At + ": "
			}
			return fmt.Errorf("%s%s: %w", at, s, err)
		}
	}
	return nil
}

// cutArg splits an argument at its first colon, as virt-customize does: what
// is in front has none in it.
func cutArg(arg string) (first, rest string, err error) {
	first, rest, ok := strings.Cut(arg, ":")
	switch {
	case !ok:
		return "", "", fmt.Errorf("%q has no colon in it", arg)
	case first == "":
		return "", "", fmt.Errorf("nothing is in front of the colon of %q", arg)
	}
	return first, rest, nil
}

// cutPath splits an argument behind the path that it begins with, which may
// name a volume: "/etc/motd:hello", "cfg:/etc/motd:hello".
func cutPath(arg string) (path, rest string, err error) {
	volume := ""
	if !strings.HasPrefix(arg, "/") {
		at := strings.Index(arg, ":/")
		if at <= 0 {
			return "", "", fmt.Errorf("%q does not begin with a path (/etc/motd, or VOLUME:/etc/motd)", arg)
		}
		volume, arg = arg[:at+1], arg[at+1:]
	}
	path, rest, ok := strings.Cut(arg, ":")
	if !ok {
		return "", "", fmt.Errorf("no colon follows the path %s", volume+path)
	}
	return volume + path, rest, nil
}

// checkPath makes sure that a whole argument is a path in the image.
func checkPath(p string) error {
	if strings.HasPrefix(p, "/") || strings.Index(p, ":/") > 0 {
		return nil
	}
	return fmt.Errorf("%q is no path in the image (/etc/motd, or VOLUME:/etc/motd)", p)
}
