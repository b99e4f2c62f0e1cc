package audit

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"
)

// The parts of SARIF 2.1.0 (OASIS) that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		ColumnKind  string            `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string         `json:"id"`
		ShortDescription sarifText      `json:"shortDescription"`
		FullDescription  sarifText      `json:"fullDescription"`
		Help             sarifText      `json:"help"`
		Default          sarifDefault   `json:"defaultConfiguration"`
		Properties       map[string]any `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Baseline     string             `json:"baselineState,omitempty"`
		Properties   map[string]any     `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine  int    `json:"startLine,omitempty"`
		ByteOffset *int64 `json:"byteOffset,omitempty"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
)

// SARIF writes reports as a SARIF 2.1.0 log of one run: a result for each
// finding, with IMAGE/VOLUME/path as its place.
func SARIF(w io.Writer, tool Tool, reports []*Report) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "resflash", Version: tool.Version, Rules: []sarifRule{}}
	index := map[string]int{}
	for i, r := range Rules() {
		index[r.ID] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: r.ID, ShortDescription: sarifText{sentence(r.Title)}, FullDescription: sarifText{r.Reason},
			Help:    sarifText{"Looked at: " + r.Evidence + ".\n" + sentence("to do: "+r.Fix.Detail)},
			Default: sarifDefault{sarifLevel(r.Severity)},
			Properties: map[string]any{
				"tags": []string{"security", r.Family}, "security-severity": securitySeverity(r.Severity),
			},
		})
	}
	invocation := sarifInvocation{Successful: true}
	for _, r := range reports {
		for _, g := range r.Unknown {
			invocation.Notifications = append(invocation.Notifications, sarifNotification{
				Level: "error", Message: sarifText{clean("could not be read: " + g.Reason)}, Locations: place(r.Image, g.Volume, g.Path, nil),
			})
		}
		for _, f := range r.Findings {
			run.Results = append(run.Results, f.sarif(r, index[f.Rule]))
		}
	}
	run.Invocations = []sarifInvocation{invocation}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

func (f *Finding) sarif(r *Report, rule int) sarifResult {
	text := f.Message
	if f.Evidence != "" {
		text += " (" + f.Evidence + ")"
	}
	var region *sarifRegion
	if f.Line > 0 || f.Offset != nil {
		region = &sarifRegion{f.Line, f.Offset}
	}
	res := sarifResult{
		RuleID: f.Rule, RuleIndex: rule, Level: sarifLevel(f.Severity), Message: sarifText{clean(text)},
		Locations:    place(r.Image, f.Volume, f.Path, region),
		Fingerprints: map[string]string{"resflash/v1": f.Fingerprint},
		Properties:   map[string]any{"views": f.Views, "security-severity": securitySeverity(f.Severity)},
	}
	if f.WaivedBy != "" {
		res.Suppressions = []sarifSuppression{{"external", "accepted", f.WaivedBy}}
	}
	if f.Baseline {
		res.Baseline = "unchanged"
	}
	return res
}

// place is IMAGE/VOLUME/path as a relative URI: the same for every run,
// wherever the image lies.
func place(image, volume, path string, region *sarifRegion) []sarifLocation {
	var words []string
	for _, s := range []string{image[strings.LastIndexByte(image, '/')+1:], volume} {
		if s != "" {
			words = append(words, s)
		}
	}
	for s := range strings.SplitSeq(path, "/") {
		if s != "" {
			words = append(words, s)
		}
	}
	for i, s := range words {
		words[i] = url.PathEscape(s)
	}
	uri := strings.Join(words, "/")
	if strings.Contains(words[0], ":") {
		uri = "./" + uri // lest it be taken for a scheme
	}
	return []sarifLocation{{sarifPhysical{sarifArtifact{uri}, region}}}
}

func sarifLevel(s Severity) string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Info:
		return "note"
	}
	return "none"
}

// securitySeverity is on the scale of CVSS, as code scanning services want it.
func securitySeverity(s Severity) string {
	return map[Severity]string{Error: "8.0", Warning: "5.0", Info: "2.0"}[s]
}

// clean makes a text valid UTF-8.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return printable(s)
}

// sentence makes one of a phrase.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
