package audit

import (
	"slices"
	"strings"
	"sync"
)

// System is a set of operating systems.
type System uint8

// The systems that rules know.
const (
	Linux System = 1 << iota
	OpenBSD
	FreeBSD
	NetBSD

	BSD = OpenBSD | FreeBSD | NetBSD
	Any = Linux | BSD
)

var systemNames = []string{"Linux", "OpenBSD", "FreeBSD", "NetBSD"}

func (s System) String() string {
	if s == Any {
		return "any"
	}
	var names []string
	for i, name := range systemNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// MarshalText implements [encoding.TextMarshaler].
func (s System) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Verb is what a fix does to a file.
type Verb string

// The verbs.
const (
	Remove     Verb = "remove"
	Truncate   Verb = "truncate" // to no bytes
	Write      Verb = "write"    // the whole file
	Edit       Verb = "edit"     // a part of it
	Chmod      Verb = "chmod"
	Regenerate Verb = "regenerate" // fresh random bytes of the same length
	Zero       Verb = "zero"       // free space
)

// Safety says when a fix may be made.
type Safety string

// The safeties.
const (
	Safe        Safety = "always"
	Conditional Safety = "condition" // where Fix.Condition holds
	OptIn       Safety = "opt-in"    // only if that very rule was named
	Never       Safety = "never"     // reported only
)

// A Fix is how what a rule finds could be mended. Nothing in this package does
// it.
type Fix struct {
	Verb      Verb   `json:"verb,omitempty"`
	Detail    string `json:"detail,omitempty"` // for people, an imperative: "remove the key and its .pub"
	Safety    Safety `json:"safety"`
	Condition string `json:"condition,omitempty"` // of Conditional: what must hold
}

// report is the fix of what only a person can decide.
func report(detail string) Fix { return Fix{Detail: detail, Safety: Never} }

// safe is a fix that can always be made.
func safe(verb Verb, detail string) Fix { return Fix{Verb: verb, Detail: detail, Safety: Safe} }

// provided is a fix that can be made if a condition holds.
func provided(condition string, verb Verb, detail string) Fix {
	return Fix{verb, detail, Conditional, condition}
}

// optIn is a fix that must be asked for.
func optIn(verb Verb, detail string) Fix { return Fix{Verb: verb, Detail: detail, Safety: OptIn} }

// A Rule says what must not be in an image.
type Rule struct {
	ID        string               `json:"id"` // stable, for waivers and scripts
	Family    string               `json:"family"`
	Title     string               `json:"title"`   // what a finding is: "a machine ID is set"
	Systems   System               `json:"systems"` // where it applies
	Severity  Severity             `json:"severity"`
	Profiles  map[Profile]Severity `json:"profiles,omitempty"` // where they differ
	Slow      bool                 `json:"slow,omitempty"`     // reads much: not in quick
	Reason    string               `json:"reason"`             // why it matters
	Evidence  string               `json:"evidence"`           // what is looked at
	Fix       Fix                  `json:"fix"`
	Reference string               `json:"reference,omitempty"`
}

// In returns how bad a finding is under a profile; [Off] if the rule does not
// run.
func (r *Rule) In(p Profile) Severity {
	if s, ok := r.Profiles[p]; ok {
		return s
	}
	if r.Slow && p == Quick {
		return Off
	}
	return r.Severity
}

// A family is the rules about one kind of thing.
type family struct {
	name, title string
	checks      []check
}

// scope says in which views a check runs.
type scope int

const (
	everywhere scope = iota // in every view
	volumes                 // in each volume by itself
	systems                 // in each system, as it will be at run time
	disk                    // once
)

// A check looks for what some rules forbid.
type check struct {
	rules []*Rule
	scope scope
	look  func(*scan)
	// visit is called for every file of a volume instead, by one walk that all
	// checks share.
	visit func(*scan, *file)
}

// families are all rules, in the order of reports.
var families = []*family{
	&identityFamily,
	&bootFamily,
	&seedsFamily,
	&sshFamily,
	&keysFamily,
	&accountsFamily,
	&networkFamily,
	&cloudFamily,
	&residueFamily,
	&modesFamily,
	&bsdFamily,
	&volumesFamily,
	&copiesFamily,
	&freeFamily,
}

// Rules returns the catalogue, in the order of reports.
func Rules() []*Rule { return slices.Clone(catalogue()) }

// catalogue gives each rule its family, once: audits run side by side.
var catalogue = sync.OnceValue(func() []*Rule {
	var all []*Rule
	for _, f := range families {
		for _, c := range f.checks {
			for _, r := range c.rules {
				if r.Family = f.name; !slices.Contains(all, r) {
					all = append(all, r)
				}
			}
		}
	}
	return append(all, sharedSecret, auditIncomplete)
})

// FamilyTitle says what the rules of a family are about.
func FamilyTitle(name string) string {
	for _, f := range families {
		if f.name == name {
			return f.title
		}
	}
	return "The audit itself"
}

// auditIncomplete stands for everything that could not be read.
var auditIncomplete = &Rule{
	ID: "audit-incomplete", Family: "audit", Title: "something could not be read",
	Systems: Any, Severity: Warning,
	Reason:   "What was not seen may hold anything. The rules that wanted it are unknown, not passed.",
	Evidence: "volumes that cannot be opened, files and directories that cannot be read",
	Fix:      report("mend or decrypt the volume and audit again, or waive this finding for it"),
}
