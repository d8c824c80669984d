// A program of std::pmr containers: documents of paragraphs, an index over them, a queue between threads. What differs is
// the memory resource that all of it is from.
//
//   pmr PEER WORK SIZE[,SIZE...] [--ms N]      SIZE: about how many bytes a paragraph has
//   pmr --list

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <millpond.hpp>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;
using resource = std::pmr::memory_resource;

// glibc gives nothing back with these: it maps nothing apart and never trims its heap.
const std::map<std::string, std::string> keep = {
    {"MALLOC_MMAP_MAX_", "0"}, {"MALLOC_MMAP_THRESHOLD_", "33554432"}, {"MALLOC_TRIM_THRESHOLD_", "17179869184"}};

struct figures {
    double cpu_ns, faults;

    static figures now() {
        rusage used{};
        getrusage(RUSAGE_SELF, &used);
        const auto ns = [](const timeval &time) { return time.tv_sec * 1e9 + time.tv_usec * 1e3; };
        return {ns(used.ru_utime) + ns(used.ru_stime), static_cast<double>(used.ru_minflt)};
    }
};

long resident_kib(const char *field) {
    long found = 0;
    if (std::FILE *status = std::fopen("/proc/self/status", "r")) {
        for (char line[256]; std::fgets(line, sizeof line, status) != nullptr;)
            if (std::strncmp(line, field, std::strlen(field)) == 0)
                found = std::strtol(line + std::strlen(field), nullptr, 10);
        std::fclose(status);
    }
    return found;
}

void reset_peak() {
    if (std::FILE *file = std::fopen("/proc/self/clear_refs", "w")) {
        std::fputs("5", file);
        std::fclose(file);
    }
}

// The same numbers in every run and for every peer.
struct draw {
    std::uint64_t state = 4711;

    std::uint32_t operator()(std::uint32_t below) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<std::uint32_t>((state >> 33) % below);
    }
};

struct document {
    using allocator_type = std::pmr::polymorphic_allocator<char>;

    explicit document(const allocator_type &memory) : text(memory), paragraphs(memory) {}
    document(document &&) = default;
    document(document &&other, const allocator_type &memory)
        : text(std::move(other.text), memory), paragraphs(std::move(other.paragraphs), memory) {}
    document &operator=(document &&) = default;

    std::pmr::string text;
    std::pmr::vector<std::pmr::string> paragraphs;
};

// Writes paragraphs piece by piece, as a parser does: strings and the vector around them grow.
void write(document &to, draw &next, std::size_t size, int paragraphs) {
    static const std::string source = [] {
        std::string text;
        for (draw letters{1}; text.size() < 4096;)
            text += static_cast<char>('a' + letters(26));
        return text;
    }();
    for (int number = 0; number < paragraphs; ++number) {
        std::pmr::string &paragraph = to.paragraphs.emplace_back();
        const std::size_t wanted = size / 2 + next(static_cast<std::uint32_t>(size));
        while (paragraph.size() < wanted)
            paragraph.append(source, next(3072), 64 + next(960));
    }
    for (const auto &paragraph : to.paragraphs)
        to.text += paragraph;
}

std::uint64_t digest(const document &of) {
    std::uint64_t sum = 1469598103934665603ULL;
    for (std::size_t at = 0; at < of.text.size(); at += 61)
        sum = (sum ^ static_cast<unsigned char>(of.text[at])) * 1099511628211ULL;
    return sum ^ of.paragraphs.size();
}

constexpr int documents = 64, paragraphs = 16, live = 8;

// Documents one after the other; the last few stay alive.
std::uint64_t documents_of(resource *memory, std::size_t size, std::uint64_t seed) {
    draw next{seed};
    std::pmr::vector<document> kept(memory);
    kept.reserve(live);
    std::uint64_t sum = 0;
    for (int number = 0; number < documents; ++number) {
        if (kept.size() == live)
            kept.erase(kept.begin() + next(live));
        write(kept.emplace_back(), next, size, paragraphs);
        sum += digest(kept.back());
    }
    return sum;
}

std::uint64_t one_thread(resource *memory, std::size_t size) { return documents_of(memory, size, 1); }

std::uint64_t two_threads(resource *memory, std::size_t size) {
    std::uint64_t other = 0;
    std::thread thread([&] { other = documents_of(memory, size, 2); });
    const std::uint64_t own = documents_of(memory, size, 1);
    thread.join();
    return own + other;
}

