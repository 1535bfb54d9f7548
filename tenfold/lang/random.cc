#include "tenfold/lang/random.h"

#include "tenfold/ir/build.h"
#include "tenfold/ir/random.h"
#include "tenfold/lang/function.h"

namespace tenfold::lang::random {
namespace {

using build::convert;
using build::full;
using build::map;

void check_key(std::string_view function, const Operand& key) {
  const bool is_key =
      !key.is_number() && key.dtype() == Dtype::u32 && !key.shape().empty() && key.shape().back() == Dim(2);
  if (!is_key)
    fail(fmt::format("random.{}: a key is u32[2], as random.key(seed) makes it", function), {&key, 1});
}

void check_float(std::string_view function, const Operand& key, Dtype dtype) {
  if (!is_float(dtype))
    fail(fmt::format("random.{}: the dtype must be floating, but it is {}", function, name(dtype)),
         {&key, 1});
}

// An offset, one for each key.
NodeRef offset_for(const NodeRef& key, const NodeRef& offset) {
  return build::broadcast_to(convert(offset, Dtype::i64),
                             Shape(key->shape().begin(), key->shape().end() - 1));
}

bool holds(Dtype dtype, const Scalar& integer) {
  const Scalar rounded = integer.round_to(dtype);
  const auto is_negative = [](const Scalar& s) { return s.is_i64() && s.i() < 0; };
  return rounded.u() == integer.u() && is_negative(rounded) == is_negative(integer);
}

// Numbers become arguments in eager code, so that another offset needs no other program.
Operands with_key(const Operand& key, std::initializer_list<Operand> others) {
  Operands out{key};
  for (const Operand& o : others) out.emplace_back(o.as_tensor(), o.where());
  return out;
}

}  // namespace

Tensor key(const Operand& seed) {
  if (!is_int(seed.dtype())) fail("random.key: the seed must be an integer", {&seed, 1});
  return compose("random.key", {Operand(seed.as_tensor(), seed.where())}, [](const Nodes& in) {
    const NodeRef wide = convert(in[0], Dtype::i64);
    const NodeRef low = convert(wide, Dtype::u32);
    const NodeRef high = convert(map("shift_right", {wide, full(32, wide->type())}), Dtype::u32);
    Shape one = wide->shape();
    one.emplace_back(1);
    return build::concatenate({build::reshape(low, one), build::reshape(high, one)},
                              static_cast<int64_t>(one.size()) - 1);
  });
}

Tensor split(const Operand& key, int64_t count) {
  check_key("split", key);
  return compose("random.split", {key},
                 [&](const Nodes& in) { return make("random_split", {in[0]}, {{"n", count}}); });
}

Tensor fold_in(const Operand& key, const Operand& data) {
  check_key("fold_in", key);
  if (!is_int(data.dtype()))
    fail(fmt::format("random.fold_in: the data must be an integer, but it is {}", name(data.dtype())),
         {&data, 1});
  return compose("random.fold_in", with_key(key, {data}),
                 [](const Nodes& in) { return make("fold_in", {in[0], offset_for(in[0], in[1])}); });
}

Tensor bits(const Operand& key, const Shape& shape, const Operand& offset) {
  check_key("bits", key);
  return compose("random.bits", with_key(key, {offset}), [&](const Nodes& in) {
    return tenfold::random::bits(in[0], shape, offset_for(in[0], in[1]));
  });
}

Tensor uniform(const Operand& key, const Shape& shape, const Operand& low, const Operand& high,
               const Operand& offset, Dtype dtype) {
  check_key("uniform", key);
  check_float("uniform", key, dtype);
  const Tensor unit = compose("random.uniform", with_key(key, {offset}), [&](const Nodes& in) {
    return tenfold::random::uniform(in[0], shape, offset_for(in[0], in[1]), dtype);
  });
  const auto is_number = [](const Operand& o, double value) {
    return o.is_number() && o.number().f() == value;
  };
  if (is_number(low, 0) && is_number(high, 1)) return unit;
  const Operand span(high - low, key.where()), u(unit, key.where());
  return Operand(u * span, key.where()) + low;
}

Tensor normal(const Operand& key, const Shape& shape, const Operand& offset, Dtype dtype) {
  check_key("normal", key);
  check_float("normal", key, dtype);
  return compose("random.normal", with_key(key, {offset}), [&](const Nodes& in) {
    return tenfold::random::normal(in[0], shape, offset_for(in[0], in[1]), dtype);
  });
}

Tensor integers(const Operand& key, const Operand& low, const Operand& high, const Shape& shape,
                const Operand& offset, Dtype dtype) {
  check_key("integers", key);
  if (!is_int(dtype))
    fail(fmt::format("random.integers: the dtype must be an integer one, but it is {}", name(dtype)),
         {&key, 1});
  for (const Operand* bound : {&low, &high}) {
    if (!is_int(bound->dtype()))
      fail(fmt::format("random.integers: low and high must be integers, but one is {}", name(bound->dtype())),
           {bound, 1});
    if (bound->is_number() && !holds(dtype, bound->number()))
      fail(fmt::format("random.integers: {} does not fit into {}; pass a wider dtype", bound->number().str(),
                       name(dtype)),
           {&key, 1});
  }
  if (low.is_number() && high.is_number() && low.number().i() >= high.number().i())
    fail(fmt::format("random.integers: low is {} and high is {}; there is no integer in between",
                     low.number().i(), high.number().i()),
         {&key, 1});
  if (low.is_number() && high.is_number() && high.number().u() - low.number().u() >= uint64_t{1} << 32)
    fail(fmt::format("random.integers: from {} to {} there are 2^32 integers or more; a word has 32 bits",
                     low.number().i(), high.number().i()),
         {&key, 1});
  return compose("random.integers", with_key(key, {offset, low, high}), [&](const Nodes& in) {
    return tenfold::random::integers(in[0], shape, offset_for(in[0], in[1]), convert(in[2], dtype),
                                     convert(in[3], dtype));
  });
}

}  // namespace tenfold::lang::random
