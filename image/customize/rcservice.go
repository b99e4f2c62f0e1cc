package customize

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// obsdVariables are what OpenBSD's rcctl(8) switches by NAME=YES and NO, and
// not by flags.
var obsdVariables = []string{"accounting", "check_quotas", "ipsec", "library_aslr", "multicast", "pf", "spamd_black"}

// switchDaemon does what rcctl(8) of OpenBSD does: daemons of the base system
// have flags, which NO switches off; those of packages are in pkg_scripts.
func (e *Editor) switchDaemon(ctx context.Context, name string, on bool) error {
	base, err := e.ReadFile(ctx, "/etc/rc.conf", MaxText)
	if err != nil {
		return err
	}
	defaults := parseShellConf(base)
	variable, yes := name+"_flags", ""
	if slices.Contains(obsdVariables, name) {
		variable, yes = name, "YES"
	}
	usual, known := defaults.get(variable)
	if !known {
		there, err := e.Exists(ctx, "/etc/rc.d/"+name)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("the system has no daemon %s: there is no /etc/rc.d/%s, and no %s in /etc/rc.conf", name, name, variable)
		}
	}
	return e.rewrite(ctx, "/etc/rc.conf.local", func(text []byte) ([]byte, error) {
		c := parseShellConf(text)
		if !known {
			setPkgScripts(c, name, on)
			return c.bytes(), nil
		}
		value, set := c.get(variable)
		if !set {
			value = usual
		}
		if (value != "NO") == on {
			return text, nil
		}
		// A line that says what is so without it is one too many.
		c.remove(variable)
		if (usual != "NO") != on {
			if !on {
				yes = "NO"
			}
			c.set(variable, yes)
		}
		return c.bytes(), nil
	})
}

// setPkgScripts puts a daemon into the list of those of packages, behind the
// others, or takes it out.
func setPkgScripts(c *shellConf, name string, on bool) {
	value, _ := c.get("pkg_scripts")
	list := strings.Fields(value)
	switch at := slices.Index(list, name); {
	case on == (at >= 0):
		return
	case on:
		list = append(list, name)
	default:
		list = slices.Delete(list, at, at+1)
	}
	if len(list) == 0 {
		c.remove("pkg_scripts")
		return
	}
	value = strings.Join(list, " ")
	if len(list) > 1 {
		value = `"` + value + `"`
	}
	c.set("pkg_scripts", value)
}

// switchRC does what sysrc(8) of FreeBSD does to NAME_enable, or to the
// variable that the script in rc.d says.
func (e *Editor) switchRC(ctx context.Context, name string, on bool) error {
	variable := ""
	for _, dir := range []string{"/etc/rc.d/", "/usr/local/etc/rc.d/"} {
		text, err := e.ReadFile(ctx, dir+name, MaxText)
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		variable = strings.ReplaceAll(name, "-", "_") + "_enable"
		if own, ok := parseShellConf(text).get("rcvar"); ok && own != "" && !strings.ContainsAny(own, "$`") {
			variable = own
		}
		break
	}
	if variable == "" {
		return fmt.Errorf("the system has no service %s: it is neither in /etc/rc.d nor in /usr/local/etc/rc.d", name)
	}
	value := "NO"
	if on {
		value = "YES"
	}
	return e.setRCConf(ctx, variable, value)
}

// switchOpenRC does what rc-update of OpenRC (Alpine) does.
func (e *Editor) switchOpenRC(ctx context.Context, name string, on bool) error {
	script := "/etc/init.d/" + name
	there, err := e.Exists(ctx, script)
	if err != nil {
		return err
	}
	if levels, err := e.Exists(ctx, "/etc/runlevels"); err != nil || !levels {
		if err == nil {
			err = fmt.Errorf("not supported: services of a Linux system that has neither systemd nor OpenRC")
		}
		return err
	}
	links, err := e.Glob(ctx, "/etc/runlevels/*/"+name)
	switch {
	case err != nil:
		return err
	case !on:
		for _, link := range links {
			if err := e.Remove(ctx, link); err != nil {
				return err
			}
		}
		return nil
	case !there:
		return fmt.Errorf("the system has no service %s: there is no %s", name, script)
	case len(links) > 0:
		return nil
	}
	if err := e.MkdirAll(ctx, "/etc/runlevels/default", vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
		return err
	}
	return e.Symlink(ctx, script, "/etc/runlevels/default/"+name)
}
