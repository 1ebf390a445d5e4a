// What int8_encoder.h needs, for AVX2: maddubs multiplies unsigned by signed bytes and adds pairs. Four such sums stay
// in 16 bits where the |q| of the eight numbers add up to no more than TOP_SUM: 127 * 258 < 2^15.
constexpr int64_t ROWS = 4, GROUPS = 1, WORTH = 4;
constexpr int TOP_X = 63, ZERO = 64, TOP_SUM = 258;
#include "int8_lanes8.h"

// The finest step with which no 16-bit sum overflows.
static inline float narrowest(const float* row, int64_t width) {
  const auto size = [](Floats v) { return v > 0 ? v : -v; };
  Floats most{};
  for (int64_t j = 0; j < width; j += 16) {
    // Of 16 numbers the 1st, 2nd, 5th, 6th, ... are added in one 16-bit sum, and the others in another.
    Floats sum = size(load<Floats>(row + j)) + size(load<Floats>(row + j + 8));
    sum += Floats(_mm256_permute2f128_ps(__m256(sum), __m256(sum), 1));
    sum += Floats(_mm256_permute_ps(__m256(sum), 0b10110001));
    most = most > sum ? most : sum;
  }
  return largest(most) / (TOP_SUM - 5);  // each of eight is rounded up by up to 1/2
}

// Adds u.q for ROWS features and one group of tokens.
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 16, u += 128) {
    __m256i four[4];
    for (int k = 0; k < 4; ++k) four[k] = load<__m256i>(u + k * 32);
    for (int i = 0; i < ROWS; ++i) {
      __m256i pairs[4];
      for (int k = 0; k < 4; ++k)
        pairs[k] = _mm256_maddubs_epi16(four[k], _mm256_set1_epi32(load<int32_t>(q + i * width + j + k * 4)));
      const __m256i all = _mm256_add_epi16(_mm256_add_epi16(pairs[0], pairs[1]), _mm256_add_epi16(pairs[2], pairs[3]));
      sums[i][0] += Ints(_mm256_madd_epi16(all, _mm256_set1_epi16(1)));
    }
  }
}
