package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
)

type cpCmd struct {
	Recursive bool     `short:"r" aliases:"R" help:"Directories with everything in them, and symbolic links as they are."`
	Archive   bool     `short:"a" help:"-r and -p."`
	Preserve  bool     `short:"p" help:"Into an image: keep modes with set-id bits, times and extended attributes; between images also owners and file flags."`
	NoClobber bool     `short:"n" help:"Leave files alone that exist; out of an image each is an error."`
	Owner     string   `placeholder:"UID:GID" xor:"owner" help:"Into an image: whom new files belong to (0:0)."`
	KeepOwner bool     `xor:"owner" help:"Into an image: new files belong to the numbers that the originals do."`
	NoOwner   bool     `help:"Out of an image: do not give copies their owners even when root."`
	Paths     []string `arg:"" name:"path" help:"What to copy, and in the end a file or directory. IMAGE:/path and IMAGE:VOLUME:/path are in an image, everything else on the host; - is standard input."`
	editFlags
}

// Help is the long help text.
func (*cpCmd) Help() string {
	return addressHelp + `

Out of an image, copies keep modes, times, symbolic and hard links, holes, FIFOs, sockets,
user extended attributes and ACLs; when root also owners, devices and all extended
attributes. Set-id bits are kept only with their owner. Every file appears under its name
when it is complete. Existing files are replaced, but no symbolic link of the host is
replaced or followed, so that no image can lead a copy elsewhere. A file that fails is
reported, and the rest is copied.

	resflash cp disk.img:/etc/fstab .
	resflash cp -r disk.img:/etc disk.img:cfg:/ saved/
	resflash cp -r disk.img:/etc/. etc-of-the-image

Into an image, all that one command copies is one transaction: if a file fails, nothing
was changed. A file that exists gets new contents, and keeps its owner, mode and other
names; what is new belongs to 0:0, has the permissions of the original without set-id
bits, and is of now. With -p and -a existing files are replaced, and everything is kept
but the owners of the host.

	resflash cp fstab motd disk.img:/etc/
	resflash cp -a site/. disk.img:/var/www/htdocs --owner www:www
	resflash cp -a disk.img:d:/etc other.img:inactive:/
	printf 'hello\n' | resflash cp - disk.img:/etc/motd` + exitStatus
}

// Run copies.
func (c *cpCmd) Run(ctx context.Context, w *world) error {
	c.Recursive = c.Recursive || c.Archive
	c.Preserve = c.Preserve || c.Archive
	last := len(c.Paths) - 1
	if last < 1 {
		return usageError("resflash help cp", errors.New("cp wants at least one source and a destination"))
	}
	sources, dest := c.Paths[:last], c.Paths[last]
	if isAddress(dest) {
		return w.edit(ctx, c.editFlags, func(e *editor) error {
			return c.copyIn(ctx, e, sources, dest)
		})
	}
	switch {
	case c.DryRun || c.Output != "" || c.JSON || c.Verbose:
		return usageError("", fmt.Errorf("--dry-run, --output, --verbose and --json are for changing an image, and %s is on the host", dest))
	case isHostFile(dest) && !isAddress(sources[0]):
		return usageError("", fmt.Errorf("%s: which file? write %s:/path", dest, dest))
	}
	return c.copyOut(ctx, w, sources, dest)
}

// isAddress reports whether text names something in an image, and not on the
// host.
func isAddress(text string) bool {
	a := parseAddress(text, isHostFile)
	return a.colon && !isHostDir(text) && (isHostFile(a.image) || a.path != "")
}

// contentsName is the name that a copy of the file at p has in a directory;
// "." if p is "dir/." or the root: the contents of a directory, not the
// directory.
func contentsName(p string) string {
	switch name := path.Base(strings.TrimRight(p, "/")); name {
	case ".", "..", "/":
		return "."
	default:
		return name
	}
}
