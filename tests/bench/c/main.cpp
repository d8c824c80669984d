// Measures millpond and its peers in C and C++: bench PEER WORK SIZE[,SIZE...] [--ms N], bench --list.
//
// millpond is called through its shared library. Allocators are preloaded: the program starts itself anew for them.

#include "works.hpp"

#include <array>
#include <boost/version.hpp>
#include <unistd.h>

using namespace bench;

namespace {

using clearing = fitted<MILLPOND_CLEAR_ON_PUT>;
using not_clearing = fitted<MILLPOND_CLEAR_NEVER>;
using cached = fitted<MILLPOND_CLEAR_ON_PUT, true>;
using cached_not_clearing = fitted<MILLPOND_CLEAR_NEVER, true>;

// What is asked for a peer: its name, what is preloaded for it, what is said of it, and the works it is there for ("":
// all but pcqueue).
struct peer_entry {
    const char *name;
    const char *library;
    const char *setting;
    const char *works;
};

constexpr const char *touching = "ends pages full burst1 burst8 burst32 burst128 mixed64k mixed1m pc";
constexpr const char *zeroing = "ends pages full burst32 clear0 clear64 clear4k clearall";

constexpr peer_entry peers[] = {
    {"millpond", nullptr, "C interface, race-proof put; clears what millpond_put_used says was written, or all; rss, first: defaults", ""},
    {"millpond-noclear", nullptr, "MILLPOND_CLEAR_NEVER", touching},
    {"millpond-pmr", nullptr, "millpond::memory_resource; clears each block whole", ""},
    {"millpond-pmr-noclear", nullptr, "millpond::memory_resource over a pool that never clears", ""},
    {"millpond-cache", nullptr, "thread_cache_bytes for all that the work holds, and limits for it", "pair depth256 held256 twothreads"},
    {"millpond-pmr-cache-noclear", nullptr, "millpond::memory_resource over such a pool that never clears", "twothreads"},
    {"checked-list", nullptr, "floor: a shared library's thread-local list; put is a compare-and-swap of an 8-byte handle and a push", "pair"},
    {"pmr-locked-list", nullptr, "floor: a std::pmr::memory_resource that is one list of idle blocks under one std::mutex", "twothreads pc"},
    {"pmr-locked-list+spin", nullptr, "floor: the same under a lock that spins and never sleeps", "twothreads pc"},
    {"glibc", nullptr, nullptr, ""},
    {"glibc-tuned", nullptr, "glibc with MALLOC_MMAP_MAX_=0 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=17179869184", ""},
    {"calloc", nullptr, nullptr, zeroing},
    {"mimalloc", "libmimalloc.so.2.0", "preloaded", ""},
    {"jemalloc", "libjemalloc.so.2", "preloaded; in rss with its background thread", ""},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "preloaded", ""},
    {"tbbmalloc", "libtbbmalloc_proxy.so.2", "preloaded", ""},
    {"pmr-sync", nullptr, "std::pmr::synchronized_pool_resource, told to pool the largest blocks it can (4 MiB)", ""},
    {"boost-pool", nullptr, "boost::pool<> of the size measured, without a lock", ""},
    {"boost-pool+mutex", nullptr, "the same with a std::mutex, for threads", "twothreads pc idle64"},
    {"queue", nullptr, nullptr, "pcqueue"},
};

constexpr const char *works[] = {"pair",     "depth256", "held256",    "ends", "pages",   "full",   "burst1", "burst8",
                                 "burst32",  "burst128", "mixed64k",   "mixed1m", "twothreads", "pc", "pcqueue", "idle64",
                                 "clear0",   "clear64",  "clear4k",    "clearall", "first", "rss"};

std::string library_of(const peer_entry &entry) {
    const char *folder = std::getenv("BENCH_LIBS");
    return std::string(folder == nullptr ? "" : folder) + "/" + entry.library;
}

