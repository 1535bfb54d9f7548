// Loads and stores: where an element lies, whether it is inside, and runs of elements at once.
#include "tenfold/base/fault.h"
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

std::string Writer::address(const Stmt& s, const std::vector<std::string>& gathered) const {
  const Shape& shape = k.args[s.arg].shape;
  Form index;
  Dim stride = 1;
  std::string more;
  size_t next = gathered.size();
  const bool is_wide = volume(shape).upper() >= kNarrow;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) {
    if (s.forms[i].whole) {
      const std::string& at = gathered[--next];
      more += stride == Dim(1)
                  ? " + " + at
                  : fmt::format(" + {}{}*{}", stride.is_const() ? dim_text(stride) : dim_text(stride),
                                is_wide && stride.is_const() ? "L" : "", at);
    } else if (!(shape[i] == Dim(1))) {
      index = sum(index, s.forms[i], stride);
    }
  }
  std::erase_if(index.terms, [](const Term& t) { return t.coef == Dim(0); });
  sort_terms(index);
  const bool empty = index.terms.empty() && index.offset == Dim(0) && !more.empty();
  return empty ? more.substr(3) : form_text(index, is_wide || wide(index)) + more;
}

bool Writer::guarded_inside(const Form& f, const Dim& size, std::span<const AtomId> axes) const {
  return std::ranges::any_of(guards_, [&](const tile::Guard* g) {
    return applies(*g, axes, {}) && g->form == f && provably_le(g->limit, size);
  });
}

void Writer::add_bounds(const Stmt& s, std::vector<std::string>& all) const {
  const Shape& shape = k.args[s.arg].shape;
  for (size_t i = 0; i < s.forms.size(); ++i) {
    const Form& f = s.forms[i];
    if (f.whole) continue;
    const bool is_wide = wide(f);
    if (!provably_le(0, bound_of(f, false))) all.push_back(fmt::format("{} >= 0", form_text(f, is_wide)));
    if (!provably_lt(bound_of(f, true), shape[i]) && !guarded_inside(f, shape[i], axes_of(s)))
      all.push_back(fmt::format("{} < {}", form_text(f, is_wide), dim_text(shape[i])));
  }
}

std::string Writer::load(const Stmt& s, AtomId lane, std::vector<std::string> exists) {
  const tile::Arg& arg = k.args[s.arg];
  std::vector<std::string> gathered;
  size_t next = 0;
  const std::vector<std::string> points_exist = exists;
  for (size_t i = 0; i < s.forms.size(); ++i) {
    const Form& f = s.forms[i];
    if (f.whole) {
      const Operand& o = s.operands[next++];
      gathered.push_back(clamped_index(read(o, lane, points_exist), value(o.value).dtype, arg.shape[i]));
      if (!(arg.shape[i].lower() > 0)) exists.push_back(fmt::format("{} > 0", dim_text(arg.shape[i])));
      continue;
    }
  }
  add_bounds(s, exists);
  const std::string condition = named(exists);
  const std::string element =
      math_.from_memory(fmt::format("{}[{}]", arg_names_[s.arg], address(s, gathered)), arg.dtype);
  if (condition.empty()) return element;
  return fmt::format("({} ? {} : {})", condition, element, math_.literal(Scalar(0), arg.dtype));
}

std::string Writer::clamped_index(const std::string& x, Dtype dtype, const Dim& size) {
  const std::string last = dim_text(size - 1);
  if (dtype == Dtype::u64) return fmt::format("({0} < (ulong)({1}) ? (long){0} : (long)({1}))", x, last);
  const std::string wide_x =
      size.is_const() && size.value() < kNarrow && size_of(dtype) <= 4 && dtype != Dtype::u32 ? "(int)" + x
                                                                                              : "(long)" + x;
  if (is_unsigned_int(dtype)) return fmt::format("({0} < {1} ? {0} : {1})", wide_x, last);
  return fmt::format("({0} < 0 ? 0 : {0} < {1} ? {0} : {1})", wide_x, last);
}

// ---- runs

std::vector<std::string> Writer::run_conditions(const Stmt& s, AtomId lane) const {
  std::vector<std::string> all = conditions(axes_of(s), lane);
  if (s.op == Op::load) add_bounds(s, all);
  return all;
}

void Writer::declare_run(const Stmt& s, AtomId lane) {
  const std::string name = arg_names_[s.arg] + "_run";
  int others = 0;
  for (const auto& [other, array] : run_arrays_) others += other->arg == s.arg;
  run_arrays_[&s] = others == 0 ? name : fmt::format("{}{}", name, others + 1);
  const bool partial = s.op == Op::load && !run_conditions(s, lane).empty();
  line("{} {}[{}]{};", memory_type_name(k.args[s.arg].dtype), run_arrays_[&s], run_, partial ? " = {0}" : "");
}

void Writer::move_run(const Stmt& s, AtomId lane, std::string_view how) {
  open("");
  line("const int {} = {}*item;", atom_names_[lane], fault("ctext_run_stride") ? run_ - 1 : run_);
  const std::string condition = named(run_conditions(s, lane));
  line("{}{}", condition.empty() ? "" : "if (" + condition + ") ",
       fmt::format(fmt::runtime(how), run_arrays_.at(&s),
                   fmt::format("{} + {}", arg_names_[s.arg], address(s))));
  close();
}

void Writer::write_in_runs(std::span<const Stmt* const> statements, std::span<const AtomId> loops,
                           AtomId lane) {
  const auto outer = loops.first(loops.size() - 1), own = loops.last(1);
  open_loops(outer, lane);
  for (const Stmt* s : statements)
    if (s->op == Op::load) declare_run(*s, lane), move_run(*s, lane, d.load_run);
  for (const Stmt* s : statements)
    if (s->op == Op::store) declare_run(*s, lane);
  open_loops(own, lane);
  for (const Stmt* s : statements) statement(*s, false);
  close_loops(own);
  for (const Stmt* s : statements)
    if (s->op == Op::store) move_run(*s, lane, d.store_run);
  close_loops(outer);
}

}  // namespace tenfold::ctext
