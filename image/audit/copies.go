package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

var copiesFamily = family{
	name: "copies", title: "What copies of the image have in common, and how they come up",
	checks: []check{
		{rules: []*Rule{fsUUIDShared, containerRemnant, fbsdZpool}, scope: disk, look: lookCopies},
		present(fbsdZpool, "the pools that the build host knew", "/boot/zfs/zpool.cache", "/etc/zfs/zpool.cache"),
		{rules: []*Rule{growfsUnconfigured}, scope: systems, look: lookGrowth},
		{rules: []*Rule{firstbootCapability}, scope: systems, look: lookFirstbootPrograms},
		{rules: []*Rule{dpsVarBound}, scope: systems, look: lookVarPartition},
		{rules: []*Rule{obsdSameLink}, scope: systems, look: lookSameLink},
		{rules: []*Rule{obsdChangelist}, scope: systems, look: lookChangelist},
	},
}

var (
	fsUUIDShared = &Rule{
		ID: "fs-uuid-shared", Title: "disk and file systems have identifiers",
		Systems: Any, Severity: Info,
		Reason:   "All copies have the same: two of them in one machine cannot be told apart, and a rescue system may mount the wrong one.",
		Evidence: "identifiers of partition tables, partitions, file systems and swap space",
		Fix:      report("change them together with fstab, boot loader and crypttab, if copies ever meet in one machine"),
	}
	containerRemnant = &Rule{
		ID: "container-remnant", Title: "the container of the image holds more than the image",
		Systems: Any, Severity: Error,
		Reason:   "Snapshots inside of a qcow2 file are whole states of the disk from before, and a backing file is a path of the build host.",
		Evidence: "internal snapshots and the backing file in the header of qcow2, the parent in the descriptor of VMDK",
		Fix:      report("qemu-img convert it to a new file"), Reference: "qemu-img(1)",
	}
	fbsdZpool = &Rule{
		ID: "fbsd-zpool", Title: "a ZFS pool has its identity in the image",
		Systems: FreeBSD | Linux, Severity: Warning,
		Reason:   "Pools of all copies have one GUID, and remember the host that had them last: two of them cannot be imported in one machine.",
		Evidence: "ZFS labels in partitions, zpool.cache",
		Fix:      report("zpool reguid at the first boot; remove zpool.cache"), Reference: "zpool-reguid(8)",
	}
	growfsUnconfigured = &Rule{
		ID: "growfs-unconfigured", Title: "nothing makes the root file system as large as the disk",
		Systems: Linux | FreeBSD, Severity: Info,
		Reason:   "On a larger disk than that of the build the rest stays unused.",
		Evidence: "x-systemd.growfs in fstab, bit 59 of the GPT partition, repart.d, cloud-init's growpart, growroot; growfs_enable in FreeBSD's rc.conf",
		Fix:      report("configure one of them"), Reference: "systemd-growfs(8), growfs(7)",
	}
	firstbootCapability = &Rule{
		ID: "firstboot-capability", Title: "systemd cannot set up a machine that is new",
		Systems: Linux, Severity: Info,
		Reason:   "What was taken out of /etc and /var is made again at the first boot only by programs that are not in the image.",
		Evidence: "systemd-firstboot, systemd-sysusers and systemd-tmpfiles next to /usr/lib/systemd/systemd",
		Fix:      report("install them, or make what they would make by other means"), Reference: "systemd-firstboot(1), sysusers.d(5), tmpfiles.d(5)",
	}
	dpsVarBound = &Rule{
		ID: "dps-var-bound", Title: "the /var partition belongs to the machine ID in the image",
		Systems: Linux, Severity: Warning,
		Reason:   "Its UUID is made of the ID: when the ID is reset, systemd mounts it no more by itself.",
		Evidence: "the UUID of the GPT partition of type /var against the machine ID",
		Fix:      report("mount it by fstab, or let systemd-repart make it at the first boot"), Reference: "systemd-gpt-auto-generator(8)",
	}
	obsdSameLink = &Rule{
		ID: "obsd-same-link", Title: "all machines run one link of libraries and kernel",
		Systems: OpenBSD, Severity: Info,
		Reason:   "OpenBSD links libc, libcrypto and ld.so anew at every boot, and the kernel for the next, in another order. With a read-only root it does not: who has the image knows the layout.",
		Evidence: "the root line of fstab, library_aslr in rc.conf.local, /usr/share/relink",
		Fix:      report("relink for each machine when its disk is written, or accept it"), Reference: "rc(8)",
	}
	obsdChangelist = &Rule{
		ID: "obsd-changelist", Title: "everybody may read a file that OpenBSD takes for a secret",
		Systems: OpenBSD, Severity: Warning,
		Reason:   "What changelist(5) marks with a plus sign is so secret that security(8) mails only its digest.",
		Evidence: "permissions of the files behind a plus sign in /etc/changelist",
		Fix:      report("chmod o-r"), Reference: "changelist(5)",
	}
)

