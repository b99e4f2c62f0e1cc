package audit

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What was made once and copied is found, wherever it lies; what was made for
// each image, or is there on purpose, is not.
func TestCompare(t *testing.T) {
	other := strings.Repeat("another seed ", 40)[:512]
	a := audit(t, one(t, systemFiles[Linux].with(files{
		"/etc/machine-id": text(oneID + "\n"), "/var/lib/systemd/random-seed": private(seed), "/etc/ssh/ssh_host_rsa_key": private(pemKey),
		"/root/.ssh/authorized_keys": private(publicRSA),
	}).build()), Options{})
	b := audit(t, one(t, systemFiles[Linux].with(files{
		"/etc/machine-id": text(strings.ToUpper(oneID)), "/var/lib/urandom/random-seed": private(seed), "/var/lib/systemd/random-seed": private(other),
		"/etc/ssh/ssh_host_rsa_key": private(pemKey + "\n"), "/root/.ssh/authorized_keys": private(publicRSA),
	}).build()), Options{})
	got := map[string][]string{}
	for _, s := range Compare(a, b) {
		got[s.Rule] = append(s.First, s.Second...)
		assert.NotContains(t, s.Evidence, oneID)
	}
	assert.Equal(t, map[string][]string{
		"machine-id-set":      words("/etc/machine-id /etc/machine-id"),
		"random-seed-present": words("/var/lib/systemd/random-seed /var/lib/urandom/random-seed"),
	}, got)
	assert.Empty(t, Compare(a, audit(t, one(t, systemFiles[Linux].build()), Options{})))
}
