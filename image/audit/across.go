package audit

import (
	"fmt"
	"slices"
)

// sharedSecret is about images that are audited together.
var sharedSecret = &Rule{
	ID: "shared-secret", Family: "audit", Title: "another image has the same secret",
	Systems: Any, Severity: Error,
	Reason:   "It was made once and copied: the machines made from one image and from the other share it.",
	Evidence: "the secrets and identities that other rules find, compared between the images of one audit; keys that may log in are left out",
	Fix:      report("make it anew for each image, or on each machine, as the rule says that found it"),
}

// Across looks for secrets that several audited images have in common, and adds
// what it finds to their reports.
func Across(reports []*Report) {
	for i, r := range reports {
		a := r.auditor
		if !a.runs(sharedSecret) || len(reports) < 2 {
			continue
		}
		for _, v := range a.views {
			a.mark(sharedSecret, v.name, Pass)
		}
		var list []*Finding
		also := map[*Finding][]string{} // where else the secret is, one place for each image
		for j, other := range reports {
			if i == j {
				continue
			}
			for _, s := range Compare(r, other) {
				for _, f := range s.findings {
					if also[f] == nil {
						list = append(list, f)
					}
					also[f] = append(also[f], other.Image+":"+s.Second[0])
				}
			}
		}
		for _, f := range list {
			a.shared(f, also[f])
		}
		a.finish(r)
	}
}

// shared reports that a secret is in other images, too.
func (a *auditor) shared(f *Finding, where []string) {
	message := fmt.Sprintf("the same as %s (%s)", where[0], f.Rule)
	switch more := len(where) - 1; {
	case more == 1:
		message += ", and in another image"
	case more > 1:
		message += fmt.Sprintf(", and in %d other images", more)
	}
	x := &Finding{
		Rule: sharedSecret.ID, rule: sharedSecret, Severity: a.severity[sharedSecret], Fix: sharedSecret.Fix,
		Volume: f.Volume, Role: f.Role, Path: f.Path, PathBytes: f.PathBytes, Views: slices.Clone(f.Views), Inode: f.Inode,
		Offset: f.Offset, Line: f.Line, Evidence: f.Evidence, value: f.value, volume: f.volume,
		Message: clip(message),
	}
	if a.kept[sharedSecret]++; a.kept[sharedSecret] > maxPerRule {
		a.verdicts[sharedSecret].More++
		return
	}
	x.sign()
	for _, view := range x.Views {
		a.mark(sharedSecret, view, Fail)
	}
	a.list = append(a.list, x)
}
