package export

import (
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

var flagNames = []struct {
	flag vfs.Flags
	name string
}{
	{vfs.SystemArchived, "arch"},
	{vfs.SystemImmutable, "schg"},
	{vfs.SystemAppend, "sappnd"},
	{vfs.SystemSnapshot, "snapshot"},
	{vfs.UserNoDump, "nodump"},
	{vfs.UserImmutable, "uchg"},
	{vfs.UserAppend, "uappnd"},
	{vfs.UserOpaque, "opaque"},
	{vfs.UserSystem, "usystem"},
	{vfs.UserArchive, "uarch"},
	{vfs.UserReadOnly, "urdonly"},
	{vfs.UserHidden, "uhidden"},
}

// FlagNames lists file flags by the names of chflags(1) and strtofflags(3),
// with commas between them. No flags is the empty string.
func FlagNames(f vfs.Flags) string {
	var names []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// otherFlagNames are what chflags(1) takes as well.
var otherFlagNames = map[string]vfs.Flags{
	"archived": vfs.SystemArchived,
	"schange":  vfs.SystemImmutable, "simmutable": vfs.SystemImmutable,
	"sappend": vfs.SystemAppend,
	"uchange": vfs.UserImmutable, "uimmutable": vfs.UserImmutable,
	"uappend": vfs.UserAppend,
	"hidden":  vfs.UserHidden, "system": vfs.UserSystem, "rdonly": vfs.UserReadOnly,
}

// FlagNamed returns the file flag that chflags(1) knows by that name.
func FlagNamed(name string) (vfs.Flags, bool) {
	for _, n := range flagNames {
		if n.name == name {
			return n.flag, true
		}
	}
	f, ok := otherFlagNames[name]
	return f, ok
}

// ParseFlags reads a change of flags as chflags(1) does: names with commas,
// behind "no" those to take away; 0 for none at all.
func ParseFlags(s string) (func(vfs.Flags) vfs.Flags, error) {
	if s == "0" || s == "none" {
		return func(vfs.Flags) vfs.Flags { return 0 }, nil
	}
	var set, clear vfs.Flags
	for _, name := range strings.Split(s, ",") {
		bare, no := strings.CutPrefix(name, "no")
		switch name {
		case "nodump": // which is the name of the flag
			set |= vfs.UserNoDump
			continue
		case "dump":
			clear |= vfs.UserNoDump
			continue
		}
		f, ok := FlagNamed(bare)
		if !ok {
			return nil, fmt.Errorf("no flag is called %q", name)
		}
		if no {
			clear |= f
		} else {
			set |= f
		}
	}
	return func(f vfs.Flags) vfs.Flags { return f&^clear | set }, nil
}
