package customize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

// firstboot runs a script of the host at the first boot, behind those that
// were given before.
type firstboot struct{ local string }

func parseFirstboot(arg string) (Operation, error) {
	if arg == "" {
		return nil, errors.New("run which script?")
	}
	return firstboot{arg}, nil
}

const (
	// firstbootDir holds the scripts, in the order of their names, and what
	// runs them.
	firstbootDir = "/etc/firstboot"
	maxFirstboot = 16 << 20 // bytes
)

func (o firstboot) Apply(ctx context.Context, e *Editor) error {
	script, err := readScript(o.local)
	if err != nil {
		return err
	}
	system, err := e.family(ctx)
	if err != nil {
		return err
	}
	prefix := ""
	switch system {
	case openBSD:
		prefix, err = e.firstTime(ctx)
	case freeBSD:
		err = e.firstbootRC(ctx)
	default:
		err = e.firstbootUnit(ctx)
	}
	if err != nil {
		return err
	}
	dir := prefix + firstbootDir
	if err := e.MkdirAll(ctx, dir, vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
		return err
	}
	name := odd.ReplaceAllString(filepath.Base(o.local), "_")
	// Slots share the overlay: what was given for one is there for the other.
	same, err := e.Glob(ctx, dir+"/[0-9][0-9][0-9]-"+name)
	if err != nil {
		return err
	}
	for _, path := range same {
		if old, err := e.plain(ctx, path); err != nil || bytes.Equal(old, script) {
			return err
		}
	}
	number, err := e.nextNumber(ctx, dir)
	if err != nil {
		return err
	}
	return e.WriteFile(ctx, fmt.Sprintf("%s/%03d-%s", dir, number, name), script, vfs.NewNode{Mode: vfs.Regular | 0o700})
}

func (o firstboot) String() string { return "firstboot " + o.local }

var odd = lazyregexp.New(`[^A-Za-z0-9._-]`)

func readScript(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFirstboot+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0:
		return nil, fmt.Errorf("%s: is empty", name)
	case len(b) > maxFirstboot:
		return nil, fmt.Errorf("%s: has more than %d bytes, which is no script", name, maxFirstboot)
	}
	if line, _, _ := strings.Cut(string(b), "\n"); strings.HasPrefix(line, "#!") && strings.HasSuffix(line, "\r") {
		return nil, fmt.Errorf("%s: has line ends of DOS; its first line would not be understood", name)
	}
	return b, nil
}

// nextNumber is that of a script which is to run after all others.
func (e *Editor) nextNumber(ctx context.Context, dir string) (int, error) {
	list, err := e.ReadDir(ctx, dir)
	if err != nil {
		return 0, err
	}
	last := 0
	for _, entry := range list {
		number, _, _ := strings.Cut(entry.Name, "-")
		if n, err := strconv.Atoi(number); err == nil && n > last {
			last = n
		}
	}
	if last >= 999 {
		return 0, fmt.Errorf("%s: there is no room for more than 999 scripts", dir)
	}
	return last + 1, nil
}

// runScripts is a piece of a shell script. A script that fails does not keep
// those behind it from running.
const runScripts = `for script in ` + firstbootDir + `/[0-9]*; do
	[ -e "$script" ] || continue
	"$script" || echo "firstboot: ${script##*/}: exit status $?" >&2
	rm -f "$script"
done
`

// runner runs the scripts where nobody takes away what has called it.
func runner(cleanup string) []byte {
	return []byte("#!/bin/sh\n# Runs the scripts for the first boot in their order, each once, and is then\n# taken out of the system.\n" +
		runScripts + "rm -rf " + cleanup + firstbootDir + "\n")
}

const (
	firstbootUnit = "resflash-firstboot.service"
	unitFile      = `[Unit]
Description=Scripts for the first boot
After=network.target
ConditionPathExists=` + firstbootDir + `/run

[Service]
Type=oneshot
ExecStart=/bin/sh ` + firstbootDir + `/run
StandardOutput=journal+console
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
`
)

// firstbootUnit makes the unit of systemd that runs the scripts, and takes
// itself away.
func (e *Editor) firstbootUnit(ctx context.Context) error {
	systemd, err := e.hasSystemd(ctx)
	if err != nil {
		return err
	}
	if !systemd {
		return errors.New("not supported: scripts for the first boot of a Linux system without systemd")
	}
	for _, dir := range []string{firstbootDir, systemdDir} {
		if err := e.MkdirAll(ctx, dir, vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
			return err
		}
	}
	unit := systemdDir + "/" + firstbootUnit
	run := runner(systemdDir + "/*.wants/" + firstbootUnit + " " + unit + " ")
	if err := e.saveFile(ctx, firstbootDir+"/run", run, vfs.NewNode{Mode: vfs.Regular | 0o755}); err != nil {
		return err
	}
	if err := e.saveFile(ctx, unit, []byte(unitFile), newText); err != nil {
		return err
	}
	e.noteLabels(ctx)
	return e.enableUnit(ctx, firstbootUnit)
}

// firstTimeMark begins what is ours in rc.firsttime.
const firstTimeMark = "# Scripts for the first boot, each once."

// firstTime makes OpenBSD's rc.firsttime run the scripts, which rc(8) reads
// once and removes. In an image of resflash /etc is a copy in memory, and what
// is removed there is back at the next boot: there the scripts lie in the
// overlay, and take themselves out of that first. It returns where they are to
// be.
func (e *Editor) firstTime(ctx context.Context) (prefix string, err error) {
	if prefix, err = e.overlay(ctx); err != nil {
		return "", err
	}
	const path = "/etc/rc.firsttime"
	run := firstTimeMark + "\n"
	if prefix != "" {
		run += "mount /cfg && rm -rf /cfg" + path + " /cfg" + firstbootDir + " && umount /cfg\n"
		if _, err := e.Lstat(ctx, path); err == nil {
			e.note("%s of the root volume does not run as long as the overlay has one", path)
		}
		if err := e.MkdirAll(ctx, prefix+"/etc", vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
			return "", err
		}
	}
	run += runScripts + "rm -rf " + firstbootDir
	old, err := e.plain(ctx, prefix+path)
	if err != nil && !missing(err) {
		return "", err
	}
	if hasLine(old, func(line string) bool { return line == firstTimeMark }) {
		return prefix, nil
	}
	return prefix, e.WriteFile(ctx, prefix+path, addLine(old, run), newText)
}

const rcScript = `#!/bin/sh

# PROVIDE: resflash_firstboot
# REQUIRE: LOGIN NETWORKING
# KEYWORD: firstboot

. /etc/rc.subr

name="resflash_firstboot"
start_cmd="/bin/sh ` + firstbootDir + `/run"
stop_cmd=":"

load_rc_config $name
run_rc_command "$1"
`

// firstbootRC makes FreeBSD's rc(8) run the scripts: what has the keyword
// firstboot it runs only if /firstboot is there, which it then removes.
func (e *Editor) firstbootRC(ctx context.Context) error {
	const script = "/usr/local/etc/rc.d/resflash_firstboot"
	for _, dir := range []string{filepath.Dir(script), firstbootDir} {
		if err := e.MkdirAll(ctx, dir, vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		path string
		data []byte
		mode vfs.Mode
	}{
		{firstbootDir + "/run", runner(script + " "), 0o755},
		{script, []byte(rcScript), 0o555},
		{"/firstboot", nil, 0o644},
	} {
		if err := e.saveFile(ctx, f.path, f.data, vfs.NewNode{Mode: vfs.Regular | f.mode}); err != nil {
			return err
		}
	}
	return nil
}
