package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/resflash/resflash/image/audit"
)

type rulesCmd struct {
	Format string   `short:"f" enum:"text,json,md" default:"text" help:"text, json or md (Markdown)."`
	JSON   bool     `name:"json" help:"The same as --format json."`
	Names  []string `arg:"" optional:"" name:"rule" help:"Only these rules or families."`
}

// Help is the long help text.
func (*rulesCmd) Help() string {
	return `Lists what "resflash audit" looks for.

	resflash rules
	resflash rules accounts
	resflash rules --json ssh-host-key

--json prints an array of {"id", "family", "title", "systems", "severity", "profiles"
(severities that differ), "slow", "reason", "evidence", "fix": {"verb", "detail",
"safety" (always, condition, opt-in, never), "condition"}, "reference"}.` + exitStatus
}

// Run lists the rules.
func (c *rulesCmd) Run(w *world) error {
	if c.JSON {
		c.Format = "json"
	}
	list := audit.Rules()
	for _, name := range c.Names {
		if !audit.Known(name) {
			return usageError("resflash rules", fmt.Errorf("no rule or family is called %q", name))
		}
	}
	if len(c.Names) > 0 {
		list = slices.DeleteFunc(list, func(r *audit.Rule) bool {
			return !slices.Contains(c.Names, r.ID) && !slices.Contains(c.Names, r.Family)
		})
	}
	format := map[string]func(io.Writer, []*audit.Rule) error{
		"text": audit.CatalogueText, "json": audit.CatalogueJSON, "md": audit.CatalogueMarkdown,
	}[c.Format]
	return format(w.out, list)
}
