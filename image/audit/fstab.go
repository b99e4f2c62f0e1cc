package audit

import (
	"slices"
	"strings"
)

// fstabLine is a line of fstab(5).
type fstabLine struct {
	n                            int
	spec, file, vfstype, options string
}

func (l fstabLine) option(name string) bool {
	return slices.Contains(strings.Split(l.options, ","), name)
}

// fstab returns the lines of the view's /etc/fstab.
func (s *scan) fstab() []fstabLine {
	var all []fstabLine
	for n, text := range lines(s.read("/etc/fstab"), "#") {
		f := strings.Fields(text)
		if len(f) < 3 {
			continue
		}
		l := fstabLine{n: n, spec: f[0], file: f[1], vfstype: f[2]}
		if len(f) > 3 {
			l.options = f[3]
		}
		all = append(all, l)
	}
	return all
}
