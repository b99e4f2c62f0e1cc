package integration

import (
	"github.com/resflash/resflash/integration/manifest"
	"testing"
)

func sleuthkit(t *testing.T, image string, want manifest.Manifest) {}
func grub(t *testing.T, image string, want manifest.Manifest)      {}
