package seal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/vfs"
)

// A Result is what came of sealing.
type Result struct {
	Before *audit.Report
	After  *audit.Report // of what would be committed
	Steps  []*Step       // what was done, and then what is not, and why
}

// Changed reports whether anything was done.
func (r *Result) Changed() bool {
	return slices.ContainsFunc(r.Steps, func(s *Step) bool { return s.State == Done || s.State == InVain })
}

// Left returns the steps that were not done about findings as bad as that.
func (r *Result) Left(severity audit.Severity) []*Step {
	var left []*Step
	for _, s := range r.Steps {
		if s.State != Done && s.Severity >= severity {
			left = append(left, s)
		}
	}
	return left
}

// maxRounds bounds how often an image is audited: an audit keeps some hundred
// findings of a rule, and what one step uncovers is for the next round.
const maxRounds = 100

// Run seals the disk that e edits. Nothing is committed.
func Run(ctx context.Context, e *customize.Editor, opt Options) (*Result, error) {
	s := newSealer(e, opt)
	s.target = func(ctx context.Context) (*audit.Target, error) { return audit.FromVolumes(ctx, e.Disk(), s.volume) }
	return s.run(ctx)
}

// RunTarget is [Run] for a file system that is not on a disk: t is what e
// edits.
func RunTarget(ctx context.Context, e *customize.Editor, t *audit.Target, opt Options) (*Result, error) {
	s := newSealer(e, opt)
	s.target = func(context.Context) (*audit.Target, error) { return t, nil }
	return s.run(ctx)
}

func newSealer(e *customize.Editor, opt Options) *sealer {
	// What is removed here is in free space then: that is the business of
	// image.Scrub, which comes last.
	opt.Audit.Skip = append(slices.Clone(opt.Audit.Skip), "free")
	return &sealer{e: e, opt: opt, edited: map[*image.Partition]bool{}, done: map[where]*Step{}}
}

// A sealer is one run.
type sealer struct {
	e      *customize.Editor
	opt    Options
	target func(context.Context) (*audit.Target, error) // as it is now
	edited map[*image.Partition]bool
	done   map[where]*Step
	order  []*Step // those of done
}

// volume opens a volume as it would be committed.
func (s *sealer) volume(ctx context.Context, p *image.Partition) (*image.Volume, error) {
	if s.edited[p] {
		return p.Edit(ctx)
	}
	return p.Volume(ctx)
}

func (s *sealer) run(ctx context.Context) (*Result, error) {
	r := &Result{}
	for round := range maxRounds {
		t, err := s.target(ctx)
		if err != nil {
			return nil, err
		}
		report, err := audit.Run(ctx, t, s.opt.Audit)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			r.Before = report
		}
		r.After = report
		steps, err := Plan(ctx, s.e, t, report, s.opt)
		if err != nil {
			return nil, err
		}
		fresh := s.fresh(steps)
		if len(fresh) == 0 || round == maxRounds-1 {
			r.Steps = append(r.Steps, s.order...)
			for _, st := range steps {
				if st.State != Planned {
					r.Steps = append(r.Steps, st)
				}
			}
			return r, nil
		}
		if err := s.apply(ctx, t, fresh); err != nil {
			return nil, err
		}
	}
	panic("bug: rounds without end")
}

// fresh are the steps that are still to be done. One that was done before has
// not helped.
func (s *sealer) fresh(steps []*Step) []*Step {
	var list []*Step
	for _, st := range steps {
		if st.State != Planned {
			continue
		}
		if old := s.done[st.where()]; old != nil {
			old.State, old.Why = InVain, "it was done, and what it is for is still found"
			continue
		}
		list = append(list, st)
	}
	return list
}

// apply does steps.
func (s *sealer) apply(ctx context.Context, t *audit.Target, steps []*Step) error {
	for i, st := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		switch {
		case st.State == Done: // with another line of the same text
		case st.edit != nil:
			err = s.edit(ctx, steps[i:], st)
		default:
			err = st.do(ctx, s.e)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", st.Verb, strings.Join(st.Rules, ", "), err)
		}
		st.State = Done
		s.done[st.where()] = st
		s.order = append(s.order, st)
		for _, v := range t.Volumes {
			if v.ID == st.Volume && v.Partition != nil && v.Tree != nil {
				s.edited[v.Partition] = true
			}
		}
	}
	return nil
}

// edit makes all edits of one text at once: lines are numbered as they were.
func (s *sealer) edit(ctx context.Context, steps []*Step, first *Step) error {
	file := first.Path
	if s.e.Disk() != nil {
		file = first.Volume + ":" + file
	}
	b, err := s.e.ReadFile(ctx, file, customize.MaxText)
	if err != nil {
		return err
	}
	lines := slices.Collect(strings.Lines(string(b)))
	for _, st := range steps {
		if st.Volume != first.Volume || st.Path != first.Path || st.edit == nil || st.line < 1 || st.line > len(lines) {
			continue
		}
		old := lines[st.line-1]
		text := strings.TrimRight(old, "\r\n")
		switch changed := st.edit(text); changed {
		case dropped:
			lines[st.line-1] = ""
		default:
			lines[st.line-1] = changed + old[len(text):]
		}
		st.State = Done
	}
	return s.e.WriteFile(ctx, file, []byte(strings.Join(lines, "")), vfs.NewNode{})
}
