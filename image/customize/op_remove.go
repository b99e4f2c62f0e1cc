package customize

import (
	"context"
	"path"
)

// remove is "delete": rm -rf of what matches a pattern.
type remove struct{ pattern string }

func parseDelete(arg string) (Operation, error) {
	if err := checkPath(arg); err != nil {
		return nil, err
	}
	_, err := path.Match(arg, "")
	return remove{arg}, err
}

func (o remove) Apply(ctx context.Context, e *Editor) error {
	found, err := e.Glob(ctx, o.pattern)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		e.note("%s: nothing is there", o)
	}
	for _, path := range found {
		if err := e.RemoveAll(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func (o remove) String() string { return "delete " + o.pattern }
