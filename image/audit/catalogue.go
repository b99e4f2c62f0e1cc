package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// CatalogueText writes the rules for a terminal: one line each.
func CatalogueText(w io.Writer, rules []*Rule) error {
	b := bufio.NewWriter(w)
	family, width := "", 0
	for _, r := range rules {
		width = max(width, len(r.ID))
	}
	for _, r := range rules {
		if r.Family != family {
			if family != "" {
				fmt.Fprintln(b)
			}
			family = r.Family
			fmt.Fprintf(b, "%s (%s)\n", FamilyTitle(family), family)
		}
		fmt.Fprintf(b, "  %-*s  %-7s  %s\n", width, r.ID, r.Severity, r.Title)
	}
	return b.Flush()
}

// CatalogueJSON writes the rules as a list.
func CatalogueJSON(w io.Writer, rules []*Rule) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(rules)
}

// CatalogueMarkdown writes the rules as a document.
func CatalogueMarkdown(w io.Writer, rules []*Rule) error {
	b := bufio.NewWriter(w)
	b.WriteString(catalogueHead)
	family := ""
	for _, r := range rules {
		if r.Family != family {
			family = r.Family
			fmt.Fprintf(b, "\n## %s (`%s`)\n", FamilyTitle(family), family)
		}
		fmt.Fprintf(b, "\n### %s\n\n", r.ID)
		fmt.Fprintf(b, "%s\n\n", sentence(r.Title))
		fmt.Fprintf(b, "- **Severity**: %s\n", r.severities())
		fmt.Fprintf(b, "- **Systems**: %s\n", r.Systems)
		fmt.Fprintf(b, "- **Why**: %s\n", r.Reason)
		fmt.Fprintf(b, "- **Looked at**: %s\n", strings.ReplaceAll(r.Evidence, "*", `\*`))
		fmt.Fprintf(b, "- **Fix**: %s\n", r.Fix)
		if r.Reference != "" {
			fmt.Fprintf(b, "- **Reference**: %s\n", r.Reference)
		}
	}
	return b.Flush()
}

const catalogueHead = `# The rules of the audit

This page is made by ` + "`resflash rules --format md`" + `.

A finding is an **error** if machines made from the image would share a secret or an identity, or if somebody could get in
who should not; a **warning** if it tells of the build, misbehaves on copies or wants a decision; and an **info** if it is
inventory. A fix is safe *always*, under a *condition* that is checked, only by *opt-in*, or is *never* made by a program.
`

func (f Fix) String() string {
	text := f.Detail
	if text == "" {
		text = "none"
	}
	if f.Safety == Conditional {
		return text + " (safe if " + f.Condition + ")"
	}
	return text + " (" + string(f.Safety) + ")"
}

// severities says how bad a finding is, and in which profiles it differs.
func (r *Rule) severities() string {
	text := r.Severity.String()
	for _, p := range Profiles[1:] {
		if s := r.In(p); s != r.Severity {
			text += fmt.Sprintf("; %s: %s", p, s)
		}
	}
	return text
}
