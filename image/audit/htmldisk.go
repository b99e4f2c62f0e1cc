package audit

import (
	"fmt"
	"slices"
	"strconv"
)

// disk draws the map of a disk, and lists its volumes.
func (p *page) disk(n int, r *Report) {
	p.section("disk", n, "Disk")
	p.diskMap(r)
	p.printf("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Volumes\">\n<table>\n<thead><tr><th scope=\"col\">Volume</th><th scope=\"col\">Role</th><th scope=\"col\">Type</th><th scope=\"col\">Content</th>" +
		"<th scope=\"col\" class=\"number\">Start</th><th scope=\"col\" class=\"number\">Size</th><th scope=\"col\">In use</th><th scope=\"col\" class=\"number\">Findings</th></tr></thead>\n<tbody>\n")
	for i, v := range r.Volumes {
		p.printf("<tr><th scope=\"row\"><i class=\"swatch c%d\" aria-hidden=\"true\"></i><code>%s</code></th><td>%s</td><td>%s</td>", i%colours, esc(v.ID), esc(v.Role), esc(v.Type))
		switch {
		case v.Error != "":
			p.printf("<td class=\"unread\">not read: %s</td>", esc(v.Error))
		case v.System != "":
			p.printf("<td>%s</td>", esc(v.System))
		case v.Label != "":
			p.printf("<td>labelled %s</td>", esc(v.Label))
		default:
			p.printf("<td></td>")
		}
		if v.Size > 0 {
			p.printf("<td class=\"number\">%s</td><td class=\"number\">%s</td>", esc(humanSize(v.Start)), esc(humanSize(v.Size)))
		} else {
			p.printf("<td></td><td></td>")
		}
		p.usage(i, v)
		p.printf("<td class=\"number\">%s</td></tr>\n", esc(r.worstOf(v.ID)))
	}
	p.printf("</tbody>\n</table>\n</div>\n")
	p.end()
}

// usage is a bar with a number beside it.
func (p *page) usage(i int, v *VolumeInfo) {
	if v.Used == nil || v.Size <= 0 {
		p.printf("<td></td>")
		return
	}
	share := min(max(float64(*v.Used)/float64(v.Size), 0), 1)
	p.printf("<td class=\"usage\"><span class=\"bar c%d\" aria-hidden=\"true\"><i style=\"width:%.1f%%\"></i></span> %s (%.0f %%)</td>", i%colours, share*100, esc(humanSize(*v.Used)), share*100)
}

// worstOf counts the findings in a volume that count.
func (r *Report) worstOf(volume string) string {
	n := 0
	for _, f := range r.Findings {
		if f.Volume == volume && f.Open() && f.Severity > Info {
			n++
		}
	}
	return strconv.Itoa(n)
}

// colours is how many the style knows.
const colours = 6

// The map's own units: it is stretched to the width of the page.
const (
	mapWidth  = 1000.0
	rowHeight = 44.0
	rowGap    = 8.0
)

// diskMap draws where the volumes lie, to scale, with what is in use of each.
// Volumes that overlap get rows of their own. The table below has the numbers.
func (p *page) diskMap(r *Report) {
	rows := mapRows(r)
	if len(rows) == 0 {
		return
	}
	height := float64(len(rows))*(rowHeight+rowGap) - rowGap
	scale := func(n int64) float64 { return mapWidth * float64(n) / float64(r.Size) }
	p.printf("<figure>\n<svg class=\"map\" viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=\"none\" style=\"height:%.0fpx\" role=\"img\" aria-label=\"%s\">\n",
		mapWidth, height, height, esc(fmt.Sprintf("Map of the disk, %s: %d volumes to scale. The table that follows has the numbers.", humanSize(r.Size), len(r.Volumes))))
	for y, row := range rows {
		top := float64(y) * (rowHeight + rowGap)
		p.printf("<rect class=\"gap\" x=\"0\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\"/>\n", top, mapWidth, rowHeight)
		for _, i := range row {
			v := r.Volumes[i]
			start, end := min(v.Start, r.Size), min(v.Start+v.Size, r.Size)
			x, wide := scale(start), scale(end-start)
			p.printf("<g class=\"c%d\"><title>%s</title><rect class=\"volume\" x=\"%.3f\" y=\"%.0f\" width=\"%.3f\" height=\"%.0f\"/>", i%colours,
				esc(fmt.Sprintf("%s: %s of %s", v.ID, humanSize(v.Size), humanSize(r.Size))), x, top, wide, rowHeight)
			if v.Used != nil && v.Size > 0 {
				p.printf("<rect class=\"used\" x=\"%.3f\" y=\"%.0f\" width=\"%.3f\" height=\"%.0f\"/>", x, top, wide*min(float64(*v.Used)/float64(v.Size), 1), rowHeight)
			}
			p.printf("</g>\n")
		}
	}
	p.printf("</svg>\n<div class=\"names\" aria-hidden=\"true\">")
	for _, i := range rows[0] {
		v := r.Volumes[i]
		// A name that does not fit is in the table all the same.
		if share := scale(min(v.Size, r.Size-v.Start)); share >= 9*float64(len(v.ID)) {
			class := "wide"
			if share < 40 {
				class = "tiny" // gone on a narrow page
			}
			p.printf("<span class=\"%s\" style=\"left:%.2f%%;width:%.2f%%\">%s</span>", class, scale(v.Start)/mapWidth*100, share/mapWidth*100, esc(v.ID))
		}
	}
	p.printf("</div>\n<figcaption><span>0</span><span>To scale: solid is in use, pale is free, grey belongs to no volume</span><span>%s</span></figcaption>\n</figure>\n", esc(humanSize(r.Size)))
}

// mapRows shares the volumes out, so that none overlap in a row.
func mapRows(r *Report) [][]int {
	var order []int
	for i, v := range r.Volumes {
		if v.Size > 0 && v.Start >= 0 && v.Start < r.Size && v.Start+v.Size > v.Start {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := r.Volumes[a].Start, r.Volumes[b].Start; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	var rows [][]int
	var ends []int64
	for _, i := range order {
		v := r.Volumes[i]
		at := slices.IndexFunc(ends, func(end int64) bool { return end <= v.Start })
		if at < 0 {
			if at = len(rows); at == 8 {
				continue // a table of nonsense; the list has them all
			}
			rows, ends = append(rows, nil), append(ends, 0)
		}
		rows[at], ends[at] = append(rows[at], i), v.Start+v.Size
	}
	return rows
}

// humanSize is a number of bytes for people: "7.25 GiB".
func humanSize(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.5 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	digits := 0
	if v < 10 && v != float64(int64(v)) {
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, v, "KMGTPE"[unit])
}
