package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/vfs"
)

// A finding waits for the end of the round, when it is known which path it
// concerns.
type finding struct {
	vfs.Finding
	ino uint32 // that it is about, or 0
}

// maxHeld bounds the findings that wait. With more, paths are left out.
const maxHeld = 4096

// problem reports that something is wrong, and whether to mend it now: then
// the caller does, or fails.
func (c *checker) problem(f finding) (*finding, bool) {
	c.count++
	mend := false
	switch c.mode {
	case vfs.RepairAll:
		mend = true
	case vfs.RepairPreen:
		if !f.Preen {
			c.stopped = true
		}
		mend = f.Preen && !c.stopped
	}
	f.Fixed = mend
	if !mend {
		c.unmended++
	}
	if len(c.findings) >= maxHeld {
		_ = c.flush(false)
	}
	p := &f
	c.findings = append(c.findings, p)
	return p, mend
}

// giveUp says of a finding that it could not be mended after all.
func (c *checker) giveUp(f *finding, why string) {
	f.Fixed = false
	f.Detail += " (not mended: " + why + ")"
	c.unmended++
}

func (f *finding) lose(format string, args ...any) {
	if f.Lost != "" {
		f.Lost += "; "
	}
	f.Lost += fmt.Sprintf(format, args...)
}

// aboutInode is a finding about an inode.
func (c *checker) aboutInode(code string, ino uint32, preen bool, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: fmt.Sprintf("inode %d", ino), Off: c.inodeOff(ino),
		Detail: fmt.Sprintf(format, args...), Preen: preen,
	}, ino}
}

// aboutDir is a finding about byte off of a directory, which lies at byte at
// of the volume.
func (c *checker) aboutDir(code string, ino uint32, at, off int64, format string, args ...any) finding {
	detail := fmt.Sprintf(format, args...)
	if off >= 0 {
		detail = fmt.Sprintf("at its byte %d: %s", off, detail)
	}
	return finding{vfs.Finding{Code: code, Structure: fmt.Sprintf("directory %d", ino), Off: at, Detail: detail}, ino}
}

// aboutGroup is a finding about the header of a group.
func (c *checker) aboutGroup(code string, g, off int64, preen bool, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: fmt.Sprintf("cylinder group %d", g), Off: (c.start(g)+c.cblkno)<<c.fshift + off,
		Detail: fmt.Sprintf(format, args...), Preen: preen,
	}, 0}
}

// aboutSuper is a finding about a field of the superblock.
func (c *checker) aboutSuper(code string, off int64, preen bool, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: "superblock", Off: c.superAt + off,
		Detail: fmt.Sprintf(format, args...), Preen: preen,
	}, 0}
}

// flush reports the findings that were held back, with their paths if the
// directories can be trusted to be walked.
func (c *checker) flush(paths bool) error {
	var err error
	if paths && len(c.findings) > 0 {
		err = c.findPaths()
	}
	for i, f := range c.findings {
		c.report(f.Finding)
		c.findings[i] = nil
	}
	c.findings = c.findings[:0]
	return err
}
