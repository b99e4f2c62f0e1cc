package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fields are the attributes that [Diff] compares, beside path and type.
type Fields uint

// The attributes.
const (
	Mode     Fields = 1 << iota // permissions, except of symbolic links, which have none on Linux
	Owner                       // UID and GID
	Nlink                       // link count, except of directories
	DirNlink                    // link count of directories
	Size                        // of regular files
	Mtime                       // whole seconds
	Mtime2                      // steps of two seconds, as FAT has them
	Nsec                        // the rest of the modification time
	Target                      // of symbolic links
	Rdev                        // of devices
	Sum                         // contents
	Link                        // which paths are one file
	Xattrs

	// All is everything that every source on Linux knows.
	All = Mode | Owner | Nlink | Size | Mtime | Nsec | Target | Rdev | Sum | Link
)

// Diff compares got with want and describes the differences, one line each:
// the first max of them, then how many more there are.
func Diff(want, got Manifest, fields Fields, max int) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case j == len(got) || i < len(want) && want[i].Path < got[j].Path:
			add("%q (%c) is missing", want[i].Path, want[i].Type)
			i++
		case i == len(want) || got[j].Path < want[i].Path:
			add("%q (%c) is too much", got[j].Path, got[j].Type)
			j++
		default:
			if d := differences(want[i], got[j], fields); len(d) > 0 {
				add("%q (%c): %s", want[i].Path, want[i].Type, strings.Join(d, ", "))
			}
			i++
			j++
		}
	}
	if len(out) > max {
		out = append(out[:max:max], fmt.Sprintf("… and %d more", len(out)-max))
	}
	return out
}

func differences(want, got Entry, fields Fields) []string {
	if want.Err != "" || got.Err != "" {
		return []string{fmt.Sprintf("error %q, want %q", got.Err, want.Err)}
	}
	if want.Type != got.Type {
		return []string{fmt.Sprintf("type %c, want %c", got.Type, want.Type)}
	}
	var out []string
	check := func(when bool, name, format string, got, want any) {
		if when && got != want {
			out = append(out, fmt.Sprintf("%s "+format+", want "+format, name, got, want))
		}
	}
	has := func(f Fields) bool { return fields&f != 0 }
	check(has(Mode) && want.Type != Symlink, "mode", "%04o", got.Mode, want.Mode)
	check(has(Owner), "uid", "%d", got.UID, want.UID)
	check(has(Owner), "gid", "%d", got.GID, want.GID)
	check(has(Nlink) && want.Type != Dir, "nlink", "%d", got.Nlink, want.Nlink)
	check(has(DirNlink) && want.Type == Dir, "nlink", "%d", got.Nlink, want.Nlink)
	check(has(Size) && want.Type == File, "size", "%d", got.Size, want.Size)
	check(has(Mtime), "mtime", "%d", got.Sec, want.Sec)
	check(has(Mtime2), "mtime", "%d", got.Sec&^1, want.Sec&^1)
	check(has(Nsec), "mtime ns", "%d", got.Nsec, want.Nsec)
	check(has(Target) && want.Type == Symlink, "target", "%q", got.Target, want.Target)
	if has(Rdev) && (want.Type == Block || want.Type == Char) {
		check(true, "device", "%s", fmt.Sprintf("%d,%d", got.Major, got.Minor), fmt.Sprintf("%d,%d", want.Major, want.Minor))
	}
	if has(Sum) && want.Type == File {
		switch {
		case want.Sum != "" && got.Sum != "":
			check(true, "sha256", "%.16s", got.Sum, want.Sum)
		case want.Quick != "" && got.Quick != "":
			check(true, "quick sum", "%.16s", got.Quick, want.Quick)
		default:
			out = append(out, "no digest to compare")
		}
	}
	check(has(Link) && want.Type != Dir, "one file with", "%q", got.Link, want.Link)
	if has(Xattrs) && !maps.Equal(want.Xattrs, got.Xattrs) {
		out = append(out, fmt.Sprintf("xattrs %s, want %s", xattrText(got), xattrText(want)))
	}
	return out
}

func xattrText(e Entry) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		s = append(s, fmt.Sprintf("%s=%q", name, e.Xattrs[name]))
	}
	return "{" + strings.Join(s, " ") + "}"
}
