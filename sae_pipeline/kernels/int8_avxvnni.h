// What int8_encoder.h needs, for AVX2 with AVX-VNNI, which chips for laptops and desktops have: dpbusd as in int8_vnni.h,
// on half as many lanes.
constexpr int64_t ROWS = 6, GROUPS = 2, WORTH = 2;
constexpr int TOP_X = 127, ZERO = 128;
#include "int8_lanes8.h"

static inline float narrowest(const float*, int64_t) { return 0; }

// Adds u.q for ROWS features and GROUPS groups of tokens.
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 4) {
    const __m256i some = load<__m256i>(u + j * LANES), others = load<__m256i>(u + (j + width) * LANES);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; ++i) {
      const __m256i same = _mm256_set1_epi32(load<int32_t>(q + i * width + j));
      sums[i][0] = Ints(_mm256_dpbusd_avx_epi32(__m256i(sums[i][0]), some, same));
      sums[i][1] = Ints(_mm256_dpbusd_avx_epi32(__m256i(sums[i][1]), others, same));
    }
  }
}
