// millpond for C++17: move-only leases, pools that free themselves, and a memory resource for std::pmr containers.
// Header only, over millpond.h; link with -lmillpond. Conventions and the ownership table: ffi-c/README.md.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

#ifndef MILLPOND_HPP
#define MILLPOND_HPP

#include "millpond.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// Where a function with these as default arguments is called: what the macros of millpond.h do for C. Define MILLPOND_NO_SITES
// in all translation units of a program or in none.
#if defined(MILLPOND_NO_SITES) || !(defined(__GNUC__) || defined(__clang__))
#define MILLPOND_CALLER_FILE nullptr
#define MILLPOND_CALLER_LINE 0
#else
#define MILLPOND_CALLER_FILE __builtin_FILE()
#define MILLPOND_CALLER_LINE static_cast<std::uint32_t>(__builtin_LINE())
#endif

namespace millpond {

/// What went wrong: the status of the C interface, and the library's message for a person.
///
/// Thread-compatible. Fork: plain data.
class error : public std::runtime_error {
public:
    error(millpond_status code, const char *message) : std::runtime_error(message), code_(code) {}

    /// The status, never MILLPOND_OK.
    millpond_status code() const noexcept { return code_; }
    /// Its name, such as "MILLPOND_ERR_DOUBLE_PUT".
    const char *name() const noexcept { return millpond_status_name(code_); }

private:
    millpond_status code_;
};

/// What a memory_resource throws when it cannot give memory: a std::bad_alloc that says why.
///
/// Thread-compatible. Fork: plain data.
class allocation_error : public std::bad_alloc {
public:
    explicit allocation_error(millpond_status code) noexcept : code_(code) {
        std::snprintf(message_, sizeof message_, "%s", millpond_last_error());
    }

    const char *what() const noexcept override { return message_; }
    /// The status, never MILLPOND_OK.
    millpond_status code() const noexcept { return code_; }

private:
    millpond_status code_;
    char message_[256];
};

namespace detail {

inline void check(millpond_status code) {
    if (code != MILLPOND_OK)
        throw error(code, millpond_last_error());
}

} // namespace detail

/// The right to use one buffer: a span over its bytes that gives the buffer back at the end of its scope.
///
/// Move-only. After put(), or when moved from, the lease is dead: size() is 0, and every access to the bytes throws an error
/// with MILLPOND_ERR_USE_AFTER_PUT. A second put() throws MILLPOND_ERR_DOUBLE_PUT. The destructor of a dead lease does nothing.
/// A raw pointer or iterator kept past the put is not stopped: only AddressSanitizer, valgrind or guard mode see its use.
///
/// Thread-compatible: it may move to another thread and be put there.
/// Fork: live in both processes, each with its own copy of the bytes.
class lease {
public:
    using value_type = std::byte;
    using iterator = std::byte *;
    using const_iterator = const std::byte *;

    /// A dead lease.
    lease() noexcept = default;
    /// Takes over what the C interface gave, or what release() let go of.
    lease(millpond_pool pool, const millpond_lease &raw) noexcept : pool_(pool), raw_(raw), live_(true) {}

    lease(const lease &) = delete;
    lease &operator=(const lease &) = delete;

    lease(lease &&other) noexcept
        : pool_(other.pool_), raw_(std::exchange(other.raw_, millpond_lease{})),
          live_(std::exchange(other.live_, false)) {}

    /// Gives back what this one held, as the destructor does.
    lease &operator=(lease &&other) noexcept {
        if (this != &other) {
            drop();
            pool_ = other.pool_;
            raw_ = std::exchange(other.raw_, millpond_lease{});
            live_ = std::exchange(other.live_, false);
        }
        return *this;
    }

    /// Gives the buffer back. What put() would throw is not seen here, only in the pool's statistics and list of leaks.
    ~lease() { drop(); }

    /// Gives the buffer back.
    /// @throws error MILLPOND_ERR_DOUBLE_PUT: it was put before. MILLPOND_ERR_OVERRUN: something was written behind its
    /// length; the lease is dead. MILLPOND_ERR_BUSY: it is pinned; it stays live. MILLPOND_ERR_INVALID_HANDLE: there never
    /// was a lease, or it was moved away.
    void put(const char *file = MILLPOND_CALLER_FILE, std::uint32_t line = MILLPOND_CALLER_LINE) {
        ended(millpond_put_at(pool_, raw_.id, file, line));
    }