// lookCopies looks at what lies beside and below the file systems.
func lookCopies(s *scan) {
	d := s.audit.target.Disk
	if d == nil || len(s.audit.target.Volumes) == 0 {
		return
	}
	var ids []string
	for _, t := range d.Tables() {
		if strings.Trim(t.ID, "0x-") != "" {
			ids = append(ids, t.Scheme+" "+t.ID)
		}
	}
	for _, v := range s.audit.target.Volumes {
		if v.Partition == nil {
			continue
		}
		uuid := v.Partition.Content.UUID
		if v.Tree != nil {
			uuid = v.Tree.FS().Info().UUID
		}
		if uuid != "" {
			ids = append(ids, v.ID+" "+uuid)
		}
		switch v.Partition.Content.Type {
		case "qcow2 disk image":
			s.qcow2(v)
		case "VMDK disk image":
			s.vmdk(v)
		case "ZFS":
			s.of(fbsdZpool, v, "a pool", offset(v.Partition.Content.Off))
		}
	}
	if len(ids) > 0 {
		s.of(fsUUIDShared, s.audit.target.Volumes[0], "identifiers that all copies have: "+strings.Join(ids, ", "))
	}
}

// headOf returns the first n bytes of a partition, or what there is.
func (s *scan) headOf(v *Volume, off int64, n int) []byte {
	b := make([]byte, n)
	got, err := v.Partition.Device().ReadAt(b, off)
	if err != nil && err != io.EOF {
		s.unread("", &fault{v, "", err})
	}
	return b[:got]
}

// qcow2 looks into the header of a qcow2 file: see QEMU's docs/interop/qcow2.
func (s *scan) qcow2(v *Volume) {
	b := s.headOf(v, 0, 72)
	if len(b) < 72 {
		return
	}
	if n := binary.BigEndian.Uint32(b[60:]); n > 0 {
		s.of(containerRemnant, v, fmt.Sprintf("%d internal snapshots", n), offset(60))
	}
	if binary.BigEndian.Uint64(b[8:]) != 0 {
		s.of(containerRemnant, v, "names a backing file", shown("%d bytes of a path", binary.BigEndian.Uint32(b[16:])), offset(8), s.as(Warning))
	}
}

var vmdkParent = lazyregexp.New(`(?m)^parentFileNameHint="([^"\n]+)"`)

// vmdk looks into the descriptor inside of a sparse VMDK.
func (s *scan) vmdk(v *Volume) {
	b := s.headOf(v, 0, 512)
	if len(b) < 512 {
		return
	}
	at := binary.LittleEndian.Uint64(b[28:])
	if at == 0 || at > uint64(v.Partition.Size)/512 {
		return
	}
	if m := vmdkParent.FindSubmatch(s.headOf(v, int64(at)*512, 16<<10)); m != nil {
		s.of(containerRemnant, v, "names the image that it is based on", known(string(m[1])), offset(int64(at)*512), s.as(Warning))
	}
}

var growers = lazyregexp.New(`(?m)^\s*-\s*["'\[]*(growpart|resizefs)\b`)

// growsBit is the attribute of a GPT partition that asks systemd to grow its
// file system: see the Discoverable Partitions Specification.
const growsBit = 1 << 59

