// Measures DPDK's mempool as the other programs measure theirs: bench PEER WORK SIZE[,SIZE...] [--ms N], bench --list.
//
// Without huge pages and devices, with a cache of 256 objects for each thread: what a program takes that has one size.

#include "../works.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <rte_version.h>

using namespace bench;

namespace {

class mempool {
public:
    struct buffer {
        std::uint8_t *memory;
    };

    explicit mempool(shape wanted)
        : pool_(rte_mempool_create("bench", 2047, static_cast<unsigned>(wanted.size), 256, 0, nullptr, nullptr, nullptr, nullptr,
                                   SOCKET_ID_ANY, 0)) {
        if (pool_ == nullptr)
            die("rte_mempool_create", rte_strerror(rte_errno));
    }
    ~mempool() { rte_mempool_free(pool_); }

    buffer get(std::size_t) {
        // A thread that DPDK did not start has a cache when it is registered.
        static thread_local const bool registered = rte_lcore_id() != LCORE_ID_ANY || rte_thread_register() == 0;
        void *object = nullptr;
        if (!registered || rte_mempool_get(pool_, &object) != 0)
            die("rte_mempool_get", "no object");
        return {static_cast<std::uint8_t *>(object)};
    }
    static std::uint8_t *data(const buffer &held) { return held.memory; }
    void put(const buffer &held) {
        static thread_local const bool registered = rte_lcore_id() != LCORE_ID_ANY || rte_thread_register() == 0;
        if (!registered)
            die("rte_thread_register", "no place for this thread");
        rte_mempool_put(pool_, held.memory);
    }
    void put_used(const buffer &held, std::size_t) { put(held); }

private:
    rte_mempool *pool_;
};

figures measured(const std::string &work, std::size_t size, double seconds) {
    if (work == "pair") return pair<mempool>(size, touch::nothing, seconds);
    if (work == "depth256") return burst<mempool>(size, 256, false, seconds);
    if (work == "burst32") return burst<mempool>(size, 32, true, seconds);
    if (work == "twothreads") return two<mempool>(size, seconds);
    if (work == "pc") return between<mempool>(size, seconds);
    die("bench", "no such work");
}

} // namespace

int main(int count, char **arguments) {
    if (count == 2 && std::strcmp(arguments[1], "--list") == 0) {
        const char *sizes = "[512, 1024, 4096, 16384, 65536]";
        std::printf("{\"peers\": [\"dpdk\"], \"works\": {\"pair\": %s, \"depth256\": %s, \"burst32\": %s, \"twothreads\": %s, \"pc\": %s}, "
                    "\"versions\": {\"dpdk\": \"%s\"}, \"settings\": {\"dpdk\": \"one size, no huge pages, 256 objects for each thread\"}}\n",
                    sizes, sizes, sizes, sizes, sizes, rte_version());
        return 0;
    }
    if (count != 4 && !(count == 6 && std::strcmp(arguments[4], "--ms") == 0)) {
        std::fprintf(stderr, "usage: bench dpdk WORK SIZE[,SIZE...] [--ms N] | bench --list\n");
        return 2;
    }
    char settings[][24] = {"bench", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m512", "--log-level=4"};
    std::vector<char *> list;
    for (auto &one : settings)
        list.push_back(one);
    if (rte_eal_init(static_cast<int>(list.size()), list.data()) < 0)
        die("rte_eal_init", rte_strerror(rte_errno));
    const double seconds = count == 6 ? std::atof(arguments[5]) / 1000 : 0.03;
    for (char *text = std::strtok(arguments[3], ","); text != nullptr; text = std::strtok(nullptr, ",")) {
        const std::size_t size = std::strtoull(text, nullptr, 10);
        measured(arguments[2], size, seconds).print(arguments[1], arguments[2], size);
    }
}
