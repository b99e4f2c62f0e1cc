package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints a table, and returns how many targets were missed. A ratio is
// the time of the other over ours: above 1 we are faster.
func report(w io.Writer, workloads []workload, systems []system, times map[string]map[string][]sample) (missed int) {
	fmt.Fprintf(w, "Medians of %d rounds in seconds; x is the other's time over ours; of the two in memory the faster one counts.\n\n", rounds(times))
	seconds(w, "wall clock", workloads, systems, times, wall)
	if systems[0].fresh != nil {
		seconds(w, "with the unmount", workloads, systems, times, end)
	}
	seconds(w, "CPU of the server", workloads, systems, times, cpu)

	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	other := "foreign"
	if i := slices.IndexFunc(systems, func(s system) bool { return s.role == foreign }); i >= 0 {
		other = systems[i].name
	}
	fmt.Fprintf(tab, "workload\tours\tx %s\tx kernel\tx loopback\tx memory\ttarget\t\n", other)
	for _, wl := range workloads {
		for _, our := range systems {
			if our.role != ours {
				continue
			}
			mine := medianOf(times[wl.name][our.name], wall).Seconds()
			ratio := func(r role) float64 { return best(systems, times[wl.name], r) / mine }
			var targets, failed []string
			for _, t := range []struct {
				role role
				name string
				want float64
			}{{foreign, other, wl.vsForeign}, {loopback, "loopback", wl.vsLoopback}, {memory, "memory", wl.vsMemory}} {
				got := ratio(t.role)
				if t.want == 0 || got == 0 {
					continue
				}
				targets = append(targets, fmt.Sprintf("%s %.2g", t.name, t.want))
				// Two decimals are what is printed, and more than is measured.
				if got < t.want-0.005 {
					failed = append(failed, t.name)
				}
			}
			verdict := ""
			switch {
			case len(failed) > 0:
				verdict = "MISSED " + strings.Join(failed, ", ")
				missed += len(failed)
			case len(targets) > 0:
				verdict = "ok"
			}
			fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", wl.what, our.name,
				times2(ratio(foreign)), times2(ratio(kernel)), times2(ratio(loopback)), times2(ratio(memory)),
				strings.Join(targets, ", "), verdict)
		}
	}
	tab.Flush()
	return missed + memoryReport(w, systems, times)
}

// memoryReport prints the most memory that our own servers have taken, where
// they were written to.
func memoryReport(w io.Writer, systems []system, times map[string]map[string][]sample) (missed int) {
	for _, s := range systems {
		if s.role != ours || s.fresh == nil {
			continue
		}
		peak := int64(0)
		for _, of := range times {
			for _, sample := range of[s.name] {
				peak = max(peak, sample.peak)
			}
		}
		verdict := "ok"
		if peak > memoryLimit>>10 {
			verdict, missed = "MISSED", missed+1
		}
		fmt.Fprintf(w, "memory of %s: %d MiB peak, target %d MiB: %s\n", s.name, (peak+1023)>>10, memoryLimit>>20, verdict)
	}
	return missed
}

// seconds prints one number for each workload and system.
func seconds(w io.Writer, title string, workloads []workload, systems []system, times map[string]map[string][]sample, of func(sample) time.Duration) {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tab, title)
	for _, s := range systems {
		fmt.Fprintf(tab, "\t%s", s.name)
	}
	fmt.Fprintln(tab)
	for _, wl := range workloads {
		fmt.Fprint(tab, wl.what)
		for _, s := range systems {
			fmt.Fprintf(tab, "\t%.3f", medianOf(times[wl.name][s.name], of).Seconds())
		}
		fmt.Fprintln(tab)
	}
	tab.Flush()
	fmt.Fprintln(w)
}

// best returns the median time in seconds of the fastest system of a role, 0 if
// there is none.
func best(systems []system, times map[string][]sample, r role) float64 {
	fastest := 0.0
	for _, s := range systems {
		if t := medianOf(times[s.name], wall).Seconds(); s.role == r && t > 0 && (fastest == 0 || t < fastest) {
			fastest = t
		}
	}
	return fastest
}

func times2(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio)
}

func rounds(times map[string]map[string][]sample) int {
	for _, of := range times {
		for _, all := range of {
			return len(all)
		}
	}
	return 0
}
