package seal

import (
	"context"
	"slices"

	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
)

// A State says what becomes of a step.
type State string

// The states.
const (
	Planned State = "planned"
	Done    State = "done"
	Refused State = "refused" // its condition does not hold
	Asks    State = "opt-in"  // only if it is asked for by name
	Remains State = "no-fix"  // only a person can mend it
	InVain  State = "in-vain" // it was done, and its finding is still there
)

// A Step is one change of one file, or the reason why there is none.
type Step struct {
	State     State          `json:"state"`
	Verb      audit.Verb     `json:"verb,omitempty"`
	Volume    string         `json:"volume"` // its id
	Path      string         `json:"path,omitempty"`
	PathBytes []byte         `json:"pathBytes,omitempty"` // of a path that is not UTF-8
	Detail    string         `json:"detail,omitempty"`    // "mode 0600", "line 3"
	Rules     []string       `json:"rules"`
	Severity  audit.Severity `json:"severity"` // of the worst finding
	Why       string         `json:"why"`      // why it may be done, or is not

	with string // the file that it goes with, or stays
	do   func(context.Context, *customize.Editor) error
	line int                      // of an edit, from 1; also tells steps apart
	edit func(line string) string // the line as it is to be; see dropped
}

// dropped is what an edit makes of a line that goes.
const dropped = "\x00"

// where tells steps apart.
type where struct {
	volume, path string
	verb         audit.Verb
	line         int
	state        State
}

func (s *Step) where() where {
	state := s.State
	if state == Done {
		state = Planned
	}
	return where{s.Volume, s.Path, s.Verb, s.line, state}
}

// Place is where the step is, as other verbs take it behind the image's name.
func (s *Step) Place() string {
	f := audit.Finding{Volume: s.Volume, Path: s.Path}
	return f.Where()
}

// merge takes the rules of another step that does the same.
func (s *Step) merge(other *Step) {
	for _, r := range other.Rules {
		if !slices.Contains(s.Rules, r) {
			s.Rules = append(s.Rules, r)
		}
	}
	s.Severity = max(s.Severity, other.Severity)
}
