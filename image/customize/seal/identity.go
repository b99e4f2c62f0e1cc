package seal

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

// resetMachineID makes the machine get an ID at its first boot.
func resetMachineID(p *planner, f *audit.Finding, why string) {
	if f.Rule == "machine-id-empty" && p.opt.MachineID == Empty {
		return // as it is wanted
	}
	if !p.ran("dbus-machine-id-set") {
		p.not(f, Refused, "a machine ID in /var/lib/dbus would bring the old one back, and the rule dbus-machine-id-set is not among those that run")
		return
	}
	for _, other := range p.report.Findings {
		if other.Rule == "dbus-machine-id-set" && !other.Open() {
			p.not(f, Refused, "the machine ID in "+other.Where()+", which is accepted, would bring the old one back")
			return
		}
	}
	switch {
	case p.opt.MachineID == Absent || p.kind(f) == "freebsd":
		// FreeBSD makes the file if it is not there, and knows no word for that.
		remove(p, f, why)
	case p.opt.MachineID == Empty:
		p.write(f, f.Path, "", 0o444, "empty", why)
	default:
		p.write(f, f.Path, "uninitialized\n", 0o444, "uninitialized", why)
	}
}

var machineIDWord = lazyregexp.New(`\s*\bsystemd\.machine_id=[0-9A-Fa-f-]{32,36}`)

// dropMachineID takes the machine ID out of a kernel command line.
func dropMachineID(p *planner, f *audit.Finding, why string) {
	p.edit(f, f.Path, f.Line, why, func(line string) string { return machineIDWord.ReplaceAllString(line, "") })
}

// writeEntryToken names boot entries after the system, unless there are some
// with the old name.
func writeEntryToken(p *planner, f *audit.Finding, why string) {
	for _, other := range p.report.Findings {
		if other.Rule == "boot-entry-machine-id" {
			p.not(f, Refused, "boot entries have that name: "+other.Where())
			return
		}
	}
	s := p.system(f)
	if s == nil || s.OS.ID == "" {
		p.not(f, Refused, "there is no os-release that says what the system is")
		return
	}
	token := s.OS.ImageID
	if token == "" {
		token = s.OS.ID
	}
	p.write(f, f.Path, token+"\n", 0o644, token, why)
}

// writeKernelDigest records the kernel as the one that was installed.
func writeKernelDigest(p *planner, f *audit.Finding, why string) {
	kernel := p.file(f, "/bsd")
	p.step(f, audit.Write, f.Path, "the digest of /bsd", why, func(ctx context.Context, e *customize.Editor, file string) error {
		r, _, err := e.Open(ctx, kernel)
		if err != nil {
			return err
		}
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		return e.WriteFile(ctx, file, fmt.Appendf(nil, "SHA256 (/bsd) = %x\n", h.Sum(nil)), vfs.NewNode{Mode: vfs.Regular | 0o600})
	})
}

// keygenUnit makes the host keys that are missing, before sshd wants them. It
// does nothing where all are there.
const keygenUnit = `[Unit]
Description=Make the SSH host keys that are missing
Documentation=man:ssh-keygen(1)
Before=ssh.service sshd.service

[Service]
Type=oneshot
ExecStart=%s -A

[Install]
WantedBy=multi-user.target
`

const (
	unitDir  = "/etc/systemd/system"
	unitName = "ssh-host-keys.service"
	wantsDir = unitDir + "/multi-user.target.wants"
)

// installRegenerator makes a unit for host keys where sshd has none and nothing
// makes any.
func installRegenerator(p *planner, f *audit.Finding, _ string) {
	if !p.opt.InstallRegenerator {
		p.not(f, Asks, "nothing makes host keys; --install-regenerator adds a unit that does")
		return
	}
	if no := p.installUnit(f); no != "" {
		p.not(f, Refused, no)
	}
}

// installUnit plans a unit that makes host keys in the system that a finding
// is about, or says why that cannot be.
func (p *planner) installUnit(f *audit.Finding) (no string) {
	s := p.system(f)
	if s == nil {
		return "no system is known that the key belongs to"
	}
	root := *f
	root.Volume = s.Root.ID
	program := ""
	for _, name := range []string{"/usr/bin/ssh-keygen", "/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"} {
		if _, err := p.e.Stat(p.ctx, p.file(&root, name)); err == nil {
			program = name
			break
		}
	}
	switch {
	case program == "":
		return "there is no ssh-keygen in volume " + root.Volume
	case !p.isDir(&root, unitDir):
		return unitDir + " is no directory of volume " + root.Volume + ": systemd does not run there"
	case p.lstat(&root, unitDir+"/"+unitName) != nil, p.lstat(&root, wantsDir+"/"+unitName) != nil:
		return unitName + " is there already, and does not make it"
	case strings.HasPrefix(path.Base(f.Path), "dropbear"):
		return "the key is one of dropbear, which ssh-keygen does not make"
	}
	why := "--install-regenerator"
	p.write(&root, unitDir+"/"+unitName, fmt.Sprintf(keygenUnit, program), 0o644, program+" -A", why)
	p.step(&root, audit.Write, wantsDir+"/"+unitName, "link to ../"+unitName, why, func(ctx context.Context, e *customize.Editor, file string) error {
		if err := e.MkdirAll(ctx, p.file(&root, wantsDir), vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
			return err
		}
		return e.Symlink(ctx, "../"+unitName, file)
	})
	return ""
}

func (p *planner) isDir(f *audit.Finding, path string) bool {
	attr, err := p.e.Stat(p.ctx, p.file(f, path))
	return err == nil && attr.Mode.IsDir()
}
