// Package audit looks into an image for what must not be shipped: secrets and
// identities that every machine started from the image would share, ways in for
// the one who built it, traces of where it was built, and references that lead
// nowhere.
//
// A [Rule] says what is looked for, how bad it is under each [Profile], why, and
// how it could be mended. The rules are ordered in families, one file each;
// [Rules] lists them. A [Finding] is a place where a rule is broken.
//
// What is looked at is a [Target]: the volumes of an image, and the systems
// installed in them. Rules run in views. Each volume is a view of its own, so
// that a file hidden by a mount or by an overlay is found too. Each system with
// further volumes is another: its root with everything mounted and overlaid as
// it will be at run time. A finding names the volume that supplies the file, and
// the views in which it is seen.
//
// When the files are done, what is free but not empty is looked through: free
// blocks, slack, journals and the space between partitions, for secrets by their
// form and for copies of those that were found in files. That is a few patterns
// at once in one pass over as much as was ever written, in bounded memory.
//
// Nothing is changed, nothing outside the image is consulted, and no symbolic
// link leads out of it. Secrets are never part of a finding: it has their kind,
// their length and, where the secret cannot be guessed from it, a fingerprint.
// What could not be read makes the rules that wanted it unknown, which is never
// a pass.
package audit
