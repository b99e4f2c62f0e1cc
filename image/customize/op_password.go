package customize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/image/passwd/crypt"
)

// setPassword sets the password of an account.
type setPassword struct {
	user string
	new  selector
}

func parseRootPassword(arg string) (Operation, error) {
	new, err := parseSelector(arg)
	return setPassword{"root", new}, err
}

func parsePassword(arg string) (Operation, error) {
	user, rest, ok := strings.Cut(arg, ":")
	if !ok {
		return nil, errors.New("no colon follows the user")
	}
	if err := passwd.CheckName(user); err != nil {
		return nil, err
	}
	new, err := parseSelector(rest)
	return setPassword{user, new}, err
}

func (o setPassword) Apply(ctx context.Context, e *Editor) error {
	return e.changePassword(ctx, o.user, func(_ string, m crypt.Method) (string, error) { return o.new.field(e, m) })
}

func (o setPassword) String() string {
	if o.user == "root" {
		return "root-password " + o.new.String()
	}
	return "password " + o.user + ":" + o.new.String()
}

// A selector says what the password is to be, as virt-customize has it.
type selector struct{ kind, value string }

func parseSelector(arg string) (selector, error) {
	kind, value, _ := strings.Cut(arg, ":")
	s := selector{kind, value}
	switch {
	case kind == "disabled" && arg == kind:
	case kind == "password" && value == "":
		return s, errors.New("an empty password would let everybody in")
	case kind == "file" && value == "":
		return s, errors.New("no file follows the colon of file:FILE")
	case kind == "password", kind == "file":
	case kind == "hash":
		return s, crypt.Check(value)
	default:
		// What was given is not repeated: it may be the password.
		return s, errors.New("want password:SECRET, file:FILE (its first line), hash:HASH of crypt(3), or disabled")
	}
	return s, nil
}

// String leaves out what is secret.
func (s selector) String() string {
	switch s.kind {
	case "file":
		return "file:" + s.value
	case "disabled":
		return s.kind
	}
	return s.kind + ":(hidden)"
}

// field is what is written into the password field.
func (s selector) field(e *Editor, m crypt.Method) (string, error) {
	secret := s.value
	switch s.kind {
	case "disabled":
		return "*", nil
	case "hash":
		if m == crypt.Bcrypt && crypt.Kind(secret) != "bcrypt" {
			return "", fmt.Errorf("OpenBSD takes no hash but bcrypt, and this is %s", crypt.Kind(secret))
		}
		return secret, nil
	case "file":
		b, err := os.ReadFile(s.value)
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		if secret = strings.TrimSuffix(string(line), "\r"); secret == "" {
			return "", fmt.Errorf("%s: the first line, which is the password, is empty", s.value)
		}
	}
	return crypt.Generate(m, secret, e.Rand())
}

// lockPassword makes the password of an account one that nobody has. It can
// be given back, as by passwd -u.
type lockPassword struct{ user string }

func parsePasswordLock(arg string) (Operation, error) {
	return lockPassword{arg}, passwd.CheckName(arg)
}

func (o lockPassword) Apply(ctx context.Context, e *Editor) error {
	system, err := e.family(ctx)
	if err != nil {
		return err
	}
	mark := map[family]string{linux: "!", openBSD: "*", freeBSD: "*LOCKED*"}[system]
	return e.changePassword(ctx, o.user, func(old string, _ crypt.Method) (string, error) {
		if passwd.Locked(old) {
			return old, nil
		}
		return mark + old, nil
	})
}

func (o lockPassword) String() string { return "password-lock " + o.user }
