package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const page = 4096

// What is written into a buffer between get and put.
const (
	nothing = iota
	ends
	pages
	all
)

func touch(data []byte, what int) {
	switch what {
	case ends:
		data[0], data[len(data)-1] = 1, 1
	case pages:
		for at := 0; at < len(data); at += page {
			data[at] = 1
		}
	case all:
		for i := range data {
			data[i] = 0
		}
	}
}

// pairOf takes the peer as what it is, not as an interface, which leaves the compiler the most freedom.
func pairOf[P peer](pool P, size, what int) func(int) {
	return func(turns int) {
		for ; turns > 0; turns-- {
			got := pool.get(size)
			touch(got.data, what)
			pool.put(got)
		}
	}
}

// burstOf takes so many buffers, touches them as told, and gives all back.
func burstOf(pool peer, size, live, what int) func(int) {
	held := make([]buffer, 0, live)
	return func(turns int) {
		for ; turns > 0; turns-- {
			for range live {
				got := pool.get(size)
				touch(got.data, what)
				held = append(held, got)
			}
			for _, got := range held {
				pool.put(got)
			}
			held = held[:0]
		}
	}
}

// mixedOf replaces a random one of 64 live buffers by one of the next size.
func mixedOf(pool peer, largest int) func(int) {
	const live = 64
	sizes := sizesUpTo(largest)
	var slots [live]buffer
	next, random := 0, uint64(0x9e3779b97f4a7c15)
	return func(turns int) {
		for ; turns > 0; turns-- {
			random = step(random)
			slot := &slots[random>>32%live]
			if slot.data != nil {
				pool.put(*slot)
			}
			*slot = pool.get(sizes[next&(len(sizes)-1)])
			next++
			slot.data[0] = 1
		}
	}
}

func idle(pool peer, size, threads int, ms time.Duration) figures {
	var used, done sync.WaitGroup
	end := make(chan struct{})
	for range threads {
		used.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			// A thread of its own, as the other languages have it.
			runtime.LockOSThread()
			burstOf(pool, size, 1, ends)(100)
			used.Done()
			<-end
		}()
	}
	used.Wait()
	measured := measure(ms, 1, pairOf(pool, size, nothing))
	close(end)
	done.Wait()
	return measured
}

// Operations between two looks at the clock, at most; fewer where they take longer than this together.
const (
	chunkMost = 4096
	chunkTime = 100 * time.Microsecond
)

// As many operations warm up what goes from thread to thread, in so much time at most: until then a pool still makes buffers,
// of new pages.
const (
	warmOps  = 16 * 256
	warmTime = 500 * time.Millisecond
)

// chunks runs the function again and again, and returns nanoseconds per operation of each turn after the warm-up, which is half
// the time and warm operations.
func chunks(ms time.Duration, warm int, run func(int)) (spent []float64, ops int) {
	begun, chunk := time.Now(), 1
	var from time.Time
	for {
		start := time.Now()
		if waited := start.Sub(begun); from.IsZero() && waited >= ms/2 && (ops >= warm || waited >= warmTime) {
			from = start
		}
		run(chunk)
		took := time.Since(start)
		ops += chunk
		if !from.IsZero() {
			spent = append(spent, float64(took.Nanoseconds())/float64(chunk))
			if time.Since(from) >= ms {
				return spent, ops
			}
		}
		if took < chunkTime && chunk < chunkMost {
			chunk *= 2
		}
	}
}

func two(pool peer, size int, ms time.Duration) figures {
	forgetPeak()
	alone, _ := chunks(ms, 0, pairOf(pool, size, nothing))
	before := used()
	var ready, done sync.WaitGroup
	var each [2]float64
	var total atomic.Int64
	ready.Add(2)
	for i := range each {
		done.Add(1)
		go func() {
			defer done.Done()
			runtime.LockOSThread()
			ready.Done()
			ready.Wait()
			spent, ops := chunks(ms, 0, pairOf(pool, size, nothing))
			each[i] = median(spent)
			total.Add(int64(ops))
		}()
	}
	done.Wait()
	measured := figures{ns: (each[0] + each[1]) / 2, more: map[string]float64{"alone_ns": median(alone), "alone_ratio": max(each[0], each[1]) / median(alone)}}
	measured.since(before, int(total.Load()))
	return measured
}

// pass hands values from one goroutine to another through a channel of 256, the queue that Go has.
func pass[T any](ms time.Duration, give func() T, take func(T)) figures {
	forgetPeak()
	queue, done := make(chan T, 256), make(chan struct{})
	before := used()
	go func() {
		runtime.LockOSThread()
		for value := range queue {
			take(value)
		}
		close(done)
	}()
	runtime.LockOSThread()
	spent, ops := chunks(ms, warmOps, func(turns int) {
		for ; turns > 0; turns-- {
			queue <- give()
		}
	})
	runtime.UnlockOSThread()
	close(queue)
	<-done
	measured := figures{ns: median(spent)}
	measured.since(before, ops)
	return measured
}

func between(pool peer, size int, ms time.Duration) figures {
	give := func() buffer {
		got := pool.get(size)
		got.data[0] = 1
		return got
	}
	return pass(ms, give, pool.put)
}
