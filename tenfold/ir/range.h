// Intervals: what is known of all elements of a value. The bounds of integers beyond 2^53 are rounded
// outwards.
#pragma once

#include <span>

#include "tenfold/base/dtype.h"

namespace tenfold {

class Node;

struct Range {
  double low = 0, high = 0;  // inclusive; infinities count as elements. Of NaN only: low > high
  bool nan = false;          // an element may be NaN

  static Range all(Dtype);  // what the dtype can hold; of complex numbers nothing is known
  static Range point(double v) { return {v, v, false}; }
  static Range truth(bool may_be_false, bool may_be_true) {
    return {may_be_false ? 0.0 : 1.0, may_be_true ? 1.0 : 0.0, false};
  }

  bool is_point() const { return low == high && !nan; }
  bool is_finite() const;   // no infinity, and no NaN
  bool is_bounded() const;  // no infinity; perhaps NaN
  friend bool operator==(const Range&, const Range&) = default;
};

Range join(const Range&, const Range&);
Range meet(const Range&, const Range&);

// For records.
Range range_of_corners(const Node&,
                       std::span<const Range>);  // functions that take their extremes at the corners of every
                                                 // box: monotone or linear in each argument
Range range_of_product(const Node&, std::span<const Range>);  // mul
Range range_of_quotient(const Node&, std::span<const Range>);
Range range_of_order(
    const Node&, std::span<const Range>);  // less, less_equal, greater, greater_equal: corners, false for NaN
Range range_of_equality(const Node&, std::span<const Range>);  // equal, not_equal
Range range_of_abs(const Node&, std::span<const Range>);
Range range_of_and(const Node&, std::span<const Range>);  // of bits
Range range_of_or(const Node&, std::span<const Range>);   // of bits; xor too
Range range_of_shift_left(const Node&, std::span<const Range>);
Range range_of_shift_right(const Node&, std::span<const Range>);
Range range_of_conversion(const Node&, std::span<const Range>);
Range range_of_wave(const Node&, std::span<const Range>);   // sin, cos
Range range_of_point(const Node&, std::span<const Range>);  // known only where all inputs are

}  // namespace tenfold
