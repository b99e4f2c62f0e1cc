package customize

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/image/passwd/berkeley"
	"github.com/resflash/resflash/image/passwd/crypt"
	"github.com/resflash/resflash/image/vfs"
)

// A fieldFunc makes the new contents of a password field of the old ones. m is
// how the system hashes passwords.
type fieldFunc func(old string, m crypt.Method) (string, error)

// changePassword changes the password field of an account wherever the system
// has it.
func (e *Editor) changePassword(ctx context.Context, user string, fn fieldFunc) error {
	system, err := e.family(ctx)
	switch {
	case err != nil:
		return err
	case system == linux:
		return e.changeShadow(ctx, user, fn)
	}
	return e.changeMaster(ctx, system, user, fn)
}

// changeShadow does it on Linux: in /etc/shadow, or in /etc/passwd of a system
// without it.
func (e *Editor) changeShadow(ctx context.Context, user string, fn fieldFunc) error {
	method, err := e.cryptMethod(ctx)
	if err != nil {
		return err
	}
	text, err := e.plain(ctx, "/etc/passwd")
	if err != nil {
		return err
	}
	public := passwd.Parse(text)
	entry, ok := public.Find(user)
	if !ok || len(entry) <= passwd.Password {
		return fmt.Errorf("/etc/passwd has no entry of %s", user)
	}
	shadow, err := e.plain(ctx, "/etc/shadow")
	if missing(err) {
		field, err := fn(entry[passwd.Password], method)
		if err != nil {
			return err
		}
		return e.saveTable(ctx, "/etc/passwd", public, user, map[int]string{passwd.Password: field})
	}
	if err != nil {
		return err
	}
	table := passwd.Parse(shadow)
	today := strconv.FormatInt(e.Now().Unix()/86400, 10)
	old := ""
	fields, ok := table.Find(user)
	switch {
	case ok && len(fields) > passwd.Password:
		old = fields[passwd.Password]
	case entry[passwd.Password] != "x":
		old = entry[passwd.Password] // it was never moved
	}
	field, err := fn(old, method)
	if err != nil {
		return err
	}
	set := map[int]string{passwd.Password: field}
	if !ok {
		if err := table.Append(user, field, today, "0", "99999", "7", "", "", ""); err != nil {
			return pathError("change", "/etc/shadow", err)
		}
	} else if field != old && len(fields) > passwd.Changed {
		set[passwd.Changed] = today
	}
	if err := e.saveTable(ctx, "/etc/shadow", table, user, set); err != nil {
		return err
	}
	// A hash in passwd itself would go before that in shadow.
	return e.saveTable(ctx, "/etc/passwd", public, user, map[int]string{passwd.Password: "x"})
}

// saveTable sets fields of an entry and writes the file, if that is a change.
func (e *Editor) saveTable(ctx context.Context, path string, t *passwd.Table, user string, set map[int]string) error {
	for field, value := range set {
		if err := t.Set(user, field, value); err != nil {
			return pathError("change", path, err)
		}
	}
	return e.saveFile(ctx, path, t.Bytes(), newText)
}

// saveFile writes a file unless it is like that already. What is there must be
// no symbolic link.
func (e *Editor) saveFile(ctx context.Context, path string, data []byte, node vfs.NewNode) error {
	old, err := e.plain(ctx, path)
	switch {
	case err == nil && bytes.Equal(old, data):
		return nil
	case err != nil && !missing(err):
		return err
	}
	return e.WriteFile(ctx, path, data, node)
}

var pamMethod = lazyregexp.New(`(?m)^[ \t]*-?password[ \t].*pam_unix\.so[^\n#]*[ \t](yescrypt|sha512|blowfish)\b`)
var loginDefsMethod = lazyregexp.New(`(?m)^[ \t]*ENCRYPT_METHOD[ \t]+"?(YESCRYPT|SHA512|BCRYPT)\b`)

// cryptMethod is how a Linux system hashes passwords itself. SHA-512 crypt is
// what all of them understand.
func (e *Editor) cryptMethod(ctx context.Context) (crypt.Method, error) {
	names := map[string]crypt.Method{"yescrypt": crypt.Yescrypt, "sha512": crypt.SHA512}
	for _, conf := range []struct {
		path string
		re   *lazyregexp.Regexp
	}{
		{"/etc/pam.d/common-password", pamMethod}, {"/etc/pam.d/system-auth", pamMethod},
		{"/etc/pam.d/passwd", pamMethod}, {"/etc/login.defs", loginDefsMethod},
	} {
		text, err := e.ReadFile(ctx, conf.path, MaxText)
		if err != nil && !missing(err) {
			return "", err
		}
		if m := conf.re.FindSubmatch(text); m != nil {
			if method, ok := names[strings.ToLower(string(m[1]))]; ok {
				return method, nil
			}
		}
	}
	return crypt.SHA512, nil
}

