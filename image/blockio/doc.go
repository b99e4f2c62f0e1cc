// Package blockio is the bottom of the house: byte ranges to read from, and
// transactions to write to.
//
// Everything above sees a [Device]: something with a size that can be read at
// any offset by any number of goroutines at once. A device is a [File] (an
// image file or a block device of the host), a [Section] of another device (a
// partition), a [Memory] or a [Sparse] (tests) or a wrapper ([Faults]).
//
// What a device can do beyond reading is found by type assertion: [FileBacked]
// (where the bytes lie in a host file, so that they can be spliced), and
// [HoleSeeker] (which parts of a sparse image were never written).
//
// A [Cache] keeps a bounded amount of metadata in memory and hands out slices
// of it, so that a directory of fifty thousand names is parsed without copying.
//
// # Transactions
//
// Nothing writes to an image but by way of a [Transaction]. It promises that
// whatever happens, a kill or a power cut at any moment, the image holds a
// commit, complete in every file system it has, and none older than the last
// one that returned. One mechanism does this for every driver. It has three
// nouns.
//
// The [Session] is the transaction over the whole image. A driver writes
// metadata to it, which are collected in units of 512 bytes and are seen by
// everyone who reads through the session; and it writes the contents of files,
// which go straight to their place, because that is free in the last commit.
// (Where nobody is promised anything before the one commit, short ones that
// follow each other wait until there are enough for one write.) At
// a commit the session stops its participants for a moment, and makes what it
// has collected durable in three steps:
//
//	image    fsync: contents are there before anything refers to them
//	journal  write, fsync: now the commit has happened
//	image    write what was collected to its place; this fsync is put off
//	         until the journal is needed again
//
// A [Lock] keeps a second writer out. Readers need no lock.
//
// The journal is a file beside the image, NAME.resflash-journal (of a block
// device, in a folder of its own: see [JournalOf]). It holds the sectors of one
// commit, with checksums of what they are to be and of what they were. Opening
// the image for writing first calls [Recover]: a complete journal is finished,
// which can be done any number of times, and anything else is a commit that
// never was. Opening it for reading lays a complete journal over the image in
// memory, as a [Recovered] device, and writes nothing. A journal is believed
// only if every sector that it names holds what it held before the commit, or
// after; otherwise somebody has changed the image in the meantime, and that is
// an error for a person to look at.
//
// While a session works, the journal is also the place for what is collected
// beyond the bound of memory. It has to go there in the end anyway.
//
// An [Overlay] keeps what is written beside a device that stays as it is: a
// session over it is a dry run. A session over a copy that has no name yet is
// the third kind, and needs no journal until its first commit gives the copy
// its name: until then, everything goes straight to its place.
//
// What is taken for granted: the medium writes a sector of 512 bytes as a whole
// or not at all, and what the host has synced stays. What is not covered: an
// image that is renamed or moved without its journal, or opened by another of
// its hard links, while a commit is unfinished.
//
// Nothing here knows what the bytes mean.
package blockio
