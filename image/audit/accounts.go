package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/passwd/crypt"
)

var accountsFamily = family{
	name: "accounts", title: "Accounts and ways in",
	checks: []check{
		{rules: []*Rule{passwordEmpty, passwordSet, passwordWeakHash, passwdOdd, humanAccount}, look: lookAccounts},
		{rules: []*Rule{passwordDefault, passwordUnverified}, look: lookPasswords},
		{rules: []*Rule{resflashRootPassword}, look: lookResflashPassword},
		{rules: []*Rule{passwdBackup}, look: lookPasswdBackups},
		{rules: []*Rule{privilegeNoPassword}, look: lookPrivileges},
		{rules: []*Rule{autologin}, look: lookAutologin},
	},
}

var (
	passwordEmpty = &Rule{
		ID: "password-empty", Title: "an account needs no password",
		Systems: Any, Severity: Error,
		Reason:   "Anybody at the console gets in, and over the network where the services allow it.",
		Evidence: "an empty password field of root or of an account with a shell, in shadow, master.passwd or passwd",
		Fix:      optIn(Edit, "lock it: write ! (root: *) into the field"), Reference: "shadow(5), master.passwd(5)",
	}
	passwordSet = &Rule{
		ID: "password-set", Title: "an account has a password",
		Systems: Any, Severity: Warning, Profiles: map[Profile]Severity{Public: Error, Appliance: Info},
		Reason:   "It is the same on every machine, and whoever has the image can try to find it at leisure. For root it is an error.",
		Evidence: "a hash in shadow, master.passwd or passwd",
		Fix:      optIn(Edit, "lock it: write ! into the field"), Reference: "shadow(5), master.passwd(5)",
	}
	passwordDefault = &Rule{
		ID: "password-default", Title: "an account has a password that everybody tries first",
		Systems: Any, Severity: Error, Slow: true,
		Reason:   "Machines with such a password are taken over within minutes of being connected.",
		Evidence: "hashes (bcrypt, yescrypt, SHA-512, SHA-256 and MD5 crypt) verified against the account's name and a short list of defaults",
		Fix:      report("lock the account, or have it set at the first boot"),
	}
	passwordUnverified = &Rule{
		ID: "password-unverified", Title: "a password could not be compared with defaults",
		Systems: Any, Severity: Info, Slow: true,
		Reason:   "The kind of hash is not computed here, or costs too much: the password may be a default one all the same.",
		Evidence: "hashes of other kinds (scrypt, DES), or with a high cost",
		Fix:      report("see to it that no default password is set"),
	}
	passwordWeakHash = &Rule{
		ID: "password-weak-hash", Title: "a password is hashed in a way that gives it away",
		Systems: Any, Severity: Warning,
		Reason:   "All passwords that people can remember are found from it within hours.",
		Evidence: "DES, BSDi and MD5 crypt, NT hashes, bcrypt with a cost below 8",
		Fix:      report("set the password anew"), Reference: "crypt(5)",
	}
	passwdOdd = &Rule{
		ID: "passwd-odd", Title: "the password files are not as they should be",
		Systems: Any, Severity: Warning,
		Reason:   "A second superuser is a back door; names and numbers that are there twice, or in one file only, mean different things to different programs.",
		Evidence: "hashes in /etc/passwd, uid 0 and other numbers or names twice, shadow without an entry",
		Fix:      report("correct the line that is named"), Reference: "passwd(5)",
	}
	humanAccount = &Rule{
		ID: "human-account", Title: "there is an account of a person",
		Systems: Any, Severity: Warning, Profiles: map[Profile]Severity{Appliance: Off},
		Reason:   "It is the builder's, or a left over one of the build: on every machine somebody has a home.",
		Evidence: "accounts with a shell and a uid from UID_MIN of login.defs (1000) on, and names such as vagrant, packer, builder",
		Fix:      optIn(Edit, "remove the user"), Reference: "login.defs(5)",
	}
	resflashRootPassword = &Rule{
		ID: "resflash-root-password", Title: "root has the password that resflash sets",
		Systems: OpenBSD, Severity: Error,
		Reason:   "It is resflash and the date of the build, which is in the image: anybody can tell it.",
		Evidence: "root's bcrypt hash, verified for resflashYYYYMMDD of the dates in /resflash/BUILD, in the image's name and of the files, and some days around",
		Fix:      report("set another password with set_root_pass.sh, or build the image with one"), Reference: "resflash's mkfs.sh",
	}
	passwdBackup = &Rule{
		ID: "passwd-backup", Title: "an old copy of a password file is kept",
		Systems: Any, Severity: Warning,
		Reason:   "It may have hashes that were changed since, because they were known.",
		Evidence: "/etc/{passwd,shadow,group,gshadow,subuid,subgid}-, /var/backups/*.bak and master.passwd.*, /etc/security/opasswd",
		Fix:      safe(Remove, "remove it"),
	}
	privilegeNoPassword = &Rule{
		ID: "privilege-nopasswd", Title: "somebody becomes root without a password",
		Systems: Any, Severity: Warning,
		Reason:   "Whoever gets into that account has the machine.",
		Evidence: "NOPASSWD in sudoers and sudoers.d, nopass in doas.conf",
		Fix:      optIn(Remove, "remove the drop-in, or the word"), Reference: "sudoers(5), doas.conf(5)",
	}
	autologin = &Rule{
		ID: "autologin", Title: "somebody is logged in without being asked",
		Systems: Any, Severity: Warning,
		Reason:   "Whoever stands at the console is in.",
		Evidence: "--autologin and -a of getty in units and inittab, AutomaticLogin of gdm, autologin-user of lightdm",
		Fix:      report("take it out, unless the machine is meant to be like that"), Reference: "agetty(8)",
	}
)

