// Package customize changes what is in an image by a list of operations:
// upload a file, edit a line, set a password.
//
// An [Operation] is one step. People write it as a line of a script or as an
// option of a command, and the table of [Kinds] says how. An [Editor] is one
// system in an image while it is being changed: its root volume, and the other
// volumes where the system mounts them, so that /boot/efi/EFI is a path like
// any other. A path that begins with "VOLUME:" is in that volume alone.
//
// The image is opened by [image.Edit] with Atomic set, and committed by
// whoever opened it: until then nothing has happened. What would change, or has
// changed, is what [Editor.Changes] says: for every file that differs, its
// state before and after.
package customize
