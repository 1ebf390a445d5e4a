// What int8_encoder.h needs, for ARM64: sdot multiplies signed bytes and adds four products to a sum in 32 bits. With
// I8MM, smmla multiplies two rows of eight bytes by two others.
constexpr int64_t LANES = 4, ROWS = 8, GROUPS = 2, WORTH = 2;  // WORTH is VNNI's, not measured
constexpr int TOP_X = 127, ZERO = 0;
using Byte = int8_t;
typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));

// Appends first + l for every lane l where `mask` is true; returns how many there are.
static inline int64_t append(Ints mask, int32_t first, int32_t* to) {
  const uint16x4_t narrow = vmovn_u32(uint32x4_t(mask));
  int64_t count = 0;
  for (uint64_t on = vget_lane_u64(vreinterpret_u64_u16(narrow), 0) & 0x0001000100010001; on; on &= on - 1)
    to[count++] = first + __builtin_ctzll(on) / 16;
  return count;
}

// Writes the lanes, which fit into 8 bits, as LANES bytes.
static inline void store(Ints small, int8_t* to) {
  const int16x4_t words = vmovn_s32(int32x4_t(small));
  const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
  std::memcpy(to, &bytes, LANES);
}

static inline float narrowest(const float*, int64_t) { return 0; }

// Adds u.q for ROWS features and GROUPS groups of tokens.
#ifdef I8MM
constexpr int64_t DEPTH = 8;
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  int32x4_t squares[ROWS / 2][GROUPS][2] = {};  // [pair of features][pair of tokens]; each has 2 by 2 sums
  for (int64_t j = 0; j < width; j += 8) {
    int8x16_t tokens[GROUPS][2];
    for (int g = 0; g < GROUPS; ++g)
      for (int p = 0; p < 2; ++p) tokens[g][p] = vld1q_s8(u + (j + g * width) * LANES + p * 16);
#pragma GCC unroll 4
    for (int i = 0; i < ROWS / 2; ++i) {
      const int8_t* row = q + 2 * i * width + j;
      const int8x16_t two = vcombine_s8(vld1_s8(row), vld1_s8(row + width));
      for (int g = 0; g < GROUPS; ++g)
        for (int p = 0; p < 2; ++p) squares[i][g][p] = vmmlaq_s32(squares[i][g][p], two, tokens[g][p]);
    }
  }
  for (int i = 0; i < ROWS / 2; ++i)
    for (int g = 0; g < GROUPS; ++g) {
      const int64x2_t some = vreinterpretq_s64_s32(squares[i][g][0]), others = vreinterpretq_s64_s32(squares[i][g][1]);
      sums[2 * i][g] += Ints(vzip1q_s64(some, others));
      sums[2 * i + 1][g] += Ints(vzip2q_s64(some, others));
    }
}
#else
constexpr int64_t DEPTH = 4;
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 4) {
    const int8x16_t some = vld1q_s8(u + j * LANES), others = vld1q_s8(u + (j + width) * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const int8x16_t same = vreinterpretq_s8_s32(vdupq_n_s32(load<int32_t>(q + i * width + j)));
      sums[i][0] = Ints(vdotq_s32(int32x4_t(sums[i][0]), some, same));
      sums[i][1] = Ints(vdotq_s32(int32x4_t(sums[i][1]), others, same));
    }
  }
}
#endif
