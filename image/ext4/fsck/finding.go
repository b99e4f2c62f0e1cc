package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
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
		c.flush(false)
	}
	p := &f
	c.findings = append(c.findings, p)
	return p, mend
}

func (f *finding) lose(format string, args ...any) {
	if f.Lost != "" {
		f.Lost += "; "
	}
	f.Lost += fmt.Sprintf(format, args...)
}

// preen says that e2fsck -p mends it.
func (f finding) preen() finding {
	f.Preen = true
	return f
}

// aboutInode is a finding about an inode.
func (c *checker) aboutInode(code string, ino uint32, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: fmt.Sprintf("inode %d", ino), Off: c.inodeOff(ino), Detail: fmt.Sprintf(format, args...),
	}, ino}
}

// aboutDir is a finding about byte off of block lblk of a directory, which lies
// at byte at of the volume, or nowhere.
func (c *checker) aboutDir(code string, ino uint32, at int64, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: fmt.Sprintf("directory %d", ino), Off: at, Detail: fmt.Sprintf(format, args...),
	}, ino}
}

// aboutGroup is a finding about a group, at byte off.
func (c *checker) aboutGroup(code string, g uint32, off int64, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: fmt.Sprintf("group %d", g), Off: off, Detail: fmt.Sprintf(format, args...),
	}, 0}
}

// aboutSuper is a finding about a field of the superblock.
func aboutSuper(code string, off int64, format string, args ...any) finding {
	return finding{vfs.Finding{
		Code: code, Structure: "superblock", Off: ondisk.SuperOff + off, Detail: fmt.Sprintf(format, args...),
	}, 0}
}

// flush reports the findings that were held back, with their paths if the
// directories can be trusted to be walked.
func (c *checker) flush(paths bool) error {
	var err error
	if paths && len(c.findings) > 0 {
		err = c.findPaths()
	}
	for _, f := range c.findings {
		c.report(f.Finding)
	}
	c.findings = c.findings[:0]
	return err
}

// claimed is a size in words. A damaged inode may say anything.
func claimed(size uint64) string {
	if size > 1<<60 {
		return "more bytes than there can be"
	}
	return plural(size, "byte")
}

// plural counts things in words.
func plural[N int | uint64](n N, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
