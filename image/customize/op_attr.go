package customize

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/image/vfs"
)

// chmod changes permissions.
type chmod struct {
	text, path string
	mode       vfs.ModeChange
}

func parseChmod(arg string) (Operation, error) {
	text, path, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	mode, err := vfs.ParseModeChange(text)
	if err != nil {
		return nil, err
	}
	return chmod{text, path, mode}, checkPath(path)
}

func (o chmod) Apply(ctx context.Context, e *Editor) error {
	attr, err := e.Stat(ctx, o.path)
	if err != nil {
		return err
	}
	return e.Chmod(ctx, o.path, o.mode.Apply(attr.Mode))
}

func (o chmod) String() string { return "chmod " + o.text + ":" + o.path }

// chown changes owners, by number or by the names that the system knows.
type chown struct{ user, group, path string }

func parseChown(arg string) (Operation, error) {
	user, rest, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(rest, "/") {
		return chown{user: user, path: rest}, nil
	}
	group, path, err := cutArg(rest)
	if err != nil {
		return nil, errors.New("want UID:GID:/PATH, or UID:/PATH")
	}
	return chown{user, group, path}, checkPath(path)
}

func (o chown) Apply(ctx context.Context, e *Editor) error {
	uid, err := e.id(ctx, "user", "/etc/passwd", o.user)
	if err != nil {
		return err
	}
	set := vfs.SetAttr{UID: &uid}
	if o.group != "" {
		gid, err := e.id(ctx, "group", "/etc/group", o.group)
		if err != nil {
			return err
		}
		set.GID = &gid
	}
	return e.Setattr(ctx, o.path, set)
}

func (o chown) String() string {
	if o.group == "" {
		return "chown " + o.user + ":" + o.path
	}
	return "chown " + o.user + ":" + o.group + ":" + o.path
}

// chflags changes file flags.
type chflags struct {
	text, path string
	change     func(vfs.Flags) vfs.Flags
}

func parseChflags(arg string) (Operation, error) {
	text, path, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	change, err := export.ParseFlags(text)
	if err != nil {
		return nil, err
	}
	return chflags{text, path, change}, checkPath(path)
}

func (o chflags) Apply(ctx context.Context, e *Editor) error {
	attr, err := e.Stat(ctx, o.path)
	if err != nil {
		return err
	}
	return e.Chflags(ctx, o.path, o.change(attr.Flags))
}

func (o chflags) String() string { return "chflags " + o.text + ":" + o.path }

// id finds the number of a user or group in the system's own file, or reads a
// number.
func (e *Editor) id(ctx context.Context, what, file, name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	text, err := e.ReadFile(ctx, file, MaxText)
	if err != nil && !missing(err) {
		return 0, err
	}
	if f, ok := passwd.Parse(text).Find(name); ok && len(f) > passwd.UID {
		if n, err := strconv.ParseUint(f[passwd.UID], 10, 32); err == nil {
			return uint32(n), nil
		}
	}
	return 0, fmt.Errorf("the system has no %s %s", what, name)
}
