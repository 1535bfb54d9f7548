// Spinning threads for the hand loops: a launch costs about a microsecond, as in the best hand-written code.
#pragma once

#include <cstdint>

namespace hand {

using Work = void (*)(void* context, int part, int parts);

// Calls work(context, part, parts) for part 0..parts-1, part 0 on the calling thread, and returns when all
// are done. The others spin for a millisecond after their last work, then sleep. One caller at a time.
void run_parts(Work work, void* context, int parts);

template <class F>
void parallel(int parts, F&& f) {
  run_parts([](void* context, int part, int of) { (*static_cast<F*>(context))(part, of); }, &f, parts);
}

struct Range {
  int64_t begin, end;
};

// Part `part` of 0..n in `parts` near-equal pieces, each a multiple of `grain`.
inline Range piece(int64_t n, int64_t grain, int part, int parts) {
  const int64_t grains = (n + grain - 1) / grain;
  const auto edge = [&](int p) { return grains * p / parts * grain < n ? grains * p / parts * grain : n; };
  return {edge(part), edge(part + 1)};
}

}  // namespace hand
