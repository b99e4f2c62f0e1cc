package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long help text.
func (*completionCmd) Help() string {
	return `
	source <(resflash completion bash)
	resflash completion zsh > "${fpath[1]}/_resflash"
	resflash completion fish > ~/.config/fish/completions/resflash.fish` + exitStatus
}

// Run prints the script, made from the grammar.
func (c *completionCmd) Run(k *kong.Kong, w *world) error {
	switch c.Shell {
	case "bash":
		completeBash(w, k.Model)
	case "zsh":
		completeZsh(w, k.Model)
	case "fish":
		completeFish(w, k.Model)
	}
	return nil
}

// verbs are the commands that are listed.
func verbs(m *kong.Application) []*kong.Node {
	var list []*kong.Node
	for _, n := range m.Children {
		if n.Type == kong.CommandNode && !n.Hidden {
			list = append(list, n)
		}
	}
	return list
}

// flagsOf are the flags of a verb and those that all verbs have.
func flagsOf(n *kong.Node) []*kong.Flag {
	var list []*kong.Flag
	for _, group := range n.AllFlags(true) {
		list = append(list, group...)
	}
	return list
}

// words are a verb's arguments that come from a fixed set.
func words(m *kong.Application, n *kong.Node) []string {
	if n.Name == "help" {
		var names []string
		for _, v := range verbs(m) {
			names = append(names, v.Name)
		}
		return names
	}
	for _, p := range n.Positional {
		if p.Enum != "" {
			return strings.Split(p.Enum, ",")
		}
	}
	return nil
}

func completeBash(w *world, m *kong.Application) {
	var names []string
	for _, n := range verbs(m) {
		names = append(names, n.Name)
	}
	w.printf(`# bash completion for resflash
_resflash() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= word
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [[ $word != -* ]]; then
			verb=$word
			break
		fi
	done
	local words= flags=
	case $verb in
	"") words=%q ;;
`, strings.Join(names, " "))
	for _, n := range verbs(m) {
		var flags []string
		for _, f := range flagsOf(n) {
			flags = append(flags, "--"+f.Name)
			if f.Short != 0 {
				flags = append(flags, "-"+string(f.Short))
			}
		}
		w.printf("\t%s) flags=%q words=%q ;;\n", n.Name, strings.Join(flags, " "), strings.Join(words(m, n), " "))
	}
	// What a flag of that name takes differs between verbs.
	w.printf("\tesac\n\tcase \"$verb $prev\" in\n")
	values := func(verb string, flags []*kong.Flag) {
		for _, f := range flags {
			if f.Enum != "" {
				w.printf("\t\"%s --%s\") words=%q cur=${cur#=} flags= ;;\n", verb, f.Name, strings.ReplaceAll(f.Enum, ",", " "))
			}
		}
	}
	values("", m.Flags)
	for _, n := range verbs(m) {
		values(n.Name, flagsOf(n))
	}
	w.printf(`	esac
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$cur"))
	elif [[ -n $words ]]; then
		COMPREPLY=($(compgen -W "$words" -- "$cur"))
	else
		COMPREPLY=()
	fi
}
complete -o bashdefault -o default -F _resflash resflash
`)
}

func completeZsh(w *world, m *kong.Application) {
	quote := func(s string) string {
		return strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(s)
	}
	w.printf("#compdef resflash\n_resflash() {\n\tlocal -a verbs\n\tverbs=(\n")
	for _, n := range verbs(m) {
		w.printf("\t\t'%s:%s'\n", n.Name, quote(n.Help))
	}
	w.printf("\t)\n\tif (( CURRENT == 2 )); then\n\t\t_describe command verbs\n\t\treturn\n\tfi\n\tcase $words[2] in\n")
	for _, n := range verbs(m) {
		w.printf("\t%s)\n\t\t_arguments", n.Name)
		for _, f := range flagsOf(n) {
			value := ""
			if !f.IsBool() {
				value = ":value:"
				if f.Enum != "" {
					value = ":value:(" + strings.ReplaceAll(f.Enum, ",", " ") + ")"
				}
			}
			w.printf(" \\\n\t\t\t'--%s[%s]%s'", f.Name, quote(f.Help), value)
			if f.Short != 0 {
				w.printf(" \\\n\t\t\t'-%c[%s]%s'", f.Short, quote(f.Help), value)
			}
		}
		if list := words(m, n); list != nil {
			w.printf(" \\\n\t\t\t'2:word:(%s)'", strings.Join(list, " "))
		} else if len(n.Positional) > 0 {
			w.printf(" \\\n\t\t\t'*:file:_files'")
		}
		w.printf("\n\t\t;;\n")
	}
	w.printf("\tesac\n}\n_resflash \"$@\"\n")
}

func completeFish(w *world, m *kong.Application) {
	quote := func(s string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) }
	w.printf("# fish completion for resflash\n")
	for _, n := range verbs(m) {
		w.printf("complete -c resflash -n __fish_use_subcommand -f -a %s -d '%s'\n", n.Name, quote(n.Help))
	}
	for _, n := range verbs(m) {
		seen := fmt.Sprintf("complete -c resflash -n '__fish_seen_subcommand_from %s'", n.Name)
		for _, f := range flagsOf(n) {
			w.printf("%s -l %s -d '%s'", seen, f.Name, quote(f.Help))
			if f.Short != 0 {
				w.printf(" -s %c", f.Short)
			}
			if f.Enum != "" {
				w.printf(" -x -a '%s'", strings.ReplaceAll(f.Enum, ",", " "))
			} else if !f.IsBool() {
				w.printf(" -r")
			}
			w.printf("\n")
		}
		if list := words(m, n); list != nil {
			w.printf("%s -f -a '%s'\n", seen, strings.Join(list, " "))
		}
	}
}
