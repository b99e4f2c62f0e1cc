package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
)

// An address is what people type to name something in an image:
//
//	IMAGE                the image, or its root volume where a volume is wanted
//	IMAGE:VOLUME         a volume: its id, role or label
//	IMAGE:/path          a file in the root volume
//	IMAGE:VOLUME:/path   a file in a volume
//
// IMAGE may contain colons itself: an existing file is an image as it stands,
// and otherwise the longest part before a colon that is an existing file is.
type address struct {
	text   string // as typed
	image  string
	volume string // "" is the root volume
	path   string // begins with a slash; "" if none was given
	colon  bool   // something follows the image, if only a colon
}

const addressHelp = `Files are named IMAGE:/path (in the root volume) or IMAGE:VOLUME:/path,
where VOLUME is an id (d, p1), a role (root, inactive, cfg, mbr, efi) or a label;
"resflash inspect IMAGE" lists them. Symbolic links are followed inside the
volume, never outside.`

// parseAddress takes s apart. isFile says whether a host path is a file (or a
// device): anything but a directory.
func parseAddress(s string, isFile func(string) bool) address {
	a := address{text: s}
	if isFile(s) {
		a.image = s
		return a
	}
	cut := -1
	for i := len(s) - 1; i > 0; i-- {
		if s[i] == ':' && isFile(s[:i]) {
			cut = i
			break
		}
	}
	if cut < 0 {
		// No such image; the error message wants a name for it. "./a:b" and
		// the like do not exist either, so the first colon ends it.
		if cut = strings.IndexByte(s, ':'); cut <= 0 {
			a.image = s
			return a
		}
	}
	a.image, a.colon = s[:cut], true
	rest := s[cut+1:]
	if strings.HasPrefix(rest, "/") {
		a.path = rest
	} else if at := strings.Index(rest, ":/"); at >= 0 {
		a.volume, a.path = rest[:at], rest[at+1:]
	} else {
		a.volume = strings.TrimSuffix(rest, ":")
	}
	return a
}

func isHostFile(name string) bool {
	st, err := os.Stat(name)
	return err == nil && !st.IsDir()
}

// open opens the image called name; an image is opened once in a run.
func (w *world) open(ctx context.Context, name string) (*image.Disk, error) {
	if d := w.disks[name]; d != nil {
		return d, nil
	}
	if w.editor != nil {
		// What is read is what was changed so far.
		if d := w.editor.opened(name); d != nil {
			return d, nil
		}
	}
	st, err := os.Stat(name)
	if err == nil && st.IsDir() {
		return nil, usageError("", fmt.Errorf("%s: is a directory, not an image", name))
	}
	var opts []image.Option
	if w.sectorSize != 0 {
		opts = append(opts, image.WithSectorSize(w.sectorSize))
	}
	d, err := image.Open(ctx, name, opts...)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) && pe.Path == name {
			err = fmt.Errorf("%s: %w", name, pe.Err)
		}
		return nil, err
	}
	w.disks[name] = d
	return d, nil
}

// partition finds the partition that a names.
func (w *world) partition(ctx context.Context, a address) (*image.Partition, error) {
	d, err := w.open(ctx, a.image)
	if err != nil {
		return nil, err
	}
	p, err := d.Find(ctx, a.volume)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.image, err)
	}
	return p, nil
}

// volume opens the volume that a names.
func (w *world) volume(ctx context.Context, a address) (*image.Volume, error) {
	p, err := w.partition(ctx, a)
	if err != nil {
		return nil, err
	}
	v := w.editedVolume(p)
	if v == nil {
		v, err = p.Volume(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.image, err)
	}
	return v, nil
}

// editedVolume returns the volume in p if it was opened for changing.
func (w *world) editedVolume(p *image.Partition) *image.Volume {
	if w.editor == nil {
		return nil
	}
	return w.editor.volumes[p]
}

// A file is a file in an image that was found.
type file struct {
	address
	vol  *image.Volume
	real string // absolute and free of symbolic links, unless it is one itself
	attr vfs.Attr
}

// file finds the file that text names, following symbolic links unless lstat
// is set. An address without a path is the root directory of the volume.
func (w *world) file(ctx context.Context, text string, lstat bool) (file, error) {
	f := file{address: parseAddress(text, isHostFile)}
	var err error
	if f.vol, err = w.volume(ctx, f.address); err != nil {
		return f, err
	}
	if f.path == "" {
		f.path = "/"
	}
	if lstat {
		f.real = f.path
		f.attr, err = f.vol.Tree.ResolveLink(ctx, f.path)
	}
	if !lstat || err == nil && !f.attr.Mode.IsSymlink() {
		f.real, f.attr, err = f.vol.Tree.RealPath(ctx, f.path)
	}
	return f, addressError(f.address, err)
}

// addressError puts the address as it was typed in front of what was wrong.
func addressError(a address, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", a.text, leaf(err))
}

// leaf takes the operation and path of the library out of an error.
func leaf(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
