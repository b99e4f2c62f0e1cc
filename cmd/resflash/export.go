package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/resflash/resflash/image/export"
)

type exportCmd struct {
	Format   string `enum:"tar,mtree" default:"tar" help:"tar (pax, with holes, extended attributes and flags) or mtree (a manifest with SHA-256)."`
	Output   string `short:"o" placeholder:"FILE" help:"Write to FILE, which appears when it is complete; else to standard output."`
	Names    bool   `name:"uname" help:"Names of owners beside the numbers (tar), by the image's own /etc/passwd."`
	NoDigest bool   `help:"No SHA-256 in a manifest; file contents are then not read."`
	File     string `arg:"" name:"file" help:"IMAGE, IMAGE:VOLUME, IMAGE:/path or IMAGE:VOLUME:/path."`
}

// Help is the long help text.
func (*exportCmd) Help() string {
	return addressHelp + `

The archive has numeric owners, modes, times in nanoseconds, hard and symbolic
links, devices, FIFOs, extended attributes, file flags, and sparse files as such.
GNU tar and bsdtar read it. Sockets are left out, with a note. The same image always
gives the same bytes.

	resflash export disk.img | tar -tv
	resflash export disk.img:inactive:/etc -o etc.tar
	resflash export --format mtree disk.img > disk.mtree
	bsdtar -tf @disk.mtree` + exitStatus
}

// Run exports.
func (c *exportCmd) Run(ctx context.Context, w *world) error {
	f, err := w.file(ctx, c.File, false)
	if err != nil {
		return err
	}
	if c.Output == "" || c.Output == "-" {
		if w.terminal && c.Format == "tar" {
			return usageError("use -o FILE, or a pipe", errors.New("will not write an archive to a terminal"))
		}
		if err := c.write(ctx, w, f, w.stdout); err != nil {
			return err
		}
		return w.done()
	}
	if err := writeFile(c.Output, func(out io.Writer) error { return c.write(ctx, w, f, out) }); err != nil {
		return err
	}
	return w.done()
}

func (c *exportCmd) write(ctx context.Context, w *world, f file, out io.Writer) error {
	total := int64(0)
	if st, err := f.vol.FS.Statfs(ctx); err == nil && f.real == "/" {
		total = int64(st.Blocks-min(st.Free, st.Blocks)) * st.BlockSize
	}
	bar := w.progress("exported", total)
	defer bar.end()
	opt := export.Options{Progress: bar.add, Problem: func(path string, err error) error {
		bar.end()
		if errors.Is(err, export.ErrSocket) {
			w.note("%s: %v", f.sibling(path), err)
			return nil
		}
		return w.problem(f.address)(path, err)
	}}
	if c.Format == "mtree" {
		return export.Mtree(ctx, out, f.vol.Tree, f.real, export.MtreeOptions{Options: opt, NoDigests: c.NoDigest})
	}
	t := export.TarOptions{Options: opt}
	if c.Names {
		n := w.owners(ctx, f.vol)
		t.Names = func(uid, gid uint32) (string, string) { return n.users[uid], n.groups[gid] }
	}
	return export.Tar(ctx, out, f.vol.Tree, f.real, t)
}

// writeFile writes a file of the host under a temporary name in the same
// folder, and renames it when it is complete. Something that is no regular
// file (a pipe, /dev/null) is written as it stands.
func writeFile(name string, fill func(io.Writer) error) error {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		out, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return hostError(err)
		}
		return errors.Join(fill(out), out.Close())
	}
	out, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.part")
	if err != nil {
		return hostError(err)
	}
	defer os.Remove(out.Name()) // fails once it is renamed
	err = fill(out)
	if err == nil {
		err = out.Chmod(0o666 &^ umask)
	}
	if closed := out.Close(); err == nil && closed != nil {
		err = hostError(closed)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(out.Name(), name); err != nil {
		return hostError(fmt.Errorf("%s: %w", name, errors.Unwrap(err)))
	}
	return nil
}

// umask is the file mode creation mask. It can only be read by being set, so
// this happens before there is a second goroutine to mind it.
var umask = func() os.FileMode {
	m := syscall.Umask(0)
	syscall.Umask(m)
	return os.FileMode(m)
}()
