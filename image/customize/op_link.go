package customize

import (
	"context"
	"strings"
	"syscall"
)

// link gives a file another name.
type link struct{ old, new string }

func parseLink(arg string) (Operation, error) {
	old, new, err := cutPath(arg)
	if err == nil {
		err = checkPath(new)
	}
	return link{old, new}, err
}

func (o link) Apply(ctx context.Context, e *Editor) error { return e.Link(ctx, o.old, o.new) }

func (o link) String() string { return "link " + o.old + ":" + o.new }

// symlink is ln -sf, with several links to one target if need be.
type symlink struct {
	target string
	links  []string
}

func parseSymlink(arg string) (Operation, error) {
	target, rest, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	o := symlink{target: target}
	for rest != "" {
		// The next link begins behind a colon, if that is not the one of
		// VOLUME:/path.
		end := len(rest)
		for i := 1; i < len(rest); i++ {
			if rest[i] == ':' && strings.HasPrefix(rest, "/") || rest[i] == ':' && strings.Contains(rest[:i], ":/") {
				end = i
				break
			}
		}
		if err := checkPath(rest[:end]); err != nil {
			return nil, err
		}
		o.links = append(o.links, rest[:end])
		rest = strings.TrimPrefix(rest[end:], ":")
	}
	if len(o.links) == 0 {
		return nil, checkPath("")
	}
	return o, nil
}

func (o symlink) Apply(ctx context.Context, e *Editor) error {
	for _, path := range o.links {
		attr, err := e.Lstat(ctx, path)
		switch {
		case err == nil && attr.Mode.IsDir():
			return pathError("symlink", path, syscall.EEXIST)
		case err == nil:
			if err := e.Remove(ctx, path); err != nil {
				return err
			}
		case !missing(err):
			return err
		}
		if err := e.Symlink(ctx, o.target, path); err != nil {
			return err
		}
	}
	return nil
}

func (o symlink) String() string { return "symlink " + o.target + ":" + strings.Join(o.links, ":") }
