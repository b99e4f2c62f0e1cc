package kernelvm

import (
	"sync"
	"testing"

	"github.com/resflash/resflash/integration/testtool"
)

var fetched struct {
	sync.Mutex
	kernel *Kernel
	err    error
}

// Need returns the kernel from [CacheDir], and skips the test where it cannot be
// had (under RESFLASH_STRICT=1, that fails it).
func Need(t testing.TB) *Kernel {
	t.Helper()
	testtool.Need(t, "qemu-system-x86_64")
	fetched.Lock()
	defer fetched.Unlock()
	if fetched.kernel == nil && fetched.err == nil {
		dir, err := CacheDir()
		if err == nil {
			fetched.kernel, err = Fetch(t.Context(), dir)
		}
		fetched.err = err
	}
	if fetched.err != nil {
		testtool.Missing(t, "no kernel for the virtual machine: %v", fetched.err)
	}
	return fetched.kernel
}