// One thread writes documents, the other reads them and lets go of them.
std::uint64_t handed_over(resource *memory, std::size_t size) {
    std::mutex lock;
    std::condition_variable changed;
    std::pmr::vector<std::optional<document>> queue(memory);
    bool ended = false;
    std::uint64_t sum = 0;
    std::thread reader([&] {
        for (;;) {
            std::pmr::vector<std::optional<document>> taken(memory);
            {
                std::unique_lock held(lock);
                changed.wait(held, [&] { return !queue.empty() || ended; });
                if (queue.empty())
                    return;
                taken.swap(queue);
            }
            changed.notify_all();
            for (const auto &one : taken)
                sum += digest(*one);
        }
    });
    draw next{3};
    for (int number = 0; number < documents; ++number) {
        document made{document::allocator_type(memory)};
        write(made, next, size, paragraphs);
        std::unique_lock held(lock);
        changed.wait(held, [&] { return queue.size() < live; });
        queue.emplace_back(std::move(made));
        changed.notify_all();
    }
    {
        const std::lock_guard held(lock);
        ended = true;
    }
    changed.notify_all();
    reader.join();
    return sum;
}

// An index of many small nodes beside the paragraphs: what millpond.hpp says to put a pool resource on top for.
std::uint64_t index_of(resource *memory, std::size_t size) {
    std::pmr::unsynchronized_pool_resource nodes(memory);
    resource *const small = &nodes;
    draw next{5};
    std::pmr::unordered_map<std::uint32_t, std::pmr::string> index(small);
    std::uint64_t sum = 0;
    for (int number = 0; number < documents * paragraphs; ++number) {
        std::pmr::string &entry = index[next(512)];
        entry.assign(size / 2 + next(static_cast<std::uint32_t>(size)), static_cast<char>('a' + next(26)));
        sum += entry.size() * static_cast<unsigned char>(entry.back());
    }
    return sum ^ index.size();
}

struct peer {
    const char *name, *text;
    std::function<std::unique_ptr<resource>()> make; // null: new and delete
};

std::unique_ptr<resource> pooled(std::uint32_t clear, std::vector<std::size_t> classes = {}) {
    millpond::options options;
    options.classes = std::move(classes);
    options.name = "pmr";
    options.raw.clear = clear;
    return std::make_unique<millpond::memory_resource>(options);
}

// Four sizes in each doubling instead of one size in each two.
std::vector<std::size_t> fine() {
    std::vector<std::size_t> classes;
    for (std::size_t doubling = 256; doubling < 16 << 20; doubling *= 2)
        for (std::size_t quarter = 4; quarter < 8; ++quarter)
            classes.push_back(doubling / 4 * quarter);
    return classes;
}

const std::vector<peer> peers = {
    {"millpond", "millpond::memory_resource with nothing but defaults", [] { return pooled(MILLPOND_CLEAR_ON_PUT); }},
    {"millpond-noclear", "the same with MILLPOND_CLEAR_NEVER", [] { return pooled(MILLPOND_CLEAR_NEVER); }},
    {"millpond-fine", "the same as millpond with four classes per doubling", [] { return pooled(MILLPOND_CLEAR_ON_PUT, fine()); }},
    {"new_delete_resource", "std::pmr::new_delete_resource(), which is the default", nullptr},
    {"new_delete_resource, glibc-tuned", "", nullptr},
    {"synchronized_pool_resource", "std::pmr::synchronized_pool_resource with nothing but defaults",
     [] { return std::make_unique<std::pmr::synchronized_pool_resource>(); }},
    {"synchronized_pool_resource, 1 MiB", "the same with largest_required_pool_block = 1 MiB",
     [] { return std::make_unique<std::pmr::synchronized_pool_resource>(std::pmr::pool_options{0, 1 << 20}); }},
};

struct work {
    std::uint64_t (*act)(resource *, std::size_t);
    int ops; // documents of one batch, or entries of the index
};

const std::map<std::string, work> works = {{"pmr-documents", {one_thread, documents}},
                                           {"pmr-twothreads", {two_threads, 2 * documents}},
                                           {"pmr-handover", {handed_over, documents}},
                                           {"pmr-index", {index_of, documents * paragraphs}}};

