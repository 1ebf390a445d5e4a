// What int8_vnni.h and int8_avxvnni.h have in common: dpbusd multiplies unsigned by signed bytes, and adds four products
// to a sum in 32 bits.
constexpr int64_t GROUPS = 2, WORTH = 2;
constexpr int TOP_X = 127, ZERO = 128;

static inline float narrowest(const float*, int64_t) { return 0; }

// Adds u.q for ROWS features and GROUPS groups of tokens.
static inline void multiply(const int8_t* q, const Byte* u, int64_t width, Ints (&sums)[ROWS][GROUPS]) {
  for (int64_t j = 0; j < width; j += 4) {
    const Register some = load<Register>(u + j * LANES), others = load<Register>(u + (j + width) * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const Register same = spread(q + i * width + j);
      sums[i][0] = Ints(dpbusd(Register(sums[i][0]), some, same));
      sums[i][1] = Ints(dpbusd(Register(sums[i][1]), others, same));
    }
  }
}
