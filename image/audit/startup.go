package audit

import (
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// What a system runs when it boots is read from its files: units of systemd
// from the default target on, scripts of the other inits of Linux, rc of the
// BSDs. It is the evidence for what is said to be made anew.

// A starter is something that the boot runs.
type starter struct {
	name     string // of the unit or script
	file     *file  // that says so
	commands []string
	first    bool // only at the first boot
}

// startup returns what the boot of a view runs.
func (s *scan) startup() []starter {
	if s.view.starters == nil {
		all := append(s.startedUnits(), s.startedScripts()...)
		s.view.starters = &all
	}
	return *s.view.starters
}

// starts returns the file of what the boot runs that has a command which
// matches: itself, or in a script that it calls.
func (s *scan) starts(command *lazyregexp.Regexp) *file {
	by, _ := s.startsWhen(command)
	return by
}

// startsWhen is starts, and says whether that is at the first boot only.
func (s *scan) startsWhen(command *lazyregexp.Regexp) (by *file, first bool) {
	for _, st := range s.startup() {
		for _, c := range st.commands {
			if command.MatchString(c) {
				return st.file, st.first
			}
		}
	}
	for _, st := range s.startup() {
		for _, c := range st.commands {
			for word := range strings.FieldsSeq(c) {
				word = strings.Trim(strings.TrimLeft(word, "-@:+!|"), `"';`)
				if strings.HasPrefix(word, "/") && s.scriptHas(word, command) {
					return s.stat(word), st.first
				}
			}
		}
	}
	return nil, false
}

// runs reports whether the boot runs a unit or script of one of these names.
func (s *scan) runs(names ...string) bool {
	return slices.ContainsFunc(s.startup(), func(st starter) bool { return slices.Contains(names, st.name) })
}

// maxScript bounds what is read of a script.
const maxScript = 64 << 10

// scriptHas reports whether a file is a script with a line that matches.
func (s *scan) scriptHas(name string, command *lazyregexp.Regexp) bool {
	f := s.stat(name)
	if !f.filled() || f.attr.Size > maxScript {
		return false
	}
	text := s.text(f)
	return strings.HasPrefix(text, "#!") && hasLine(text, command)
}

// hasLine reports whether a line that is no comment matches.
func hasLine(text string, re *lazyregexp.Regexp) bool {
	for _, l := range lines(text, "#") {
		if re.MatchString(l) {
			return true
		}
	}
	return false
}

// startedScripts are those that inits other than systemd run, or that systemd
// runs for their sake.
func (s *scan) startedScripts() []starter {
	var all []starter
	add := func(name string, f *file) {
		var commands []string
		for _, l := range lines(s.text(f), "#") {
			commands = append(commands, l)
		}
		all = append(all, starter{name: name, file: f, commands: commands})
	}
	if s.systems&BSD != 0 {
		for _, f := range s.files("/etc/rc", "/etc/rc.local", "/etc/rc.firsttime", "/etc/rc.securelevel") {
			add(f.name(), f)
		}
	}
	if s.systems&Linux == 0 {
		return all
	}
	if f := s.stat("/etc/rc.local"); f.filled() && f.attr.Mode&0o111 != 0 {
		add("rc.local", f)
	}
	for _, l := range s.links("/etc/rc{S,2,3,4,5}.d/S*", "/etc/runlevels/*/*", "/etc/rc.d/S*") {
		name := strings.TrimLeft(strings.TrimPrefix(l.name(), "S"), "0123456789")
		f := s.stat(l.path)
		// A unit of the same name takes the place of the script.
		if f.filled() && f.attr.Size <= maxScript && s.unitFile(name+".service") == nil &&
			!slices.ContainsFunc(all, func(st starter) bool { return st.name == name }) {
			add(name, f)
		}
	}
	return all
}

// unitDirs are where units are, those that win first.
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// bootTargets are what systemd starts from.
var bootTargets = []string{"default.target", "multi-user.target", "basic.target", "sysinit.target", "sockets.target"}

// maxUnits bounds the walk through units: real systems have some hundreds.
const maxUnits = 4096

// A unit is what is wanted of one.
type unit struct {
	file     *file
	pulls    []string            // units that it starts
	commands map[string][]string // by setting
	fails    bool                // a condition says that it does not run
	first    bool                // ConditionFirstBoot
}

// startedUnits walks from the targets of the boot through everything that they
// want or require.
func (s *scan) startedUnits() []starter {
	var all []starter
	queue := slices.Clone(bootTargets)
	seen := map[string]bool{}
	for len(queue) > 0 && len(seen) < maxUnits && s.ctx.Err() == nil {
		name := queue[0]
		queue = queue[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		for _, dir := range unitDirs {
			for _, kind := range []string{".wants", ".requires", ".upholds"} {
				for _, l := range s.links(dir + "/" + glob(name) + kind + "/*") {
					queue = append(queue, l.name())
				}
			}
		}
		u := s.unit(name)
		if u == nil {
			continue
		}
		queue = append(queue, u.pulls...)
		if base, ok := strings.CutSuffix(name, ".socket"); ok {
			queue = append(queue, base+".service", base+"@.service")
		}
		if u.fails {
			continue
		}
		st := starter{name: name, file: u.file, first: u.first}
		for _, setting := range []string{"ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost"} {
			st.commands = append(st.commands, u.commands[setting]...)
		}
		if len(st.commands) > 0 {
			all = append(all, st)
		}
	}
	return all
}

// glob makes a name a pattern that matches only it.
func glob(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `?`, `}`, `?`).Replace(name)
}

// unitFile finds the file of a unit: its own, or that of its template. One
// that is masked (a link to nothing, or empty) is none.
func (s *scan) unitFile(name string) *file {
	names := []string{name}
	if at := strings.IndexByte(name, '@'); at >= 0 {
		names = append(names, name[:at+1]+path.Ext(name))
	}
	for _, name := range names {
		if name == "" || strings.Contains(name, "/") {
			continue
		}
		for _, dir := range unitDirs {
			if s.link(dir+"/"+name) == nil {
				continue
			}
			if f := s.stat(dir + "/" + name); f.filled() {
				return f
			}
			return nil
		}
	}
	return nil
}

// unit reads a unit with its drop-ins; nil if there is none.
func (s *scan) unit(name string) *unit {
	f := s.unitFile(name)
	if f == nil {
		return nil
	}
	u := &unit{file: f, commands: map[string][]string{}}
	s.readUnit(u, s.text(f), name)
	names := []string{name}
	if at := strings.IndexByte(name, '@'); at >= 0 {
		names = append(names, name[:at+1]+path.Ext(name))
	}
	for _, n := range names {
		for _, dir := range unitDirs {
			for _, d := range s.files(dir + "/" + glob(n) + ".d/*.conf") {
				s.readUnit(u, s.text(d), name)
			}
		}
	}
	return u
}

// readUnit adds the settings of a file to a unit (systemd.syntax(7)).
func (s *scan) readUnit(u *unit, text, name string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for _, l := range lines(text, "#;") {
		setting, value, ok := strings.Cut(l, "=")
		if !ok {
			continue
		}
		setting, value = strings.TrimSpace(setting), strings.TrimSpace(value)
		switch setting {
		case "Wants", "Requires", "BindsTo", "Upholds", "Sockets", "Service", "Also":
			if setting != "Also" { // which is only for enabling
				u.pulls = append(u.pulls, strings.Fields(value)...)
			}
		case "ExecCondition", "ExecStart", "ExecStartPre", "ExecStartPost":
			if value == "" {
				u.commands[setting] = nil // starts the list anew
				continue
			}
			u.commands[setting] = append(u.commands[setting], value)
		case "ConditionFirstBoot":
			u.first = u.first || slices.Contains([]string{"yes", "true", "on", "1"}, value)
		case "ConditionPathExists", "ConditionFileIsExecutable":
			u.fails = u.fails || s.conditionFails(value)
		}
	}
}

// conditionFails says whether a path that a unit wants to be there, or not to
// be there, keeps it from running. What only the running system knows may hold,
// and keys are about to be gone.
func (s *scan) conditionFails(value string) bool {
	name, not := strings.CutPrefix(value, "!")
	if !strings.HasPrefix(name, "/") || strings.ContainsAny(name, "%|") || volatilePlace.MatchString(name) {
		return false
	}
	return s.exists(name) == not
}

var volatilePlace = lazyregexp.New(`^/(run|proc|sys|dev|tmp)/|^/(var|etc)/.*(key|pem|secret|machine-id)`)
