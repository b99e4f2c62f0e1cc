package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/image/passwd/crypt"
)

var bsdFamily = family{
	name: "bsd", title: "OpenBSD, resflash and FreeBSD",
	checks: []check{
		{rules: []*Rule{resflashCfg}, look: lookCfg},
		entries(obsdBackups, "left by a daily job or a boot", nil, "/var/backups/*.{current,backup}*", "/var/run/dmesg.boot", "/etc/ptmp"),
		{rules: []*Rule{obsdPasswdDB}, look: lookPasswdDB},
		{rules: []*Rule{obsdKernelRelink}, scope: systems, look: lookRelink},
		{rules: []*Rule{obsdFirsttime}, look: lookFirsttime},
		{rules: []*Rule{resflashBuildLeak}, look: lookBuildLeak},
		{rules: []*Rule{fbsdFirstboot}, scope: systems, look: lookFirstboot},
		entries(fbsdState, "left by a boot or an update", nil, "/boot/kernel.old", "/boot/nextboot.conf", "/var/crash/{vmcore.*,info.*,core.txt.*}", "/var/db/pkg/repo-*.sqlite"),
	},
}

var (
	resflashCfg = &Rule{
		ID: "resflash-cfg", Title: "/cfg holds what belongs to one machine",
		Systems: OpenBSD, Severity: Error, Profiles: map[Profile]Severity{Appliance: Warning},
		Reason:   "/cfg is laid over /etc and /var of both slots at every boot: keys and passwords there are on every machine, through every upgrade.",
		Evidence: "private keys, seeds, password files and leases below /cfg/etc, /cfg/var and /cfg/upgrade_overlay",
		Fix:      safe(Remove, "remove it from /cfg"), Reference: "resflash, Configuration",
	}
	obsdBackups = &Rule{
		ID: "obsd-backups", Title: "a daily job or a boot has left copies",
		Systems: OpenBSD, Severity: Warning,
		Reason:   "Copies of configurations and password files of the build, and messages of the builder's hardware, go with the image.",
		Evidence: "/var/backups/*.current and *.backup, /var/run/dmesg.boot, /etc/ptmp",
		Fix:      safe(Remove, "remove them"), Reference: "security(8)",
	}
	obsdPasswdDB = &Rule{
		ID: "obsd-passwd-db", Title: "master.passwd and the password databases differ",
		Systems: BSD, Severity: Error,
		Reason:   "The system uses the databases: a password that was changed or locked in master.passwd alone is still the old one.",
		Evidence: "the hashes and names of /etc/master.passwd and /etc/spwd.db; the names of /etc/pwd.db, which has no hash",
		Fix:      report("resflash edit --password makes the databases anew, as does pwd_mkdb on the system"), Reference: "pwd_mkdb(8)",
	}
	obsdKernelRelink = &Rule{
		ID: "obsd-kernel-relink", Title: "the kernel will not be relinked at boot",
		Systems: OpenBSD, Severity: Warning,
		Reason:   "All machines run one layout of the kernel, the same as an attacker has: the address randomisation of the kernel is silently off.",
		Evidence: "/var/db/kernel.SHA256 against the digest of /bsd",
		Fix:      provided("/bsd is the kernel that was installed", Write, "write the digest of /bsd"), Reference: "rc(8), reorder_kernel",
	}
	obsdFirsttime = &Rule{
		ID: "obsd-firsttime", Title: "the script of the first boot holds a password",
		Systems: OpenBSD, Severity: Warning,
		Reason:   "The installer writes the proxy into it, with user and password.",
		Evidence: "addresses with passwords in /etc/rc.firsttime",
		Fix:      report("remove the password"), Reference: "rc(8)",
	}
	resflashBuildLeak = &Rule{
		ID: "resflash-build-leak", Title: "the command of the build is recorded",
		Systems: OpenBSD, Severity: Info,
		Reason:   "It names directories of the build host, and the date that root's first password is made of.",
		Evidence: "/resflash/BUILD",
		Fix:      report("nothing, if that is no secret"),
	}
	fbsdFirstboot = &Rule{
		ID: "fbsd-firstboot-missing", Title: "nothing will happen at the first boot",
		Systems: FreeBSD, Severity: Warning,
		Reason:   "rc runs what grows the disk and sets up the machine only if /firstboot is there.",
		Evidence: "growfs_enable and firstboot_* in rc.conf without /firstboot",
		Fix:      safe(Write, "make an empty /firstboot"), Reference: "rc.conf(5), rc(8)",
	}
	fbsdState = &Rule{
		ID: "fbsd-state", Title: "a boot or an update has left state",
		Systems: FreeBSD, Severity: Warning,
		Reason:   "It takes space, and tells of the build.",
		Evidence: "kernel.old, nextboot.conf, crash dumps, catalogues of pkg",
		Fix:      safe(Remove, "remove it"),
	}
)

// cfgSecrets are what scripts of resflash save to /cfg, and what else must not
// be shipped in it.
var cfgSecrets = []struct {
	what     string
	patterns []string
}{
	{"a private key", []string{"/etc/ssh/*_key", "/etc/{iked,isakmpd}/private/*", "/etc/ssl/private/*", "/etc/soii.key", "/var/unbound/etc/*.key", "/var/nsd/etc/*.key"}},
	{"a seed", []string{"/var/db/host.random", "/etc/random.seed"}},
	{"a password file", []string{"/etc/{master.passwd,spwd.db}"}},
	{"a lease or identifier", []string{"/var/db/dhcpleased/*", "/var/db/dhcp6leased/*", "/var/db/dhclient.leases.*"}},
	{"a secret of WireGuard", []string{"/etc/hostname.wg*"}},
}

