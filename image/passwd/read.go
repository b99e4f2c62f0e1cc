package passwd

import (
	"bytes"

	"github.com/resflash/resflash/image/passwd/berkeley"
)

// ReadDatabase returns the password fields in a pwd.db or spwd.db of OpenBSD,
// NetBSD or FreeBSD, by the names of the accounts: what a program gets that asks
// for a name.
func ReadDatabase(file []byte) (map[string]string, error) {
	db, err := berkeley.Open(file)
	if err != nil {
		return nil, err
	}
	kind := byte(byName)
	if _, ok, err := db.Get([]byte(freeBSDVersionKey)); err != nil {
		return nil, err
	} else if ok {
		kind = versioned(byName)
	}
	fields := map[string]string{}
	for r, err := range db.All() {
		if err != nil {
			return nil, err
		}
		if len(r.Key) < 2 || r.Key[0] != kind {
			continue
		}
		_, rest, _ := bytes.Cut(r.Value, []byte{0}) // the name once more
		field, _, _ := bytes.Cut(rest, []byte{0})
		fields[string(r.Key[1:])] = string(field)
	}
	return fields, nil
}
