package seal

import (
	"bytes"
	"context"
	"path"
	"strings"

	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/vfs"
)

// lockAccount makes the password of an account one that nobody has.
//
// The BSDs use a database made of the password file, in which the hash has to
// go as well. It is replaced there by as many asterisks: names and numbers are
// the keys of the records, so that their places in the hash table, and their
// lengths, stay.
func lockAccount(p *planner, f *audit.Finding, why string) {
	line := nth(p.read(f, f.Path), f.Line)
	name, rest, _ := strings.Cut(line, ":")
	hash, _, _ := strings.Cut(rest, ":")
	lock := "!"
	if name == "root" {
		lock = "*"
	}
	if path.Base(f.Path) == "master.passwd" {
		db := path.Dir(f.Path) + "/spwd.db"
		lock = strings.Repeat("*", len(hash))
		switch {
		case p.lstat(f, db) == nil:
			lock = "*************"
		case hash == "":
			p.not(f, Refused, "spwd.db has no room for a lock: run pwd_mkdb on the system")
			return
		default:
			p.lockInDatabase(f, db, hash, lock, why)
		}
	}
	p.edit(f, f.Path, f.Line, why, func(line string) string {
		w := strings.Split(line, ":")
		if len(w) < 2 {
			return line
		}
		w[1] = lock
		return strings.Join(w, ":")
	})
}

// lockInDatabase replaces a hash in a password database.
func (p *planner) lockInDatabase(f *audit.Finding, db, hash, lock, why string) {
	old, new := []byte(hash+"\x00"), []byte(lock+"\x00")
	file := p.file(f, db)
	p.add(f, Step{State: Planned, Verb: audit.Edit, Path: db, Detail: "the same account", Why: why, line: f.Line,
		do: func(ctx context.Context, e *customize.Editor) error {
			b, err := e.ReadFile(ctx, file, customize.MaxText)
			if err != nil || !bytes.Contains(b, old) {
				return err // it has another one, which the next audit tells
			}
			return e.WriteFile(ctx, file, bytes.ReplaceAll(b, old, new), vfs.NewNode{})
		}})
}

// nth returns a line of a text, from 1.
func nth(text string, n int) string {
	for line := range strings.Lines(text) {
		if n--; n == 0 {
			return strings.TrimRight(line, "\r\n")
		}
	}
	return ""
}

var (
	permitRootLogin = lazyregexp.New(`(?i)^(\s*PermitRootLogin[\s=]+)"?yes"?`)
	noPasswordWord  = lazyregexp.New(`\bNOPASSWD:\s*`)
	nopassWord      = lazyregexp.New(`\s+nopass\b`)
)

// forbidRootPassword lets root in with a key only, in the files of sshd that
// say otherwise.
func forbidRootPassword(p *planner, f *audit.Finding, why string) {
	files := []string{f.Path}
	dir := path.Dir(f.Path) + "/sshd_config.d"
	more, err := p.e.Glob(p.ctx, p.file(f, dir+"/*.conf"))
	if err != nil && !missing(err) {
		p.err = err
		return
	}
	for _, name := range more {
		files = append(files, strings.TrimPrefix(name, f.Volume+":"))
	}
	for _, name := range files {
		n := 0
		for line := range strings.Lines(p.read(f, name)) {
			if n++; permitRootLogin.MatchString(line) {
				p.edit(f, name, n, why, func(line string) string {
					return permitRootLogin.ReplaceAllString(line, "${1}prohibit-password")
				})
			}
		}
	}
}

// askPassword has sudo or doas ask for one. A drop-in that only says so is
// removed.
func askPassword(p *planner, f *audit.Finding, why string) {
	switch {
	case strings.Contains(f.Path, "/sudoers.d/"):
		remove(p, f, why)
	case strings.Contains(f.Path, "doas"):
		p.edit(f, f.Path, f.Line, why, func(line string) string { return nopassWord.ReplaceAllString(line, "") })
	default:
		p.edit(f, f.Path, f.Line, why, func(line string) string { return noPasswordWord.ReplaceAllString(line, "") })
	}
}
