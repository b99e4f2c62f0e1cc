package customize

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/image/vfs"
)

// sshInject lets the owner of a key log in as a user.
type sshInject struct{ user, key, file string }

func parseSSHInject(arg string) (Operation, error) {
	user, rest, err := cutArg(arg)
	if err != nil {
		return nil, err
	}
	if err := passwd.CheckName(user); err != nil {
		return nil, err
	}
	if file, ok := strings.CutPrefix(rest, "file:"); ok {
		return sshInject{user: user, file: file}, nil
	}
	key := strings.TrimSpace(strings.TrimPrefix(rest, "string:"))
	_, err = parseKey(key)
	return sshInject{user: user, key: key}, err
}

func (o sshInject) Apply(ctx context.Context, e *Editor) error {
	keys, err := o.keys()
	if err != nil {
		return err
	}
	who, err := e.account(ctx, o.user)
	if err != nil {
		return err
	}
	home, err := e.Stat(ctx, who.home)
	if err == nil && !home.Mode.IsDir() {
		err = errors.New("is no directory")
	}
	if err != nil {
		return fmt.Errorf("the home directory of %s: %w", o.user, err)
	}
	dir := strings.TrimRight(who.home, "/") + "/.ssh"
	file := dir + "/authorized_keys"
	if err := e.ownDir(ctx, dir, who); err != nil {
		return err
	}
	old, err := e.plain(ctx, file)
	if err != nil && !missing(err) {
		return err
	}
	text := bytes.Clone(old)
	for _, key := range keys {
		id, _ := parseKey(key)
		if !hasLine(text, func(line string) bool { have, err := parseKey(line); return err == nil && have == id }) {
			text = addLine(text, key)
		}
	}
	if !bytes.Equal(old, text) {
		node := vfs.NewNode{Mode: vfs.Regular | 0o600, UID: who.uid, GID: who.gid}
		if err := e.WriteFile(ctx, file, text, node); err != nil {
			return err
		}
	}
	e.noteAuthorizedKeysFile(ctx)
	e.noteLabels(ctx)
	return e.private(ctx, file, who)
}

func (o sshInject) String() string {
	if o.file != "" {
		return "ssh-inject " + o.user + ":file:" + o.file
	}
	return "ssh-inject " + o.user + ":" + o.key
}

// keys are the lines to add.
func (o sshInject) keys() ([]string, error) {
	if o.file == "" {
		return []string{o.key}, nil
	}
	b, err := os.ReadFile(o.file)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if _, err := parseKey(line); err != nil {
			return nil, fmt.Errorf("%s: %w", o.file, err)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: has no key in it", o.file)
	}
	return keys, nil
}

// ownDir makes a directory that only its owner may enter, or sees to it that
// sshd will not refuse the one that is there.
func (e *Editor) ownDir(ctx context.Context, dir string, who account) error {
	attr, err := e.Lstat(ctx, dir)
	switch {
	case missing(err):
		return e.Create(ctx, dir, vfs.NewNode{Mode: vfs.Dir | 0o700, UID: who.uid, GID: who.gid})
	case err != nil:
		return err
	case !attr.Mode.IsDir():
		return pathError("change", dir, errors.New("is no directory: refused"))
	}
	return e.private(ctx, dir, who)
}

// private takes from a file what sshd (StrictModes) refuses: another owner, and
// permission to write for others.
func (e *Editor) private(ctx context.Context, path string, who account) error {
	attr, err := e.Lstat(ctx, path)
	if err != nil {
		return err
	}
	if attr.UID != who.uid && attr.UID != 0 {
		if err := e.Lchown(ctx, path, who.uid, who.gid); err != nil {
			return err
		}
	}
	if attr.Mode&0o022 != 0 {
		return e.Chmod(ctx, path, attr.Mode.Perm()&^0o022)
	}
	return nil
}

// noteAuthorizedKeysFile says that the system's sshd looks elsewhere.
func (e *Editor) noteAuthorizedKeysFile(ctx context.Context) {
	for _, conf := range []string{"/etc/ssh/sshd_config", "/usr/local/etc/ssh/sshd_config"} {
		text, err := e.effective(ctx, conf)
		if err != nil {
			continue // nothing to tell
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 2 || !strings.EqualFold(f[0], "AuthorizedKeysFile") {
				continue
			}
			if !slices.ContainsFunc(f[1:], func(p string) bool { return strings.TrimPrefix(p, "%h/") == ".ssh/authorized_keys" }) {
				e.note("%s looks for keys in %s, not in .ssh/authorized_keys", conf, strings.Join(f[1:], " "))
			}
			return // the first one counts
		}
	}
}

// keyTypes are the types of keys of sshd(8).
var keyTypes = []string{
	"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
}

// parseKey reads a line of authorized_keys: options, type, key, comment. It
// returns type and key, which are the same for the same key. Its errors leave
// the line out: it may be the private half.
func parseKey(line string) (id string, err error) {
	switch {
	case strings.Contains(line, "PRIVATE KEY"):
		return "", errors.New("that is a private key; the public one is in the file whose name ends in .pub")
	case strings.ContainsAny(line, "\n\r\x00"):
		return "", errors.New("a key is one line")
	}
	rest := strings.TrimLeft(line, " \t")
	words := strings.Fields(rest)
	if len(words) > 0 && !slices.Contains(keyTypes, words[0]) {
		words = strings.Fields(skipOptions(rest))
	}
	if len(words) < 2 || !slices.Contains(keyTypes, words[0]) {
		return "", errors.New("that is no public key: want TYPE BASE64 [COMMENT], as ssh-ed25519 AAAA…")
	}
	blob, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		return "", errors.New("that is no public key: its second word is no base64")
	}
	// A blob is strings with their lengths in front, the type first.
	for n := 0; len(blob) > 0 || n < 2; n++ {
		if len(blob) < 4 || uint64(binary.BigEndian.Uint32(blob)) > uint64(len(blob)-4) {
			return "", errors.New("that is no public key: it has been cut off")
		}
		end := 4 + binary.BigEndian.Uint32(blob)
		if n == 0 && string(blob[4:end]) != words[0] {
			return "", errors.New("that is no public key: it says that it is of another type")
		}
		blob = blob[end:]
	}
	return words[0] + " " + words[1], nil
}

// skipOptions returns what follows the options that a line begins with: up to
// the first blank that is not in quotes.
func skipOptions(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			return line[i:]
		}
	}
	return ""
}
