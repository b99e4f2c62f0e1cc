package model

import "time"

// Minimise looks for a shorter log that still fails, by leaving out operations
// for as long as there is time.
func Minimise(ops []Op, fails func([]Op) bool, limit time.Duration) []Op {
	end := time.Now().Add(limit)
	for part := max(len(ops)/2, 1); ; {
		shorter := false
		for at := 0; at < len(ops) && time.Now().Before(end); {
			rest := append(append([]Op(nil), ops[:at]...), ops[min(at+part, len(ops)):]...)
			if fails(rest) {
				ops, shorter = rest, true
			} else {
				at += part
			}
		}
		switch {
		case !time.Now().Before(end), part == 1 && !shorter:
			return ops
		case part > 1:
			part = max(part/2, 1)
		}
	}
}
