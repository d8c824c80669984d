// The peers: millpond through its shared library, the allocator of the process, and C++'s pools.
#pragma once

#include "checked/checked.h"

#include <boost/pool/pool.hpp>
#include <millpond.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory_resource>
#include <mutex>
#include <new>

namespace bench {

// What a peer is prepared for: buffers of this size, so many out at a time.
struct shape {
    std::size_t size;
    std::size_t live;
};

[[noreturn]] inline void die(const char *what, const char *why) {
    std::fprintf(stderr, "%s: %s\n", what, why);
    std::exit(1);
}

// As many bytes as are out in a burst may be kept; classes go up to what is measured.
// With `Cached` each thread may keep for itself, of each class, what the work holds at a time; it has a part of half of what
// may be kept, so that threads find enough left of it when they begin.
template <bool Cached> millpond::options own_options(shape wanted, std::uint32_t clear) {
    millpond::options options;
    options.name = "bench";
    options.classes = {512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20};
    for (std::size_t size = 32 << 20; size <= wanted.size * 2; size *= 2)
        options.classes.push_back(size);
    const std::size_t held = *std::lower_bound(options.classes.begin(), options.classes.end(), wanted.size);
    const std::size_t bytes = std::max(held * std::max<std::size_t>(wanted.live, 2), std::size_t{256} << 20);
    options.raw.max_retained_bytes = bytes;
    options.raw.max_bytes = std::max<std::size_t>(bytes, std::size_t{4} << 30);
    if (Cached) {
        options.raw.thread_cache_bytes = options.classes.size() * held * std::max<std::size_t>(wanted.live, 2);
        options.raw.max_retained_bytes = options.raw.max_bytes = 64 * options.raw.thread_cache_bytes;
    }
    options.raw.clear = clear;
    return options;
}

// How a pool of millpond is made for a work: with what the work needs, or with nothing but defaults.
template <std::uint32_t Clear, bool Cached = false> struct fitted {
    static millpond::options options(shape wanted) { return own_options<Cached>(wanted, Clear); }
};
struct untold {
    static millpond::options options(shape) { return {}; }
};

// millpond's C interface, called as a C program calls it.
template <typename Options> class own {
public:
    using buffer = millpond_lease;
    static constexpr bool is_shared = true;

    explicit own(shape wanted) : pool_(Options::options(wanted)), handle_(pool_.handle()) {}

    buffer get(std::size_t size) {
        millpond_lease lease;
        if (millpond_get(handle_, size, &lease) != MILLPOND_OK)
            die("get", millpond_last_error());
        return lease;
    }
    static std::uint8_t *data(const buffer &held) { return held.data; }
    void put(const buffer &held) {
        if (millpond_put(handle_, held.id) != MILLPOND_OK)
            die("put", millpond_last_error());
    }
    void put_used(const buffer &held, std::size_t used) {
        if (millpond_put_used(handle_, held.id, used) != MILLPOND_OK)
            die("put", millpond_last_error());
    }

private:
    millpond::pool pool_;
    millpond_pool handle_;
};

// A thread-local list of records behind a shared library's calls, with a race-proof put: see checked/.
class checked_list {
public:
    using buffer = checked_lease;
    static constexpr bool is_shared = false;

    explicit checked_list(shape wanted) {
        if (checked_make(wanted.size) != 0)
            die("checked_make", "no memory");
    }
    buffer get(std::size_t) {
        checked_lease lease;
        if (checked_get(&lease) != 0)
            die("checked_get", "none is idle");
        return lease;
    }
    static std::uint8_t *data(const buffer &held) { return held.data; }
    void put(const buffer &held) {
        if (checked_put(held.id) != 0)
            die("checked_put", "it is over");
    }
    void put_used(const buffer &held, std::size_t) { put(held); }
};

// malloc and free: glibc's, or those of the library that was preloaded.
class heap {
public:
    struct buffer {
        std::uint8_t *memory;
    };
    static constexpr bool is_shared = true;

