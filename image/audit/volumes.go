package audit

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

var volumesFamily = family{
	name: "volumes", title: "Volumes and references to them",
	checks: []check{
		{rules: []*Rule{fsDirty, fsMountTrace}, scope: volumes, look: lookVolumeState},
		{rules: []*Rule{fstabDangling}, scope: systems, look: lookFstab},
		{rules: []*Rule{luksVolumeKey, swapContent, abLayout}, scope: disk, look: lookDisk},
		{rules: []*Rule{swapContent}, scope: systems, look: lookSwapFiles},
	},
}

var (
	fsDirty = &Rule{
		ID: "fs-dirty", Title: "a file system was not unmounted",
		Systems: Any, Severity: Warning,
		Reason:   "Machines check or replay it at their first boot, each in its own way; what the last seconds wrote may be lost.",
		Evidence: "the clean flag of FFS, the state and journal of ext4, the dirty bits of FAT",
		Fix:      provided("the check finds only what has one right answer", Edit, "resflash check --repair"), Reference: "fsck(8)",
	}
	fsMountTrace = &Rule{
		ID: "fs-mount-trace", Title: "a file system remembers where it was mounted",
		Systems: Any, Severity: Info,
		Profiles: map[Profile]Severity{Reproducible: Warning},
		Reason:   "The directory may be one of the build host, and differs between builds.",
		Evidence: "the last mount point in the superblock of FFS and ext4, if it is none of the image's own",
		Fix:      report("make the file system without mounting it, or mount it in its place"),
	}
	fstabDangling = &Rule{
		ID: "fstab-dangling", Title: "fstab mounts what is not in the image",
		Systems: Any, Severity: Warning,
		Reason:   "The boot waits for the disk, or stops in single-user mode.",
		Evidence: "UUID=, LABEL=, PARTUUID=, PARTLABEL=, DUIDs and device names in /etc/fstab, compared with the image",
		Fix:      report("name a volume of the image, or add nofail (Linux) or noauto"), Reference: "fstab(5)",
	}
	luksVolumeKey = &Rule{
		ID: "luks-volume-key", Title: "an encrypted volume is in the image",
		Systems: Any, Severity: Error,
		Reason:   "Every copy has the same volume key: whoever opens one machine's disk can decrypt all others.",
		Evidence: "LUKS headers",
		Fix:      report("encrypt on each machine at its first boot"), Reference: "cryptsetup(8)",
	}
	swapContent = &Rule{
		ID: "swap-content", Title: "swap space holds pages of memory",
		Systems: Any, Severity: Error, Slow: true,
		Reason:   "What was swapped out may be anything that was in memory while the image was built: keys, passwords.",
		Evidence: "bytes of swap partitions, and of swap files that fstab names, behind the header that are not zero; signatures of hibernation",
		Fix:      safe(Zero, "overwrite it with zeros and keep header, UUID and label"), Reference: "mkswap(8)",
	}
	abLayout = &Rule{
		ID: "ab-layout", Title: "the A/B layout contradicts itself",
		Systems: Any, Severity: Error,
		Reason:   "The machine boots another slot than intended, or an upgrade overwrites the one that runs.",
		Evidence: "boot.conf against the slots, the root line of each slot's fstab against its letter and the label's DUID; labels of slots",
		Fix:      report("edit boot.conf or fstab of the slot that is named"),
	}
)

func lookVolumeState(s *scan) {
	info := s.volume.Tree.FS().Info()
	if info.State == vfs.Dirty {
		why := info.StateNote
		if why == "" {
			why = "not cleanly unmounted"
		}
		s.of(fsDirty, s.volume, why)
	}
	if m := info.LastMount; m != "" && m != "/" && !s.mountedAt(m) {
		s.of(fsMountTrace, s.volume, "was last mounted on another directory than its own", known(m))
	}
}

// mountedAt reports whether a directory is one where the volume belongs.
func (s *scan) mountedAt(dir string) bool {
	switch s.volume.Role {
	case image.RoleMBR, image.RoleCfg, image.RoleBoot, image.RoleEFI:
		if dir == "/"+s.volume.Role || dir == "/boot/efi" {
			return true
		}
	}
	return dir == s.at
}

func lookFstab(s *scan) {
	d := s.audit.target.Disk
	if d == nil || s.installed.Root.Partition == nil {
		return
	}
	root := s.installed.Root
	mounts, err := d.Fstab(s.ctx, &image.Volume{Partition: root.Partition, FS: root.Tree.FS(), Tree: root.Tree})
	if err != nil {
		// That there is none the boot survives.
		if f := s.stat("/etc/fstab"); f != nil && f.isRegular() {
			s.unread("/etc/fstab", err)
		}
		return
	}
	f := s.stat("/etc/fstab")
	for _, m := range mounts {
		if m.Partition != nil || f == nil {
			continue
		}
		severity := Warning
		switch options := "," + m.Options + ","; {
		case strings.Contains(options, ",nofail,"), strings.Contains(options, ",noauto,"):
			severity = Info
		case m.Path == "/usr", m.Path == "/boot":
			severity = Error
		}
		s.found(fstabDangling, f, "nothing in the image is "+m.Spec+", which "+m.Path+" is to be", known(m.Spec), s.as(severity))
	}
}

