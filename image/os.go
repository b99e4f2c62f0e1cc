package image

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

// OS says which operating system is installed in a volume.
type OS struct {
	ID           string // "openbsd", "debian", "freebsd": as os-release(5) has it; empty if none was found
	Name         string // "OpenBSD", "Debian GNU/Linux"
	Version      string // "7.6", "13"
	PrettyName   string // for people: "OpenBSD 7.6 (GENERIC.MP) #338"
	Arch         string // "amd64", "arm64", as the system itself says it
	ImageID      string // IMAGE_ID of os-release(5)
	ImageVersion string // IMAGE_VERSION of os-release(5)
	Build        string // resflash: version and date of the build, from /resflash/BUILD
	Evidence     string // the file that told
}

// IdentifyOS finds out which operating system is installed in tree. A volume
// without one gives an OS without an ID, and no error.
func IdentifyOS(ctx context.Context, tree *vfs.Tree) (OS, error) {
	var o OS
	for _, identify := range []func(context.Context, *vfs.Tree, *OS) bool{osRelease, openBSD, netBSD, freeBSD} {
		if err := ctx.Err(); err != nil {
			return OS{}, err
		}
		if identify(ctx, tree, &o) {
			break
		}
	}
	if o.ID == "" {
		return o, nil
	}
	resflashBuild(ctx, tree, &o)
	if o.Arch == "" {
		o.Arch = userlandArch(ctx, tree, o.ID)
	}
	return o, nil
}

// osRelease reads os-release(5): Linux distributions, FreeBSD since 13.
func osRelease(ctx context.Context, tree *vfs.Tree, o *OS) bool {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release", "/etc/initrd-release"} {
		text, err := readTreeText(ctx, tree, name)
		if err != nil {
			continue
		}
		v := parseRelease(text)
		o.ID, o.Name, o.Version, o.PrettyName = v["ID"], v["NAME"], v["VERSION_ID"], v["PRETTY_NAME"]
		o.ImageID, o.ImageVersion = v["IMAGE_ID"], v["IMAGE_VERSION"]
		if o.ID == "" {
			o.ID = "linux" // the default that os-release(5) gives
		}
		o.Evidence = name
		return true
	}
	// Alpine and Debian before os-release.
	if text, err := readTreeText(ctx, tree, "/etc/debian_version"); err == nil {
		o.ID, o.Name, o.Version = "debian", "Debian GNU/Linux", strings.TrimSpace(text)
		o.PrettyName, o.Evidence = o.Name+" "+o.Version, "/etc/debian_version"
		return true
	}
	return false
}

// parseRelease reads assignments as a shell would, without expanding anything.
func parseRelease(text string) map[string]string {
	values := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			quote := value[0]
			value = value[1 : len(value)-1]
			if quote == '"' {
				value = unescapeShell.Replace(value)
			}
		}
		values[name] = value
	}
	return values
}

var unescapeShell = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, "\\`", "`")

// The version strings in the data of the kernels: vers.c of the BSDs.
var (
	openBSDVersion = lazyregexp.New(`OpenBSD (\d+\.\d+)([-a-z]*) \(([A-Za-z0-9._-]+)\) #(\d+): [^\n\x00]{1,80}\n[^\n\x00]*/arch/([a-z0-9]+)/`)
	netBSDVersion  = lazyregexp.New(`NetBSD (\d+\.\d+[A-Za-z0-9._]*) \(([A-Za-z0-9._-]+)\)`)
	freeBSDVersion = lazyregexp.New(`FreeBSD (\d+\.\d+-[A-Z0-9-]+)`)
)

func openBSD(ctx context.Context, tree *vfs.Tree, o *OS) bool {
	for _, kernel := range []string{"/bsd", "/bsd.mp", "/bsd.sp", "/bsd.d", "/bsd.e", "/bsd.booted", "/bsd.rd"} {
		m := grepKernel(ctx, tree, kernel, "OpenBSD ", openBSDVersion)
		if m == nil {
			continue
		}
		o.ID, o.Name, o.Version, o.Arch = "openbsd", "OpenBSD", m[1], m[5]
		o.PrettyName = "OpenBSD " + m[1] + m[2] + " (" + m[3] + ") #" + m[4]
		o.Evidence = kernel
		return true
	}
	// No kernel in the slot: only the system's name is certain. (The release
	// keys in /etc/signify reach beyond the release that is installed.)
	if list, err := names(ctx, tree, "/etc/signify"); err == nil {
		for _, name := range list {
			if strings.HasPrefix(name, "openbsd-") {
				o.ID, o.Name, o.PrettyName, o.Evidence = "openbsd", "OpenBSD", "OpenBSD (no kernel found)", "/etc/signify"
				return true
			}
		}
	}
	return false
}

func names(ctx context.Context, tree *vfs.Tree, dir string) ([]string, error) {
	attr, err := tree.Resolve(ctx, dir)
	if err != nil {
		return nil, err
	}
	list, err := tree.List(ctx, attr.Ino)
	var all []string
	for _, e := range list {
		all = append(all, e.Name)
	}
	return all, err
}

