// Random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a
// function of (key, counter). A block is four words. The expansions are pure maps, so a draw fuses with
// whatever uses it.
#include "tenfold/ir/batch.h"
#include "tenfold/ir/prims/map.h"
#include "tenfold/ir/prims/philox.h"

namespace tenfold::prims {
namespace {

constexpr uint32_t kMultipliers[] = {0xD2511F53, 0xCD9E8D57};
constexpr uint32_t kWeyl[] = {0x9E3779B9, 0xBB67AE85};  // what each round adds to the key
constexpr int kRounds = 10;

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t p0 = uint64_t{kMultipliers[0]} * c[0], p1 = uint64_t{kMultipliers[1]} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kWeyl[0];
    key[1] += kWeyl[1];
  }
  return c;
}

std::array<NodeRef, 4> philox(std::array<NodeRef, 4> c, std::array<NodeRef, 2> key) {
  using build::map;
  using build::operator+;
  using build::operator*;
  auto constant = [&](uint32_t v) { return build::full(Scalar(uint64_t{v}), c[0]->type()); };
  auto mixed = [&](const NodeRef& high, const NodeRef& other, const NodeRef& k) {
    return map("bitwise_xor", {map("bitwise_xor", {high, other}), k});
  };
  for (int round = 0; round < kRounds; ++round) {
    const NodeRef m0 = constant(kMultipliers[0]), m1 = constant(kMultipliers[1]);
    c = {mixed(map("multiply_high", {m1, c[2]}), c[1], key[0]), m1 * c[2],
         mixed(map("multiply_high", {m0, c[0]}), c[3], key[1]), m0 * c[0]};
    key = {key[0] + constant(kWeyl[0]), key[1] + constant(kWeyl[1])};
  }
  return c;
}

namespace {

using build::convert;
using build::map;
using build::select;
using build::operator+;
using build::operator-;
using build::operator*;
using Types = std::vector<Type>;

// Words 2 and 3 of the counter keep the three uses of a key apart.
constexpr uint32_t kDomain = 0x1BD11BDA;
enum class Use : uint32_t { bits = 0, fold_in = 1, split = 2 };

using Block = std::array<uint32_t, 4>;

NodeRef word(uint32_t value, const Shape& shape) {
  return build::full(Scalar(uint64_t{value}), {Dtype::u32, shape});
}
NodeRef number(int64_t value, const Shape& shape) { return build::full(Scalar(value), {Dtype::i64, shape}); }

// The block at a position, for one of the three uses of a key.
Block block_at(int64_t position, Use use, uint32_t k0, uint32_t k1) {
  const auto bits = static_cast<uint64_t>(position);
  return philox(Block{static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32),
                      use == Use::bits ? 0 : kDomain, static_cast<uint32_t>(use)},
                {k0, k1});
}

// The four words of the blocks at `position` (i64), with keys of the same shape.
std::array<NodeRef, 4> blocks_at(const NodeRef& position, Use use, const NodeRef& k0, const NodeRef& k1) {
  const Shape& shape = position->shape();
  const NodeRef high = map("shift_right", {position, number(32, shape)});
  return philox({convert(position, Dtype::u32), convert(high, Dtype::u32),
                 word(use == Use::bits ? 0 : kDomain, shape), word(static_cast<uint32_t>(use), shape)},
                {k0, k1});
}

// Word 0 or 1 of keys u32[P..,2], as u32[P..].
NodeRef key_word(const NodeRef& key, int64_t which) {
  const int64_t last = key->rank() - 1;
  Shape shape = key->shape();
  shape.pop_back();
  return build::reshape(build::slice_axis(key, last, which, which + 1), shape);
}

// x[P..] repeated along further dimensions at the right.
NodeRef extended(const NodeRef& x, const Shape& shape) {
  Ints axes(x->rank());
  for (size_t d = 0; d < axes.size(); ++d) axes[d] = static_cast<int64_t>(d);
  return build::broadcast(x, shape, axes);
}

