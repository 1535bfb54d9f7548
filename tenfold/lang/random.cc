#include "tenfold/lang/random.h"

#include <cmath>
#include <numbers>

#include "tenfold/ir/build.h"
#include "tenfold/lang/function.h"

namespace tenfold::lang::random {
namespace {

using build::convert;
using build::full;
using build::map;
using build::operator*;
using build::operator+;
using build::operator-;

Shape keys_of(const NodeRef& key) { return Shape(key->shape().begin(), key->shape().end() - 1); }

void check_key(std::string_view function, const Operand& key) {
    const bool is_key = !key.is_number() && key.dtype() == Dtype::u32 && !key.shape().empty() && key.shape().back() == Dim(2);
    if (!is_key) fail(fmt::format("random.{}: a key is u32[2], as random.key(seed) makes it", function), {&key, 1});
}

void check_float(std::string_view function, const Operand& key, Dtype dtype) {
    if (!is_float(dtype)) fail(fmt::format("random.{}: the dtype must be floating, but it is {}", function, name(dtype)), {&key, 1});
}

// An offset, one for each key.
NodeRef offset_for(const NodeRef& key, const NodeRef& offset) { return build::broadcast_to(convert(offset, Dtype::i64), keys_of(key)); }

NodeRef words(const NodeRef& key, const NodeRef& offset, const Shape& shape) {
    return make("random_bits", {key, offset}, {{"shape", shape}});
}

Shape joined(Shape a, const Shape& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// Each of `count` consecutive words of an element, over `shape`.
Nodes words_of_each(const NodeRef& key, const NodeRef& offset, const Shape& shape, int64_t count) {
    if (count == 1) return {words(key, offset, shape)};
    const NodeRef first = map("mul", {offset, full(count, offset->type())});
    const Shape all = joined(shape, {count});
    const NodeRef drawn = words(key, first, all);
    const auto axis = static_cast<int64_t>(drawn->rank()) - 1;
    Nodes out;
    for (int64_t k = 0; k < count; ++k)
        out.push_back(build::reshape(build::slice_axis(drawn, axis, k, k + 1), joined(keys_of(key), shape)));
    return out;
}

int fraction_bits(Dtype d) { return d == Dtype::f16 ? 11 : d == Dtype::bf16 ? 8 : d == Dtype::f32 ? 24 : 53; }

// [0, 1): the highest bits of a word (f64: of two) as a fraction.
NodeRef fraction(const Nodes& in, Dtype dtype) {
    const int bits = fraction_bits(dtype);
    NodeRef word = in[0];
    int width = 32;
    if (dtype == Dtype::f64) {
        const NodeRef high = convert(in[0], Dtype::u64), low = convert(in[1], Dtype::u64);
        word = map("bitwise_or", {map("shift_left", {high, full(uint64_t{32}, high->type())}), low});
        width = 64;
    }
    const NodeRef top = map("shift_right", {word, full(Scalar(static_cast<uint64_t>(width - bits)), word->type())});
    // Fewer bits than the precision: exact. A signed integer converts in one instruction.
    const NodeRef whole = convert(convert(top, width == 32 ? Dtype::i32 : Dtype::i64), dtype);
    return whole * std::ldexp(1.0, -bits);
}

int64_t words_per_fraction(Dtype d) { return d == Dtype::f64 ? 2 : 1; }

}  // namespace

Tensor key(const Operand& seed) {
    if (!is_int(seed.dtype())) fail("random.key: the seed must be an integer", {&seed, 1});
    return compose("random.key", {Operand(seed.as_tensor(), seed.where())}, [](const Nodes& in) {
        const NodeRef wide = convert(in[0], Dtype::i64);
        const NodeRef low = convert(wide, Dtype::u32);
        const NodeRef high = convert(map("shift_right", {wide, full(32, wide->type())}), Dtype::u32);
        const Shape one = joined(wide->shape(), {1});
        return build::concatenate({build::reshape(low, one), build::reshape(high, one)}, static_cast<int64_t>(one.size()) - 1);
    });
}

Tensor split(const Operand& key, int64_t count) {
    check_key("split", key);
    return compose("random.split", {key}, [&](const Nodes& in) { return make("random_split", {in[0]}, {{"n", count}}); });
}

Tensor fold_in(const Operand& key, const Operand& data) {
    check_key("fold_in", key);
    return compose("random.fold_in", {key, Operand(data.as_tensor(), data.where())},
                   [](const Nodes& in) { return make("fold_in", {in[0], offset_for(in[0], in[1])}); });
}

Tensor bits(const Operand& key, const Shape& shape, const Operand& offset) {
    check_key("bits", key);
    return compose("random.bits", {key, Operand(offset.as_tensor(), offset.where())},
                   [&](const Nodes& in) { return words(in[0], offset_for(in[0], in[1]), shape); });
}

Tensor uniform(const Operand& key, const Shape& shape, const Operand& low, const Operand& high, const Operand& offset, Dtype dtype) {
    check_key("uniform", key);
    check_float("uniform", key, dtype);
    const Tensor unit = compose("random.uniform", {key, Operand(offset.as_tensor(), offset.where())}, [&](const Nodes& in) {
        return fraction(words_of_each(in[0], offset_for(in[0], in[1]), shape, words_per_fraction(dtype)), dtype);
    });
    const auto is_number = [](const Operand& o, double value) { return o.is_number() && o.number().f() == value; };
    if (is_number(low, 0) && is_number(high, 1)) return unit;
    const Operand u(unit, key.where());
    const Tensor span = high - low;
    return Operand(u * Operand(span, key.where()), key.where()) + low;
}

Tensor normal(const Operand& key, const Shape& shape, const Operand& offset, Dtype dtype) {
    check_key("normal", key);
    check_float("normal", key, dtype);
    const int64_t each = words_per_fraction(dtype);
    return compose("random.normal", {key, Operand(offset.as_tensor(), offset.where())}, [&](const Nodes& in) {
        const Dtype wide = dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32;
        const Nodes all = words_of_each(in[0], offset_for(in[0], in[1]), shape, 2 * each);
        const auto half = all.begin() + each;
        const NodeRef u = fraction(Nodes(all.begin(), half), wide), v = fraction(Nodes(half, all.end()), wide);
        const NodeRef radius = map("sqrt", {map("log", {1.0 - u}) * -2.0});  // 1 - u is in (0, 1]
        return convert(radius * map("cos", {v * (2 * std::numbers::pi)}), dtype);
    });
}

Tensor integers(const Operand& key, const Operand& low, const Operand& high, const Shape& shape, const Operand& offset, Dtype dtype) {
    check_key("integers", key);
    if (!is_int(dtype)) fail(fmt::format("random.integers: the dtype must be an integer one, but it is {}", name(dtype)), {&key, 1});
    if (low.is_number() && high.is_number() && low.number().i() >= high.number().i())
        fail(fmt::format("random.integers: low is {} and high is {}; there is no integer in between", low.number().i(), high.number().i()), {&key, 1});
    const Operands operands{key, Operand(offset.as_tensor(), offset.where()), low, high};
    return compose("random.integers", operands, [&](const Nodes& in) {
        const NodeRef word = words(in[0], offset_for(in[0], in[1]), shape);
        const NodeRef from = convert(in[2], Dtype::i64), to = convert(in[3], Dtype::i64);
        const NodeRef range = convert(map("sub", {to, from}), Dtype::u32);
        const NodeRef step = map("multiply_high", {word, build::broadcast_to(range, word->shape())});
        const NodeRef first = build::broadcast_to(convert(from, dtype), word->shape());
        return map("add", {convert(step, dtype), first});
    });
}

}  // namespace tenfold::lang::random
