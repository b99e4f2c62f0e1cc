package integration

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/passwd"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// A leftover is a secret in an image: where it is, the rule that finds it, and
// its bytes.
type leftover struct {
	rule, place string
	secret      []byte
}

// A resflash image with seeds that were used, a default password, keys in /cfg
// and an old system in the other slot: everything is found in its layer, and
// when it is sealed and scrubbed not a byte of the secrets is left in the file.
func TestSealResflash(t *testing.T) {
	testtool.Need(t, "grep")
	image := filepath.Join(t.TempDir(), "resflash-20241009.img")
	// Of resflash20241009, and cheap to verify.
	const hash = "$2b$04$E7hjLTmz1sd7Yd3.UNM9tOBYy.kjgXLy1GjWxrJhqPjpXLBuyclNK"
	key := func(name string) string {
		return "-----BEGIN OPENSSH PRIVATE KEY-----\nmadeup-" + name + "-secret\n-----END OPENSSH PRIVATE KEY-----"
	}
	random := func(n int) []byte {
		b := make([]byte, n)
		rand.Read(b)
		return b
	}
	var list []leftover
	add := func(rule, place string, secret []byte) { list = append(list, leftover{rule, place, secret}) }
	opt := testimage.Options{SizeMB: 96, SwapMB: 4, Seed: 5, FillE: true, Edit: func(volume string, tree testimage.Tree) {
		if n := tree["etc/random.seed"]; n != nil {
			n.Data = random(512) // what the sample has is in other files, too
			n.Mode |= 0o1000
			add("obsd-random-seed", volume+":/etc/random.seed", n.Data)
			add("obsd-random-seed-reused", volume+":/etc/random.seed", n.Data)
		}
		if n := tree["var/db/host.random"]; n != nil {
			n.Data = random(65536)
			for off := 0; off < len(n.Data); off += 4096 {
				add("obsd-host-random", volume+":/var/db/host.random", n.Data[off:][:64])
			}
		}
		switch volume {
		case "d":
			master := string(tree["etc/master.passwd"].Data)
			_, rest, _ := strings.Cut(strings.TrimPrefix(master, "root:"), ":")
			text := []byte("root:" + hash + ":" + rest)
			tree.File("etc/master.passwd", 0o600, text)
			db, err := passwd.OpenBSD(text, binary.LittleEndian)
			require.NoError(t, err)
			tree.File("etc/spwd.db", 0o640, db.Secret)
			tree.File("etc/pwd.db", 0o644, db.Public)
			add("resflash-root-password", "d:/etc/master.passwd", []byte(hash))
		case "e":
			tree.Text("etc/ssh/ssh_host_rsa_key", 0o600, key("old"))
			add("ssh-host-key", "e:/etc/ssh/ssh_host_rsa_key", []byte("madeup-old-secret"))
			tree.Text("root/.ssh/id_ed25519", 0o600, key("user"))
			add("ssh-user-key", "e:/root/.ssh/id_ed25519", []byte("madeup-user-secret"))
		case "f":
			tree.Text("etc/ssh/ssh_host_ed25519_key", 0o600, key("host"))
			add("ssh-host-key", "f:/etc/ssh/ssh_host_ed25519_key", []byte("madeup-host-secret"))
			tree.Text("etc/iked/private/local.key", 0o600, key("ike"))
			add("resflash-cfg", "f:/etc/iked/private/local.key", []byte("madeup-ike-secret"))
		}
	}}
	require.NoError(t, testimage.Resflash(image, opt))
	for _, v := range inspect(t, image).Volumes {
		if v.Role == "swap" {
			f, err := os.OpenFile(image, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("madeup-swap-secret"), v.Start+1<<20)
			require.NoError(t, errors.Join(err, f.Close()))
			add("swap-content", v.ID+":", []byte("madeup-swap-secret"))
		}
	}
	// One that was removed long ago, without a trace but for its bytes.
	write := exec.CommandContext(t.Context(), program, "write", image+":f:/tmp-key")
	write.Stdin = strings.NewReader(key("removed"))
	require.NoError(t, write.Run())
	resflash(t, "rm", image+":f:/tmp-key")
	removed := []byte("madeup-removed-secret")
	require.True(t, inFile(t, image, removed))

	found := audited(t, image)
	all := wholeFile(t, image)
	for _, l := range list {
		assert.Contains(t, found[l.rule], l.place, l.rule)
		require.True(t, bytes.Contains(all, l.secret), "%s is not in the image at all", l.place)
	}

	// What may lock somebody out is not done unasked.
	out, code := fails(t, "seal", "--scrub", image)
	assert.Equal(t, 15, code)
	assert.Contains(t, out, "--opt-in password-set")
	assert.Contains(t, out, "nothing was changed")
	assert.True(t, inFile(t, image, removed))

	seal := []string{"seal", "--scrub", "--opt-in", "password-set", "--opt-in", "obsd-random-seed", image}
	resflash(t, seal...)
	resflash(t, "audit", image)
	resflash(t, "check", image)
	all = wholeFile(t, image)
	for _, l := range list {
		assert.False(t, bytes.Contains(all, l.secret), "%s: bytes of it are left", l.place)
	}
	assert.False(t, inFile(t, image, removed), "what was removed before is left")
	for _, text := range []string{"madeup-", hash, hash[7:]} {
		grep := exec.CommandContext(t.Context(), "grep", "-a", "-c", "-F", text, image)
		n, _ := grep.Output()
		assert.Equal(t, "0", strings.TrimSpace(string(n)), "grep -a finds something")
	}
	assert.True(t, strings.HasPrefix(resflash(t, "cat", image+":d:/etc/master.passwd"), "root:****"), "root is locked")
	after := audited(t, image)
	assert.Empty(t, after["obsd-passwd-db"], "the password database is in step")

	sealed, st := sum(t, image), stat(t, image)
	resflash(t, seal...)
	assert.Equal(t, sealed, sum(t, image), "to seal it again changes nothing")
	assert.Equal(t, st.ModTime(), stat(t, image).ModTime(), "nor writes to it")
}

// audited are the places that an audit reports, by rule.
func audited(t *testing.T, image string) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "audit", "--fail-on", "never", "--json", image).Output()
	require.NoError(t, err)
	var reports []struct {
		Findings []struct{ Rule, Volume, Path string }
	}
	require.NoError(t, json.Unmarshal(out, &reports))
	places := map[string][]string{}
	for _, f := range reports[0].Findings {
		places[f.Rule] = append(places[f.Rule], f.Volume+":"+f.Path)
	}
	return places
}

// fails runs a command that is to fail, and returns all that it says.
func fails(t *testing.T, args ...string) (said string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "resflash %s", strings.Join(args, " "))
	return string(out), cmd.ProcessState.ExitCode()
}

// inFile looks for bytes in a file.
func inFile(t *testing.T, name string, what []byte) bool {
	t.Helper()
	require.NotEmpty(t, what)
	return bytes.Contains(wholeFile(t, name), what)
}

func wholeFile(t *testing.T, name string) []byte {
	t.Helper()
	all, err := os.ReadFile(name)
	require.NoError(t, err)
	return all
}

func sum(t *testing.T, name string) string {
	t.Helper()
	return fmt.Sprintf("%x", sha256.Sum256(wholeFile(t, name)))
}

func stat(t *testing.T, name string) os.FileInfo {
	t.Helper()
	st, err := os.Stat(name)
	require.NoError(t, err)
	return st
}
