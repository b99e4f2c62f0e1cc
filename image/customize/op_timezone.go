package customize

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// timezone sets the time zone of the system.
type timezone struct{ zone string }

const zoneinfo = "/usr/share/zoneinfo/"

var zoneName = lazyregexp.New(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)

func parseTimezone(arg string) (Operation, error) {
	if !zoneName.MatchString(arg) {
		return nil, fmt.Errorf("%q is no name of a time zone (Europe/Berlin, UTC)", arg)
	}
	return timezone{arg}, nil
}

func (o timezone) Apply(ctx context.Context, e *Editor) error {
	system, err := e.family(ctx)
	if err != nil {
		return err
	}
	if err := e.checkZone(ctx, o.zone); err != nil {
		return err
	}
	list, err := e.layers(ctx, "/etc/localtime")
	if err != nil {
		return err
	}
	// systemd wants a target that works in a chroot as well.
	target := zoneinfo + o.zone
	if system == linux {
		target = ".." + target
	}
	for _, path := range list {
		if err := e.relink(ctx, target, path); err != nil {
			return err
		}
	}
	name := map[family]string{linux: "/etc/timezone", freeBSD: "/var/db/zoneinfo"}[system]
	if name == "" {
		return nil
	}
	// These have the name once more. Where there is none, nobody wants it.
	if _, err := e.Lstat(ctx, name); missing(err) {
		return nil
	}
	return e.rewrite(ctx, name, text(o.zone+"\n"))
}

func (o timezone) String() string { return "timezone " + o.zone }

// checkZone makes sure that the system knows a time zone.
func (e *Editor) checkZone(ctx context.Context, zone string) error {
	r, _, err := e.Open(ctx, zoneinfo+zone)
	if missing(err) {
		return fmt.Errorf("the system has no time zone %s (%s%s is not there; is tzdata installed?)", zone, zoneinfo, zone)
	}
	if err != nil {
		return err
	}
	magic := make([]byte, 4)
	if _, err := io.ReadFull(r, magic); err != nil || !bytes.Equal(magic, []byte("TZif")) {
		return fmt.Errorf("%s%s is no time zone: it does not begin with TZif", zoneinfo, zone)
	}
	return nil
}

// relink makes a symbolic link in place of the file or link that is there.
func (e *Editor) relink(ctx context.Context, target, path string) error {
	attr, err := e.Lstat(ctx, path)
	switch {
	case missing(err):
		return e.Symlink(ctx, target, path)
	case err != nil:
		return err
	}
	if attr.Mode.IsSymlink() {
		if old, err := e.Readlink(ctx, path); err != nil || strings.TrimPrefix(old, "..") == strings.TrimPrefix(target, "..") {
			return err
		}
	}
	if err := e.Remove(ctx, path); err != nil {
		return err
	}
	return e.Symlink(ctx, target, path)
}
