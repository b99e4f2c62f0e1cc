package customize

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// systemdDir is where units are enabled, and where those of the administrator
// are.
const systemdDir = "/etc/systemd/system"

// unitDirs are where units are, the one that goes before the others first
// (systemd.unit(5)).
var unitDirs = []string{systemdDir, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

func (e *Editor) hasSystemd(ctx context.Context) (bool, error) {
	for _, program := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if ok, err := e.Exists(ctx, program); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// A unit is a unit file with what its section Install says.
type unit struct {
	name     string // as it is enabled: getty@tty1.service
	file     string // path of its file
	template bool   // the file is for instances, and the name has none
	install  map[string][]string
}

// unitTypes are the suffixes that tell a name that has one.
var unitTypes = []string{".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice", ".scope", ".device"}

func unitName(name string) string {
	if slices.Contains(unitTypes, path.Ext(name)) {
		return name
	}
	return name + ".service"
}

// splitInstance takes a name apart: getty@tty1.service is of the template
// getty@.service.
func splitInstance(name string) (template, instance string, ok bool) {
	prefix, rest, ok := strings.Cut(name, "@")
	if !ok {
		return "", "", false
	}
	ext := path.Ext(rest)
	return prefix + "@" + ext, strings.TrimSuffix(rest, ext), true
}

// findUnit finds the file of a unit; nil if there is none.
func (e *Editor) findUnit(ctx context.Context, name string) (*unit, error) {
	names := []string{name}
	template, instance, isInstance := splitInstance(name)
	if isInstance && instance != "" {
		names = append(names, template)
	}
	for _, n := range names {
		for _, dir := range unitDirs {
			u, err := e.readUnit(ctx, name, dir+"/"+n)
			if u != nil || err != nil {
				return u, err
			}
		}
	}
	return nil, nil
}

func (e *Editor) readUnit(ctx context.Context, name, file string) (*unit, error) {
	for range maxLinks {
		attr, err := e.Lstat(ctx, file)
		switch {
		case missing(err):
			return nil, nil
		case err != nil:
			return nil, err
		case attr.Mode.IsSymlink():
			// Another name of a unit, or one that is not to be started at all.
			target, err := e.Readlink(ctx, file)
			if err != nil {
				return nil, err
			}
			if target == "/dev/null" {
				return nil, fmt.Errorf("%s is masked (%s leads to /dev/null); delete %s first", name, file, file)
			}
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(file), target)
			}
			if _, _, isInstance := splitInstance(name); !isInstance {
				name = path.Base(target)
			}
			file = target
			continue
		}
		text, err := e.ReadFile(ctx, file, MaxText)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return nil, fmt.Errorf("%s is masked (%s is empty); delete %s first", name, file, file)
		}
		_, instance, isTemplate := splitInstance(name)
		return &unit{name: name, file: file, template: isTemplate && instance == "", install: installSection(string(text))}, nil
	}
	return nil, pathError("read", file, errors.New("symbolic links lead in a circle"))
}

// installSection reads the section Install: lists of words. An empty value
// empties what was there before.
func installSection(text string) map[string][]string {
	all := map[string][]string{}
	inside := false
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			inside = line == "[Install]"
		case inside:
			key, value, _ := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			if words := strings.Fields(value); len(words) > 0 {
				all[key] = append(all[key], words...)
			} else {
				delete(all, key)
			}
		}
	}
	return all
}

