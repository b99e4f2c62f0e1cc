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

	findings []*Finding // in the one
}

// meant are rules about what two images may have in common on purpose: the key
// of whoever runs both.
var meant = []*Rule{authorizedKeys, sshKnownBadKey}

// Compare finds the secrets and identities that two audited images share.
// Images of one product should have none in common: what is in both was made
// once and copied. Secrets that could be guessed are compared as well, though
// nothing is printed of them but their kind.
func Compare(a, b *Report) []*Shared {
	all := []*Shared{}
	known := map[string]int{} // by rule and secret
	for _, f := range a.Findings {
		if f.secret == "" || slices.Contains(meant, f.rule) {
			continue
		}
		key := f.Rule + "\x00" + f.secret
		if i, ok := known[key]; ok {
			all[i].First = append(all[i].First, f.Where())
			all[i].findings = append(all[i].findings, f)
			continue
		}
		s := &Shared{Rule: f.Rule, Title: f.rule.Title, Evidence: f.Evidence, First: []string{f.Where()}, findings: []*Finding{f}}
		for _, g := range b.Findings {
			if g.rule == f.rule && g.secret == f.secret {
				s.Second = append(s.Second, g.Where())
			}
		}
		if s.Second != nil {
			known[key] = len(all)
			all = append(all, s)
		}
	}
	return all
}
