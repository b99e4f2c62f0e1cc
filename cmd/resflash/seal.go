package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/customize/seal"
)

type sealCmd struct {
	Profile            string   `short:"p" placeholder:"NAME" help:"What the image is for, as for audit: golden (the default), public, appliance, reproducible, quick."`
	Rule               []string `placeholder:"NAME" help:"Only these rules or families."`
	Skip               []string `placeholder:"NAME" help:"All but these rules or families."`
	FailOn             string   `enum:"error,warning,info,never" default:"error" help:"Nothing is changed if findings as bad as that would remain: error, warning, info or never."`
	OptIn              []string `placeholder:"RULE" help:"Make the fix of this rule, too, which may lock somebody out, or whose condition the image cannot tell."`
	MachineID          string   `name:"machine-id" enum:"uninitialized,empty,remove" default:"uninitialized" help:"What becomes of /etc/machine-id: uninitialized, empty (no first boot) or remove."`
	InstallRegenerator bool     `help:"Where nothing makes SSH host keys at boot, add a unit that does."`
	Scrub              bool     `negatable:"" default:"true" help:"Overwrite free space, slack, removed names and journals with zeros. --no-scrub leaves there what was removed."`
	Punch              bool     `help:"Give free space back to the host: it reads as zeros and takes no room."`
	Waivers            string   `placeholder:"FILE" help:"Findings that are accepted, with reasons: they stay as they are."`
	Policy             string   `placeholder:"FILE" help:"Profile, severities and allow-lists of the project."`
	Image              string   `arg:"" name:"image" help:"The image."`
	editFlags
}

// Help is the long help text.
func (*sealCmd) Help() string {
	return `Takes out of an image what "resflash audit" finds and must not be shipped: host keys,
machine IDs, seeds, leases, logs, leftovers of the build. Then the result is audited,
and kept only if nothing is left in it that is an error: "resflash audit" then exits
with 0. To seal a sealed image changes nothing, not a byte.` + editHelp + `

	resflash seal --dry-run disk.img
	resflash seal disk.img
	resflash seal -o golden.img --profile public --opt-in password-set disk.img
	resflash seal --install-regenerator debian.img

A fix is made only if it is safe. Where it depends on the system, the image itself is
asked: a host key goes only if a unit, a script or cloud-init makes new ones at boot.
Otherwise the fix is refused, with the reason. What may lock somebody out (passwords,
keys that may log in), and what the image cannot tell, wants --opt-in RULE. A finding
that is to stay is waived, as for audit. "resflash rules" lists the fixes.

With the machine ID "uninitialized", systemd takes the next boot for the first one: units
for it run, and what presets say is enabled, on Debian nearly everything. --machine-id
empty makes a new ID without that.

What is removed is still in free space, where others find it, and so is what was removed
before: when all else is done, that is overwritten, too, and looked through. In an image
that is changed in its place this happens after the changes are saved, and an
interruption leaves the rest for the next time. --no-scrub leaves it out.

What is left of errors and warnings is printed, with --verbose also what was done, and
infos. With SOURCE_DATE_EPOCH, the same image gives the same bytes.

--json prints {"image", "sealed", "changed", "before": {"error", "warning", "info"},
"after": {…}, "steps": [{"state" (done, refused, opt-in, no-fix, in-vain), "verb",
"volume", "path", "detail", "rules", "severity", "why"}], "scrub": {"volumes", "zeroed",
"punched"}}.` + exitStatus
}

