package audit

import (
	"bufio"
	_ "embed" // the style
	"fmt"
	"html"
	"io"
	"slices"
	"strconv"
	"strings"
)

//go:embed html.css
var htmlStyle string

// HTML writes reports as one page that needs nothing else: no script, no
// picture, no network. It can be read in light and dark, with a keyboard, by a
// screen reader, and on paper.
func HTML(w io.Writer, tool Tool, reports []*Report) error {
	p := &page{Writer: bufio.NewWriter(w), top: 2}
	if len(reports) > 1 {
		p.top = 3
	}
	var names []string
	for _, r := range reports {
		names = append(names, baseName(r.Image))
	}
	title := "Audit of " + strings.Join(names, ", ")
	p.printf("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"+
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"+
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"+
		"<link rel=\"icon\" href=\"data:,\">\n<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n", esc(title), raw(htmlStyle))
	p.printf("<a class=\"skip\" href=\"#main\">Skip to the findings</a>\n")
	p.printf("<header>\n<p class=\"kicker\">Audit of a disk image</p>\n<h1>%s</h1>\n", esc(strings.Join(names, ", ")))
	if len(reports) > 1 {
		p.contents(reports)
	}
	p.printf("</header>\n<main id=\"main\" tabindex=\"-1\">\n")
	for i, r := range reports {
		p.report(i+1, r, len(reports) > 1)
	}
	p.printf("</main>\n<footer><p>Made by %s. Secrets are never part of a report: it has their kind, their length and, where nobody can guess them, a fingerprint.</p></footer>\n</body>\n</html>\n", esc(tool.String()))
	return p.Flush()
}

// A page is what is being written.
type page struct {
	*bufio.Writer
	top int // the level of the headings of sections
}

// heading is one of a section (0) or what is below it; inner is HTML.
func (p *page) heading(below int, id string, inner raw) {
	class := []string{"part", "group", "name"}[below]
	if id != "" {
		id = " id=\"" + id + "\""
	}
	p.printf("<h%d class=\"%s\"%s>%s</h%d>\n", p.top+below, class, raw(id), inner, p.top+below)
}

// section opens one with a heading; end closes it.
func (p *page) section(name string, n int, title string) {
	id := fmt.Sprintf("%s-%d", name, n)
	p.printf("<section aria-labelledby=\"%s\">\n", id)
	p.heading(0, id, esc(title))
}

func (p *page) end() { p.printf("</section>\n") }

// raw is text that is HTML already; everything else is escaped by [esc], for
// it may come from an image.
type raw string

func (p *page) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

func esc(s string) raw { return raw(html.EscapeString(printable(s))) }