    /// Gives the buffer back; only its first `used` bytes were written, which is the caller's word.
    /// @throws error as put(); MILLPOND_ERR_INVALID_ARGUMENT: `used` is larger than size(); it stays live.
    void put_used(std::size_t used, const char *file = MILLPOND_CALLER_FILE,
                  std::uint32_t line = MILLPOND_CALLER_LINE) {
        ended(millpond_put_used_at(pool_, raw_.id, used, file, line));
    }

    /// Lets go of the lease without a put: the caller owns it as a C lease and puts it with millpond_put and pool_handle().
    millpond_lease release() {
        check_live();
        live_ = false;
        return std::exchange(raw_, millpond_lease{});
    }

    /// While it is pinned, for asynchronous input for example, a put is MILLPOND_ERR_BUSY.
    void pin() { detail::check(millpond_lease_pin(raw_.id)); }
    /// Undoes one pin().
    void unpin() { detail::check(millpond_lease_unpin(raw_.id)); }

    /// Whether it can be used. Knows what happened through this object; for a put through the C interface see check().
    bool live() const noexcept { return live_; }
    explicit operator bool() const noexcept { return live_; }
    /// Asks the library whether the lease is live.
    /// @throws error MILLPOND_ERR_USE_AFTER_PUT or MILLPOND_ERR_INVALID_HANDLE
    void check() const {
        millpond_lease found;
        detail::check(millpond_lease_lookup(raw_.id, &found));
    }

    std::byte *data() { return check_live(), reinterpret_cast<std::byte *>(raw_.data); }
    const std::byte *data() const { return check_live(), reinterpret_cast<const std::byte *>(raw_.data); }
    /// What was asked for; 0 when dead.
    std::size_t size() const noexcept { return live_ ? raw_.len : 0; }
    bool empty() const noexcept { return size() == 0; }
    /// What the buffer holds. Bytes behind size() are the library's.
    std::size_t capacity() const noexcept { return live_ ? raw_.capacity : 0; }

    iterator begin() { return data(); }
    iterator end() { return data() + raw_.len; }
    const_iterator begin() const { return data(); }
    const_iterator end() const { return data() + raw_.len; }
    /// @throws error MILLPOND_ERR_USE_AFTER_PUT when dead. `index` is not checked, as in std::span; see at().
    std::byte &operator[](std::size_t index) { return data()[index]; }
    const std::byte &operator[](std::size_t index) const { return data()[index]; }
    /// @throws std::out_of_range for an index of size() or more
    std::byte &at(std::size_t index) { return data()[inside(index)]; }
    const std::byte &at(std::size_t index) const { return data()[inside(index)]; }

    /// The C handle; stays after a put, so that errors can name it.
    std::uint64_t id() const noexcept { return raw_.id; }
    millpond_pool pool_handle() const noexcept { return pool_; }

private:
    void check_live() const {
        if (!live_)
            dead();
    }

    [[noreturn]] void dead() const {
        // The library counts the use and words the message for a lease that it knows.
        millpond_lease found;
        if (raw_.id != 0 && millpond_lease_lookup(raw_.id, &found) == MILLPOND_ERR_USE_AFTER_PUT)
            throw error(MILLPOND_ERR_USE_AFTER_PUT, millpond_last_error());
        throw error(MILLPOND_ERR_USE_AFTER_PUT,
                    "the lease is dead: it was put, moved away or released, or never was one; take a new one");
    }

    std::size_t inside(std::size_t index) const {
        if (index >= size())
            throw std::out_of_range("millpond::lease::at: " + std::to_string(index) + " of " + std::to_string(size()));
        return index;
    }

    void ended(millpond_status code) {
        // A pool that was freed is gone with its last lease, and its number says nothing any more.
        if (!live_ && raw_.id != 0 && code == MILLPOND_ERR_INVALID_HANDLE)
            throw error(MILLPOND_ERR_DOUBLE_PUT, "the lease was put before, and its pool was freed; put each lease once");
        if (code == MILLPOND_OK || code == MILLPOND_ERR_OVERRUN)
            live_ = false;
        detail::check(code);
    }

