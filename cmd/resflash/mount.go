package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

type mountCmd struct {
	Volume         string        `short:"v" placeholder:"VOLUME" xor:"what" help:"Mount this volume alone: its id, role or label."`
	Root           bool          `xor:"what" help:"Mount the root volume, and the others where its own /etc/fstab has them, noauto or not."`
	ReadOnly       bool          `short:"r" help:"Change nothing."`
	Owner          string        `placeholder:"UID:GID" xor:"owner" help:"Whom new files belong to (0:0)."`
	KeepOwner      bool          `xor:"owner" help:"New files belong to whoever makes them."`
	CommitInterval time.Duration `default:"5s" placeholder:"TIME" help:"How long a change waits for a commit at most (5s)."`
	Foreground     bool          `short:"f" help:"Stay in the foreground until it is unmounted or interrupted."`
	AllowOther     bool          `help:"Let all users of this host read and change everything in the image."`
	Debug          bool          `help:"Log every request; implies --foreground."`
	Image          string        `arg:"" help:"IMAGE or IMAGE:VOLUME."`
	Dir            string        `arg:"" help:"An empty directory."`
}

// Help is the long help text.
func (*mountCmd) Help() string {
	return `Mounts an image, without root. Each volume is a directory below DIR, called by its
id, with its role (root, cfg, mbr, efi …) as another name. An image that is a bare file
system is mounted on DIR itself, and so is a single volume. Volumes that cannot be read
are left out, with a note; those that cannot be written to (the format, damage, not
unmounted cleanly) are mounted read-only, with a note, and so is an image that you may
not write to. The command returns when the mount is ready for use.

The person who mounts may read and change everything; owners and modes are shown as the
image has them. New files belong to 0:0 unless --owner or --keep-owner says otherwise.
Nobody else gets in without --allow-other.

Changes are committed when a program calls fsync, every few seconds, and when the mount
ends: "resflash umount" waits for that and says what has changed. After a crash the
image is as of the last commit. Meanwhile nobody else may write to the image.

	resflash mount disk.img mnt && cp motd mnt/root/etc/motd && resflash umount mnt
	resflash mount --read-only disk.img:inactive mnt
	resflash mount --root --owner 1000:1000 disk.img mnt` + exitStatus
}

// Run mounts.
func (c *mountCmd) Run(ctx context.Context, w *world) error {
	a := parseAddress(c.Image, isHostFile)
	switch {
	case a.path != "":
		return usageError("mount the volume, and look below the mount point", fmt.Errorf("%s: a path cannot be mounted", c.Image))
	case a.volume != "" && (c.Root || c.Volume != ""):
		return usageError("", fmt.Errorf("%s names a volume already", c.Image))
	case a.volume != "":
		c.Volume = a.volume
	}
	if dir, err := realDir(c.Dir); err == nil && !isDaemon() {
		if m, ok := findMount(dir); ok && m.fstype == mountType {
			return &exitError{exitMount, "resflash umount " + c.Dir, fmt.Errorf("mount on %s: an image is mounted there already", c.Dir)}
		}
	}
	if !c.Foreground && !c.Debug && !isDaemon() {
		return daemonize(ctx, w, c, a.image)
	}
	if c.CommitInterval <= 0 {
		return usageError("", errors.New("--commit-interval must be longer than nothing"))
	}
	m := &mounting{mountCmd: c, w: w}
	if err := m.open(ctx, a.image); err != nil {
		return err
	}
	server, err := m.mount(ctx)
	if err != nil {
		return mountError(err)
	}
	for _, n := range m.notes {
		w.note("%s", n)
	}
	end := listenForEnd(server.Dir())
	w.atExit = append(w.atExit, end.close)
	m.ready.Store(true)
	ready()
	err = serve(ctx, w, server)
	m.mu.Lock()
	report := newReport(m.disk.Name(), server.Changes(), m.log, err)
	m.mu.Unlock()
	end.send(report)
	if !isDaemon() {
		report.print(w, false)
	}
	return err
}

// serve waits for the mount to end, or ends it on a signal. The error is that
// of the last commit.
func serve(ctx context.Context, w *world, server *fusefs.Server) error {
	ended := make(chan struct{})
	go func() {
		server.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return commitFailed(server.Wait())
	case <-ctx.Done():
	}
	// This is how a mount is meant to end, so it is no interruption.
	w.signalIsEnd = true
	err := server.Unmount()
	var still *fusefs.MountError
	if !errors.As(err, &still) {
		return commitFailed(err)
	}
	w.note("%v; it is detached and ends when they do", err)
	if err := server.Detach(); err != nil && errors.As(err, &still) {
		return mountError(err)
	}
	<-ended
	return commitFailed(server.Wait())
}

// commitFailed says what it means that the last commit of a mount failed.
func commitFailed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the last changes are lost: %w", err)
}

// mounting is the work of making a mount.
type mounting struct {
	*mountCmd
	w     *world
	disk  *image.Disk
	write bool     // the image was opened for writing
	notes []string // what the user must know, once it is mounted

	ready atomic.Bool // nobody reads standard error any more, in the background
	mu    sync.Mutex
	log   []string // what went wrong since
}

