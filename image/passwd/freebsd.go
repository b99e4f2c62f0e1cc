package passwd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// FreeBSD's databases tell their version, and keys have it in the upper half of
// their first byte (_PW_VERSIONED). Version 4 is the one that machines of
// either byte order read; pwd_mkdb(8) has made others beside it only for
// programs of the past.
const (
	freeBSDVersionKey = "\xffVERSION" // _PWD_VERSION_KEY
	freeBSDVersion    = 4
)

// FreeBSD makes of master.passwd what FreeBSD's pwd_mkdb(8) makes of it. order
// is the byte order of the machine, which only the pages have: numbers in
// records are big-endian, and have 32 bits. Lines of NIS are not supported.
func FreeBSD(text []byte, order binary.ByteOrder) (*Databases, error) {
	all, comments, err := parseMasters(text, true)
	if err != nil {
		return nil, err
	}
	var public, secret records
	var v7 strings.Builder
	copyComments := func(n int) {
		for _, line := range comments[n] {
			v7.WriteString(line + "\n")
		}
	}
	public.put(freeBSDVersionKey, []byte{freeBSDVersion})
	secret.put(freeBSDVersionKey, []byte{freeBSDVersion})
	for n, m := range all {
		if m.nis() {
			return nil, errors.New("not supported: entries of NIS (+ and -) in a database of FreeBSD; run pwd_mkdb(8) on the system")
		}
		copyComments(n)
		fmt.Fprintf(&v7, "%s:*:%d:%d:%s:%s:%s\n", m.name, m.uid, m.gid, m.gecos, m.home, m.shell)
		for _, k := range []string{
			string([]byte{versioned(byName)}) + m.name,
			key(versioned(byNum), binary.BigEndian, uint32(m.number)),
			key(versioned(byUID), binary.BigEndian, m.uid),
		} {
			public.put(k, freeBSDRecord(m, "*"))
			secret.put(k, freeBSDRecord(m, m.password))
		}
	}
	copyComments(len(all))
	return encodeBoth([]byte(v7.String()), public, secret, order)
}

// versioned is the first byte of a key of the version that is made here.
func versioned(kind byte) byte { return kind&0xcf | freeBSDVersion<<4 }

// freeBSDRecord is a record: as OpenBSD's, with other sizes, and with a bit at
// its end for each field that is not empty (_PWF_NAME and so on).
func freeBSDRecord(m *master, password string) []byte {
	set := uint32(0)
	for bit, field := range []int{Name, Password, UID, GID, masterChange, masterClass, masterGecos, MasterHome, MasterShell, masterExpire} {
		if m.fields[field] != "" {
			set |= 1 << bit
		}
	}
	be := binary.BigEndian
	b := []byte(m.name + "\x00" + password + "\x00")
	b = be.AppendUint32(b, m.uid)
	b = be.AppendUint32(b, m.gid)
	b = be.AppendUint32(b, uint32(m.change))
	b = append(b, m.class+"\x00"+m.gecos+"\x00"+m.home+"\x00"+m.shell+"\x00"...)
	b = be.AppendUint32(b, uint32(m.expire))
	return be.AppendUint32(b, set)
}
