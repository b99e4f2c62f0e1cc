package audit

import (
	"debug/pe"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

var bootFamily = family{
	name: "boot", title: "Boot loader and kernel command lines",
	checks: []check{
		{rules: []*Rule{machineIDOnCmdline}, look: lookCmdlines},
		{rules: []*Rule{bootEntryMachineID, entryTokenMachineID}, look: lookBootEntries},
		{rules: []*Rule{machineInfo}, look: lookMachineInfo},
		{rules: []*Rule{osReleaseMissing, imageIDMissing, imageVersionMissing}, scope: systems, look: lookRelease},
		{rules: []*Rule{bootloaderDangling}, scope: systems, look: lookBootReferences},
	},
}

var (
	machineIDOnCmdline = &Rule{
		ID: "machine-id-on-cmdline", Title: "a kernel command line sets the machine ID",
		Systems: Linux, Severity: Error,
		Reason:   "It wins over every file: all machines have that ID, however well the files are cleaned.",
		Evidence: "systemd.machine_id= in loader entries, /etc/kernel/cmdline, grub.cfg, /etc/default/grub, extlinux.conf, cmdline.txt and unified kernel images; the value firmware is fine",
		Fix:      provided("it is in a text file, not in a signed image", Edit, "take systemd.machine_id= out"), Reference: "kernel-command-line(7)",
	}
	bootEntryMachineID = &Rule{
		ID: "boot-entry-machine-id", Title: "a boot entry is named after a machine ID",
		Systems: Linux, Severity: Warning,
		Reason:   "When the machine has another ID, the next kernel is installed beside these entries, which nobody removes any more.",
		Evidence: "loader/entries/ID-*.conf, machine-id lines in entries, directories and images named after an ID on the EFI or boot partition",
		Fix:      optIn(Edit, "name entries after the image: write it to /etc/kernel/entry-token before kernels are installed"), Reference: "Boot Loader Specification, kernel-install(8)",
	}
	entryTokenMachineID = &Rule{
		ID: "entry-token-machine-id", Title: "the entry token is a machine ID",
		Systems: Linux, Severity: Warning,
		Reason:   "Boot entries are named after it on every machine, though it is the ID of none.",
		Evidence: "/etc/kernel/entry-token with 32 hexadecimal digits",
		Fix:      optIn(Write, "write the value of IMAGE_ID or ID of os-release"), Reference: "kernel-install(8)",
	}
	machineInfo = &Rule{
		ID: "machine-info-present", Title: "machine-info describes the build host",
		Systems: Linux, Severity: Info,
		Reason:   "The name, place or machine ID of another machine is shown as this one's.",
		Evidence: "/etc/machine-info: KERNEL_INSTALL_MACHINE_ID (a warning), PRETTY_HOSTNAME, LOCATION, DEPLOYMENT",
		Fix:      safe(Edit, "remove the lines"), Reference: "machine-info(5)",
	}
	osReleaseMissing = &Rule{
		ID: "os-release-missing", Title: "there is no os-release",
		Systems: Linux, Severity: Warning,
		Reason:   "Nothing can tell what the system is: boot menus, updates, inventories.",
		Evidence: "/etc/os-release, /usr/lib/os-release",
		Fix:      report("install it"), Reference: "os-release(5)",
	}
	imageIDMissing = &Rule{
		ID: "image-id-missing", Title: "the image does not say its name",
		Systems: Linux, Severity: Info,
		Reason:   "A machine cannot tell which image it was made from.",
		Evidence: "IMAGE_ID in os-release",
		Fix:      provided("a name is given", Edit, "add IMAGE_ID to /etc/os-release"), Reference: "os-release(5)",
	}
	imageVersionMissing = &Rule{
		ID: "image-version-missing", Title: "the image does not say its version",
		Systems: Linux, Severity: Info,
		Reason:   "A machine cannot tell whether it is behind.",
		Evidence: "IMAGE_VERSION in os-release",
		Fix:      provided("a version is given", Edit, "add IMAGE_VERSION to /etc/os-release"), Reference: "os-release(5)",
	}
	bootloaderDangling = &Rule{
		ID: "bootloader-dangling", Title: "the boot loader looks for what is not in the image",
		Systems: Linux, Severity: Error,
		Reason:   "The machine does not boot, or boots what it finds elsewhere.",
		Evidence: "root=, resume= and search --fs-uuid in loader entries, grub.cfg, extlinux.conf, cmdline.txt: UUIDs, labels and PARTUUIDs compared with the image",
		Fix:      report("name a volume of the image"),
	}
)

// cmdlineFiles are the texts that hold kernel command lines.
func cmdlineFiles() []string {
	return append([]string{"/{etc,usr/lib}/kernel/cmdline", "/etc/kernel/cmdline.d/*", "/etc/default/grub", "/etc/default/grub.d/*"},
		below(bootDirs, "/loader/entries/*.conf", "/{grub,grub2}/grub.cfg", "/{grub,grub2}/custom.cfg", "/EFI/*/grub.cfg",
			"/extlinux/extlinux.conf", "/{sys,iso}linux/*.cfg", "/cmdline.txt", "/firmware/cmdline.txt")...)
}

var idOnCmdline = lazyregexp.New(`systemd\.machine_id=([0-9A-Fa-f-]{32,36})`)

func lookCmdlines(s *scan) {
	for _, f := range s.files(cmdlineFiles()...) {
		for n, l := range lines(s.text(f), "#") {
			if m := idOnCmdline.FindStringSubmatch(l); m != nil {
				s.found(machineIDOnCmdline, f, "sets the machine ID", secret("machine ID", []byte(m[1])), line(n), holds(true, "it is a text"))
			}
		}
	}
	for _, f := range s.files(below(bootDirs, "/EFI/Linux/*.efi")...) {
		if m := idOnCmdline.FindStringSubmatch(s.ukiCmdline(f)); m != nil {
			s.found(machineIDOnCmdline, f, "sets the machine ID, inside a unified kernel image", secret("machine ID", []byte(m[1])), holds(false, "build the image anew"))
		}
	}
}

// ukiCmdline returns the .cmdline section of a unified kernel image.
func (s *scan) ukiCmdline(f *file) string {
	image, err := pe.NewFile(f.vol.Tree.Reader(s.ctx, f.attr))
	if err != nil {
		return "" // whatever it is, it has no such section
	}
	section := image.Section(".cmdline")
	if section == nil || section.Size > maxText {
		return ""
	}
	data, err := section.Data()
	if err != nil {
		s.unread(f.path, &fault{f.vol, f.at, err})
	}
	return string(data)
}

var (
	entryID     = lazyregexp.New(`^([0-9a-f]{32})-.*\.(conf|efi)$`)
	directory32 = lazyregexp.New(`^[0-9a-f]{32}$`)
)

func lookBootEntries(s *scan) {
	state, own, _ := s.machineID(machineIDs[0])
	as := func(id string) []detail {
		d := []detail{secret("machine ID", []byte(id))}
		if state == idSet && id == own {
			d = append(d, s.as(Error))
		}
		return d
	}
	for _, f := range s.files(below(bootDirs, "/loader/entries/*.conf", "/EFI/Linux/*.efi")...) {
		if m := entryID.FindStringSubmatch(f.name()); m != nil {
			s.found(bootEntryMachineID, f, "is named after a machine ID", as(m[1])...)
		}
		if !strings.HasSuffix(f.name(), ".conf") {
			continue
		}
		for n, l := range lines(s.text(f), "#") {
			if w := strings.Fields(l); len(w) == 2 && w[0] == "machine-id" && hexID.MatchString(w[1]) {
				s.found(bootEntryMachineID, f, "has a machine ID", append(as(w[1]), line(n))...)
			}
		}
	}
	for _, f := range s.links(below(bootDirs[1:], "/*")...) {
		if f.isDir() && directory32.MatchString(f.name()) {
			s.found(bootEntryMachineID, f, "a directory of kernels that is named after a machine ID", as(f.name())...)
		}
	}
	if f := s.stat("/etc/kernel/entry-token"); f != nil {
		if token := strings.TrimSpace(s.text(f)); hexID.MatchString(token) {
			s.found(entryTokenMachineID, f, "a machine ID", secret("machine ID", []byte(token)))
		}
	}
}

func lookMachineInfo(s *scan) {
	f := s.stat("/etc/machine-info")
	if f == nil {
		return
	}
	for n, l := range lines(s.text(f), "#") {
		name, value, _ := strings.Cut(l, "=")
		switch name {
		case "KERNEL_INSTALL_MACHINE_ID":
			s.found(machineInfo, f, "has a machine ID", secret("machine ID", []byte(strings.Trim(value, `"`))), line(n), s.as(Warning))
		case "PRETTY_HOSTNAME", "LOCATION", "DEPLOYMENT":
			s.found(machineInfo, f, "says "+name, line(n))
		}
	}
}

func lookRelease(s *scan) {
	text := ""
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if f := s.stat(name); f != nil && text == "" {
			text = s.text(f)
		}
	}
	if text == "" {
		if s.systems == Linux {
			s.absent(osReleaseMissing, "/etc/os-release", "missing")
		}
		return
	}
	set := map[string]bool{}
	for _, l := range lines(text, "#") {
		name, value, _ := strings.Cut(l, "=")
		set[name] = strings.Trim(value, `"'`) != ""
	}
	if !set["IMAGE_ID"] {
		s.absent(imageIDMissing, "/etc/os-release", "IMAGE_ID is not set")
	}
	if !set["IMAGE_VERSION"] {
		s.absent(imageVersionMissing, "/etc/os-release", "IMAGE_VERSION is not set")
	}
}

// reference is how a boot loader names a file system.
var reference = lazyregexp.New(`\b(?:(root|resume)=(?:"?)((?:PART)?(?:UUID|LABEL)=[^\s"]+)|(search)\s[^\n]*--fs-uuid[^\n]*?\s([0-9A-Fa-f-]{8,36})\s*$)`)

func lookBootReferences(s *scan) {
	d := s.audit.target.Disk
	if d == nil {
		return
	}
	for _, f := range s.files(cmdlineFiles()...) {
		for n, l := range lines(s.text(f), "#") {
			for _, m := range reference.FindAllStringSubmatch(l, -1) {
				what, spec := m[1]+"=", m[2]
				if m[3] != "" {
					what, spec = "search", "UUID="+m[4]
				}
				if d.BySpec(s.ctx, spec) == nil {
					s.found(bootloaderDangling, f, what+" means nothing in the image: "+spec, known(spec), line(n))
				}
			}
		}
	}
}
