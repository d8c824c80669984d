// Measures pools in Go: bench PEER WORK SIZE[,SIZE...] [--ms N], bench --list.
//
// They are the design that millpond's requirements come from, and what its users would take in Go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var peers = []string{"ancestor", "ancestor-noclear", "bytebufferpool", "make"}

var settings = map[string]string{
	"ancestor":         "nine buckets of sync.Pool, zeroed at put, six atomic statistics",
	"ancestor-noclear": "the same without zeroing",
	"bytebufferpool":   "a pool of its own for the size measured",
	"make":             "make([]byte, n), which zeroes, and the garbage collector",
}

var bursts = map[string]int{"burst1": 1, "burst8": 8, "burst32": 32, "burst128": 128}
var touches = map[string]int{"pair": nothing, "ends": ends, "pages": pages, "full": all}

func list() {
	every := []int{512, 1 << 10, 4 << 10, 4097, 16 << 10, 64 << 10, 65537, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20}
	works := map[string][]int{"mixed64k": {64 << 10}, "mixed1m": {1 << 20}, "pcqueue": {8}}
	for _, name := range []string{"pair", "depth256", "held256", "ends", "pages", "full", "burst1", "burst8", "burst32", "burst128", "twothreads", "pc", "idle64", "first", "rss"} {
		works[name] = every
	}
	answer := map[string]any{
		"peers": append(peers, "queue"), "works": works, "settings": settings,
		"versions": map[string]string{"go": runtime.Version(), "bytebufferpool": "1.0.0"},
		"only":     map[string][]string{"queue": {"pcqueue"}},
	}
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

// pair has the concrete type of the peer, so that the compiler may inline what it can.
func pair(pool peer, size, what int) func(int) {
	switch pool := pool.(type) {
	case *ancestor:
		return pairOf(pool, size, what)
	case *valyala:
		return pairOf(pool, size, what)
	case made:
		return pairOf(pool, size, what)
	}
	panic("a peer without a loop")
}

func first(name string, size int) figures {
	before, start := used(), time.Now()
	pool := newPeer(name)
	got := pool.get(size)
	got.data[0] = 1
	spent := time.Since(start)
	pool.put(got)
	measured := figures{ns: float64(spent.Nanoseconds())}
	measured.since(before, 1)
	return measured
}

func resident(pool peer, size int, ms time.Duration) figures {
	live := 1 << 30 / size
	held := make([]buffer, 0, live)
	runtime.GC()
	seen := [][2]float64{{-1, float64(status("VmRSS"))}}
	before, start := used(), time.Now()
	for range live {
		got := pool.get(size)
		touch(got.data, pages)
		held = append(held, got)
	}
	burst := status("VmRSS")
	for i, got := range held {
		pool.put(got)
		held[i] = buffer{}
	}
	spent := time.Since(start)
	seen = append(seen, [2]float64{0, float64(status("VmRSS"))})
	resting := time.Now()
	for _, second := range []int{1, 5, 10, 30} {
		if at := time.Duration(second) * time.Second; at <= ms {
			time.Sleep(at - time.Since(resting))
			seen = append(seen, [2]float64{float64(second), float64(status("VmRSS"))})
		}
	}
	measured := figures{ns: float64(spent.Nanoseconds()) / float64(live), rss: seen, more: map[string]float64{"burst_rss_kib": float64(burst)}}
	measured.since(before, live)
	return measured
}

// run returns a reason instead of figures where a combination makes no sense.
func run(name, work string, size int, ms time.Duration) (figures, string) {
	if work == "pcqueue" {
		return pass(ms, func() *byte { return nil }, func(*byte) {}), ""
	}
	if work == "first" {
		return first(name, size), ""
	}
	pool := newPeer(name)
	if pool == nil {
		return figures{}, "no such peer"
	}
	if name == "bytebufferpool" && size > 32<<20 {
		return figures{}, "keeps nothing above 32 MiB"
	}
	if what, found := touches[work]; found {
		return measure(ms, 1, pair(pool, size, what)), ""
	}
	if live, found := bursts[work]; found {
		return measure(ms, live, burstOf(pool, size, live, pages)), ""
	}
	switch work {
	case "depth256":
		return measure(ms, 256, burstOf(pool, size, 256, nothing)), ""
	case "held256":
		held := make([]buffer, 256)
		for i := range held {
			held[i] = pool.get(size)
		}
		measured := measure(ms, 1, pair(pool, size, nothing))
		for _, got := range held {
			pool.put(got)
		}
		return measured, ""
	case "mixed64k", "mixed1m":
		return measure(ms, 1, mixedOf(pool, size)), ""
	case "twothreads":
		return two(pool, size, ms), ""
	case "pc":
		return between(pool, size, ms), ""
	case "idle64":
		return idle(pool, size, 64, ms), ""
	case "rss":
		return resident(pool, size, ms), ""
	}
	return figures{}, "no such work"
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		list()
		return
	}
	if len(os.Args) != 4 && (len(os.Args) != 6 || os.Args[4] != "--ms") {
		fmt.Fprintln(os.Stderr, "usage: bench PEER WORK SIZE[,SIZE...] [--ms N] | bench --list")
		os.Exit(2)
	}
	ms := 30
	if os.Args[2] == "rss" {
		ms = 30000
	}
	if len(os.Args) == 6 {
		ms, _ = strconv.Atoi(os.Args[5])
	}
	for _, text := range strings.Split(os.Args[3], ",") {
		size, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		measured, skip := run(os.Args[1], os.Args[2], size, time.Duration(ms)*time.Millisecond)
		if skip != "" {
			fmt.Printf("{\"peer\": %q, \"work\": %q, \"size\": %d, \"skip\": %q}\n", os.Args[1], os.Args[2], size, skip)
			continue
		}
		measured.print(os.Args[1], os.Args[2], size)
	}
}
