#include "tenfold/plan/lay.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "tenfold/ir/build.h"

namespace tenfold::plan {
namespace {

constexpr int64_t kLeast = 256;   // bytes: less lies together anyhow
constexpr double kPadding = 1.5;  // times the input, at most

// Is the form a number with an atom for each digit, which counts up to all of `limit` and starts at 0?
template <class Extent>
bool is_number(const Form& form, const Dim& limit, const Extent& extent) {
  if (form.whole || !(form.offset == Dim(0)) || !limit.is_const()) return false;
  int64_t step = 1;
  for (auto term = form.terms.rbegin(); term != form.terms.rend(); ++term) {
    const Dim n = extent(term->atom);
    if (!n.is_const() || !(term->coef == Dim(step))) return false;
    step *= n.value();
  }
  return step >= limit.value();
}

template <class Extent>
bool are_numbers(const Forms& forms, const Shape& shape, const Extent& extent) {
  std::vector<AtomId> atoms;
  for (size_t d = 0; d < forms.size(); ++d) {
    if (!is_number(forms[d], shape[d], extent)) return false;
    for (const Term& t : forms[d].terms) atoms.push_back(t.atom);
  }
  std::ranges::sort(atoms);
  return std::ranges::adjacent_find(atoms) == atoms.end();
}

void for_each_load(tile::Body& body, int argument, const auto& visit) {
  for (tile::Item& item : body) {
    if (auto* stmt = std::get_if<tile::Stmt>(&item)) {
      if (stmt->op == tile::Op::load && stmt->arg == argument) visit(*stmt);
    } else if (auto* loop = std::get_if<std::unique_ptr<tile::Loop>>(&item)) {
      for_each_load((*loop)->condition, argument, visit);
      for_each_load((*loop)->body, argument, visit);
    } else {
      for_each_load(std::get<std::unique_ptr<tile::If>>(item)->body, argument, visit);
    }
  }
}

}  // namespace

std::optional<Layout> lay_out(tile::Kernel& kernel, size_t argument) {
  tile::Arg& arg = kernel.args[argument];
  if (!is_const(arg.shape) || volume(arg.shape).value() * size_of(arg.dtype) < kLeast) return {};
  const auto extent = [&](AtomId a) { return kernel.atoms[static_cast<size_t>(a)].extent; };

  std::vector<AtomId> order;  // grid, loops, then the tile with its vectors last
  std::optional<Forms> at;
  bool alike = true;
  tile::for_each_statement(kernel.body, [&](const tile::Stmt& s, std::span<const tile::Loop* const> loops) {
    if (s.op != tile::Op::load || s.arg != static_cast<int>(argument)) return;
    if (at) {
      alike = alike && *at == s.forms;
      return;
    }
    at = s.forms;
    order = kernel.grid;
    for (const tile::Loop* loop : loops) order.push_back(loop->atom);
    const auto grouped = [&](AtomId a) {  // what one instruction sums lies together
      return std::ranges::find(kernel.vectors, a) != kernel.vectors.end();
    };
    for (AtomId a : s.axes)
      if (a != kernel.vector && !grouped(a)) order.push_back(a);
    if (std::ranges::find(s.axes, kernel.vector) != s.axes.end()) order.push_back(kernel.vector);
    std::ranges::copy_if(s.axes, std::back_inserter(order), grouped);
  });
  if (!at || !alike || !are_numbers(*at, arg.shape, extent)) return {};

  std::vector<AtomId> memory;  // the atoms as the input has them
  for (const Form& f : *at)
    for (const Term& t : f.terms)
      if (!(extent(t.atom) == Dim(1))) memory.push_back(t.atom);
  std::erase_if(order, [&](AtomId a) { return std::ranges::find(memory, a) == memory.end(); });
  if (order.size() != memory.size() || order == memory) return {};

  Shape shape;
  for (AtomId a : order) shape.push_back(extent(a));
  if (static_cast<double>(volume(shape).value()) > kPadding * static_cast<double>(volume(arg.shape).value()))
    return {};
  Layout layout{arg.shape, *at};
  for (Form& f : layout.at) {
    std::erase_if(f.terms, [&](const Term& t) { return extent(t.atom) == Dim(1); });
    for (Term& t : f.terms) t.atom = static_cast<AtomId>(std::ranges::find(order, t.atom) - order.begin());
  }
  Forms digits;
  for (AtomId a : order) digits.push_back(Form::of(a));
  for_each_load(kernel.body, static_cast<int>(argument), [&](tile::Stmt& s) { s.forms = digits; });
  arg.shape = std::move(shape);
  return layout;
}

bool reads_all(const Instances& all, const Inst& load) {
  return are_numbers(load.dims, load.shape, [&](AtomId a) { return all.space.extent(a); });
}

bool may_lay(const Flat& flat, const Instances& all, const Inst& load) {
  if (load.kind != Inst::Kind::load || !flat.ops[static_cast<size_t>(load.op)].fixed) return false;
  return is_const(load.shape) &&
         volume(load.shape).value() * size_of(flat.ops[static_cast<size_t>(load.op)].type.dtype) >= kLeast &&
         reads_all(all, load);
}

NodeRef laid(const NodeRef& input, const Layout& layout, const Shape& shape) {
  NodeRef x = build::reshape(input, layout.from);
  Shape low, high, digits;
  Ints axes;  // of the new array, as the input has them
  for (size_t d = 0; d < layout.at.size(); ++d) {
    int64_t n = 1;
    for (const Term& t : layout.at[d].terms) {
      axes.push_back(t.atom);
      digits.push_back(shape[static_cast<size_t>(t.atom)]);
      n *= digits.back().value();
    }
    low.emplace_back(0);
    high.emplace_back(n - layout.from[d].value());
  }
  if (std::ranges::any_of(high, [](const Dim& d) { return !(d == Dim(0)); }))
    x = build::pad(x, build::constant(Scalar(0.0), x->dtype()), low, high);
  Ints permutation(axes.size());
  for (size_t k = 0; k < axes.size(); ++k)
    permutation[static_cast<size_t>(axes[k])] = static_cast<int64_t>(k);
  return build::transpose(build::reshape(x, digits), permutation);
}

std::string complaint(const Layout& layout, const Shape& shape, const Shape& input) {
  if (!is_const(shape) || !is_const(input) || !is_const(layout.from))
    return "its dimensions must be integers";
  if (!(volume(layout.from) == volume(input)))
    return fmt::format("{} has not as many elements as the input, {}", str(layout.from), str(input));
  size_t terms = 0;
  for (const Form& f : layout.at) {
    terms += f.terms.size();
    for (const Term& t : f.terms)
      if (t.atom < 0 || t.atom >= std::ssize(shape)) return fmt::format("there is no axis d{}", t.atom);
  }
  const auto extent = [&](AtomId a) { return shape[static_cast<size_t>(a)]; };
  if (layout.at.size() != layout.from.size() || terms != shape.size() ||
      !are_numbers(layout.at, layout.from, extent))
    return "each axis d0, d1, ... must stand in one place, as a digit that counts up to all of the input";
  return {};
}

}  // namespace tenfold::plan
