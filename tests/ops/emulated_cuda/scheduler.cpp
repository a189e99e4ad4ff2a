// Threads of a block as fibers on one thread of the processor: each runs until it waits at a barrier.
#include <ucontext.h>

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "cuda_runtime.h"
#include "machine.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

Settings settings;
int resident_warps, queries;
uint64_t now = 1, launch_start, block_start, block_number;
Thread* running;
bool watching;

namespace {

Thread threads[kMostThreads];
std::unique_ptr<char[]> stacks[kMostThreads];
jmp_buf scheduler;
void (*body)(const void*);           // of the kernel
const void* parameters;              // what it is called with
std::string broken;                  // the first fault
std::map<std::pair<int, const void*>, int> allowed;  // device and kernel -> bytes of shared memory that were asked for
float exchanged[2][kMostThreads];    // values on their way from lane to lane
int turn[kMostThreads];              // which of the two a thread used last: others may still read that one
std::mt19937_64 shuffle;

void run_forever() {
    for (;;) {
        body(parameters);
        running->state = Thread::kEnded;
        if (!_setjmp(running->context)) _longjmp(scheduler, 1);
    }
}

void make_fiber(Thread& thread) {
    static ucontext_t made, back;
    static Thread* starting;
    const int i = int(&thread - threads);
    if (!stacks[i]) stacks[i].reset(new char[kStack]);
    thread.stack = stacks[i].get();
    getcontext(&made);
    made.uc_stack.ss_sp = thread.stack;
    made.uc_stack.ss_size = kStack;
    made.uc_link = nullptr;
    starting = &thread;
    makecontext(&made, +[] {
        Thread& self = *starting;
        if (!_setjmp(self.context)) swapcontext(&made, &back);
        run_forever();
    }, 0);
    swapcontext(&back, &made);
}

void resume(Thread& thread) {
    running = &thread;
    threadIdx.x = unsigned(thread.index);
    watching = true;
    if (!_setjmp(scheduler)) _longjmp(thread.context, 1);
    watching = false;
    running = nullptr;
}

void wait(Thread::State state, const char* file, int line) {
    Thread& self = *running;
    self.state = state;
    self.file = file;
    self.line = line;
    if (!_setjmp(self.context)) _longjmp(scheduler, 1);
}

void at_warp(Thread::State state, unsigned mask, const char* file, int line) {
    watching = false;
    if (mask != 0xffffffffu) fault("a collective whose mask is not the whole warp, at line " + std::to_string(line));
    wait(state, file, line);
}

float exchange(unsigned mask, float x, int lane, const char* file, int line) {
    Thread& self = *running;
    float* values = exchanged[turn[self.index] ^= 1];
    values[self.index] = x;
    at_warp(Thread::kAtShuffle, mask, file, line);
    return values[self.warp() * kLanes + lane];
}

std::string whereabouts(const Thread& t) {
    const std::string who = "lane " + std::to_string(t.lane()) + " of warp " + std::to_string(t.warp());
    if (t.state == Thread::kEnded) return who + " has ended";
    const std::string file(t.file);
    return who + " waits at " + file.substr(file.rfind('/') + 1) + ":" + std::to_string(t.line);
}

// Lets threads [first, first + count) go on when all wait at one and the same place.
void release(int first, int count, bool block) {
    const Thread::State state = threads[first].state;
    if (block ? state != Thread::kAtBlock : state != Thread::kAtShuffle && state != Thread::kAtWarp) return;
    for (int i = first; i < first + count; ++i)
        if (threads[i].state != state) return;
    for (int i = first + 1; i < first + count; ++i)
        if (threads[i].line != threads[first].line || std::string(threads[i].file) != threads[first].file)
            broken = "threads meet at different barriers: " + whereabouts(threads[first]) + ", " + whereabouts(threads[i]);
    ++now;
    for (int i = first; i < first + count; ++i) {
        threads[i].state = Thread::kReady;
        if (state != Thread::kAtShuffle) threads[i].since_warp = now;
        if (block) threads[i].since_block = now;
    }
}

std::vector<int> ordered(int count) {
    std::vector<int> list(count);
    std::iota(list.begin(), list.end(), 0);
    if (settings.order == 1) std::reverse(list.begin(), list.end());
    if (settings.order == 2) std::shuffle(list.begin(), list.end(), shuffle);
    return list;
}

void run_block(int count) {
    ++block_number;
    block_start = ++now;
    for (int i = 0; i < count; ++i) {
        if (!threads[i].stack) make_fiber(threads[i]);
        threads[i].index = i;
        threads[i].state = Thread::kReady;
        threads[i].since_warp = threads[i].since_block = now;
        turn[i] = 0;
    }
    for (bool moved = true; moved;) {
        moved = false;
        for (int i : ordered(count)) {
            if (threads[i].state != Thread::kReady) continue;
            moved = true;
            resume(threads[i]);
            if (broken.empty()) release(i / kLanes * kLanes, std::min(kLanes, count - i / kLanes * kLanes), false);
            if (broken.empty()) release(0, count, true);
            if (!broken.empty()) return;
        }
    }
    for (int i = 0; i < count; ++i)
        if (threads[i].state != Thread::kEnded) {
            const auto other = std::find_if(threads, threads + count, [&](const Thread& t) {
                return t.state != threads[i].state && (t.warp() == threads[i].warp() || threads[i].state == Thread::kAtBlock);
            });
            broken = "threads wait for ever: " + whereabouts(threads[i]) + ", " + whereabouts(*other);
            return;
        }
}

}  // namespace

