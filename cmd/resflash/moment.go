package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const timeForms = "2006-01-02, 2006-01-02T15:04:05Z or @SECONDS"

// parseTime reads a time as people write it. Without a zone it is local time.
func parseTime(s string) (time.Time, error) {
	if text, ok := strings.CutPrefix(s, "@"); ok {
		whole, fraction, _ := strings.Cut(text, ".")
		sec, err := strconv.ParseInt(whole, 10, 64)
		if err == nil && len(fraction) <= 9 && strings.Trim(fraction, "0123456789") == "" {
			nsec, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
			if strings.HasPrefix(whole, "-") {
				nsec = -nsec
			}
			return time.Unix(sec, nsec), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: want %s", s, timeForms)
}

// parseStamp reads a time as touch -t has it: [[CC]YY]MMDDhhmm[.ss].
func parseStamp(s string, now time.Time) (time.Time, error) {
	fail := fmt.Errorf("time %q: want [[CC]YY]MMDDhhmm[.ss]", s)
	digits, sec, dot := strings.Cut(s, ".")
	if dot && len(sec) != 2 || strings.Trim(digits+sec, "0123456789") != "" {
		return time.Time{}, fail
	}
	switch len(digits) {
	case 8:
		digits = fmt.Sprintf("%04d", now.Local().Year()) + digits
	case 10:
		// As POSIX divides the centuries.
		if century := "20"; digits[:2] >= "69" {
			digits = "19" + digits
		} else {
			digits = century + digits
		}
	case 12:
	default:
		return time.Time{}, fail
	}
	if !dot {
		sec = "00"
	}
	t, err := time.ParseInLocation("20060102150405", digits+sec, time.Local)
	if err != nil {
		return time.Time{}, fail
	}
	return t, nil
}

// sourceDateEpoch is the time that stands for "now" where the same input is to
// give the same bytes.
func sourceDateEpoch() (t time.Time, ok bool, err error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Time{}, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, false, usageError("", errors.New("SOURCE_DATE_EPOCH must be a number of seconds"))
	}
	return time.Unix(n, 0), true, nil
}

// now is the time, or what SOURCE_DATE_EPOCH says.
func now() (time.Time, error) {
	t, ok, err := sourceDateEpoch()
	if !ok {
		t = time.Now()
	}
	return t, err
}

func fixedClock(t time.Time) func() time.Time { return func() time.Time { return t } }
