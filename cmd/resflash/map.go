package main

import (
	"slices"
	"strings"
)

// A mapSegment is a stretch of the disk in the map: a volume, or a gap.
type mapSegment struct {
	start, size int64
	volume      *volumeJSON // nil for a gap
	width       int         // characters
}

// minGap is how large a gap must be to be drawn. Smaller ones are alignment.
const minGap = 64 << 10

// drawMap draws where the volumes lie on the disk, to scale: "#" is space in
// use, "." is free, "?" is not known, blank lies between the volumes. Volumes
// that overlap are drawn on lines of their own.
func (v *imageJSON) drawMap(w *world) {
	if v.Size <= 0 || len(v.Volumes) == 0 {
		return
	}
	volumes := slices.Clone(v.Volumes)
	slices.SortStableFunc(volumes, func(a, b *volumeJSON) int {
		if a.Start != b.Start {
			if a.Start < b.Start {
				return -1
			}
			return 1
		}
		return 0
	})
	for len(volumes) > 0 {
		var row []mapSegment
		var rest []*volumeJSON
		at := int64(0)
		for _, vol := range volumes {
			start, end := min(vol.Start, v.Size), min(vol.Start+vol.Size, v.Size)
			if start < at || end < start {
				rest = append(rest, vol)
				continue
			}
			if start-at >= minGap {
				row = append(row, mapSegment{start: at, size: start - at})
			}
			row = append(row, mapSegment{start: start, size: end - start, volume: vol})
			at = end
		}
		if len(row) == 0 {
			break // nothing of these lies on the disk
		}
		if v.Size-at >= minGap {
			row = append(row, mapSegment{start: at, size: v.Size - at})
		}
		scaleMap(row, v.Size, min(w.width, 120)-2)
		var b strings.Builder
		for _, s := range row {
			b.WriteString(s.draw())
		}
		w.printf("  %s\n", strings.TrimRight(b.String(), " "))
		volumes = rest
	}
	w.printf("\n")
}

// scaleMap shares the width out among the segments by their size, but gives
// each what it needs to be seen.
func scaleMap(row []mapSegment, total int64, width int) {
	left, share := width, total
	for i := range row {
		s := &row[i]
		least := 1
		if s.volume != nil {
			least = len(s.volume.ID) + 2
		}
		s.width = least
	}
	// Segments that would be narrower than their least width get just that,
	// and the others share what is left; each round may find more of them.
	fixed := make([]bool, len(row))
	for again := true; again; {
		again = false
		for i := range row {
			if !fixed[i] && float64(row[i].size)*float64(left) < float64(row[i].width)*float64(share) {
				fixed[i], again = true, true
				left -= row[i].width
				share -= row[i].size
			}
		}
	}
	// Rounding the ends and not the widths keeps the sum right.
	done, used := int64(0), 0
	for i := range row {
		if fixed[i] || share <= 0 || left <= 0 {
			continue
		}
		done += row[i].size
		end := int(float64(left) * float64(done) / float64(share))
		row[i].width = max(end-used, row[i].width)
		used = end
	}
}

// draw is "[d####....]" for a volume and blanks for a gap.
func (s mapSegment) draw() string {
	if s.volume == nil {
		return strings.Repeat(" ", s.width)
	}
	v := s.volume
	room := max(s.width-2-len(v.ID), 0)
	var fill string
	switch {
	case v.Used != nil && v.Size > 0:
		n := int(float64(room)*float64(*v.Used)/float64(v.Size) + 0.5)
		n = min(max(n, 0), room)
		fill = strings.Repeat("#", n) + strings.Repeat(".", room-n)
	case v.Kind == "empty":
		fill = strings.Repeat(".", room)
	default:
		fill = strings.Repeat("?", room)
	}
	return "[" + v.ID + fill + "]"
}
