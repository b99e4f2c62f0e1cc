package customize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image"
)

// A family is operating systems that keep their settings in the same places.
type family string

const (
	linux   family = "Linux"
	openBSD family = "OpenBSD"
	freeBSD family = "FreeBSD"
)

// family finds out which one the system is of.
func (e *Editor) family(ctx context.Context) (family, error) {
	os, err := e.OS(ctx)
	if err != nil {
		return "", err
	}
	switch os.ID {
	case "openbsd":
		return openBSD, nil
	case "":
		return "", errors.New("no operating system was recognised in the root volume, so it is not known where this is set")
	case "netbsd", "dragonfly":
		return "", fmt.Errorf("not supported: settings of %s", os.Name)
	}
	bsd, err := e.Exists(ctx, "/etc/master.passwd")
	if bsd {
		return freeBSD, err
	}
	return linux, err
}

// overlay is the volume whose /etc is laid over that of the system at every
// boot, as a prefix of paths: "cfg:" in an image of resflash, or nothing.
func (e *Editor) overlay(ctx context.Context) (string, error) {
	if e.disk == nil || e.disk.Layout(ctx).Kind != image.LayoutResflash {
		return "", nil
	}
	prefix := image.RoleCfg + ":"
	_, err := e.Lstat(ctx, prefix+"/")
	if errors.Is(err, image.ErrEmpty) {
		return "", nil
	}
	return prefix, err
}

// layers are the places where a file of /etc is kept: in the root volume, and
// in the overlay if that has the file, too. The last one is what the system
// sees. A change belongs in all of them.
func (e *Editor) layers(ctx context.Context, path string) ([]string, error) {
	list := []string{path}
	prefix, err := e.overlay(ctx)
	if prefix == "" || err != nil {
		return list, err
	}
	_, err = e.Lstat(ctx, prefix+path)
	switch {
	case err == nil:
		list = append(list, prefix+path)
	case !missing(err):
		return nil, err
	}
	return list, nil
}

// effective reads a file of /etc as the system sees it.
func (e *Editor) effective(ctx context.Context, path string) ([]byte, error) {
	list, err := e.layers(ctx, path)
	if err != nil {
		return nil, err
	}
	return e.plain(ctx, list[len(list)-1])
}

// plain reads a file of settings. One that is a symbolic link is refused: it
// is not known what else it is used for, and in an image that somebody else has
// made it may lead to where nothing was meant to be changed.
func (e *Editor) plain(ctx context.Context, path string) ([]byte, error) {
	attr, err := e.Lstat(ctx, path)
	if err != nil {
		return nil, err
	}
	if attr.Mode.IsSymlink() {
		return nil, pathError("read", path, errors.New("is a symbolic link: refused; edit what it leads to"))
	}
	return e.ReadFile(ctx, path, MaxText)
}

// rewrite changes a file of settings in every layer; what is not there is made
// in the root volume. fn gets what is in a layer.
func (e *Editor) rewrite(ctx context.Context, path string, fn func(text []byte) ([]byte, error)) error {
	list, err := e.layers(ctx, path)
	if err != nil {
		return err
	}
	for i, layer := range list {
		old, err := e.plain(ctx, layer)
		if missing(err) && len(list) > i+1 {
			continue // only the overlay has it
		}
		if err != nil && !missing(err) {
			return err
		}
		there := err == nil
		text, err := fn(bytes.Clone(old))
		if err != nil {
			return pathError("change", layer, err)
		}
		if there && bytes.Equal(old, text) {
			continue
		}
		if err := e.WriteFile(ctx, layer, text, newText); err != nil {
			return err
		}
	}
	return nil
}

// text is a fn of rewrite for a file that is to hold just this.
func text(s string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(s), nil }
}

// addLine adds a line to the end of a text, whose last line gets an end if it
// has none.
func addLine(text []byte, line string) []byte {
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	return append(text, line+"\n"...)
}

// hasLine reports whether a line of text is what fn says.
func hasLine(text []byte, fn func(line string) bool) bool {
	for line := range strings.Lines(string(text)) {
		if fn(strings.TrimSpace(line)) {
			return true
		}
	}
	return false
}

// noteLabels says that files which are made need a label, where SELinux keeps
// others from what has none.
func (e *Editor) noteLabels(ctx context.Context) {
	text, err := e.ReadFile(ctx, "/etc/selinux/config", MaxText)
	if err != nil {
		return // there is no SELinux
	}
	if mode, _ := parseShellConf(text).get("SELINUX"); mode != "enforcing" {
		return
	}
	if there, err := e.Exists(ctx, "/.autorelabel"); err == nil && !there {
		e.note("the system has SELinux, and new files have no label: touch /.autorelabel has them labelled at the first boot")
	}
}
