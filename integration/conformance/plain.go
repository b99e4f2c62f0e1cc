package conformance

import "regexp"

// plainExceptions are the cases that a file system with nothing but files and
// directories has another answer to, by the expressions that match their names.
var plainExceptions = []struct {
	names, why string
}{
	{`(^|/|-)(link-to-file|link-to-dir|dangling-link|link-loop)$`, "there are no symbolic links"},
	{`(^|/|-)(fifo|socket|char-device|block-device)$`, "nor pipes, sockets and devices"},
	{`^(symlink|mknod-fifo|mknod-socket|mknod|link-to|link-from|link-from-followed)/`, "so none can be made, and a file has one name"},
	{`/name-bytes$`, "names are UTF-16"},
	{`^chmod/`, "of a mode there is but the right to write to a file"},
	{`^fchmod/`, "likewise"},
	{`^fallocate-(keep|punch)/`, "there is no space beyond the end of a file, and no hole"},
	{`/(sticky|own-in-sticky|own-sticky)$`, "likewise"},
	{`^set-id/`, "likewise"},
	{`^changes/`, "there is one time for all changes, to a second or two"},
	{`^(exec|open-write|truncate|unlink|rename-over)/(open-for-writing|running|no-program)$`, "no file is a program"},
}

var plainPatterns = func() (list []*regexp.Regexp) {
	for _, e := range plainExceptions {
		list = append(list, regexp.MustCompile(e.names))
	}
	return list
}()

// plainException returns why a case does not apply where there are only files
// and directories; empty if it does.
func plainException(name string) (why string) {
	for i, p := range plainPatterns {
		if p.MatchString(name) {
			return plainExceptions[i].why
		}
	}
	return ""
}
