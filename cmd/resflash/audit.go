package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/audit"
)

type auditCmd struct {
	Profile       string            `short:"p" placeholder:"NAME" help:"What the image is for: golden (the default), public, appliance, reproducible; quick is golden without what takes long."`
	Rule          []string          `placeholder:"NAME" help:"Only these rules or families."`
	Skip          []string          `placeholder:"NAME" help:"All but these rules or families."`
	FailOn        string            `enum:"error,warning,info,never" default:"error" help:"The exit status is 13 for findings as bad as that: error, warning, info or never."`
	Format        string            `short:"f" enum:"text,json,ndjson,sarif,junit,html" default:"text" help:"text, json, ndjson, sarif, junit or html."`
	Write         map[string]string `placeholder:"FORMAT=FILE" help:"Write a report to FILE as well; can be given several times."`
	Waivers       string            `placeholder:"FILE" help:"Findings that are accepted, with reasons."`
	StrictWaivers bool              `help:"Fail if a waiver has expired or is not needed."`
	Policy        string            `placeholder:"FILE" help:"Profile, severities and allow-lists of the project."`
	Baseline      string            `placeholder:"FILE" help:"An earlier report as JSON: what is in it does not count."`
	JSON          bool              `name:"json" help:"The same as --format json."`
	Images        []string          `arg:"" name:"image" help:"The image."`
}

// Help is the long help text.
func (*auditCmd) Help() string {
	return `Looks for what must not be shipped: machine IDs, host keys, random seeds, passwords, logs,
leftovers of the build, references to disks that are not there. Each volume is looked at
by itself, and each system as it will be at run time, with /cfg laid over it. Nothing is
changed. Secrets are never printed. "resflash rules" lists what is looked for. Several
images are audited at the same time, and a secret that two of them share is an error.

	resflash audit disk.img
	resflash audit --profile public --write sarif=audit.sarif --write junit=audit.xml disk.img
	resflash audit --write html=audit.html disk.img
	resflash audit site-a.img site-b.img
	resflash audit --rule ssh-host-key --rule accounts disk.img
	resflash audit --json disk.img > known.json; resflash audit --baseline known.json new.img

A file of waivers has paragraphs like this; reason is required, path and volume narrow it
down, fingerprint pins it to one finding or secret:

	[[waiver]]
	rule = "authorized-keys"
	path = "/root/.ssh/authorized_keys"
	fingerprint = "SHA256:…"
	reason = "the operators' key"
	expires = "2027-01-31"

A policy has profile = "appliance", and below [severity] lines rule = "off", below [allow]
lines rule = ["/path/*"], users = ["operator"] and fingerprints = ["SHA256:…"].

The HTML report is one page that needs nothing else: a map of the disk, its volumes, and
what was found, to be read in a browser or on paper.

--json prints an array of reports: {"schema", "tool", "image", "size", "profile", "volumes",
"views", "rules": [{"rule", "status", "views"}], "findings": [{"rule", "severity",
"volume", "role", "path", "views", "inode", "message", "evidence", "fingerprint", "fix",
"fixNote", "waivedBy", "baseline"}], "unknown": [{"volume", "path", "reason", "rules"}],
"notes"}. What could not be read is listed under "unknown", and makes the exit status 14,
whatever else was found.` + exitStatus
}

// Run audits.
func (c *auditCmd) Run(ctx context.Context, w *world) error {
	if c.JSON {
		c.Format = "json"
	}
	for format := range c.Write {
		if audit.Formats[format] == nil {
			return usageError("resflash help audit", fmt.Errorf("--write %s=…: there is no such format (there are: %s)",
				format, strings.Join(slices.Sorted(maps.Keys(audit.Formats)), ", ")))
		}
	}
	opt, err := c.options()
	if err != nil {
		return err
	}
	_, reports, err := auditImages(ctx, w, c.Images, opt)
	if err != nil {
		return err
	}
	audit.Across(reports)
	tool := audit.Tool{Version: versionText()}
	if err := audit.Formats[c.Format](w.out, tool, reports); err != nil {
		return err
	}
	for _, format := range slices.Sorted(maps.Keys(c.Write)) {
		if err := writeReport(c.Write[format], audit.Formats[format], tool, reports); err != nil {
			return err
		}
	}
	return c.verdict(w, reports)
}

// auditImages audits images, as many at the same time as there are processors.
func auditImages(ctx context.Context, w *world, names []string, opt audit.Options) ([]*audit.Target, []*audit.Report, error) {
	disks := make([]*image.Disk, len(names))
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, nil, usageError("", fmt.Errorf("%s is named twice", name))
		}
		var err error
		if disks[i], err = w.open(ctx, name); err != nil {
			return nil, nil, err
		}
	}
	targets, reports := make([]*audit.Target, len(names)), make([]*audit.Report, len(names))
	errs := make([]error, len(names))
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, name := range names {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			var err error
			if targets[i], err = audit.FromDisk(ctx, disks[i]); err == nil {
				reports[i], err = audit.Run(ctx, targets[i], opt)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	all.Wait()
	return targets, reports, errors.Join(errs...)
}

// options reads the files that were named.
func (c *auditCmd) options() (audit.Options, error) {
	opt := audit.Options{Only: c.Rule, Skip: c.Skip}
	var err error
	if opt.Now, err = now(); err != nil {
		return opt, err
	}
	if c.Profile != "" {
		if err := opt.Profile.UnmarshalText([]byte(c.Profile)); err != nil {
			return opt, usageError("resflash help audit", fmt.Errorf("--%w", err))
		}
	}
	err = errors.Join(
		readFile(c.Waivers, func(r io.Reader) (err error) { opt.Waivers, err = audit.ReadWaivers(r); return err }),
		readFile(c.Policy, func(r io.Reader) (err error) { opt.Policy, err = audit.ReadPolicy(r); return err }),
		readFile(c.Baseline, func(r io.Reader) (err error) { opt.Baseline, err = audit.ReadBaseline(r); return err }),
	)
	if err != nil {
		return opt, err
	}
	for _, name := range slices.Concat(c.Rule, c.Skip) {
		if !audit.Known(name) {
			return opt, usageError("resflash rules", fmt.Errorf("no rule or family is called %q", name))
		}
	}
	return opt, nil
}

// readFile reads a file of the host, if one was named. What is wrong in it is
// a mistake of usage.
func readFile(name string, read func(io.Reader) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, leaf(err))
	}
	defer f.Close()
	if err := read(bufio.NewReader(f)); err != nil {
		return usageError("resflash help audit", fmt.Errorf("%s: %w", name, err))
	}
	return nil
}

// writeReport writes a report to a file of the host: the whole of it, or
// nothing.
func writeReport(name string, format audit.Format, tool audit.Tool, reports []*audit.Report) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = format(f, tool, reports)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// verdict is the exit code. What could not be seen weighs more than what was
// found.
func (c *auditCmd) verdict(w *world, reports []*audit.Report) error {
	code := exitOK
	for _, r := range reports {
		switch {
		case !r.Complete():
			code = exitIncomplete
		case code == exitIncomplete:
		case c.FailOn == "never":
		case c.FailOn == "info" && r.Worst() >= audit.Info, c.FailOn == "warning" && r.Worst() >= audit.Warning,
			c.FailOn == "error" && r.Worst() >= audit.Error, c.StrictWaivers && len(r.Notes) > 0:
			code = exitFindings
		}
	}
	if code != exitOK {
		return reported{code}
	}
	return w.done()
}
