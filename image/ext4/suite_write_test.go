package ext4

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

// e2fsck is what e2fsck says of an image, beyond that it is clean.
func e2fsck(name string) error {
	out, err := exec.Command("e2fsck", "-fn", name).CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "e2fsck ") &&
			!strings.HasPrefix(line, "Pass ") && !strings.Contains(line, " files (") {
			return errors.New(string(out))
		}
	}
	return nil
}

func TestWritingSuite(t *testing.T) {
	testtool.Need(t, "e2fsck")
	for _, f := range forms {
		if strings.HasPrefix(f.name, "ext4-metabg") || f.name == "ext4-sparse2" || f.name == "ext2-rev" {
			continue // differ in where things lie only
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			args := slices.Clone(f.args)
			if i := slices.Index(args, "128"); i >= 0 {
				args[i] = "256" // the suite wants nanoseconds
			}
			vfstest.RunWritable(t, func(t *testing.T, size int64) vfstest.Writable {
				name := mkfs(t, size, "", append([]string{"-m", "0", "-i", "4096"}, args...)...)
				w := onFile(t, name)
				w.UseReserve(true)
				var in inode
				if w.sb.FeatureIncompat&ondisk.IncompatExtents != 0 {
					in.Flags = ondisk.FlExtents
				}
				return vfstest.Writable{
					FS: w,
					Reopen: func() (vfs.FS, error) {
						return Driver.Open(ctx, openDevice(t, name))
					},
					Check:      func() error { return e2fsck(name) },
					LinkMax:    maxLinks,
					MaxSize:    w.maxSize(&in),
					SymlinkMax: int(w.blockSize) - 1,
				}
			})
		})
	}
}
