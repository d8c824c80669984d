// The works, for any peer.
#pragma once

#include "measure.hpp"
#include "peers.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <sched.h>
#include <thread>

namespace bench {

enum class touch { nothing, ends, pages, all };

inline void write(std::uint8_t *data, std::size_t at) { *static_cast<volatile std::uint8_t *>(data + at) = 1; }

inline void write_pages(std::uint8_t *data, std::size_t size) {
    for (std::size_t at = 0; at < size; at += 4096)
        write(data, at);
}

template <typename Peer> void pairs(Peer &peer, std::size_t size, touch what, std::uint64_t turns) {
    for (; turns > 0; turns--) {
        auto held = peer.get(size);
        std::uint8_t *data = peer.data(held);
        keep(data);
        switch (what) {
        case touch::nothing:
            peer.put_used(held, 0);
            continue;
        case touch::ends:
            write(data, 0);
            write(data, size - 1);
            break;
        case touch::pages:
            write_pages(data, size);
            break;
        case touch::all:
            std::memset(data, 1, size);
            keep(data);
            break;
        }
        peer.put(held);
    }
}

template <typename Peer> figures pair(std::size_t size, touch what, double seconds) {
    Peer peer(shape{size, 1});
    return measure(seconds, 1, [&](std::uint64_t turns) { pairs(peer, size, what, turns); });
}

template <typename Peer> figures burst(std::size_t size, std::size_t live, bool touched, double seconds) {
    Peer peer(shape{size, live});
    std::vector<typename Peer::buffer> held(live);
    return measure(seconds, live, [&](std::uint64_t turns) {
        for (; turns > 0; turns--) {
            for (auto &one : held) {
                one = peer.get(size);
                std::uint8_t *data = peer.data(one);
                keep(data);
                if (touched)
                    write_pages(data, size);
            }
            for (auto &one : held)
                if (touched)
                    peer.put(one);
                else
                    peer.put_used(one, 0);
        }
    });
}

template <typename Peer> figures held(std::size_t size, std::size_t count, double seconds) {
    Peer peer(shape{size, count + 1});
    std::vector<typename Peer::buffer> kept(count);
    for (auto &one : kept)
        one = peer.get(size);
    const figures found = measure(seconds, 1, [&](std::uint64_t turns) { pairs(peer, size, touch::nothing, turns); });
    for (auto &one : kept)
        peer.put(one);
    return found;
}

// Some bytes dirtied, which the put says as well as it can.
template <typename Peer> figures clear(std::size_t size, std::size_t dirty, double seconds) {
    Peer peer(shape{size, 1});
    return measure(seconds, 1, [&](std::uint64_t turns) {
        for (; turns > 0; turns--) {
            auto held = peer.get(size);
            std::uint8_t *data = peer.data(held);
            std::memset(data, 1, dirty);
            keep(data);
            peer.put_used(held, dirty);
        }
    });
}

inline std::uint64_t step(std::uint64_t random) {
    random ^= random << 13;
    random ^= random >> 7;
    return random ^ random << 17;
}

// The sizes of the mixed works: those of the gets of a recorded trace, in their order. BENCH_TRACE names it.
inline std::vector<std::size_t> sizes_up_to(std::size_t largest) {
    std::vector<std::size_t> sizes;
    const char *path = std::getenv("BENCH_TRACE");
    std::FILE *trace = path == nullptr ? nullptr : std::fopen(path, "r");
    char line[256];
    // Lines are "ns,thread,pool,act,lease,bytes"; of those with the act g, bytes is what was asked for.
    while (trace != nullptr && std::fgets(line, sizeof line, trace) != nullptr)
        if (std::strstr(line, ",g,") != nullptr)
            if (const std::size_t size = std::strtoull(std::strrchr(line, ',') + 1, nullptr, 10); size <= largest)
                sizes.push_back(std::max<std::size_t>(size, 1));
    if (trace != nullptr)
        std::fclose(trace);
    if (sizes.empty())
        die("BENCH_TRACE", "no trace with gets of these sizes");
    for (std::size_t at = 0; sizes.size() < 4096; at++)
        sizes.push_back(sizes[at]);
    sizes.resize(4096);
    return sizes;
}

template <typename Peer> figures mixed(std::size_t largest, double seconds) {
    constexpr std::size_t live = 64;
    Peer peer(shape{largest, live});
    const std::vector<std::size_t> sizes = sizes_up_to(largest);
    typename Peer::buffer slots[live];
    bool used[live] = {};
    std::uint64_t next = 0, random = 0x9e3779b97f4a7c15;
    const figures found = measure(seconds, 1, [&](std::uint64_t turns) {
        for (; turns > 0; turns--) {
            random = step(random);
            const std::size_t at = (random >> 32) % live;
            if (std::exchange(used[at], true))
                peer.put_used(slots[at], 1);
            slots[at] = peer.get(sizes[next++ & (sizes.size() - 1)]);
            write(peer.data(slots[at]), 0);
        }
    });
    for (std::size_t at = 0; at < live; at++)
        if (used[at])
            peer.put(slots[at]);
    return found;
}

template <typename Peer> figures idle(std::size_t size, std::size_t count, double seconds) {
    Peer peer(shape{size, count});
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t ready = 0;
    bool ended = false;
    std::vector<std::thread> sleepers;
    for (std::size_t i = 0; i < count; i++)
        sleepers.emplace_back([&] {
            pairs(peer, size, touch::ends, 100);
            std::unique_lock<std::mutex> lock(mutex);
            ready++;
            changed.notify_all();
            changed.wait(lock, [&] { return ended; });
        });
    {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return ready == count; });
    }
    const figures found = measure(seconds, 1, [&](std::uint64_t turns) { pairs(peer, size, touch::nothing, turns); });
    {
        const std::lock_guard<std::mutex> lock(mutex);
        ended = true;
    }
    changed.notify_all();
    for (auto &sleeper : sleepers)
        sleeper.join();
    return found;
}

