package audit

import (
	"fmt"
	"io"
	"path"
	"slices"
)

// A Policy is what a project has decided once for its images.
type Policy struct {
	Profile  Profile             // empty: not decided
	Severity map[string]Severity // of rules, instead of the profile's
	Allow    map[string][]string // by rule: globs of paths that are as they should be
	Users    []string            // accounts that may be there
	Values   []string            // fingerprints of keys that may be there
}

// ReadPolicy reads a policy:
//
//	profile = "appliance"
//
//	[severity]
//	package-cache = "off"
//
//	[allow]
//	users = ["operator"]
//	fingerprints = ["SHA256:…"]
//	setuid-inventory = ["/usr/local/bin/*"]
func ReadPolicy(r io.Reader) (*Policy, error) {
	text, err := readConf(r)
	if err != nil {
		return nil, err
	}
	sections, err := parseConf(text)
	if err != nil {
		return nil, err
	}
	p := &Policy{Severity: map[string]Severity{}, Allow: map[string][]string{}}
	for i := range sections {
		s := &sections[i]
		switch {
		case s.name == "":
			name, err := s.take("profile")
			if err == nil && name != "" {
				err = p.Profile.UnmarshalText([]byte(name))
			}
			if err == nil {
				err = s.rest()
			}
			if err != nil {
				return nil, err
			}
		case s.name == "severity" && !s.list:
			for rule, v := range s.values {
				var severity Severity
				if err := severity.UnmarshalText([]byte(v.words[0])); err != nil || v.list {
					return nil, fmt.Errorf("line %d: %s: want \"error\", \"warning\", \"info\" or \"off\"", v.line, rule)
				}
				p.Severity[rule] = severity
			}
		case s.name == "allow" && !s.list:
			for name, v := range s.values {
				switch name {
				case "users":
					p.Users = v.words
				case "fingerprints":
					p.Values = v.words
				default:
					p.Allow[name] = v.words
				}
			}
		default:
			return nil, fmt.Errorf("line %d: only [severity] and [allow] are known here", s.line)
		}
	}
	for _, name := range p.ruleNames() {
		if !slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.ID == name }) {
			return nil, fmt.Errorf("no rule is called %q", name)
		}
	}
	for rule, globs := range p.Allow {
		for _, glob := range globs {
			if _, err := path.Match(glob, ""); err != nil {
				return nil, fmt.Errorf("%s: path %q: %w", rule, glob, err)
			}
		}
	}
	return p, nil
}

// ruleNames are the rules that the policy speaks of.
func (p *Policy) ruleNames() []string {
	var names []string
	for name := range p.Severity {
		names = append(names, name)
	}
	for name := range p.Allow {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// severity is what the policy says about a rule, or nil.
func (p *Policy) severity(r *Rule) *Severity {
	if s, ok := p.Severity[r.ID]; ok {
		return &s
	}
	return nil
}

// allows reports whether a finding is as the policy wants it.
func (p *Policy) allows(f *Finding) bool {
	if f.value != "" && slices.Contains(p.Values, f.value) {
		return true
	}
	return slices.ContainsFunc(p.Allow[f.Rule], func(glob string) bool {
		ok, _ := path.Match(glob, f.Path)
		return ok
	})
}
