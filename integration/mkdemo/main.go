// Mkdemo writes the disk image of make demo: a made-up OpenBSD in the resflash
// layout.
//
//	go run ./integration/mkdemo [-size MB] [-active d|e] [-fill-e] [-ffs 1|2] OUT.img
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/resflash/resflash/integration/testimage"
)

func main() {
	var opt testimage.Options
	flag.Int64Var(&opt.SizeMB, "size", 1906, "`MiB` of the image, which is sparse")
	flag.StringVar(&opt.Active, "active", "d", "`slot` that the boot loader starts, d or e")
	flag.BoolVar(&opt.FillE, "fill-e", false, "put a system into slot e, too")
	flag.IntVar(&opt.FFSVersion, "ffs", 2, "`version` of the file systems, 1 or 2")
	flag.StringVar(&opt.OSVersion, "os", "7.6", "`release` in the active slot")
	flag.Int64Var(&opt.SwapMB, "swap", 0, "`MiB` of swap")
	flag.Uint64Var(&opt.Seed, "seed", 0, "`number` that everything random comes from")
	flag.BoolVar(&opt.Dirty, "dirty", false, "leave the active slot as a power cut does")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := testimage.Resflash(flag.Arg(0), opt); err != nil {
		fmt.Fprintln(os.Stderr, "mkdemo:", err)
		os.Exit(1)
	}
}
