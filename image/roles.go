package image

import (
	"context"
	"sort"
	"strings"

	"github.com/resflash/resflash/image/part/gpt"
)

// discoverable gives roles by the partition types of the Discoverable
// Partitions Specification. Of several root partitions of one architecture the
// one with the newest version in its label is the active one, as in systemd's
// image dissection; a label of "_empty" marks a slot to be filled.
func (d *Disk) discoverable(ctx context.Context) bool {
	var roots []*Partition
	for _, p := range d.partitions {
		if p.Table == nil || p.Table.Scheme != "GPT" {
			continue
		}
		t, ok := gpt.TypeInfo(p.Entry.Type)
		if !ok {
			continue
		}
		switch t.Role {
		case "", "linux-generic":
		case "root":
			roots = append(roots, p)
		case "esp":
			p.Role = RoleEFI
		case "xbootldr":
			p.Role = RoleBoot
		default:
			p.Role = t.Role
		}
	}
	if len(roots) == 0 {
		return false
	}
	l := &d.layout
	l.Kind = LayoutDiscoverable
	sort.SliceStable(roots, func(i, j int) bool { return compareSlots(roots[i], roots[j]) > 0 })
	roots[0].Role = RoleRoot
	if len(roots) == 1 {
		l.Evidence = "partition type " + roots[0].Entry.TypeName
		return true
	}
	if len(roots) == 2 {
		roots[1].Role = RoleInactive
	}
	l.Active = roots[0].ID
	l.Evidence = "newest version in the partition labels: " + roots[0].Entry.Name
	if roots[0].filled() && !roots[1].filled() {
		l.Evidence = "the only root partition that is not empty"
	}
	if compareSlots(roots[0], roots[1]) == 0 {
		l.Active, roots[0].Role, roots[1].Role = "", "", ""
		l.Evidence = ""
		l.Problems = append(l.Problems, "several root partitions, and nothing says which is active")
	}
	for _, p := range sortByStart(roots) {
		l.Slots = append(l.Slots, Slot{ID: p.ID, Active: p.ID == l.Active, Empty: !p.filled()})
	}
	return true
}

// filled reports whether something was installed in a slot.
func (p *Partition) filled() bool {
	return p.Content.Kind != KindEmpty && p.Entry.Name != "_empty"
}

// compareSlots orders root slots: filled ones above empty ones, then by the
// version in their label.
func compareSlots(a, b *Partition) int {
	if a.filled() != b.filled() {
		if a.filled() {
			return 1
		}
		return -1
	}
	return compareVersions(a.Entry.Name, b.Entry.Name)
}

// compareVersions compares runs of digits as numbers and other bytes by value,
// so that "root_10" is above "root_9"; "~" sorts below the end of the string,
// which puts a pre-release below its release. This is as much of the UAPI
// version format as labels of slots use.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		if isDigit(a) && isDigit(b) {
			var na, nb string
			na, a = digits(a)
			nb, b = digits(b)
			if len(na) != len(nb) {
				return sign(len(na) - len(nb))
			}
			if c := strings.Compare(na, nb); c != 0 {
				return c
			}
			continue
		}
		if c := rank(a) - rank(b); c != 0 {
			return sign(c)
		}
		a, b = a[1:], b[1:]
	}
	return 0
}

func isDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// digits splits off the leading digits of s, without leading zeros.
func digits(s string) (number, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

func rank(s string) int {
	switch {
	case s == "":
		return 1
	case s[0] == '~':
		return 0
	}
	return int(s[0]) + 2
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// rolesByType gives the EFI role by partition types that mean it in any
// layout.
func (d *Disk) rolesByType() {
	for _, p := range d.partitions {
		if p.Role != "" {
			continue
		}
		types := []string{}
		if p.Entry != nil {
			types = append(types, p.Entry.Type)
		}
		for _, t := range d.tables {
			for _, e := range t.Entries {
				if e.Start == p.Start && e.Size == p.Size {
					types = append(types, e.Type)
				}
			}
		}
		for _, typ := range types {
			if strings.EqualFold(typ, "0xef") || strings.EqualFold(typ, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B") {
				p.Role = RoleEFI
			}
		}
	}
}

// rolesByContent finds the root, and what boots it, by looking into the file
// systems, where neither a layout nor the types have told.
func (d *Disk) rolesByContent(ctx context.Context) {
	if d.layout.Kind != "" {
		return
	}
	var roots []*Partition
	for _, p := range d.partitions {
		if p.Role != "" || p.Content.Kind != KindFilesystem {
			continue
		}
		v, err := p.Volume(ctx)
		if err != nil {
			continue
		}
		exists := func(paths ...string) bool {
			for _, path := range paths {
				if _, err := v.Tree.ResolveLink(ctx, path); err == nil {
					return true
				}
			}
			return false
		}
		switch {
		case exists("/etc") && exists("/sbin", "/usr/sbin", "/usr/bin", "/bin"):
			roots = append(roots, p)
		case exists("/EFI/BOOT"):
			p.Role = RoleEFI
		case exists("/grub", "/grub2", "/loader", "/extlinux", "/config.txt", "/cmdline.txt"):
			p.Role = RoleBoot
		}
	}
	if len(roots) > 0 {
		// The first one: a further system is one that this one was not booted
		// from. Where there is none, the only file system will do.
		roots[0].Role = RoleRoot
		return
	}
	var only *Partition
	for _, p := range d.partitions {
		if p.Content.Kind == KindFilesystem && p.Role == "" {
			if only != nil {
				return
			}
			only = p
		}
	}
	if only != nil {
		only.Role = RoleRoot
	}
}
