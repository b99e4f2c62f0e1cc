package seal

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

// A fix is how the findings of rules are mended.
type fix struct {
	rules string
	plan  func(p *planner, f *audit.Finding, why string)
	// own says that plan itself decides whether it may be done.
	own bool
	// missing says why there is no such fix yet.
	missing string
}

// fixes are all there are, in the order in which they are made.
var fixes = []fix{
	// What others rely on.
	{rules: "ssh-no-regenerator", plan: installRegenerator, own: true},

	// What makes machines the same, in the order of who makes it anew: host
	// keys, IDs, seeds, other keys.
	{rules: "ssh-host-key", plan: removeHostKey, own: true},
	{rules: "ssh-host-key-empty", plan: removeKeyPair},
	{rules: "machine-id-set machine-id-zero machine-id-invalid machine-id-empty", plan: resetMachineID},
	{rules: "dbus-machine-id-set", plan: remove},
	{rules: "machine-id-on-cmdline", plan: dropMachineID},
	{rules: "entry-token-machine-id", plan: writeEntryToken},
	{rules: "machine-info-present", plan: dropLine},
	{rules: "zfs-hostid", plan: remove},
	{rules: "random-seed-present random-seed-creditable random-seed-constant esp-random-seed obsd-host-random fbsd-entropy", plan: remove},
	{rules: "obsd-random-seed obsd-random-seed-reused", plan: removeBootSeed, own: true},
	{rules: "credential-secret tpm-binding credstore-plain", plan: remove},
	{rules: "ike-key", plan: removeKeyPair},
	{rules: "obsd-soii-key", plan: remove},
	{rules: "snakeoil-key", plan: removeSnakeoil},
	{rules: "service-key telemetry-id", plan: removeOrDropLine},
	{rules: "iscsi-initiator", plan: writeInitiator},
	{rules: "nvme-hostid mesh-identity acme-account kerberos-keytab samba-secrets directory-enrolment", plan: remove},
	{rules: "resflash-cfg", plan: removeFromCfg},

	// Ways in.
	{rules: "ssh-known-bad-key", plan: dropLine},
	{rules: "authorized-keys", plan: truncate},
	{rules: "ssh-user-key ssh-known-hosts", plan: remove},
	{rules: "sshd-root-password", plan: forbidRootPassword},
	{rules: "password-empty password-set", plan: lockAccount},
	{rules: "passwd-backup", plan: remove},
	{rules: "privilege-nopasswd", plan: askPassword},
	{rules: "human-account", missing: "a user is more than a line in one file; delete it on a running system"},

	// Networks and devices.
	{rules: "hostname-set", plan: resetHostname},
	{rules: "mailname dhcp-lease nm-secret-key nm-connection udev-persistent-net stale-device-cache bluetooth-pairing", plan: remove},
	{rules: "dhcp-duid", plan: removeOrDropLine},
	{rules: "ipv6-stable-secret mac-binding", plan: dropLine},
	{rules: "resolv-conf", plan: truncate},

	// Clouds.
	{rules: "cloud-init-instance cloud-init-seed cloud-init-generated cloud-agent-state subscription-identity orchestrator-identity cloud-credentials", plan: remove},

	// Leftovers.
	{rules: "journal-files", plan: removeJournal},
	{rules: "log-content login-records", plan: truncateLog},
	{rules: "shell-history editor-residue core-dump installer-residue build-residue tmp-leftover mail-spool cron-spool package-cache obsd-backups fbsd-state", plan: remove},
	{rules: "fbsd-firstboot-missing", plan: makeFirstboot},
	{rules: "obsd-kernel-relink", plan: writeKernelDigest},
	{rules: "image-id-missing image-version-missing", missing: "the image has no name of its own to take; resflash edit writes one"},
	{rules: "boot-entry-machine-id", missing: "entries, kernels and the boot loader's memory of them would have to be renamed together"},

	// Permissions.
	{rules: "random-seed-mode secret-file-mode tmp-mode world-writable", plan: chmod},

	// Volumes.
	{rules: "fs-dirty", missing: "resflash check --repair mends it, and says what that costs"},
	{rules: "swap-content", plan: zeroSwap},
	{rules: "free-space-secret free-space-data slack-secret fs-journal-remnant", missing: "resflash seal --scrub writes zeros over what is free, when all else is done"},
}

// step plans a change of the file at a path.
func (p *planner) step(f *audit.Finding, verb audit.Verb, path, detail, why string, do func(ctx context.Context, e *customize.Editor, file string) error) {
	file := p.file(f, path)
	p.add(f, Step{State: Planned, Verb: verb, Path: path, Detail: detail, Why: why,
		do: func(ctx context.Context, e *customize.Editor) error { return do(ctx, e, file) }})
}

func remove(p *planner, f *audit.Finding, why string) { p.remove(f, f.Path, why) }

// remove removes a file, or a directory with what is in it.
func (p *planner) remove(f *audit.Finding, path, why string) {
	p.add(f, Step{State: Planned, Verb: audit.Remove, Path: path, Why: why, do: p.removal(f, path)})
}

// removeToo removes what belongs to the file of a finding, if it is there.
func (p *planner) removeToo(f *audit.Finding, path string) {
	if p.lstat(f, path) != nil {
		p.add(f, Step{State: Planned, Verb: audit.Remove, Path: path, Why: "belongs to " + f.Path, with: f.Path, do: p.removal(f, path)})
	}
}

func (p *planner) removal(f *audit.Finding, path string) func(context.Context, *customize.Editor) error {
	file := p.file(f, path)
	return func(ctx context.Context, e *customize.Editor) error { return e.RemoveAll(ctx, file) }
}

