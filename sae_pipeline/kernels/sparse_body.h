// The portable kernels, written as plain loops and compiled once per instruction set. sparse.cpp sets the target and
// defines ISA(name). There is no include guard, since the file is included several times.
//
// Lists by token ("CSR"): row_ptr [n_rows+1] int64, cols [nnz] int32, ascending within a row. Lists by feature ("CSC"):
// ptr [d_sae+1], toks [nnz]. One thread computes each output element in list order, so results do not depend on the
// number of threads unless a comment says so.

static inline float widen(float v) { return v; }
static inline double widen(double v) { return v; }
static inline float widen(bf16 v) {
  uint32_t bits = uint32_t(v.bits) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}
static inline bf16 narrow(float v) {  // round to nearest, ties to even; finite input
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return bf16{uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
static inline void put(float& to, float v) { to = v; }
static inline void put(bf16& to, float v) { to = narrow(v); }

template <class A, class B>
static inline auto dot(const A* a, const B* b, int64_t d) {
  decltype(widen(*a) * widen(*b)) sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < d; ++j) sum += widen(a[j]) * widen(b[j]);
  return sum;
}

// y += alpha * x
template <class T, class S>
static inline void axpy(T* __restrict y, S alpha, const auto* __restrict x, int64_t d) {
#pragma omp simd
  for (int64_t j = 0; j < d; ++j) y[j] += alpha * widen(x[j]);
}

// Writes the columns and values of the positive numbers in one dense row; returns how many there are. With
// cols == nullptr it only counts.
static inline int64_t compress_row(const float* row, int64_t n, int32_t* cols, float* vals) {
  int64_t k = 0;
  for (int64_t j = 0; j < n; ++j)
    if (row[j] > 0) {
      if (cols) cols[k] = int32_t(j), vals[k] = row[j];
      ++k;
    }
  return k;
}

extern "C" {

// counts[r] = number of positive entries in pre[r, :]
void ISA(count_positive)(const float* pre, int64_t n, int64_t width, int64_t* counts) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < n; ++r) counts[r] = compress_row(pre + r * width, width, nullptr, nullptr);
}

// Writes the positive entries of pre[r, :] from row_ptr[r] on.
void ISA(compress)(const float* pre, int64_t n, int64_t width, const int64_t* row_ptr, int32_t* cols, float* vals) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < n; ++r) compress_row(pre + r * width, width, cols + row_ptr[r], vals + row_ptr[r]);
}

// out[r, :] = sum over row r's entries e of vals[e] * W[cols[e], :]
#define SPMM(NAME, T)                                                                                            \
  void ISA(NAME)(const int64_t* row_ptr, const int32_t* cols, const T* vals, const T* W, int64_t n, int64_t d,   \
                 T* out) {                                                                                       \
    _Pragma("omp parallel for schedule(dynamic, 16)") for (int64_t r = 0; r < n; ++r) {                          \
      T* y = out + r * d;                                                                                        \
      std::memset(y, 0, size_t(d) * sizeof(T));                                                                  \
      for (int64_t e = row_ptr[r]; e < row_ptr[r + 1]; ++e) axpy(y, vals[e], W + int64_t(cols[e]) * d, d);       \
    }                                                                                                            \
  }
SPMM(spmm_f32, float)
SPMM(spmm_f64, double)
#undef SPMM

// out[e] = A[row of e, :] . B[cols[e], :]
#define SDDMM(NAME, T)                                                                                           \
  void ISA(NAME)(const int64_t* row_ptr, const int32_t* cols, const T* A, const T* B, int64_t n, int64_t d,      \
                 T* out) {                                                                                       \
    _Pragma("omp parallel for schedule(dynamic, 16)") for (int64_t r = 0; r < n; ++r) {                          \
      for (int64_t e = row_ptr[r]; e < row_ptr[r + 1]; ++e) out[e] = dot(A + r * d, B + int64_t(cols[e]) * d, d); \
    }                                                                                                            \
  }
SDDMM(sddmm_f32, float)
SDDMM(sddmm_f64, double)
#undef SDDMM

