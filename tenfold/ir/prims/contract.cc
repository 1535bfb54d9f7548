// Contractions: products summed over shared axes.
#include "tenfold/ir/contract.h"

#include <algorithm>
#include <array>

#include "tenfold/ir/batch.h"
#include "tenfold/ir/build.h"

namespace tenfold {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

}  // namespace

std::string ContractSpec::summed() const {
  std::string letters;
  for (const char c : a + b)
    if (out.find(c) == std::string::npos && letters.find(c) == std::string::npos) letters += c;
  return letters;
}

ContractSpec parse_contract(const std::string& text) {
  const auto comma = text.find(','), arrow = text.find("->");
  if (comma == std::string::npos || arrow == std::string::npos || comma > arrow)
    user_error(
        "contract \"{}\": a specification reads \"mk,kn->mn\": the axes of the first input, of the second, "
        "and of the result",
        text);
  ContractSpec spec{text.substr(0, comma), text.substr(comma + 1, arrow - comma - 1), text.substr(arrow + 2)};
  for (const auto& [letters, whose] :
       {std::pair(&spec.a, "the first input"), {&spec.b, "the second input"}, {&spec.out, "the result"}}) {
    for (const char c : *letters) {
      if (!is_letter(c))
        user_error("contract \"{}\": '{}' cannot name an axis of {}; use letters", text, c, whose);
      if (std::count(letters->begin(), letters->end(), c) > 1)
        user_error("contract \"{}\": axis {} stands twice in {}; each letter may stand once in an operand",
                   text, c, whose);
    }
  }
  for (const char c : spec.out)
    if (spec.a.find(c) == std::string::npos && spec.b.find(c) == std::string::npos)
      user_error("contract \"{}\": axis {} of the result is in neither input", text, c);
  return spec;
}

bool sums_in(Dtype a, Dtype b, Dtype result) {
  const auto narrow_float = [](Dtype d) { return is_float(d) && size_of(d) == 2; };
  const auto narrow_int = [](Dtype d) { return is_int(d) && size_of(d) <= 2; };
  if (result == Dtype::f32 && narrow_float(a) && narrow_float(b)) return true;
  if (result == Dtype::i32 && narrow_int(a) && narrow_int(b)) return true;
  return a == b && a == result;
}

namespace {

const Dim* extent_of(char letter, const std::string& letters, const Shape& shape) {
  const auto at = letters.find(letter);
  return at == std::string::npos ? nullptr : &shape[at];
}

// "mk,kn->mn" for inputs [m,k] and [n,k]: the order of the second's axes that would fit, if there is just
// one.
std::string hint_of(const ContractSpec& spec, const Type& a, const Type& b) {
  std::string letters = spec.b, found;
  std::sort(letters.begin(), letters.end());
  do {
    bool fits = true;
    for (size_t i = 0; fits && i < letters.size(); ++i) {
      const Dim* extent = extent_of(letters[i], spec.a, a.shape);
      fits = !extent || *extent == b.shape[i];
    }
    if (fits && !found.empty()) return {};
    if (fits) found = letters;
  } while (letters.size() <= 4 && std::next_permutation(letters.begin(), letters.end()));
  if (found.empty() || found == spec.b) return {};
  return fmt::format("; did you mean \"{},{}->{}\"?", spec.a, found, spec.out);
}

}  // namespace

Shape contract_shape(const std::string& text, const Type& a, const Type& b) {
  const ContractSpec spec = parse_contract(text);
  for (const auto& [letters, type, whose] : {std::tuple(&spec.a, &a, "first"), {&spec.b, &b, "second"}})
    if (letters->size() != type->shape.size())
      user_error("contract \"{}\": \"{}\" names {} axes, but the {} input is {}", text, *letters,
                 letters->size(), whose, type->str());
  for (size_t i = 0; i < spec.b.size(); ++i) {
    const Dim* extent = extent_of(spec.b[i], spec.a, a.shape);
    if (extent && !(*extent == b.shape[i]))
      user_error("contract \"{}\": axis {} is {} in the first input ({}) but {} in the second ({}){}", text,
                 spec.b[i], extent->str(), a.str(), b.shape[i].str(), b.str(), hint_of(spec, a, b));
  }
  Shape result;
  for (const char c : spec.out) {
    const Dim* extent = extent_of(c, spec.a, a.shape);
    result.push_back(extent ? *extent : *extent_of(c, spec.b, b.shape));
  }
  return result;
}

