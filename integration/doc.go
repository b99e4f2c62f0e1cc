// Package integration judges the built program, from the outside.
//
// Its tests make trees of files (tree_test.go), have foreign tools make file
// systems of them, and compare what resflash shows of those (through export, cp
// -r and the mount) with the tree, file by file: see package manifest. The same
// images go to foreign readers (Sleuth Kit, GRUB, debugfs, mtools, the Linux
// kernel in a virtual machine: package kernelvm), so that a wrong expectation is
// found as well as a wrong reader.
//
// Tests that need a program that is not installed are skipped with the reason,
// or fail if RESFLASH_STRICT=1. With root they also cover owners and device nodes.
// What is downloaded (Debian's kernel, a Debian system) is kept in
// $RESFLASH_TEST_CACHE, by default a folder of the user's cache. RESFLASH_PROGRAM
// names a program to judge instead of the one built from this tree.
package integration