    explicit heap(shape) {}
    buffer get(std::size_t size) {
        void *memory = std::malloc(size);
        if (memory == nullptr)
            die("malloc", "no memory");
        return {static_cast<std::uint8_t *>(memory)};
    }
    static std::uint8_t *data(const buffer &held) { return held.memory; }
    void put(const buffer &held) { std::free(held.memory); }
    void put_used(const buffer &held, std::size_t) { put(held); }
};

// The same, zeroed.
class zeroed_heap : public heap {
public:
    using heap::heap;
    buffer get(std::size_t size) {
        void *memory = std::calloc(1, size);
        if (memory == nullptr)
            die("calloc", "no memory");
        return {static_cast<std::uint8_t *>(memory)};
    }
};

// A std::pmr::memory_resource; each deallocation has to say the size again.
template <typename Resource> class pmr {
public:
    struct buffer {
        std::uint8_t *memory;
        std::size_t size;
    };
    static constexpr bool is_shared = true;

    explicit pmr(shape wanted) : held_(wanted) {}
    buffer get(std::size_t size) { return {static_cast<std::uint8_t *>(resource().allocate(size, 16)), size}; }
    static std::uint8_t *data(const buffer &held) { return held.memory; }
    void put(const buffer &held) { resource().deallocate(held.memory, held.size, 16); }
    void put_used(const buffer &held, std::size_t) { put(held); }

private:
    // As a program has it: through a pointer to the base.
    std::pmr::memory_resource &resource() { return *held_.resource(); }
    Resource held_;
};

// The standard's pool, told to pool the largest blocks that it can: 4 MiB in GNU's library, above that it allocates.
class standard_pool {
public:
    explicit standard_pool(shape) : pool_(std::pmr::pool_options{0, std::size_t{16} << 20}) {}
    std::pmr::memory_resource *resource() { return &pool_; }

private:
    std::pmr::synchronized_pool_resource pool_;
};

template <typename Options> class own_resource {
public:
    explicit own_resource(shape wanted) : resource_(for_blocks(Options::options(wanted))) {}
    std::pmr::memory_resource *resource() { return &resource_; }

private:
    static millpond::options for_blocks(millpond::options options) {
        options.classes = millpond::memory_resource::classes_for(options.classes);
        return options;
    }
    millpond::memory_resource resource_;
};

// Waits without ever sleeping.
class spin_lock {
public:
    void lock() {
        while (taken_.exchange(true, std::memory_order_acquire))
            while (taken_.load(std::memory_order_relaxed))
                __builtin_ia32_pause();
    }
    // Release: pairs with the acquire in lock().
    void unlock() { taken_.store(false, std::memory_order_release); }

private:
    std::atomic<bool> taken_{false};
};

// The blocks of one size that no thread keeps for itself, with one lock for all of them. What lies idle is counted under the
// lock, and the places of the first few are on its line: one line goes from thread to thread.
template <typename Mutex> class locked_list : std::pmr::memory_resource {
public:
    explicit locked_list(shape) {}
    locked_list(const locked_list &) = delete;
    ~locked_list() override {
        while (count_ > 0)
            std::free(idle_[--count_]);
    }
    std::pmr::memory_resource *resource() { return this; }

private:
    void *do_allocate(std::size_t bytes, std::size_t) override {
        {
            const std::lock_guard<Mutex> guard(mutex_);
            if (count_ > 0)
                return idle_[--count_];
        }
        void *memory = std::malloc(bytes);
        if (memory == nullptr)
            die("malloc", "no memory");
        return memory;
    }
    void do_deallocate(void *memory, std::size_t, std::size_t) override {
        {
            const std::lock_guard<Mutex> guard(mutex_);
            if (count_ < std::size(idle_)) {
                idle_[count_++] = memory;
                return;
            }
        }
        std::free(memory);
    }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override { return this == &other; }

    alignas(128) Mutex mutex_;
    std::size_t count_ = 0;
    void *idle_[512];
};

struct no_mutex {
    void lock() {}
    void unlock() {}
};

// boost::pool for one size; between threads it needs a lock.
template <typename Mutex> class boost_pool {
public:
    struct buffer {
        std::uint8_t *memory;
    };
    static constexpr bool is_shared = !std::is_same_v<Mutex, no_mutex>;

    // It makes room for as many as are out, and doubles when more are asked for.
    explicit boost_pool(shape wanted) : pool_(wanted.size, std::max<std::size_t>(wanted.live, 2)) {}
    buffer get(std::size_t) {
        const std::lock_guard<Mutex> guard(mutex_);
        void *memory = pool_.malloc();
        if (memory == nullptr)
            die("boost::pool", "no memory");
        return {static_cast<std::uint8_t *>(memory)};
    }
    static std::uint8_t *data(const buffer &held) { return held.memory; }
    void put(const buffer &held) {
        const std::lock_guard<Mutex> guard(mutex_);
        pool_.free(held.memory);
    }
    void put_used(const buffer &held, std::size_t) { put(held); }

private:
    Mutex mutex_;
    boost::pool<> pool_;
};

} // namespace bench