namespace {

std::vector<Type> contract_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const std::string& text = attrs.text("spec");
  const Type &a = in[0]->type(), &b = in[1]->type();
  Shape shape = contract_shape(text, a, b);
  const Attr* given = attrs.find("dtype");
  const Dtype dtype = given ? std::get<Dtype>(*given) : a.dtype;
  if (!given && a.dtype != b.dtype)
    user_error("contract \"{}\": the inputs are {} and {}; convert one to the dtype of the other", text,
               a.str(), b.str());
  if (!sums_in(a.dtype, b.dtype, dtype))
    user_error(
        "contract \"{}\": products of {} and {} are not summed in {} (f16 and bf16 are in f32, integers of 8 "
        "and 16 bits in i32); convert both inputs to {} first",
        text, name(a.dtype), name(b.dtype), name(dtype), name(dtype));
  return {{dtype, std::move(shape)}};
}

// Sums of products, exact as the dtype's kind allows.
class Sum {
 public:
  explicit Sum(Dtype dtype) : dtype_(dtype) {}
  void add(const Scalar& x, const Scalar& y) {
    if (is_bool(dtype_)) bool_ |= x.b() && y.b();
    if (is_int(dtype_)) int_ += x.u() * y.u();  // modulo 2^64, for signed ones too
    if (is_float(dtype_)) float_ += x.f() * y.f();
    if (is_complex(dtype_)) complex_ += x.c() * y.c();
  }
  Scalar value() const {
    if (is_bool(dtype_)) return bool_;
    if (is_int(dtype_)) return int_;
    if (is_float(dtype_)) return float_;
    return complex_;
  }

 private:
  Dtype dtype_;
  bool bool_ = false;
  uint64_t int_ = 0;
  double float_ = 0;
  Complex complex_ = 0;
};

void contract_reference(const Node& node, std::span<const Array* const> in, std::span<Array> out) {
  const ContractSpec spec = parse_contract(node.attrs.text("spec"));
  // One loop for each letter: those of the result outside, the summed ones inside. A letter moves each
  // operand by its stride.
  const std::string letters = spec.out + spec.summed();
  std::vector<std::array<int64_t, 2>> strides(letters.size());
  Ints extents(letters.size(), 1);
  for (size_t which = 0; which < 2; ++which) {
    const std::string& axes = which == 0 ? spec.a : spec.b;
    int64_t stride = 1;
    for (size_t d = axes.size(); d-- > 0;) {
      const auto at = letters.find(axes[d]);
      strides[at][which] = stride;
      extents[at] = in[which]->shape[d];
      stride *= in[which]->shape[d];
    }
  }
  int64_t summed = 1;
  for (size_t i = spec.out.size(); i < letters.size(); ++i) summed *= extents[i];
  Ints index(letters.size(), 0);
  std::array<int64_t, 2> at{0, 0};
  for (int64_t o = 0; o < out[0].size(); ++o) {
    Sum sum(node.dtype());
    for (int64_t s = 0; s < std::max<int64_t>(summed, 1); ++s) {
      if (summed > 0) sum.add(in[0]->at(at[0]), in[1]->at(at[1]));
      const size_t last =
          summed > 0 ? 0 : letters.size() - spec.out.size();  // nothing to sum: only the outer loops turn
      for (size_t d = letters.size() - last; d-- > 0;) {
        for (size_t which = 0; which < 2; ++which) at[which] += strides[d][which];
        if (++index[d] < extents[d]) break;
        for (size_t which = 0; which < 2; ++which) at[which] -= strides[d][which] * extents[d];
        index[d] = 0;
      }
    }
    out[0].set(o, sum.value());
  }
}

