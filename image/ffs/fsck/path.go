package fsck

import (
	"strings"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// findPaths fills in the paths of the findings that are held back: one walk
// over all directories for all of them.
func (c *checker) findPaths() error {
	where := map[uint32]uint32{} // inode: directory that has a name for it
	wanted := 0
	for _, f := range c.findings {
		if f.ino == 0 {
			continue
		}
		if d := c.dir(f.ino); d != nil {
			where[f.ino] = d.parent
		} else if _, ok := where[f.ino]; !ok {
			where[f.ino] = 0
			wanted++
		}
	}
	for i := range c.dirs {
		if wanted == 0 {
			break
		}
		d := &c.dirs[i]
		if c.kind(d.ino) != inoDir {
			continue
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		_, err := c.editDir(d.ino, func(b []byte, _ int64) (bool, bool) {
			c.entries(b, func(_ int, e *entry) bool {
				if dir, ok := where[e.Ino]; ok && dir == 0 && c.dir(e.Ino) == nil {
					where[e.Ino] = d.ino
					wanted--
				}
				return true
			})
			return false, wanted == 0
		})
		if err != nil {
			return err
		}
	}
	for _, f := range c.findings {
		if f.ino == 0 {
			continue
		}
		path, err := c.path(f.ino, where[f.ino])
		if err != nil {
			return err
		}
		f.Path = path
	}
	return nil
}

// maxDepth bounds the length of paths that are told.
const maxDepth = 128

// path is the path of an inode for which dir has a name, or "".
func (c *checker) path(ino, dir uint32) (string, error) {
	if ino == ondisk.RootIno {
		return "/", nil
	}
	var parts []string
	for range maxDepth {
		if dir == 0 {
			return "", nil
		}
		name, err := c.nameOf(dir, ino)
		if err != nil {
			return "", err
		}
		if name == "" {
			return "", nil
		}
		parts = append(parts, name)
		if dir == ondisk.RootIno {
			var b strings.Builder
			for i := len(parts) - 1; i >= 0; i-- {
				b.WriteByte('/')
				b.WriteString(parts[i])
			}
			return b.String(), nil
		}
		d := c.dir(dir)
		if d == nil {
			return "", nil
		}
		ino, dir = dir, d.parent
	}
	return "", nil
}
