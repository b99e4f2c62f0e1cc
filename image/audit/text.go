package audit

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text writes reports for people: findings by severity and rule, each rule with
// its reason and what to do.
func Text(w io.Writer, _ Tool, reports []*Report) error {
	b := bufio.NewWriter(w)
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(b)
		}
		r.text(b)
	}
	return b.Flush()
}

func (r *Report) text(b *bufio.Writer) {
	fmt.Fprintf(b, "%s: profile %s, views %s\n", printable(r.Image), r.Profile, strings.Join(r.Views, ", "))
	for _, severity := range []Severity{Error, Warning, Info} {
		var rule *Rule
		for _, f := range r.Findings {
			if f.Severity != severity || !f.Open() {
				continue
			}
			if f.rule != rule {
				rule = f.rule
				fmt.Fprintf(b, "\n%s  %s: %s\n", strings.ToUpper(severity.String()), rule.ID, rule.Title)
				wrap(b, "  ", rule.Reason)
				if rule.Fix.Detail != "" {
					wrap(b, "  ", "To do: "+rule.Fix.Detail+".")
				}
			}
			f.text(b, r)
		}
	}
	r.accepted(b)
	for _, n := range r.Notes {
		fmt.Fprintf(b, "\nnote: %s\n", printable(n))
	}
	fmt.Fprintf(b, "\n%s: %s\n", printable(r.Image), r.summary())
}

func (f *Finding) text(b *bufio.Writer, r *Report) {
	where := f.Where()
	if f.Volume == "" || where == "" {
		where = "image"
	}
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	fmt.Fprintf(b, "    %s: %s", printable(where), printable(f.Message))
	if f.Evidence != "" {
		fmt.Fprintf(b, " (%s)", printable(f.Evidence))
	}
	if in := f.inEffect(r); in != "" {
		fmt.Fprintf(b, " [%s]", in)
	}
	fmt.Fprintln(b)
	if f.FixNote != "" {
		wrap(b, "      ", f.FixNote)
	}
}

// inEffect says in which of the views of several volumes a file is seen, where
// there are any.
func (f *Finding) inEffect(r *Report) string {
	joint := func(v string) bool { return strings.Contains(v, "+") }
	if !slices.ContainsFunc(r.Views, joint) || f.Volume == "" {
		return ""
	}
	var in []string
	for _, v := range f.Views {
		if joint(v) {
			in = append(in, v)
		}
	}
	if len(in) > 0 {
		return "in " + strings.Join(in, ", ")
	}
	for _, v := range r.Views {
		// Of a slot that others are laid over: they hide it.
		if joint(v) && strings.HasPrefix(v, f.Volume+"+") && f.Path != "" {
			return "hidden by another volume"
		}
	}
	return ""
}

// accepted lists what does not count.
func (r *Report) accepted(b *bufio.Writer) {
	first := true
	for _, f := range r.Findings {
		if f.Open() {
			continue
		}
		if first {
			fmt.Fprint(b, "\naccepted\n")
			first = false
		}
		why := "known from the baseline"
		if f.WaivedBy != "" {
			why = "waived: " + f.WaivedBy
		}
		fmt.Fprintf(b, "    %s  %s: %s\n", f.Rule, printable(f.Where()), printable(why))
	}
}

func (r *Report) summary() string {
	n := map[Severity]int{}
	accepted, more := 0, 0
	for _, f := range r.Findings {
		if f.Open() {
			n[f.Severity]++
		} else {
			accepted++
		}
	}
	for _, v := range r.Rules {
		more += v.More
	}
	var parts []string
	count := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	count(n[Error], "error", "errors")
	count(n[Warning], "warning", "warnings")
	count(n[Info], "note", "notes")
	count(more, "further finding not listed", "further findings not listed")
	count(accepted, "finding accepted", "findings accepted")
	if len(parts) == 0 {
		parts = append(parts, "nothing found")
	}
	of := r.Count()
	text := strings.Join(parts, ", ") + fmt.Sprintf("; of %d rules %d passed", len(r.Rules), of[Pass]+of[Waived])
	if of[Unknown] > 0 {
		text += fmt.Sprintf(", %d unknown", of[Unknown])
	}
	if of[NotApplicable] > 0 {
		text += fmt.Sprintf(", %d do not apply", of[NotApplicable])
	}
	return text
}

// wrap writes a paragraph in lines that fit a terminal.
func wrap(b *bufio.Writer, indent, text string) {
	const width = 96
	at := 0
	for word := range strings.FieldsSeq(printable(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case at == 0:
			b.WriteString(indent)
			at = len(indent)
		case at+1+n > width:
			b.WriteString("\n" + indent)
			at = len(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
}

// printable makes names from an image harmless: what does not print is escaped.
func printable(s string) string {
	clean := true
	for _, c := range s {
		if c == utf8.RuneError || !strconv.IsPrint(c) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == utf8.RuneError && n <= 1 || !strconv.IsPrint(c) {
			for i := range n {
				fmt.Fprintf(&b, `\%03o`, s[i])
			}
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
