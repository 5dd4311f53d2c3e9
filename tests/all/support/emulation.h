// Lets a compiler for the host translate kernels.cu, and runs its kernels: each thread of a block is
// a fibre of its own, and goes on until it waits for its block or its warp. Found out and reported:
// threads of a warp that do not meet, and shared memory that is too small. Shared memory that is read
// before it is written, or before a copy to it was waited for, is no number.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <vector>

#define __device__
#define __global__
#define SHARED(name) float* name = emulation::shared.data()
#define KERNEL(name, Words, body) \
  extern "C" void name(const void* words) { body(*(const Words*)words); }

struct half { unsigned short bits; };
struct bfloat { unsigned short bits; };

inline float widen(float x) { return x; }
inline float widen(half x) {
  _Float16 y;
  memcpy(&y, &x, sizeof y);
  return y;
}
inline float widen(bfloat x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}
inline void narrow(float x, float& y) { y = x; }
inline void narrow(float x, half& y) {
  _Float16 z = x;
  memcpy(&y, &z, sizeof z);
}
inline void narrow(float x, bfloat& y) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  y.bits = std::isnan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

struct Index { unsigned x, y; };
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;

inline float rsqrtf(float x) { return 1 / sqrtf(x); }

template <class T, int N> struct Chunk;
template <class T> Chunk<T, 16 / sizeof(T)> load(const T* at) {
  if ((uintptr_t)at % 16) {
    fprintf(stderr, "sixteen bytes are read at %p\n", (const void*)at);
    abort();
  }
  return *(const Chunk<T, 16 / sizeof(T)>*)at;
}
using std::min;

namespace emulation {

constexpr unsigned WARP_SIZE = 32, MOST = 1024, STACK = 1 << 16, GUARD = 64;

// A copy under way.
struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Fibre {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[STACK]};
  bool over = false;
  bool for_block = false;
  unsigned blocks = 0, warps = 0;  // how often it waited for its block, for its warp
  float given[2] = {};             // what it shows its warp, now and the time before
  std::vector<Copy> open;                // copies asked for, in no group yet
  std::deque<std::vector<Copy>> groups;  // and those in groups, the oldest first
};

static thread_local std::vector<float> shared;
static thread_local std::vector<Fibre> fibres;
static thread_local ucontext_t scheduler;
static thread_local unsigned current, count;
static thread_local void (*kernel)(const void*);
static thread_local const void* words;

inline void wait() { swapcontext(&fibres[current].context, &scheduler); }

// Whether those that a fibre waits for have come as far as it has.
inline bool may_go_on(unsigned thread) {
  const Fibre& own = fibres[thread];
  if (own.over) return false;
  const unsigned first = own.for_block ? 0 : thread / WARP_SIZE * WARP_SIZE;
  const unsigned end = own.for_block ? count : std::min(first + WARP_SIZE, count);
  for (unsigned i = first; i < end; i++) {
    const Fibre& other = fibres[i];
    if (own.for_block ? !other.over && other.blocks < own.blocks : other.warps < own.warps) return false;
  }
  return true;
}

inline void body() {
  kernel(words);
  fibres[current].over = true;
  wait();
}

// Runs one block to its end; false where its threads wait for one another for ever.
inline bool run_block() {
  for (unsigned i = 0; i < count; i++) {
    Fibre& fibre = fibres[i];
    fibre.over = fibre.for_block = false;
    fibre.blocks = fibre.warps = 0;
    fibre.open.clear();
    fibre.groups.clear();
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.get();
    fibre.context.uc_stack.ss_size = STACK;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, body, 0);
  }
  for (;;) {
    bool moved = false, all_over = true;
    for (unsigned i = 0; i < count; i++) {
      all_over = all_over && fibres[i].over;
      if (!may_go_on(i)) continue;
      current = i;
      threadIdx = {i, 0};
      swapcontext(&scheduler, &fibres[i].context);
      moved = true;
    }
    if (all_over || !moved) return all_over;
  }
}

}  // namespace emulation

inline void __syncthreads() {
  emulation::Fibre& own = emulation::fibres[emulation::current];
  own.blocks++;
  own.for_block = true;
  emulation::wait();
  own.for_block = false;
}

// The value of the thread whose number differs in these bits. Two values are kept: a thread can be
// one step ahead of another of its warp, never two.
inline float across(float x, int bits) {
  using namespace emulation;
  const unsigned thread = current;
  Fibre& own = fibres[thread];
  const unsigned turn = own.warps % 2;
  own.given[turn] = x;
  own.warps++;
  wait();
  return fibres[thread ^ bits].given[turn];
}

// A copy comes when it is waited for, and no sooner: until then there is no number.
template <class Numbers> void fetch(Numbers* to, const Numbers* from) {
  const size_t bytes = sizeof(Numbers);
  if ((uintptr_t)to % bytes || (uintptr_t)from % bytes) {
    fprintf(stderr, "%zu bytes are copied from %p to %p\n", bytes, (const void*)from, (void*)to);
    abort();
  }
  memset((void*)to, 255, bytes);
  emulation::fibres[emulation::current].open.push_back({to, from, bytes});
}
inline void fetched() {
  emulation::Fibre& own = emulation::fibres[emulation::current];
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}
template <int LATER> void await() {
  emulation::Fibre& own = emulation::fibres[emulation::current];
  while (own.groups.size() > LATER) {
    for (const emulation::Copy& copy : own.groups.front()) memcpy(copy.to, copy.from, copy.bytes);
    own.groups.pop_front();
  }
}

// Runs a kernel over its grid: 0, or 1 where threads wait for ever, or 2 where shared memory was
// written past its end.
extern "C" int emulate(void (*kernel)(const void*), unsigned x, unsigned y, unsigned threads, unsigned bytes,
                       const void* words) {
  using namespace emulation;
  if (threads > MOST || threads % WARP_SIZE) return 1;
  if (fibres.size() < threads) fibres = std::vector<Fibre>(threads);
  emulation::kernel = kernel;
  emulation::words = words;
  count = threads;
  blockDim = {threads, 1};
  gridDim = {x, y};
  constexpr float UNTOUCHED = 1.2345e30f;
  for (unsigned j = 0; j < y; j++) {
    for (unsigned i = 0; i < x; i++) {
      blockIdx = {i, j};
      shared.assign(bytes / sizeof(float), std::numeric_limits<float>::quiet_NaN());
      shared.insert(shared.end(), GUARD, UNTOUCHED);
      if (!run_block()) return 1;
      for (unsigned k = 0; k < GUARD; k++) {
        if (shared[bytes / sizeof(float) + k] != UNTOUCHED) return 2;
      }
    }
  }
  return 0;
}
