// The k largest numbers of each row, and the k most similar columns for each column of a 0/1 matrix. Compiled for each
// instruction set, like sparse_body.h. Twins: reference.largest and reference.most_alike.

// The k best candidates so far, best first; among equals the lower index is first.
struct Best {
  int64_t k, have = 0;
  int32_t* index;
  float* value;
  float least;  // the score that a further candidate has to exceed

  Best(int64_t k, float floor, int32_t* index, float* value) : k(k), index(index), value(value), least(floor) {
    for (int64_t s = 0; s < k; s++) index[s] = -1, value[s] = 0;
  }
  void offer(float score, int64_t j) {
    if (!(score > least)) return;
    int64_t s = have < k ? have++ : k - 1;
    for (; s > 0 && value[s - 1] < score; s--) value[s] = value[s - 1], index[s] = index[s - 1];
    value[s] = score, index[s] = int32_t(j);
    if (have == k) least = value[k - 1];
  }
};

extern "C" void ISA(largest)(const float* dense, int64_t n, int64_t width, int64_t k, int32_t* index, float* value) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float* score = dense + i * width;
    Best best(k, -INFINITY, index + i * k, value + i * k);
    for (int64_t j = 0; j < width; j += 128) {
      const int64_t end = std::min(width, j + 128);
      int any = 0;
      for (int64_t t = j; t < end; t++) any |= score[t] > best.least;
      for (int64_t t = j; any && t < end; t++) best.offer(score[t], t);
    }
  }
}

// The exact Jaccard index |both| / |either|. The matrix is given by rows and by columns; columns with fewer than
// `least` entries are left out on both sides.
template <class Count>
static void most_alike(const int64_t* row_ptr, const int32_t* row_cols, const int64_t* col_ptr,
                       const int32_t* col_rows, int64_t n_cols, int64_t least, int64_t k, int32_t* alike,
                       float* jaccard) {
  std::vector<float> sizes(n_cols);
  for (int64_t j = 0; j < n_cols; j++) {
    const int64_t size = col_ptr[j + 1] - col_ptr[j];
    sizes[j] = size < least ? INFINITY : float(size);
  }
#pragma omp parallel
  {
    std::vector<Count> both(n_cols);
#pragma omp for schedule(dynamic, 64)
    for (int64_t i = 0; i < n_cols; i++) {
      Best best(k, 0, alike + i * k, jaccard + i * k);
      const float size = sizes[i];
      if (size == INFINITY) continue;
      std::fill(both.begin(), both.end(), Count(0));
      for (int64_t e = col_ptr[i]; e < col_ptr[i + 1]; e++)
        for (int64_t p = row_ptr[col_rows[e]]; p < row_ptr[col_rows[e] + 1]; p++) both[row_cols[p]]++;
      both[i] = 0;
      for (int64_t j = 0; j < n_cols; j += 128) {
        const int64_t end = std::min(n_cols, j + 128);
        const float share = best.least / (1 + best.least) * (1 - 1e-5f);  // both/either > least, without division
        int any = 0;
        for (int64_t t = j; t < end; t++) any |= float(both[t]) > share * (size + sizes[t]);
        for (int64_t t = j; any && t < end; t++)
          if (both[t]) best.offer(float(both[t]) / (size + sizes[t] - float(both[t])), t);
      }
    }
  }
}

extern "C" void ISA(most_alike)(const int64_t* row_ptr, const int32_t* row_cols, const int64_t* col_ptr,
                                const int32_t* col_rows, int64_t n_rows, int64_t n_cols, int64_t least, int64_t k,
                                int32_t* alike, float* jaccard) {
  const auto run = n_rows < 65536 ? most_alike<uint16_t> : most_alike<uint32_t>;  // smaller counters stay in cache
  run(row_ptr, row_cols, col_ptr, col_rows, n_cols, least, k, alike, jaccard);
}
