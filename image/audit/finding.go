package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// A Finding is a place where a rule is broken.
type Finding struct {
	Rule        string   `json:"rule"`
	Severity    Severity `json:"severity"`
	Volume      string   `json:"volume,omitempty"` // id of the one that supplies the file
	Role        string   `json:"role,omitempty"`
	Path        string   `json:"path,omitempty"`      // in the volume
	PathBytes   []byte   `json:"pathBytes,omitempty"` // of a path that is not UTF-8
	Link        string   `json:"link,omitempty"`      // the symbolic link that the file was found by, in the view
	Views       []string `json:"views"`               // where it is seen: "d", "d+f"
	Inode       uint64   `json:"inode,omitempty"`
	Offset      *int64   `json:"offset,omitempty"` // bytes into the volume, of what has no path
	Line        int      `json:"line,omitempty"`
	Message     string   `json:"message"`
	Evidence    string   `json:"evidence,omitempty"` // kind, length, fingerprint of a secret; never its bytes
	Fingerprint string   `json:"fingerprint"`
	Fix         Fix      `json:"fix"`
	Fixable     *bool    `json:"fixable,omitempty"` // whether the fix's condition holds; nil: it has none, or the image cannot tell
	FixNote     string   `json:"fixNote,omitempty"` // what says so
	Reference   string   `json:"reference,omitempty"`
	WaivedBy    string   `json:"waivedBy,omitempty"` // the reason that was given
	Baseline    bool     `json:"baseline,omitempty"` // it was there before

	// Perm is what the fix sets the permissions to, if it is a [Chmod].
	Perm vfs.Mode `json:"-"`

	rule   *Rule
	value  string // hash of what was found, if that tells findings apart
	secret string // hash of the secret or identity that was found; never printed unless it is value too
	volume int    // in the order of the target
	final  bool   // FixNote is about a system as it is at run time
	exact  []byte // part of the secret, by which copies of it are known
}

// Open reports whether a finding counts: it is neither waived nor known from
// before.
func (f *Finding) Open() bool { return f.WaivedBy == "" && !f.Baseline }

// Where is the place of a finding as other verbs take it behind the name of
// the image: "f:/etc/ssh/ssh_host_rsa_key".
func (f *Finding) Where() string {
	switch {
	case f.Volume == "" || f.Volume == "whole" && f.Path != "":
		return f.Path
	case f.Path == "" && f.Offset != nil:
		return fmt.Sprintf("%s at byte %d", f.Volume, *f.Offset)
	case f.Path == "":
		return f.Volume
	}
	return f.Volume + ":" + f.Path
}

// sign gives the finding its fingerprint, which stays the same as long as the
// same thing lies in the same place.
func (f *Finding) sign() {
	place := f.Role
	if place == "" {
		place = f.Volume
	}
	what := f.value
	if what == "" {
		what = f.Message
	}
	f.Fingerprint = digest([]byte(strings.Join([]string{f.Rule, place, f.Path, what}, "\x00")))
}

// digest is a hash short enough to be read, and long enough to tell things
// apart.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// order sorts findings as reports have them: by rule, volume and path.
func order(list []*Finding, rules map[*Rule]int) {
	slices.SortStableFunc(list, func(a, b *Finding) int {
		for _, c := range []int{
			rules[a.rule] - rules[b.rule], a.volume - b.volume,
			strings.Compare(a.Path, b.Path), a.Line - b.Line, strings.Compare(a.Message, b.Message),
			strings.Compare(a.Fingerprint, b.Fingerprint),
		} {
			if c != 0 {
				return c
			}
		}
		return 0
	})
}

// A Status is the verdict of a rule on a view.
type Status string

// The statuses.
const (
	Pass          Status = "pass"
	Fail          Status = "fail"
	Waived        Status = "waived" // only findings that do not count
	Unknown       Status = "unknown"
	NotApplicable Status = "not-applicable"
)

// rank orders statuses: of several views the worst counts.
func (s Status) rank() int {
	return slices.Index([]Status{NotApplicable, Pass, Waived, Unknown, Fail}, s)
}

// A Verdict is what became of a rule.
type Verdict struct {
	Rule   string            `json:"rule"`
	Status Status            `json:"status"` // the worst of the views
	Views  map[string]Status `json:"views"`
	More   int               `json:"more,omitempty"` // findings beyond the limit
}

// A Gap is something that could not be read, and what is unknown for it.
type Gap struct {
	Volume string   `json:"volume,omitempty"`
	Path   string   `json:"path,omitempty"`
	Reason string   `json:"reason"`
	Rules  []string `json:"rules,omitempty"`
}

// VolumeInfo is a volume as a report lists it.
type VolumeInfo struct {
	ID     string `json:"id"`
	Role   string `json:"role,omitempty"`
	Type   string `json:"type,omitempty"`
	Label  string `json:"label,omitempty"`
	Start  int64  `json:"start"`            // bytes from the start of the image
	Size   int64  `json:"size"`             // bytes; 0 if the target is no disk
	Used   *int64 `json:"used,omitempty"`   // bytes in use, if that can be told
	System string `json:"system,omitempty"` // what is installed in it
	Error  string `json:"error,omitempty"`  // why it could not be looked into
}

// A Report is the result of an audit. Two audits of the same image give the
// same report.
type Report struct {
	Schema   string        `json:"schema"`
	Tool     string        `json:"tool,omitempty"`
	Image    string        `json:"image"`
	Size     int64         `json:"size,omitempty"` // of the image in bytes
	Profile  Profile       `json:"profile"`
	Volumes  []*VolumeInfo `json:"volumes"`
	Views    []string      `json:"views"`
	Rules    []*Verdict    `json:"rules"`
	Findings []*Finding    `json:"findings"`
	Unknown  []*Gap        `json:"unknown"`
	Notes    []string      `json:"notes"` // about waivers: unused, expired

	auditor *auditor
}

// Schema names the form of a JSON report.
const Schema = "resflash-audit-1"

// Worst is the severity of the worst finding that counts; [Off] if none does.
func (r *Report) Worst() Severity {
	worst := Off
	for _, f := range r.Findings {
		if f.Open() {
			worst = max(worst, f.Severity)
		}
	}
	return worst
}

// Complete reports whether everything could be read, except what a waiver
// speaks of.
func (r *Report) Complete() bool {
	return !slices.ContainsFunc(r.Findings, func(f *Finding) bool { return f.rule == auditIncomplete && f.Open() })
}

// Count counts the rules by status, over all views.
func (r *Report) Count() map[Status]int {
	n := map[Status]int{}
	for _, v := range r.Rules {
		n[v.Status]++
	}
	return n
}

// A Format writes reports.
type Format func(w io.Writer, tool Tool, reports []*Report) error

// Tool is the program that made a report.
type Tool struct{ Version string }

func (t Tool) String() string { return strings.TrimSpace("resflash " + t.Version) }

// Formats are the forms of a report, by name.
var Formats = map[string]Format{"text": Text, "json": JSON, "ndjson": NDJSON, "sarif": SARIF, "junit": JUnit, "html": HTML}
