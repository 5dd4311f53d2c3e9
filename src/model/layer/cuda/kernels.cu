// What a language model does on a GPU beside its large matrix products, and those for few rows.
//
// Each kernel is there for f32, f16 and bf16, computes in f32, and takes one structure of eight-byte
// words, which launch.rs fills in the same order. The tests compile this file for the host
// (tests/all/support/emulation.h) and compare each kernel with the processor's layers: so nothing is
// used here that the host cannot stand in for.

typedef long long whole;

// Numbers that a thread loads at once; sixteen bytes of them.
template <class T, int N> struct alignas(N * sizeof(T)) Chunk { T of[N]; };
template <class T> using Pack = Chunk<T, 16 / sizeof(T)>;

#ifdef __CUDACC__

struct half { unsigned short bits; };
struct bfloat { unsigned short bits; };

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ inline float widen(bfloat x) { return __uint_as_float((unsigned)x.bits << 16); }

__device__ inline void narrow(float x, float& y) { y = x; }
__device__ inline void narrow(float x, half& y) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x)); }
__device__ inline void narrow(float x, bfloat& y) {
  unsigned bits = __float_as_uint(x);
  bool number = (bits & 0x7fffffff) <= 0x7f800000;
  y.bits = number ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fff;
}

// What many blocks read, and nobody writes meanwhile.
template <class T> __device__ inline Pack<T> load(const T* at) {
  union { uint4 words; Pack<T> pack; } all;
  all.words = __ldg((const uint4*)at);
  return all.pack;
}
// Starts a copy to the thread's own place in shared memory, where the GPU can (from sm_80 on): so
// as much is under way as the kernel says, however the compiler orders its loads.
template <class Numbers> __device__ inline void fetch(Numbers* to, const Numbers* from) {
#if __CUDA_ARCH__ >= 800
  if constexpr (sizeof(Numbers) == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;"
                 :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(__cvta_generic_to_global(from)) : "memory");
    return;
  }
#endif
  *to = *from;
}
// Ends a group of copies.
__device__ inline void fetched() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until all but the last LATER groups of this thread are there.
template <int LATER> __device__ inline void await() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" :: "n"(LATER) : "memory");
#endif
}
// The value of the thread whose number differs in these bits.
__device__ inline float across(float x, int bits) { return __shfl_xor_sync(0xffffffff, x, bits); }

#define SHARED(name) extern __shared__ float name[]
#define KERNEL(name, Words, body) extern "C" __global__ void __launch_bounds__(512) name(const Words words) { body(words); }

#endif

constexpr int WARP = 32;
constexpr float LOWEST = -3.0e38f;

// The sum over neighbouring threads, a power of two of them, for each of these; and the largest.
__device__ inline float sum_of(float x, int threads) {
  for (int bits = threads / 2; bits > 0; bits /= 2) x += across(x, bits);
  return x;
}

__device__ inline float most_of(float x, int threads) {
  for (int bits = threads / 2; bits > 0; bits /= 2) x = fmaxf(x, across(x, bits));
  return x;
}

// The sum over the block, for all of it; `room` has a number a warp.
__device__ inline float block_sum(float x, float* room) {
  x = sum_of(x, WARP);
  if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = x;
  __syncthreads();
  float total = 0;
  for (int warp = 0; warp < blockDim.x / WARP; warp++) total += room[warp];
  __syncthreads();
  return total;
}

__device__ inline float block_most(float x, float* room) {
  x = most_of(x, WARP);
  if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = x;
  __syncthreads();
  float most = LOWEST;
  for (int warp = 0; warp < blockDim.x / WARP; warp++) most = fmaxf(most, room[warp]);
  __syncthreads();
  return most;
}

__device__ inline float silu(float x) { return x / (1 + expf(-x)); }

// ---- Norms of rows: (x - mean) / root of the mean square * weight + bias, a block a row.

struct Norm {
  const void *x, *added, *weight, *bias;  // `added` and `bias` may be absent
  const whole* places;                    // which rows; absent: all
  void *sum, *out;                        // x + added, where something is added
  whole width, centre;
  double eps;
};

