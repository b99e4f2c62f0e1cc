package ext4

import "github.com/resflash/resflash/image/vfs"

func (o *op) writeInline(in *inode, p []byte, off int64) (int, error) {
	return 0, &vfs.NotSupportedError{What: "writing to inline data, " + in.name(), Off: in.off}
}

func (o *op) truncateInline(in *inode, size int64) (bool, error) {
	return false, &vfs.NotSupportedError{What: "writing to inline data, " + in.name(), Off: in.off}
}

func (o *op) zeroInline(in *inode, off, end int64) error {
	return &vfs.NotSupportedError{What: "writing to inline data, " + in.name(), Off: in.off}
}

func (o *op) leaveInline(in *inode) error {
	return &vfs.NotSupportedError{What: "writing to inline data, " + in.name(), Off: in.off}
}
