// Functions of windows that slide over an array: convolutions and pooling. x is [n, c, *spatial] with one to
// three spatial axes (batch, channels, then what the windows slide along). A window is a relation: its values
// are read where they are, and no array of them exists. Every function can raise UserError.
#pragma once

#include "tenfold/lang/function.h"

namespace tenfold::lang {

// How windows slide. Each list has one entry for all spatial axes, or one for each.
struct Sliding {
  Ints stride = {1};                                   // elements from one window to the next
  std::vector<std::pair<int64_t, int64_t>> padding{};  // elements before and after each axis; empty: none
  Ints dilation = {1};                                 // elements from one tap to the next
  bool same = false;  // pad so that there are ceil(extent / stride) windows, the odd element at the end
};

// Sums of products: y[n, o, *p] = sum over c, *k of x[n, c, *(stride p + dilation k - padding)] w[o, c, *k].
// w is [o, c / groups, *taps]; group g of the outputs reads group g of the channels (groups = c: depthwise).
Tensor conv(const Operand& x, const Operand& w, const Sliding& = {}, int64_t groups = 1);

// The transpose of conv as a linear map of x: from [n, o, *p] to [n, c, *spatial], with the w of that conv,
// [o, c / groups, *taps]. An axis of p positions gets stride (p - 1) + dilation (taps - 1) + 1 elements less
// the padding; `same`: stride p.
Tensor conv_transpose(const Operand& x, const Operand& w, const Sliding& = {}, int64_t groups = 1);

// The largest element, or the mean, of each window of `taps` elements. Of the padding a maximum sees nothing;
// a mean counts it as zeros. The mean of integers is f32.
Tensor max_pool(const Operand& x, const Ints& taps, const Sliding&);
Tensor mean_pool(const Operand& x, const Ints& taps, const Sliding&);

// The windows themselves: y[.., i, .., k] = x[.., stride i + dilation k, ..] for each of the axes, which may
// be any of x. Positions take the axis' place, taps are new axes at the end.
Tensor window(const Operand& x, const Ints& axes, const Ints& taps, const Sliding& = {});

}  // namespace tenfold::lang