    void drop() noexcept {
        if (std::exchange(live_, false))
            (void)millpond_put_at(pool_, raw_.id, nullptr, 0);
    }

    millpond_pool pool_ = 0;
    millpond_lease raw_ = {};
    bool live_ = false;
};

/// What a pool is made with. Everything default: a finite limit, memory zeroed at put.
struct options {
    /// Name in messages and metrics; empty: "pool-" and a number.
    std::string name = {};
    /// The capacities to hand out; empty: the nine of the default.
    std::vector<std::size_t> classes = {};
    /// The other options of millpond_pool_options. `name` and `classes` there are set from the two above.
    millpond_pool_options raw = MILLPOND_POOL_OPTIONS_INIT;
};

/// A pool that is closed and whose handle is freed at the end of its scope. Leases that are out stay valid and are put as
/// always, also after that.
///
/// Move-only. A pool moved from is MILLPOND_ERR_INVALID_HANDLE in every use.
///
/// Thread-safe, except move and destruction. Fork: the child may go on using it.
class pool {
public:
    /// Makes a pool with everything default.
    pool() : pool(options{}) {}
    /// Makes a pool with a name.
    explicit pool(const char *name) : pool(options{name, {}, MILLPOND_POOL_OPTIONS_INIT}) {}
    /// Makes a pool.
    /// @throws error MILLPOND_ERR_INVALID_ARGUMENT: an option has a value that cannot be, or two contradict
    explicit pool(const options &wanted) {
        millpond_pool_options raw = wanted.raw;
        if (!wanted.name.empty())
            raw.name = wanted.name.c_str();
        if (!wanted.classes.empty()) {
            raw.classes = wanted.classes.data();
            raw.class_count = wanted.classes.size();
        }
        detail::check(millpond_pool_new(&raw, &handle_));
        owned_ = true;
    }

    /// The process-wide pool.
    static pool default_pool() { return borrow(millpond_default_pool()); }
    /// A pool that somebody else frees.
    static pool borrow(millpond_pool handle) noexcept { return pool(handle, false); }

    pool(const pool &) = delete;
    pool &operator=(const pool &) = delete;
    pool(pool &&other) noexcept
        : handle_(std::exchange(other.handle_, 0)), owned_(std::exchange(other.owned_, false)) {}
    pool &operator=(pool &&other) noexcept {
        if (this != &other) {
            drop();
            handle_ = std::exchange(other.handle_, 0);
            owned_ = std::exchange(other.owned_, false);
        }
        return *this;
    }
    ~pool() { drop(); }

    /// Takes a lease. At the limit the pool's policy holds.
    /// @throws error MILLPOND_ERR_CLOSED, MILLPOND_ERR_EXHAUSTED, MILLPOND_ERR_NO_MEMORY, MILLPOND_ERR_INVALID_ARGUMENT (no
    /// object can be that large)
    lease get(std::size_t size, const char *file = MILLPOND_CALLER_FILE,
              std::uint32_t line = MILLPOND_CALLER_LINE) const {
        millpond_lease raw;
        detail::check(millpond_get_at(handle_, size, &raw, file, line));
        return lease(handle_, raw);
    }
    /// Takes a lease without waiting or going beyond the limit.
    lease try_get(std::size_t size, const char *file = MILLPOND_CALLER_FILE,
                  std::uint32_t line = MILLPOND_CALLER_LINE) const {
        millpond_lease raw;
        detail::check(millpond_try_get_at(handle_, size, &raw, file, line));
        return lease(handle_, raw);
    }
    /// Takes a lease and waits at the limit, at most `timeout_ms` milliseconds.
    lease get_timeout(std::size_t size, std::uint64_t timeout_ms, const char *file = MILLPOND_CALLER_FILE,
                      std::uint32_t line = MILLPOND_CALLER_LINE) const {
        millpond_lease raw;
        detail::check(millpond_get_timeout_at(handle_, size, timeout_ms, &raw, file, line));
        return lease(handle_, raw);
    }
    /// Puts a lease into this pool, as lease::put() does.
    /// @throws error MILLPOND_ERR_FOREIGN_LEASE: it is another pool's; it stays live
    void put(lease &&returned, const char *file = MILLPOND_CALLER_FILE,
             std::uint32_t line = MILLPOND_CALLER_LINE) const {
        const millpond_status code =
            returned.pool_handle() == handle_
                ? MILLPOND_OK
                : millpond_put_at(handle_, returned.id(), file, line);
        detail::check(code);
        returned.put(file, line);
    }

