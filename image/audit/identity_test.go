package audit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/resflash/resflash/image/vfs"
)

const (
	oneID   = "4e5c0f3bd15c4a6e8d36b84b2cdaa111"
	otherID = "0123456789abcdef0123456789abcdef"
	zeros   = "00000000000000000000000000000000"
)

// What systemd makes of each content, with each state of the copy of D-Bus.
func TestMachineID(t *testing.T) {
	ids := map[string]struct {
		content *thing
		rule    string
	}{
		"missing":                {nil, ""},
		"uninitialized":          {ptr(text("uninitialized\n")), ""},
		"uninitialized, no line": {ptr(text("uninitialized")), ""},
		"empty":                  {ptr(text("")), "machine-id-empty"},
		"set":                    {ptr(text(oneID + "\n")), "machine-id-set"},
		"set, no line":           {ptr(text(oneID)), "machine-id-set"},
		"set, upper case":        {ptr(text(strings.ToUpper(oneID) + "\n")), "machine-id-set"},
		"zeros":                  {ptr(text(zeros + "\n")), "machine-id-zero"},
		"dashed":                 {ptr(text("4e5c0f3b-d15c-4a6e-8d36-b84b2cdaa111\n")), "machine-id-invalid"},
		"carriage return":        {ptr(text(oneID + "\r\n")), "machine-id-invalid"},
		"trailing blank":         {ptr(text(oneID + " \n")), "machine-id-invalid"},
		"two lines":              {ptr(text(oneID + "\n\n")), "machine-id-invalid"},
		"too short":              {ptr(text(oneID[:31] + "\n")), "machine-id-invalid"},
		"uninitialized, twice":   {ptr(text("uninitialized\n\n")), "machine-id-invalid"},
		"not UTF-8":              {ptr(text("\xff\xfe" + oneID)), "machine-id-invalid"},
		"sparse":                 {ptr(sparse(4 << 30)), "machine-id-invalid"},
		"symlink":                {ptr(symlink("/var/lib/dbus/machine-id")), "machine-id-odd-type"},
		"directory":              {ptr(dir(0o755)), "machine-id-odd-type"},
		"device":                 {ptr(thing{mode: vfs.Char | 0o600}), "machine-id-odd-type"},
	}
	copies := map[string]struct {
		content *thing
		found   bool
		id      string
	}{
		"missing":       {nil, false, ""},
		"link":          {ptr(symlink("/etc/machine-id")), false, ""},
		"empty":         {ptr(text("")), false, ""},
		"same":          {ptr(text(oneID + "\n")), true, oneID},
		"other":         {ptr(text(otherID)), true, otherID},
		"zeros":         {ptr(text(zeros + "\n")), true, zeros},
		"uninitialized": {ptr(text("uninitialized\n")), false, ""},
		"directory":     {ptr(dir(0o755)), false, ""},
	}
	for name, id := range ids {
		for copied, dbus := range copies {
			t.Run(fmt.Sprintf("%s, D-Bus %s", name, copied), func(t *testing.T) {
				f := files{"/etc/os-release": text("ID=debian\n")}
				if id.content != nil {
					f["/etc/machine-id"] = *id.content
				}
				if dbus.content != nil {
					f["/var/lib/dbus/machine-id"] = *dbus.content
				}
				r := audit(t, one(t, f.build()), Options{Only: []string{"identity"}})
				for _, rule := range words("machine-id-set machine-id-zero machine-id-invalid machine-id-empty machine-id-odd-type") {
					assert.Equal(t, rule == id.rule, len(found(r, rule)) == 1, rule)
				}
				assert.Equal(t, dbus.found, len(found(r, "dbus-machine-id-set")) == 1)
				differ := id.rule == "machine-id-set" && dbus.found && dbus.id != oneID
				assert.Equal(t, differ, len(found(r, "machine-id-mismatch")) == 1)
				if kind := map[string]string{"symlink": asSymlink, "directory": asDir, "sparse": asSparse, "not UTF-8": notUTF8}[name]; kind != "" {
					had(t, "machine-id-odd-type", kind)
				}
				for _, x := range r.Findings {
					if x.Rule == "machine-id-set" {
						assert.Equal(t, dbus.found && dbus.id != zeros, strings.Contains(x.FixNote, "goes with it"), x.FixNote)
						assert.True(t, *x.Fixable)
					}
				}
			})
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestMachineIDMissing(t *testing.T) {
	systemd := files{"/etc/os-release": text("ID=debian\n"), "/usr/lib/systemd/systemd": text("\x7fELF")}
	readOnly := files{"/etc/fstab": text("# comment\nUUID=1 / ext4 defaults,ro 0 1\n")}
	for name, c := range map[string]struct {
		files files
		want  bool
	}{
		"writable root":            {systemd, false},
		"read-only root":           {systemd.with(readOnly), true},
		"read-only, no systemd":    {readOnly, false},
		"read-only, uninitialized": {systemd.with(readOnly).with(files{"/etc/machine-id": text("uninitialized\n")}), false},
	} {
		r := audit(t, one(t, c.files.build()), Options{})
		assert.Equal(t, c.want, len(found(r, "machine-id-missing")) == 1, name)
		had(t, "machine-id-missing", map[bool]string{true: positive, false: negative}[c.want])
	}
}

func TestNoRelease(t *testing.T) {
	f := files{"/etc/debian_version": text("12.5\n"), "/etc/passwd": text(rootLine)}
	r := audit(t, one(t, f.build()), Options{})
	assert.Equal(t, []string{"/etc/os-release"}, found(r, "os-release-missing"))
	r = audit(t, one(t, f.with(systemFiles[Linux]).build()), Options{})
	assert.Empty(t, found(r, "os-release-missing"))
	had(t, "os-release-missing", positive)
	had(t, "os-release-missing", negative)
}