// A thread holds the first N numbers that it meets, and reads others again.
template <class T, int N> __device__ void norm(const Norm& p) {
  SHARED(room);
  typedef Chunk<T, N> Numbers;
  const int width = p.width, chunks = width / N;
  const whole row = p.places ? p.places[blockIdx.x] : blockIdx.x;
  const Numbers* x = (const Numbers*)((const T*)p.x + row * width);
  const Numbers* added = (const Numbers*)((const T*)p.added + row * width);
  Numbers* sum = (Numbers*)((T*)p.sum + row * width);
  const Numbers* weight = (const Numbers*)p.weight;
  const Numbers* bias = (const Numbers*)p.bias;
  Numbers* out = (Numbers*)((T*)p.out + (whole)blockIdx.x * width);
  Numbers own = {};
  float total = 0, squares = 0;
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
    Numbers v = x[c];
    if (p.added) {
      const Numbers d = added[c];
#pragma unroll
      for (int i = 0; i < N; i++) narrow(widen(v.of[i]) + widen(d.of[i]), v.of[i]);
      sum[c] = v;
    }
    if (c == threadIdx.x) own = v;
#pragma unroll
    for (int i = 0; i < N; i++) {
      const float y = widen(v.of[i]);
      total += y;
      squares += y * y;
    }
  }
  const Numbers* rest = p.added ? sum : x;
  float mean = 0;
  if (p.centre) {
    mean = block_sum(total, room) / width;
    squares = 0;
    for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
      const Numbers v = c == threadIdx.x ? own : rest[c];
#pragma unroll
      for (int i = 0; i < N; i++) squares += (widen(v.of[i]) - mean) * (widen(v.of[i]) - mean);
    }
  }
  const float scale = rsqrtf(block_sum(squares, room) / width + (float)p.eps);
  for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
    const Numbers v = c == threadIdx.x ? own : rest[c], w = weight[c], b = bias ? bias[c] : Numbers();
    Numbers y;
#pragma unroll
    for (int i = 0; i < N; i++) {
      const float z = (widen(v.of[i]) - mean) * scale * widen(w.of[i]);
      narrow(bias ? z + widen(b.of[i]) : z, y.of[i]);
    }
    out[c] = y;
  }
}

// ---- x · Wᵀ for few rows: a warp two rows of the weight, each number of which is read once.
// With a norm before it, or the residual added after it, or silu(gate) · up of both rows.

struct Product {
  const void *x, *weight, *norm, *residual;  // the last two may be absent
  void* out;
  whole input, output;  // numbers of a row of x, and of a row of what comes out
  double eps;
};

template <class T, int ROWS, bool NORM, bool GATED> __device__ void product(const Product& p) {
  SHARED(room);
  constexpr int N = 16 / sizeof(T), STAGES = 8;
  const int lane = threadIdx.x % WARP;
  const whole warp = (whole)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  // A gate and what it gates, or two neighbours.
  const whole first = GATED ? warp : 2 * warp;
  if (first >= p.output) return;
  const whole second = GATED ? warp + p.output : first + 1;
  const bool both = GATED || second < p.output;
  const Pack<T>* weight = (const Pack<T>*)((const T*)p.weight + first * p.input);
  const Pack<T>* other = (const Pack<T>*)((const T*)p.weight + (both ? second : first) * p.input);
  const int packs = p.input / N, rounds = (packs + WARP - 1) / WARP;
  Pack<T>* slots = (Pack<T>*)room + threadIdx.x;  // [STAGES, 2, threads]
  auto slot = [&](int round, int which) { return slots + (round % STAGES * 2 + which) * blockDim.x; };
  auto ask = [&](int round) {
    const int at = round * WARP + lane;
    if (at < packs) {
      fetch(slot(round, 0), weight + at);
      fetch(slot(round, 1), other + at);
    }
    fetched();
  };
  for (int round = 0; round < STAGES; round++) ask(round);

  float sums[2][ROWS] = {}, squares[ROWS] = {};
  for (int round = 0; round < rounds; round++) {
    const int at = round * WARP + lane;
    const bool inside = at < packs;
    Pack<T> x[ROWS], gain, w[2];
    if (inside) {
#pragma unroll
      for (int row = 0; row < ROWS; row++) x[row] = load((const T*)p.x + row * p.input + at * N);
      if (NORM) gain = load((const T*)p.norm + at * N);
    }
    await<STAGES - 1>();
    if (inside) {
      w[0] = *slot(round, 0);
      w[1] = *slot(round, 1);
    }
    ask(round + STAGES);
    if (!inside) continue;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        float y = widen(x[row].of[i]);
        if (NORM) {
          squares[row] += y * y;
          y *= widen(gain.of[i]);
        }
        sums[0][row] += y * widen(w[0].of[i]);
        sums[1][row] += y * widen(w[1].of[i]);
      }
    }
  }

