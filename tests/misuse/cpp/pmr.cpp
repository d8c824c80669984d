// Commits the same bugs with std::pmr::synchronized_pool_resource, for comparison (../c/say.h).
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <memory_resource>
#include <string_view>
#include <thread>
#include <vector>

#include "../c/say.h"

namespace {

constexpr std::size_t LEN = 1000, FAR = 4096;
constexpr int ROUNDS = 100;

using resource = std::pmr::synchronized_pool_resource;

volatile std::byte sink;

std::byte *take(resource &pool) { return static_cast<std::byte *>(pool.allocate(LEN)); }

// The compiler must not know that the memory is over.
volatile std::byte *bytes(std::byte *data) { return data; }

void go_on(resource &pool) {
    for (int round = 0; round < 3; ++round) {
        std::byte *const data = take(pool);
        std::memset(data, round + 1, LEN);
        pool.deallocate(data, LEN);
    }
}

void none(resource &pool, resource &) {
    bug();
    std::byte *const data = take(pool);
    std::memset(data, 1, LEN);
    pool.deallocate(data, LEN);
}

void double_put(resource &pool, resource &) {
    std::byte *const data = take(pool);
    pool.deallocate(data, LEN);
    bug();
    pool.deallocate(data, LEN); /* HERE */
}

void read_after_put(resource &pool, resource &) {
    std::byte *const data = take(pool);
    pool.deallocate(data, LEN);
    bug();
    sink = bytes(data)[100]; /* HERE */
}

void write_after_put(resource &pool, resource &) {
    std::byte *const data = take(pool);
    pool.deallocate(data, LEN);
    bug();
    bytes(data)[100] = std::byte{'x'}; /* HERE */
}

void past_by_one(resource &pool, resource &) {
    std::byte *const data = take(pool);
    bug();
    bytes(data)[LEN] = std::byte{'x'}; /* HERE */
    pool.deallocate(data, LEN);
}

void past_by_far(resource &pool, resource &) {
    std::byte *const data = take(pool);
    bug();
    bytes(data)[LEN + FAR] = std::byte{'x'}; /* HERE */
    pool.deallocate(data, LEN);
}

void foreign_put(resource &pool, resource &other) {
    std::byte *const data = take(pool);
    other.deallocate(take(other), LEN);
    bug();
    other.deallocate(data, LEN); /* HERE */
}

void racing_puts(resource &pool, resource &) {
    std::vector<std::byte *> blocks;
    for (int round = 0; round < ROUNDS; ++round)
        blocks.push_back(take(pool));
    std::atomic<int> arrived{0};
    const auto race = [&] {
        for (int round = 0; round < ROUNDS; ++round) {
            arrived.fetch_add(1);
            while (arrived.load() < 2 * (round + 1))
                std::this_thread::yield();
            pool.deallocate(blocks[static_cast<std::size_t>(round)], LEN); /* HERE */
        }
    };
    bug();
    std::thread one(race), two(race);
    one.join();
    two.join();
}

void leak(resource &pool, resource &) {
    bug();
    std::byte *const data = take(pool); /* HERE */
    std::memset(data, 1, LEN);
}

void use_after_close(resource &, resource &other) {
    std::byte *const data = take(other);
    other.release();
    bug();
    bytes(data)[100] = std::byte{'x'}; /* HERE */
}

void forged_handle(resource &pool, resource &) {
    std::byte *const data = take(pool);
    bug();
    pool.deallocate(data + 16, LEN); /* HERE */
    pool.deallocate(data, LEN);
}

void viewed_put(resource &pool, resource &) {
    std::byte *const data = take(pool);
    bug();
    pool.deallocate(data, LEN);
    sink = bytes(data)[200]; /* HERE */
}

// Is asked for memory by a pool, which waits for it with its lock held: the moment in which another thread forks.
class waiting final : public std::pmr::memory_resource {
public:
    std::atomic<bool> asked{false}, answer{true};

private:
    void *do_allocate(std::size_t size, std::size_t alignment) override {
        asked = true;
        while (!answer)
            std::this_thread::yield();
        return std::pmr::new_delete_resource()->allocate(size, alignment);
    }
    void do_deallocate(void *memory, std::size_t size, std::size_t alignment) override {
        std::pmr::new_delete_resource()->deallocate(memory, size, alignment);
    }
    bool do_is_equal(const std::pmr::memory_resource &that) const noexcept override { return this == &that; }
};

void forked_use(resource &, resource &) {
    waiting system;
    resource pool(&system);
    std::byte *const data = take(pool);
    std::memset(data, 7, LEN);
    system.asked = false;
    system.answer = false;
    std::thread load([&pool] { pool.deallocate(pool.allocate(100000), 100000); });
    while (!system.asked)
        std::this_thread::yield();
    bug();
    const pid_t child = fork();
    if (child == 0) {
        alarm(2);
        pool.deallocate(data, LEN);
        pool.deallocate(take(pool), LEN);
        _exit(0);
    }
    if (child_works(child) && data[LEN - 1] == std::byte{7})
        say("saw", "works");
    system.answer = true;
    load.join();
    pool.deallocate(data, LEN);
}

void late_write(resource &pool, resource &) {
    std::byte *const data = take(pool);
    int ends[2];
    if (pipe(ends) != 0)
        broken("a pipe");
    ssize_t done = 0;
    std::thread receiver([&done, from = ends[0], data] {
        done = read(from, data, LEN); /* HERE */
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    bug();
    pool.deallocate(data, LEN);
    const std::vector<char> message(LEN, 1);
    if (write(ends[1], message.data(), LEN) != static_cast<ssize_t>(LEN))
        broken("the pipe");
    receiver.join();
    if (done != static_cast<ssize_t>(LEN))
        say("saw", "an error from read");
}

struct {
    std::string_view name;
    void (*commit)(resource &pool, resource &other);
} const bugs[] = {
    {"none", none},
    {"double-put", double_put},
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
    for (const auto &each : bugs) {
        if (argc == 2 && each.name == argv[1]) {
            {
                resource pool, other;
                each.commit(pool, other);
                go_on(pool);
            }
            say("done", "");
            return 0;
        }
    }
    std::fputs("usage: pmr BUG\n", stderr);
    return 2;
}