// account is a line of the password files.
type account struct {
	name, hash, home, shell string
	uid                     int   // -1 if it is no number
	file                    *file // where the hash is
	line                    int
	entry                   *file // where the account itself is
	entryLine               int
	inPasswd                bool // the hash is in /etc/passwd itself
	shadowed                bool // an entry of its own was found in the shadow file
}

// accounts reads passwd with shadow (Linux) or master.passwd (BSD).
func (s *scan) accounts() []*account {
	var all []*account
	byName := map[string]*account{}
	add := func(f *file, n int, l string, hash, uid, home, shell int) {
		w := strings.Split(l, ":")
		if len(w) <= shell || w[0] == "" || strings.HasPrefix(w[0], "+") {
			return
		}
		a := &account{name: w[0], hash: w[hash], home: w[home], shell: w[shell], file: f, line: n, entry: f, entryLine: n, uid: -1}
		if id, err := strconv.Atoi(w[uid]); err == nil {
			a.uid = id
		}
		all = append(all, a)
		if byName[a.name] == nil {
			byName[a.name] = a
		}
	}
	if f := s.stat("/etc/master.passwd"); f != nil {
		for n, l := range lines(s.text(f), "#") {
			add(f, n, l, 1, 2, 8, 9)
		}
		for _, a := range all {
			a.shadowed = true
		}
		return all
	}
	if f := s.stat("/etc/passwd"); f != nil {
		for n, l := range lines(s.text(f), "#") {
			add(f, n, l, 1, 2, 5, 6)
		}
	}
	for _, a := range all {
		a.inPasswd = a.hash != "x" && a.hash != "*"
	}
	if f := s.stat("/etc/shadow"); f != nil {
		for n, l := range lines(s.text(f), "#") {
			w := strings.Split(l, ":")
			if len(w) < 2 {
				continue
			}
			a := byName[w[0]]
			if a == nil {
				// The file stands alone in /cfg and the like.
				a = &account{name: w[0], uid: -1, shell: "?", entry: f, entryLine: n}
				all = append(all, a)
			}
			if !a.inPasswd {
				a.hash, a.file, a.line = w[1], f, n
			}
			a.shadowed = true
		}
	}
	return all
}

// locked reports whether a password field admits nobody.
func locked(hash string) bool {
	switch hash {
	case "*", "x", "!", "!!", "!*", "*************", "!unprovisioned", "*LOCKED*", "*NP*", "*LK*":
		return true
	}
	return strings.HasPrefix(hash, "!") || strings.HasPrefix(hash, "*")
}

// usable reports whether somebody can log in with a password.
func (a *account) usable() bool { return a.hash != "" && !locked(a.hash) && crypt.Kind(a.hash) != "" }

func (a *account) hasShell() bool {
	base := a.shell[strings.LastIndexByte(a.shell, '/')+1:]
	return !slices.Contains([]string{"nologin", "false", "sync", "halt", "shutdown", "true"}, base)
}

