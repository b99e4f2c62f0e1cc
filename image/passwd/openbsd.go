package passwd

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/passwd/berkeley"
)

// What OpenBSD's records say of a line: fields that are empty, not zero
// (_PASSWORD_NOUID and so on).
const (
	noUID = 1 << iota
	noGID
	noChange
	noExpire
)

const (
	// nisToken is a key without a value that says that there are lines of NIS
	// (_PW_YPTOKEN).
	nisToken = "__YP!"
	// maxRecord is _PW_BUF_LEN: getpwent(3) takes no larger record.
	maxRecord = 1024
)

// OpenBSD makes of master.passwd what OpenBSD's pwd_mkdb(8) makes of it. order
// is the byte order of the machine. A line that it would not take is an error.
//
// A record is the name and the hash, each with a NUL; uid and gid, 32 bits;
// the time at which the password must be changed, 64 bits; class, gecos, home
// and shell, each with a NUL; the time of expiry, 64 bits; and flags, 32 bits.
// It is there under the name, the uid and the number of the line.
func OpenBSD(text []byte, order binary.ByteOrder) (*Databases, error) {
	all, _, err := parseMasters(text, false)
	if err != nil {
		return nil, err
	}
	var public, secret records
	var v7 strings.Builder
	nis := false
	for _, m := range all {
		if len(openBSDRecord(m, m.password, order)) > maxRecord {
			return nil, fmt.Errorf("line %d: the entry is too long: getpwnam(3) takes %d bytes", m.number, maxRecord)
		}
		nis = nis || m.nis()
		fmt.Fprintf(&v7, "%s:*:%d:%d:%s:%s:%s\n", m.name, m.uid, m.gid, m.gecos, m.home, m.shell)
	}
	for _, kind := range []byte{byName, byUID, byNum} {
		for _, m := range all {
			var k string
			switch kind {
			case byName:
				k = string(kind) + m.name
			case byUID:
				k = key(kind, order, m.uid)
			case byNum:
				k = key(kind, order, uint32(m.number))
			}
			star := ""
			if m.password != "" {
				star = "*"
			}
			secret.put(k, openBSDRecord(m, m.password, order))
			public.put(k, openBSDRecord(m, star, order))
		}
	}
	if nis {
		secret.put(nisToken, nil)
		public.put(nisToken, nil)
	}
	return encodeBoth([]byte(v7.String()), public, secret, order)
}

func openBSDRecord(m *master, password string, order binary.ByteOrder) []byte {
	flags := uint32(0)
	for field, flag := range map[int]uint32{UID: noUID, GID: noGID, masterChange: noChange, masterExpire: noExpire} {
		if m.fields[field] == "" {
			flags |= flag
		}
	}
	b := []byte(m.name + "\x00" + password + "\x00")
	b = order.(binary.AppendByteOrder).AppendUint32(b, m.uid)
	b = order.(binary.AppendByteOrder).AppendUint32(b, m.gid)
	b = order.(binary.AppendByteOrder).AppendUint64(b, uint64(m.change))
	b = append(b, m.class+"\x00"+m.gecos+"\x00"+m.home+"\x00"+m.shell+"\x00"...)
	b = order.(binary.AppendByteOrder).AppendUint64(b, uint64(m.expire))
	return order.(binary.AppendByteOrder).AppendUint32(b, flags)
}

func encodeBoth(v7 []byte, public, secret records, order binary.ByteOrder) (*Databases, error) {
	d := &Databases{Passwd: v7}
	var err error
	if d.Public, err = berkeley.Encode(public.list, order); err != nil {
		return nil, err
	}
	d.Secret, err = berkeley.Encode(secret.list, order)
	return d, err
}