// For lists by feature: computes vals[e] = W[feature of e, :] . X[toks[e], :] + b[feature of e] and removes the entries
// that are not above their feature's threshold; in place.
void ISA(refine)(int64_t* ptr, int32_t* toks, float* vals, const float* X, const float* W, const float* b,
                 const float* threshold, int64_t n_features, int64_t d) {
  std::vector<int64_t> kept(n_features);
#pragma omp parallel for schedule(dynamic, 64)
  for (int64_t i = 0; i < n_features; ++i) {
    int64_t at = ptr[i];
    for (int64_t e = ptr[i]; e < ptr[i + 1]; ++e) {
      const float v = dot(W + i * d, X + int64_t(toks[e]) * d, d) + b[i];
      if (!(v > threshold[i])) continue;
      toks[at] = toks[e];
      vals[at++] = v;
    }
    kept[i] = at - ptr[i];
  }
  int64_t at = 0;
  for (int64_t i = 0; i < n_features; ++i) {
    std::memmove(toks + at, toks + ptr[i], size_t(kept[i]) * sizeof(*toks));
    std::memmove(vals + at, vals + ptr[i], size_t(kept[i]) * sizeof(*vals));
    ptr[i] = at;
    at += kept[i];
  }
  ptr[n_features] = at;
}

// The k largest entries of every row in their old order; among equals the first are kept.
// out_ptr[r+1] - out_ptr[r] = min(k, entries of r).
void ISA(topk_rows)(const int64_t* row_ptr, const int32_t* cols, const float* vals, int64_t n, int64_t k,
                    const int64_t* out_ptr, int32_t* out_cols, float* out_vals) {
#pragma omp parallel
  {
    std::vector<float> sorted;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < n; ++r) {
      const int64_t from = row_ptr[r], to = row_ptr[r + 1], room = out_ptr[r + 1] - out_ptr[r];
      int64_t at = out_ptr[r], equals = room;
      float cut = -INFINITY;
      if (to - from > k && k > 0) {
        sorted.assign(vals + from, vals + to);
        std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<float>());
        cut = sorted[k - 1];
        for (int64_t e = from; e < to; ++e) equals -= vals[e] > cut;
      }
      for (int64_t e = from; e < to && at < out_ptr[r + 1]; ++e) {
        if (vals[e] < cut || (vals[e] == cut && equals-- <= 0)) continue;
        out_cols[at] = cols[e];
        out_vals[at++] = vals[e];
      }
    }
  }
}

// Sorts the entries by column (a stable counting sort). order[k] = index of the k-th sorted entry in the old lists.
void ISA(transpose)(const int64_t* row_ptr, const int32_t* cols, int64_t n_rows, int64_t n_cols, int64_t* col_ptr,
                    int32_t* rows, int64_t* order) {
  const int n_threads = omp_get_max_threads();
  std::vector<int64_t> at(size_t(n_threads) * n_cols, 0);
#pragma omp parallel num_threads(n_threads)
  {
    const int me = omp_get_thread_num(), all = omp_get_num_threads();
    const int64_t from = n_rows * me / all, to = n_rows * (me + 1) / all;
    int64_t* mine = at.data() + size_t(me) * n_cols;
    for (int64_t e = row_ptr[from]; e < row_ptr[to]; ++e) ++mine[cols[e]];
#pragma omp barrier
#pragma omp single
    {
      int64_t sum = 0;
      for (int64_t c = 0; c < n_cols; ++c) {
        col_ptr[c] = sum;
        for (int t = 0; t < all; ++t) {
          int64_t& slot = at[size_t(t) * n_cols + c];
          int64_t count = slot;
          slot = sum;
          sum += count;
        }
      }
      col_ptr[n_cols] = sum;
    }
    for (int64_t r = from; r < to; ++r)
      for (int64_t e = row_ptr[r]; e < row_ptr[r + 1]; ++e) {
        int64_t k = mine[cols[e]]++;
        rows[k] = int32_t(r);
        order[k] = e;
      }
  }
}
}  // extern "C"

// Where row i of W_enc begins in the AMX encoder's tiles [d_sae/16][d/32][16 features][32].
static inline bf16* tile_row(bf16* tiles, int64_t i, int64_t d) {
  return tiles + i / 16 * ((d + 31) / 32) * 512 + i % 16 * 32;
}
// Rounds row i of W_enc to bf16 and writes it to the tiles; padding is left as it is.
static inline void to_tiles(const float* row, int64_t i, int64_t d, bf16* tiles) {
  bf16* to = tile_row(tiles, i, d);
  for (int64_t j = 0; j < d; j += 32, to += 512) {
    if (j + 32 <= d) {
#pragma omp simd
      for (int64_t q = 0; q < 32; ++q) to[q] = narrow(row[j + q]);
    } else {
      for (int64_t q = 0; j + q < d; ++q) to[q] = narrow(row[j + q]);
    }
  }
}

