package personalise

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/customize"
)

// dir is the directory of a path in the image.
func dir(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 && path[i-1] != ':' {
		return path[:i]
	}
	return path[:strings.LastIndexByte(path, '/')+1]
}

// seed writes fresh random bytes.
type seed struct {
	path string
	size int
}

func (o seed) Apply(ctx context.Context, e *customize.Editor) error {
	b := make([]byte, o.size)
	rand.Read(b)
	return write(ctx, e, o.path, b, 0o600)
}

func (o seed) String() string { return fmt.Sprintf("seed %s:(%d random bytes)", o.path, o.size) }

// hostKey makes an SSH host key. One of Ed25519 is enough for any sshd since
// 2014; those of other kinds, which would be somebody else's, go.
type hostKey struct{ dir, host string }

func (o hostKey) Apply(ctx context.Context, e *customize.Editor) error {
	old, err := e.Glob(ctx, o.dir+"/ssh_host_*_key*")
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := e.Remove(ctx, name); err != nil {
			return err
		}
	}
	comment := "root"
	if o.host != "" {
		comment += "@" + o.host
	}
	private, public, err := newHostKey(comment)
	if err != nil {
		return err
	}
	name := o.dir + "/ssh_host_ed25519_key"
	if err := write(ctx, e, name, private, 0o600); err != nil {
		return err
	}
	return write(ctx, e, name+".pub", public, 0o644)
}

func (o hostKey) String() string { return "host-key " + o.dir + "/ssh_host_ed25519_key" }

// newHostKey makes a key of Ed25519 in the files of OpenSSH (PROTOCOL.key): the
// private one has a magic, three strings about the encryption, which is none,
// the number of keys, the public key, and in a string of its own two equal
// numbers, the key itself, its comment, and a padding of 1, 2, 3 ….
func newHostKey(comment string) (private, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	const kind = "ssh-ed25519"
	blob := str(str(nil, kind), string(pub))
	var check [4]byte
	rand.Read(check[:])
	inner := append(append([]byte(nil), check[:]...), check[:]...)
	inner = str(str(str(str(inner, kind), string(pub)), string(key)), comment)
	for i := byte(1); len(inner)%8 != 0; i++ {
		inner = append(inner, i)
	}
	outer := str(str(str([]byte("openssh-key-v1\x00"), "none"), "none"), "")
	outer = str(str(binary.BigEndian.AppendUint32(outer, 1), string(blob)), string(inner))
	private = pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: outer})
	return private, fmt.Appendf(nil, "%s %s %s\n", kind, base64.StdEncoding.EncodeToString(blob), comment), nil
}

// str appends a string of the SSH protocol: length, bytes.
func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