func truncate(p *planner, f *audit.Finding, why string) {
	p.step(f, audit.Truncate, f.Path, "", why, func(ctx context.Context, e *customize.Editor, file string) error {
		return e.Truncate(ctx, file, 0)
	})
}

func chmod(p *planner, f *audit.Finding, why string) {
	perm := f.Perm
	p.step(f, audit.Chmod, f.Path, fmt.Sprintf("%04o", uint32(perm)), why, func(ctx context.Context, e *customize.Editor, file string) error {
		return e.Chmod(ctx, file, perm)
	})
}

// write makes text the contents of a file.
func (p *planner) write(f *audit.Finding, path, text string, perm vfs.Mode, detail, why string) {
	p.step(f, audit.Write, path, detail, why, func(ctx context.Context, e *customize.Editor, file string) error {
		if err := e.WriteFile(ctx, file, []byte(text), vfs.NewNode{Mode: vfs.Regular | perm}); err != nil {
			return err
		}
		return e.Chmod(ctx, file, perm)
	})
}

// edit changes a line of a text.
func (p *planner) edit(f *audit.Finding, path string, line int, why string, change func(string) string) {
	p.add(f, Step{State: Planned, Verb: audit.Edit, Path: path, Detail: fmt.Sprintf("line %d", line), Why: why, line: line, edit: change})
}

func dropLine(p *planner, f *audit.Finding, why string) {
	p.edit(f, f.Path, f.Line, why, func(string) string { return dropped })
}

// removeOrDropLine is for rules that are about files, and about lines of some.
func removeOrDropLine(p *planner, f *audit.Finding, why string) {
	if f.Line > 0 {
		dropLine(p, f, why)
		return
	}
	remove(p, f, why)
}

// removeHostKey removes a host key if something makes a new one, or if
// something can be installed that does.
func removeHostKey(p *planner, f *audit.Finding, why string) {
	if f.Fixable == nil || !*f.Fixable {
		if !p.opt.InstallRegenerator {
			p.not(f, Refused, reason(f)+"; --install-regenerator adds a unit that does")
			return
		}
		if no := p.installUnit(f); no != "" {
			p.not(f, Refused, reason(f)+", and no unit can be installed: "+no)
			return
		}
		why = "the unit that is installed makes a new one"
	} else if p.opt.MachineID == Empty && strings.HasSuffix(why, audit.AtFirstBoot) {
		p.not(f, Refused, why+", which a machine with an empty machine ID never has")
		return
	}
	removeKeyPair(p, f, why)
}

// removeKeyPair removes a private key with its public part and certificate.
func removeKeyPair(p *planner, f *audit.Finding, why string) {
	remove(p, f, why)
	p.removeToo(f, f.Path+".pub")
	p.removeToo(f, f.Path+"-cert.pub")
	if base, ok := strings.CutSuffix(f.Path, "/private/local.key"); ok {
		p.removeToo(f, base+"/local.pub") // of iked and isakmpd
	}
}

func removeSnakeoil(p *planner, f *audit.Finding, why string) {
	remove(p, f, why)
	p.removeToo(f, "/etc/ssl/certs/ssl-cert-snakeoil.pem")
}

// removeBootSeed removes OpenBSD's boot seed. No seed is what a boot loader
// can live with; the same one on every machine is not, and a fresh one in an
// image is just that.
func removeBootSeed(p *planner, f *audit.Finding, _ string) {
	const rule = "obsd-random-seed"
	for _, asked := range p.opt.OptIn {
		if asked == rule {
			remove(p, f, "asked for")
			return
		}
	}
	p.not(f, Asks, "the first boot is weaker without it, unless each machine gets a seed of its own (resflash personalise); if so: --opt-in "+rule)
}

// removeFromCfg removes a file from /cfg; of a password file all that belongs
// to it: half a password database is worse than none.
func removeFromCfg(p *planner, f *audit.Finding, why string) {
	removeKeyPair(p, f, why)
	dir, name := path.Split(f.Path)
	if name == "master.passwd" || name == "spwd.db" {
		for _, other := range []string{"master.passwd", "passwd", "spwd.db", "pwd.db"} {
			if other != name {
				p.removeToo(f, dir+other)
			}
		}
	}
}

// journalDir is the directory of a machine's journal, which has its ID.
var journalDir = lazyregexp.New(`/[0-9a-f]{32}$`)

func removeJournal(p *planner, f *audit.Finding, why string) {
	if dir := path.Dir(f.Path); journalDir.MatchString(dir) {
		p.remove(f, dir, why)
		return
	}
	remove(p, f, why)
}

// rotatedLog is one that nobody writes to any more.
var rotatedLog = lazyregexp.New(`\.([0-9]+|old|gz|xz|zst|bz2|[0-9]{8})(\.[a-z]+)?$|-[0-9]{8}(\.[a-z]+)?$`)

func truncateLog(p *planner, f *audit.Finding, why string) {
	if rotatedLog.MatchString(f.Path) {
		remove(p, f, why)
		return
	}
	truncate(p, f, why)
}

func makeFirstboot(p *planner, f *audit.Finding, why string) {
	p.write(f, "/firstboot", "", 0o644, "empty", why)
}

// writeInitiator lets the start of iSCSI make a name.
func writeInitiator(p *planner, f *audit.Finding, why string) {
	p.write(f, f.Path, "GenerateName=yes\n", 0o600, "GenerateName=yes", why)
}

// resetHostname takes the name away. Where a line sets it, the line goes; the
// BSDs want /etc/myname to be there.
func resetHostname(p *planner, f *audit.Finding, why string) {
	switch f.Path {
	case "/etc/hostname", "/etc/HOSTNAME":
		remove(p, f, why)
	case "/etc/myname":
		p.write(f, f.Path, "localhost\n", 0o644, "localhost", why)
	default:
		dropLine(p, f, why)
	}
}
