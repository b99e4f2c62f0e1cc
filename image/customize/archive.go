package customize

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// An archive is an uncompressed stream of a tar archive.
type archive struct {
	io.Reader
	kind  string // of the compression: "gzip"; empty if there was none
	close func()
}

// compressions are told apart by their first bytes.
var compressions = []struct {
	name, magic string
	open        func(r io.Reader) (io.Reader, func(), error)
}{
	{"gzip", "\x1f\x8b", func(r io.Reader) (io.Reader, func(), error) {
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	}},
	{"bzip2", "BZh", func(r io.Reader) (io.Reader, func(), error) { return bzip2.NewReader(r), func() {}, nil }},
	{"xz", "\xfd7zXZ\x00", func(r io.Reader) (io.Reader, func(), error) {
		z, err := xz.NewReader(r)
		return z, func() {}, err
	}},
	{"zstd", "\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, func(), error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}},
}

// openArchive finds out how an archive is compressed.
func openArchive(r io.Reader) (*archive, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for _, c := range compressions {
		if !bytes.HasPrefix(head, []byte(c.magic)) {
			continue
		}
		plain, end, err := c.open(b)
		return &archive{plain, c.name, end}, err
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) {
		return nil, errors.New("is a zip archive: unpack it, and use copy-in")
	}
	return &archive{b, "", func() {}}, nil
}
