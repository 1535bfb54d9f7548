#include "tenfold/lang/contract.h"

#include <algorithm>
#include <array>

#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/lang/tensor_impl.h"

namespace tenfold::lang {
namespace {

constexpr std::array<std::string_view, 6> kReductions = {"sum", "prod", "max", "min", "any", "all"};

std::string without_spaces(std::string_view text) {
  std::string clean(text);
  std::erase(clean, ' ');
  return clean;
}

// x[k,m] as [m,1,k] for the letters "km" among "mnk".
Tensor spread(const Operand& x, const std::string& own, const std::string& all) {
  return compose("contract", {x}, [&](const Nodes& in) {
    Ints order;
    Shape shape;
    for (const char c : all) {
      const auto at = own.find(c);
      shape.push_back(at == std::string::npos ? Dim(1) : in[0]->shape()[at]);
      if (at != std::string::npos) order.push_back(static_cast<int64_t>(at));
    }
    return build::reshape(build::transpose(in[0], order), shape);
  });
}

Type type_of(const Operand& x) { return {x.dtype(), x.shape()}; }

void check_parts(std::string_view what, std::string_view side, const Operands& parts) {
  for (size_t i = 1; i < parts.size(); ++i)
    if (parts[i].shape() != parts[0].shape() && parts[i].shape().size() == parts[0].shape().size())
      user_error("{}: part 0 of {} is {}, but part {} is {}; the parts of an element have one shape", what,
                 side, type_of(parts[0]).str(), i, type_of(parts[i]).str());
}

}  // namespace

void check_operator(const Operator& op) {
  if (std::ranges::find(kReductions, op.add) == kReductions.end())
    user_error("Operator: add is \"{}\", which is no reduction.\n  Write one of \"{}\".", op.add,
               fmt::join(kReductions, "\", \""));
}

Tensor contract(std::string_view text, const Operand& a, const Operand& b) {
  const std::string spec = without_spaces(text);
  const Operand both[] = {a, b};
  const Dtype dtype = result_dtype(both, "contract");
  try {
    contract_shape(spec, type_of(a), type_of(b));
  } catch (const UserError& error) {
    constexpr std::string_view kNames[] = {"a", "b"};
    fail(error.what(), both, kNames);
  }
  return compose("contract", {a, b}, [&](const Nodes& in) {
    return build::contract(build::convert(in[0], dtype), build::convert(in[1], dtype), spec);
  });
}

Tensors contract(std::string_view text, const Operands& a, const Operands& b, const Operator& op) {
  check_operator(op);
  const std::string clean = without_spaces(text);
  Operands all = a;
  all.insert(all.end(), b.begin(), b.end());
  try {
    const ContractSpec spec = parse_contract(clean);
    if (a.empty() || b.empty())
      user_error("contract \"{}\" over {}: {} has no tensors", clean, op.name, a.empty() ? "a" : "b");
    const std::string what = fmt::format("contract \"{}\" over {}", clean, op.name);
    check_parts(what, "a", a);
    check_parts(what, "b", b);
    Shape result;
    for (const Operand& x : a)
      for (const Operand& y : b) result = contract_shape(clean, type_of(x), type_of(y));
    const std::string summed = spec.summed(), letters = spec.out + summed;
    Shape shape = result;
    for (const char c : summed) {
      const auto at = spec.a.find(c);
      shape.push_back(at != std::string::npos ? a[0].shape()[at] : b[0].shape()[spec.b.find(c)]);
    }
    Tensors left, right;
    for (const Operand& x : a) left.push_back(spread(x, spec.a, letters));
    for (const Operand& y : b) right.push_back(spread(y, spec.b, letters));
    Ints axes;
    for (size_t d = spec.out.size(); d < letters.size(); ++d) axes.push_back(static_cast<int64_t>(d));
    const Prim& reduction = prim("reduce_" + op.add);
    Tensors sums;
    const Tensors products = op.multiply(left, right);
    if (products.empty())
      user_error("{}: multiply returned no tensors; return the product of two elements", what);
    for (const Tensor& product : products) {
      const Dtype dtype = product.dtype();
      if (!takes(reduction, dtype))
        user_error(
            "contract \"{}\" over {}: its products are {}, which have no {}; convert the inputs, or write "
            "an Operator whose add is another of \"{}\"",
            clean, op.name, name(dtype), op.add, fmt::join(kReductions, "\", \""));
      if (product.shape() != shape && product.shape() != left[0].shape() &&
          product.shape() != right[0].shape())
        user_error(
            "{}: a product is {}, but its axes are \"{}\", {}; multiply may only combine elements that stand "
            "at one place",
            what, product.type().str(), letters, Type{dtype, shape}.str());
      sums.push_back(compose("contract", {product}, [&](const Nodes& in) {
        const NodeRef terms = build::broadcast_to(in[0], shape);
        return axes.empty() ? terms : make(reduction, {terms}, {{"axes", axes}});
      }));
    }
    return sums;
  } catch (const UserError& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) throw;
    std::vector<std::string> words;
    for (size_t i = 0; i < a.size(); ++i) words.push_back(a.size() == 1 ? "a" : fmt::format("a, part {}", i));
    for (size_t i = 0; i < b.size(); ++i) words.push_back(b.size() == 1 ? "b" : fmt::format("b, part {}", i));
    const std::vector<std::string_view> names(words.begin(), words.end());
    fail(error.what(), all, names);
  }
}

}  // namespace tenfold::lang
