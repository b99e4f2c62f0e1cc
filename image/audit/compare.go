package audit

import "slices"

// A Shared secret is in two images: machines made from one and from the other
// have it in common.
type Shared struct {
	Rule     string   `json:"rule"`
	Title    string   `json:"title"`
	Evidence string   `json:"evidence"`
	First    []string `json:"first"`  // where it is in one image: "f:/etc/soii.key"
	Second   []string `json:"second"` // and in the other
}

// meant are rules about what two images may have in common on purpose: the key
// of whoever runs both.
var meant = []*Rule{authorizedKeys, sshKnownBadKey}

// Compare finds the secrets and identities that two audited images share.
// Images of one product should have none in common: what is in both was made
// once and copied. Secrets that could be guessed have no fingerprint, and are
// not compared.
func Compare(a, b *Report) []*Shared {
	all := []*Shared{}
	for _, f := range a.Findings {
		if f.value == "" || f.rule.Severity < Error || slices.Contains(meant, f.rule) {
			continue
		}
		if i := slices.IndexFunc(all, func(s *Shared) bool { return s.Rule == f.Rule && s.Evidence == f.Evidence }); i >= 0 {
			all[i].First = append(all[i].First, f.Where())
			continue
		}
		s := &Shared{Rule: f.Rule, Title: f.rule.Title, Evidence: f.Evidence, First: []string{f.Where()}}
		for _, g := range b.Findings {
			if g.rule == f.rule && g.value == f.value {
				s.Second = append(s.Second, g.Where())
			}
		}
		if s.Second != nil {
			all = append(all, s)
		}
	}
	return all
}
