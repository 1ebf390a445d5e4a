// Sparse products and the fused training step for SAEs on the CPU. cpu.py calls the plain C interface through ctypes.
// The build needs neither torch's headers nor a build system: g++ or clang++ with -O3 -fopenmp -shared.
//
// sparse_body.h is compiled for three instruction sets, and its functions carry the suffix _avx512, _avx2 or _plain.
// On ARM64, _plain is NEON, which every such chip has. Python picks the suffix once, from cpu_features(). The encoders
// that need AMX, VNNI, or the ARM64 chips' products of bytes have files of their own.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <vector>
#ifdef __linux__
#include <sched.h>
#endif

#ifdef _OPENMP
extern "C" int omp_get_max_threads(), omp_get_num_threads(), omp_get_thread_num();  // Apple's clang lacks <omp.h>
#else  // one thread
static inline int omp_get_max_threads() { return 1; }
static inline int omp_get_num_threads() { return 1; }
static inline int omp_get_thread_num() { return 0; }
#endif

// COMPILE_FOR(chip) ... COMPILE_FOR_ALL: functions in between use the instructions that `chip` names.
#define PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define COMPILE_FOR(chip) PRAGMA(clang attribute push(__attribute__((target(chip))), apply_to = function))
#define COMPILE_FOR_ALL PRAGMA(clang attribute pop)
#define WITH
#define WIDE
#else
#define COMPILE_FOR(chip) PRAGMA(GCC push_options) PRAGMA(GCC target(chip))
#define COMPILE_FOR_ALL PRAGMA(GCC pop_options)
#define WITH "arch=armv8.2-a+"
#define WIDE ",prefer-vector-width=512"
#endif

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

// The active entries that one thread of an encoder has found: block by block, and by feature within a block.
struct ThreadEntries {
  struct Block {
    int64_t feature, start;  // the block's first feature, and its first entry
  };
  std::vector<int32_t> toks;
  std::vector<float> vals;
  std::vector<Block> blocks;

  void clear() { toks.clear(), vals.clear(), blocks.clear(); }
};

// Hands out blocks of features to the threads of an encoder, and joins their entries by feature in toks and vals. A
// thread whose core another program uses takes fewer blocks. Nothing is written where there are more than `capacity`
// entries, or where more than `worth` had to be computed, so that a dense product is faster.
struct Gathering {
  int64_t* ptr;  // [d_sae + 1] the encoder writes the number of a feature's entries behind its place
  int64_t d_sae;
  int32_t* toks;
  float* vals;
  int64_t capacity, worth = INT64_MAX;
  std::atomic<int64_t> taken = 0, computed = 0;
  int64_t total = 0;  // number of entries; -1 where nothing is written

  // The first block that no thread has taken yet.
  int64_t next_block() { return taken++; }

  // Every thread of a parallel region calls it with the entries that it has found.
  void take(const ThreadEntries& found, int64_t computed_here = 0) {
    computed += computed_here;
#pragma omp atomic
    total += int64_t(found.toks.size());
#pragma omp barrier
#pragma omp single
    {
      if (computed > worth || total > capacity) total = -1;
      ptr[0] = 0;
      if (total >= 0) std::partial_sum(ptr + 1, ptr + 1 + d_sae, ptr + 1);
    }
    if (total < 0) return;
    for (size_t b = 0; b < found.blocks.size(); ++b) {
      const auto [feature, start] = found.blocks[b];
      const int64_t end = b + 1 < found.blocks.size() ? found.blocks[b + 1].start : int64_t(found.toks.size());
      std::copy(found.toks.data() + start, found.toks.data() + end, toks + ptr[feature]);
      std::copy(found.vals.data() + start, found.vals.data() + end, vals + ptr[feature]);
    }
  }
};

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ISA(name) name##_avx512
#define PRIMITIVES "int8_avx512.h"
COMPILE_FOR("arch=x86-64-v4" WIDE)
namespace avx512 {
#include "sparse_body.h"
#include "cofiring.h"
#include "int8_encoder.h"
}
COMPILE_FOR_ALL
#undef PRIMITIVES
#undef ISA

#define ISA(name) name##_vnni
#define PRIMITIVES "int8_vnni.h"
COMPILE_FOR("arch=x86-64-v4,avx512vnni" WIDE)
namespace vnni {
#include "int8_encoder.h"
}
COMPILE_FOR_ALL
#undef PRIMITIVES
#undef ISA

#define ISA(name) name##_avx2
#define PRIMITIVES "int8_avx2.h"
COMPILE_FOR("arch=x86-64-v3")
namespace avx2 {
#include "sparse_body.h"
#include "cofiring.h"
#include "int8_encoder.h"
}
COMPILE_FOR_ALL
#undef PRIMITIVES
#undef ISA