// Run seals.
func (c *sealCmd) Run(ctx context.Context, w *world) error {
	opt, err := c.options()
	if err != nil {
		return err
	}
	var failOn audit.Severity
	never := c.FailOn == "never"
	if !never {
		if err := failOn.UnmarshalText([]byte(c.FailOn)); err != nil {
			return err
		}
	}
	if c.Punch && !c.Scrub {
		return usageError("resflash help seal", errors.New("--punch is a way to scrub, and --no-scrub leaves that out"))
	}
	var r *seal.Result
	var scrubbed *image.ScrubReport
	var left error // what is wrong with an image that was changed
	err = w.edit(ctx, editFlags{DryRun: c.DryRun, Output: c.Output}, func(e *editor) error {
		d, err := e.open(ctx, c.Image)
		if err != nil {
			return err
		}
		system, err := e.system(ctx, c.Image, d)
		if err != nil {
			return err
		}
		end := w.waiting("sealing " + c.Image)
		r, err = seal.Run(ctx, system, opt)
		end()
		if err != nil {
			return fmt.Errorf("%s: %w", c.Image, err)
		}
		if err := c.verdict(r, failOn, never); err != nil {
			return errors.Join(c.print(w, r, nil, false), err)
		}
		if !c.Scrub {
			w.note("%s: not scrubbed: what was removed is still in free space", c.Image)
			return nil
		}
		if scrubbed, err = c.scrub(ctx, w, d); err != nil || c.DryRun {
			return err
		}
		err = c.sift(ctx, d, opt.Audit, failOn, never)
		if notSealed := (*exitError)(nil); c.Output == "" && errors.As(err, &notSealed) {
			left, err = err, nil // the image has been changed, and is no worse for it
		}
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(c.print(w, r, scrubbed, left == nil), left)
}

// scrub takes away what was deleted, now and before.
func (c *sealCmd) scrub(ctx context.Context, w *world, d *image.Disk) (*image.ScrubReport, error) {
	bar := w.progress("scrubbing "+c.Image, 0)
	defer bar.end()
	r, err := image.Scrub(ctx, d, image.ScrubOptions{Punch: c.Punch, Gaps: true, Count: c.DryRun, Progress: bar.add})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image, err)
	}
	return r, nil
}

// sift looks once more through what was scrubbed.
func (c *sealCmd) sift(ctx context.Context, d *image.Disk, opt audit.Options, failOn audit.Severity, never bool) error {
	const free = "free" // the family of rules
	if slices.Contains(opt.Skip, free) || len(opt.Only) > 0 && !slices.Contains(opt.Only, free) {
		return nil
	}
	opt.Only = []string{free}
	target, err := audit.FromDisk(ctx, d)
	if err != nil {
		return err
	}
	r, err := audit.Run(ctx, target, opt)
	if err != nil || never || r.Worst() < failOn {
		return err
	}
	for _, f := range r.Findings {
		if f.Open() && f.Severity >= failOn {
			return &exitError{exitNotSealed, "resflash check, and seal it again", fmt.Errorf("%s: what could not be scrubbed holds a secret: %s: %s", c.Image, f.Where(), f.Message)}
		}
	}
	return nil
}

// options reads the files that were named.
func (c *sealCmd) options() (seal.Options, error) {
	opt := seal.Options{MachineID: seal.MachineID(c.MachineID), InstallRegenerator: c.InstallRegenerator, OptIn: c.OptIn}
	var err error
	opt.Audit, err = (&auditCmd{Profile: c.Profile, Rule: c.Rule, Skip: c.Skip, Waivers: c.Waivers, Policy: c.Policy}).options()
	if err != nil {
		return opt, err
	}
	for _, name := range c.OptIn {
		if !slices.ContainsFunc(audit.Rules(), func(r *audit.Rule) bool { return r.ID == name }) {
			return opt, usageError("resflash rules", fmt.Errorf("--opt-in: no rule is called %q", name))
		}
	}
	return opt, nil
}

