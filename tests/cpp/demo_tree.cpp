// Reads a directory tree through pooled buffers, hashes every file and moves each lease to a second thread, which puts it.
//   demo_tree pool|plain DIR LIST     LIST: one path below DIR per line; plain: the same with new std::byte[]
//   demo_tree misuse                  provokes each violation of the ownership rules
// The last line printed is one JSON object. `make demo` runs this program beside its siblings in other languages.
#include <millpond.hpp>

#include <condition_variable>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <queue>
#include <thread>

#include "../c/demo_common.h"

// A bounded queue to the second thread.
template <typename Buffer> class channel {
public:
    void push(Buffer buffer) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return items_.size() < QUEUE; });
        items_.push(std::move(buffer));
        changed_.notify_one();
    }

    bool pop(Buffer &out) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !items_.empty() || closed_; });
        if (items_.empty())
            return false;
        out = std::move(items_.front());
        items_.pop();
        changed_.notify_one();
        return true;
    }

    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        changed_.notify_all();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::queue<Buffer> items_;
    bool closed_ = false;
};

// get(size) makes a buffer, memory(buffer) is where it lies, put(buffer) gives it back on the second thread.
template <typename Get, typename Memory, typename Put>
static demo_run tree(const char *dir, const demo_list &list, Get get, Memory memory, Put put) {
    using buffer_type = decltype(get(std::size_t{}));
    channel<buffer_type> handed;
    std::thread second([&] {
        for (buffer_type buffer; handed.pop(buffer);)
            put(buffer);
    });
    demo_run run = begin_run(dir, &list);
    for (const char *path = list.text; path < list.text + list.length; path += std::strlen(path) + 1) {
        std::size_t size = 0;
        const int file = open_file(&run, path, &size);
        buffer_type buffer = get(size);
        read_and_hash(&run, file, path, memory(buffer), size);
        handed.push(std::move(buffer));
    }
    handed.close();
    second.join();
    end_run(&run);
    return run;
}

static void with_pool(const char *dir, const demo_list &list) {
    const millpond::pool pool("tree-cpp");
    demo_run run = tree(
        dir, list, [&](std::size_t size) { return pool.get(size); }, [](millpond::lease &lease) { return lease.data(); },
        [](millpond::lease &lease) { lease.put(); });
    print_run(&run, "cpp", "pool", pool.handle());
}

static void plain(const char *dir, const demo_list &list) {
    using plain_buffer = std::unique_ptr<std::byte[]>;
    demo_run run = tree(
        dir, list, [](std::size_t size) { return plain_buffer(new std::byte[size]); },
        [](plain_buffer &buffer) { return buffer.get(); }, [](plain_buffer &buffer) { buffer.reset(); });
    print_run(&run, "cpp", "plain", 0);
}

// Prints what the attempt threw.
template <typename Attempt>
static void refused(const char *&comma, const char *name, const char *expected, Attempt attempt) {
    try {
        attempt();
        print_refusal(&comma, name, expected, MILLPOND_OK, "");
    } catch (const millpond::error &caught) {
        print_refusal(&comma, name, expected, caught.code(), caught.what());
    }
}

static void misuse() {
    millpond::options small_options;
    small_options.name = "small-cpp";
    small_options.raw.max_bytes = small_options.raw.max_retained_bytes = 4096;
    const millpond::pool pool("misuse-cpp"), other("other-cpp"), small(small_options);
    const char *comma = "";
    std::printf("{\"language\":\"cpp\",\"violations\":[");

    millpond::lease lease = pool.get(1000);
    lease.put();
    refused(comma, "second put", "DOUBLE_PUT", [&] { lease.put(); });
    refused(comma, "use after put", "USE_AFTER_PUT", [&] { lease[0] = std::byte{1}; });
    lease = pool.get(1000);
    refused(comma, "put into another pool", "FOREIGN_LEASE", [&] { other.put(std::move(lease)); });
    lease.pin();
    refused(comma, "put while a view lives", "BUSY", [&] { lease.put(); });
    lease.unpin();
    lease.data()[1000] ^= std::byte{0xFF};
    refused(comma, "write past the end", "OVERRUN", [&] { lease.put(); });

    const millpond_lease lost = pool.get(1000).release();
    const auto leaks = pool.leaks();
    const bool listed = leaks.size() == 1 && leaks[0].id == lost.id;
    const std::string text = listed ? "misuse-cpp: a lease of " + std::to_string(leaks[0].len) + " bytes, got at " +
                                          leaks[0].site + ", is still out"
                                    : "it is not listed";
    print_violation(&comma, "lost lease", "listed by pool::leaks", listed, "pool::leaks", text.c_str());
    refused(comma, "forged handle", "INVALID_HANDLE", [&] {
        millpond_lease forged = lost;
        forged.id ^= 1;
        millpond::lease(pool.handle(), forged).put();
    });
    need(millpond_lease_reclaim(pool.handle(), lost.id), "reclaim");

    other.close();
    refused(comma, "get after close", "CLOSED", [&] { (void)other.get(1000); });
    {
        const millpond::lease all = small.get(4096);
        refused(comma, "limit reached", "EXHAUSTED", [&] { (void)small.get(4096); });
    }
    refused(comma, "impossible size", "INVALID_ARGUMENT", [&] { (void)pool.get(SIZE_MAX); });
    const bool reconciled =
        pool_reconciles(pool.handle()) && pool_reconciles(other.handle()) && pool_reconciles(small.handle());
    std::printf("],\"reconciled\":%s}\n", reconciled ? "true" : "false");
}

int main(int argc, char **argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    try {
        if (mode == "misuse") {
            misuse();
        } else if (argc == 4 && (mode == "pool" || mode == "plain")) {
            const demo_list list = read_list(argv[3]);
            mode == "pool" ? with_pool(argv[2], list) : plain(argv[2], list);
            std::free(list.text);
        } else {
            std::cerr << "usage: demo_tree pool|plain DIR LIST, demo_tree misuse\n";
            return 2;
        }
    } catch (const std::exception &caught) {
        std::cerr << "demo_tree: " << caught.what() << '\n';
        return 1;
    }
    return 0;
}
