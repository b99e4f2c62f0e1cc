package ext4

// dirRoom knows of every block of a directory how large a name it may have room
// for, in units of 4 bytes: not less than there is, and as much as was seen when
// the block was last looked at.
type dirRoom struct {
	most []uint16 // by block; those behind have not been looked at
	hint []uint32 // hint[n]: no block in front of it has room for n units
}

// roomUnits is how many of dirRoom's units the longest name takes.
const roomUnits = (8 + 255 + 3) / 4

// first returns the first block from hint on that may have room for n units, or
// blocks if none has.
func (r *dirRoom) first(n int, blocks uint32) uint32 {
	if r.hint == nil {
		r.hint = make([]uint32, roomUnits+1)
	}
	for int(blocks) > len(r.most) {
		r.most = append(r.most, 1<<16-1)
	}
	i := r.hint[n]
	for i < blocks && int(r.most[i]) < n {
		i++
	}
	r.hint[n] = i
	return i
}

// set says how much room a block has.
func (r *dirRoom) set(block uint32, n int) {
	if int(block) < len(r.most) {
		r.most[block] = uint16(n)
		for k := range r.hint[:min(n, roomUnits)+1] {
			r.hint[k] = min(r.hint[k], block)
		}
	}
}
