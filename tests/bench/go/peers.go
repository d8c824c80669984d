package main

import (
	"sync"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"
)

// A peer hands out buffers and takes them back.
type peer interface {
	get(size int) buffer
	put(buffer)
}

// buffer is what a program holds: the bytes and what the peer needs to take them back.
type buffer struct {
	data []byte
	slot *[]byte
	own  *bytebufferpool.ByteBuffer
}

var classes = [...]int{512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}

// ancestor is the design that millpond's requirements come from: nine buckets of sync.Pool, the buffer zeroed when it
// is put, and six statistics, each one atomic that all goroutines share.
type ancestor struct {
	zero    bool
	buckets [len(classes)]sync.Pool

	allocations, gets, puts, inUse, oversized, discarded atomic.Int64
}

func newAncestor(zero bool) *ancestor {
	pool := &ancestor{zero: zero}
	for i := range pool.buckets {
		size := classes[i]
		pool.buckets[i].New = func() any {
			pool.allocations.Add(1)
			data := make([]byte, size)
			return &data
		}
	}
	return pool
}

func bucketOf(size int) int {
	for i, class := range classes {
		if size <= class {
			return i
		}
	}
	return -1
}

func (pool *ancestor) get(size int) buffer {
	pool.gets.Add(1)
	pool.inUse.Add(1)
	bucket := bucketOf(size)
	if bucket < 0 {
		pool.oversized.Add(1)
		pool.allocations.Add(1)
		data := make([]byte, size)
		return buffer{data: data, slot: &data}
	}
	slot := pool.buckets[bucket].Get().(*[]byte)
	return buffer{data: (*slot)[:size], slot: slot}
}

func (pool *ancestor) put(given buffer) {
	pool.puts.Add(1)
	pool.inUse.Add(-1)
	data := (*given.slot)[:cap(*given.slot)]
	bucket := bucketOf(len(data))
	if bucket < 0 || classes[bucket] != len(data) {
		pool.discarded.Add(1)
		return
	}
	if pool.zero {
		clear(data)
	}
	pool.buckets[bucket].Put(given.slot)
}

// valyala is github.com/valyala/bytebufferpool, with a pool of its own for the size that is measured: it learns which
// size to keep from what is put.
type valyala struct{ pool bytebufferpool.Pool }

func (peer *valyala) get(size int) buffer {
	own := peer.pool.Get()
	if cap(own.B) < size {
		own.B = make([]byte, size)
	}
	own.B = own.B[:size]
	return buffer{data: own.B, own: own}
}

func (peer *valyala) put(given buffer) { peer.pool.Put(given.own) }

// made is what a program does that pools nothing.
type made struct{}

func (made) get(size int) buffer { return buffer{data: make([]byte, size)} }
func (made) put(buffer)          {}

func newPeer(name string) peer {
	switch name {
	case "ancestor":
		return newAncestor(true)
	case "ancestor-noclear":
		return newAncestor(false)
	case "bytebufferpool":
		return &valyala{}
	case "make":
		return made{}
	}
	return nil
}
