// What int8_encoder.h needs, for AVX-512 without VNNI.
constexpr int64_t ROWS = 4;
#include "int8_lanes16.h"
#include "int8_pairs.h"

// Adds u.q for ROWS features and one group of tokens.
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 16, u += 256) {
    __m512i four[4];
    for (int k = 0; k < 4; ++k) four[k] = load<__m512i>(u + k * 64);
    for (int i = 0; i < ROWS; ++i) {
      __m512i pairs[4];
      for (int k = 0; k < 4; ++k)
        pairs[k] = _mm512_maddubs_epi16(four[k], _mm512_set1_epi32(load<int32_t>(q + i * width + j + k * 4)));
      const __m512i all = _mm512_add_epi16(_mm512_add_epi16(pairs[0], pairs[1]), _mm512_add_epi16(pairs[2], pairs[3]));
      sums[i][0] += Ints(_mm512_madd_epi16(all, _mm512_set1_epi16(1)));
    }
  }
}