void fault(const std::string& what) {
    watching = false;
    broken = what + ", by lane " + std::to_string(running->lane()) + " of warp " + std::to_string(running->warp()) +
             " of block " + std::to_string(blockIdx.x);
    _longjmp(scheduler, 1);
}

int device() { return settings.processors << 10 | settings.shared >> 10; }  // one for each kind that is asked for

cudaError_t allow_shared(const void* kernel, int bytes) {
    ++queries;
    if (bytes > settings.shared) return cudaErrorInvalidValue;
    allowed[{device(), kernel}] = bytes;
    return cudaSuccess;
}

int shared_limit(const void* kernel) {  // 48 KB, or what was asked for
    const int least = std::min(48 * 1024, settings.shared);
    const auto found = allowed.find({device(), kernel});
    return found == allowed.end() ? least : std::max(found->second, least);
}

cudaError_t occupancy(int* blocks, const void* kernel, int threads, size_t bytes) {
    ++queries;
    const bool fits = threads >= 1 && threads <= kMostThreads && int(bytes) <= shared_limit(kernel);
    *blocks = fits ? std::min((settings.shared + 1024) / int(bytes + 1024), 2048 / threads) : 0;  // a block takes 1 KB itself
    return cudaSuccess;
}

cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config, void (*run)(const void*), const void* call,
                   size_t bytes) {
    const int count = int(config.blockDim.x), shared = int(config.dynamicSmemBytes);
    if (config.gridDim.x < 1 || count < 1 || count > kMostThreads || shared > shared_limit(kernel) || shared > kShared * 4)
        return cudaErrorInvalidValue;
    if (shared) occupancy(&resident_warps, kernel, count, config.dynamicSmemBytes);
    if (shared) resident_warps *= count / kLanes, --queries;
    broken.clear();
    body = run;
    parameters = call;
    blockDim = config.blockDim;
    gridDim = config.gridDim;
    shuffle.seed(settings.seed);
    launch_start = ++now;
    watch_parameters(call, bytes);
    for (int block : ordered(int(gridDim.x))) {
        blockIdx.x = unsigned(block);
        start_shared(shared);
        run_block(count);
        if (!broken.empty()) {
            for (Thread& t : threads) t.stack = nullptr;  // fibers that stand in the middle of the kernel are made again
            return cudaErrorLaunchFailure;
        }
    }
    return cudaSuccess;
}

}  // namespace emulated

using namespace emulated;

void __syncthreads(const char* file, int line) { wait(Thread::kAtBlock, file, line); }
void __syncwarp(unsigned mask, const char* file, int line) { at_warp(Thread::kAtWarp, mask, file, line); }
float __shfl_sync(unsigned mask, float x, int lane, const char* file, int line) {
    return exchange(mask, x, lane % kLanes, file, line);
}
float __shfl_up_sync(unsigned mask, float x, unsigned by, const char* file, int line) {
    const int lane = running->lane();
    return exchange(mask, x, lane >= int(by) ? lane - int(by) : lane, file, line);
}
float __shfl_xor_sync(unsigned mask, float x, int with, const char* file, int line) {
    return exchange(mask, x, running->lane() ^ with, file, line);
}
unsigned __ballot_sync(unsigned mask, int x, const char* file, int line) {
    exchange(mask, x ? 1.0f : 0.0f, 0, file, line);
    Thread& self = *running;
    const float* values = exchanged[turn[self.index]] + self.warp() * kLanes;
    unsigned lanes = 0;
    for (int lane = 0; lane < kLanes; ++lane) lanes |= unsigned(values[lane] != 0) << lane;
    return lanes;
}
float4 atomicAdd(float4* address, float4 x) {  // four atomic additions, not one of them all
    auto place = reinterpret_cast<uintptr_t>(address);
    asm volatile("" : "+r"(place));  // or the compiler takes it for aligned
    if (place % 16) {
        watching = false;
        fault("an atomic addition of four numbers that is not aligned");
    }
    float* at = &address->x;
    return {atomicAdd(at, x.x), atomicAdd(at + 1, x.y), atomicAdd(at + 2, x.z), atomicAdd(at + 3, x.w)};
}
float atomicAdd(float* address, float x) {
    access(address, sizeof(float), true, true);
    const float before = *address;
    *address = before + x;
    return before;
}

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : error == cudaErrorInvalidValue ? "invalid argument" : broken.c_str();
}
cudaError_t cudaGetDevice(int* device) {
    *device = emulated::device();
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    ++queries;
    *value = attribute == cudaDevAttrMultiProcessorCount ? settings.processors : settings.shared;
    return cudaSuccess;
}
