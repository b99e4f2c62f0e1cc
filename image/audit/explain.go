package audit

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// explain says why two builds of one product may differ at a path: because of
// what a rule has found there, or because no two builds have the same. What
// neither covers is left over for a person.
func (p *pair) explain(d *Difference) {
	if f := p.finding(d); f != nil {
		d.Cause, d.Rule, d.Reason = ByRule, f.Rule, f.Message
		return
	}
	if c := p.companion(); c != nil {
		d.Cause, d.Rule, d.Reason = ByRule, c.rule.ID, c.reason
		return
	}
	if n := p.noise(d); n != nil {
		d.Cause, d.Reason = ByNoise, n.reason
	}
}

// extent is how much of a file a finding speaks of.
type extent int

const (
	nothing   extent = iota
	someLines        // the lines that were found
	itsMode
	everything
)

// wholly are rules that report what only a person can take out, and speak of
// the file as a whole all the same.
var wholly = []*Rule{privateKeyFile, dbIdentity, rootHomeLeftover, credstoreEncrypted, telemetryID, bootEntryMachineID}

// extent follows from the fix: what it would change is what differs.
func (f *Finding) extent() extent {
	switch {
	case slices.Contains(wholly, f.rule):
		return everything
	case f.Line > 0:
		return someLines
	}
	switch f.Fix.Verb {
	case Remove, Truncate, Regenerate, Write:
		return everything
	case Chmod:
		return itsMode
	}
	return nothing
}

// finding is one that explains a difference: about the file, or about a
// directory that it is in.
func (p *pair) finding(d *Difference) *Finding {
	for _, s := range p.sides {
		for at := p.path; ; at = path.Dir(at) {
			for _, f := range s.findings[at] {
				if f.extent() == everything {
					return f
				}
			}
			if at == "/" {
				break
			}
		}
	}
	both := slices.Concat(p.sides[0].findings[p.path], p.sides[1].findings[p.path])
	for _, f := range both {
		switch f.extent() {
		case itsMode:
			if slices.Equal(d.Changed, []string{"mode"}) {
				return f
			}
		case someLines:
			if slices.Equal(d.Changed, []string{"content"}) && p.sameButFor() {
				return f
			}
		}
	}
	return nil
}

// sameButFor reports whether two texts are the same without the lines in which
// something was found.
func (p *pair) sameButFor() bool {
	var rest [2][]byte
	for i, s := range p.sides {
		text := p.content(i)
		if text == nil {
			return false
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			if !slices.ContainsFunc(s.findings[p.path], func(f *Finding) bool { return f.Line == n && f.extent() == someLines }) {
				rest[i] = append(rest[i], line...)
			}
		}
	}
	return bytes.Equal(rest[0], rest[1])
}

// A companion is a file that is made along with one that a rule finds.
type companion struct {
	rule   *Rule
	path   *lazyregexp.Regexp
	of     string // the file that is found, as of [regexp.Regexp.Expand]
	reason string
}

var companions = []companion{
	{sshHostKey, lazyregexp.New(`^(.*/ssh_host_[a-z0-9]+_key)(\.pub|-cert\.pub)$`), "$1", "the public part of a host key"},
	{ikeKey, lazyregexp.New(`^(.*/private)/local\.pub$`), "$1/local.key", "the public part of a key"},
	{ikeKey, lazyregexp.New(`^(.*)/local\.pub$`), "$1/private/local.key", "the public part of a key"},
	{snakeoilKey, lazyregexp.New(`^/etc/ssl/certs/ssl-cert-snakeoil\.pem$`), "/etc/ssl/private/ssl-cert-snakeoil.key", "the certificate of the self-signed key"},
	{telemetryID, lazyregexp.New(`^/etc/cron\.d/popularity-contest$`), "/etc/popularity-contest.conf", "the minute of the report is chosen along with the identifier"},
}

// companion is the rule whose finding a file goes with.
func (p *pair) companion() *companion {
	for i := range companions {
		c := &companions[i]
		m := c.path.FindStringSubmatchIndex(p.path)
		if m == nil {
			continue
		}
		of := c.path.ExpandString(nil, strings.ReplaceAll(c.of, "$1", "${1}"), p.path, m)
		for _, s := range p.sides {
			if slices.ContainsFunc(s.findings[string(of)], func(f *Finding) bool { return f.rule == c.rule }) {
				return c
			}
		}
	}
	return nil
}
