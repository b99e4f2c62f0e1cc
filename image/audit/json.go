package audit

import (
	"encoding/json"
	"io"
)

// JSON writes a list of reports.
func JSON(w io.Writer, tool Tool, reports []*Report) error {
	for _, r := range reports {
		r.Tool = tool.String()
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(reports)
}

// NDJSON writes one line for each finding, with the image that it is in.
func NDJSON(w io.Writer, _ Tool, reports []*Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, r := range reports {
		for _, f := range r.Findings {
			if err := e.Encode(struct {
				Image string `json:"image"`
				*Finding
			}{r.Image, f}); err != nil {
				return err
			}
		}
	}
	return nil
}
