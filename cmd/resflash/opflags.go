package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/resflash/resflash/image/customize"
)

// An operationFlag is a field for a flag that is an operation. What it is given
// goes to the world's list of operations, so that their order is kept, also
// between flags of different names.
type operationFlag struct{}

// A givenOperation is such a flag, as it was given.
type givenOperation struct{ name, arg string }

// operationFlags makes a struct with a flag for every kind of operation.
func operationFlags() any {
	var fields []reflect.StructField
	for _, k := range customize.Kinds() {
		mapper := "operation"
		if k.Args == "" {
			mapper = "bareOperation"
		}
		fields = append(fields, reflect.StructField{
			Name: "Op" + strings.ReplaceAll(k.Name, "-", "_"),
			Type: reflect.TypeFor[operationFlag](),
			Tag: reflect.StructTag(fmt.Sprintf(`name:%q type:%q placeholder:%q group:"Operations, in the order given:" help:%q`,
				k.Name, mapper, k.Args, strings.ReplaceAll(k.Help, "$", "$$"))),
		})
	}
	return reflect.New(reflect.StructOf(fields)).Interface()
}

// operationMappers make those flags work.
func operationMappers(w *world) []kong.Option {
	return []kong.Option{
		kong.NamedMapper("operation", operationMapper{w}),
		kong.NamedMapper("bareOperation", bareOperationMapper{w}),
	}
}

type operationMapper struct{ w *world }

// Decode implements [kong.Mapper].
func (m operationMapper) Decode(ctx *kong.DecodeContext, _ reflect.Value) error {
	var arg string
	if err := ctx.Scan.PopValueInto("string", &arg); err != nil {
		return err
	}
	m.w.operations = append(m.w.operations, givenOperation{ctx.Value.Name, arg})
	return nil
}

type bareOperationMapper struct{ w *world }

// IsBool implements [kong.BoolMapper]: the flag stands alone.
func (bareOperationMapper) IsBool() bool { return true }

// Decode implements [kong.Mapper].
func (m bareOperationMapper) Decode(ctx *kong.DecodeContext, _ reflect.Value) error {
	m.w.operations = append(m.w.operations, givenOperation{ctx.Value.Name, ""})
	return nil
}
