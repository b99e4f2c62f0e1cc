package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// escape makes a name fit for a terminal, as ls -b does: what does not print
// is a C escape or three octal digits per byte, and so is what is not UTF-8.
func escape(s string) string {
	clean := true
	for _, r := range s {
		if r == utf8.RuneError || r == '\\' || !strconv.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError && n <= 1, !strconv.IsPrint(r):
			for i := range n {
				fmt.Fprintf(&b, `\%03o`, s[i])
			}
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// size prints a number of bytes for people: in powers of 1024, with three
// significant digits: "512 B", "33.0 KiB", "7.25 GiB".
func size(n int64) string {
	if n < 1024 && n > -1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := scale(n)
	return fmt.Sprintf("%s %ciB", v, unit)
}

// shortSize is size as ls -h and du -h print it: "512", "33K", "7.2G".
func shortSize(n int64) string {
	if n < 1024 && n > -1024 {
		return strconv.FormatInt(n, 10)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f%c", v, "KMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f%c", v, "KMGTPE"[unit])
}

func scale(n int64) (string, byte) {
	v, unit := float64(n)/1024, 0
	for (v >= 1023.95 || v <= -1023.95) && unit < 5 {
		v, unit = v/1024, unit+1
	}
	digits := 2
	if v >= 9.995 {
		digits = 1
	}
	if v >= 99.95 {
		digits = 0
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s, "KMGTPE"[unit]
}

// parseSize reads "4096", "64k", "10M", "2G": powers of 1024.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "bcBkKMGTPi")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("size %q: want a number with an optional unit k, M, G or T", s)
	}
	shift := uint(0)
	switch strings.TrimSuffix(strings.TrimSuffix(s[len(digits):], "B"), "i") {
	case "", "c", "b":
	case "k", "K":
		shift = 10
	case "M":
		shift = 20
	case "G":
		shift = 30
	case "T":
		shift = 40
	case "P":
		shift = 50
	default:
		return 0, fmt.Errorf("size %q: unknown unit %q", s, s[len(digits):])
	}
	if n > (1<<63-1)>>shift {
		return 0, fmt.Errorf("size %q: too large", s)
	}
	return n << shift, nil
}

// clock prints a time as ls does with its style long-iso.
func clock(t time.Time) string {
	if t.IsZero() {
		return "               -"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// fullClock prints a time with everything that is known of it.
func fullClock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05.000000000 -0700")
}

// A table aligns columns of text. Cells may hold any name: widths are counted
// in characters.
type table struct {
	right []bool // columns that are aligned to the right
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w *world, indent string) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range t.rows {
		var b strings.Builder
		b.WriteString(indent)
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i > 0 {
				b.WriteString("  ")
			}
			if i < len(t.right) && t.right[i] {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		w.printf("%s\n", strings.TrimRight(b.String(), " "))
	}
}
