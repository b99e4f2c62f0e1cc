package audit

import (
	"context"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// walk shows every file of a volume to the checks that want to see all of
// them. It is one walk, however many they are.
func walk(ctx context.Context, v *view, visitors []*scan) error {
	prefix := strings.TrimSuffix(v.at, "/")
	err := v.volume.Tree.Walk(ctx, "/", func(name string, attr vfs.Attr, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := &file{path: prefix + name, vol: v.volume, at: name, attr: attr}
		if name == "/" && prefix != "" {
			f.path = prefix
		}
		for _, s := range visitors {
			if err != nil {
				s.unread(f.path, &fault{f.vol, f.at, err})
			} else {
				s.check.visit(s, f)
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		for _, s := range visitors {
			s.unread("/", &fault{v.volume, "/", err})
		}
		return nil
	}
	return err
}
