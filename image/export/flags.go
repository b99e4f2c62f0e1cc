package export

import (
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
