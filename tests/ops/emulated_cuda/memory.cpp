// Every read and write of the kernels, checked: inside an array, of something that was written, and not at once with
// another thread's. The compiler's -fsanitize=thread puts the calls of __tsan_* into the kernels; no sanitizer is linked.
#include <cmath>
#include <cstring>
#include <vector>

#include "machine.h"

namespace semhead {
alignas(16) float space[emulated::kShared];  // shared memory: `extern __shared__ float space[]` of the kernels
}

namespace emulated {
namespace {

struct Stamp {
    uint64_t time = 0, block = 0;
    int thread = 0;
    bool atomic = false;

    // Whether it is over for certain before what the running thread does now; what was before `start` is.
    bool ordered(uint64_t start) const {
        if (time < start) return true;
        if (block != block_number) return false;
        if (thread == running->index) return true;
        return time < (thread / kLanes == running->warp() ? running->since_warp : running->since_block);
    }
};

struct Word {  // what was last done with 4 bytes
    Stamp write, read, other_read;  // the last reads by two different threads
};

struct Array {
    const char *name, *begin, *end;
    bool writable;
    std::vector<Word> words;
};

std::vector<Array> arrays;
Array shared{"shared memory", nullptr, nullptr, true, {}};
const char *parameters, *parameters_end;
extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));  // this library in memory: constants
extern "C" const char _end[] __attribute__((visibility("hidden")));

std::string number(const Array& array, const char* at) {
    return std::string(array.name) + "[" + std::to_string((at - array.begin) / 4) + "]";
}
std::string who(const Stamp& s) {
    return "lane " + std::to_string(s.thread % kLanes) + " of warp " + std::to_string(s.thread / kLanes) +
           (s.block == block_number ? "" : " of another block");
}

void check(Array& array, const char* at, bool write, bool atomic) {
    if (write && !array.writable) fault("a write to " + number(array, at));
    if (array.words.empty()) return;
    Word& word = array.words[(at - array.begin) / 4];
    const uint64_t start = &array == &shared ? block_start : launch_start;
    const Stamp mine{now, block_number, running->index, atomic};
    if (&array == &shared && !write && word.write.time < start) fault("a read of " + number(array, at) + " before any write");
    if (!word.write.ordered(start) && !(atomic && word.write.atomic))
        fault((write ? "a write to " : "a read of ") + number(array, at) + " at once with a write of " + who(word.write));
    if (!write) {
        if (word.read.thread != mine.thread || word.read.block != mine.block) word.other_read = word.read;
        word.read = mine;
        return;
    }
    for (const Stamp& read : {word.read, word.other_read})
        if (!read.ordered(start)) fault("a write to " + number(array, at) + " at once with a read of " + who(read));
    word.write = mine;
}

}  // namespace

void watch(const char* name, const void* begin, int64_t bytes, bool writable) {
    const char* at = static_cast<const char*>(begin);
    if (at) arrays.push_back({name, at, at + bytes, writable, std::vector<Word>(writable ? (bytes + 3) / 4 : 0)});
}
void watch_nothing() { arrays.clear(); }
void watch_parameters(const void* begin, size_t bytes) {
    parameters = static_cast<const char*>(begin);
    parameters_end = parameters + bytes;
}

void start_shared(int64_t bytes) {
    shared.words.resize(kShared);
    shared.begin = reinterpret_cast<const char*>(semhead::space);
    shared.end = shared.begin + bytes;
    for (float& x : semhead::space) x = NAN;
}

void access(const void* address, int64_t bytes, bool write, bool atomic) {
    const char *at = static_cast<const char*>(address), *end = at + bytes;
    if (!watching || (running->owns(at) && running->owns(end - 1))) return;
    watching = false;
    const auto holds = [&](const Array& array) { return at >= array.begin && end <= array.end; };
    Array* array = holds(shared) ? &shared : nullptr;
    for (size_t i = 0; !array && i < arrays.size(); ++i)
        if (holds(arrays[i])) array = &arrays[i];
    const char *space = reinterpret_cast<const char*>(semhead::space), *space_end = space + sizeof semhead::space;
    const bool beyond = !array && at >= space && at < space_end;
    const bool constant = at >= __ehdr_start && end <= _end, parameter = at >= parameters && end <= parameters_end;
    if (beyond || !(array || constant || (parameter && !write)))
        fault(std::string(write ? "a write " : "a read ") +
              (beyond ? "beyond shared memory, " + number(shared, at) : "outside all arrays"));
    for (; array && at < end; at += 4) check(*array, at, write, atomic);
    watching = true;
}

void read_only(const void* address) {
    if (!watching) return;
    watching = false;
    for (const Array& array : arrays)
        if (array.writable && address >= array.begin && address < array.end)
            fault("a read of " + number(array, static_cast<const char*>(address)) + ", which is written, as of a constant");
    watching = true;
}

}  // namespace emulated

// The compiler's -fsanitize=alignment calls this where a type's address is no multiple of its alignment.
extern "C" void __ubsan_handle_type_mismatch_v1(void*, void* address) {
    if (!emulated::watching) return;
    emulated::watching = false;
    emulated::fault("an access that is not aligned");
}

#define SEMHEAD_HOOK(name, bytes, write) \
    extern "C" void __tsan_##name(void* at) { emulated::access(at, bytes, write, false); }
SEMHEAD_HOOK(read1, 1, false)
SEMHEAD_HOOK(read2, 2, false)
SEMHEAD_HOOK(read4, 4, false)
SEMHEAD_HOOK(read8, 8, false)
SEMHEAD_HOOK(read16, 16, false)
SEMHEAD_HOOK(write1, 1, true)
SEMHEAD_HOOK(write2, 2, true)
SEMHEAD_HOOK(write4, 4, true)
SEMHEAD_HOOK(write8, 8, true)
SEMHEAD_HOOK(write16, 16, true)
extern "C" void __tsan_read_range(void* at, long bytes) { emulated::access(at, bytes, false, false); }
extern "C" void __tsan_write_range(void* at, long bytes) { emulated::access(at, bytes, true, false); }
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit(void*) {}
extern "C" void __tsan_init() {}
