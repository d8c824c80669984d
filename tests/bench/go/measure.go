package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type figures struct {
	ns, cpu, faults float64
	ops             int
	peak, settled   int
	more            map[string]float64
	// rss has seconds and KiB.
	rss [][2]float64
}

type usage struct {
	cpu    time.Duration
	faults int64
}

func used() usage {
	var now syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &now); err != nil {
		panic(err)
	}
	return usage{time.Duration(now.Utime.Nano() + now.Stime.Nano()), now.Minflt}
}

func (f *figures) since(before usage, ops int) {
	now := used()
	f.ops = ops
	f.cpu = float64((now.cpu - before.cpu).Nanoseconds()) / float64(ops)
	f.faults = float64(now.faults-before.faults) / float64(ops)
	f.peak, f.settled = status("VmHWM"), status("VmRSS")
}

func (f figures) print(peer, work string, size int) {
	var more strings.Builder
	keys := make([]string, 0, len(f.more))
	for key := range f.more {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		fmt.Fprintf(&more, ", %q: %.4f", key, f.more[key])
	}
	if f.rss != nil {
		parts := make([]string, len(f.rss))
		for i, point := range f.rss {
			parts[i] = fmt.Sprintf("[%g, %.0f]", point[0], point[1])
		}
		fmt.Fprintf(&more, ", \"rss_kib\": [%s]", strings.Join(parts, ", "))
	}
	fmt.Printf("{\"peer\": %q, \"work\": %q, \"size\": %d, \"ns\": %.4f, \"cpu_ns\": %.4f, \"faults\": %.6f, \"ops\": %d, \"peak_rss_kib\": %d, \"settled_rss_kib\": %d%s}\n",
		peer, work, size, f.ns, f.cpu, f.faults, f.ops, f.peak, f.settled, more.String())
}

func status(field string) int {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			var kib int
			fmt.Sscan(rest, &kib)
			return kib
		}
	}
	return 0
}

// forgetPeak lets each size have its own peak of resident memory. Refused in some containers.
func forgetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func median(values []float64) float64 {
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// measure does what the Rust program's does: a warm-up of about half the time, then short repetitions.
func measure(ms time.Duration, perTurn int, run func(int)) figures {
	runtime.GC()
	forgetPeak()
	warm, turns := time.Now(), 1
	run(1)
	var each float64
	for {
		start := time.Now()
		run(turns)
		spent := time.Since(start)
		each = float64(spent.Nanoseconds()) / float64(turns)
		if spent >= 100*time.Microsecond || time.Since(warm) > ms/2 {
			break
		}
		turns *= 2
	}
	repetition := math.Min(float64(ms.Nanoseconds())/16, 1e6)
	turns = max(1, int(repetition/each))
	for time.Since(warm) < ms/3 {
		start := time.Now()
		run(turns)
		each = float64(time.Since(start).Nanoseconds()) / float64(turns)
	}
	turns = max(1, int(repetition/each))

	before, begun := used(), time.Now()
	var spent []float64
	ops := 0
	for {
		start := time.Now()
		run(turns)
		spent = append(spent, float64(time.Since(start).Nanoseconds())/float64(turns*perTurn))
		ops += turns * perTurn
		if all := time.Since(begun); all >= ms && (len(spent) >= 3 || all > 4*ms) {
			break
		}
	}
	measured := figures{ns: median(spent)}
	measured.since(before, ops)
	return measured
}

func step(random uint64) uint64 {
	random ^= random << 13
	random ^= random >> 7
	return random ^ random<<17
}

// sizesUpTo are the sizes of the mixed works: those of the gets of a recorded trace, in their order. BENCH_TRACE names it.
func sizesUpTo(largest int) []int {
	text, err := os.ReadFile(os.Getenv("BENCH_TRACE"))
	var sizes []int
	// Lines are "ns,thread,pool,act,lease,bytes"; of those with the act g, bytes is what was asked for.
	for _, line := range strings.Split(string(text), "\n") {
		parts := strings.Split(line, ",")
		if len(parts) < 6 || parts[3] != "g" {
			continue
		}
		if size, err := strconv.Atoi(parts[5]); err == nil && size <= largest {
			sizes = append(sizes, max(size, 1))
		}
	}
	if len(sizes) == 0 {
		fmt.Fprintln(os.Stderr, "no trace with gets of these sizes: set BENCH_TRACE", err)
		os.Exit(1)
	}
	for at := 0; len(sizes) < 4096; at++ {
		sizes = append(sizes, sizes[at])
	}
	return sizes[:4096]
}
