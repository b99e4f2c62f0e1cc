package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/resflash/resflash/image/squashfs/lzma"
	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A codec undoes one kind of compression, for any number of goroutines at once.
type codec interface {
	// decode fills dst with what src holds, and returns how much that is. What
	// does not fit is an error.
	decode(dst, src []byte) (int, error)
}

var errTooLong = errors.New("holds more than a block")

// newCodec returns the codec of a compression, or why there is none.
func newCodec(c ondisk.Compression) (codec, error) {
	switch c {
	case ondisk.Gzip:
		return &zlibCodec{}, nil
	case ondisk.LZMA:
		return lzmaCodec{}, nil
	case ondisk.XZ:
		return xzCodec{}, nil
	case ondisk.LZ4:
		return lz4Codec{}, nil
	case ondisk.Zstd:
		return newZstdCodec()
	case ondisk.LZO:
		return nil, &vfs.NotSupportedError{What: "squashfs with lzo compression", Off: compressionOff}
	}
	return nil, &vfs.NotSupportedError{What: fmt.Sprintf("squashfs compression %d", c), Off: compressionOff}
}

// compressionOff is where the superblock says which compression it is.
const compressionOff = 20

// readAll fills dst from r, whose end must come where dst ends, or before. The
// end is asked for, because the checksum is there.
func readAll(r io.Reader, dst []byte) (int, error) {
	var more [1]byte
	n := 0
	for {
		p := dst[n:]
		if len(p) == 0 {
			p = more[:]
		}
		k, err := r.Read(p)
		if k > 0 && n == len(dst) {
			return n, errTooLong
		}
		switch n += k; {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

// zlibCodec keeps decoders, which are large, to be used again.
type zlibCodec struct {
	pool sync.Pool // of *zlibDecoder
}

type zlibDecoder struct {
	src bytes.Reader
	r   io.ReadCloser
}

func (c *zlibCodec) decode(dst, src []byte) (int, error) {
	d, _ := c.pool.Get().(*zlibDecoder)
	if d == nil {
		d = &zlibDecoder{}
	}
	defer c.pool.Put(d)
	d.src.Reset(src)
	if d.r == nil {
		r, err := zlib.NewReader(&d.src)
		if err != nil {
			return 0, err
		}
		d.r = r
	} else if err := d.r.(zlib.Resetter).Reset(&d.src, nil); err != nil {
		return 0, err
	}
	return readAll(d.r, dst)
}

// zstdCodec decodes with as many decoders as there are processors.
type zstdCodec struct{ d *zstd.Decoder }

func newZstdCodec() (codec, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(ondisk.MaxBlockSize))
	return zstdCodec{d}, err
}

func (c zstdCodec) decode(dst, src []byte) (int, error) {
	out, err := c.d.DecodeAll(src, dst[:0:len(dst)])
	if err != nil {
		return 0, err
	}
	if len(out) > len(dst) {
		return 0, errTooLong
	}
	if len(out) > 0 && len(dst) > 0 && &out[0] != &dst[0] {
		copy(dst, out)
	}
	return len(out), nil
}

type lz4Codec struct{}

func (lz4Codec) decode(dst, src []byte) (int, error) { return lz4.UncompressBlock(src, dst) }

type lzmaCodec struct{}

func (lzmaCodec) decode(dst, src []byte) (int, error) { return lzma.Alone(dst, src) }

type xzCodec struct{}

func (xzCodec) decode(dst, src []byte) (int, error) { return lzma.XZ(dst, src) }