// The features that have an entry, ascending.
static std::vector<int32_t> active_features(const int64_t* ptr, int64_t d_sae) {
  std::vector<int32_t> active;
  active.reserve(size_t(d_sae));
  for (int64_t i = 0; i < d_sae; ++i)
    if (ptr[i] != ptr[i + 1]) active.push_back(int32_t(i));
  return active;
}

// Requests a row that will be needed soon: rows are visited in an order that the hardware cannot predict.
static inline void prefetch(const float* row, int64_t d) {
  for (int64_t j = 0; j < d; j += 16) __builtin_prefetch(row + j, 1, 2);
}

constexpr int64_t PART = 16;  // tokens whose sums of r and r^2 are added up first

// r = f W_dec + b_dec - x from lists by feature. Each thread owns a range of tokens and goes through all features, so
// that it reads a row of W_dec once and the sums of its tokens stay in its cache. Also computes the sum of r^2 and the
// mean of r over tokens. These are added up in parts of PART tokens, so they do not depend on the number of threads.
template <class R>
static void residual(const int64_t* ptr, const int32_t* toks, const float* vals, const float* W_dec,
                     const float* b_dec, const float* x, int64_t n, int64_t d, int64_t d_sae, R* r, float* col_mean,
                     double* sse) {
  const int n_threads = omp_get_max_threads();
  const int64_t parts = (n + PART - 1) / PART;
  std::vector<double> sums(parts, 0.0);
  std::vector<float> cols(size_t(parts) * d, 0.f);
  const std::vector<int32_t> active = active_features(ptr, d_sae);
  const int64_t n_active = int64_t(active.size());
#pragma omp parallel num_threads(n_threads)
  {
    const int me = omp_get_thread_num(), all = omp_get_num_threads();
    const int64_t from = parts * me / all * PART, to = std::min(n, parts * (me + 1) / all * PART);
    float* acc = scratch(size_t(to - from) * d);
    for (int64_t t = from; t < to; ++t) {
      float* y = acc + (t - from) * d;
      const float* xt = x + t * d;
#pragma omp simd
      for (int64_t j = 0; j < d; ++j) y[j] = b_dec[j] - xt[j];
    }
    for (int64_t k = 0; k < n_active; ++k) {
      const int64_t i = active[k], end = ptr[i + 1];
      if (k + AHEAD < n_active) prefetch(W_dec + active[k + AHEAD] * d, d);
      int64_t e = std::lower_bound(toks + ptr[i], toks + end, int32_t(from)) - toks;
      const float* w = W_dec + i * d;
      for (; e < end && toks[e] < to; ++e) axpy(acc + (toks[e] - from) * d, vals[e], w, d);
    }
    for (int64_t t = from; t < to; ++t) {
      const float* y = acc + (t - from) * d;
      R* out = r + t * d;
      sums[t / PART] += dot(y, y, d);
      axpy(cols.data() + t / PART * d, 1.0f, y, d);
#pragma omp simd
      for (int64_t j = 0; j < d; ++j) put(out[j], y[j]);
    }
  }
  *sse = 0;
  for (double s : sums) *sse += s;
  std::memset(col_mean, 0, size_t(d) * sizeof(float));
  for (int64_t p = 0; p < parts; ++p) axpy(col_mean, 1.0f, cols.data() + p * d, d);
  for (int64_t j = 0; j < d; ++j) col_mean[j] /= float(n);
}

// Adam's bias correction: the divisors of a feature's moments after a number of steps. It is computed once per feature,
// because a power takes as long as hundreds of sums.
struct Correction {
  float first, second;
  Correction(const Adam& a, float steps)
      : first(a.beta1 ? 1 - std::pow(a.beta1, steps) : 1), second(1 - std::pow(a.beta2, steps)) {}
};