// links are the symbolic links that enabling a unit makes, by their paths.
func (u *unit) links() ([]string, error) {
	var list []string
	name := u.name
	if u.template {
		if def := u.install["DefaultInstance"]; len(def) == 1 {
			name = strings.Replace(u.name, "@.", "@"+def[0]+".", 1)
		}
	}
	for key, dir := range map[string]string{"WantedBy": ".wants/", "RequiredBy": ".requires/", "UpheldBy": ".upholds/"} {
		for _, by := range u.install[key] {
			by, err := u.expand(by)
			if err != nil {
				return nil, err
			}
			if _, instance, ok := splitInstance(name); ok && instance == "" {
				return nil, fmt.Errorf("%s is a template: say of what, as in %s", u.name, strings.Replace(u.name, "@.", "@NAME.", 1))
			}
			list = append(list, systemdDir+"/"+by+dir+name)
		}
	}
	for _, alias := range u.install["Alias"] {
		alias, err := u.expand(alias)
		if err != nil {
			return nil, err
		}
		if alias != u.name {
			list = append(list, systemdDir+"/"+alias)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// expand replaces the specifiers that make sense in the section Install.
func (u *unit) expand(word string) (string, error) {
	template, instance, isTemplate := splitInstance(u.name)
	prefix := strings.TrimSuffix(u.name, path.Ext(u.name))
	if isTemplate {
		prefix, _, _ = strings.Cut(template, "@")
	}
	word = strings.NewReplacer("%%", "%%", "%i", instance, "%n", u.name, "%p", prefix,
		"%N", strings.TrimSuffix(u.name, path.Ext(u.name)), "%j", prefix[strings.LastIndexByte(prefix, '-')+1:]).Replace(word)
	if strings.Contains(strings.ReplaceAll(word, "%%", ""), "%") {
		return "", fmt.Errorf("not supported: a specifier in %q of the section Install of %s", word, u.file)
	}
	word = strings.ReplaceAll(word, "%%", "%")
	if !serviceName.MatchString(word) {
		return "", fmt.Errorf("%s: %q in its section Install is no name of a unit", u.file, word)
	}
	return word, nil
}

// enableUnit does what systemctl enable does: the links that the unit asks
// for, and those of the units that go with it.
func (e *Editor) enableUnit(ctx context.Context, name string) error {
	return e.withUnits(ctx, unitName(name), true, func(u *unit) error {
		links, err := u.links()
		if err != nil {
			return err
		}
		for _, link := range links {
			if err := e.MkdirAll(ctx, path.Dir(link), vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
				return err
			}
			attr, err := e.Lstat(ctx, link)
			switch {
			case missing(err):
				err = e.Symlink(ctx, u.file, link)
			case err == nil && !attr.Mode.IsSymlink():
				err = pathError("symlink", link, errors.New("there is a file of that name"))
			case err == nil:
				err = e.relink(ctx, u.file, link)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// withUnits calls fn for a unit and for those that its line Also names.
func (e *Editor) withUnits(ctx context.Context, name string, must bool, fn func(u *unit) error) error {
	seen := map[string]bool{}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		u, err := e.findUnit(ctx, queue[0])
		switch {
		case err != nil:
			return err
		case u == nil && (must || queue[0] != name):
			return fmt.Errorf("the system has no unit %s", queue[0])
		case u == nil:
			u = &unit{name: name}
		case len(u.install) == 0 && queue[0] == name && must:
			return fmt.Errorf("%s cannot be enabled: it has no section Install (%s); others start it", name, u.file)
		}
		if err := fn(u); err != nil {
			return err
		}
		for _, also := range u.install["Also"] {
			also, err := u.expand(also)
			if err != nil {
				return err
			}
			queue = append(queue, also)
		}
	}
	return nil
}

// disableUnit does what systemctl disable does: away with every link below
// /etc/systemd/system that is of the unit, or leads to it under another name.
func (e *Editor) disableUnit(ctx context.Context, name string) error {
	name = unitName(name)
	removed := false
	known := false
	err := e.withUnits(ctx, name, false, func(u *unit) error {
		known = known || u.file != ""
		for _, pattern := range []string{"/*", "/*.wants/*", "/*.requires/*", "/*.upholds/*"} {
			links, err := e.Glob(ctx, systemdDir+pattern)
			if err != nil {
				return err
			}
			for _, link := range links {
				if ours, err := e.isLinkOf(ctx, link, u); err != nil || !ours {
					if err != nil {
						return err
					}
					continue
				}
				if err := e.Remove(ctx, link); err != nil {
					return err
				}
				removed = true
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !known && !removed:
		return fmt.Errorf("the system has no unit %s", name)
	}
	for _, dir := range unitDirs[1:] {
		links, err := e.Glob(ctx, dir+"/*.wants/"+name)
		if err != nil {
			return err
		}
		if len(links) > 0 {
			e.note("%s is still started: %s belongs to the system; a link %s/%s to /dev/null masks it", name, links[0], systemdDir, name)
			break
		}
	}
	return nil
}

// isLinkOf reports whether a file is a symbolic link that has the name of a
// unit, or leads to its file.
func (e *Editor) isLinkOf(ctx context.Context, link string, u *unit) (bool, error) {
	attr, err := e.Lstat(ctx, link)
	if err != nil || !attr.Mode.IsSymlink() {
		return false, err
	}
	target, err := e.Readlink(ctx, link)
	if err != nil || target == "/dev/null" {
		return false, err // masked is another thing
	}
	base := path.Base(link)
	if base == u.name {
		// In systemdDir itself it is a unit that was linked from elsewhere.
		return path.Dir(link) != systemdDir, nil
	}
	template, instance, ok := splitInstance(base)
	if u.template && ok && instance != "" && template == u.name {
		return true, nil // disabling a template disables its instances
	}
	return path.Base(target) == u.name && u.file != "" && (ok == strings.Contains(u.name, "@")), nil
}
