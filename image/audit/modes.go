package audit

import (
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

var modesFamily = family{
	name: "modes", title: "Permissions and owners",
	checks: []check{
		{rules: []*Rule{setuidInventory, worldWritable, deviceNode, fileCapability}, visit: visitModes},
		{rules: []*Rule{unownedID}, visit: visitOwners},
	},
}

var (
	setuidInventory = &Rule{
		ID: "setuid-inventory", Title: "a program runs with the rights of its owner or group",
		Systems: Any, Severity: Info, Slow: true,
		Reason:   "Each is a way to become somebody else: the list should be known, and not grow unseen. Of a file that no package has, or without packages outside the directories of the system, it is a warning.",
		Evidence: "regular files with set-user-ID or set-group-ID and an execute bit; dpkg's lists of files",
		Fix:      report("allow those that are meant to be there in the policy, and take the bit from the others"),
	}
	worldWritable = &Rule{
		ID: "world-writable", Title: "everybody may write to a file or directory",
		Systems: Any, Severity: Warning, Slow: true,
		Reason:   "Any account can change what others rely on, or replace their files.",
		Evidence: "regular files writable by others, directories writable by others without the sticky bit",
		Fix:      optIn(Chmod, "chmod o-w, or +t for directories"),
	}
	deviceNode = &Rule{
		ID: "device-node", Title: "a device lies outside /dev",
		Systems: Any, Severity: Warning, Slow: true,
		Reason:   "It opens the hardware, past the permissions of the one in /dev.",
		Evidence: "block and character devices outside /dev",
		Fix:      report("remove it"),
	}
	fileCapability = &Rule{
		ID: "file-capability", Title: "a program has capabilities",
		Systems: Linux, Severity: Info, Slow: true,
		Reason:   "It does part of what root may, for everybody who runs it.",
		Evidence: "the extended attribute security.capability",
		Fix:      report("allow those that are meant to be there in the policy"), Reference: "capabilities(7)",
	}
)

// unownedID is about numbers that no account has.
var unownedID = &Rule{
	ID: "unowned-id", Title: "a file belongs to nobody that the image knows",
	Systems: Any, Severity: Info, Slow: true, Profiles: map[Profile]Severity{Public: Warning},
	Reason:   "It is the builder's number: the next account that is made on the machine may get it, and with it the file.",
	Evidence: "owners and groups that are not in the image's own /etc/passwd and /etc/group",
	Fix:      report("give it to root"), Reference: "chown(8)",
}

// owners are the numbers that a volume's own password files know; nil if it
// has none.
type owners struct{ users, groups map[uint32]bool }

func (s *scan) owners() *owners {
	if s.view.owners != nil {
		return s.view.owners
	}
	o := &owners{}
	s.view.owners = o
	read := func(name string) map[uint32]bool {
		var ids map[uint32]bool
		for _, l := range lines(s.read(name), "#") {
			w := strings.Split(l, ":")
			if len(w) < 3 {
				continue
			}
			if id, err := strconv.ParseUint(w[2], 10, 32); err == nil {
				if ids == nil {
					ids = map[uint32]bool{}
				}
				ids[uint32(id)] = true
			}
		}
		return ids
	}
	o.users, o.groups = read("/etc/passwd"), read("/etc/group")
	return o
}

func visitOwners(s *scan, f *file) {
	o := s.owners()
	switch {
	case o.users != nil && !o.users[f.attr.UID]:
		s.found(unownedID, f, "nobody has this number", shown("owner %d", f.attr.UID))
	case o.groups != nil && !o.groups[f.attr.GID]:
		s.found(unownedID, f, "no group has this number", shown("group %d", f.attr.GID))
	}
}

func visitModes(s *scan, f *file) {
	mode := f.attr.Mode
	switch s.volume.Tree.FS().Info().Type {
	case "FAT12", "FAT16", "FAT32", "ISO 9660":
		return // permissions are made up
	}
	switch {
	case mode.IsRegular():
		if mode&(vfs.SetUID|vfs.SetGID) != 0 && mode&0o111 != 0 {
			severity, message := Info, "is set-ID"
			owned, known := s.packaged(f.at)
			switch {
			case known && !owned:
				severity, message = Warning, "is set-ID, and no package has it"
			case !known && !inSystem(f.path):
				severity = Warning
			}
			s.found(setuidInventory, f, message, shown("%s, owner %d:%d", mode, f.attr.UID, f.attr.GID), s.as(severity))
		}
		if mode&0o002 != 0 {
			s.found(worldWritable, f, "everybody may write to it", shown("%s", mode), chmodTo(mode.Perm()&^0o002))
		}
		if x, ok := f.vol.Tree.FS().(vfs.Xattrer); ok && mode&0o111 != 0 && s.audit.runs(fileCapability) && s.systems&Linux != 0 {
			all, err := x.Xattrs(s.ctx, f.attr.Ino)
			if err != nil {
				s.unread(f.path, &fault{f.vol, f.at, err})
			}
			if len(all["security.capability"]) > 0 {
				s.found(fileCapability, f, "has capabilities")
			}
		}
	case mode.IsDir():
		if mode&0o002 != 0 && mode&vfs.Sticky == 0 && f.path != "/tmp" && f.path != "/var/tmp" {
			s.found(worldWritable, f, "everybody may add and remove files", shown("%s", mode), chmodTo(mode.Perm()|vfs.Sticky))
		}
	case mode.IsDevice():
		if !strings.HasPrefix(f.path, "/dev/") && !strings.Contains(f.path, "/dev/") {
			s.found(deviceNode, f, "a device", shown("%s, %d:%d", mode, f.attr.Rdev.Major, f.attr.Rdev.Minor))
		}
	}
}

// inSystem reports whether a path is where the programs of a system are.
func inSystem(name string) bool {
	for _, dir := range []string{"/bin/", "/sbin/", "/usr/", "/lib/", "/libexec/"} {
		if strings.HasPrefix(name, dir) && !strings.HasPrefix(name, "/usr/local/") && !strings.HasPrefix(name, "/usr/home/") {
			return true
		}
	}
	return false
}