// changeMaster does it on the BSDs: in master.passwd, and in the databases
// that are made of it, which are what programs read. resflash lays its saved
// copies over /etc at every boot; they are changed as well.
func (e *Editor) changeMaster(ctx context.Context, system family, user string, fn fieldFunc) error {
	layers, err := e.layers(ctx, "/etc/master.passwd")
	if err != nil {
		return err
	}
	for _, name := range []string{"pwd.db", "spwd.db"} {
		over, err := e.layers(ctx, "/etc/"+name)
		if err != nil {
			return err
		}
		if len(over) > len(layers) {
			return fmt.Errorf("%s goes before that of /etc, and there is no master.passwd beside it to make it of: remove it, or add master.passwd", over[1])
		}
	}
	method := crypt.SHA512
	if system == openBSD {
		method = crypt.Bcrypt
	}
	// The same field in every layer: a salt of its own in each would make a
	// difference that means nothing.
	var field string
	for i := len(layers) - 1; i >= 0; i-- {
		text, err := e.plain(ctx, layers[i])
		if err != nil {
			return err
		}
		table := passwd.Parse(text)
		entry, ok := table.Find(user)
		if !ok || len(entry) <= passwd.Password {
			return fmt.Errorf("%s has no entry of %s", layers[i], user)
		}
		if i == len(layers)-1 {
			if field, err = fn(entry[passwd.Password], method); err != nil {
				return err
			}
		}
		if err := e.saveTable(ctx, layers[i], table, user, map[int]string{passwd.Password: field}); err != nil {
			return err
		}
	}
	for i, layer := range layers {
		if err := e.makeDatabases(ctx, system, strings.TrimSuffix(layer, "/master.passwd"), i > 0); err != nil {
			return err
		}
	}
	return nil
}

// makeDatabases makes passwd, pwd.db and spwd.db of the master.passwd in a
// directory. over says that it is the overlay, which need not have what /etc
// has in the same way.
func (e *Editor) makeDatabases(ctx context.Context, system family, dir string, over bool) error {
	master := dir + "/master.passwd"
	text, err := e.plain(ctx, master)
	if err != nil {
		return err
	}
	order, err := e.byteOrder(ctx, dir+"/spwd.db")
	if err != nil {
		return err
	}
	build, group, mode := passwd.OpenBSD, "_shadow", vfs.Mode(0o640)
	if system == freeBSD {
		build, group, mode = passwd.FreeBSD, "wheel", 0o600
	}
	db, err := build(text, order)
	if err != nil {
		return pathError("read", master, err)
	}
	gid, err := e.id(ctx, "group", "/etc/group", group)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
		node vfs.NewNode
	}{
		{"passwd", db.Passwd, newText},
		{"pwd.db", db.Public, newText},
		{"spwd.db", db.Secret, vfs.NewNode{Mode: vfs.Regular | mode, GID: gid}},
	} {
		path := dir + "/" + f.name
		if over {
			own, err := e.Exists(ctx, path)
			if err != nil {
				return err
			}
			below, err := e.plain(ctx, "/etc/"+f.name)
			if err != nil && !missing(err) {
				return err
			}
			if !own && err == nil && bytes.Equal(below, f.data) {
				continue
			}
		}
		if err := e.saveFile(ctx, path, f.data, f.node); err != nil {
			return err
		}
	}
	return nil
}

// bigEndian are the architectures of OpenBSD and FreeBSD with that byte order.
var bigEndian = []string{"sparc64", "macppc", "powerpc", "powerpc64", "hppa", "octeon", "luna88k", "sgi"}

// byteOrder is that of the machine: the database that is there tells, or else
// the architecture.
func (e *Editor) byteOrder(ctx context.Context, spwd string) (binary.ByteOrder, error) {
	for _, path := range []string{spwd, "/etc/spwd.db"} {
		file, err := e.ReadFile(ctx, path, MaxText)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if db, err := berkeley.Open(file); err == nil {
			return db.Order(), nil
		}
		break // it is about to be replaced
	}
	os, err := e.OS(ctx)
	if slices.Contains(bigEndian, os.Arch) {
		return binary.BigEndian, err
	}
	return binary.LittleEndian, err
}

// An account is a user of the system.
type account struct {
	name     string
	uid, gid uint32
	home     string
}

// account finds a user.
func (e *Editor) account(ctx context.Context, name string) (account, error) {
	a := account{name: name}
	system, err := e.family(ctx)
	if err != nil {
		return a, err
	}
	file, home := "/etc/passwd", passwd.Home
	if system != linux {
		file, home = "/etc/master.passwd", passwd.MasterHome
	}
	text, err := e.effective(ctx, file)
	if err != nil {
		return a, err
	}
	fields, ok := passwd.Parse(text).Find(name)
	if !ok {
		return a, fmt.Errorf("%s has no entry of %s", file, name)
	}
	if len(fields) <= home {
		return a, fmt.Errorf("%s: the entry of %s has %d fields, and no home directory among them", file, name, len(fields))
	}
	uid, err1 := strconv.ParseUint(fields[passwd.UID], 10, 32)
	gid, err2 := strconv.ParseUint(fields[passwd.GID], 10, 32)
	a.uid, a.gid, a.home = uint32(uid), uint32(gid), fields[home]
	if err := errors.Join(err1, err2); err != nil {
		return a, fmt.Errorf("%s: uid and gid of %s: %w", file, name, err)
	}
	if !strings.HasPrefix(a.home, "/") {
		return a, fmt.Errorf("%s: the home directory of %s, %q, is no absolute path", file, name, a.home)
	}
	return a, nil
}
