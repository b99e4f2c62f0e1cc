package main

import (
	"runtime"
	"runtime/debug"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = ""

type versionCmd struct {
	JSON bool `name:"json" help:"Print a JSON document."`
}

// versionJSON is what version --json prints.
type versionJSON struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// versionText is the version in one word.
func versionText() string {
	if v := currentVersion().Version; v != "(devel)" {
		return v
	}
	return ""
}

// Run prints the version.
func (c *versionCmd) Run(w *world) error {
	v := currentVersion()
	if c.JSON {
		return w.document(v)
	}
	w.printf("resflash %s", v.Version)
	if v.Commit != "" {
		w.printf(", commit %.12s", v.Commit)
		if v.Modified {
			w.printf(" (modified)")
		}
	}
	w.printf(", %s %s\n", v.Go, v.Platform)
	return nil
}

// currentVersion is what the linker and the build have left.
func currentVersion() versionJSON {
	v := versionJSON{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v.Version == "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Time = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	return v
}
