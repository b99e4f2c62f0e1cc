package fsck

import (
	"slices"
	"strings"

	"github.com/resflash/resflash/image/ext4/ondisk"
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
		} else if _, ok := where[f.ino]; !ok && !c.isHidden(f.ino) {
			where[f.ino] = 0
			wanted++
		}
	}
	for i := range c.dirs {
		if wanted == 0 {
			break
		}
		d := &c.dirs[i]
		if c.kind.get(d.ino)&inoKind != inoDir {
			continue
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		err := c.editDir(d.ino, func(b *dirBlock) (bool, bool) {
			for e := range b.entries() {
				if dir, ok := where[e.ino]; ok && dir == 0 && c.dir(e.ino) == nil {
					where[e.ino] = d.ino
					wanted--
				}
			}
			return false, wanted == 0
		})
		if err != nil {
			return err
		}
	}
	names := map[uint32]string{} // of directories
	for _, f := range c.findings {
		if f.ino == 0 {
			continue
		}
		path, err := c.path(f.ino, where[f.ino], names)
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
func (c *checker) path(ino, dir uint32, names map[uint32]string) (string, error) {
	if ino == ondisk.RootIno {
		return "/", nil
	}
	var parts []string
	for range maxDepth {
		if dir == 0 {
			return "", nil
		}
		name, known := names[ino]
		if !known {
			err := c.editDir(dir, func(b *dirBlock) (bool, bool) {
				for e := range b.entries() {
					if e.ino == ino && !e.isDot() && !e.isDotDot() {
						name = string(e.name)
						return false, true
					}
				}
				return false, false
			})
			if err != nil {
				return "", err
			}
			names[ino] = name
		}
		if name == "" {
			return "", nil
		}
		parts = append(parts, name)
		if dir == ondisk.RootIno {
			slices.Reverse(parts)
			return "/" + strings.Join(parts, "/"), nil
		}
		d := c.dir(dir)
		if d == nil {
			return "", nil
		}
		ino, dir = dir, d.parent
	}
	return "", nil
}
