package blockio

import "context"

// A Transaction is a device whose writes take effect all at once, when it is
// committed, or not at all. It begins anew after every commit. Two kinds of
// writes are told apart:
//
//   - WriteAt is for metadata, and for whatever else must not be seen half
//     done. It is collected, in units of 512 bytes, and goes to the medium at
//     the commit, by way of a journal.
//   - WriteData is for the contents of files. It goes to its place without a
//     detour, which harms nobody if that place is free in the last commit.
//
// What was written by either is what ReadAt reads from then on.
//
// The rule for drivers: space that was in use in the last commit is not
// allocated again before the next one, however free it is by now. In an atomic
// transaction, which has no next one, it may be, if contents are written there
// with fresh false.
type Transaction interface {
	Writable

	// WriteData writes file contents. fresh says that the space was free in the
	// last commit. What is not fresh overwrites contents that a commit has
	// promised: in an atomic transaction it is collected like metadata.
	// Sectors that are collected already stay so.
	WriteData(p []byte, off int64, fresh bool) error

	// Atomic says that only the owner commits, once, and that nothing is to be
	// seen before: a scripted edit, an upgrade. Otherwise (a mount) there is a
	// commit whenever someone asks for one.
	Atomic() bool

	// Join adds a participant, which is told of every commit until leave is
	// called.
	Join(p Participant) (leave func())

	// Commit makes everything written so far durable as a whole: it freezes the
	// participants, lets them write what they still hold, and writes it all to
	// the medium. If it fails, the medium holds the last commit. Never call it
	// with a participant's own lock held. Sync is the same, except that it does
	// nothing in an atomic transaction.
	Commit(ctx context.Context) error
}

// A Participant is a driver that keeps state of its own above a transaction.
type Participant interface {
	// Freeze writes what the driver holds to the transaction, and keeps its
	// state as it is until Thaw, which always follows, even after an error.
	Freeze(ctx context.Context) error
	// Thaw lets operations go on. committed says whether the commit succeeded:
	// what was freed before it may then be used again.
	Thaw(committed bool)
}