func lookAccounts(s *scan) {
	all := s.accounts()
	minimum := 1000
	for _, l := range lines(s.read("/etc/login.defs"), "#") {
		if w := strings.Fields(l); len(w) == 2 && w[0] == "UID_MIN" {
			if n, err := strconv.Atoi(w[1]); err == nil && n > 0 {
				minimum = n
			}
		}
	}
	names, ids := map[string]bool{}, map[int]string{}
	shadow := s.exists("/etc/shadow")
	for _, a := range all {
		at := []detail{line(a.line)}
		allowed := slices.Contains(s.audit.policy.Users, a.name)
		kind := crypt.Kind(a.hash)
		switch {
		case a.hash == "" && (a.uid == 0 || a.name == "root" || a.hasShell()):
			s.found(passwordEmpty, a.file, a.name+" needs no password", at...)
		case a.usable() && !allowed:
			severity := Warning
			if a.uid == 0 || a.name == "root" {
				severity = Error
			}
			s.found(passwordSet, a.file, a.name+" has a password", append(at, guessable(kind, a.hash), s.as(severity))...)
		}
		if a.usable() && crypt.Weak(a.hash) {
			s.found(passwordWeakHash, a.file, a.name+" has a weak hash", append(at, guessable(kind))...)
		}
		if a.inPasswd && a.usable() {
			s.found(passwdOdd, a.file, "the hash of "+a.name+" is in a file that everybody reads", append(at, s.as(Error))...)
		}
		if names[a.name] {
			s.found(passwdOdd, a.entry, a.name+" is there twice", line(a.entryLine))
		}
		names[a.name] = true
		// On the BSDs toor is a second root by right.
		if other, twice := ids[a.uid]; twice && a.uid >= 0 && a.name != "toor" && a.name != other {
			severity := Warning
			if a.uid == 0 {
				severity = Error
			}
			s.found(passwdOdd, a.entry, fmt.Sprintf("%s has the uid %d of %s", a.name, a.uid, other), line(a.entryLine), s.as(severity))
		} else if !twice {
			ids[a.uid] = a.name
		}
		if shadow && !a.shadowed && a.hash == "x" {
			s.found(passwdOdd, a.entry, a.name+" has no entry in the shadow file", line(a.entryLine))
		}
		person := a.uid >= minimum && a.uid < 60000 && a.name != "nobody" || slices.Contains([]string{"vagrant", "packer", "builder", "runner"}, a.name)
		if person && a.hasShell() && a.uid != -1 && !allowed {
			s.found(humanAccount, a.entry, a.name+" is a person", line(a.entryLine), shown("uid %d", a.uid))
		}
	}
}

func lookPasswdBackups(s *scan) {
	for _, f := range s.files("/etc/{passwd,shadow,group,gshadow,subuid,subgid}-", "/var/backups/{passwd,shadow,group,gshadow}.bak",
		"/var/backups/master.passwd.*", "/var/backups/etc_master.passwd.*", "/etc/security/opasswd", "/etc/ptmp") {
		if f.filled() {
			s.found(passwdBackup, f, "an old copy", shown("%s", bytesOf(f.attr.Size)))
		}
	}
}

func lookPrivileges(s *scan) {
	for _, f := range s.files("/etc/sudoers", "/etc/sudoers.d/*", "/usr/local/etc/sudoers", "/usr/local/etc/sudoers.d/*") {
		for n, l := range lines(s.text(f), "#") {
			if strings.Contains(l, "NOPASSWD:") {
				s.found(privilegeNoPassword, f, strings.Fields(l)[0]+" may use sudo without a password", line(n))
			}
		}
	}
	for _, f := range s.files("/etc/doas.conf", "/usr/local/etc/doas.conf", "/etc/doas.d/*.conf") {
		for n, l := range lines(s.text(f), "#") {
			if w := strings.Fields(l); w[0] == "permit" && slices.Contains(w, "nopass") {
				s.found(privilegeNoPassword, f, "doas asks for no password", line(n))
			}
		}
	}
}

var autologins = lazyregexp.New(`(?i)^(ExecStart=.*getty.*(--autologin|\s-a\s)|[^:]*:[^:]*:[^:]*:.*getty.*(--autologin|\s-a\s)|AutomaticLogin(Enable)?\s*=\s*[^f]|autologin-user\s*=\s*\S)`)

func lookAutologin(s *scan) {
	for _, f := range s.files("/etc/systemd/system/{getty@,serial-getty@,console-getty}*.d/*.conf", "/etc/systemd/system/*getty*.service",
		"/etc/inittab", "/etc/{gdm,gdm3}/{custom,daemon}.conf", "/etc/lightdm/lightdm.conf", "/etc/lightdm/lightdm.conf.d/*.conf") {
		for n, l := range lines(s.text(f), "#;") {
			if autologins.MatchString(l) {
				s.found(autologin, f, "logs somebody in", line(n))
			}
		}
	}
}
