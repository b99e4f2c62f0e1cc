package audit

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// A matcher finds secrets in bytes of any kind, in one pass: by words that begin
// them, and the form of what follows.
type matcher struct {
	heads [1 << 13]uint64 // a bit for every hash of the first four bytes of a word
	words map[uint32][]needle
}

// A needle is something to be found.
type needle struct {
	kind string
	word []byte             // at least minWord bytes
	form *lazyregexp.Regexp // of what is around the word; nil: the word is all
	back int                // bytes in front of the word that may belong to it, at most lookBack
}

const (
	minWord = 4
	// matchRoom is how many bytes from a word on are looked at, and lookBack how
	// many in front of it.
	matchRoom = 512
	lookBack  = 64
	// exactLen is how much of a secret is looked for.
	exactLen = 24
)

func newMatcher(needles []needle) *matcher {
	m := &matcher{words: map[uint32][]needle{}}
	for _, n := range needles {
		head := binary.LittleEndian.Uint32(n.word)
		h := headHash(head)
		m.heads[h/64] |= 1 << (h % 64)
		m.words[head] = append(m.words[head], n)
	}
	return m
}

// headHash is a number of 19 bits.
func headHash(head uint32) uint32 { return head * 2654435761 >> 13 }

// each calls found for the secrets whose words begin in b[from:to], with the
// place of the word.
func (m *matcher) each(b []byte, from, to int, found func(kind string, at int)) {
	to = min(to, len(b)-minWord+1)
	for i := from; i < to; i++ {
		if b[i] == 0 { // as most of what is free
			for i+8 <= to && binary.LittleEndian.Uint64(b[i:]) == 0 {
				i += 8
			}
			if i >= to || b[i] == 0 {
				continue
			}
		}
		head := binary.LittleEndian.Uint32(b[i:])
		if h := headHash(head); m.heads[h/64]>>(h%64)&1 == 0 {
			continue
		}
		for _, n := range m.words[head] {
			if n.isAt(b, i) {
				found(n.kind, i)
			}
		}
	}
}

// isAt reports whether the needle's word is at b[i:], in the right form.
func (n *needle) isAt(b []byte, i int) bool {
	if !bytes.HasPrefix(b[i:], n.word) {
		return false
	}
	if n.form == nil {
		return true
	}
	from := max(0, i-n.back)
	around := b[from:min(len(b), i+matchRoom)]
	at := n.form.FindIndex(around)
	return at != nil && at[0] <= i-from && i-from < at[1]
}

// looseNeedles are the secrets that are known by their form alone. Programs have
// the words too, so what follows has to be there: the key itself.
var looseNeedles = []needle{
	{"private key", []byte("PRIVATE KEY-----"), lazyregexp.New(`-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n([A-Za-z0-9+/=]{40,}|Proc-Type:)`), 32},
	{"PGP private key", []byte("PGP PRIVATE KEY BLOCK-----"), lazyregexp.New(`-----BEGIN PGP PRIVATE KEY BLOCK-----\r?\n(\r?\n|[A-Z][A-Za-z]*: )`), 16},
	{"age identity", []byte("AGE-SECRET-KEY-1"), lazyregexp.New(`AGE-SECRET-KEY-1[0-9A-Z]{50,}`), 0},
	{"minisign or signify secret key", []byte("secret key\n"), lazyregexp.New(`secret key\n[A-Za-z0-9+/]{60,}`), 0},
	{"PuTTY private key", []byte("PuTTY-User-Key-File-"), lazyregexp.New(`PuTTY-User-Key-File-[23]: [a-z0-9-]+\r?\n`), 0},
	{"private key of WireGuard", []byte("PrivateKey"), lazyregexp.New(`PrivateKey\s*=\s*[A-Za-z0-9+/]{43}=`), 0},
	{"password hash", []byte(":$2b$"), lazyregexp.New(`[a-z_][a-z0-9_-]*:\$2b\$[0-9]{2}\$[./A-Za-z0-9]{53}:`), 32},
	{"password hash", []byte(":$2a$"), lazyregexp.New(`[a-z_][a-z0-9_-]*:\$2a\$[0-9]{2}\$[./A-Za-z0-9]{53}:`), 32},
	{"password hash", []byte(":$1$"), lazyregexp.New(`[a-z_][a-z0-9_-]*:\$1\$[^$:\s]{1,8}\$[./A-Za-z0-9]{22}:`), 32},
	{"password hash", []byte(":$5$"), lazyregexp.New(`[a-z_][a-z0-9_-]*:\$5\$[^:\s]{1,40}\$[./A-Za-z0-9]{43}:`), 32},
	{"password hash", []byte(":$6$"), lazyregexp.New(`[a-z_][a-z0-9_-]*:\$6\$[^:\s]{1,40}\$[./A-Za-z0-9]{86}:`), 32},
	{"password hash", []byte(":$y$"), lazyregexp.New(`[a-z_][a-z0-9_-]*:\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{43}:`), 32},
}

// formNeedles are looseNeedles and the tokens that services give out. An address
// with a password is in too many programs as an example.
func formNeedles() []needle {
	all := slices.Clone(looseNeedles)
	for _, t := range tokens {
		switch {
		case t.word == "://":
		case t.word == "AKIA":
			all = append(all, needle{t.kind, []byte("AKIA"), t.re, 1}, needle{t.kind, []byte("ASIA"), t.re, 1})
		case t.word == "gh":
			for _, w := range strings.Fields("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_") {
				all = append(all, needle{t.kind, []byte(w), t.re, 1})
			}
		case len(t.word) < minWord: // "xox", and a letter
			for _, c := range "baprs" {
				all = append(all, needle{t.kind, []byte(t.word + string(c)), t.re, 1})
			}
		default:
			all = append(all, needle{t.kind, []byte(t.word), t.re, 1})
		}
	}
	return all
}

// exactNeedle is the part of a secret by which a copy of it is known; nil if
// there is too little of it. Keys begin and end alike, so it is taken from behind
// the middle.
func exactNeedle(value []byte) []byte {
	if len(value) < 2*exactLen {
		return nil
	}
	at := min(len(value)*2/3, len(value)-exactLen)
	word := bytes.Clone(value[at : at+exactLen])
	distinct := map[byte]bool{}
	for _, c := range word {
		distinct[c] = true
	}
	if len(distinct) < 8 {
		return nil
	}
	return word
}