// system begins to edit an image by the paths of its volumes.
func (e *editor) system(ctx context.Context, name string, d *image.Disk) (*customize.Editor, error) {
	opt := customize.Options{Note: func(text string) { e.w.note("%s: %s", name, text) }}
	epoch, ok, err := sourceDateEpoch()
	if err != nil {
		return nil, err
	}
	if ok {
		opt.Epoch = &epoch
	}
	// Any volume will do: it is only where paths without one begin.
	if _, err := d.Find(ctx, ""); err != nil {
		for _, p := range d.Partitions() {
			if _, err := p.Volume(ctx); err == nil {
				opt.Volume = p.ID
				break
			}
		}
	}
	system, err := customize.New(ctx, d, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return system, nil
}

// verdict says why the result is not kept, if so.
func (c *sealCmd) verdict(r *seal.Result, failOn audit.Severity, never bool) error {
	if !r.After.Complete() {
		return &exitError{exitIncomplete, "resflash audit says what; waive audit-incomplete if it is to stay", fmt.Errorf("%s: not sealed: something could not be read", c.Image)}
	}
	if never || r.After.Worst() < failOn {
		return nil
	}
	var rules []string
	for _, s := range r.Left(failOn) {
		for _, rule := range s.Rules {
			if !slices.Contains(rules, rule) {
				rules = append(rules, rule)
			}
		}
	}
	return &exitError{exitNotSealed, "see what is left above; --waivers accepts findings, --skip leaves rules out", fmt.Errorf("%s: not sealed: left are %s", c.Image, strings.Join(rules, ", "))}
}

// sealJSON is what --json prints.
type sealJSON struct {
	Image   string         `json:"image"`
	Sealed  bool           `json:"sealed"`
	Changed bool           `json:"changed"`
	Before  map[string]int `json:"before"` // findings that count, by severity
	After   map[string]int `json:"after"`
	Steps   []*seal.Step   `json:"steps"`

	Scrub *image.ScrubReport `json:"scrub,omitempty"`
}

// print prints what was done and what is left.
func (c *sealCmd) print(w *world, r *seal.Result, scrubbed *image.ScrubReport, sealed bool) error {
	if c.JSON {
		steps := r.Steps
		if steps == nil {
			steps = []*seal.Step{}
		}
		return w.document(sealJSON{c.Image, sealed, sealed && r.Changed(), bySeverity(r.Before), bySeverity(r.After), steps, scrubbed})
	}
	all := c.Verbose || c.DryRun
	for _, s := range r.Steps {
		if s.State == seal.Done && all || s.State != seal.Done && (c.Verbose || s.Severity >= audit.Warning) {
			w.printf("%s\n", w.name(c.line(s)))
		}
	}
	if sealed {
		done := len(r.Steps) - len(r.Left(audit.Off))
		after := bySeverity(r.After)
		what := plural(done, "change", "changes")
		if done == 0 {
			what = "nothing to do"
		}
		if c.DryRun {
			what += " (not made: a dry run)"
		}
		w.note("%s: sealed: %s; left are %s, %s and %s", c.Image, what,
			plural(after["error"], "error", "errors"), plural(after["warning"], "warning", "warnings"), plural(after["info"], "info", "infos"))
		c.printScrubbed(w, scrubbed)
	}
	return nil
}

func (c *sealCmd) printScrubbed(w *world, r *image.ScrubReport) {
	if r == nil {
		return
	}
	for _, v := range r.Volumes {
		if v.Skipped != "" && v.Skipped != image.ErrEmpty.Error() {
			w.note("%s: volume %s is not scrubbed: %s", c.Image, v.ID, v.Skipped)
		}
	}
	w.note("%s: scrubbed: %s that were not zero, %s given back to the host", c.Image, size(r.Zeroed), size(r.Punched))
}

// line is a step for people.
func (c *sealCmd) line(s *seal.Step) string {
	at := c.Image
	if place := s.Place(); place != "" && place != "whole" {
		at += ":" + place
	}
	if s.State != seal.Done {
		return fmt.Sprintf("left: %s %s (%s; %s: %s)", s.Severity, at, strings.Join(s.Rules, ", "), s.State, s.Why)
	}
	detail := ""
	if s.Detail != "" {
		detail = ": " + s.Detail
	}
	return fmt.Sprintf("%s %s%s (%s; %s)", s.Verb, at, detail, strings.Join(s.Rules, ", "), s.Why)
}

// bySeverity counts the findings that are open.
func bySeverity(r *audit.Report) map[string]int {
	n := map[string]int{"error": 0, "warning": 0, "info": 0}
	for _, f := range r.Findings {
		if f.Open() {
			n[f.Severity.String()]++
		}
	}
	return n
}
