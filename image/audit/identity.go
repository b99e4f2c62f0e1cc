package audit

import (
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

var identityFamily = family{
	name: "identity", title: "Identity of the machine",
	checks: []check{
		{rules: []*Rule{machineIDSet, machineIDZero, machineIDInvalid, machineIDEmpty, machineIDOddType}, look: lookMachineID},
		{rules: []*Rule{machineIDMissing}, scope: systems, look: lookMachineIDMissing},
		{rules: []*Rule{dbusMachineID, machineIDMismatch}, look: lookDBusMachineID},
	},
}

const machineIDManual = "machine-id(5)"

var resetMachineID = provided("/var/lib/dbus/machine-id, if it is a regular file, goes with it: it would bring the old ID back",
	Write, "write \"uninitialized\" to /etc/machine-id, mode 0444")

var (
	machineIDSet = &Rule{
		ID: "machine-id-set", Title: "a machine ID is set",
		Systems: Linux | FreeBSD, Severity: Error,
		Reason:   "Every machine made from the image has the same ID: logs, DHCP leases, virtual machine managers and boot entries take them for one.",
		Evidence: "/etc/machine-id (FreeBSD: also /var/db/machine-id) with 32 hexadecimal digits",
		Fix:      resetMachineID, Reference: machineIDManual,
	}
	machineIDZero = &Rule{
		ID: "machine-id-zero", Title: "the machine ID is all zeros",
		Systems: Linux | FreeBSD, Severity: Error,
		Reason:   "The ID of zeros is forbidden, and yet kept as it is: no new one is ever made.",
		Evidence: "/etc/machine-id with 32 zeros",
		Fix:      resetMachineID, Reference: machineIDManual,
	}
	machineIDInvalid = &Rule{
		ID: "machine-id-invalid", Title: "the machine ID file holds no ID",
		Systems: Linux, Severity: Warning,
		Reason:   "systemd makes a new ID of it, other readers use what is there, or fail.",
		Evidence: "/etc/machine-id with dashes, carriage returns, blanks or other text",
		Fix:      resetMachineID, Reference: machineIDManual,
	}
	machineIDEmpty = &Rule{
		ID: "machine-id-empty", Title: "the machine ID file is empty",
		Systems: Linux, Severity: Info,
		Reason:   "A new ID is made at boot, but it does not count as the first boot: units with ConditionFirstBoot and presets are left out.",
		Evidence: "/etc/machine-id of 0 bytes",
		Fix:      resetMachineID, Reference: machineIDManual,
	}
	machineIDOddType = &Rule{
		ID: "machine-id-odd-type", Title: "the machine ID is no regular file",
		Systems: Linux, Severity: Warning,
		Reason:   "What a symbolic link, directory or device there means differs between programs.",
		Evidence: "the type of /etc/machine-id",
		Fix:      report("make it a regular file that says \"uninitialized\""), Reference: machineIDManual,
	}
	machineIDMissing = &Rule{
		ID: "machine-id-missing", Title: "there is no machine ID file, and none can be made",
		Systems: Linux, Severity: Error,
		Reason:   "On a root file system that cannot be written to, systemd has nowhere to put an ID, nor to mount one over, and does not boot.",
		Evidence: "/etc/machine-id on squashfs, erofs or ISO 9660, or with ro in fstab",
		Fix:      report("make an empty /etc/machine-id, or one that says \"uninitialized\""), Reference: machineIDManual,
	}
	dbusMachineID = &Rule{
		ID: "dbus-machine-id-set", Title: "D-Bus has a machine ID of its own",
		Systems: Linux | FreeBSD, Severity: Error,
		Reason:   "systemd takes an ID that it finds there for the machine's: resetting /etc/machine-id alone brings the old one back.",
		Evidence: "/var/lib/dbus/machine-id, if it is a regular file with an ID and no link to /etc/machine-id",
		Fix:      safe(Remove, "remove it: D-Bus makes it a link to /etc/machine-id"), Reference: "dbus-uuidgen(1)",
	}
	machineIDMismatch = &Rule{
		ID: "machine-id-mismatch", Title: "two machine IDs differ",
		Systems: Linux | FreeBSD, Severity: Warning,
		Reason:   "One of them was changed and the other forgotten: a cleaning that was only half done.",
		Evidence: "/etc/machine-id and /var/lib/dbus/machine-id",
		Fix:      report("reset both"), Reference: machineIDManual,
	}
)

// idState is what a file that may hold a machine ID holds.
type idState int

const (
	idNone idState = iota // missing, or not readable
	idEmpty
	idUninitialized // to be made at the first boot
	idSet
	idZero
	idInvalid
	idOddType
)

var hexID = lazyregexp.New(`^[0-9A-Fa-f]{32}\n?$`)

// zeroID is forbidden by the specification.
const zeroID = "00000000000000000000000000000000"

// classifyID says what a machine ID file holds, by the rules of systemd: an ID
// in any case with or without a newline, and nothing else.
func classifyID(content string) (state idState, id string) {
	switch {
	case content == "":
		return idEmpty, ""
	case content == "uninitialized", content == "uninitialized\n":
		return idUninitialized, ""
	case !hexID.MatchString(content):
		return idInvalid, ""
	}
	id = strings.ToLower(strings.TrimSuffix(content, "\n"))
	if id == zeroID {
		return idZero, id
	}
	return idSet, id
}

// machineID looks at the machine ID at a path, which is not followed if it is
// a link.
func (s *scan) machineID(name string) (state idState, id string, f *file) {
	f = s.link(name)
	switch {
	case f == nil:
		return idNone, "", nil
	case !f.isRegular():
		return idOddType, "", f
	}
	content, ok := s.head(f, 4096)
	if !ok {
		return idNone, "", f
	}
	state, id = classifyID(string(content))
	if f.attr.Size > int64(len(content)) {
		state, id = idInvalid, ""
	}
	return state, id, f
}

// machineIDs are where the ID lies: FreeBSD keeps it in either place.
var machineIDs = []string{"/etc/machine-id", "/var/db/machine-id"}

func lookMachineID(s *scan) {
	for _, name := range machineIDs {
		state, id, f := s.machineID(name)
		switch state {
		case idSet:
			resurrect := holds(true, "D-Bus has no ID of its own")
			if other, _, g := s.machineID(dbusID); other == idSet {
				resurrect = holds(true, "%s, which would bring an ID back, goes with it", g.path)
			}
			s.found(machineIDSet, f, "the ID is set", secret("machine ID", []byte(id)), resurrect)
		case idZero:
			s.found(machineIDZero, f, "the ID is all zeros", holds(true, "there is no ID that could come back"))
		case idInvalid:
			s.found(machineIDInvalid, f, invalidID(s.text(f)), shown("%s", bytesOf(f.attr.Size)), holds(true, "there is no ID that could come back"))
		case idEmpty:
			s.found(machineIDEmpty, f, "empty: a new ID, but no first boot", holds(true, "there is no ID that could come back"))
		case idOddType:
			s.found(machineIDOddType, f, "is a "+typeName(f))
		}
	}
}

// invalidID says what is wrong without saying what is there.
func invalidID(text string) string {
	compact := strings.ReplaceAll(strings.TrimSpace(text), "-", "")
	switch {
	case !hexID.MatchString(compact):
		return "holds no ID"
	case strings.Contains(text, "\r"):
		return "an ID that ends in a carriage return"
	case strings.Contains(text, "-"):
		return "an ID with dashes, as of a UUID"
	}
	return "an ID with blanks around it"
}

func lookMachineIDMissing(s *scan) {
	if s.link("/etc/machine-id") != nil || !s.exists("/usr/lib/systemd/systemd", "/lib/systemd/systemd") {
		return
	}
	why := ""
	switch typ := s.installed.Root.Tree.FS().Info().Type; {
	case strings.HasPrefix(typ, "squashfs"), strings.HasPrefix(typ, "erofs"), strings.HasPrefix(typ, "ISO"):
		why = "the root is " + typ + ", which cannot be written to"
	default:
		for _, l := range s.fstab() {
			if l.file == "/" && l.option("ro") {
				why = "fstab mounts the root read-only"
			}
		}
	}
	if why != "" {
		s.absent(machineIDMissing, "/etc/machine-id", "missing, and "+why)
	}
}

const dbusID = "/var/lib/dbus/machine-id"

func lookDBusMachineID(s *scan) {
	state, id, f := s.machineID(dbusID)
	if state != idSet && state != idZero {
		return
	}
	s.found(dbusMachineID, f, "a regular file with an ID", secret("machine ID", []byte(id)))
	if other, first, _ := s.machineID(machineIDs[0]); other == idSet && first != id {
		s.found(machineIDMismatch, f, "not the ID of /etc/machine-id", shown("fingerprints %s and %s", digest([]byte(id)), digest([]byte(first))))
	}
}

// typeName names the type of a file that is not a regular one.
func typeName(f *file) string {
	switch {
	case f.isRegular():
		return "regular file"
	case f.isDir():
		return "directory"
	case f.attr.Mode.IsSymlink():
		return "symbolic link"
	case f.attr.Mode.IsDevice():
		return "device"
	}
	return "special file"
}