// Goes on in the environment that the peer needs; comes back only in it.
void environment_of(const peer_entry &entry, const std::string &work, char **arguments) {
    if (std::getenv("BENCH_STARTED") != nullptr)
        return;
    const std::string name = entry.name;
    setenv("BENCH_STARTED", "1", 1);
    if (name == "glibc-tuned") {
        // glibc refuses a threshold above 32 MiB, so that above it only the switch that forbids mappings helps.
        setenv("MALLOC_MMAP_MAX_", "0", 1);
        setenv("MALLOC_MMAP_THRESHOLD_", "33554432", 1);
        setenv("MALLOC_TRIM_THRESHOLD_", "17179869184", 1);
    } else if (entry.library != nullptr) {
        setenv("LD_PRELOAD", library_of(entry).c_str(), 1);
        setenv("LD_LIBRARY_PATH", std::getenv("BENCH_LIBS"), 1);
        if (name == "jemalloc" && work == "rss")
            setenv("MALLOC_CONF", "background_thread:true", 1);
    } else {
        return;
    }
    execv("/proc/self/exe", arguments);
    die(entry.name, "cannot be started anew");
}

// What one thread can do with any peer; nullptr in `skip` when it was done.
template <typename Peer> figures run(const std::string &work, std::size_t size, double seconds, const char *&skip) {
    const auto least = [&](std::size_t bytes) { return std::min(bytes, size); };
    if (work == "pair") return pair<Peer>(size, touch::nothing, seconds);
    if (work == "ends") return pair<Peer>(size, touch::ends, seconds);
    if (work == "pages") return pair<Peer>(size, touch::pages, seconds);
    if (work == "full") return pair<Peer>(size, touch::all, seconds);
    if (work == "depth256") return burst<Peer>(size, 256, false, seconds);
    if (work == "held256") return held<Peer>(size, 256, seconds);
    if (work == "burst1") return burst<Peer>(size, 1, true, seconds);
    if (work == "burst8") return burst<Peer>(size, 8, true, seconds);
    if (work == "burst32") return burst<Peer>(size, 32, true, seconds);
    if (work == "burst128") return burst<Peer>(size, 128, true, seconds);
    if (work == "clear0") return clear<Peer>(size, 0, seconds);
    if (work == "clear64") return clear<Peer>(size, least(64), seconds);
    if (work == "clear4k") return clear<Peer>(size, least(4096), seconds);
    if (work == "clearall") return clear<Peer>(size, size, seconds);
    if (work == "first") return first<Peer>(size);
    if (work == "rss") return resident<Peer>(size, seconds);
    if constexpr (Peer::is_shared) {
        if (work == "mixed64k" || work == "mixed1m") return mixed<Peer>(size, seconds);
        if (work == "twothreads") return two<Peer>(size, seconds);
        if (work == "pc") return between<Peer>(size, seconds);
        if (work == "idle64") return idle<Peer>(size, 64, seconds);
    }
    skip = work == "mixed64k" || work == "mixed1m" ? "holds one size" : "for one thread";
    return {};
}

figures measured(const std::string &peer, const std::string &work, std::size_t size, double seconds, const char *&skip) {
    if (work == "pcqueue") return queue_alone(seconds);
    // What is measured in these is how the pool behaves as it comes.
    if (peer == "millpond" && (work == "rss" || work == "first")) return run<own<untold>>(work, size, seconds, skip);
    if (peer == "millpond") return run<own<clearing>>(work, size, seconds, skip);
    if (peer == "millpond-noclear") return run<own<not_clearing>>(work, size, seconds, skip);
    if (peer == "millpond-cache") return run<own<cached>>(work, size, seconds, skip);
    if (peer == "millpond-pmr-cache-noclear") return run<pmr<own_resource<cached_not_clearing>>>(work, size, seconds, skip);
    if (peer == "checked-list") return run<checked_list>(work, size, seconds, skip);
    if (peer == "millpond-pmr") return run<pmr<own_resource<clearing>>>(work, size, seconds, skip);
    if (peer == "millpond-pmr-noclear") return run<pmr<own_resource<not_clearing>>>(work, size, seconds, skip);
    if (peer == "calloc") return run<zeroed_heap>(work, size, seconds, skip);
    if (peer == "pmr-locked-list") return run<pmr<locked_list<std::mutex>>>(work, size, seconds, skip);
    if (peer == "pmr-locked-list+spin") return run<pmr<locked_list<spin_lock>>>(work, size, seconds, skip);
    if (peer == "pmr-sync") return run<pmr<standard_pool>>(work, size, seconds, skip);
    if (peer == "boost-pool") return run<boost_pool<no_mutex>>(work, size, seconds, skip);
    if (peer == "boost-pool+mutex") return run<boost_pool<std::mutex>>(work, size, seconds, skip);
    // One and the same: this process runs in the environment that makes the difference.
    return run<heap>(work, size, seconds, skip);
}

