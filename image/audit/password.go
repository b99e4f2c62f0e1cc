package audit

import (
	"slices"
	"time"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/passwd/crypt"
)

// defaultPasswords are what is tried first.
var defaultPasswords = []string{
	"root", "toor", "admin", "password", "changeme", "vagrant", "packer", "raspberry", "openbsd", "freebsd", "debian", "ubuntu", "1234", "123456", "default",
}

// maxPasswords bounds how many accounts are tried: each costs seconds.
const maxPasswords = 16

func lookPasswords(s *scan) {
	tried := 0
	for _, a := range s.accounts() {
		if !a.usable() || a.file == nil {
			continue
		}
		if tried++; tried > maxPasswords {
			s.found(passwordUnverified, a.file, a.name+" and others: too many accounts to try", line(a.line))
			return
		}
		list := append([]string{a.name, ""}, defaultPasswords...)
		hit, known := s.audit.crack(a.hash, list)
		switch {
		case !known:
			s.found(passwordUnverified, a.file, a.name+" has a password of which nothing is known", guessable(crypt.Kind(a.hash)), line(a.line))
		case hit == "":
		default:
			what := "a well-known default password"
			if hit == a.name {
				what = "its own name as password"
			}
			s.found(passwordDefault, a.file, a.name+" has "+what, guessable(crypt.Kind(a.hash)), line(a.line))
		}
	}
}

// answer is what came of trying passwords.
type answer struct {
	hit   string
	known bool
}

// crack returns the password of a list that has a hash. The same hash is not
// tried twice in an audit: slots share their accounts.
func (a *auditor) crack(hash string, list []string) (hit string, known bool) {
	key := hash
	for _, p := range list {
		key += "\x00" + p
	}
	if old, ok := a.cracked[key]; ok {
		return old.hit, old.known
	}
	var got answer
	for _, p := range list {
		if a.ctx.Err() != nil {
			break
		}
		match, known := crypt.Verify(hash, p)
		if got.known = known; !known {
			break
		}
		if match {
			got.hit = p
			break
		}
	}
	a.cracked[key] = got
	return got.hit, got.known
}

var (
	dateInBuild = lazyregexp.New(`(?m)^build date: *([0-9]{4})-([0-9]{2})-([0-9]{2})`)
	dateInName  = lazyregexp.New(`(?:^|[^0-9])(20[0-9]{2})-?([01][0-9])-?([0-3][0-9])(?:[^0-9]|$)`)
)

// buildDates are the days on which the image may have been built, those that
// are said outright first.
func (s *scan) buildDates(shadow *file) []time.Time {
	var days []time.Time
	add := func(t time.Time) {
		t = t.UTC().Truncate(24 * time.Hour)
		if !t.IsZero() && !slices.ContainsFunc(days, t.Equal) {
			days = append(days, t)
		}
	}
	parse := func(re *lazyregexp.Regexp, text string) {
		if m := re.FindStringSubmatch(text); m != nil {
			if t, err := time.Parse(time.DateOnly, m[1]+"-"+m[2]+"-"+m[3]); err == nil {
				add(t)
			}
		}
	}
	parse(dateInBuild, s.read("/resflash/BUILD"))
	parse(dateInName, s.audit.target.Name)
	if s.audit.opt.Profile == Quick {
		return days
	}
	add(shadow.attr.Mtime)
	for _, f := range s.links("/resflash", "/bsd") {
		add(f.attr.Mtime)
	}
	for _, day := range slices.Clone(days[:min(len(days), 1)]) {
		for n := 1; n <= 3; n++ {
			add(day.AddDate(0, 0, n))
			add(day.AddDate(0, 0, -n))
		}
	}
	return days
}

func lookResflashPassword(s *scan) {
	for _, a := range s.accounts() {
		if a.name != "root" || crypt.Kind(a.hash) != "bcrypt" {
			continue
		}
		var list []string
		for _, day := range s.buildDates(a.file) {
			list = append(list, "resflash"+day.Format("20060102"))
		}
		if hit, known := s.audit.crack(a.hash, list); known && hit != "" {
			s.found(resflashRootPassword, a.file, "the password is resflash and the date of the build", guessable("bcrypt"), line(a.line))
		}
	}
}
