// What int8_encoder.h needs, for AVX-512 with VNNI: dpbusd multiplies unsigned by signed bytes, and adds four products
// to a sum in 32 bits.
constexpr int64_t LANES = 16, ROWS = 8, GROUPS = 2, DEPTH = 4, WORTH = 2;
constexpr int TOP_X = 127, ZERO = 128;
using Byte = uint8_t;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

const Ints LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Appends first + l for every lane l where `mask` is true; returns how many there are. May write LANES numbers.
static inline int64_t append(Ints mask, int32_t first, int32_t* to) {
  // A branch would often be mispredicted, which costs more than the write.
  const __mmask16 on = _mm512_movepi32_mask(__m512i(mask));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(on, __m512i(LANE + first)));
  return __builtin_popcount(on);
}

// Writes the lanes, which fit into 8 bits, as LANES bytes.
static inline void store(Ints small, int8_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(__m512i(small)));
}

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