Shape joined(Shape a, const Shape& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// One of four words by a lane 0..3 (i64).
NodeRef choose(const std::array<NodeRef, 4>& words, const NodeRef& lane) {
  const Shape& shape = lane->shape();
  const NodeRef zero = number(0, shape);
  const NodeRef odd = map("not_equal", {map("bitwise_and", {lane, number(1, shape)}), zero});
  const NodeRef upper = map("not_equal", {map("bitwise_and", {lane, number(2, shape)}), zero});
  return select(upper, select(odd, words[3], words[2]), select(odd, words[1], words[0]));
}

// Words 0 and 1 of the blocks, side by side: keys.
NodeRef as_keys(const std::array<NodeRef, 4>& words) {
  const Shape shape = joined(words[0]->shape(), {2});
  const NodeRef lane = build::iota(shape, static_cast<int64_t>(shape.size()) - 1);
  return select(map("equal", {lane, number(0, shape)}), extended(words[0], shape), extended(words[1], shape));
}

// ---- type rules

void check_key(std::string_view prim, const Type& key) {
  if (key.dtype != Dtype::u32 || key.rank() == 0 || key.shape.back() != Dim(2))
    user_error("{}: a key is u32[..,2], but key is {}. Make one with random.key(seed).", prim, key.str());
}

Shape prefix(const Type& key) { return Shape(key.shape.begin(), key.shape.end() - 1); }

void check_per_key(std::string_view prim, std::string_view operand, const Type& key, const Type& value) {
  if (value != Type{Dtype::i64, prefix(key)})
    user_error("{}: {} is {}, but a key {} needs {}.", prim, operand, value.str(), key.str(),
               Type{Dtype::i64, prefix(key)}.str());
}

Types bits_type(const Attrs& attrs, In in) {
  const Type& key = in[0]->type();
  check_key("random_bits", key);
  check_per_key("random_bits", "offset", key, in[1]->type());
  return {{Dtype::u32, joined(prefix(key), attrs.shape("shape"))}};
}

Types fold_in_type(const Attrs&, In in) {
  check_key("fold_in", in[0]->type());
  check_per_key("fold_in", "data", in[0]->type(), in[1]->type());
  return {in[0]->type()};
}

Types split_type(const Attrs& attrs, In in) {
  const int64_t n = attrs.integer("n");
  check_key("random_split", in[0]->type());
  if (n < 0) user_error("random_split: n is {}, but a number of keys is 0 or more.", n);
  return {{Dtype::u32, joined(prefix(in[0]->type()), {n, 2})}};
}

// ---- reference

uint32_t word_at(const Array& a, int64_t k) { return a.data<uint32_t>()[k]; }

void bits_reference(const Node&, std::span<const Array* const> in, std::span<Array> out) {
  const Array &key = *in[0], &offset = *in[1];
  const int64_t keys = offset.size(), count = keys ? out[0].size() / keys : 0;
  for (int64_t p = 0; p < keys; ++p)
    for (int64_t j = 0; j < count; ++j) {
      const int64_t index = offset.data<int64_t>()[p] + j;
      const Block block = block_at(index >> 2, Use::bits, word_at(key, 2 * p), word_at(key, 2 * p + 1));
      out[0].data<uint32_t>()[p * count + j] = block[index & 3];
    }
}

void fold_in_reference(const Node&, std::span<const Array* const> in, std::span<Array> out) {
  for (int64_t p = 0; p < in[1]->size(); ++p) {
    const Block block =
        block_at(in[1]->data<int64_t>()[p], Use::fold_in, word_at(*in[0], 2 * p), word_at(*in[0], 2 * p + 1));
    for (int64_t w = 0; w < 2; ++w) out[0].data<uint32_t>()[2 * p + w] = block[w];
  }
}

void split_reference(const Node& node, std::span<const Array* const> in, std::span<Array> out) {
  const int64_t n = node.attrs.integer("n");
  for (int64_t p = 0; p < in[0]->size() / 2; ++p)
    for (int64_t k = 0; k < n; ++k) {
      const Block block = block_at(k, Use::split, word_at(*in[0], 2 * p), word_at(*in[0], 2 * p + 1));
      for (int64_t w = 0; w < 2; ++w) out[0].data<uint32_t>()[2 * (p * n + k) + w] = block[w];
    }
}

// ---- expansions

// The value of a constant that may have been broadcast.
std::optional<int64_t> constant_value(const NodeRef& x) {
  const Node* n = x.get();
  while (n->prim->kind == Kind::move && n->inputs.size() == 1) n = n->inputs[0].get();
  if (!n->prim->has("constant")) return {};
  return n->attrs.scalar("value").i();
}

Nodes bits_expand(const Node& node, In in) {
  const NodeRef &key = in[0], &offset = in[1];
  const Shape &keys = offset->shape(), &drawn = node.attrs.shape("shape");
  const Shape result = joined(keys, drawn);
  const int64_t axis = static_cast<int64_t>(keys.size());
  const Dim count = volume(drawn);
  const NodeRef k0 = key_word(key, 0), k1 = key_word(key, 1);
  if (count == Dim(1)) {
    const NodeRef block = map("shift_right", {offset, number(2, keys)}),
                  lane = map("bitwise_and", {offset, number(3, keys)});
    return {build::reshape(choose(blocks_at(block, Use::bits, k0, k1), lane), result)};
  }
  const std::optional<int64_t> start = constant_value(offset);
  if (start && *start % 4 == 0 && provably_divides(4, count)) {  // whole blocks: each is computed once
    const Shape blocks = joined(keys, {floordiv(count, 4)}), lanes = joined(blocks, {4});
    const NodeRef block = build::iota(blocks, axis) + number(*start >> 2, blocks);
    std::array<NodeRef, 4> words = blocks_at(block, Use::bits, extended(k0, blocks), extended(k1, blocks));
    for (NodeRef& w : words) w = extended(w, lanes);
    return {build::reshape(choose(words, build::iota(lanes, axis + 1)), result)};
  }
  const Shape flat = joined(keys, {count});
  const NodeRef index = extended(offset, flat) + build::iota(flat, axis);
  const NodeRef block = map("shift_right", {index, number(2, flat)}),
                lane = map("bitwise_and", {index, number(3, flat)});
  return {build::reshape(choose(blocks_at(block, Use::bits, extended(k0, flat), extended(k1, flat)), lane),
                         result)};
}

Nodes fold_in_expand(const Node&, In in) {
  return {as_keys(blocks_at(in[1], Use::fold_in, key_word(in[0], 0), key_word(in[0], 1)))};
}

Nodes split_expand(const Node& node, In in) {
  const Shape shape = joined(prefix(in[0]->type()), {node.attrs.integer("n")});
  const NodeRef position = build::iota(shape, static_cast<int64_t>(shape.size()) - 1);
  return {as_keys(blocks_at(position, Use::split, extended(key_word(in[0], 0), shape),
                            extended(key_word(in[0], 1), shape)))};
}

// ---- batching: keys and offsets may have any leading dimensions

std::vector<Batched> random_batch(const Node& n, std::span<const Batched> in, const Dim& size) {
  Nodes inputs;
  for (const Batched& b : in) inputs.push_back(with_batch(b, size));
  return {{make(*n.prim, std::move(inputs), n.attrs), true}};
}

Nodes no_derivative(const NodeRef& y, In) { return Nodes(y->inputs.size()); }

constexpr double kBlockCost = 120;  // ten rounds: two wide and two narrow products, four xors, two key sums

const Prim kPrims[] = {
    {.name = "random_bits",
     .doc = "Random words by Philox4x32-10. Word j of the result, counted over `shape`, is word (offset + j) "
            "mod 4 of block "
            "floor((offset + j) / 4) of the key.",
     .kind = Kind::random,
     .arity = 2,
     .operands = {"key", "offset"},
     .attributes = {{"shape", AttrSpec::Type::shape, "the shape drawn for each key"}},
     .type = bits_type,
     .reference = bits_reference,
     .vjp = no_derivative,
     .batch = random_batch,
     .cost = kBlockCost,
     .expand = bits_expand},
    {.name = "fold_in",
     .doc = "A new key from a key and a number: one block of Philox4x32-10 with the counter (data low, data "
            "high, 0x1BD11BDA, 1).",
     .kind = Kind::random,
     .arity = 2,
     .operands = {"key", "data"},
     .type = fold_in_type,
     .reference = fold_in_reference,
     .vjp = no_derivative,
     .batch = random_batch,
     .cost = kBlockCost,
     .expand = fold_in_expand},
    {.name = "random_split",
     .doc = "n new keys from a key: blocks of Philox4x32-10 with the counters (k, 0, 0x1BD11BDA, 2).",
     .kind = Kind::random,
     .operands = {"key"},
     .attributes = {{"n", AttrSpec::Type::integer, "how many keys"}},
     .type = split_type,
     .reference = split_reference,
     .vjp = no_derivative,
     .batch = random_batch,
     .cost = kBlockCost,
     .expand = split_expand},
};

const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold::prims