#define ISA(name) name##_avxvnni
#define PRIMITIVES "int8_avxvnni.h"
COMPILE_FOR("arch=x86-64-v3,avxvnni")
namespace avxvnni {
#include "int8_encoder.h"
}
COMPILE_FOR_ALL
#undef PRIMITIVES
#undef ISA
#endif

#if defined(__aarch64__)
#include <arm_neon.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>
#endif

// clang declares the products of bytes for a part of a file since version 16, which is Apple's 15.
#if !defined(__clang__) || __clang_major__ >= 16 || (defined(__apple_build_version__) && __clang_major__ >= 15)
#define PRIMITIVES "int8_neon.h"
#define ISA(name) name##_dotprod
COMPILE_FOR(WITH "dotprod")
namespace dotprod {
#include "int8_encoder.h"
}
COMPILE_FOR_ALL
#undef ISA

#define ISA(name) name##_i8mm
#define I8MM
COMPILE_FOR(WITH "i8mm")
namespace i8mm {
#include "int8_encoder.h"
}
COMPILE_FOR_ALL
#undef I8MM
#undef ISA
#undef PRIMITIVES
#define HAS_BYTES true
#else
#define HAS_BYTES false
#endif
#endif

#define ISA(name) name##_plain
namespace plain {
#include "sparse_body.h"
#include "cofiring.h"
}
#undef ISA

extern "C" int has_openmp() {
#ifdef _OPENMP
  return 1;
#else
  return 0;
#endif
}

// Lets each thread of the pool run on one of n cores alone, or, if not `alone`, on any of them. Does nothing where the
// system is not Linux.
extern "C" void place_threads(const int64_t* cores, int64_t n, int alone) {
#if defined(__linux__) && defined(_OPENMP)
#pragma omp parallel
  {
    const int me = omp_get_thread_num();
    cpu_set_t* const set = CPU_ALLOC(cores[n - 1] + 1);  // cores ascend
    const size_t size = CPU_ALLOC_SIZE(cores[n - 1] + 1);
    CPU_ZERO_S(size, set);
    for (int64_t i = 0; i < n; ++i) {
      if (!alone || i == me % n) CPU_SET_S(cores[i], size, set);
    }
    sched_setaffinity(0, size, set);  // a sandbox that forbids it keeps its own order
    CPU_FREE(set);
  }
#endif
}

enum { HAS_AVX2 = 1, HAS_AVX512 = 2, HAS_AMX = 4, HAS_VNNI = 8, HAS_NEON = 16, HAS_DOTPROD = 32, HAS_I8MM = 64, HAS_AVXVNNI = 128 };

#if defined(__x86_64__)
extern "C" int cpu_features() {
  __builtin_cpu_init();
  int has = 0;
  // spelled out, because clang lacks the names x86-64-v3 and x86-64-v4 here
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    has |= HAS_AVX2;
  if ((has & HAS_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    has |= HAS_AVX512;
  if ((has & HAS_AVX512) && __builtin_cpu_supports("avx512vnni")) has |= HAS_VNNI;
  unsigned a = 0, b, c, d;  // older compilers have no name for AVX-VNNI
  if ((has & HAS_AVX2) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1)) has |= HAS_AVXVNNI;
#ifndef __clang__
  // Linux gives a process the tile registers only on request: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA).
  if ((has & HAS_AVX512) && __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, 0x1023, 18) == 0)
    has |= HAS_AMX;
#endif
  return has;
}
#ifndef __clang__  // which does not compile the body of a parallel region for the chip that is named
#include "amx_encoder.h"
#endif
#elif defined(__aarch64__)
extern "C" int cpu_features() {
#ifdef __APPLE__
  const auto has = [](const char* feature) {
    int on = 0;
    size_t size = sizeof(on);
    return sysctlbyname(feature, &on, &size, nullptr, 0) == 0 && on;
  };
  const bool dotprod = has("hw.optional.arm.FEAT_DotProd"), i8mm = has("hw.optional.arm.FEAT_I8MM");
#else
  const bool dotprod = getauxval(AT_HWCAP) & (1 << 20);  // HWCAP_ASIMDDP, which old headers lack
  const bool i8mm = getauxval(AT_HWCAP2) & (1 << 13);    // HWCAP2_I8MM
#endif
  return HAS_NEON | (HAS_BYTES && dotprod ? HAS_DOTPROD : 0) | (HAS_BYTES && dotprod && i8mm ? HAS_I8MM : 0);
}
#else
extern "C" int cpu_features() { return 0; }
#endif
