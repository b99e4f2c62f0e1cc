package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/audit"
)

type compareCmd struct {
	Strict bool   `help:"Exit status 13 for differences that nothing explains, too."`
	Masked bool   `help:"List what is masked as noise of the build, too."`
	JSON   bool   `name:"json" help:"Print a JSON document."`
	First  string `arg:"" name:"image" help:"The image."`
	Second string `arg:"" name:"other" help:"Another image of the same product."`
}

// Help is the long help text.
func (*compareCmd) Help() string {
	return `Compares two images of one product, such as two builds or two releases.

Secrets and identities that both have are an error: host keys, seeds, machine IDs and so
on that were made once and copied. Machines made from one and from the other would share
them. Keys that may log in are there on purpose and not compared. Nothing is printed of a
secret but its kind and, where nobody can guess it, a fingerprint.

Then every file is compared: type, contents, mode, owner, flags, extended attributes; not
times. Each difference is explained by what a rule of the audit has found there, or masked
as noise that no two builds have alike (pages of databases, stamps of time, caches), after
a look at the contents: what is left without the noise must be the same. What neither
explains is listed.

	resflash compare site-a.img site-b.img
	resflash compare --strict build-1.img build-2.img

--json prints {"schema", "first", "second", "shared": [{"rule", "title", "evidence",
"first", "second"}], "differences": [{"volume", "other", "path", "in" (both, first,
second), "changed", "cause" (rule, noise or empty), "rule", "reason"}], "unknown"}. The
exit status is 13 if a secret is shared, and 14 if one of the images could not be read
completely.` + exitStatus
}

// Run compares.
func (c *compareCmd) Run(ctx context.Context, w *world) error {
	targets, reports, err := auditImages(ctx, w, []string{c.First, c.Second}, audit.Options{Profile: audit.Golden, Skip: []string{"free"}})
	if err != nil {
		return err
	}
	result, err := audit.CompareTargets(ctx, targets[0], targets[1], reports[0], reports[1])
	if err != nil {
		return err
	}
	if c.JSON {
		result.Tool = audit.Tool{Version: versionText()}.String()
		if err := w.document(result); err != nil {
			return err
		}
	} else {
		c.print(w, result)
	}
	switch {
	case len(result.Unknown) > 0:
		w.note("not everything could be read: resflash audit says what")
		return reported{exitIncomplete}
	case len(result.Shared) > 0, c.Strict && len(result.Unexplained()) > 0:
		return reported{exitFindings}
	}
	return w.done()
}

// print writes a comparison for people: what is bad first, what needs no
// reading last and short.
func (c *compareCmd) print(w *world, r *audit.Comparison) {
	some := false
	title := func(text string) {
		if some {
			w.printf("\n")
		}
		some = true
		w.printf("%s", text)
	}
	if len(r.Shared) > 0 {
		title("")
	}
	for _, s := range r.Shared {
		w.printf("%s: %s in both (%s)\n", s.Rule, s.Title, w.name(s.Evidence))
		w.printf("    %s\n    %s\n", w.name(places(c.First, s.First)), w.name(places(c.Second, s.Second)))
	}
	byRule, masked := map[string][]*audit.Difference{}, map[string][]*audit.Difference{}
	var rules, noises []string
	group := func(m map[string][]*audit.Difference, names *[]string, name string, d *audit.Difference) {
		if !slices.Contains(*names, name) {
			*names = append(*names, name)
		}
		m[name] = append(m[name], d)
	}
	for _, d := range r.Differences {
		switch d.Cause {
		case audit.ByRule:
			group(byRule, &rules, d.Rule, d)
		case audit.ByNoise:
			group(masked, &noises, d.Reason, d)
		}
	}
	if len(rules) > 0 {
		title("differs for what a rule of the audit has found\n")
	}
	for _, rule := range rules {
		w.printf("  %s\n", rule)
		for _, d := range byRule[rule] {
			w.printf("    %s: %s\n", w.name(c.where(d)), w.name(d.Reason))
		}
	}
	if len(noises) > 0 {
		title("differs in every build, and is masked\n")
	}
	for _, reason := range noises {
		w.printf("  %s: %s\n", files(len(masked[reason])), reason)
		for _, d := range masked[reason] {
			if c.Masked {
				w.printf("    %s\n", w.name(c.where(d)))
			}
		}
	}
	left := r.Unexplained()
	if len(left) > 0 {
		title("differs, and nothing explains it\n")
	}
	for _, d := range left {
		w.printf("    %s\n", w.name(c.where(d)))
	}
	title("")
	n := len(r.Differences)
	secrets, differ := "secrets", "differ"
	if len(r.Shared) == 1 {
		secrets = "secret"
	}
	if n+r.More == 1 {
		differ = "differs"
	}
	w.printf("%d %s in common; %s %s", len(r.Shared), secrets, files(n+r.More), differ)
	if n > 0 {
		w.printf(": %d explained by rules, %d masked, %d left over", count(byRule), count(masked), len(left)+r.More)
	}
	w.printf("\n")
}

// where says which file differs, in what.
func (c *compareCmd) where(d *audit.Difference) string {
	volume := d.Volume
	if volume == "" {
		volume = d.Other
	}
	place := d.Path
	switch {
	case d.Path == "":
		place = "volume " + volume
	case volume != "whole":
		place = volume + ":" + d.Path
	}
	switch d.In {
	case audit.InFirst:
		return place + " (only in " + c.First + ")"
	case audit.InSecond:
		return place + " (only in " + c.Second + ")"
	}
	return place + " (" + strings.Join(d.Changed, ", ") + ")"
}

func count(groups map[string][]*audit.Difference) int {
	n := 0
	for _, g := range groups {
		n += len(g)
	}
	return n
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// places are files of an image, as other verbs take them.
func places(image string, files []string) string {
	return image + ":" + strings.Join(files, ", "+image+":")
}
