// Package personalise gives one copy of an image an identity of its own: what
// makes a machine different from all others that were made of the image, and
// that it cannot make itself, or not soon enough.
//
// [Steps] are operations of package customize, so that they are recorded, shown
// by a dry run and committed like any others. Everything random comes from the
// host's own source, whatever SOURCE_DATE_EPOCH says: two copies must differ.
package personalise
