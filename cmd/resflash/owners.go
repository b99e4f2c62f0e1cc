package main

import (
	"bytes"
	"context"
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
	attr, err := v.Tree.Resolve(ctx, path)
	if err != nil || !attr.Mode.IsRegular() {
		return names
	}
	data := make([]byte, min(max(attr.Size, 0), maxAccounts))
	n, _ := v.FS.ReadAt(ctx, attr.Ino, data, 0)
	for line := range bytes.Lines(data[:n]) {
		f := strings.SplitN(strings.TrimRight(string(line), "\n"), ":", 4)
		if len(f) < 3 || f[0] == "" {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := names[uint32(id)]; !ok {
			names[uint32(id)] = f[0]
		}
	}
	return names
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