// The step length of one row: Adam with one second moment v for the whole row, clipped; see sae/kinds/engine.py. No
// step is longer than lr per coordinate (rms). Without the clipping one unusual batch could move a row up to
// 1/sqrt(1 - beta2) = 31 times as far.
static inline float rate(float* v, float mean_square, const Adam& a, const Correction& correction) {
  *v = a.beta2 * *v + (1 - a.beta2) * mean_square;
  return a.lr / (std::max(std::sqrt(*v / correction.second), std::sqrt(mean_square)) + a.eps);
}

// One optimiser step of a row w [d], multiplied by `keep` before, with gradient g, whose sum of squares is `square`;
// returns that of the new row.
static inline float descend(float* __restrict w, const float* __restrict g, float* __restrict m, float* v, int64_t d,
                            float square, const Adam& a, const Correction& correction, float keep = 1) {
  const float step = rate(v, square / float(d), a, correction), beta1 = a.beta1;
  float norm = 0;
  if (beta1 == 0) {
#pragma omp simd reduction(+ : norm)
    for (int64_t j = 0; j < d; ++j) w[j] = keep * w[j] - step * g[j], norm += w[j] * w[j];
    return norm;
  }
  const float now = step / correction.first;
#pragma omp simd reduction(+ : norm)
  for (int64_t j = 0; j < d; ++j) {
    m[j] = beta1 * m[j] + (1 - beta1) * g[j];
    w[j] = keep * w[j] - now * m[j];
    norm += w[j] * w[j];
  }
  return norm;
}

struct Slopes {  // sums over entries
  float b = 0;      // df, the gradient of b_enc
  float along = 0;  // g_dec . w
};

// Adds the contributions of N entries to the gradients of one feature's rows. With N at a time, the sums are read and
// written once for all of them. df = gain * 2/n r.w + extra; without these arrays gain is 1 and extra is l1/n.
template <int N, class T>
static inline void entries(const int32_t* toks, const float* vals, int64_t e, const T* x, const T* r, int64_t d,
                           float scale, float l1, const Rule& rule, const float* __restrict w,
                           float* __restrict g_dec, float* __restrict g_enc, Slopes& sums) {
  toks += e, vals += e;
  const T *rt[4], *xt[4];
  float f[4], s[4];
  for (int q = 0; q < N; ++q) rt[q] = r + int64_t(toks[q]) * d, xt[q] = x + int64_t(toks[q]) * d, f[q] = scale * vals[q];
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t j = 0; j < d; ++j) {
    float g = g_dec[j], v = widen(rt[0][j]);
    s0 += v * w[j], g += f[0] * v;
    if constexpr (N > 1) v = widen(rt[1][j]), s1 += v * w[j], g += f[1] * v;
    if constexpr (N > 2) v = widen(rt[2][j]), s2 += v * w[j], g += f[2] * v;
    if constexpr (N > 3) v = widen(rt[3][j]), s3 += v * w[j], g += f[3] * v;
    g_dec[j] = g;
  }
  s[0] = s0, s[1] = s1, s[2] = s2, s[3] = s3;
  for (int q = 0; q < N; ++q) {
    sums.along += f[q] * s[q];
    s[q] *= scale;
    if (rule.slope) rule.slope[e + q] = s[q];
    s[q] = (rule.gain ? rule.gain[e + q] * s[q] : s[q]) + (rule.extra ? rule.extra[e + q] : l1);
    sums.b += s[q];
  }
#pragma omp simd
  for (int64_t j = 0; j < d; ++j) {
    float g = g_enc[j] + s[0] * widen(xt[0][j]);
    if constexpr (N > 1) g += s[1] * widen(xt[1][j]);
    if constexpr (N > 2) g += s[2] * widen(xt[2][j]);
    if constexpr (N > 3) g += s[3] * widen(xt[3][j]);
    g_enc[j] = g;
  }
}

