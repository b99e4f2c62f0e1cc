package image

import (
	"context"
	"path"
	"sort"
	"strconv"
	"strings"
)

// A Mount is a line of an image's own fstab, resolved to its partitions.
type Mount struct {
	Path      string // mount point, absolute
	Spec      string // what fstab calls the device
	Type      string // file system type, as fstab has it
	Options   string
	Partition *Partition // nil if no partition of this disk is meant
}

// fstabLine is one line of fstab(5), which Linux and the BSDs share.
type fstabLine struct {
	spec, file, vfstype, options string
}

func parseFstab(text string) []fstabLine {
	var lines []fstabLine
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		l := fstabLine{spec: unescapeFstab(f[0]), file: unescapeFstab(f[1]), vfstype: f[2]}
		if len(f) > 3 {
			l.options = f[3]
		}
		lines = append(lines, l)
	}
	return lines
}

// unescapeFstab turns \040 and the like into the characters they stand for.
func unescapeFstab(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Fstab reads /etc/fstab of a root volume and resolves its lines to the
// partitions of this disk, shortest mount point first: the order in which they
// can be mounted. Lines for swap and for what is not on a disk are left out;
// lines that name another disk have no partition.
func (d *Disk) Fstab(ctx context.Context, root *Volume) ([]Mount, error) {
	text, err := readTreeText(ctx, root.Tree, "/etc/fstab")
	if err != nil {
		return nil, err
	}
	lines := parseFstab(text)
	// Names such as /dev/sda2 say which disk they mean only by comparison: the
	// disk that the root is on is this one.
	self := ""
	for _, l := range lines {
		if name, ok := strings.CutPrefix(l.spec, "/dev/"); ok && l.file == "/" {
			self, _, _ = d.cutDeviceName(name)
		}
	}
	var mounts []Mount
	for _, l := range lines {
		if !strings.HasPrefix(l.file, "/") || l.vfstype == "swap" || !isDeviceSpec(l.spec) {
			continue
		}
		m := Mount{Path: path.Clean(l.file), Spec: l.spec, Type: l.vfstype, Options: l.options}
		if m.Path == "/" {
			m.Partition = root.Partition // whatever it calls itself: an image may have been copied
		} else {
			m.Partition = d.bySpec(ctx, l.spec, self)
		}
		mounts = append(mounts, m)
	}
	sort.SliceStable(mounts, func(i, j int) bool { return depth(mounts[i].Path) < depth(mounts[j].Path) })
	return mounts, nil
}

func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// isDeviceSpec reports whether the first field of a line names a disk, rather
// than tmpfs, proc, swap (mfs) or a server.
func isDeviceSpec(spec string) bool {
	if strings.HasPrefix(spec, "/dev/") {
		return true
	}
	if tag, _, ok := strings.Cut(spec, "="); ok {
		switch strings.ToUpper(tag) {
		case "UUID", "LABEL", "PARTUUID", "PARTLABEL":
			return true
		}
	}
	_, _, ok := cutDUID(spec)
	return ok
}

// cutDUID splits "52fdfc072182654f.a".
func cutDUID(spec string) (duid, letter string, ok bool) {
	duid, letter, ok = strings.Cut(spec, ".")
	if !ok || len(duid) != 16 || len(letter) != 1 {
		return "", "", false
	}
	if _, err := strconv.ParseUint(duid, 16, 64); err != nil {
		return "", "", false
	}
	return duid, letter, true
}

// BySpec returns the partition that a device of fstab(5) or of a kernel command
// line is: "UUID=…", "LABEL=…", "/dev/sda2", a DUID with a letter; nil if none of
// this disk is meant. Names such as /dev/sda2 are taken for the first disk of
// their kind.
func (d *Disk) BySpec(ctx context.Context, spec string) *Partition { return d.bySpec(ctx, spec, "") }

// bySpec finds the partition that the first field of an fstab line means. self
// is the device name of this disk, if the root line tells it.
func (d *Disk) bySpec(ctx context.Context, spec, self string) *Partition {
	if duid, letter, ok := cutDUID(spec); ok {
		for _, p := range d.partitions {
			if p.Table != nil && p.Table.Scheme == schemeDisklabel && p.ID == letter &&
				strings.EqualFold(p.Table.ID, duid) {
				return p
			}
		}
		return nil
	}
	if tag, value, ok := strings.Cut(spec, "="); ok {
		return d.byTag(ctx, strings.ToUpper(tag), strings.Trim(value, `"`))
	}
	name := strings.TrimPrefix(spec, "/dev/")
	for prefix, tag := range map[string]string{
		"disk/by-uuid/": "UUID", "disk/by-label/": "LABEL",
		"disk/by-partuuid/": "PARTUUID", "disk/by-partlabel/": "PARTLABEL",
		"gpt/": "PARTLABEL", "ufs/": "LABEL", "ext2fs/": "LABEL", "msdosfs/": "LABEL",
	} {
		if value, ok := strings.CutPrefix(name, prefix); ok {
			return d.byTag(ctx, tag, value)
		}
	}
	disk, p, ok := d.cutDeviceName(name)
	if !ok || self != "" && disk != self || self == "" && !firstDisk(disk) {
		return nil
	}
	return p
}

// byTag finds a partition by one of the tags of fstab(5).
func (d *Disk) byTag(ctx context.Context, tag, value string) *Partition {
	for _, p := range d.partitions {
		switch tag {
		case "PARTUUID":
			if p.Entry != nil && strings.EqualFold(p.Entry.UUID, value) {
				return p
			}
		case "PARTLABEL":
			if p.Entry != nil && p.Entry.Name == value {
				return p
			}
		case "UUID", "LABEL":
			uuid, label := p.identity(ctx)
			if tag == "UUID" && strings.EqualFold(uuid, value) || tag == "LABEL" && label == value {
				return p
			}
		}
	}
	return nil
}

// cutDeviceName splits a name such as sda2, nvme0n1p3, sd0a, ada0p2 or ada0s1a
// into the disk and the partition of this disk that the rest would be.
func (d *Disk) cutDeviceName(name string) (disk string, p *Partition, ok bool) {
	for _, p := range d.partitions {
		if number, ok := strings.CutPrefix(p.ID, "p"); ok && number != "" {
			base, ok := strings.CutSuffix(name, number) // p2: sda2, nvme0n1p2, ada0p2, da0s2
			if !ok || base == "" || isDigit(base[len(base)-1:]) || base[len(base)-1] != 'p' && numberedDisk(name) {
				continue
			}
			disk := strings.TrimRight(base, "ps")
			if !isDigit(disk[max(len(disk)-1, 0):]) {
				disk = base // sdp2 is on sdp, ada0p2 on ada0
			}
			return disk, p, true
		}
		// a letter: sd0a, wd0a, ada0s1a
		if base, ok := strings.CutSuffix(name, p.ID); ok && len(p.ID) == 1 && base != "" && isDigit(base[len(base)-1:]) {
			return base, p, true
		}
	}
	return "", nil, false
}

// firstDisk reports whether a name is that of the first disk of its kind, which
// an image that does not say more is taken to be written for.
func firstDisk(disk string) bool {
	if disk == "nvme0n1" {
		return true
	}
	base, _, _ := strings.Cut(disk, "s1") // ada0s1: the first slice
	return strings.HasSuffix(base, "0") || len(base) == 3 && strings.HasSuffix(base, "a")
}

// numberedDisk reports whether names of that kind of disk end in a number, so
// that its partitions are set off by a p: nvme0n1p2.
func numberedDisk(name string) bool {
	for _, prefix := range []string{"nvme", "mmcblk", "nbd", "loop", "md"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
