package diff

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// Packages are those that are installed in a system.
type Packages struct {
	Manager  string            // "dpkg", "apk", "rpm", "pkg", "pkg_add"; empty: none was found
	Versions map[string]string // by name
}

// A PackageChange is a package that is not the same in two systems.
type PackageChange struct {
	Name string `json:"name"`
	Old  string `json:"first,omitempty"`  // version; empty: it was added
	New  string `json:"second,omitempty"` // version; empty: it was removed
}

// maxPackages bounds what a hostile database fills the memory with.
const maxPackages = 1 << 17

// ReadPackages reads the database of packages of the system in tree. One that
// is known and not read is a *vfs.NotSupportedError.
func ReadPackages(ctx context.Context, tree *vfs.Tree) (*Packages, error) {
	for _, db := range []struct {
		manager, path string
		read          func(context.Context, *vfs.Tree, string, *Packages) error
	}{
		{"dpkg", "/var/lib/dpkg/status", readDpkg},
		{"apk", "/lib/apk/db/installed", readApk},
		{"apk", "/usr/lib/apk/db/installed", readApk},
		{"pkg", "/var/db/pkg/local.sqlite", readPkg},
		{"pkg_add", "/var/db/pkg", readPkgAdd},
		{"rpm", "/usr/lib/sysimage/rpm/rpmdb.sqlite", readRPM},
		{"rpm", "/var/lib/rpm/rpmdb.sqlite", readRPM},
		{"rpm", "/usr/lib/sysimage/rpm/Packages.db", nil}, // ndb, of openSUSE
		{"rpm", "/var/lib/rpm/Packages.db", nil},
		{"rpm", "/var/lib/rpm/Packages", nil}, // Berkeley DB, until rpm 4.15
	} {
		if _, err := tree.Resolve(ctx, db.path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, err
		}
		if db.read == nil {
			return nil, &vfs.NotSupportedError{What: fmt.Sprintf("the packages of %s (%s)", db.manager, db.path), Off: -1}
		}
		p := &Packages{Manager: db.manager, Versions: map[string]string{}}
		if err := db.read(ctx, tree, db.path, p); err != nil {
			return nil, fmt.Errorf("packages: %w", err)
		}
		if len(p.Versions) > 0 {
			return p, nil
		}
	}
	return &Packages{Versions: map[string]string{}}, nil
}

// add adds a package. Of several of one name (libraries of two architectures)
// the later ones have the architecture in theirs.
func (p *Packages) add(name, arch, version string) error {
	if name == "" {
		return nil
	}
	if _, taken := p.Versions[name]; taken && arch != "" {
		name += ":" + arch
	}
	if len(p.Versions) >= maxPackages {
		return fmt.Errorf("more than %d of them", maxPackages)
	}
	p.Versions[name] = version
	return nil
}

// fields reads a text of paragraphs of "key: value" lines, and calls end behind
// each.
func fields(ctx context.Context, tree *vfs.Tree, path string, line func(key, value string), end func() error) error {
	attr, err := tree.Resolve(ctx, path)
	if err != nil {
		return err
	}
	if !attr.Mode.IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	s := bufio.NewScanner(tree.Reader(ctx, attr))
	s.Buffer(nil, 4<<20) // lists of files may be long
	for s.Scan() {
		if s.Text() == "" {
			if err := end(); err != nil {
				return err
			}
			continue
		}
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && key != "" && key[0] != ' ' {
			line(key, strings.TrimSpace(value))
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return end()
}

// readDpkg reads the status file of dpkg: see deb-control(5).
func readDpkg(ctx context.Context, tree *vfs.Tree, path string, p *Packages) error {
	var name, arch, version, status string
	return fields(ctx, tree, path, func(key, value string) {
		switch key {
		case "Package":
			name = value
		case "Architecture":
			arch = value
		case "Version":
			version = value
		case "Status":
			status = value
		}
	}, func() error {
		var err error
		if words := strings.Fields(status); len(words) == 3 && words[2] == "installed" {
			err = p.add(name, arch, version)
		}
		name, arch, version, status = "", "", "", ""
		return err
	})
}

// readApk reads the database of Alpine: see apk-package(5).
func readApk(ctx context.Context, tree *vfs.Tree, path string, p *Packages) error {
	var name, version string
	return fields(ctx, tree, path, func(key, value string) {
		switch key {
		case "P":
			name = value
		case "V":
			version = value
		}
	}, func() error {
		err := p.add(name, "", version)
		name, version = "", ""
		return err
	})
}

// readPkgAdd reads the names of the directories of OpenBSD's packages, which end
// in the version: see packages-specs(7).
func readPkgAdd(ctx context.Context, tree *vfs.Tree, path string, p *Packages) error {
	dir, err := tree.Resolve(ctx, path)
	if err != nil || !dir.Mode.IsDir() {
		return err
	}
	list, err := tree.List(ctx, dir.Ino)
	if err != nil {
		return err
	}
	for _, e := range list {
		if _, err := tree.FS().Lookup(ctx, e.Ino, "+CONTENTS"); err != nil {
			continue // not a package
		}
		name, version := cutVersion(e.Name)
		if err := p.add(name, version, version); err != nil {
			return err
		}
	}
	return nil
}

// cutVersion takes a name apart at the first hyphen in front of a digit. What is
// behind the version, if anything, is a flavour and part of it.
func cutVersion(s string) (name, version string) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '-' && s[i+1] >= '0' && s[i+1] <= '9' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// DiffPackages lists the packages that are not the same, by name.
func DiffPackages(old, now *Packages) []PackageChange {
	names := maps.Clone(old.Versions)
	maps.Copy(names, now.Versions)
	var all []PackageChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := old.Versions[name], now.Versions[name]
		_, hadIt := old.Versions[name]
		_, hasIt := now.Versions[name]
		if a != b || hadIt != hasIt {
			all = append(all, PackageChange{name, a, b})
		}
	}
	return all
}
