package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

// checkJSON is an element of what check --json prints.
type checkJSON struct {
	Image    string        `json:"image"`
	Volume   string        `json:"volume"`
	Type     string        `json:"type,omitempty"`
	Status   string        `json:"status"`
	Reason   string        `json:"reason,omitempty"` // why it was not checked
	Findings []findingJSON `json:"findings"`
	More     int           `json:"more,omitempty"`

	at    string // as it is addressed
	err   error  // why it was not checked
	left  int    // findings that are not mended
	fixed int
	lost  int
}

type findingJSON struct {
	Code        string `json:"code"`
	Structure   string `json:"structure"`
	Offset      *int64 `json:"offset,omitempty"`
	ImageOffset *int64 `json:"imageOffset,omitempty"`
	Path        string `json:"path,omitempty"`
	PathBytes   []byte `json:"pathBytes,omitempty"`
	Detail      string `json:"detail"`
	Preen       bool   `json:"preen,omitempty"`
	Fixed       bool   `json:"fixed,omitempty"`
	Lost        string `json:"lost,omitempty"`
}

// The verdicts on a volume.
const (
	statusClean     = "clean"
	statusDamaged   = "damaged"
	statusRepaired  = "repaired"
	statusUnchecked = "unchecked"
	statusEmpty     = "empty"
)

// maxFindings bounds the memory that the findings of a volume take.
const maxFindings = 10000

// tableResult is what is wrong with the partition tables.
func tableResult(d *image.Disk) *checkJSON {
	if len(d.Problems()) == 0 {
		return nil
	}
	r := &checkJSON{Image: d.Name(), Type: "partition table", Status: statusDamaged, Findings: []findingJSON{}, at: d.Name()}
	for _, p := range d.Problems() {
		off := p.Off
		r.Findings = append(r.Findings, findingJSON{Code: "table", Structure: "partition table", Offset: &off, ImageOffset: &off, Detail: p.Error()})
		r.left++
	}
	return r
}

func (r *checkJSON) add(f vfs.Finding, start int64) {
	switch {
	case f.Fixed:
		r.fixed++
	default:
		r.left++
	}
	if f.Lost != "" {
		r.lost++
	}
	if len(r.Findings) >= maxFindings {
		r.More++
		return
	}
	j := findingJSON{
		Code: f.Code, Structure: f.Structure, Detail: f.Detail, Path: f.Path, PathBytes: bytesIfInvalid(f.Path),
		Preen: f.Preen, Fixed: f.Fixed, Lost: f.Lost,
	}
	if f.Off >= 0 {
		off, at := f.Off, start+f.Off
		j.Offset, j.ImageOffset = &off, &at
	}
	r.Findings = append(r.Findings, j)
}

// forgetLeft drops the findings that are not mended.
func (r *checkJSON) forgetLeft() {
	r.Findings = slices.DeleteFunc(r.Findings, func(f findingJSON) bool { return !f.Fixed })
	r.left = 0
}

func (r *checkJSON) judge() {
	switch {
	case r.left > 0:
		r.Status = statusDamaged
	case r.fixed > 0:
		r.Status = statusRepaired
	default:
		r.Status = statusClean
	}
}

func (r *checkJSON) unchecked(err error) *checkJSON {
	r.Status, r.err, r.Reason = statusUnchecked, err, err.Error()
	return r
}

// failed is for what kept the checker from looking.
func (r *checkJSON) failed(ctx context.Context, err error) (*checkJSON, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return r.unchecked(err), nil
}

func (r *checkJSON) print(w *world, dryRun bool) {
	head := r.at + ": "
	if r.Type != "" {
		head += r.Type + ": "
	}
	switch r.Status {
	case statusClean:
		w.printf("%sclean\n", w.name(head))
		return
	case statusEmpty:
		if r.Reason == "" {
			r.Reason = "empty"
		}
		w.printf("%s: %s, nothing to check\n", w.name(r.at), r.Reason)
		return
	case statusUnchecked:
		w.printf("%snot checked\n", w.name(head))
		return
	}
	word := "repaired"
	if dryRun {
		word = "could be repaired"
	}
	for _, f := range r.Findings {
		line := r.at + ": " + f.Structure
		if f.Offset != nil {
			line += fmt.Sprintf(" at byte %d", *f.Offset)
		}
		if r.Volume == "" {
			line = r.at
		}
		line += ": " + f.Detail
		if f.Path != "" {
			line += " (" + f.Path + ")"
		}
		if line += " [" + f.Code + "]"; f.Fixed {
			line += ", " + word
		}
		if f.Lost != "" {
			line += ", lost: " + f.Lost
		}
		w.printf("%s\n", w.name(line))
	}
	if r.More > 0 {
		w.printf("%s: and %d more\n", w.name(r.at), r.More)
	}
	text := plural(r.left+r.fixed, "problem", "problems")
	if r.fixed > 0 {
		text += fmt.Sprintf(", %d %s", r.fixed, word)
	}
	if r.lost > 0 {
		text += fmt.Sprintf(", %d with loss", r.lost)
	}
	w.printf("%s%s\n", w.name(head), text)
}