void list() {
    std::ostringstream names, sizes, settings;
    for (const auto &one : peers) {
        names << (names.tellp() > 0 ? "," : "") << '"' << one.name << '"';
        if (*one.text)
            settings << (settings.tellp() > 0 ? "," : "") << '"' << one.name << "\":\"" << one.text << '"';
    }
    for (const auto &one : works)
        sizes << (sizes.tellp() > 0 ? "," : "") << '"' << one.first << "\":[16384,2048,65536]";
    std::printf("{\"peers\":[%s],\"works\":{%s},\"versions\":{\"C++ library\":\"%d\",\"compiler\":\"%s\",\"millpond\":\"%s\"},\"settings\":{%s}}\n",
                names.str().c_str(), sizes.str().c_str(), _GLIBCXX_RELEASE, __VERSION__, millpond_version(), settings.str().c_str());
}

void measure(const peer &from, const std::string &name, std::size_t size, double ms) {
    const auto &[act, batch] = works.at(name);
    std::unique_ptr<resource> own = from.make ? from.make() : nullptr;
    resource *const memory = own ? own.get() : std::pmr::new_delete_resource();
    const std::uint64_t first = act(memory, size);
    act(memory, size);
    reset_peak();
    const figures before = figures::now();
    const auto begun = clock_type::now();
    std::vector<double> samples;
    const auto spent = [](clock_type::time_point since) {
        return std::chrono::duration<double, std::nano>(clock_type::now() - since).count();
    };
    while (samples.size() < 3 || spent(begun) < ms * 1e6) {
        const auto from_here = clock_type::now();
        if (act(memory, size) != first)
            throw std::runtime_error("a batch had another digest than the first one");
        samples.push_back(spent(from_here) / batch);
    }
    const figures after = figures::now();
    const long peak = resident_kib("VmHWM:");
    const double ops = static_cast<double>(batch) * static_cast<double>(samples.size());
    std::sort(samples.begin(), samples.end());
    std::printf("{\"peer\":\"%s\",\"work\":\"%s\",\"size\":%zu,\"ns\":%.0f,\"cpu_ns\":%.0f,\"faults\":%.3f,\"ops\":%.0f,"
                "\"cpu_seconds\":%.3f,\"peak_rss_kib\":%ld,\"settled_rss_kib\":%ld,\"digest\":\"%016llx\"}\n",
                from.name, name.c_str(), size, samples[samples.size() / 2], (after.cpu_ns - before.cpu_ns) / ops,
                (after.faults - before.faults) / ops, ops, (after.cpu_ns - before.cpu_ns) / 1e9, peak, resident_kib("VmRSS:"),
                static_cast<unsigned long long>(first));
    std::fflush(stdout);
}

} // namespace

int main(int count, char **words) {
    std::vector<std::string> given(words + 1, words + count);
    if (given.size() == 1 && given[0] == "--list") {
        list();
        return 0;
    }
    double ms = 1000;
    if (given.size() == 5 && given[3] == "--ms") {
        ms = std::atof(given[4].c_str());
        given.resize(3);
    }
    const auto found = std::find_if(peers.begin(), peers.end(), [&](const peer &one) { return !given.empty() && one.name == given[0]; });
    if (given.size() != 3 || found == peers.end() || works.count(given[1]) == 0) {
        std::fputs("usage: pmr PEER WORK SIZE[,SIZE...] [--ms N], or --list\n", stderr);
        return 2;
    }
    if (given[0].find("glibc-tuned") != std::string::npos) {
        bool changed = false;
        for (const auto &[name, value] : keep) {
            const char *const known = std::getenv(name.c_str());
            changed |= known == nullptr || value != known;
            setenv(name.c_str(), value.c_str(), 1);
        }
        // The C library reads these when it starts.
        if (changed)
            return execv("/proc/self/exe", words);
    }
    std::istringstream sizes(given[2]);
    for (std::string size; std::getline(sizes, size, ',');) {
        try {
            measure(*found, given[1], std::stoul(size), ms);
        } catch (const std::exception &why) {
            std::printf("{\"peer\":\"%s\",\"work\":\"%s\",\"size\":%s,\"skip\":\"failed: %s\"}\n", found->name, given[1].c_str(), size.c_str(), why.what());
        }
    }
    return 0;
}
