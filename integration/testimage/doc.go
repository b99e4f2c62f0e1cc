// Package testimage writes disk images to try the program on, as an ordinary
// user and without any other tool: a disk in the resflash layout, with its
// partition table, disklabel, FFS and FAT file systems and the files of a small
// OpenBSD.
//
// It is a second opinion, not a product. Its writers share no code and no
// structure with the drivers that read their output, lay everything out once
// from a [Tree] and cannot change it afterwards. What they write is judged by
// foreign tools (sleuthkit, GRUB, fsck.fat, mtools) in this package's tests.
//
// Everything in the images is made up here: the programs are stubs that no
// machine can run, and nothing was copied from an OpenBSD release. The same
// options make the same bytes.
package testimage
