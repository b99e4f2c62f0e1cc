package audit

import "fmt"

// Severity says how bad a finding is.
type Severity int

// The severities.
const (
	Off     Severity = iota // the rule does not run
	Info                    // inventory, or untidy
	Warning                 // tells of the builder, misbehaves on copies, or wants a decision
	Error                   // machines share a secret or an identity, or somebody gets in
)

var severityNames = []string{"off", "info", "warning", "error"}

func (s Severity) String() string { return severityNames[s] }

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Severity) UnmarshalText(text []byte) error {
	for i, name := range severityNames {
		if string(text) == name {
			*s = Severity(i)
			return nil
		}
	}
	return fmt.Errorf("severity %q: want error, warning, info or off", text)
}

// A Profile says what an image is for, and with that how bad a finding is.
type Profile string

// The profiles.
const (
	// Golden is an image that many machines are made from.
	Golden Profile = "golden"
	// Public is a golden image that strangers can download.
	Public Profile = "public"
	// Appliance is an image for one site: its names, accounts and keys of
	// administrators may be in it, but no machine's own identity.
	Appliance Profile = "appliance"
	// Reproducible is a golden image that is to come out the same from every
	// build.
	Reproducible Profile = "reproducible"
	// Quick is golden without the rules that read much.
	Quick Profile = "quick"
)

// Profiles are all of them, the default one first.
var Profiles = []Profile{Golden, Public, Appliance, Reproducible, Quick}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Profile) UnmarshalText(text []byte) error {
	for _, known := range Profiles {
		if string(text) == string(known) {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("profile %q: want one of %v", text, Profiles)
}
