package main

import (
	"context"
	"errors"
	"strings"

	"github.com/resflash/resflash/image/audit"
)

type compareCmd struct {
	JSON   bool   `name:"json" help:"Print a JSON document."`
	First  string `arg:"" name:"image" help:"The image."`
	Second string `arg:"" name:"other" help:"Another image of the same product."`
}

// Help is the long help text.
func (*compareCmd) Help() string {
	return `Finds secrets and identities that two images have in common: host keys, seeds, machine
IDs and so on that were made once and copied. Machines made from one and from the other
would share them. Keys that may log in are there on purpose and not compared, nor are
secrets that could be guessed, such as passwords.

	resflash compare site-a.img site-b.img

--json prints an array of {"rule", "title", "evidence", "first", "second"}. The exit
status is 13 if there is something, and 14 if one of the images could not be read
completely.` + exitStatus
}

// Run compares.
func (c *compareCmd) Run(ctx context.Context, w *world) error {
	if c.First == c.Second {
		return usageError("", errors.New("compare wants two images"))
	}
	var reports []*audit.Report
	for _, name := range []string{c.First, c.Second} {
		r, err := auditImage(ctx, w, name, audit.Options{Profile: audit.Golden})
		if err != nil {
			return err
		}
		reports = append(reports, r)
	}
	shared := audit.Compare(reports[0], reports[1])
	if c.JSON {
		if err := w.document(shared); err != nil {
			return err
		}
	} else {
		for _, s := range shared {
			w.printf("%s: %s in both (%s)\n", s.Rule, s.Title, w.name(s.Evidence))
			w.printf("    %s\n    %s\n", w.name(places(c.First, s.First)), w.name(places(c.Second, s.Second)))
		}
		if len(shared) == 0 {
			w.printf("nothing in common that must not be\n")
		}
	}
	switch {
	case !reports[0].Complete() || !reports[1].Complete():
		w.note("not everything could be read: resflash audit says what")
		return reported{exitIncomplete}
	case len(shared) > 0:
		return reported{exitFindings}
	}
	return w.done()
}

// places are files of an image, as other verbs take them.
func places(image string, files []string) string {
	return image + ":" + strings.Join(files, ", "+image+":")
}
