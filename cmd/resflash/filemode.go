package main

import "github.com/resflash/resflash/image/vfs"

const modeHint = "want an octal mode like 0644, or changes like u+rwX,go-w"

// parseMode reads what chmod(1) and -m are given.
func parseMode(s string) (vfs.ModeChange, error) {
	m, err := vfs.ParseModeChange(s)
	if err != nil {
		return m, usageError(modeHint, err)
	}
	return m, nil
}
