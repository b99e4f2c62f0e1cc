package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Options choose how an audit is done.
type Options struct {
	Profile  Profile   // the zero value is Golden
	Only     []string  // rules or families that alone run; empty: all
	Skip     []string  // rules or families that do not run
	Policy   *Policy   // nil: none
	Waivers  []*Waiver // what is accepted, and why
	Baseline Baseline  // what was known before
	Now      time.Time // for waivers that expire; zero: now
}

// maxPerRule bounds the findings that are kept of one rule: a hostile image may
// have any number.
const maxPerRule = 500

// Run audits a target. The error is one that ends everything: a context that
// was cancelled, or a rule that does not exist. What could not be read is part
// of the report.
func Run(ctx context.Context, t *Target, opt Options) (*Report, error) {
	a, err := newAuditor(ctx, t, opt)
	if err != nil {
		return nil, err
	}
	for _, v := range t.Volumes {
		if v.Err != nil {
			a.closed(v)
		}
	}
	for _, v := range a.views {
		if err := a.view(v); err != nil {
			return nil, err
		}
	}
	a.once()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return a.report(), nil
}

// An auditor collects what the checks find.
type auditor struct {
	ctx    context.Context
	target *Target
	opt    Options
	policy *Policy
	views  []*view

	rules    map[*Rule]int // those that run, and their order
	all      []*Rule
	checks   []*check
	severity map[*Rule]Severity
	verdicts map[*Rule]*Verdict
	findings map[string]*Finding // by what they say
	list     []*Finding
	kept     map[*Rule]int // findings of a rule in list
	gaps     []*Gap
	gapAt    map[string]*Gap
	gapViews map[*Gap][]string
	cracked  map[string]answer // what came of trying passwords
	exact    []needle          // of the secrets that were found in files
}

func newAuditor(ctx context.Context, t *Target, opt Options) (*auditor, error) {
	if opt.Policy == nil {
		opt.Policy = &Policy{}
	}
	if opt.Profile == "" {
		opt.Profile = Golden
		if opt.Policy.Profile != "" {
			opt.Profile = opt.Policy.Profile
		}
	}
	a := &auditor{
		ctx: ctx, target: t, opt: opt, policy: opt.Policy, views: t.views(), all: Rules(),
		rules: map[*Rule]int{}, severity: map[*Rule]Severity{}, verdicts: map[*Rule]*Verdict{},
		findings: map[string]*Finding{}, kept: map[*Rule]int{}, gapAt: map[string]*Gap{}, gapViews: map[*Gap][]string{}, cracked: map[string]answer{},
	}
	for _, name := range slices.Concat(opt.Only, opt.Skip, opt.Policy.ruleNames()) {
		if !Known(name) {
			return nil, fmt.Errorf("no rule or family is called %q", name)
		}
	}
	for i, r := range a.all {
		severity := r.In(opt.Profile)
		if own := a.policy.severity(r); own != nil {
			severity = *own
		}
		named := slices.Contains(opt.Only, r.ID)
		if named && severity == Off {
			severity = r.Severity // asked for by name
		}
		chosen := len(opt.Only) == 0 || named || slices.Contains(opt.Only, r.Family) || r == auditIncomplete
		if severity == Off || !chosen || slices.Contains(opt.Skip, r.ID) || slices.Contains(opt.Skip, r.Family) {
			continue
		}
		a.rules[r], a.severity[r] = i, severity
		a.verdicts[r] = &Verdict{Rule: r.ID, Status: NotApplicable, Views: map[string]Status{}}
	}
	for _, f := range families {
		for i := range f.checks {
			if slices.ContainsFunc(f.checks[i].rules, a.runs) {
				a.checks = append(a.checks, &f.checks[i])
			}
		}
	}
	return a, nil
}

// Known reports whether a rule or a family is called name.
func Known(name string) bool {
	return slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.ID == name || r.Family == name })
}

func (a *auditor) runs(r *Rule) bool { _, ok := a.rules[r]; return ok }

// view runs the checks in a view.
func (a *auditor) view(v *view) error {
	var visitors []*scan
	for _, c := range a.checks {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if c.scope == disk || c.scope == volumes && v.volume == nil || c.scope == systems && !v.final || !a.applies(c, v) {
			continue
		}
		s := &scan{view: v, ctx: a.ctx, audit: a, check: c}
		switch {
		case c.visit == nil:
			s.pass()
			c.look(s)
		case v.volume != nil:
			s.pass()
			visitors = append(visitors, s)
		}
	}
	if len(visitors) == 0 {
		return nil
	}
	return walk(a.ctx, v, visitors)
}

