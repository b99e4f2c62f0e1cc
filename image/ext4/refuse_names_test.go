package ext4

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Directories whose names cannot be written are refused one by one, and nothing
// else is.
func TestNamesThatCannotBeWritten(t *testing.T) {
	for what, flag := range map[string]uint32{"case-insensitive": ondisk.FlCasefold, "encrypted": ondisk.FlEncrypt} {
		t.Run(what, func(t *testing.T) {
			image := mkfs(t, 16<<20, "", "-t", "ext4", "-O", "casefold,encrypt", "-E", "encoding=utf8")
			debugfs(t, image, "mkdir dir", "mkdir other", fmt.Sprintf("sif dir flags %#x", ondisk.FlExtents|flag))
			w := onFile(t, image)
			dir := lookup(t, w, "/dir")
			file := w.must(t, w.Root(), "file", vfs.Regular|0o644)
			for _, err := range []error{
				func() error { _, err := w.Create(ctx, dir, "new", vfs.NewNode{Mode: vfs.Regular}); return err }(),
				func() error { _, err := w.Link(ctx, file, dir, "new"); return err }(),
				w.Unlink(ctx, dir, "new"), w.Rmdir(ctx, dir, "new"),
				w.Rename(ctx, w.Root(), "file", dir, "new", 0), w.Rename(ctx, dir, "new", w.Root(), "new", 0),
			} {
				assert.True(t, isNotSupported(err), "%v", err)
			}
			w.must(t, lookup(t, w, "/other"), "new", vfs.Regular|0o644)
		})
	}
}
