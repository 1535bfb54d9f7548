// Products of narrow inputs are those of the inputs converted to what they are summed in: exactly, so the
// planner may convert where that is cheapest (once, into what is packed).
#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

bool is_byte(const NodeRef& n) { return is_int(n->dtype()) && size_of(n->dtype()) == 1; }

NodeRef flipped(const NodeRef& x) {  // x + 128 as u8
  return build::map("bitwise_xor",
                    {build::convert(x, Dtype::u8), build::full(Scalar(128), {Dtype::u8, x->shape()})});
}

// i8 times i8 as u8 times i8, which processors have instructions for: sum a b = sum (a + 128) b - 128 sum b,
// all modulo 2^32. The sums of b are made where b is packed, so b is the operand along the last axis.
NodeRef with_unsigned(const NodeRef& n) {
  ContractSpec spec = parse_contract(n->attrs.text("spec"));
  NodeRef a = n->inputs[0], b = n->inputs[1];
  if (!spec.out.empty() && spec.b.find(spec.out.back()) == std::string::npos) {
    std::swap(a, b);
    std::swap(spec.a, spec.b);
  }
  Ints summed, kept;
  std::string left;
  int64_t repeats = 1;  // an axis that a alone has is summed too
  for (size_t d = 0; d < spec.a.size(); ++d) {
    if (spec.out.find(spec.a[d]) != std::string::npos || spec.b.find(spec.a[d]) != std::string::npos)
      continue;
    if (!a->shape()[d].is_const()) return {};
    repeats *= a->shape()[d].value();
  }
  for (size_t d = 0; d < spec.b.size(); ++d) {
    if (spec.out.find(spec.b[d]) == std::string::npos)
      summed.push_back(static_cast<int64_t>(d));
    else
      left += spec.b[d];
  }
  NodeRef sums = build::reduce("sum", build::convert(b, Dtype::i32), summed);
  sums = build::map("mul", {sums, build::full(Scalar(128 * repeats), sums->type())});
  Ints from, axes;
  for (size_t d = 0; d < spec.out.size(); ++d)
    if (const size_t at = left.find(spec.out[d]); at != std::string::npos) {
      from.push_back(static_cast<int64_t>(at));
      axes.push_back(static_cast<int64_t>(d));
    }
  const NodeRef product =
      build::contract(flipped(a), b, fmt::format("{},{}->{}", spec.a, spec.b, spec.out), Dtype::i32);
  return build::map("sub", {product, build::broadcast(build::transpose(sums, from), n->shape(), axes)});
}

// Does it lie along this axis in memory, so far as its moves tell?
bool lies_along(const NodeRef& x, int64_t axis) {
  const auto inner = [&](int64_t a) {
    return x->inputs[0]->rank() > 0 ? lies_along(x->inputs[0], a) : false;
  };
  if (x->prim->kind != Kind::move) return axis == x->rank() - 1;
  if (x->prim->name == "transpose") return inner(x->attrs.ints("permutation")[static_cast<size_t>(axis)]);
  return false;
}

// Is there a summed axis of even length along which the rows of a product lie?
bool by_pairs(const NodeRef& n) {
  const NodeRef &a = n->inputs[0], &b = n->inputs[1];
  const ContractSpec spec = parse_contract(n->attrs.text("spec"));
  for (size_t d = 0; d < spec.a.size(); ++d) {
    const size_t e = spec.b.find(spec.a[d]);
    const Dim& length = a->shape()[d];
    if (e != std::string::npos && spec.out.find(spec.a[d]) == std::string::npos && length.is_const() &&
        length.value() % 2 == 0 &&
        (lies_along(a, static_cast<int64_t>(d)) || lies_along(b, static_cast<int64_t>(e))))
      return true;
  }
  return false;
}

NodeRef widened(const NodeRef& n, const Narrow& stays) {
  if (n->prim->kind != Kind::contract) return n;
  const NodeRef &a = n->inputs[0], &b = n->inputs[1];
  const Dtype wide = is_float(n->dtype()) && size_of(n->dtype()) < 4 ? Dtype::f32 : n->dtype();
  if (size_of(wide) < 4 || (a->dtype() == wide && b->dtype() == wide)) return n;
  if (stays.bytes && is_byte(a) && is_byte(b)) {
    const bool signs[] = {is_signed_int(a->dtype()), is_signed_int(b->dtype())};
    if (signs[0] != signs[1]) return n;
    if (signs[0] && stays.signed_bytes) return n;
    if (signs[0])
      if (NodeRef made = with_unsigned(n)) return made;
  }
  const bool bf16 = a->dtype() == Dtype::bf16 && b->dtype() == Dtype::bf16;
  if (stays.pairs && wide == Dtype::f32 && bf16 && by_pairs(n))
    return build::convert(build::contract(a, b, n->attrs.text("spec"), wide), n->dtype());
  return build::convert(
      build::contract(build::convert(a, wide), build::convert(b, wide), n->attrs.text("spec")), n->dtype());
}

// x as numbers of bf16 that add up to it, but for what is left after the last; each has 8 bits of it. What
// overflows bf16, and infinities, become NaN.
Nodes pieces_of(NodeRef x, int count) {
  Nodes pieces;
  for (int k = 0; k < count; ++k) {
    pieces.push_back(build::convert(x, Dtype::bf16));
    if (k + 1 < count) x = build::map("sub", {x, build::convert(pieces.back(), Dtype::f32)});
  }
  return pieces;
}

// Products of f32 as those of its pieces, the smallest first: of two pieces each three products (what is left
// is 2^-16 of a term), of three six (2^-24). Henry, Tang, Heinecke 2019, "Leveraging the bfloat16 Artificial
// Intelligence Datatype For Higher-Precision Computations", section III.
NodeRef by_pieces(const NodeRef& n, int count) {
  if (n->prim->kind != Kind::contract || n->dtype() != Dtype::f32 || n->inputs[0]->dtype() != Dtype::f32 ||
      n->inputs[1]->dtype() != Dtype::f32 || !by_pairs(n))
    return n;
  const Nodes a = pieces_of(n->inputs[0], count), b = pieces_of(n->inputs[1], count);
  NodeRef sum;
  for (int order = count - 1; order >= 0; --order)
    for (int k = 0; k <= order; ++k) {
      const NodeRef product = build::contract(a[static_cast<size_t>(k)], b[static_cast<size_t>(order - k)],
                                              n->attrs.text("spec"), Dtype::f32);
      sum = sum ? build::map("add", {sum, product}) : product;
    }
  return sum;
}

}  // namespace

Graph in_bf16(const Graph& graph, int pieces) {
  return rewrite::rewrite(graph, [&](const NodeRef& n) {
    return n->types.size() == 1 ? Nodes{by_pieces(n, pieces)} : rewrite::outputs(n);
  });
}

Graph widen(const Graph& graph, const Narrow& stays) {
  return rewrite::rewrite(graph, [&](const NodeRef& n) {
    return n->types.size() == 1 ? Nodes{widened(n, stays)} : rewrite::outputs(n);
  });
}

}  // namespace tenfold
