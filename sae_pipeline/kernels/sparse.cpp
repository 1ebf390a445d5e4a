// Sparse products and the fused training step for SAEs on the CPU. cpu.py calls the plain C interface through ctypes.
// The build needs neither torch's headers nor a build system: g++ -O3 -fopenmp -shared.
//
// sparse_body.h is compiled for three instruction sets, and its functions carry the suffix _avx512, _avx2 or _plain.
// Python picks the suffix once, from cpu_features(). The encoders that need AMX or VNNI have files of their own.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <vector>

#include <omp.h>

struct bf16 {
  uint16_t bits;
};

// How many features ahead rows are requested: enough to hide the latency of memory, few enough to stay in L1.
constexpr int64_t AHEAD = 3;

// The parameters and the optimiser's state of all features; the twin of reference.Features.
struct Features {
  float *W_enc, *W_dec, *b_enc;  // [d_sae, d], [d_sae, d], [d_sae]
  float *v_enc, *v_dec, *v_b;    // [d_sae] second moments
  float *m_enc, *m_dec, *m_b;    // like the rows: first moments, read where beta1 > 0
  int32_t* n_steps;              // [d_sae] steps in which the feature had an entry
  bf16* tiles;                   // W_enc for the AMX encoder, or null
};

struct Adam {  // the twin of reference.AdamSettings
  float lr, l1, beta1, beta2, eps, weight_decay;
};

struct Rule {  // arrays over entries, or null; the twin of reference.Rule
  const float *gain, *extra;
  float* slope;
};

// Memory of the calling thread for n numbers, kept between calls: touching fresh pages costs more than the work.
static float* scratch(size_t n) {
  static thread_local std::unique_ptr<float[]> memory;
  static thread_local size_t size = 0;
  if (n > size) memory.reset(new float[size = n + n / 4]);
  return memory.get();
}

// The active entries that one thread of an encoder has found, by feature.
struct ThreadEntries {
  std::vector<int32_t> toks;
  std::vector<float> vals;
};

// Joins the entries of all threads, one thread after the other, in toks and vals. Nothing is written where there are
// more than `capacity` entries, or where more than `worth` had to be computed, so that a dense product is faster.
struct Gathering {
  int32_t* toks;
  float* vals;
  int64_t capacity, worth = INT64_MAX;
  std::vector<int64_t> start = std::vector<int64_t>(size_t(omp_get_max_threads()) + 1, 0), computed = start;
  int64_t total = 0;  // number of entries; -1 where nothing is written

  // Every thread of a parallel region calls it with the entries that it has found.
  void take(const ThreadEntries& found, int64_t computed_here = 0) {
    const int me = omp_get_thread_num(), all = omp_get_num_threads();
    computed[me] = computed_here;
    start[me + 1] = int64_t(found.toks.size());
#pragma omp barrier
#pragma omp single
    {
      for (int t = 0; t < all; ++t) start[t + 1] += start[t];
      const bool many = std::accumulate(computed.begin(), computed.begin() + all, int64_t(0)) > worth;
      total = many || start[all] > capacity ? -1 : start[all];
    }
    if (total < 0) return;
    std::copy(found.toks.begin(), found.toks.end(), toks + start[me]);
    std::copy(found.vals.begin(), found.vals.end(), vals + start[me]);
  }

  // After the parallel region: turns the counts of the features in ptr[1:] into offsets. Returns `total`.
  int64_t finish(int64_t* ptr, int64_t d_sae) const {
    ptr[0] = 0;
    if (total >= 0) std::partial_sum(ptr + 1, ptr + 1 + d_sae, ptr + 1);
    return total;
  }
};

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ISA(name) name##_avx512
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace avx512 {
#include "sparse_body.h"
#include "cofiring.h"
}
#pragma GCC pop_options
#undef ISA

#define ISA(name) name##_vnni
#define PRIMITIVES "int8_vnni.h"
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512vnni,prefer-vector-width=512")
namespace vnni {
#include "int8_encoder.h"
}
#pragma GCC pop_options
#undef PRIMITIVES
#undef ISA

#define ISA(name) name##_avx2
#define PRIMITIVES "int8_avx2.h"
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace avx2 {
#include "sparse_body.h"
#include "cofiring.h"
#include "int8_encoder.h"
}
#pragma GCC pop_options
#undef PRIMITIVES
#undef ISA
#endif

#define ISA(name) name##_plain
namespace plain {
#include "sparse_body.h"
#include "cofiring.h"
}
#undef ISA

enum { HAS_AVX2 = 1, HAS_AVX512 = 2, HAS_AMX = 4, HAS_VNNI = 8 };

#if defined(__x86_64__)
extern "C" int cpu_features() {
  __builtin_cpu_init();
  int has = 0;
  if (__builtin_cpu_supports("x86-64-v3")) has |= HAS_AVX2;
  if (__builtin_cpu_supports("x86-64-v4")) has |= HAS_AVX512;
  if ((has & HAS_AVX512) && __builtin_cpu_supports("avx512vnni")) has |= HAS_VNNI;
  // Linux gives a process the tile registers only on request: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA).
  if ((has & HAS_AVX512) && __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, 0x1023, 18) == 0)
    has |= HAS_AMX;
  return has;
}
#include "amx_encoder.h"
#else
extern "C" int cpu_features() { return 0; }
#endif
