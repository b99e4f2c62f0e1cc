package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image"
)

// ownerNames are the users and groups that an image knows, by the passwd and
// group files in its own /etc.
type ownerNames struct {
	users, groups map[uint32]string
}

// maxAccounts bounds what is read of an image's passwd and group files.
const maxAccounts = 4 << 20

// owners returns the names in v; a volume without such files has none.
func (w *world) owners(ctx context.Context, v *image.Volume) *ownerNames {
	if n := w.names[v]; n != nil {
		return n
	}
	n := &ownerNames{users: readAccounts(ctx, v, "/etc/passwd"), groups: readAccounts(ctx, v, "/etc/group")}
	w.names[v] = n
	return n
}

// readAccounts reads "name:password:id:…" lines. The first name of an id wins,
// as in getpwuid(3).
func readAccounts(ctx context.Context, v *image.Volume, path string) map[uint32]string {
	names := map[uint32]string{}
	eachAccount(ctx, v, path, func(f []string) {
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return
		}
		if _, ok := names[uint32(id)]; !ok {
			names[uint32(id)] = f[0]
		}
	})
	return names
}

// eachAccount calls fn with the fields of every line of a passwd or group
// file; there are at least three, and the first is not empty.
func eachAccount(ctx context.Context, v *image.Volume, path string, fn func(fields []string)) {
	attr, err := v.Tree.Resolve(ctx, path)
	if err != nil || !attr.Mode.IsRegular() {
		return
	}
	data := make([]byte, min(max(attr.Size, 0), maxAccounts))
	n, _ := v.FS.ReadAt(ctx, attr.Ino, data, 0)
	for line := range bytes.Lines(data[:n]) {
		f := strings.Split(strings.TrimRight(string(line), "\n"), ":")
		if len(f) >= 3 && f[0] != "" {
			fn(f)
		}
	}
}

func (n *ownerNames) user(id uint32) string  { return nameOr(n.users, id) }
func (n *ownerNames) group(id uint32) string { return nameOr(n.groups, id) }

func nameOr(names map[uint32]string, id uint32) string {
	if s := names[id]; s != "" {
		return s
	}
	return strconv.FormatUint(uint64(id), 10)
}

// lookup finds the id of a name, or reads a number.
func lookup(names map[uint32]string, s string) (uint32, bool) {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(id), true
	}
	for id, name := range names {
		if name == s {
			return id, true
		}
	}
	return 0, false
}

// An owner is what chown(1) is given: a user, a group or both.
type owner struct{ uid, gid *uint32 }

// parseOwner reads USER, USER:GROUP, USER: or :GROUP, by number or by the
// names that v knows, or else the root volume.
func (w *world) parseOwner(ctx context.Context, v *image.Volume, s string) (owner, error) {
	fail := func(format string, args ...any) (owner, error) {
		return owner{}, usageError("want UID:GID, or names from the image's own /etc/passwd and /etc/group", fmt.Errorf("owner %q: "+format, append([]any{s}, args...)...))
	}
	user, group, both := strings.Cut(s, ":")
	if user == "" && group == "" {
		return fail("is empty")
	}
	var o owner
	volumes := []*image.Volume{v}
	if root := w.rootVolume(ctx, v); root != nil {
		volumes = append(volumes, root)
	}
	find := func(name string, names func(*ownerNames) map[uint32]string) *uint32 {
		for _, v := range volumes {
			if id, ok := lookup(names(w.owners(ctx, v)), name); ok {
				return &id
			}
		}
		return nil
	}
	if user != "" {
		if o.uid = find(user, func(n *ownerNames) map[uint32]string { return n.users }); o.uid == nil {
			return fail("the image has no user %s", user)
		}
	}
	switch {
	case group != "":
		if o.gid = find(group, func(n *ownerNames) map[uint32]string { return n.groups }); o.gid == nil {
			return fail("the image has no group %s", group)
		}
	case both:
		for _, v := range volumes {
			if gid, ok := loginGroup(ctx, v, *o.uid); ok && o.gid == nil {
				o.gid = &gid
			}
		}
		if o.gid == nil {
			return fail("the login group of %s is not known", user)
		}
	}
	return o, nil
}

// rootVolume is the root volume of the image that v is in, if it is another.
func (w *world) rootVolume(ctx context.Context, v *image.Volume) *image.Volume {
	p, err := v.Partition.Disk().Find(ctx, image.RoleRoot)
	if err != nil || p == v.Partition {
		return nil
	}
	if root := w.editedVolume(p); root != nil {
		return root
	}
	root, err := p.Volume(ctx)
	if err != nil {
		return nil
	}
	return root
}

// loginGroup finds the group of a user in the passwd file.
func loginGroup(ctx context.Context, v *image.Volume, uid uint32) (gid uint32, ok bool) {
	eachAccount(ctx, v, "/etc/passwd", func(f []string) {
		if len(f) < 4 || ok || f[2] != strconv.FormatUint(uint64(uid), 10) {
			return
		}
		if n, err := strconv.ParseUint(f[3], 10, 32); err == nil {
			gid, ok = uint32(n), true
		}
	})
	return gid, ok
}

// parseIDs reads UID:GID in numbers.
func parseIDs(s string) (uid, gid uint32, ok bool) {
	user, group, _ := strings.Cut(s, ":")
	u, err := strconv.ParseUint(user, 10, 32)
	g, err2 := strconv.ParseUint(group, 10, 32)
	return uint32(u), uint32(g), err == nil && err2 == nil
}
