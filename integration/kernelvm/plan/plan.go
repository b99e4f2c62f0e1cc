// Package plan is what the host and the program in the virtual machine tell
// each other: which disks to mount, and what was found there.
package plan

import (
	"fmt"

	"github.com/resflash/resflash/integration/manifest"
)

// Name is the file in the initramfs that holds the [Plan], as gob.
const Name = "plan"

// A Plan is the work for one boot. Disk i has the serial number [Serial](i);
// the last one, len(Mounts), receives the answer.
type Plan struct {
	Mounts []Mount
	// Run, if not empty, is a program to become, with its arguments, in the only
	// disk, as its root. Then there is no answer, and no disk for it.
	Run []string
}

// A Mount is one disk.
type Mount struct {
	FS, Options string
	LendSuper   int64
}

// A Result is the answer for one Mount.
type Result struct {
	Manifest manifest.Manifest
	Err      string
}

// The answer disk holds Magic, then a gob of []Result. Magic is written last.
const (
	Magic      = "kernelvm answer\n"
	AnswerSize = 4 << 30 // bytes; sparse
)

// Serial is the serial number of disk i.
func Serial(i int) string { return fmt.Sprintf("disk%d", i) }