// For every feature with an entry: gradients, optimiser step, scaling of the decoder row to length 1, and the copy of
// the encoder row in the tiles, in one pass over its rows.
template <class T>
static void update(const int64_t* ptr, const int32_t* toks, const float* vals, const T* x, const T* r, int64_t n,
                   int64_t d, int64_t d_sae, const Features& p, const Adam& a, const Rule& rule) {
  const float scale = 2.0f / float(n), l1 = a.l1 / float(n);
  const std::vector<int32_t> active = active_features(ptr, d_sae);
  const int64_t n_active = int64_t(active.size());
#pragma omp parallel
  {
    float* g_dec = scratch(size_t(2 * d));
    float* g_enc = g_dec + d;
#pragma omp for schedule(dynamic, 64)
    for (int64_t k = 0; k < n_active; ++k) {
      const int64_t i = active[k];
      if (k + AHEAD < n_active) {
        const int64_t next = active[k + AHEAD];
        prefetch(p.W_dec + next * d, d);
        prefetch(p.W_enc + next * d, d);
        if (a.beta1 > 0) prefetch(p.m_dec + next * d, d), prefetch(p.m_enc + next * d, d);
        if (p.tiles)
          for (int64_t j = 0; j < d; j += 32) __builtin_prefetch(tile_row(p.tiles, next, d) + j * 16, 1, 2);
      }
      float *w = p.W_dec + i * d, *we = p.W_enc + i * d;
      std::memset(g_dec, 0, size_t(2 * d) * sizeof(float));
      Slopes sums;
      int64_t e = ptr[i];
      const int64_t end = ptr[i + 1];
      for (; e + 4 <= end; e += 4) entries<4>(toks, vals, e, x, r, d, scale, l1, rule, w, g_dec, g_enc, sums);
      if (end - e == 3) entries<3>(toks, vals, e, x, r, d, scale, l1, rule, w, g_dec, g_enc, sums);
      if (end - e == 2) entries<2>(toks, vals, e, x, r, d, scale, l1, rule, w, g_dec, g_enc, sums);
      if (end - e == 1) entries<1>(toks, vals, e, x, r, d, scale, l1, rule, w, g_dec, g_enc, sums);
      const Correction correction(a, float(++p.n_steps[i]));
      float square_dec = 0, square_enc = 0;
#pragma omp simd reduction(+ : square_dec, square_enc)
      for (int64_t j = 0; j < d; ++j) {
        g_dec[j] -= sums.along * w[j];  // only the part at a right angle to the row, whose length is fixed
        square_dec += g_dec[j] * g_dec[j], square_enc += g_enc[j] * g_enc[j];
      }
      const float norm = descend(w, g_dec, p.m_dec + i * d, p.v_dec + i, d, square_dec, a, correction);
      const float inverse = 1 / std::sqrt(norm);
#pragma omp simd
      for (int64_t j = 0; j < d; ++j) w[j] *= inverse;
      descend(we, g_enc, p.m_enc + i * d, p.v_enc + i, d, square_enc, a, correction, 1 - a.lr * a.weight_decay);
      if (p.tiles) to_tiles(we, i, d, p.tiles);
      descend(p.b_enc + i, &sums.b, p.m_b + i, p.v_b + i, 1, sums.b * sums.b, a, correction);
    }
  }
}

extern "C" {
// Writes W_enc [d_sae, d] to tiles that hold zeros.
void ISA(tile)(const float* W_enc, int64_t d_sae, int64_t d, bf16* tiles) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < d_sae; ++i) to_tiles(W_enc + i * d, i, d, tiles);
}
void ISA(residual_f32)(const int64_t* ptr, const int32_t* toks, const float* vals, const float* W_dec,
                       const float* b_dec, const float* x, int64_t n, int64_t d, int64_t d_sae, float* r,
                       float* col_mean, double* sse) {
  residual(ptr, toks, vals, W_dec, b_dec, x, n, d, d_sae, r, col_mean, sse);
}
void ISA(residual_bf16)(const int64_t* ptr, const int32_t* toks, const float* vals, const float* W_dec,
                        const float* b_dec, const float* x, int64_t n, int64_t d, int64_t d_sae, bf16* r,
                        float* col_mean, double* sse) {
  residual(ptr, toks, vals, W_dec, b_dec, x, n, d, d_sae, r, col_mean, sse);
}
void ISA(update_f32)(const int64_t* ptr, const int32_t* toks, const float* vals, const float* x, const float* r,
                     int64_t n, int64_t d, int64_t d_sae, const Features* p, const Adam* a, const Rule* rule) {
  update(ptr, toks, vals, x, r, n, d, d_sae, *p, *a, *rule);
}
void ISA(update_bf16)(const int64_t* ptr, const int32_t* toks, const float* vals, const bf16* x, const bf16* r,
                      int64_t n, int64_t d, int64_t d_sae, const Features* p, const Adam* a, const Rule* rule) {
  update(ptr, toks, vals, x, r, n, d, d_sae, *p, *a, *rule);
}
}
