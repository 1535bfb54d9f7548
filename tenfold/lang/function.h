// Functions on tensors. Operands broadcast as NumPy's do and are promoted as the Array API says; numbers take
// the dtype of what they meet. The maps and the reductions of the primitives' records are in generated/ops.h.
// Every function can raise UserError, which names the line of the call and the lines that made the operands.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenfold/ir/prim.h"
#include "tenfold/lang/tensor.h"

namespace tenfold::lang {

using Axes = std::optional<Ints>;  // nothing: all axes. Negative axes count from the end

// What the generated functions call.
Tensor apply_map(const Prim&, Operands, Attrs = {});
Tensor apply_reduce(const Prim&, const Operand& x, const Axes&, bool keepdims);

// The dtype that operands of these are computed in. UserError where the Array API defines none.
Dtype result_dtype(std::span<const Operand> operands, std::string_view function);
Shape broadcast_shapes(std::span<const Operand> operands, std::string_view function);

// Whether a map or reduction takes a dtype: asked of its own type rule, once.
bool takes(const Prim&, Dtype);

// ---- creation
Tensor full(const Shape&, const Operand& value, std::optional<Dtype> = {});
Tensor zeros(const Shape&, Dtype = Dtype::f32, Location = std::source_location::current());
Tensor ones(const Shape&, Dtype = Dtype::f32, Location = std::source_location::current());
Tensor full_like(const Operand& x, const Operand& value, std::optional<Dtype> = {});
Tensor arange(const Operand& start, const Operand& stop, const Operand& step, std::optional<Dtype> = {});
Tensor linspace(const Operand& start, const Operand& stop, int64_t count, bool endpoint = true,
                std::optional<Dtype> = {});
Tensor eye(const Dim& rows, std::optional<Dim> cols = {}, int64_t diagonal = 0, Dtype = Dtype::f32,
           Location = std::source_location::current());

// ---- shape
Tensor astype(const Operand& x, Dtype);
Tensor broadcast_to(const Operand& x, const Shape&);
Tensor reshape(const Operand& x, const Shape&);  // one extent may be -1
Tensor permute(const Operand& x, const Ints& order);
Tensor transpose(const Operand& x);         // axes reversed
Tensor matrix_transpose(const Operand& x);  // the last two axes exchanged
Tensor moveaxis(const Operand& x, int64_t from, int64_t to);
Tensor expand_dims(const Operand& x, int64_t axis);
Tensor squeeze(const Operand& x, const Axes& axes = {});
Tensor flip(const Operand& x, const Axes& axes = {});
Tensor concatenate(const Operands&, std::optional<int64_t> axis = 0);  // nothing: of the flattened ones
Tensor stack(const Operands&, int64_t axis = 0);
Tensor pad(const Operand& x, const std::vector<std::pair<int64_t, int64_t>>& widths,
           const Operand& value = 0);

// ---- indexing: x[...]
struct Slice {
  std::optional<int64_t> start, stop;
  int64_t step = 1;
};
struct Ellipsis {};
struct NewAxis {};
using Index = std::variant<int64_t, Slice, Ellipsis, NewAxis,
                           Tensor>;  // a Tensor: integers, one axis is replaced by its axes
Tensor index(const Operand& x, const std::vector<Index>&);
Tensor take(const Operand& x, const Operand& indices,
            std::optional<int64_t> axis = {});                                      // out of range: clamped
Tensor dynamic_slice(const Operand& x, const Operands& start, const Shape& sizes);  // clamped into x
Tensor update_slice(const Operand& x, const Operand& update,
                    const Operands& start);  // x with a part replaced

// ---- contractions
// The products are summed in `dtype`, which is then the result's: f32 for f16 and bf16, i32 (modulo 2^32) for
// integers of 8 and 16 bits, of which the two operands may have different ones. Else in the promoted dtype.
Tensor einsum(std::string_view spec, const Operands&, std::optional<Dtype> dtype = {});
Tensor matmul(const Operand& x, const Operand& y, std::optional<Dtype> dtype = {});
Tensor tensordot(const Operand& x, const Operand& y, const Ints& x_axes, const Ints& y_axes,
                 std::optional<Dtype> dtype = {});

// ---- composed
Tensor divide(const Operand& x, const Operand& y);  // true division: integers become f32
Tensor power(const Operand& x, const Operand& y);   // whole constant exponents are multiplications
Tensor where(const Operand& mask, const Operand& then, const Operand& otherwise);
Tensor clip(const Operand& x, const Operand& low, const Operand& high);
Tensor square(const Operand& x);
Tensor mean(const Operand& x, const Axes& axes = {}, bool keepdims = false);
Tensor var(const Operand& x, const Axes& axes = {}, bool keepdims = false, double correction = 0);
Tensor std_dev(const Operand& x, const Axes& axes = {}, bool keepdims = false, double correction = 0);

Tensor operator+(const Operand&, const Operand&);
Tensor operator-(const Operand&, const Operand&);
Tensor operator*(const Operand&, const Operand&);
Tensor operator/(const Operand&, const Operand&);
Tensor operator%(const Operand&, const Operand&);
Tensor operator-(const Operand&);
Tensor operator<(const Operand&, const Operand&);
Tensor operator<=(const Operand&, const Operand&);
Tensor operator>(const Operand&, const Operand&);
Tensor operator>=(const Operand&, const Operand&);
Tensor operator==(const Operand&, const Operand&);
Tensor operator!=(const Operand&, const Operand&);
Tensor operator&(const Operand&, const Operand&);  // logical on bool, bits on integers
Tensor operator|(const Operand&, const Operand&);
Tensor operator^(const Operand&, const Operand&);
Tensor operator~(const Operand&);
Tensor operator<<(const Operand&, const Operand&);
Tensor operator>>(const Operand&, const Operand&);

// For functions built of several nodes: `build` gets the operands' nodes, as they are. Its result depends on
// them all.
template <class Build>
Tensor compose(std::string_view function, const Operands& operands, Build build);
std::vector<Tensor> finish(const Nodes& results, const Operands& operands, Location where, bool weak = false);
Tensor finish(const NodeRef& result, const Operands& operands, Location where, bool weak = false);
NodeRef node_of(const Operand&, Dtype);  // converted
NodeRef node_of(const Operand&);
// As NumPy decides: an integer that an integer dtype does not hold is a UserError; arrays are cast, and wrap.
void check_fits(std::string_view function, const Scalar&, Dtype, Location where);
[[noreturn]] void fail(std::string_view reason, std::span<const Operand> operands,
                       std::span<const std::string_view> names = {});
int64_t normal_axis(int64_t axis, int64_t rank, std::string_view function, const Operand& x);

template <class Build>
Tensor compose(std::string_view, const Operands& operands, Build build) {
  Nodes nodes;
  for (const Operand& operand : operands) nodes.push_back(node_of(operand));
  NodeRef result;
  try {
    result = build(nodes);
  } catch (const UserError& error) {
    fail(error.what(), operands);
  }
  return finish(result, operands, operands.empty() ? Location() : operands[0].where());
}

}  // namespace tenfold::lang
