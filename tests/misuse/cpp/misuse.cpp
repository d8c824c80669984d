// Commits the seeded bug that its argument names through millpond.hpp and prints what the library says (../c/say.h).
#include <millpond.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "../c/say.h"

namespace {

constexpr std::size_t LEN = 1000, FAR = 4096;
constexpr int ROUNDS = 100;

volatile std::byte sink;

void told(const millpond::error &error) { std::printf("error %s %s\n", error.name(), error.what()); }

// The memory as code sees it that knows nothing of leases.
volatile std::byte *bytes(millpond::lease &lease) { return lease.data(); }

void fill(millpond::lease &lease, int value) { std::memset(lease.data(), value, lease.size()); }

bool all_bytes(const millpond::lease &lease, int value) {
    for (const std::byte each : lease)
        if (each != static_cast<std::byte>(value))
            return false;
    return true;
}

// What every program does next: a few more leases.
void go_on(const millpond::pool &pool) {
    for (int round = 0; round < 3; ++round) {
        millpond::lease lease = pool.get(LEN);
        fill(lease, round + 1);
        lease.put();
    }
}

void none(const millpond::pool &pool, const millpond::pool &) {
    bug();
    for (std::size_t len = 0; len < 3 * LEN; len += 7) {
        millpond::lease lease = pool.get(len);
        if (!all_bytes(lease, 0))
            broken("not all zero");
        fill(lease, 1);
        millpond::lease moved = std::move(lease);
        moved.check();
        if (!all_bytes(moved, 1))
            broken("another lease");
        if (len % 2 == 0)
            moved.put();
    }
}

void double_put(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    lease.put();                           /* PUT */
    bug();
    lease.put(); /* HERE */
}

void lease_after_put(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    lease.put();                           /* PUT */
    bug();
    sink = lease[100]; /* HERE */
}

void read_after_put(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    const volatile std::byte *const kept = bytes(lease);
    lease.put(); /* PUT */
    bug();
    sink = kept[100]; /* HERE */
}

void write_after_put(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    volatile std::byte *const kept = bytes(lease);
    lease.put(); /* PUT */
    bug();
    kept[100] = std::byte{'x'}; /* HERE */
}

void past_by_one(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    bug();
    bytes(lease)[LEN] = std::byte{'x'}; /* HERE */
    lease.put();                        /* PUT */
}

void past_by_far(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    bug();
    bytes(lease)[LEN + FAR] = std::byte{'x'}; /* HERE */
    lease.put();                              /* PUT */
}

void foreign_put(const millpond::pool &pool, const millpond::pool &other) {
    millpond::lease lease = pool.get(LEN); /* GET */
    bug();
    other.put(std::move(lease)); /* HERE */
}

// Two threads that put the same leases at the same moments.
void racing_puts(const millpond::pool &pool, const millpond::pool &) {
    std::vector<millpond::lease> leases;
    for (int round = 0; round < ROUNDS; ++round)
        leases.push_back(pool.get(LEN)); /* GET */
    std::atomic<int> arrived{0}, refused{0}, others{0};
    const auto race = [&] {
        for (int round = 0; round < ROUNDS; ++round) {
            arrived.fetch_add(1);
            while (arrived.load() < 2 * (round + 1))
                std::this_thread::yield();
            try {
                leases[static_cast<std::size_t>(round)].put(); /* PUT HERE */
            } catch (const millpond::error &error) {
                if (round == 0)
                    told(error);
                (error.code() == MILLPOND_ERR_DOUBLE_PUT ? refused : others).fetch_add(1);
            }
        }
    };
    bug();
    std::thread one(race), two(race);
    one.join();
    two.join();
    if (refused != ROUNDS || others != 0)
        say("saw", "not one of two puts");
}

void leak(const millpond::pool &pool, const millpond::pool &) {
    bug();
    millpond::lease lease = pool.get(LEN); /* GET HERE */
    fill(lease, 1);
    // As a C lease that nobody puts.
    (void)lease.release();
}

void use_after_close(const millpond::pool &, const millpond::pool &other) {
    other.close();
    bug();
    (void)other.get(LEN); /* HERE */
}

void forged_handle(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    millpond_lease raw{};
    raw.id = lease.id() + 1;
    bug();
    millpond::lease(pool.handle(), raw).put(); /* HERE */
}

void viewed_put(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    const std::byte *const view = lease.data() + 100;
    lease.pin();
    bug();
    try {
        lease.put(); /* HERE */
    } catch (const millpond::error &error) {
        told(error);
    }
    sink = view[0];
    lease.unpin();
}

int in_child(const millpond::pool &pool, millpond::lease &inherited) {
    alarm(CHILD_SECONDS);
    if (!all_bytes(inherited, 7))
        return 1;
    fill(inherited, 8);
    for (int round = 0; round < 20; ++round)
        pool.get(5000).put();
    inherited.put();
    return 0;
}

void forked_use(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    fill(lease, 7);
    std::atomic<bool> stop{false};
    const auto load = [&] {
        while (!stop) {
            std::vector<millpond::lease> leases;
            for (std::size_t each = 0; each < 8; ++each)
                leases.push_back(pool.get((each + 1) * 700));
        }
    };
    std::thread one(load), two(load);
    bug();
    bool good = true;
    for (int count = children(); count > 0 && good; --count) {
        const pid_t child = fork();
        if (child == 0) {
            try {
                _exit(in_child(pool, lease));
            } catch (const millpond::error &) {
                _exit(1);
            }
        }
        good = child_works(child) != 0;
    }
    stop = true;
    one.join();
    two.join();
    if (good && all_bytes(lease, 7))
        say("saw", "works");
}

void late_write(const millpond::pool &pool, const millpond::pool &) {
    millpond::lease lease = pool.get(LEN); /* GET */
    int ends[2];
    if (pipe(ends) != 0)
        broken("a pipe");
    ssize_t done = 0;
    std::thread receiver([&done, from = ends[0], to = lease.data()] {
        done = read(from, to, LEN); /* HERE */
    });
    // Most likely it waits in read() now; if not, it comes there later still.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    bug();
    lease.put(); /* PUT */
    const std::vector<char> message(LEN, 1);
    if (write(ends[1], message.data(), LEN) != static_cast<ssize_t>(LEN))
        broken("the pipe");
    receiver.join();
    if (done != static_cast<ssize_t>(LEN))
        say("saw", "EFAULT from read");
}

struct {
    std::string_view name;
    void (*commit)(const millpond::pool &pool, const millpond::pool &other);
} const bugs[] = {
    {"none", none},
    {"double-put", double_put},
    {"lease-after-put", lease_after_put},
    {"read-after-put", read_after_put},
    {"write-after-put", write_after_put},
    {"past-by-one", past_by_one},
    {"past-by-far", past_by_far},
    {"foreign-put", foreign_put},
    {"racing-puts", racing_puts},
    {"leak", leak},
    {"use-after-close", use_after_close},
    {"forged-handle", forged_handle},
    {"viewed-put", viewed_put},
    {"forked-use", forked_use},
    {"late-write", late_write},
};

} // namespace

int main(int argc, char **argv) {
    begin();
    if (millpond_report_faults() != MILLPOND_OK)
        broken(millpond_last_error());
    for (const auto &each : bugs) {
        if (argc == 2 && each.name == argv[1]) {
            {
                const millpond::pool pool("misuse"), other("other");
                try {
                    each.commit(pool, other);
                } catch (const millpond::error &error) {
                    told(error);
                }
                go_on(pool);
            }
            say("done", "");
            return 0;
        }
    }
    std::fputs("usage: misuse BUG\n", stderr);
    return 2;
}