std::vector<std::string> words(const std::string &text, char separator) {
    std::vector<std::string> found;
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find(separator, start), text.size());
        found.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return found;
}

std::string quoted(const std::string &text) { return "\"" + text + "\""; }

std::string joined(const std::vector<std::string> &parts) {
    std::string all;
    for (const auto &part : parts)
        all += (all.empty() ? "" : ", ") + part;
    return all;
}

void list() {
    const std::string every = "[512, 1024, 4096, 4097, 16384, 65536, 65537, 262144, 1048576, 4194304, 16777216, 67108864, 268435456]";
    std::vector<std::string> names, sizes, settings, only, missing, versions = {"\"boost\": \"" BOOST_LIB_VERSION "\"", "\"compiler\": \"" __VERSION__ "\""};
    std::vector<std::string> general;
    for (const std::string work : works) {
        const std::string of = work == "pcqueue" ? "[8]" : work == "mixed64k" ? "[65536]" : work == "mixed1m" ? "[1048576]" : every;
        sizes.push_back(quoted(work) + ": " + of);
        if (work != "pcqueue")
            general.push_back(quoted(work));
    }
    for (const auto &entry : peers) {
        names.push_back(quoted(entry.name));
        if (entry.setting != nullptr)
            settings.push_back(quoted(entry.name) + ": " + quoted(entry.setting));
        std::vector<std::string> mine;
        for (const auto &work : words(entry.works, ' '))
            mine.push_back(quoted(work));
        only.push_back(quoted(entry.name) + ": [" + joined(mine.empty() ? general : mine) + "]");
        if (entry.library != nullptr && access(library_of(entry).c_str(), R_OK) != 0)
            missing.push_back(quoted(entry.name) + ": " + quoted(std::string(entry.library) + " is not there"));
    }
    const char *packages = std::getenv("BENCH_PACKAGES");
    for (const auto &package : words(packages == nullptr ? "" : packages, ',')) {
        const std::size_t at = package.find('=');
        versions.push_back(quoted(package.substr(0, at)) + ": " + quoted(package.substr(at + 1)));
    }
    versions.push_back(quoted("millpond") + ": " + quoted(millpond_version()));
    std::printf("{\"peers\": [%s], \"works\": {%s}, \"only\": {%s}, \"settings\": {%s}, \"versions\": {%s}, \"missing\": {%s}}\n",
                joined(names).c_str(), joined(sizes).c_str(), joined(only).c_str(), joined(settings).c_str(), joined(versions).c_str(), joined(missing).c_str());
}

} // namespace

int main(int count, char **arguments) {
    if (count == 2 && std::strcmp(arguments[1], "--list") == 0) {
        list();
        return 0;
    }
    const bool timed = count == 6 && std::strcmp(arguments[4], "--ms") == 0;
    if (count != 4 && !timed) {
        std::fprintf(stderr, "usage: bench PEER WORK SIZE[,SIZE...] [--ms N] | bench --list\n");
        return 2;
    }
    const std::string peer = arguments[1], work = arguments[2];
    const auto entry = std::find_if(std::begin(peers), std::end(peers), [&](const peer_entry &one) { return peer == one.name; });
    const auto known = std::find_if(std::begin(works), std::end(works), [&](const char *one) { return work == one; });
    if (entry == std::end(peers) || known == std::end(works)) {
        std::fprintf(stderr, "%s %s: no such peer or work\n", arguments[1], arguments[2]);
        return 2;
    }
    environment_of(*entry, work, arguments);
    const double seconds = timed ? std::atof(arguments[5]) / 1000 : work == "rss" ? 30 : 0.03;
    for (const auto &text : words(arguments[3], ',')) {
        const std::size_t size = std::strtoull(text.c_str(), nullptr, 10);
        const char *skip = nullptr;
        const figures found = measured(peer, work, size, seconds, skip);
        if (skip == nullptr)
            found.print(arguments[1], arguments[2], size);
        else
            std::printf("{\"peer\": \"%s\", \"work\": \"%s\", \"size\": %zu, \"skip\": \"%s\"}\n", arguments[1], arguments[2], size, skip);
    }
}