func lookDisk(s *scan) {
	d := s.audit.target.Disk
	if d == nil {
		return
	}
	for _, p := range d.Layout(s.ctx).Problems {
		v := s.audit.target.Volumes[0]
		if id, _, ok := strings.Cut(p, ":"); ok {
			for _, w := range s.audit.target.Volumes {
				if w.ID == id {
					v = w
				}
			}
		}
		s.of(abLayout, v, p)
	}
	s.readable("/etc/fstab", image.RoleRoot, image.RoleInactive)
	s.readable("/etc/boot.conf", image.RoleMBR)
	for _, v := range s.audit.target.Volumes {
		switch c := v.Partition.Content; {
		case strings.HasPrefix(c.Type, "LUKS"):
			s.of(luksVolumeKey, v, "a LUKS header", offset(c.Off))
		case c.Kind == image.KindSwap && s.audit.runs(swapContent):
			s.swap(v)
		}
	}
}

// readable records it if a file cannot be read that tells how the disk is laid
// out: the layout takes it for one that is not there.
func (s *scan) readable(name string, roles ...string) {
	for _, v := range s.audit.target.Volumes {
		if v.Tree == nil || !slices.Contains(roles, v.Role) {
			continue
		}
		attr, err := v.Tree.Resolve(s.ctx, name)
		if err == nil && attr.Mode.IsRegular() && attr.Size > 0 {
			_, err = v.Tree.Reader(s.ctx, attr).ReadAt(make([]byte, 1), 0)
		}
		if err != nil {
			s.unread(name, &fault{v, name, err})
		}
	}
}

// swap looks for pages behind the header of swap space.
func (s *scan) swap(v *Volume) {
	if v.Partition.Content.Type == "swap (hibernated)" {
		s.of(swapContent, v, "a hibernated system", offset(v.Partition.Content.Off))
		return
	}
	dev := v.Partition.Device()
	buf := make([]byte, 1<<20)
	first, pages := int64(-1), int64(0)
	const page = 4096
	for off := int64(0); off < dev.Size() && s.ctx.Err() == nil; {
		if next := blockio.NextData(dev, off); next > off {
			off = next
			continue
		}
		n, err := dev.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			s.unread("", &fault{v, "", err})
			return
		}
		for at := 0; at < n; at += page {
			// The header fills the first page, and as much as a page has
			// elsewhere.
			if off+int64(at) >= 64<<10 && !blockio.IsZero(buf[at:min(at+page, n)]) {
				if first < 0 {
					first = off + int64(at)
				}
				pages++
			}
		}
		if n == 0 {
			break
		}
		off += int64(n)
	}
	if pages > 0 {
		s.of(swapContent, v, "pages that are not zero", shown("%d pages of 4 KiB", pages), offset(first))
	}
}

// lookSwapFiles looks for pages behind the headers of swap files.
func lookSwapFiles(s *scan) {
	for _, l := range s.fstab() {
		if l.vfstype != "swap" || !strings.HasPrefix(l.spec, "/") || strings.HasPrefix(l.spec, "/dev/") {
			continue
		}
		if f := s.stat(l.spec); f.filled() {
			s.swapFile(f)
		}
	}
}

func (s *scan) swapFile(f *file) {
	fsys := f.vol.Tree.FS()
	holes, _ := fsys.(vfs.HoleSeeker)
	buf := make([]byte, 1<<20)
	const header = 64 << 10 // as in swap
	pages := int64(0)
	for off := int64(header); off < f.attr.Size && s.ctx.Err() == nil; {
		if holes != nil {
			next, err := holes.SeekData(s.ctx, f.attr.Ino, off)
			if errors.Is(err, syscall.ENXIO) {
				break
			}
			if err == nil {
				off = max(off, next)
			}
		}
		n, err := fsys.ReadAt(s.ctx, f.attr.Ino, buf, off)
		if err != nil && err != io.EOF {
			s.unread(f.path, &fault{f.vol, f.at, err})
			return
		}
		if n == 0 {
			break
		}
		for page := range slices.Chunk(buf[:n], 4096) {
			if !blockio.IsZero(page) {
				pages++
			}
		}
		off += int64(n)
	}
	if pages > 0 {
		s.found(swapContent, f, "pages that are not zero", shown("%d pages of 4 KiB", pages))
	}
}