    /// From now on a get is MILLPOND_ERR_CLOSED. Closing a closed pool does nothing.
    void close() const { detail::check(millpond_pool_close(handle_)); }
    bool is_closed() const {
        bool closed = false;
        detail::check(millpond_pool_is_closed(handle_, &closed));
        return closed;
    }
    /// Gives all idle memory back to the system now; the bytes.
    std::size_t trim() const {
        std::size_t bytes = 0;
        detail::check(millpond_pool_trim(handle_, &bytes));
        return bytes;
    }
    /// Takes one look at the idle memory and gives half of what was not needed back; the bytes.
    std::size_t maintain() const {
        std::size_t bytes = 0;
        detail::check(millpond_pool_maintain(handle_, &bytes));
        return bytes;
    }
    millpond_stats stats() const {
        millpond_stats figures = MILLPOND_STATS_INIT;
        detail::check(millpond_pool_stats(handle_, &figures));
        return figures;
    }
    std::vector<millpond_class_stats> class_stats() const {
        std::size_t count = 0;
        detail::check(millpond_pool_class_count(handle_, &count));
        std::vector<millpond_class_stats> all(count, millpond_class_stats(MILLPOND_CLASS_STATS_INIT));
        for (std::size_t index = 0; index < count; ++index)
            detail::check(millpond_pool_class_stats(handle_, index, &all[index]));
        return all;
    }
    /// The leases that are out, oldest first.
    std::vector<millpond_leak> leaks() const {
        std::vector<millpond_leak> list;
        for (std::size_t count = 0;; list.resize(count)) {
            const std::size_t room = list.size();
            detail::check(millpond_pool_leaks(handle_, list.data(), room, &count));
            if (count <= room) {
                list.resize(count);
                return list;
            }
        }
    }
    std::string name() const {
        char text[MILLPOND_NAME_MAX + 1];
        std::size_t length = 0;
        detail::check(millpond_pool_name(handle_, text, sizeof text, &length));
        return std::string(text, length);
    }
    /// The C handle.
    millpond_pool handle() const noexcept { return handle_; }

private:
    pool(millpond_pool handle, bool owned) noexcept : handle_(handle), owned_(owned) {}

    void drop() noexcept {
        if (std::exchange(owned_, false))
            (void)millpond_pool_free(handle_);
    }

    millpond_pool handle_ = 0;
    bool owned_ = false;
};

/// What a memory_resource gave out and got back.
struct resource_stats {
    std::uint64_t allocations;
    std::uint64_t deallocations;
    /// Blocks that are out.
    std::uint64_t live_blocks;
    /// Their bytes, as asked for.
    std::uint64_t live_bytes;
    /// Deallocations refused: not a block of this resource, or damaged, or given back before.
    std::uint64_t refused;
};

/// Memory for std::pmr containers, out of a pool: every block is a lease.
///
/// Made for blocks of a few hundred bytes and more, since each takes a buffer of a size class: large vectors and strings
/// directly, node containers through a std::pmr::unsynchronized_pool_resource, synchronized_pool_resource or
/// monotonic_buffer_resource on top of it. Before each block stand 16 bytes (more where the alignment asks for it) with the
/// lease's handle, so that giving back takes no look-up. A pool that the resource makes has classes with room for them, so that a
/// block of a power of two fits; in a pool that somebody else made without classes_for(), one of exactly a class's capacity gets
/// the next class, with the default ones four times its size.
///
/// Any alignment that is a power of two is honoured. A request that cannot be met throws allocation_error (a std::bad_alloc).
/// A deallocation cannot throw: one that the library refuses is counted in stats().refused, and its memory stays where it is.
/// A wild pointer is only recognised if the 16 bytes before it can be read.
///
/// On destruction the blocks that are still out are reported to the leak handler; they stay valid.
///
/// Thread-safe: containers on any threads may share one. Destruction must be the last use.
/// Fork: the child may go on using it.
class memory_resource : public std::pmr::memory_resource {
public:
    /// Is told on destruction what is still out. Must not throw.
    using leak_handler = void (*)(const char *pool_name, const resource_stats &stats);