#pragma unroll
  for (int row = 0; row < ROWS; row++) {
    float a = sum_of(sums[0][row], WARP), b = sum_of(sums[1][row], WARP);
    if (NORM) {
      const float scale = rsqrtf(sum_of(squares[row], WARP) / p.input + (float)p.eps);
      a *= scale;
      b *= scale;
    }
    if (lane != 0) continue;
    T* out = (T*)p.out + row * p.output;
    if (GATED) {
      narrow(silu(a) * b, out[first]);
      continue;
    }
    if (p.residual) {
      const T* residual = (const T*)p.residual + row * p.output;
      a += widen(residual[first]);
      if (both) b += widen(residual[second]);
    }
    narrow(a, out[first]);
    if (both) narrow(b, out[second]);
  }
}

// ---- silu(gate) · up of rows that hold both, one after the other.

struct Gated {
  const void* x;
  void* out;
  whole wide;
};

template <class T> __device__ void gated(const Gated& p) {
  const whole i = (whole)blockIdx.y * blockDim.x + threadIdx.x, row = blockIdx.x;
  if (i >= p.wide) return;
  const T* gate = (const T*)p.x + row * 2 * p.wide;
  narrow(silu(widen(gate[i])) * widen(gate[p.wide + i]), ((T*)p.out)[row * p.wide + i]);
}

// ---- Attention over caches. A row of `joined` holds its queries, keys and values, head by head.

// Where a row stands: three words a row.
struct Place {
  whole cache;     // the address of its sequence's cache [layers, keys and values, heads, capacity, width]
  whole capacity;  // positions that the cache has room for
  whole position;  // of the row in its sequence
};

struct Attention {
  const void* joined;
  const Place* places;
  const float *cosines, *sines;  // [positions, width / 2]
  void* out;
  whole layer, heads, kv_heads, width;
  whole lanes;  // threads that share a key are two to the power of this, at most a warp
  double scale;
};

// The keys (0) or values (1) of a head in the cache.
template <class T> __device__ inline T* kept(const Attention& p, const Place& place, int which, int head) {
  return (T*)place.cache + ((p.layer * 2 + which) * p.kv_heads + head) * place.capacity * p.width;
}

// Turns the pair `i` of a head by the angle of its position.
template <class T>
__device__ inline void turn(const Attention& p, whole position, const T* head, int i, float& real, float& imaginary) {
  const int half_width = p.width / 2;
  const float cosine = p.cosines[position * half_width + i], sine = p.sines[position * half_width + i];
  const float a = widen(head[i]), b = widen(head[half_width + i]);
  real = a * cosine - b * sine;
  imaginary = b * cosine + a * sine;
}

// Writes the keys and values of all rows into their caches: a block a head and row.
template <class T> __device__ void append(const Attention& p) {
  const Place place = p.places[blockIdx.x];
  const int width = p.width, head = blockIdx.y;
  const T* key = (const T*)p.joined + (blockIdx.x * (p.heads + 2 * p.kv_heads) + p.heads + head) * width;
  const T* value = key + p.kv_heads * width;
  T* keys = kept<T>(p, place, 0, head) + place.position * width;
  T* values = kept<T>(p, place, 1, head) + place.position * width;
  for (int i = threadIdx.x; i < width / 2; i += blockDim.x) {
    float real, imaginary;
    turn(p, place.position, key, i, real, imaginary);
    narrow(real, keys[i]);
    narrow(imaginary, keys[width / 2 + i]);
  }
  for (int i = threadIdx.x; i < width; i += blockDim.x) values[i] = value[i];
}