// Ties this thread to a core, as far as there are so many.
inline void pin(unsigned core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core % std::max(1u, std::thread::hardware_concurrency()), &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

// Operations between two looks at the clock, at most; fewer where they take longer than this together.
constexpr std::uint64_t chunk_most = 4096;
constexpr double chunk_seconds = 1e-4;

// As many operations warm up what goes from thread to thread, in so much time at most: until then a pool still makes buffers,
// of new pages.
constexpr std::uint64_t warm_ops = 16 * 256;
constexpr double warm_seconds = 0.5;

// Nanoseconds per operation of each chunk after the warm-up, which is half the time and `warm` operations.
template <typename Run> std::vector<double> chunks(double seconds, std::uint64_t warm, std::uint64_t &ops, Run run) {
    std::vector<double> spent;
    const auto begun = clock::now();
    std::uint64_t chunk = 1;
    double from = -1;
    for (ops = 0;;) {
        const double at = since(begun);
        if (from < 0 && at >= seconds / 2 && (ops >= warm || at >= warm_seconds))
            from = at;
        const auto start = clock::now();
        run(chunk);
        const double took = since(start);
        ops += chunk;
        if (from >= 0) {
            spent.push_back(took * 1e9 / static_cast<double>(chunk));
            if (since(begun) - from >= seconds)
                return spent;
        }
        if (took < chunk_seconds && chunk < chunk_most)
            chunk *= 2;
    }
}

template <typename Peer> figures two(std::size_t size, double seconds) {
    Peer peer(shape{size, 2});
    const auto run = [&](std::uint64_t turns) { pairs(peer, size, touch::nothing, turns); };
    forget_peak();
    double alone = 0, each[2] = {};
    std::uint64_t ops[2] = {};
    std::thread([&] {
        pin(1);
        alone = median(chunks(seconds, 0, ops[0], run));
    }).join();
    const usage before;
    std::atomic<int> ready{0};
    const auto side = [&](unsigned core) {
        pin(core);
        ready++;
        while (ready.load() < 2)
            std::this_thread::yield();
        each[core] = median(chunks(seconds, 0, ops[core], run));
    };
    std::thread other(side, 1u);
    std::thread one(side, 0u);
    one.join();
    other.join();
    figures found;
    before.into(found, ops[0] + ops[1]);
    found.ns = (each[0] + each[1]) / 2;
    char text[96];
    std::snprintf(text, sizeof text, ", \"alone_ns\": %.4f, \"alone_ratio\": %.4f", alone, std::max(each[0], each[1]) / alone);
    found.more = text;
    return found;
}

// A bounded queue from one thread to another.
template <typename T> class ring {
public:
    void push(const T &value) {
        for (unsigned waited = 0; pushed_at_ - popped_seen_ == slots; pause(waited)) {
            // Acquire: the consumer has read the slot.
            popped_seen_ = popped_.load(std::memory_order_acquire);
            if (pushed_at_ - popped_seen_ != slots)
                break;
        }
        values_[pushed_at_ % slots] = value;
        // Release: the slot is written.
        pushed_.store(++pushed_at_, std::memory_order_release);
    }

    void end() { ended_.store(true, std::memory_order_release); }

    // False when the producer has ended and everything was taken.
    bool pop(T &value) {
        for (unsigned waited = 0; popped_at_ == pushed_seen_; pause(waited)) {
            pushed_seen_ = pushed_.load(std::memory_order_acquire);
            if (popped_at_ != pushed_seen_)
                break;
            if (ended_.load(std::memory_order_acquire) && pushed_.load(std::memory_order_acquire) == popped_at_)
                return false;
        }
        value = values_[popped_at_ % slots];
        popped_.store(++popped_at_, std::memory_order_release);
        return true;
    }

private:
    static constexpr std::size_t slots = 256;

    // Waits a little, and lets others run where there is one core for both.
    static void pause(unsigned &waited) {
        if (++waited % 4096 == 0)
            std::this_thread::yield();
        else
            __builtin_ia32_pause();
    }

    T values_[slots];
    alignas(128) std::size_t pushed_at_ = 0, popped_seen_ = 0;
    alignas(128) std::size_t popped_at_ = 0, pushed_seen_ = 0;
    alignas(128) std::atomic<std::size_t> pushed_{0};
    alignas(128) std::atomic<std::size_t> popped_{0};
    alignas(128) std::atomic<bool> ended_{false};
};

// One thread makes values, the other takes them; per value.
template <typename T, typename Make, typename Take> figures pass(double seconds, Make make, Take take) {
    forget_peak();
    const auto queue = std::make_unique<ring<T>>();
    const usage before;
    std::thread consumer([&] {
        pin(1);
        for (T value; queue->pop(value);)
            take(value);
    });
    std::uint64_t ops = 0;
    double ns = 0;
    std::thread([&] {
        pin(0);
        ns = median(chunks(seconds, warm_ops, ops, [&](std::uint64_t turns) {
            for (; turns > 0; turns--)
                queue->push(make());
        }));
        queue->end();
    }).join();
    consumer.join();
    figures found;
    before.into(found, ops);
    found.ns = ns;
    return found;
}

template <typename Peer> figures between(std::size_t size, double seconds) {
    Peer peer(shape{size, 258});
    const auto make = [&] {
        auto held = peer.get(size);
        write(peer.data(held), 0);
        return held;
    };
    return pass<typename Peer::buffer>(seconds, make, [&](const auto &held) { peer.put_used(held, 1); });
}

inline figures queue_alone(double seconds) {
    return pass<void *>(seconds, [] { return static_cast<void *>(nullptr); }, [](void *&value) { keep(value); });
}

// The making of the pool, the first get and the first byte.
template <typename Peer> figures first(std::size_t size) {
    const usage before;
    const auto start = clock::now();
    Peer peer(shape{size, 1});
    auto held = peer.get(size);
    write(peer.data(held), 0);
    const double spent = since(start);
    peer.put(held);
    figures found;
    before.into(found, 1);
    found.ns = spent * 1e9;
    return found;
}

// Resident memory before, right after a burst of 1 GiB, and 1, 5, 10 and 30 s later, as long as the time lasts.
template <typename Peer> figures resident(std::size_t size, double seconds) {
    const std::size_t live = (std::size_t{1} << 30) / size;
    std::vector<typename Peer::buffer> held(live);
    std::string seen = "[-1, " + std::to_string(status("VmRSS")) + "]";
    const usage before;
    const auto start = clock::now();
    Peer peer(shape{size, live});
    for (auto &one : held) {
        one = peer.get(size);
        write_pages(peer.data(one), size);
    }
    const std::uint64_t full = status("VmRSS");
    for (auto &one : held)
        peer.put(one);
    const double spent = since(start);
    seen += ", [0, " + std::to_string(status("VmRSS")) + "]";
    const auto resting = clock::now();
    for (const int second : {1, 5, 10, 30}) {
        if (second > seconds)
            break;
        std::this_thread::sleep_for(std::chrono::duration<double>(second - since(resting)));
        seen += ", [" + std::to_string(second) + ", " + std::to_string(status("VmRSS")) + "]";
    }
    figures found;
    before.into(found, live);
    found.ns = spent * 1e9 / static_cast<double>(live);
    found.more = ", \"burst_rss_kib\": " + std::to_string(full) + ", \"rss_kib\": [" + seen + "]";
    return found;
}

} // namespace bench