// applies reports whether a check has rules about a system in a view.
func (a *auditor) applies(c *check, v *view) bool {
	return slices.ContainsFunc(c.rules, func(r *Rule) bool { return a.runs(r) && r.Systems&v.systems != 0 })
}

// pass marks the rules of a check as passed in its view, until something is
// found.
func (s *scan) pass() {
	for _, r := range s.check.rules {
		if s.audit.runs(r) && r.Systems&s.systems != 0 {
			s.audit.mark(r, s.name, Pass)
		}
	}
}

// once runs the checks of the disk as a whole.
func (a *auditor) once() {
	everything := &view{name: "disk", systems: Any}
	for _, c := range a.checks {
		if c.scope == disk && a.applies(c, everything) {
			s := &scan{view: everything, ctx: a.ctx, audit: a, check: c}
			s.pass()
			c.look(s)
		}
	}
}

func (a *auditor) mark(r *Rule, view string, s Status) {
	v := a.verdicts[r]
	if old, ok := v.Views[view]; !ok || s.rank() > old.rank() {
		v.Views[view] = s
	}
}

// add takes a finding in. The same thing seen in several views is one finding.
func (a *auditor) add(s *scan, r *Rule, f *Finding, details []detail) {
	if !a.runs(r) || r.Systems&s.systems == 0 {
		return
	}
	f.Rule, f.rule, f.Severity, f.Fix, f.Reference = r.ID, r, a.severity[r], r.Fix, r.Reference
	for _, d := range details {
		d(f)
	}
	f.Message, f.Evidence = clip(f.Message), clip(f.Evidence)
	a.remember(f)
	if a.policy.allows(f) {
		return
	}
	if !utf8.ValidString(f.Path) {
		f.PathBytes = []byte(f.Path)
	}
	f.sign()
	a.mark(r, s.name, Fail)
	key := fmt.Sprintf("%s\x00%s\x00%s\x00%d", f.Fingerprint, f.Volume, f.Message, f.Line)
	if old := a.findings[key]; old != nil {
		old.Severity = max(old.Severity, f.Severity)
		old.hear(f, s.final)
		if f.Link == "" {
			old.Link = ""
		}
		if !slices.Contains(old.Views, s.name) {
			old.Views = append(old.Views, s.name)
		}
		return
	}
	if a.kept[r] == maxPerRule {
		a.verdicts[r].More++
		return
	}
	a.kept[r]++
	f.Views, f.final = []string{s.name}, s.final
	if s.check.visit != nil {
		for _, w := range a.shownIn(s, f) {
			f.Views = append(f.Views, w)
			a.mark(r, w, Fail)
		}
	}
	a.findings[key] = f
	a.list = append(a.list, f)
}

// hear takes over what another view says about the fix's condition. A system as
// it is at run time knows better than a volume by itself, and of two systems
// the one counts in which it does not hold.
func (f *Finding) hear(other *Finding, final bool) {
	no := other.Fixable != nil && !*other.Fixable
	if other.FixNote != "" && (final && !f.final || final == f.final && no) {
		f.Fixable, f.FixNote, f.final = other.Fixable, other.FixNote, final
	}
}

// shownIn are the systems of several volumes in which a file is seen that a
// walk through its volume has found.
func (a *auditor) shownIn(s *scan, f *Finding) []string {
	var names []string
	prefix := strings.TrimSuffix(s.at, "/")
	for _, w := range a.views {
		if w.volume != nil {
			continue
		}
		n, err := w.resolve(a.ctx, prefix+f.Path, false)
		if err != nil || len(n.parts) == 0 {
			continue
		}
		if p := n.parts[0]; p.vol == s.volume && p.path == f.Path {
			names = append(names, w.name)
		}
	}
	return names
}