// What a head of a row takes from the cache: a block a head and row. Groups of threads go through
// the keys side by side, KEYS at a time, each with a softmax of its own, which are brought together
// at the end. A thread holds PACKS times N numbers of a head. With ALONE the row is its sequence's
// only one: its key and value are taken from `joined` and written into the cache here.
template <class T, int N, int PACKS, bool ALONE> __device__ void attend(const Attention& p) {
  SHARED(room);
  typedef Chunk<T, N> Numbers;
  constexpr int KEYS = PACKS == 1 ? 2 : 1, STAGES = 2;
  const Place place = p.places[blockIdx.x];
  const int width = p.width, head = blockIdx.y, shared = p.heads / p.kv_heads, kv_head = head / shared;
  const int lanes = 1 << p.lanes, groups = blockDim.x >> p.lanes;
  const int group = threadIdx.x >> p.lanes, lane = threadIdx.x & (lanes - 1);
  const whole row = blockIdx.x * (p.heads + 2 * p.kv_heads);
  const T* query = (const T*)p.joined + (row + head) * width;
  T* keys = kept<T>(p, place, 0, kv_head);
  T* values = kept<T>(p, place, 1, kv_head);
  // First 128 bytes a thread for the keys and values under way, then, at the end, for `mixed`.
  Numbers* slots = (Numbers*)room + threadIdx.x;  // [STAGES, KEYS, PACKS, 2, threads]
  float *mixed = room, *turned = room + 32 * blockDim.x, *own_key = turned + width, *own_value = own_key + width;
  float *most = own_value + width, *sums = most + groups;

  const int seen = place.position + (ALONE ? 0 : 1), step = KEYS * groups;
  auto at = [&](int pack) { return (pack * lanes + lane) * N; };
  auto slot = [&](int round, int key, int pack, int which) {
    return slots + (((round % STAGES * KEYS + key) * PACKS + pack) * 2 + which) * blockDim.x;
  };
  auto ask = [&](int round) {
    if (round * step < seen) {
#pragma unroll
      for (int j = 0; j < KEYS; j++) {
        // Behind the last key that one again, and behind the last number the first: as good as any.
        const int key = min(round * step + j * groups + group, seen - 1);
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++) {
          const whole from = (whole)key * width + (at(pack) < width ? at(pack) : 0);
          fetch(slot(round, j, pack, 0), (const Numbers*)(keys + from));
          fetch(slot(round, j, pack, 1), (const Numbers*)(values + from));
        }
      }
    }
    fetched();
  };
  for (int round = 0; round < STAGES; round++) ask(round);

  for (int i = threadIdx.x; i < width / 2; i += blockDim.x) {
    turn(p, place.position, query, i, turned[i], turned[width / 2 + i]);
  }
  if (ALONE) {
    const T* key = (const T*)p.joined + (row + p.heads + kv_head) * width;
    const T* value = key + p.kv_heads * width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      own_value[i] = widen(value[i]);
      if (head % shared == 0) values[place.position * width + i] = value[i];
    }
    for (int i = threadIdx.x; i < width / 2; i += blockDim.x) {
      T real, imaginary;  // as rounded as those that come out of the cache
      float a, b;
      turn(p, place.position, key, i, a, b);
      narrow(a, real);
      narrow(b, imaginary);
      own_key[i] = widen(real);
      own_key[width / 2 + i] = widen(imaginary);
      if (head % shared == 0) {
        keys[place.position * width + i] = real;
        keys[place.position * width + width / 2 + i] = imaginary;
      }
    }
  }
  __syncthreads();

  float q[PACKS * N], mix[PACKS * N], highest = LOWEST, sum = 0, own = 0;
#pragma unroll
  for (int i = 0; i < PACKS * N; i++) {
    const int number = at(i / N) + i % N;
    q[i] = number < width ? turned[number] * (float)p.scale : 0;
    if (ALONE) own += number < width ? q[i] * own_key[number] : 0;
    mix[i] = ALONE && group == 0 && number < width ? own_value[number] : 0;
  }
  if (ALONE) {
    own = sum_of(own, lanes);
    if (group == 0) {
      highest = own;
      sum = 1;
    }
  }
  for (int round = 0; round * step < seen; round++) {
    Numbers k[KEYS][PACKS], v[KEYS][PACKS];
    await<STAGES - 1>();
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
#pragma unroll
      for (int pack = 0; pack < PACKS; pack++) {
        k[j][pack] = *slot(round, j, pack, 0);
        v[j][pack] = *slot(round, j, pack, 1);
      }
    }
    ask(round + STAGES);
    float score[KEYS] = {}, next = highest;
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
#pragma unroll
      for (int i = 0; i < PACKS * N; i++) score[j] += q[i] * widen(k[j][i / N].of[i % N]);
    }
    for (int bits = lanes / 2; bits > 0; bits /= 2) {
#pragma unroll
      for (int j = 0; j < KEYS; j++) score[j] += across(score[j], bits);
    }
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      if (round * step + j * groups + group < seen) next = fmaxf(next, score[j]);
    }
    const float before = expf(highest - next);
    highest = next;
    sum *= before;
#pragma unroll
    for (int i = 0; i < PACKS * N; i++) mix[i] *= before;
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      const float share = round * step + j * groups + group < seen ? expf(score[j] - highest) : 0;
      sum += share;
#pragma unroll
      for (int i = 0; i < PACKS * N; i++) mix[i] += share * widen(v[j][i / N].of[i % N]);
    }
  }

  await<0>();
  __syncthreads();  // the room of keys and values is free
  if (lane == 0) {
    most[group] = highest;
    sums[group] = sum;
  }
