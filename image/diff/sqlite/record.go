package sqlite

import (
	"slices"
	"strings"
)

// A Row is the columns of a table in one of its rows.
type Row struct {
	names  []string
	values []Value
}

// Get returns a column; the zero Value if there is none, or it is NULL. So is an
// INTEGER PRIMARY KEY, which is not stored.
func (r Row) Get(name string) Value {
	if i := slices.Index(r.names, name); i >= 0 && i < len(r.values) {
		return r.values[i]
	}
	return Value{}
}

// A Value is what a column holds.
type Value struct {
	bytes []byte
	n     int64
}

// Text returns a text.
func (v Value) Text() string { return string(v.bytes) }

// Bytes returns a blob, which is valid as long as its row.
func (v Value) Bytes() []byte { return v.bytes }

// Int returns an integer.
func (v Value) Int() int64 { return v.n }

// record takes a record apart, and calls fn with its columns.
func record(b []byte, where int64, fn func([]Value) error) error {
	size, n := varint(b)
	if n == 0 || size > uint64(len(b)) || size < uint64(n) {
		return corrupt(where, "the header of a record of %d bytes has %d", len(b), size)
	}
	kinds, body := b[n:size], b[size:]
	var values []Value
	for len(kinds) > 0 {
		kind, n := varint(kinds)
		if n == 0 {
			return corrupt(where, "the header of a record ends in a number")
		}
		if kinds = kinds[n:]; len(values) == maxColumn {
			return corrupt(where, "a record of more than %d columns", maxColumn)
		}
		length := lengthOf(kind)
		if length > uint64(len(body)) {
			return corrupt(where, "column %d of a record has %d bytes, and there are %d", len(values), length, len(body))
		}
		values = append(values, value(kind, body[:length]))
		body = body[length:]
	}
	return fn(values)
}

// lengthOf is how many bytes a column of a kind (a "serial type") has.
func lengthOf(kind uint64) uint64 {
	switch {
	case kind >= 12:
		return (kind - 12) / 2
	case kind <= 4:
		return kind
	case kind == 5:
		return 6
	case kind <= 7:
		return 8
	}
	return 0
}

func value(kind uint64, b []byte) Value {
	switch {
	case kind >= 12:
		return Value{bytes: b}
	case kind == 8 || kind == 9:
		return Value{n: int64(kind - 8)}
	case kind == 0 || kind > 6:
		return Value{}
	}
	n := int64(int8(b[0]))
	for _, c := range b[1:] {
		n = n<<8 | int64(c)
	}
	return Value{n: n}
}

// columns lists the names of the columns in a CREATE TABLE statement.
func columns(sql string) []string {
	_, list, ok := strings.Cut(sql, "(")
	if !ok {
		return nil
	}
	var names []string
	depth, begin := 0, 0
	add := func(end int) {
		if words := strings.Fields(list[begin:end]); len(words) > 0 {
			names = append(names, strings.Trim(words[0], "\"'`[]"))
		}
		begin = end + 1
	}
	for i, c := range list {
		switch {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ')':
			add(i)
			return names
		case c == ',' && depth == 0:
			add(i)
		}
	}
	return names
}
