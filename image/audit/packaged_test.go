package audit

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A set-ID program is a warning if dpkg does not know it, wherever it is.
func TestSetIDOfPackages(t *testing.T) {
	f := files{
		"/usr/bin/su": moded(0o4755, "x"), "/usr/bin/mine": moded(0o4755, "x"), "/opt/theirs": moded(0o2755, "x"),
		"/var/lib/dpkg/info/login.list": text("/.\n/bin\n/bin/su\n"), "/var/lib/dpkg/info/theirs:amd64.list": text("/opt/theirs\n"),
	}
	severities := func(f files) map[string]Severity {
		got := map[string]Severity{}
		for _, x := range audit(t, one(t, f.build()), Options{Only: []string{"setuid-inventory"}}).Findings {
			got[x.Path] = x.Severity
		}
		return got
	}
	assert.Equal(t, map[string]Severity{"/usr/bin/su": Info, "/usr/bin/mine": Warning, "/opt/theirs": Info}, severities(f))
	delete(f, "/var/lib/dpkg/info/login.list")
	delete(f, "/var/lib/dpkg/info/theirs:amd64.list")
	assert.Equal(t, map[string]Severity{"/usr/bin/su": Info, "/usr/bin/mine": Info, "/opt/theirs": Warning}, severities(f), "there are no packages")
}