#pragma unroll
  for (int i = 0; i < PACKS * N; i++) {
    const int number = at(i / N) + i % N;
    if (number < width) mixed[group * width + number] = mix[i];
  }
  __syncthreads();
  float top = LOWEST, all = 0;
  for (int g = 0; g < groups; g++) top = fmaxf(top, most[g]);
  for (int g = 0; g < groups; g++) all += sums[g] * expf(most[g] - top);
  T* out = (T*)p.out + (blockIdx.x * p.heads + head) * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float value = 0;
    for (int g = 0; g < groups; g++) value += mixed[g * width + i] * expf(most[g] - top);
    narrow(value / all, out[i]);
  }
}

// ---- softmax(x · scale + bias + mask) over the rows of [batch, heads, rows, columns], a warp a row.

struct Softmax {
  const void *x, *bias;  // bias [heads, rows, columns] may be absent
  const float* mask;     // [windows, rows, columns], absent where there are none
  void* out;
  whole count, heads, rows, columns, windows;
  whole first;  // row i sees the columns up to first + i; the number of columns: all
  double scale;
};

template <class T> __device__ void softmax(const Softmax& p) {
  const int lane = threadIdx.x % WARP, columns = p.columns;
  const whole row = (whole)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= p.count) return;
  const whole line = row % p.rows, image = row / (p.heads * p.rows);
  const T* x = (const T*)p.x + row * columns;
  const T* bias = p.bias ? (const T*)p.bias + row % (p.heads * p.rows) * columns : nullptr;
  const float* mask = p.mask ? p.mask + (image % p.windows * p.rows + line) * columns : nullptr;
  T* out = (T*)p.out + row * columns;
  const int seen = p.first + line + 1 < columns ? p.first + line + 1 : columns;
  auto score = [&](int i) {
    return widen(x[i]) * (float)p.scale + (bias ? widen(bias[i]) : 0) + (mask ? mask[i] : 0);
  };
  float highest = LOWEST, sum = 0;
  for (int i = lane; i < seen; i += WARP) highest = fmaxf(highest, score(i));
  highest = most_of(highest, WARP);
  for (int i = lane; i < seen; i += WARP) sum += expf(score(i) - highest);
  sum = sum_of(sum, WARP);
  for (int i = lane; i < columns; i += WARP) narrow(i < seen ? expf(score(i) - highest) / sum : 0, out[i]);
}

// ---- Logits in 32 bits, and behind each row of them the logarithm of the sum of their exponents: a
// block a row.

struct Logits {
  const void* x;
  float* out;  // [rows, width + 1]
  whole width;
};

template <class T> __device__ void logits(const Logits& p) {
  SHARED(room);
  const int width = p.width;
  const T* x = (const T*)p.x + (whole)blockIdx.x * width;
  float* out = p.out + (whole)blockIdx.x * (width + 1);
  float highest = LOWEST, sum = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    out[i] = widen(x[i]);
    highest = fmaxf(highest, widen(x[i]));
  }
  highest = block_most(highest, room);
  for (int i = threadIdx.x; i < width; i += blockDim.x) sum += expf(widen(x[i]) - highest);
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) out[width] = highest + logf(sum);
}

// ---- By name, for each type.

#define PRODUCTS(T, t, rows)                                                     \
  KERNEL(product##rows##_##t, Product, (product<T, rows, false, false>))         \
  KERNEL(normed_product##rows##_##t, Product, (product<T, rows, true, false>))   \
  KERNEL(gated_product##rows##_##t, Product, (product<T, rows, true, true>))
#define ATTENDS(T, t, size, N, PACKS)                                            \
  KERNEL(attend_##size##_##t, Attention, (attend<T, N, PACKS, false>))           \
  KERNEL(attend_alone_##size##_##t, Attention, (attend<T, N, PACKS, true>))
#define KERNELS(T, t)                                                            \
  KERNEL(norm_##t, Norm, (norm<T, 1>))                                           \
  KERNEL(norm_packed_##t, Norm, (norm<T, 16 / sizeof(T)>))                       \
  KERNEL(gated_##t, Gated, gated<T>)                                             \
  KERNEL(append_##t, Attention, append<T>)                                       \
  KERNEL(softmax_##t, Softmax, softmax<T>)                                       \
  KERNEL(logits_##t, Logits, logits<T>)                                          \
  PRODUCTS(T, t, 1)                                                              \
  PRODUCTS(T, t, 2)                                                              \
  PRODUCTS(T, t, 3)                                                              \
  PRODUCTS(T, t, 4)                                                              \
  ATTENDS(T, t, small, 1, 4)                                                     \
  ATTENDS(T, t, middle, 16 / sizeof(T), 1)                                       \
  ATTENDS(T, t, large, 16 / sizeof(T), 2)

KERNELS(float, f32)
KERNELS(half, f16)
KERNELS(bfloat, bf16)