func netBSD(ctx context.Context, tree *vfs.Tree, o *OS) bool {
	m := grepKernel(ctx, tree, "/netbsd", "NetBSD ", netBSDVersion)
	if m == nil {
		return false
	}
	o.ID, o.Name, o.Version, o.Evidence = "netbsd", "NetBSD", m[1], "/netbsd"
	o.PrettyName = "NetBSD " + m[1] + " (" + m[2] + ")"
	return true
}

func freeBSD(ctx context.Context, tree *vfs.Tree, o *OS) bool {
	if text, err := readTreeText(ctx, tree, "/bin/freebsd-version"); err == nil {
		for _, line := range strings.Split(text, "\n") {
			if v, ok := strings.CutPrefix(line, "USERLAND_VERSION="); ok {
				o.Version = strings.Trim(v, `"`)
				o.ID, o.Name, o.Evidence = "freebsd", "FreeBSD", "/bin/freebsd-version"
				o.PrettyName = "FreeBSD " + o.Version
				return true
			}
		}
	}
	m := grepKernel(ctx, tree, "/boot/kernel/kernel", "FreeBSD ", freeBSDVersion)
	if m == nil {
		return false
	}
	o.ID, o.Name, o.Version, o.Evidence = "freebsd", "FreeBSD", m[1], "/boot/kernel/kernel"
	o.PrettyName = "FreeBSD " + m[1]
	return true
}

// maxKernel bounds how much of a kernel is searched: they are 10 to 40 MiB.
const maxKernel = 64 << 20

// grepKernel searches a kernel for its version string. It reads in pieces that
// overlap by as much as the string can be long.
func grepKernel(ctx context.Context, tree *vfs.Tree, name, prefix string, re *lazyregexp.Regexp) []string {
	attr, err := tree.Resolve(ctx, name)
	if err != nil || !attr.Mode.IsRegular() {
		return nil
	}
	r := tree.Reader(ctx, attr)
	const piece, overlap = 1 << 20, 1 << 10
	buf := make([]byte, piece+overlap)
	for off := int64(0); off < min(attr.Size, maxKernel); off += piece {
		n, err := r.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return nil
		}
		for text := buf[:n]; ; text = text[len(prefix):] {
			i := bytes.Index(text, []byte(prefix))
			if i < 0 {
				break
			}
			text = text[i:]
			line := string(text[:min(len(text), overlap)])
			if m := re.FindStringSubmatch(line); m != nil && strings.HasPrefix(line, m[0]) {
				return m
			}
		}
	}
	return nil
}

// resflashBuild reads the three lines that resflash's build leaves: "version:",
// "build command:" and "build date:"; before 5.9 the bare version.
func resflashBuild(ctx context.Context, tree *vfs.Tree, o *OS) {
	if text, err := readTreeText(ctx, tree, "/resflash/BUILD"); err == nil {
		fields := map[string]string{}
		for _, line := range strings.Split(text, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		if v := fields["version"]; v != "" {
			o.Build = "resflash " + v
			if date := fields["build date"]; date != "" {
				o.Build += ", " + date
			}
		}
		return
	}
	if text, err := readTreeText(ctx, tree, "/resflash/.version"); err == nil {
		o.Build = "resflash " + strings.TrimSpace(text)
	}
}

// userlandArch tells the architecture from the header of a program that every
// system has.
func userlandArch(ctx context.Context, tree *vfs.Tree, id string) string {
	for _, name := range []string{"/bin/sh", "/usr/bin/env", "/sbin/init", "/bin/busybox", "/bin/cat", "/lib/systemd/systemd"} {
		attr, err := tree.Resolve(ctx, name)
		if err != nil || !attr.Mode.IsRegular() {
			continue
		}
		// The header alone: identification, then type and machine (e_machine).
		var h [20]byte
		if _, err := tree.Reader(ctx, attr).ReadAt(h[:], 0); err != nil || string(h[:4]) != elf.ELFMAG {
			continue
		}
		machine := binary.LittleEndian.Uint16(h[18:])
		if elf.Data(h[elf.EI_DATA]) == elf.ELFDATA2MSB {
			machine = binary.BigEndian.Uint16(h[18:])
		}
		return archName(elf.Machine(machine), elf.Class(h[elf.EI_CLASS]), id)
	}
	return ""
}

// archName names a machine as the system does: Linux by uname -m, the BSDs by
// their port.
func archName(m elf.Machine, class elf.Class, id string) string {
	bsd := id == "openbsd" || id == "freebsd" || id == "netbsd"
	pick := func(linux, port string) string {
		if bsd {
			return port
		}
		return linux
	}
	switch m {
	case elf.EM_X86_64:
		return pick("x86_64", "amd64")
	case elf.EM_386:
		return pick("i686", "i386")
	case elf.EM_AARCH64:
		return pick("aarch64", "arm64")
	case elf.EM_ARM:
		return pick("arm", "armv7")
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_PPC64:
		return pick("ppc64", "powerpc64")
	case elf.EM_PPC:
		return pick("ppc", "macppc")
	case elf.EM_S390:
		return "s390x"
	case elf.EM_LOONGARCH:
		return "loongarch64"
	case elf.EM_SPARCV9:
		return "sparc64"
	case elf.EM_MIPS:
		if class == elf.ELFCLASS64 {
			return pick("mips64", "octeon")
		}
		return "mips"
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}
