package audit

import (
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

var residueFamily = family{
	name: "residue", title: "Logs and leftovers",
	checks: []check{
		{rules: []*Rule{bootedEvidence}, look: lookBooted},
		entries(journalFiles, "a journal", lazyregexp.New(`^(remote|\.|lost)`), "/var/log/journal/*/*"),
		{rules: []*Rule{logContent}, look: lookLogs},
		present(loginRecords, "records", "/var/log/{wtmp,btmp,lastlog,faillog,tallylog,wtmp.db,lastlog2.db,utx.log,utx.lastlogin,wtmp.?,btmp.?}", "/var/lib/{lastlog/lastlog2.db,wtmpdb/wtmp.db}", "/var/run/utmp", "/run/utmp", "/var/run/utx.active", "/var/account/{acct,pacct}*", "/var/log/account/pacct*"),
		{rules: []*Rule{shellHistory, rootHomeLeftover}, look: lookHistories},
		{rules: []*Rule{editorResidue, coreDump}, visit: visitResidue},
		{rules: []*Rule{installerResidue}, look: lookInstaller},
		entries(buildResidue, "a leftover of the build", nil, "/usr/sbin/policy-rc.d", "/usr/bin/qemu-*-static", "/.dockerenv", "/.dockerinit", "/run/.containerenv", "/EMPTY", "/zerofile", "/zero.fill", "/whitespace", "/boot/whitespace", "/etc/sudoers.d/{packer,vagrant}", "/root/VBoxGuestAdditions*.iso", "/root/linux.iso", "/home/*/VBoxGuestAdditions*.iso"),
		entries(tmpLeftover, "a leftover", lazyregexp.New(`^(\.(X11|ICE|font|XIM|Test)-unix|lost\+found|vi\.recover|\.snap)$`), "/tmp/*", "/tmp/.[!.]*", "/var/tmp/*", "/var/tmp/.[!.]*"),
		{rules: []*Rule{tmpMode}, look: lookTmpMode},
		present(mailSpool, "mail", "/var/mail/*", "/var/spool/mail/*", "/var/spool/{mqueue,clientmqueue}/*", "/var/spool/{exim,exim4}/input/*", "/var/spool/postfix/{deferred,active,incoming,maildrop,bounce}/{*,*/*}", "/var/spool/smtpd/queue/*/*/*"),
		present(cronSpool, "jobs of a user", "/var/spool/cron/{*,crontabs/*,atjobs/*,atspool/*}", "/var/cron/{tabs,atjobs}/*"),
		present(packageCache, "a package or list", "/var/cache/apt/{pkgcache,srcpkgcache}.bin", "/var/cache/apt/archives/*.deb", "/var/lib/apt/lists/*_{Packages,Sources,InRelease,Release}*", "/var/cache/{dnf,yum}/{*,*/*,*/*/*}", "/var/cache/libdnf5/*/*", "/var/cache/zypp/packages/*/*", "/var/cache/apk/*.{apk,tar.gz}", "/var/cache/pkg/*", "/var/cache/pacman/pkg/*", "/var/db/freebsd-update/*", "/var/db/portsnap/*"),
	},
}

var (
	bootedEvidence = &Rule{
		ID: "booted-evidence", Title: "the image has been booted",
		Systems: Any, Severity: Info, Profiles: map[Profile]Severity{Public: Warning, Reproducible: Warning},
		Reason:   "What a boot makes (keys, seeds, leases, logs) may be anywhere in it; this says what gave it away.",
		Evidence: "journals, login records, stamps of timers and clocks, a used boot seed, dmesg.boot, OpenBSD's rc.firsttime and FreeBSD's /firstboot gone with state left",
		Fix:      report("build the image without booting it, or look at everything else that is found"),
	}
	journalFiles = &Rule{
		ID: "journal-files", Title: "a journal is stored",
		Systems: Linux, Severity: Warning,
		Reason:   "It tells of the build, with host names, addresses and what programs printed; its directory is the builder's machine ID.",
		Evidence: "/var/log/journal/*/*",
		Fix:      safe(Remove, "remove the files and their directory, keep /var/log/journal"), Reference: "systemd-journald.service(8)",
	}
	logContent = &Rule{
		ID: "log-content", Title: "a log is not empty",
		Systems: Any, Severity: Info, Profiles: map[Profile]Severity{Reproducible: Warning},
		Reason:   "Logs tell of the build: names, addresses, times. From 64 KiB on it is a warning.",
		Evidence: "files below /var/log, but the journal and login records",
		Fix:      safe(Truncate, "empty logs, remove those that were rotated"),
	}
	loginRecords = &Rule{
		ID: "login-records", Title: "logins are recorded",
		Systems: Any, Severity: Warning,
		Reason:   "Names and addresses of who built the image go with it.",
		Evidence: "utmp, wtmp, btmp, lastlog, faillog, utx.*, process accounting, if not empty",
		Fix:      safe(Truncate, "empty them"), Reference: "utmp(5)",
	}
	shellHistory = &Rule{
		ID: "shell-history", Title: "a history of commands is stored",
		Systems: Any, Severity: Warning,
		Reason:   "People type passwords, names and addresses.",
		Evidence: "histories of shells, Python, MySQL, PostgreSQL, SQLite, less, vi in all homes",
		Fix:      safe(Remove, "remove it"),
	}
	rootHomeLeftover = &Rule{
		ID: "root-home-leftover", Title: "the home of root has leftovers",
		Systems: Any, Severity: Info, Profiles: map[Profile]Severity{Public: Warning, Reproducible: Warning},
		Reason:   "They tell what was done while the image was built.",
		Evidence: ".wget-hsts, .cache, .ansible, .local, archives and images in /root",
		Fix:      report("remove what was not put there on purpose"),
	}
	editorResidue = &Rule{
		ID: "editor-residue", Title: "a copy of a file was left by an editor or package manager",
		Systems: Any, Severity: Info, Slow: true,
		Reason:   "It may hold what was taken out of the file since.",
		Evidence: "*~, *.swp, #*#, *.bak, *.orig, *.dpkg-*, *.ucf-*, *.rpmsave, *.rpmnew below /etc, /root, /home, /srv",
		Fix:      optIn(Remove, "remove it"),
	}
	coreDump = &Rule{
		ID: "core-dump", Title: "a dump of memory is stored",
		Systems: Any, Severity: Error, Slow: true,
		Reason:   "It holds whatever the program had in memory: keys, passwords.",
		Evidence: "core files (ELF), /var/lib/systemd/coredump, /var/crash, /var/spool/abrt, vmcore",
		Fix:      safe(Remove, "remove it"), Reference: "core(5)",
	}
	installerResidue = &Rule{
		ID: "installer-residue", Title: "answers or logs of an installer are stored",
		Systems: Any, Severity: Warning,
		Reason:   "They tell how the system was installed; with a password in them it is an error.",
		Evidence: "anaconda-ks.cfg, preseed, autoinstall-user-data, curtin, /var/log/installer, bootstrap.log, install.conf and autoinstall answers",
		Fix:      safe(Remove, "remove them"),
	}
	buildResidue = &Rule{
		ID: "build-residue", Title: "a tool of the build was left",
		Systems: Any, Severity: Warning,
		Reason:   "policy-rc.d keeps services from starting, drop-ins of sudo let builders in, the rest takes space.",
		Evidence: "policy-rc.d, qemu-*-static, .dockerenv, guest additions, files made to fill the disk, sudoers.d/packer",
		Fix:      safe(Remove, "remove it"),
	}
	tmpLeftover = &Rule{
		ID: "tmp-leftover", Title: "something was left in a temporary directory",
		Systems: Any, Severity: Warning,
		Reason:   "Nobody knows what it is, and nobody removes it.",
		Evidence: "entries of /tmp and /var/tmp",
		Fix:      safe(Remove, "remove it"),
	}
	tmpMode = &Rule{
		ID: "tmp-mode", Title: "a temporary directory has the wrong permissions",
		Systems: Any, Severity: Error,
		Reason:   "Without the sticky bit everybody can replace the files of others; with less, programs fail.",
		Evidence: "permissions of /tmp and /var/tmp other than 1777",
		Fix:      safe(Chmod, "chmod 1777"),
	}
	mailSpool = &Rule{
		ID: "mail-spool", Title: "mail is stored",
		Systems: Any, Severity: Warning,
		Reason:   "Mail to root tells of the build, and what is queued is sent by every machine.",
		Evidence: "/var/mail, /var/spool/mail, queues of sendmail, exim, postfix, smtpd",
		Fix:      safe(Remove, "remove it"),
	}
	cronSpool = &Rule{
		ID: "cron-spool", Title: "jobs of a user are scheduled",
		Systems: Any, Severity: Warning, Profiles: map[Profile]Severity{Appliance: Info},
		Reason:   "They run on every machine, at the same minute.",
		Evidence: "crontabs of users, jobs of at",
		Fix:      optIn(Remove, "remove them, unless they are intended"), Reference: "crontab(5)",
	}
	packageCache = &Rule{
		ID: "package-cache", Title: "packages or lists of them are kept",
		Systems: Any, Severity: Info, Profiles: map[Profile]Severity{Reproducible: Warning},
		Reason:   "They take space, grow old, and differ between builds.",
		Evidence: "caches of apt, dnf, yum, zypper, apk, pkg, pacman, freebsd-update, portsnap",
		Fix:      safe(Remove, "remove them"),
	}
)

func lookBooted(s *scan) {
	for _, p := range []struct{ pattern, what string }{
		{"/var/log/journal/*/system.journal", "a journal was written"},
		{"/var/log/{wtmp,utx.log}", "logins or boots were recorded"},
		{"/var/lib/systemd/{timesync/clock,timers/stamp-*}", "a clock or timer has left a stamp"},
		{"/var/run/dmesg.boot", "messages of a boot were saved"},
		{"/var/log/{dmesg,dmesg.today,boot.log}", "messages of a boot were saved"},
		{"/var/db/kvm_bsd.db", "OpenBSD's rc has run"},
	} {
		for _, f := range s.links(p.pattern) {
			if f.isRegular() && (f.attr.Size > 0 || strings.Contains(f.path, "stamp-") || f.name() == "clock") {
				s.found(bootedEvidence, f, p.what, shown("modified %s", f.attr.Mtime.UTC().Format("2006-01-02 15:04:05")))
			}
		}
	}
	if f := s.link("/etc/random.seed"); f.filled() && s.systems == OpenBSD && f.attr.Mode&vfs.Sticky != 0 {
		s.found(bootedEvidence, f, "a boot loader has used the seed")
	}
	if f := s.link("/etc/hostid"); f.filled() && s.systems == FreeBSD && !s.exists("/firstboot") {
		s.found(bootedEvidence, f, "a host ID was made, and /firstboot is gone")
	}
}

var rotated = lazyregexp.New(`\.([0-9]+|old|gz|xz|zst|bz2|[0-9]{8})$|-[0-9]{8}(\.[a-z]+)?$`)

func lookLogs(s *scan) {
	patterns := []string{"/var/log/*", "/var/log/*/*", "/var/log/*/*/*"}
	for _, f := range s.links(patterns...) {
		if !f.filled() || strings.HasPrefix(f.path, "/var/log/journal/") || strings.HasPrefix(f.path, "/var/log/installer/") ||
			slices.Contains([]string{"wtmp", "btmp", "lastlog", "faillog", "utx.log", "utx.lastlogin", "tallylog", "wtmp.db", "lastlog2.db"}, f.name()) {
			continue
		}
		what := "not empty"
		if rotated.MatchString(f.name()) {
			what = "rotated, and kept"
		}
		severity := Info
		if f.attr.Size > 64<<10 {
			severity = Warning
		}
		s.found(logContent, f, what, shown("%s", bytesOf(f.attr.Size)), s.as(severity))
	}
}

func lookHistories(s *scan) {
	for _, f := range s.files(below(s.homes(), "/.{bash,zsh,ash,sh,ksh,python,mysql,psql,sqlite,node_repl,irb,rediscli,mongo}_history",
		"/.{history,sh_history,lesshst,viminfo,zhistory}", "/.local/share/fish/fish_history", "/.local/state/{lesshst,nvim/shada/*.shada}")...) {
		if f.filled() {
			s.found(shellHistory, f, "a history", shown("%s", bytesOf(f.attr.Size)))
		}
	}
	for _, f := range s.links("/root/.{wget-hsts,cache,ansible,local,npm,cargo,gnupg,subversion}", "/root/*.{iso,tar,tar.gz,tgz,zip,deb,rpm,sh,qcow2,img}") {
		s.found(rootHomeLeftover, f, "a leftover", shown("%s", typeName(f)))
	}
}

var (
	residueName  = lazyregexp.New(`~$|\.sw[op]$|^#.*#$|^\.#|\.(bak|orig)$|\.(dpkg|ucf)-(old|new|dist|tmp|bak)$|\.rpm(save|new|orig)$`)
	residuePlace = lazyregexp.New(`^/(etc|root|home|srv|usr/home)/`)
	coreName     = lazyregexp.New(`^core(\.[0-9]+)?$|\.core$|^vmcore(\.[0-9]+)?(\.zst|\.gz)?$|^core\..*\.(zst|lz4|xz)$`)
	corePlace    = lazyregexp.New(`^/var/(lib/systemd/coredump|crash|spool/abrt|cache/abrt)/`)
)

func visitResidue(s *scan, f *file) {
	if !f.filled() {
		return
	}
	name := f.name()
	if residuePlace.MatchString(f.path) && residueName.MatchString(name) {
		s.found(editorResidue, f, "a copy", shown("%s", bytesOf(f.attr.Size)))
	}
	inPlace := corePlace.MatchString(f.path) && !slices.Contains([]string{"minfree", "bounds", "README"}, name)
	if !inPlace && !coreName.MatchString(name) {
		return
	}
	// /usr/share/.../core is a word like any other: dumps are ELF core files.
	if !inPlace {
		b, ok := s.head(f, 20)
		if !ok || len(b) < 18 || string(b[:4]) != "\x7fELF" || b[16] != 4 && b[17] != 4 {
			return
		}
	}
	s.found(coreDump, f, "a dump of memory", shown("%s", bytesOf(f.attr.Size)))
}

var installerSecret = lazyregexp.New(`(?im)^\s*(rootpw|user .*--password|bootloader .*--password|.*passwd/(root|user)-password(-crypted)?(-again)?\s+password\s|\s*password\s*:|password for |public ssh key|wifi .* password)`)

func lookInstaller(s *scan) {
	for _, f := range s.files("/root/{anaconda-ks.cfg,original-ks.cfg,initial-setup-ks.cfg,ks.cfg,preseed.cfg,autoinst.xml}", "/preseed.cfg", "/var/log/installer/*", "/var/log/anaconda/*", "/var/log/bootstrap.log",
		"/var/lib/cloud/seed/nocloud-net/autoinstall*", "/var/log/curtin/*", "/root/curtin-install*", "/autoinstall.yaml", "/autoinst.conf", "/var/lib/autoinstall/*", "/var/log/{YaST2,autoyast2}/*", "/auto_{install,upgrade}.conf", "/etc/installerconfig") {
		if !f.filled() {
			continue
		}
		if installerSecret.MatchString(s.text(f)) {
			s.found(installerResidue, f, "answers with a password", guessable("password", s.text(f)), s.as(Error))
		} else {
			s.found(installerResidue, f, "of an installer", shown("%s", bytesOf(f.attr.Size)))
		}
	}
}

func lookTmpMode(s *scan) {
	for _, name := range []string{"/tmp", "/var/tmp"} {
		if f := s.link(name); f != nil && f.isDir() && f.attr.Mode.Perm() != 0o1777 && path.Clean(f.at) != "/" {
			s.found(tmpMode, f, "not 1777", shown("%04o", f.attr.Mode.Perm()), chmodTo(0o1777))
		}
	}
}
