package seal

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/vfs"
)

// MachineID is what becomes of /etc/machine-id.
type MachineID string

// The choices.
const (
	Uninitialized MachineID = "uninitialized" // a new ID, and the first boot
	Empty         MachineID = "empty"         // a new ID, but no first boot
	Absent        MachineID = "remove"        // as Uninitialized, if /etc can be written to
)

// Options choose what is done.
type Options struct {
	Audit              audit.Options
	MachineID          MachineID // the zero value is Uninitialized
	InstallRegenerator bool      // make a unit for host keys where nothing makes them
	OptIn              []string  // rules whose fixes must be asked for, or whose condition the image cannot tell
}

// A planner makes steps of findings.
type planner struct {
	ctx    context.Context
	e      *customize.Editor
	target *audit.Target
	report *audit.Report
	opt    Options
	steps  []*Step
	at     map[where]*Step
	err    error // of reading: ends it
}

// Plan says what is to be done about the findings of a report on a target, in
// the order in which it will be. e is only looked into.
func Plan(ctx context.Context, e *customize.Editor, t *audit.Target, r *audit.Report, opt Options) ([]*Step, error) {
	p := &planner{ctx: ctx, e: e, target: t, report: r, opt: opt, at: map[where]*Step{}}
	planned := map[string]bool{}
	for _, x := range fixes {
		rules := strings.Fields(x.rules)
		for _, rule := range rules {
			planned[rule] = true
		}
		for _, f := range r.Findings {
			if f.Open() && slices.Contains(rules, f.Rule) {
				p.consider(f, x)
			}
		}
	}
	for _, f := range r.Findings {
		if f.Open() && !planned[f.Rule] {
			p.not(f, Remains, f.Fix.Detail)
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.settle(), ctx.Err()
}

// consider plans the fix of a finding, if it may be made.
func (p *planner) consider(f *audit.Finding, x fix) {
	asked := slices.Contains(p.opt.OptIn, f.Rule)
	why := reason(f)
	switch {
	case x.missing != "":
		p.not(f, Remains, "not supported: "+x.missing)
		return
	case f.Link != "" && !asked && f.Fix.Safety != audit.Never:
		// Nobody knows what else that file is.
		p.not(f, Asks, "it was found by the symbolic link "+f.Link+"; if it is nothing else: --opt-in "+f.Rule)
		return
	case x.own: // decides itself
	case f.Fix.Safety == audit.Never:
		p.not(f, Remains, f.Fix.Detail)
		return
	case f.Fix.Safety == audit.OptIn:
		if why = "asked for"; !asked {
			p.not(f, Asks, f.Fix.Detail+", if --opt-in "+f.Rule+" asks for it")
			return
		}
	case f.Fix.Safety == audit.Conditional && f.Fixable != nil && !*f.Fixable:
		p.not(f, Refused, reason(f))
		return
	case f.Fix.Safety == audit.Conditional && f.Fixable == nil:
		if why = "asked for"; !asked {
			p.not(f, Asks, "the image cannot tell whether "+f.Fix.Condition+"; if so: --opt-in "+f.Rule)
			return
		}
	case why == "":
		why = f.Fix.Detail
	}
	x.plan(p, f, why)
}

// reason is what says that the condition of a fix holds, or does not.
func reason(f *audit.Finding) string {
	_, why, found := strings.Cut(f.FixNote, ": ")
	if f.Fixable == nil || !found {
		return f.FixNote
	}
	return why
}

// add adds a step, unless one does the same already.
func (p *planner) add(f *audit.Finding, s Step) {
	s.Rules, s.Severity, s.Volume = []string{f.Rule}, f.Severity, f.Volume
	if !utf8.ValidString(s.Path) {
		s.PathBytes = []byte(s.Path)
	}
	key := s.where()
	if old := p.at[key]; old != nil {
		old.merge(&s)
		return
	}
	p.at[key] = &s
	p.steps = append(p.steps, &s)
}

// not adds a step that is none.
func (p *planner) not(f *audit.Finding, state State, why string) {
	p.add(f, Step{State: state, Verb: f.Fix.Verb, Path: f.Path, Why: why})
}

// settle drops steps for the sake of others: what is refused for a file keeps
// other rules from removing it, and what is removed need not be changed.
func (p *planner) settle() []*Step {
	type place struct{ volume, path string }
	kept, gone := map[place]string{}, map[place]bool{}
	for _, s := range p.steps {
		if s.State == Refused {
			kept[place{s.Volume, s.Path}] = s.Why
		}
	}
	for _, s := range p.steps {
		if s.State != Planned || s.Verb != audit.Remove {
			continue
		}
		why, stays := kept[place{s.Volume, s.Path}]
		if s.with != "" && !stays {
			why, stays = kept[place{s.Volume, s.with}]
		}
		if stays {
			s.State, s.Why = Refused, why
			continue
		}
		gone[place{s.Volume, s.Path}] = true
	}
	return slices.DeleteFunc(p.steps, func(s *Step) bool {
		return s.State == Planned && s.Verb != audit.Remove && gone[place{s.Volume, s.Path}]
	})
}

// file is a path in a volume as the editor takes it.
func (p *planner) file(f *audit.Finding, path string) string {
	if p.e.Disk() == nil {
		return path
	}
	return f.Volume + ":" + path
}

// lstat returns what is at a path in the volume of a finding; nil if nothing
// is.
func (p *planner) lstat(f *audit.Finding, path string) *vfs.Attr {
	attr, err := p.e.Lstat(p.ctx, p.file(f, path))
	if err != nil {
		if !missing(err) && p.err == nil {
			p.err = err
		}
		return nil
	}
	return &attr
}

// missing reports whether err says that nothing is there.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// read returns the contents of a file in the volume of a finding.
func (p *planner) read(f *audit.Finding, path string) string {
	b, err := p.e.ReadFile(p.ctx, p.file(f, path), customize.MaxText)
	if err != nil && !missing(err) && p.err == nil {
		p.err = err
	}
	return string(b)
}

// system is the one that a finding's volume belongs to: its root, or one that
// mounts it; nil if there is none.
func (p *planner) system(f *audit.Finding) *audit.Installed {
	for _, s := range p.target.Systems {
		if s.Root.ID == f.Volume {
			return s
		}
	}
	for _, s := range p.target.Systems {
		if slices.ContainsFunc(s.Mounts, func(m audit.Mount) bool { return m.Volume.ID == f.Volume }) {
			return s
		}
	}
	return nil
}

// kind is the system's id; empty if it is not known.
func (p *planner) kind(f *audit.Finding) string {
	if s := p.system(f); s != nil {
		return s.OS.ID
	}
	return ""
}

// ran reports whether a rule was among those of the audit.
func (p *planner) ran(rule string) bool {
	return slices.ContainsFunc(p.report.Rules, func(v *audit.Verdict) bool { return v.Rule == rule })
}
