package customize

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// service has a service started at boot, or not.
type service struct {
	name string
	on   bool
}

var serviceName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*$`)

func parseEnable(arg string) (Operation, error)  { return parseService(arg, true) }
func parseDisable(arg string) (Operation, error) { return parseService(arg, false) }

func parseService(name string, on bool) (Operation, error) {
	if !serviceName.MatchString(name) || strings.Contains(name, "..") {
		return nil, fmt.Errorf("%q is no name of a service", name)
	}
	return service{name, on}, nil
}

func (o service) Apply(ctx context.Context, e *Editor) error {
	system, err := e.family(ctx)
	if err != nil {
		return err
	}
	switch system {
	case openBSD:
		return e.switchDaemon(ctx, o.name, o.on)
	case freeBSD:
		return e.switchRC(ctx, o.name, o.on)
	}
	systemd, err := e.hasSystemd(ctx)
	switch {
	case err != nil:
		return err
	case !systemd:
		return e.switchOpenRC(ctx, o.name, o.on)
	case o.on:
		return e.enableUnit(ctx, o.name)
	}
	return e.disableUnit(ctx, o.name)
}

func (o service) String() string {
	if o.on {
		return "enable " + o.name
	}
	return "disable " + o.name
}
