package squashfs

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/resflash/resflash/image/squashfs/inflate"
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
		return zlibCodec{}, nil
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

type zlibCodec struct{}

func (zlibCodec) decode(dst, src []byte) (int, error) { return inflate.Decode(dst, src) }

type lz4Codec struct{}

func (lz4Codec) decode(dst, src []byte) (int, error) { return lz4.UncompressBlock(src, dst) }

type lzmaCodec struct{}

func (lzmaCodec) decode(dst, src []byte) (int, error) { return lzma.Alone(dst, src) }

type xzCodec struct{}

func (xzCodec) decode(dst, src []byte) (int, error) { return lzma.XZ(dst, src) }