func lookGrowth(s *scan) {
	root := s.installed.Root
	if root.Partition == nil || root.Partition.Entry == nil {
		return // no disk, or one that has no table: nothing tells what may grow
	}
	if s.systems == FreeBSD {
		for _, l := range lines(s.read("/etc/rc.conf"), "#") {
			if wantsFirstboot.MatchString(l) && strings.HasPrefix(l, "growfs_enable") {
				return
			}
		}
		s.of(growfsUnconfigured, root, "rc.conf has no growfs_enable")
		return
	}
	for _, l := range s.fstab() {
		if l.file == "/" && l.option("x-systemd.growfs") {
			return
		}
	}
	if root.Partition.Entry.Attributes&growsBit != 0 || growers.MatchString(s.read("/etc/cloud/cloud.cfg")) ||
		len(s.links("/{etc,usr/lib,run}/repart.d/*.conf")) > 0 ||
		s.exists("/usr/share/initramfs-tools/scripts/local-bottom/growroot", "/etc/init.d/resize2fs_once", "/usr/lib/raspberrypi-sys-mods/firstboot") {
		return
	}
	s.of(growfsUnconfigured, root, "nothing was found that grows it")
}

// firstbootPrograms make what a reset system lacks.
var firstbootPrograms = []string{"systemd-firstboot", "systemd-sysusers", "systemd-tmpfiles"}

func lookFirstbootPrograms(s *scan) {
	systemd := s.stat("/usr/lib/systemd/systemd")
	if systemd == nil {
		systemd = s.stat("/lib/systemd/systemd")
	}
	if !systemd.filled() {
		return
	}
	var absent []string
	for _, name := range firstbootPrograms {
		if !s.exists("/usr/bin/"+name, "/bin/"+name) {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		s.found(firstbootCapability, systemd, strings.Join(absent, ", ")+" missing")
	}
}

// typeVar is the GPT type of a /var partition.
const typeVar = "4D21B016-B534-45C2-A9FB-5C16E091FD2D"

func lookVarPartition(s *scan) {
	state, id, _ := s.machineID("/etc/machine-id")
	if state != idSet {
		return
	}
	for _, v := range s.audit.target.Volumes {
		if v.Partition == nil || v.Partition.Entry == nil || v.Partition.Entry.Type != typeVar {
			continue
		}
		if strings.EqualFold(v.Partition.Entry.UUID, idFor(id, typeVar)) {
			s.of(dpsVarBound, v, "its UUID is made of the machine ID of "+s.installed.Root.ID)
		}
	}
}

// idFor is the identifier that systemd makes of a machine ID for one purpose:
// sd_id128_get_machine_app_specific(3).
func idFor(machineID, purpose string) string {
	key, err := hex.DecodeString(machineID)
	if err != nil {
		return ""
	}
	text, err := hex.DecodeString(strings.ReplaceAll(purpose, "-", ""))
	if err != nil {
		return ""
	}
	h := hmac.New(sha256.New, key)
	h.Write(text)
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // a UUID of version 4
	t := hex.EncodeToString(u)
	return strings.Join([]string{t[:8], t[8:12], t[12:16], t[16:20], t[20:]}, "-")
}

func lookSameLink(s *scan) {
	kernel := s.stat("/bsd")
	if kernel == nil {
		return
	}
	for _, l := range s.fstab() {
		if l.file == "/" && l.option("ro") {
			s.found(obsdSameLink, kernel, "root is mounted read-only")
			return
		}
	}
	for n, l := range lines(s.read("/etc/rc.conf.local"), "#") {
		if strings.HasPrefix(strings.ToLower(strings.ReplaceAll(l, `"`, "")), "library_aslr=no") {
			s.found(obsdSameLink, s.stat("/etc/rc.conf.local"), "library_aslr is off", line(n))
			return
		}
	}
}

func lookChangelist(s *scan) {
	for _, l := range lines(s.read("/etc/changelist"), "#") {
		name, secret := strings.CutPrefix(l, "+")
		if !secret || !strings.HasPrefix(name, "/") || strings.ContainsAny(name, "{}") {
			continue
		}
		for _, f := range s.files(name) {
			if f.attr.Mode.Perm()&0o004 != 0 {
				s.found(obsdChangelist, f, "everybody may read it", shown("%s", f.attr.Mode))
			}
		}
	}
}