func lookCfg(s *scan) {
	if s.volume == nil || s.volume.Role != image.RoleCfg {
		return
	}
	for _, c := range cfgSecrets {
		for _, f := range s.files(append(c.patterns, below([]string{"/upgrade_overlay"}, c.patterns...)...)...) {
			if !f.filled() || strings.HasSuffix(f.name(), ".pub") {
				continue
			}
			b, ok := s.head(f, maxText)
			if !ok {
				continue
			}
			how := secret(strings.TrimPrefix(c.what, "a "), b)
			if c.what == "a password file" {
				how = guessable("password file", string(b))
			}
			s.found(resflashCfg, f, c.what+" that every slot gets", how)
		}
	}
}

// maxDatabase bounds the password databases that are read whole.
const maxDatabase = 64 << 20

// lookPasswdDB compares the password file with the databases made of it: the
// hashes in spwd.db, the names in both.
func lookPasswdDB(s *scan) {
	f := s.stat("/etc/master.passwd")
	if f == nil || !f.isRegular() {
		return
	}
	for _, name := range []string{"/etc/spwd.db", "/etc/pwd.db"} {
		db := s.stat(name)
		if db == nil || !db.isRegular() || db.attr.Size > maxDatabase {
			continue
		}
		content, ok := s.head(db, maxDatabase)
		if !ok {
			continue
		}
		fields, err := passwd.ReadDatabase(content)
		if err != nil {
			s.found(obsdPasswdDB, db, "cannot be read: "+err.Error())
			continue
		}
		file := path.Base(name)
		secret := file == "spwd.db"
		for _, a := range s.accounts() {
			field, ok := fields[a.name]
			delete(fields, a.name)
			switch {
			case !ok:
				s.found(obsdPasswdDB, f, a.name+" is not in "+file, line(a.line))
			case secret && field != a.hash && !(locked(field) && locked(a.hash)):
				s.found(obsdPasswdDB, f, file+" has another password for "+a.name, guessable(crypt.Kind(a.hash)), line(a.line))
			case !secret && crypt.Kind(field) != "":
				s.found(obsdPasswdDB, db, "everybody can read the hash of "+a.name, guessable(crypt.Kind(field)))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if !strings.HasPrefix(name, "+") && !strings.HasPrefix(name, "-") {
				s.found(obsdPasswdDB, db, name+" is in "+file+" and not in master.passwd")
			}
		}
	}
}

var sha256Line = lazyregexp.New(`^(?:SHA256 \([^)]*\) = )?([A-Za-z0-9+/]{43}=|[0-9a-f]{64})`)

func lookRelink(s *scan) {
	kernel, sum := s.stat("/bsd"), s.stat("/var/db/kernel.SHA256")
	if kernel == nil || sum == nil || !kernel.isRegular() {
		return
	}
	m := sha256Line.FindStringSubmatch(strings.TrimSpace(s.text(sum)))
	if m == nil || kernel.attr.Size > 256<<20 {
		s.found(obsdKernelRelink, sum, "holds no digest")
		return
	}
	h := sha256.New()
	if _, err := io.Copy(h, kernel.vol.Tree.Reader(s.ctx, kernel.attr)); err != nil {
		s.unread(kernel.path, &fault{kernel.vol, kernel.at, err})
		return
	}
	got := h.Sum(nil)
	if m[1] != hex.EncodeToString(got) && m[1] != base64.StdEncoding.EncodeToString(got) {
		s.found(obsdKernelRelink, sum, "is not the digest of /bsd")
	}
}

var proxyPassword = lazyregexp.New(`[a-z]+://[^\s:/@]+:[^\s/@]+@`)

func lookFirsttime(s *scan) {
	if f := s.stat("/etc/rc.firsttime"); f != nil {
		for n, l := range lines(s.text(f), "#") {
			if proxyPassword.MatchString(l) {
				s.found(obsdFirsttime, f, "an address with a password", guessable("password", l), line(n))
			}
		}
	}
}

func lookBuildLeak(s *scan) {
	if f := s.stat("/resflash/BUILD"); f != nil {
		for n, l := range lines(s.text(f), "") {
			if strings.HasPrefix(l, "build command:") && strings.Contains(l, " /") {
				s.found(resflashBuildLeak, f, "names a directory of the build host", line(n))
			}
		}
	}
}

var wantsFirstboot = lazyregexp.New(`(?i)^(growfs_enable|firstboot_[a-z_]+_enable)="?yes`)

func lookFirstboot(s *scan) {
	if s.exists("/firstboot") {
		return
	}
	for _, f := range s.files("/etc/{rc.conf,rc.conf.local}", "/etc/rc.conf.d/*") {
		for n, l := range lines(s.text(f), "#") {
			if wantsFirstboot.MatchString(l) {
				s.found(fbsdFirstboot, f, "wants a first boot, and /firstboot is missing", line(n))
			}
		}
	}
}
