package main

import (
	"fmt"

	"github.com/resflash/resflash/image/vfs"
)

// A change is an element of what the editing verbs print with --json, and a
// line of what they print with --verbose and --dry-run.
type change struct {
	Action    string `json:"action"` // create, write, remove, rename, link, mode, owner, time, flags, size, format
	Type      string `json:"type,omitempty"`
	Image     string `json:"image"`
	Volume    string `json:"volume"` // its id
	Path      string `json:"path,omitempty"`
	PathBytes []byte `json:"pathBytes,omitempty"`
	From      string `json:"from,omitempty"` // what it was before, or was copied from
	To        string `json:"to,omitempty"`   // what it is now
	Size      *int64 `json:"size,omitempty"` // bytes
}

// did records a change to the file at a place, if anybody wants to know.
func (e *editor) did(at target, action string, c change) {
	if !e.records() {
		return
	}
	c.Action, c.Image, c.Volume = action, at.image, at.vol.Partition.ID
	c.Path, c.PathBytes = at.real, bytesIfInvalid(at.real)
	e.changes = append(e.changes, c)
}

func (e *editor) records() bool { return e.flags.DryRun || e.flags.Verbose || e.flags.JSON }

// print prints the changes.
func (e *editor) print() error {
	if e.flags.JSON {
		array := &jsonArray{w: e.w}
		for _, c := range e.changes {
			if err := array.add(c); err != nil {
				return err
			}
		}
		array.end()
		return nil
	}
	for _, c := range e.changes {
		e.w.printf("%s\n", e.w.name(c.String()))
	}
	return nil
}

func (c change) String() string {
	at := c.Image
	if c.Volume != "whole" {
		at += ":" + c.Volume
	}
	if c.Path != "" {
		at += ":" + c.Path
	}
	switch c.Action {
	case "create", "remove":
		s := c.Action + " " + c.Type + " " + at
		if c.From != "" {
			s += " from " + c.From
		}
		if c.To != "" {
			s += " (" + c.To + ")"
		}
		return s
	case "write":
		s := "write " + at
		if c.From != "" {
			s += " from " + c.From
		}
		if c.Size != nil {
			s += fmt.Sprintf(" (%s)", size(*c.Size))
		}
		return s
	case "rename":
		return fmt.Sprintf("rename %s to %s", at, c.To)
	case "link":
		return fmt.Sprintf("link %s to %s", at, c.To)
	}
	s := c.Action + " of " + at + ":"
	if c.From != "" {
		return fmt.Sprintf("%s %s, was %s", s, c.To, c.From)
	}
	return s + " " + c.To
}

func octal(m vfs.Mode) string { return fmt.Sprintf("%04o", uint32(m.Perm())) }