// d a = contract of dy and b over what a lacks; a letter of a that nothing else has was summed: its cotangent
// is the same everywhere.
NodeRef cotangent(const NodeRef& dy, const std::string& dy_letters, const NodeRef& other,
                  const std::string& other_letters, const NodeRef& of, const std::string& letters) {
  if (!is_inexact(of->dtype())) return {};
  std::string present;
  Ints axes;
  for (size_t i = 0; i < letters.size(); ++i) {
    if (dy_letters.find(letters[i]) == std::string::npos &&
        other_letters.find(letters[i]) == std::string::npos)
      continue;
    present += letters[i];
    axes.push_back(static_cast<int64_t>(i));
  }
  const NodeRef product = build::contract(dy, build::convert(other, dy->dtype()),
                                          dy_letters + "," + other_letters + "->" + present);
  return build::broadcast(build::convert(product, of->dtype()), of->shape(), axes);
}

Nodes contract_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const ContractSpec spec = parse_contract(y->attrs.text("spec"));
  const NodeRef &a = y->inputs[0], &b = y->inputs[1];
  return {cotangent(dy[0], spec.out, b, spec.b, a, spec.a), cotangent(dy[0], spec.out, a, spec.a, b, spec.b)};
}

std::vector<Batched> contract_batch(const Node& node, std::span<const Batched> in, const Dim&) {
  const ContractSpec spec = parse_contract(node.attrs.text("spec"));
  const std::string used = spec.a + spec.b;
  char letter = 0;
  for (const char c : std::string_view("zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA"))
    if (used.find(c) == std::string::npos && letter == 0) letter = c;
  if (letter == 0)
    user_error("contract \"{}\": no letter is left for the batch axis; use fewer axes",
               node.attrs.text("spec"));
  const std::string batch(1, letter);
  return {{build::contract(in[0].node, in[1].node,
                           (in[0].batched ? batch : "") + spec.a + "," + (in[1].batched ? batch : "") +
                               spec.b + "->" + batch + spec.out,
                           node.dtype()),
           true}};
}

Relation contract_relation(const Node& node, const Forms& out, Space& space) {
  const ContractSpec spec = parse_contract(node.attrs.text("spec"));
  const std::string summed = spec.summed();
  Relation relation;
  Forms fresh;
  for (const char c : summed) {
    const Dim* extent = extent_of(c, spec.a, node.inputs[0]->shape());
    fresh.push_back(space.fresh(extent ? *extent : *extent_of(c, spec.b, node.inputs[1]->shape()),
                                std::string_view(&c, 1)));
    if (fresh.back().is_atom()) relation.reduced.push_back(fresh.back().terms[0].atom);
  }
  for (const std::string* letters : {&spec.a, &spec.b}) {
    Forms forms;
    for (const char c : *letters) {
      const auto at = spec.out.find(c);
      forms.push_back(at != std::string::npos ? out[at] : fresh[summed.find(c)]);
    }
    relation.inputs.push_back(std::move(forms));
  }
  return relation;
}

const Prim kPrims[] = {
    {
        .name = "contract",
        .doc = "Any two-operand einsum: the product of a and b, summed over every axis that the result "
               "lacks. bool: any of both. Narrow inputs may be summed in a wider dtype: f16 and bf16 in f32, "
               "integers of 8 and 16 bits in i32, modulo 2^32.",
        .kind = Kind::contract,
        .arity = 2,
        .operands = {"a", "b"},
        .attributes = {{"spec", AttrSpec::Type::text,
                        "a letter for each axis: \"mk,kn->mn\"; no letter twice in one operand"},
                       {"dtype", AttrSpec::Type::dtype,
                        "of the sums and the result; else that of both inputs", true}},
        .type = contract_type,
        .reference = contract_reference,
        .vjp = contract_vjp,
        .batch = contract_batch,
        .relation = contract_relation,
        .cost = 2,
        .degree =
            [](std::span<const Degree> d) {
              if (d[0].kind != Degree::Kind::number || d[1].kind != Degree::Kind::number)
                return Degree{Degree::Kind::none};
              return Degree{Degree::Kind::number, d[0].number + d[1].number};
            },
    },
};
const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold
