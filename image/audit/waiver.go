package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"
)

// A Waiver accepts findings, and says why. Of several conditions all must hold.
type Waiver struct {
	Rule        string    // exactly; required
	Path        string    // glob as of [path.Match]; empty: any
	Volume      string    // id or role; empty: any
	Fingerprint string    // of the finding, or of the secret in its evidence; empty: any
	Reason      string    // required
	Expires     time.Time // from this day on it does not hold; zero: never

	Line int // in the file, for messages
}

// ReadWaivers reads a file of waivers:
//
//	[[waiver]]
//	rule = "authorized-keys"
//	path = "/root/.ssh/*"
//	volume = "root"
//	fingerprint = "4f0a…"
//	reason = "the operators' key"
//	expires = "2027-01-31"
func ReadWaivers(r io.Reader) ([]*Waiver, error) {
	text, err := readConf(r)
	if err != nil {
		return nil, err
	}
	sections, err := parseConf(text)
	if err != nil {
		return nil, err
	}
	var all []*Waiver
	for i := range sections {
		s := &sections[i]
		if s.name == "" {
			if err := s.rest(); err != nil {
				return nil, err
			}
			continue
		}
		if s.name != "waiver" || !s.list {
			return nil, fmt.Errorf("line %d: only [[waiver]] is known here", s.line)
		}
		w, err := s.waiver()
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

func (s *section) waiver() (*Waiver, error) {
	w := &Waiver{Line: s.line}
	expires := ""
	for name, into := range map[string]*string{
		"rule": &w.Rule, "path": &w.Path, "volume": &w.Volume, "fingerprint": &w.Fingerprint, "reason": &w.Reason, "expires": &expires,
	} {
		var err error
		if *into, err = s.take(name); err != nil {
			return nil, err
		}
	}
	if err := s.rest(); err != nil {
		return nil, err
	}
	switch {
	case w.Rule == "":
		return nil, fmt.Errorf("line %d: a waiver needs a rule", s.line)
	case w.Reason == "":
		return nil, fmt.Errorf("line %d: a waiver needs a reason", s.line)
	case !slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.ID == w.Rule }):
		return nil, fmt.Errorf("line %d: no rule is called %q", s.line, w.Rule)
	}
	if _, err := path.Match(w.Path, ""); err != nil {
		return nil, fmt.Errorf("line %d: path %q: %w", s.line, w.Path, err)
	}
	if expires != "" {
		var err error
		if w.Expires, err = time.Parse(time.DateOnly, expires); err != nil {
			return nil, fmt.Errorf("line %d: expires %q: want a date such as 2027-01-31", s.line, expires)
		}
	}
	return w, nil
}

// maxConf bounds the files that people write.
const maxConf = 4 << 20

func readConf(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxConf+1))
	if err == nil && len(text) > maxConf {
		err = errors.New("too long to be written by a person")
	}
	return string(text), err
}

// covers reports whether a waiver speaks of a finding.
func (w *Waiver) covers(f *Finding) bool {
	if w.Rule != f.Rule || w.Volume != "" && w.Volume != f.Volume && w.Volume != f.Role {
		return false
	}
	if w.Fingerprint != "" && w.Fingerprint != f.Fingerprint && (f.value == "" || w.Fingerprint != f.value) {
		return false
	}
	ok, _ := path.Match(w.Path, f.Path)
	return w.Path == "" || ok
}

// A Baseline is what was known before: the fingerprints of findings.
type Baseline map[string]bool

// ReadBaseline reads the findings of an earlier JSON report: one report, or a
// list of them.
func ReadBaseline(r io.Reader) (Baseline, error) {
	data, err := io.ReadAll(io.LimitReader(r, 256<<20))
	if err != nil {
		return nil, err
	}
	var many []*Report
	if err := json.Unmarshal(data, &many); err != nil {
		var one Report
		if json.Unmarshal(data, &one) != nil {
			return nil, fmt.Errorf("not a JSON report: %w", err)
		}
		many = []*Report{&one}
	}
	b := Baseline{}
	for _, report := range many {
		if report == nil || report.Schema != Schema {
			return nil, fmt.Errorf("not a report of the form %s", Schema)
		}
		for _, f := range report.Findings {
			b[f.Fingerprint] = true
		}
	}
	return b, nil
}

// accept marks what waivers and the baseline accept, and says what is wrong
// with the waivers.
func (a *auditor) accept(findings []*Finding) []string {
	now := a.opt.Now
	if now.IsZero() {
		now = time.Now()
	}
	used, expired := map[*Waiver]bool{}, map[*Waiver]bool{}
	for _, f := range findings {
		f.Baseline = a.opt.Baseline[f.Fingerprint]
		for _, w := range a.opt.Waivers {
			switch {
			case !w.covers(f):
			case !w.Expires.IsZero() && !now.Before(w.Expires):
				expired[w] = true
			default:
				used[w] = true
				if f.WaivedBy == "" {
					f.WaivedBy = w.Reason
				}
			}
		}
	}
	var notes []string
	for _, w := range a.opt.Waivers {
		switch {
		case expired[w]:
			notes = append(notes, fmt.Sprintf("the waiver of %s in line %d has expired on %s", w.Rule, w.Line, w.Expires.Format(time.DateOnly)))
		case !used[w]:
			notes = append(notes, fmt.Sprintf("the waiver of %s in line %d is not needed", w.Rule, w.Line))
		}
	}
	return notes
}