    /// A resource over a pool of its own that never clears: containers write what they read.
    memory_resource() : memory_resource(never_clearing()) {}
    /// A resource over a pool of its own with these options. What they leave out is as for any pool, but for the classes, which
    /// are the default ones with room for a block of that size: each block is cleared whole when it is given back.
    explicit memory_resource(const options &wanted) : pool_(for_blocks(wanted)) { remember_name(); }
    /// A resource over a pool that somebody else made and that outlives this one.
    explicit memory_resource(const pool &shared) : pool_(pool::borrow(shared.handle())) { remember_name(); }

    memory_resource(const memory_resource &) = delete;
    memory_resource &operator=(const memory_resource &) = delete;

    ~memory_resource() override {
        const resource_stats now = stats();
        if (now.live_blocks != 0 && on_leak_ != nullptr)
            on_leak_(name_, now);
    }

    /// The classes of a pool in which blocks of these sizes, multiples of 64 bytes, fit one each: with room for what stands before
    /// a block whose alignment is at most 64.
    static std::vector<std::size_t> classes_for(std::vector<std::size_t> blocks) {
        for (std::size_t &size : blocks)
            size += 64;
        return blocks;
    }

    /// The figures. While other threads work they may be of slightly different moments.
    resource_stats stats() const noexcept {
        resource_stats now{};
        std::uint64_t bytes_out = 0, bytes_back = 0;
        // Read before the allocations, so that no more blocks are counted as given back than as given out.
        for (const stripe &each : stripes_) {
            now.deallocations += each.deallocations.load(std::memory_order_acquire);
            bytes_back += each.bytes_back.load(std::memory_order_relaxed);
        }
        for (const stripe &each : stripes_) {
            now.allocations += each.allocations.load(std::memory_order_relaxed);
            bytes_out += each.bytes_out.load(std::memory_order_relaxed);
        }
        now.live_blocks = now.allocations - now.deallocations;
        now.live_bytes = bytes_out > bytes_back ? bytes_out - bytes_back : 0;
        now.refused = refused_.load(std::memory_order_relaxed);
        return now;
    }
    /// The pool under it, for its statistics and its list of leaks.
    const pool &source() const noexcept { return pool_; }
    /// Sets who is told of leaks; nullptr: nobody. Default: a line on stderr. Not while other threads use the resource.
    void on_leak(leak_handler handler) noexcept { on_leak_ = handler; }

protected:
    void *do_allocate(std::size_t bytes, std::size_t alignment) override {
        if (alignment < sizeof(mark))
            alignment = sizeof(mark);
        // A lease is aligned to 64 bytes: up to that the block stands one alignment behind its start, above it somewhere
        // within the next alignment.
        const std::size_t extra = alignment <= 64 ? alignment : alignment + sizeof(mark);
        const std::size_t wanted =
            bytes > std::numeric_limits<std::size_t>::max() - extra ? std::numeric_limits<std::size_t>::max() : bytes + extra;
        millpond_lease raw;
        const millpond_status code = millpond_get_at(pool_.handle(), wanted, &raw, nullptr, 0);
        if (code != MILLPOND_OK)
            throw allocation_error(code);
        const auto start = reinterpret_cast<std::uintptr_t>(raw.data);
        const std::uintptr_t block = (start + sizeof(mark) + alignment - 1) & ~(std::uintptr_t{alignment} - 1);
        auto *const memory = raw.data + (block - start);
        ::new (static_cast<void *>(memory - sizeof(mark))) mark{raw.id, seal(raw.id, block)};
        const unsigned seat = own_seat();
        add(seat, stripes_[seat].allocations, 1, std::memory_order_relaxed);
        add(seat, stripes_[seat].bytes_out, bytes, std::memory_order_relaxed);
        return memory;
    }

