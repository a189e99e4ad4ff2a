// What the parts of the emulation share: its settings, its time, the thread that runs now, and arrays that are watched.
#pragma once

#include <csetjmp>
#include <cstdint>
#include <string>

namespace emulated {

constexpr int kLanes = 32;
constexpr int kMostThreads = 1024;      // of a block
constexpr int kStack = 128 * 1024;      // bytes of a thread's stack
constexpr int kShared = 64 * 1024;      // numbers of 4 bytes that shared memory has room for

struct Settings {
    int processors = 2, shared = 227 * 1024;
    int order = 0;      // of threads between two barriers, and of blocks: 0 forwards, 1 backwards, 2 shuffled
    uint64_t seed = 1;  // of the shuffle
};
extern Settings settings;
extern int resident_warps;  // of a multiprocessor, in the last launch that asked for shared memory
extern int queries;         // of the device and of kernels' limits, so far

// Time is the number of barriers that were passed so far. What happened before a thread's last barrier is ordered before
// what it does now, for the threads that took part in that barrier. Shuffles meet, but order nothing in memory.
extern uint64_t now, launch_start, block_start;

struct Thread {
    enum State { kReady, kAtShuffle, kAtWarp, kAtBlock, kEnded } state = kEnded;
    int index = 0;                              // in its block
    uint64_t since_warp = 0, since_block = 0;   // times of the last barriers
    const char* file = nullptr;                 // where it waits
    int line = 0;
    char* stack = nullptr;
    jmp_buf context;

    int warp() const { return index / kLanes; }
    int lane() const { return index % kLanes; }
    bool owns(const char* at) const { return at >= stack && at < stack + kStack; }
};
extern Thread* running;  // null on the host
extern bool watching;    // whether accesses are a kernel's own: the emulation shares inline functions with the kernels
extern uint64_t block_number;  // of the running block, counted over all launches

[[noreturn]] void fault(const std::string& what);  // ends the launch; called on a thread

void watch(const char* name, const void* begin, int64_t bytes, bool writable);  // an array that kernels may reach
void watch_nothing();
void watch_parameters(const void* begin, size_t bytes);
void start_shared(int64_t bytes);                // a block begins: shared memory is poisoned
void access(const void* address, int64_t bytes, bool write, bool atomic);

}  // namespace emulated