// clip shortens what comes from an image: a name there may have any length.
func clip(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// gap records what could not be read.
func (a *auditor) gap(s *scan, volume, path string, err error) {
	key := volume + "\x00" + path + "\x00" + err.Error()
	g := a.gapAt[key]
	if g == nil {
		g = &Gap{Volume: volume, Path: path, Reason: err.Error()}
		a.gapAt[key] = g
		if len(a.gaps) < maxPerRule {
			a.gaps = append(a.gaps, g)
		}
	}
	if !slices.Contains(a.gapViews[g], s.name) {
		a.gapViews[g] = append(a.gapViews[g], s.name)
	}
	for _, r := range s.check.rules {
		if !a.runs(r) || r.Systems&s.systems == 0 {
			continue
		}
		a.mark(r, s.name, Unknown)
		if !slices.Contains(g.Rules, r.ID) {
			g.Rules = append(g.Rules, r.ID)
		}
	}
}

// closed records a volume that cannot be looked into: everything about it is
// unknown.
func (a *auditor) closed(v *Volume) {
	g := &Gap{Volume: v.ID, Reason: v.Err.Error()}
	a.gaps = append(a.gaps, g)
	a.gapViews[g] = []string{v.ID}
	for _, c := range a.checks {
		for _, r := range c.rules {
			if a.runs(r) {
				a.mark(r, v.ID, Unknown)
			}
		}
	}
}

// report puts everything in order.
func (a *auditor) report() *Report {
	r := &Report{
		Schema: Schema, Image: a.target.Name, Profile: a.opt.Profile,
		Volumes: []*VolumeInfo{}, Views: []string{}, Findings: []*Finding{}, Unknown: a.gaps, Notes: []string{},
	}
	if r.Unknown == nil {
		r.Unknown = []*Gap{}
	}
	if d := a.target.Disk; d != nil {
		r.Size = d.Size()
	}
	for _, v := range a.target.Volumes {
		r.Volumes = append(r.Volumes, a.volumeInfo(v))
	}
	for _, v := range a.views {
		r.Views = append(r.Views, v.name)
	}
	a.incomplete()
	r.auditor = a
	a.finish(r)
	return r
}

// finish puts the findings in order, sees what is accepted of them, and gives
// the verdicts.
func (a *auditor) finish(r *Report) {
	order(a.list, a.rules)
	r.Findings = append(r.Findings[:0], a.list...)
	r.Notes = append(r.Notes[:0], a.accept(r.Findings)...)
	r.Rules = r.Rules[:0]
	for _, rule := range a.all {
		if v := a.verdicts[rule]; v != nil {
			a.judge(rule, v)
			r.Rules = append(r.Rules, v)
		}
	}
}

// incomplete makes findings of what could not be read.
func (a *auditor) incomplete() {
	if !a.runs(auditIncomplete) {
		return
	}
	for _, v := range a.views {
		a.mark(auditIncomplete, v.name, Pass)
	}
	for _, g := range a.gaps {
		f := &Finding{
			Rule: auditIncomplete.ID, rule: auditIncomplete, Severity: a.severity[auditIncomplete], Fix: auditIncomplete.Fix,
			Volume: g.Volume, Path: g.Path, Message: g.Reason, Views: a.gapViews[g],
		}
		for _, v := range a.target.Volumes {
			if v.ID == g.Volume {
				f.Role, f.volume = v.Role, v.number
			}
		}
		f.sign()
		a.list = append(a.list, f)
		for _, view := range f.Views {
			a.mark(auditIncomplete, view, Fail)
		}
	}
}

// judge gives a rule its verdict: the worst of the views, where findings that
// do not count are no failure.
func (a *auditor) judge(r *Rule, v *Verdict) {
	for view, status := range v.Views {
		if status == Fail && v.More == 0 && !slices.ContainsFunc(a.list, func(f *Finding) bool {
			return f.rule == r && f.Open() && slices.Contains(f.Views, view)
		}) {
			v.Views[view] = Waived
		}
	}
	for _, status := range v.Views {
		if status.rank() > v.Status.rank() {
			v.Status = status
		}
	}
}

func (a *auditor) volumeInfo(v *Volume) *VolumeInfo {
	info := &VolumeInfo{ID: v.ID, Role: v.Role}
	if p := v.Partition; p != nil {
		info.Type, info.Start, info.Size = p.Content.Type, p.Start, p.Size
	}
	if v.Tree != nil {
		i := v.Tree.FS().Info()
		info.Type, info.Label = i.Type, i.Label
		if st, err := v.Tree.FS().Statfs(a.ctx); err == nil {
			used := int64(st.Blocks-min(st.Free, st.Blocks)) * st.BlockSize
			info.Used = &used
		}
	}
	if v.Err != nil {
		info.Error = v.Err.Error()
	}
	for _, s := range a.target.Systems {
		if s.Root == v {
			info.System = s.OS.PrettyName
		}
	}
	return info
}