// open opens the image: for writing, if that is wanted, makes sense, and the
// user may.
func (m *mounting) open(ctx context.Context, name string) (err error) {
	if m.disk, err = m.w.open(ctx, name); err != nil || m.ReadOnly {
		return err
	}
	if can, err := m.canWrite(ctx); err != nil || !can {
		return err
	}
	d, err := m.w.openEdit(ctx, name, image.EditOptions{})
	switch {
	case err == nil:
		m.disk, m.write = d, true
		return nil
	case errors.Is(err, blockio.ErrLocked):
		var known *exitError
		errors.As(err, &known)
		return &exitError{exitLocked, known.hint + "; --read-only shows the last commit", known.err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ETXTBSY):
		m.notes = append(m.notes, fmt.Sprintf("mounted read-only: %v", err))
		return nil
	}
	return err
}

// canWrite reports whether one of the volumes that are asked for has a format
// that can be written to. If not, nobody needs to be kept from the image.
func (m *mounting) canWrite(ctx context.Context) (bool, error) {
	list := m.disk.Partitions()
	if m.Volume != "" {
		p, err := m.disk.Find(ctx, m.Volume)
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.disk.Name(), err)
		}
		list = []*image.Partition{p}
	}
	formats := false
	for _, p := range list {
		if p.Content.Driver == nil {
			continue
		}
		if formats = true; p.Content.Driver.OpenWritable != nil {
			return true, nil
		}
	}
	if formats {
		m.notes = append(m.notes, "mounted read-only: its file systems can only be read")
	}
	return false, nil
}

// volume opens the file system in a partition: for writing, if that can be.
func (m *mounting) volume(ctx context.Context, p *image.Partition) (*image.Volume, error) {
	if !m.write {
		return p.Volume(ctx)
	}
	v, err := p.Edit(ctx)
	if err == nil {
		if r, ok := v.FS.(vfs.Recovered); ok && r.Recovered() != "" {
			m.notes = append(m.notes, fmt.Sprintf("volume %s: %s", p.ID, r.Recovered()))
		}
		return v, setClock(v.FS)
	}
	v, readErr := p.Volume(ctx)
	if readErr != nil {
		return nil, readErr
	}
	note := fmt.Sprintf("read-only: %v", err)
	if advice := hint(volumeEditError(m.disk.Name(), p, err)); advice != "" {
		note += " (" + advice + ")"
	}
	m.notes = append(m.notes, note)
	return v, nil
}

// logf is told what goes wrong while the mount is in use.
func (m *mounting) logf(format string, args ...any) {
	if !isDaemon() || !m.ready.Load() {
		m.w.note(format, args...)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.log) < maxLog {
		m.log = append(m.log, fmt.Sprintf(format, args...))
	}
}

// maxLog is how many messages of a mount in the background are kept for
// umount.
const maxLog = 100

func (m *mounting) options() (opt fusefs.Options, err error) {
	source, err := filepath.Abs(m.disk.Name())
	if err != nil {
		source = m.disk.Name()
	}
	opt = fusefs.Options{
		FSName: source, AllowOther: m.AllowOther, Debug: m.Debug, Logf: m.logf,
		ReadOnly: !m.write, KeepOwner: m.KeepOwner, CommitEvery: m.CommitInterval,
	}
	if m.Owner != "" {
		uid, gid, ok := parseIDs(m.Owner)
		if !ok {
			return opt, usageError("resflash help mount", fmt.Errorf("--owner %q: want UID:GID, in numbers", m.Owner))
		}
		opt.Owner = &fusefs.Owner{UID: uid, GID: gid}
	}
	return opt, nil
}

// mount does what the flags say.
func (m *mounting) mount(ctx context.Context) (*fusefs.Server, error) {
	d := m.disk
	d.Layout(ctx) // gives the roles
	opt, err := m.options()
	if err != nil {
		return nil, err
	}
	partitions := d.Partitions()
	switch {
	case m.Root:
		return m.mountRoot(ctx, opt)
	case m.Volume != "" || len(partitions) == 1 && partitions[0].ID == "whole":
		p, err := d.Find(ctx, m.Volume)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
		v, err := m.volume(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
		return fusefs.MountOne(m.Dir, mountable(v, nil), opt)
	}
	var volumes []fusefs.Volume
	used := map[string]bool{}
	for _, p := range partitions {
		used[p.ID] = true
	}
	var last error
	for _, p := range partitions {
		v, err := m.volume(ctx, p)
		if err != nil {
			last = err
			if p.Content.Kind != image.KindSwap {
				m.notes = append(m.notes, "left out: "+err.Error())
			}
			continue
		}
		var names []string
		for _, name := range append(slices.Clone(p.Aliases), p.Role) {
			if name != "" && !used[name] && !strings.Contains(name, "/") {
				used[name] = true
				names = append(names, name)
			}
		}
		volumes = append(volumes, mountable(v, names))
	}
	if len(volumes) == 0 {
		if last == nil {
			last = image.ErrUnknown
		}
		return nil, fmt.Errorf("%s: no volume that can be read: %w", d.Name(), last)
	}
	return fusefs.MountVolumes(m.Dir, volumes, opt)
}

func mountable(v *image.Volume, aliases []string) fusefs.Volume {
	p := v.Partition
	return fusefs.Volume{Name: p.ID, Aliases: aliases, FS: v.FS, Device: p.Device()}
}

// mountError gives the errors of mounting their exit code, and takes the hint
// out of them.
func mountError(err error) error {
	var known *exitError
	var me *fusefs.MountError
	if errors.As(err, &me) && !errors.As(err, &known) {
		return &exitError{exitMount, me.Hint, fmt.Errorf("%s %s: %w", me.Op, me.Dir, me.Err)}
	}
	return err
}