    void do_deallocate(void *memory, std::size_t bytes, std::size_t) override {
        auto *const found = reinterpret_cast<mark *>(static_cast<unsigned char *>(memory) - sizeof(mark));
        const mark seen = *found;
        if (seen.seal != seal(seen.id, reinterpret_cast<std::uintptr_t>(memory))) {
            refused_.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        const millpond_status code = millpond_put_at(pool_.handle(), seen.id, nullptr, 0);
        if (code != MILLPOND_OK && code != MILLPOND_ERR_OVERRUN) {
            refused_.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        const unsigned seat = own_seat();
        add(seat, stripes_[seat].bytes_back, bytes, std::memory_order_relaxed);
        // Pairs with the acquire in stats().
        add(seat, stripes_[seat].deallocations, 1, std::memory_order_release);
    }

    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override { return this == &other; }

private:
    /// Stands directly before each block.
    struct mark {
        std::uint64_t id;
        std::uint64_t seal;
    };
    static_assert(sizeof(mark) == 16, "the block behind it keeps the largest plain alignment");

    /// Counts of one thread, the last of all threads that found no seat: were there one for all, the threads would take its line
    /// from each other at each block.
    struct alignas(64) stripe {
        std::atomic<std::uint64_t> allocations{0};
        std::atomic<std::uint64_t> deallocations{0};
        std::atomic<std::uint64_t> bytes_out{0};
        std::atomic<std::uint64_t> bytes_back{0};
    };
    static constexpr unsigned seats = 16;
    static constexpr unsigned standing = seats;
    static constexpr unsigned unknown = seats + 1;

    /// The calling thread's number, and a bit for each that some thread has.
    inline static thread_local unsigned this_seat = unknown;
    inline static std::atomic<unsigned> taken{0};

    /// Gives a thread's seat back when the thread ends.
    struct leaver {
        ~leaver() {
            const unsigned seat = std::exchange(this_seat, standing);
            if (seat < seats)
                // Pairs with the acquire in find_seat(): who sits here next goes on from what was counted.
                taken.fetch_and(~(1u << seat), std::memory_order_release);
        }
    };

    /// The number of the calling thread's stripe in every resource: one that no other living thread has, or `standing`.
    static unsigned own_seat() noexcept { return this_seat != unknown ? this_seat : find_seat(); }
    static unsigned find_seat() noexcept {
        static thread_local leaver at_end;
        (void)at_end;
        unsigned seat = 0;
        while (seat < seats && (taken.fetch_or(1u << seat, std::memory_order_acquire) & 1u << seat) != 0)
            ++seat;
        return this_seat = seat;
    }

    /// Adds to a counter of the calling thread's stripe: by a load and a store where nobody else writes it.
    static void add(unsigned seat, std::atomic<std::uint64_t> &counter, std::uint64_t by, std::memory_order order) noexcept {
        if (seat != standing)
            counter.store(counter.load(std::memory_order_relaxed) + by, order);
        else
            counter.fetch_add(by, order);
    }

    static options for_blocks(options wanted) {
        const millpond_pool_options &raw = wanted.raw;
        if (wanted.classes.empty() && raw.classes == nullptr && raw.class_count == 0 && raw.class_min == 0 && raw.class_max == 0)
            wanted.classes = classes_for({512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20});
        return wanted;
    }

    static options never_clearing() noexcept {
        options wanted;
        wanted.raw.clear = MILLPOND_CLEAR_NEVER;
        return wanted;
    }

    /// Ties a handle to a place and to this resource: what is no block, or another resource's, does not carry it.
    std::uint64_t seal(std::uint64_t id, std::uintptr_t block) const noexcept {
        std::uint64_t mixed = (id ^ block) * UINT64_C(0x9E3779B97F4A7C15);
        mixed ^= mixed >> 32;
        return mixed ^ reinterpret_cast<std::uintptr_t>(this);
    }

    static void report(const char *pool_name, const resource_stats &stats) {
        std::fprintf(stderr,
                     "millpond: memory_resource over pool \"%s\" destroyed with %llu blocks (%llu bytes) not deallocated\n",
                     pool_name, static_cast<unsigned long long>(stats.live_blocks),
                     static_cast<unsigned long long>(stats.live_bytes));
    }

    void remember_name() {
        std::size_t length = 0;
        detail::check(millpond_pool_name(pool_.handle(), name_, sizeof name_, &length));
    }

    pool pool_;
    char name_[MILLPOND_NAME_MAX + 1] = {};
    leak_handler on_leak_ = &report;
    stripe stripes_[seats + 1];
    std::atomic<std::uint64_t> refused_{0};
};

} // namespace millpond

#undef MILLPOND_CALLER_FILE
#undef MILLPOND_CALLER_LINE

#endif // MILLPOND_HPP
