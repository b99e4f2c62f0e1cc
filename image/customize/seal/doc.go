// Package seal takes out of an image what must not be shipped.
//
// What is to be done is what an audit finds and knows how to mend: [Run] audits
// the image, turns findings into [Step]s, does them, and audits what has become
// of it, until there is nothing more to do. It does not commit; whoever opened
// the image does, if the [Result] says that nothing is left that matters.
//
// A step is one change of one file. It is made only when the rule's [audit.Fix]
// may be: always, or if its condition holds (the audit decides that by what the
// image itself says, and [audit.Finding.FixNote] has the reason), or if it was
// asked for by name. What may not be made is a step, too: refused, with the
// reason.
//
// The order is that of [fixes]: first what other fixes rely on, then what makes
// machines the same (keys, machine ID, seeds), then accounts, networks, clouds,
// leftovers, permissions, and swap space. A sealed image has no steps, and is not written to.
package seal
