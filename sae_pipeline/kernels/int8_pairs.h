// What int8_avx2.h and int8_avx512.h have in common: maddubs multiplies unsigned by signed bytes and adds pairs. Four
// such sums stay in 16 bits where the |q| of the eight numbers add up to no more than TOP_SUM: 127 * 258 < 2^15.
constexpr int64_t ROWS = 4, GROUPS = 1, WORTH = 4;
constexpr int TOP_X = 63, ZERO = 64, TOP_SUM = 258;

// The finest step with which no 16-bit sum overflows.
static inline float narrowest(const float* row, int64_t width) {
  typedef float Eight __attribute__((vector_size(32)));
  const auto size = [](Eight v) { return v > 0 ? v : -v; };
  Eight most{};
  for (int64_t j = 0; j < width; j += 16) {
    // Of 16 numbers the 1st, 2nd, 5th, 6th, ... are added in one 16-bit sum, and the others in another.
    Eight sum = size(load<Eight>(row + j)) + size(load<Eight>(row + j + 8));
    sum += Eight(_mm256_permute2f128_ps(__m256(sum), __m256(sum), 1));
    sum += Eight(_mm256_permute_ps(__m256(sum), 0b10110001));
    most = most > sum ? most : sum;
  }
  return largest(most) / (TOP_SUM - 5);  // each of eight is rounded up by up to 1/2
}

// Adds u.q for ROWS features and one group of tokens.
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 16, u += 16 * LANES) {
    Register four[4];
    for (int k = 0; k < 4; ++k) four[k] = load<Register>(u + k * 4 * LANES);
    for (int i = 0; i < ROWS; ++i) {
      Register pairs[4];
      for (int k = 0; k < 4; ++k) pairs[k] = WIDE_OF(maddubs_epi16)(four[k], spread(q + i * width + j + k * 4));
      const Register all =
          WIDE_OF(add_epi16)(WIDE_OF(add_epi16)(pairs[0], pairs[1]), WIDE_OF(add_epi16)(pairs[2], pairs[3]));
      sums[i][0] += Ints(WIDE_OF(madd_epi16)(all, WIDE_OF(set1_epi16)(1)));
    }
  }
}
