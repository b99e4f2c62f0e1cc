package main

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/diff"
	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
)

// explain says in what a file differs, for people.
func explain(x *diff.Change) string {
	old, now := x.Old, x.New
	var all []string
	from := func(what string, a, b any) { all = append(all, fmt.Sprintf("%s %v -> %v", what, a, b)) }
	for _, what := range x.Differs {
		switch what {
		case diff.Type:
			from(what, typeName(old.Mode), typeName(now.Mode))
		case diff.Size:
			from(what, old.Size, now.Size)
		case diff.Mode:
			from(what, fmt.Sprintf("%04o", old.Mode.Perm()), fmt.Sprintf("%04o", now.Mode.Perm()))
		case diff.Owner:
			from(what, fmt.Sprintf("%d:%d", old.UID, old.GID), fmt.Sprintf("%d:%d", now.UID, now.GID))
		case diff.Device:
			from(what, fmt.Sprintf("%d,%d", old.Rdev.Major, old.Rdev.Minor), fmt.Sprintf("%d,%d", now.Rdev.Major, now.Rdev.Minor))
		case diff.Flags:
			from(what, flagNames(old.Flags), flagNames(now.Flags))
		case diff.Target:
			from(what, x.OldTarget, x.NewTarget)
		case diff.Mtime:
			from(what, fullClock(old.Mtime), fullClock(now.Mtime))
		case diff.Xattrs:
			all = append(all, what+" "+strings.Join(x.Xattrs, " "))
		default:
			all = append(all, what)
		}
	}
	return strings.Join(all, ", ")
}

func flagNames(f vfs.Flags) string {
	if names := export.FlagNames(f); names != "" {
		return names
	}
	return "none"
}
