// Measures one operation in short repetitions, and what it cost beside time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace bench {

using clock = std::chrono::steady_clock;

inline double since(clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
}

// The value has to be in a register or in memory here, and may have been changed.
template <typename T> inline void keep(T &value) { asm volatile("" : "+r"(value) : : "memory"); }

inline std::uint64_t status(const char *field) {
    std::FILE *file = std::fopen("/proc/self/status", "r");
    if (file == nullptr)
        return 0;
    char line[256];
    unsigned long long kib = 0;
    const std::size_t length = std::strlen(field);
    while (std::fgets(line, sizeof line, file) != nullptr)
        if (std::strncmp(line, field, length) == 0 && line[length] == ':')
            kib = std::strtoull(line + length + 1, nullptr, 10);
    std::fclose(file);
    return kib;
}

// So that each size has its own peak of resident memory. Refused in some containers.
inline void forget_peak() {
    if (std::FILE *file = std::fopen("/proc/self/clear_refs", "w")) {
        std::fputs("5", file);
        std::fclose(file);
    }
}

struct figures {
    double ns = 0, cpu_ns = 0, faults = 0;
    std::uint64_t ops = 0, peak = 0, settled = 0;
    // Further members as JSON, each after a comma.
    std::string more = {};

    void print(const char *peer, const char *work, std::size_t size) const {
        std::printf("{\"peer\": \"%s\", \"work\": \"%s\", \"size\": %zu, \"ns\": %.4f, \"cpu_ns\": %.4f, \"faults\": %.6f, "
                    "\"ops\": %llu, \"peak_rss_kib\": %llu, \"settled_rss_kib\": %llu%s}\n",
                    peer, work, size, ns, cpu_ns, faults, static_cast<unsigned long long>(ops),
                    static_cast<unsigned long long>(peak), static_cast<unsigned long long>(settled), more.c_str());
        std::fflush(stdout);
    }
};

class usage {
public:
    usage() { getrusage(RUSAGE_SELF, &begun_); }

    void into(figures &found, std::uint64_t ops) const {
        rusage now;
        getrusage(RUSAGE_SELF, &now);
        found.ops = ops;
        found.cpu_ns = (seconds(now) - seconds(begun_)) * 1e9 / static_cast<double>(ops);
        found.faults = static_cast<double>(now.ru_minflt - begun_.ru_minflt) / static_cast<double>(ops);
        found.peak = status("VmHWM");
        found.settled = status("VmRSS");
    }

private:
    static double seconds(const rusage &used) {
        return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    }

    rusage begun_;
};

inline double median(std::vector<double> values) {
    if (values.empty())
        return 0;
    std::sort(values.begin(), values.end());
    return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

// Measures `run`, which does so many turns of `per_turn` operations, as the Rust program does.
template <typename Run> figures measure(double seconds, std::uint64_t per_turn, Run run) {
    forget_peak();
    const auto warm = clock::now();
    std::uint64_t turns = 1;
    run(1);
    double each = 0;
    for (;; turns *= 2) {
        const auto start = clock::now();
        run(turns);
        const double spent = since(start);
        each = spent / static_cast<double>(turns);
        if (spent >= 1e-4 || since(warm) > seconds / 2)
            break;
    }
    const double repetition = std::min(seconds / 16, 1e-3);
    const auto fitting = [&] { return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(repetition / each)); };
    turns = fitting();
    while (since(warm) < seconds / 3) {
        const auto start = clock::now();
        run(turns);
        each = since(start) / static_cast<double>(turns);
    }
    turns = fitting();

    const usage before;
    const auto begun = clock::now();
    std::vector<double> spent;
    std::uint64_t ops = 0;
    for (;;) {
        const auto start = clock::now();
        run(turns);
        spent.push_back(since(start) * 1e9 / static_cast<double>(turns * per_turn));
        ops += turns * per_turn;
        const double all = since(begun);
        if (all >= seconds && (spent.size() >= 3 || all > seconds * 4))
            break;
    }
    figures found;
    before.into(found, ops);
    found.ns = median(spent);
    return found;
}

} // namespace bench
