// What int8_vnni.h and int8_avx512.h have in common: registers of 512 bits.
constexpr int64_t LANES = 16, DEPTH = 4;
#define WIDE_OF(name) _mm512_##name
using Byte = uint8_t;
using Register = __m512i;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

// Four bytes of a row, for all lanes.
static inline Register spread(const int8_t* four) { return _mm512_set1_epi32(load<int32_t>(four)); }

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
