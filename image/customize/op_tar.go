package customize

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
)

// unpack puts what is in an archive of the host into a directory.
type unpack struct {
	name       string // of the operation
	local, dir string
	compressed bool // it may be, or be a zip
}

func parseTarIn(arg string) (Operation, error)   { return parseUnpack("tar-in", arg, false) }
func parseExtract(arg string) (Operation, error) { return parseUnpack("extract", arg, true) }

func parseUnpack(name, arg string, compressed bool) (Operation, error) {
	local, dir, err := cutArg(arg)
	if err == nil {
		err = checkPath(dir)
	}
	return unpack{name, local, dir, compressed}, err
}

func (o unpack) Apply(ctx context.Context, e *Editor) error {
	f, err := os.Open(o.local)
	if err != nil {
		return err
	}
	defer f.Close()
	a, err := openArchive(&interruptible{ctx, f})
	if err != nil {
		return fmt.Errorf("%s: %w", o.local, err)
	}
	defer a.close()
	if a.kind != "" && !o.compressed {
		return fmt.Errorf("%s: is compressed (%s), which \"extract\" unpacks", o.local, a.kind)
	}
	u := unpacker{e: e, dir: o.dir}
	if err := u.all(ctx, tar.NewReader(a)); err != nil {
		return fmt.Errorf("%s: %w", o.local, err)
	}
	return nil
}

func (o unpack) String() string { return o.name + " " + o.local + ":" + o.dir }
