package audit

import (
	"bufio"
	"io"
	"strings"
)

// maxList bounds what is read of a package's list of files, in bytes.
const maxList = 16 << 20

// packaged reports whether a package of dpkg has a file, whose path is in the
// volume; known is false if the volume has no lists of dpkg.
func (s *scan) packaged(name string) (owned, known bool) {
	if s.view.packaged == nil {
		s.view.packaged = map[string]bool{}
		for _, f := range s.files("/var/lib/dpkg/info/*.list") {
			text := bufio.NewScanner(io.LimitReader(f.vol.Tree.Reader(s.ctx, f.attr), maxList))
			for text.Scan() {
				s.view.packaged[text.Text()] = true
			}
			if err := text.Err(); err != nil {
				s.unread(f.path, &fault{f.vol, f.at, err})
			}
		}
	}
	// Where /bin is a link to /usr/bin, packages may have either name.
	bare, _ := strings.CutPrefix(name, "/usr")
	return s.view.packaged[name] || s.view.packaged[bare], len(s.view.packaged) > 0
}
