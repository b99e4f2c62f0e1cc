package customize

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// hostname sets the name of the machine.
type hostname struct{ name string }

var hostLabel = lazyregexp.New(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// maxHostname is HOST_NAME_MAX of Linux; the BSDs take more.
const maxHostname = 64

func parseHostname(arg string) (Operation, error) {
	for _, label := range strings.Split(arg, ".") {
		if !hostLabel.MatchString(label) {
			return nil, fmt.Errorf("%q is no host name: it is made of letters, digits and hyphens, with dots between", arg)
		}
	}
	if len(arg) > maxHostname {
		return nil, fmt.Errorf("a host name has at most %d characters, this one %d", maxHostname, len(arg))
	}
	return hostname{arg}, nil
}

func (o hostname) Apply(ctx context.Context, e *Editor) error {
	system, err := e.family(ctx)
	if err != nil {
		return err
	}
	switch system {
	case openBSD:
		return e.rewrite(ctx, "/etc/myname", text(o.name+"\n"))
	case freeBSD:
		return e.setRCConf(ctx, "hostname", o.name)
	}
	if err := e.rewrite(ctx, "/etc/hostname", text(o.name+"\n")); err != nil {
		return err
	}
	debian, err := e.Exists(ctx, "/etc/debian_version")
	if err != nil || !debian {
		return err
	}
	// Debian's installer gives the machine's own name an address, so that it is
	// known without a network.
	return e.rewrite(ctx, "/etc/hosts", func(text []byte) ([]byte, error) { return ownAddress(text, o.name), nil })
}

func (o hostname) String() string { return "hostname " + o.name }

// ownAddress makes the name of the machine that of 127.0.1.1, in the line that
// is there or in a new one behind that of localhost.
func ownAddress(hosts []byte, name string) []byte {
	entry := "127.0.1.1\t" + name
	if short, _, ok := strings.Cut(name, "."); ok {
		entry += " " + short
	}
	lines := strings.SplitAfter(string(hosts), "\n")
	after := -1
	for i, line := range lines {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "127.0.1.1":
			end := line[len(strings.TrimRight(line, "\r\n")):]
			lines[i] = entry + end
			return []byte(strings.Join(lines, ""))
		case "127.0.0.1":
			after = i
		}
	}
	if after < 0 {
		return addLine(hosts, entry)
	}
	if !strings.HasSuffix(lines[after], "\n") {
		lines[after] += "\n"
	}
	lines[after] += entry + "\n"
	return []byte(strings.Join(lines, ""))
}
