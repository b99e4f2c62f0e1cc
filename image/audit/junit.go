package audit

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The parts of JUnit's XML that are written.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Failure *junitResult `xml:"failure"`
		Error   *junitResult `xml:"error"`
		Skipped *junitResult `xml:"skipped"`
	}
	junitResult struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes reports as test results: a suite for each view of an image, and
// in it a test for each rule. A rule that does not apply is skipped, one that
// is unknown an error. Notes fail nothing.
func JUnit(w io.Writer, _ Tool, reports []*Report) error {
	all := junitSuites{Name: "resflash audit"}
	for _, r := range reports {
		for _, view := range r.allViews() {
			s := junitSuite{Name: clean(r.Image + ":" + view)}
			for _, v := range r.Rules {
				s.add(r, v, view)
			}
			all.Tests += s.Tests
			all.Failures += s.Failures
			all.Errors += s.Errors
			all.Suites = append(all.Suites, s)
		}
	}
	b := bufio.NewWriter(w)
	b.WriteString(xml.Header)
	e := xml.NewEncoder(b)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	b.WriteByte('\n')
	return b.Flush()
}

// allViews are the views, and what has verdicts without being one: the disk as
// a whole, and volumes that cannot be opened.
func (r *Report) allViews() []string {
	var more []string
	for _, v := range r.Rules {
		for view := range v.Views {
			if !slices.Contains(r.Views, view) && !slices.Contains(more, view) {
				more = append(more, view)
			}
		}
	}
	slices.Sort(more)
	return append(slices.Clone(r.Views), more...)
}

func (s *junitSuite) add(r *Report, v *Verdict, view string) {
	status, ok := v.Views[view]
	if !ok {
		status = NotApplicable
	}
	c := junitCase{Class: s.Name, Name: v.Rule}
	s.Tests++
	switch status {
	case Fail:
		var text []string
		worst := Info
		for _, f := range r.Findings {
			if f.Rule == v.Rule && f.Open() && slices.Contains(f.Views, view) {
				worst = max(worst, f.Severity)
				text = append(text, fmt.Sprintf("%s %s: %s", f.Severity, printable(f.Where()), printable(f.Message)))
			}
		}
		if worst == Info {
			break
		}
		c.Failure = &junitResult{Message: text[0], Text: strings.Join(text, "\n")}
		s.Failures++
	case Unknown:
		c.Error = &junitResult{Message: "something that the rule wanted could not be read"}
		s.Errors++
	case NotApplicable:
		c.Skipped = &junitResult{Message: "does not apply"}
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}
