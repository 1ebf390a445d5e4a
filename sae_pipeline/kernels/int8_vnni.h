// What int8_encoder.h needs, for AVX-512 with VNNI: dpbusd multiplies unsigned by signed bytes, and adds four products
// to a sum in 32 bits.
constexpr int64_t ROWS = 8, GROUPS = 2, WORTH = 2;
constexpr int TOP_X = 127, ZERO = 128;
#include "int8_lanes16.h"

static inline float narrowest(const float*, int64_t) { return 0; }

// Adds u.q for ROWS features and GROUPS groups of tokens.
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 4) {
    const __m512i some = load<__m512i>(u + j * LANES), others = load<__m512i>(u + (j + width) * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const __m512i same = _mm512_set1_epi32(load<int32_t>(q + i * width + j));
      sums[i][0] = Ints(_mm512_dpbusd_epi32(__m512i(sums[i][0]), some, same));
      sums[i][1] = Ints(_mm512_dpbusd_epi32(__m512i(sums[i][1]), others, same));
    }
  }
}
