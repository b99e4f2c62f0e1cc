package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/resflash/resflash/image/customize"
)

// An editReport is what "edit" has changed: the manifest, and what --json
// prints.
type editReport struct {
	Schema string        `json:"schema"`
	DryRun bool          `json:"dryRun"`
	Images []imageReport `json:"images"`
}

// An imageReport is about one system in an image. Changes name operations by
// their number, from 1.
type imageReport struct {
	Image      string             `json:"image"`
	Volume     string             `json:"volume,omitempty"` // of the root
	Operations []operationReport  `json:"operations"`
	Changes    []customize.Change `json:"changes"`
}

type operationReport struct {
	Operation string `json:"operation"`
	At        string `json:"at,omitempty"` // SCRIPT:LINE
}

// add adds what was done to a system.
func (r *editReport) add(ctx context.Context, name string, e *customize.Editor, steps []customize.Step) error {
	changes, err := e.Changes(ctx)
	if err != nil {
		return err
	}
	i := imageReport{Image: name, Changes: append([]customize.Change{}, changes...)}
	if p := e.Root(); p != nil {
		i.Volume = p.ID
	}
	for _, s := range steps {
		i.Operations = append(i.Operations, operationReport{s.String(), s.At})
	}
	r.Images = append(r.Images, i)
	return nil
}

// write writes the report to a file, whole or not at all.
func (r *editReport) write(name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".resflash-*.part")
	if err != nil {
		return hostError(fmt.Errorf("the image was changed, its manifest is not written: %w", err))
	}
	defer os.Remove(f.Name())
	e := json.NewEncoder(f)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(r)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return hostError(fmt.Errorf("the image was changed, its manifest is not written: %w", err))
	}
	return nil
}

// print prints the changes for people.
func (r *editReport) print(w *world) {
	for _, i := range r.Images {
		for _, c := range i.Changes {
			w.printf("%s\n", w.name(describe(i.Image, c)))
		}
		if len(i.Changes) == 0 {
			w.note("%s: nothing is different", i.Image)
		}
	}
}

// describe is a change as a line.
func describe(image string, c customize.Change) string {
	at := image
	if c.Volume != "" && c.Volume != "whole" {
		at += ":" + c.Volume
	}
	if c.Path != "" {
		at += ":" + c.Path
	}
	switch c.Action {
	case "create":
		return fmt.Sprintf("create %s %s (%s)", c.After.Type, at, state(c.After))
	case "remove":
		return fmt.Sprintf("remove %s %s (%s)", c.Before.Type, at, state(c.Before))
	case "change":
		return fmt.Sprintf("change %s %s (%s)", c.After.Type, at, strings.Join(differences(c.Before, c.After), ", "))
	}
	return fmt.Sprintf("set %s of %s: %s, was %s", c.Property, at, c.To, c.From)
}

// state is what a file is, in short.
func state(s *customize.State) string {
	text := s.Mode + " " + ownerIDs(s)
	switch s.Type {
	case "file":
		text += ", " + size(s.Size)
	case "symlink":
		text = "to " + s.Target
	}
	if s.Device != "" {
		text += ", " + s.Device
	}
	return text
}

func ownerIDs(s *customize.State) string { return fmt.Sprintf("%d:%d", s.UID, s.GID) }

// differences says what has become of a file.
func differences(a, b *customize.State) []string {
	var list []string
	differ := func(what, from, to string) {
		if from != to {
			list = append(list, fmt.Sprintf("%s %s → %s", what, from, to))
		}
	}
	differ("type", a.Type, b.Type)
	if a.Type == b.Type && a.SHA256 != b.SHA256 {
		list = append(list, fmt.Sprintf("contents %s → %s", size(a.Size), size(b.Size)))
	}
	differ("target", a.Target, b.Target)
	differ("device", a.Device, b.Device)
	differ("mode", a.Mode, b.Mode)
	differ("owner", ownerIDs(a), ownerIDs(b))
	differ("flags", cmp.Or(a.Flags, "none"), cmp.Or(b.Flags, "none"))
	if len(list) == 0 {
		list = append(list, "time")
	}
	return list
}