func baseName(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// contents leads to the images, if they are many.
func (p *page) contents(reports []*Report) {
	p.printf("<nav aria-label=\"Images\"><ul class=\"images\">\n")
	for i, r := range reports {
		p.printf("<li><a href=\"#image-%d\">%s</a> %s</li>\n", i+1, esc(baseName(r.Image)), esc(r.counts()))
	}
	p.printf("</ul></nav>\n")
}

// counts is "2 errors, 1 warning".
func (r *Report) counts() string {
	text, _, _ := strings.Cut(r.summary(), ";")
	return text
}

func (p *page) report(n int, r *Report, many bool) {
	p.printf("<section class=\"image\" id=\"image-%d\"", n)
	if many {
		p.printf(" aria-labelledby=\"image-%d-name\">\n<h2 id=\"image-%d-name\">%s</h2>\n", n, n, esc(r.Image))
	} else {
		p.printf(" aria-label=\"%s\">\n", esc(r.Image))
	}
	worst := r.Worst()
	p.printf("<p class=\"verdict %s\">%s<span>%s</span></p>\n", worst, mark(worst), esc(strings.ToUpper(r.counts()[:1])+r.counts()[1:]+"."))
	p.printf("<dl class=\"facts\">\n")
	fact := func(name, text string) { p.printf("<div><dt>%s</dt><dd>%s</dd></div>\n", esc(name), esc(text)) }
	fact("Image", r.Image)
	if r.Size > 0 {
		fact("Size", humanSize(r.Size))
	}
	fact("Profile", string(r.Profile))
	of := r.Count()
	fact("Rules", fmt.Sprintf("%d: %d passed, %d failed, %d unknown, %d do not apply", len(r.Rules), of[Pass]+of[Waived], of[Fail], of[Unknown], of[NotApplicable]))
	p.printf("</dl>\n")
	p.disk(n, r)
	p.findings(n, r)
	p.unknown(n, r)
	p.waived(n, r)
	p.verdicts(n, r)
	p.printf("</section>\n")
}

// mark is a sign for a severity, which does not depend on colours.
func mark(s Severity) raw {
	sign := map[Severity]string{Error: "✕", Warning: "!", Info: "i", Off: "✓"}[s]
	return raw("<b class=\"mark " + s.String() + "\" aria-hidden=\"true\">" + sign + "</b>")
}

var severityTitles = []struct {
	severity Severity
	title    string
	says     string
}{
	{Error, "Errors", "Machines made from the image would share a secret or an identity, or somebody gets in."},
	{Warning, "Warnings", "It tells of the build, misbehaves on copies, or wants a decision."},
	{Info, "Notes", "Inventory, or untidy."},
}

// findings are those that count, by severity and rule.
func (p *page) findings(n int, r *Report) {
	groups := map[Severity][][]*Finding{}
	total := map[Severity]int{}
	for _, f := range r.Findings {
		if !f.Open() {
			continue
		}
		total[f.Severity]++
		list := groups[f.Severity]
		if len(list) == 0 || list[len(list)-1][0].rule != f.rule {
			groups[f.Severity] = append(list, []*Finding{f})
		} else {
			list[len(list)-1] = append(list[len(list)-1], f)
		}
	}
	p.section("findings", n, "Findings")
	if len(groups) == 0 {
		p.printf("<p>Nothing was found that counts.</p>\n")
	} else {
		p.printf("<nav aria-label=\"Findings by severity\"><ul class=\"tally\">\n")
		for _, s := range severityTitles {
			if total[s.severity] > 0 {
				p.printf("<li><a class=\"%s\" href=\"#%s-%d\">%s<span>%d</span> %s</a></li>\n", s.severity, s.severity, n, mark(s.severity), total[s.severity], esc(strings.ToLower(s.title)))
			}
		}
		p.printf("</ul></nav>\n")
	}
	for _, s := range severityTitles {
		if total[s.severity] == 0 {
			continue
		}
		id := fmt.Sprintf("%s-%d", s.severity, n)
		p.printf("<section class=\"severity %s\" aria-labelledby=\"%s\">\n", s.severity, id)
		p.heading(1, id, mark(s.severity)+esc(s.title)+raw(fmt.Sprintf(" <small>%d</small>", total[s.severity])))
		p.printf("<p class=\"says\">%s</p>\n", esc(s.says))
		for _, group := range groups[s.severity] {
			p.rule(r, group)
		}
		p.end()
	}
	p.end()
}

// fewPlaces are shown at once; more are folded up.
const fewPlaces = 12

// rule is one rule and the places where it is broken.
func (p *page) rule(r *Report, group []*Finding) {
	rule := group[0].rule
	p.printf("<article class=\"rule\">\n")
	p.heading(2, "", esc(sentence(rule.Title))+" <code>"+esc(rule.ID)+"</code>")
	p.printf("<p>%s</p>\n", esc(rule.Reason))
	if rule.Fix.Detail != "" {
		p.printf("<p class=\"fix\"><b>To do</b> %s <span class=\"safety\">%s</span></p>\n", esc(sentence(rule.Fix.Detail)), esc(rule.Fix.safety()))
	}
	p.places(r, group[:min(len(group), fewPlaces)])
	if len(group) > fewPlaces {
		p.printf("<details><summary>%d more places</summary>\n", len(group)-fewPlaces)
		p.places(r, group[fewPlaces:])
		p.printf("</details>\n")
	}
	for _, v := range r.Rules {
		if v.Rule == rule.ID && v.More > 0 {
			p.printf("<p class=\"says\">%d further findings of this rule are not listed.</p>\n", v.More)
		}
	}
	if rule.Reference != "" {
		p.printf("<p class=\"says\">See %s.</p>\n", esc(rule.Reference))
	}
	p.printf("</article>\n")
}

// safety says when the fix may be made.
func (f Fix) safety() string {
	switch f.Safety {
	case Safe:
		return "always safe"
	case Conditional:
		return "safe if " + f.Condition
	case OptIn:
		return "only if asked for"
	}
	return "for a person to decide"
}

func (p *page) places(r *Report, list []*Finding) {
	p.printf("<ul class=\"places\">\n")
	for _, f := range list {
		p.printf("<li>%s: %s", p.place(f), esc(f.Message))
		if f.Evidence != "" {
			p.printf(" <span class=\"evidence\">%s</span>", esc(f.Evidence))
		}
		if in := f.inEffect(r); in != "" {
			p.printf(" <span class=\"views\">%s</span>", esc(in))
		}
		if f.FixNote != "" {
			p.printf("<br><span class=\"note\">%s</span>", esc(sentence(f.FixNote)))
		}
		p.printf("</li>\n")
	}
	p.printf("</ul>\n")
}

func (p *page) place(f *Finding) raw {
	where := f.Where()
	if f.Volume == "" || where == "" {
		where = "image"
	}
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	return "<code>" + esc(where) + "</code>"
}

// unknown is what could not be read.
func (p *page) unknown(n int, r *Report) {
	if len(r.Unknown) == 0 {
		return
	}
	p.section("unknown", n, "Not read")
	p.printf("<p class=\"says\">What was not seen may hold anything: the rules that wanted it are unknown, not passed.</p>\n<ul class=\"places\">\n")
	for _, g := range r.Unknown {
		f := &Finding{Volume: g.Volume, Path: g.Path}
		p.printf("<li>%s: %s", p.place(f), esc(g.Reason))
		if len(g.Rules) > 0 {
			p.printf(" <span class=\"views\">%s</span>", esc(strings.Join(g.Rules, ", ")))
		}
		p.printf("</li>\n")
	}
	p.printf("</ul>\n")
	p.end()
}

// waived is what does not count, and notes about waivers.
func (p *page) waived(n int, r *Report) {
	closed := slices.DeleteFunc(slices.Clone(r.Findings), (*Finding).Open)
	if len(closed) > 0 {
		p.section("accepted", n, "Accepted")
		p.printf("<ul class=\"places\">\n")
		for _, f := range closed {
			why := "known from the baseline"
			if f.WaivedBy != "" {
				why = "waived: " + f.WaivedBy
			}
			p.printf("<li>%s <code>%s</code>: %s <span class=\"views\">%s</span></li>\n", p.place(f), esc(f.Rule), esc(f.Message), esc(why))
		}
		p.printf("</ul>\n")
		p.end()
	}
	for _, note := range r.Notes {
		p.printf("<p class=\"says\">Note: %s.</p>\n", esc(note))
	}
}

// verdicts lists what became of every rule.
func (p *page) verdicts(n int, r *Report) {
	p.section("rules", n, "All rules")
	p.printf("<details><summary>What became of each of %d rules</summary>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Verdicts\">\n<table class=\"verdicts\">\n<thead><tr><th scope=\"col\">Rule</th>", len(r.Rules))
	views := r.allViews()
	for _, v := range views {
		p.printf("<th scope=\"col\">%s</th>", esc(v))
	}
	p.printf("</tr></thead>\n<tbody>\n")
	for _, v := range r.Rules {
		p.printf("<tr><th scope=\"row\"><code>%s</code></th>", esc(v.Rule))
		for _, view := range views {
			status, ok := v.Views[view]
			if !ok || status == NotApplicable {
				p.printf("<td class=\"none\">–</td>")
				continue
			}
			p.printf("<td class=\"%s\">%s</td>", esc(string(status)), esc(string(status)))
		}
		p.printf("</tr>\n")
	}
	p.printf("</tbody>\n</table>\n</div>\n</details>\n")
	p.end()
}
