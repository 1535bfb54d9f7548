// What lies where: the lane axis of each value, what items share, how many they are.
#include <bit>

#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

AtomId Writer::lane_of(std::span<const AtomId> axes) const {
  if (rows_ >= 0 && contains(axes, rows_) && contains(axes, columns_)) return kFragments;
  if (k.vector >= 0 && contains(axes, k.vector) && extent(k.vector) > 1) return k.vector;
  if (points(axes) <= kUniformPoints) return -1;
  for (const AtomId a : k.vectors)
    if (contains(axes, a) && extent(a) > 1) return a;
  AtomId best = -1;
  for (const AtomId a : axes)
    if (best < 0 || extent(a) >= extent(best)) best = a;
  return extent(best) > 1 ? best : -1;
}

std::span<const AtomId> Writer::axes_of(const Stmt& s) const {
  return writes_memory(s) ? std::span<const AtomId>(s.axes) : std::span<const AtomId>(value(s.result).axes);
}

AtomId Writer::lane_of(const Stmt& s) const {
  if (!writes_memory(s)) return lane_[s.result];
  const AtomId of_operand = lane_[s.operands.back().value];
  return of_operand >= 0 && contains(s.axes, of_operand) ? of_operand : lane_of(s.axes);
}

AtomId Writer::lane_of(const Operand& o) const {
  const AtomId own = lane_[o.value];
  if (o.at.empty()) return own;
  if (own < 0) return kAlike;
  const auto& axes = value(o.value).axes;
  const Form& f = o.at[static_cast<size_t>(std::ranges::find(axes, own) - axes.begin())];
  return f.is_atom() && !loop_atoms_.contains(f.terms[0].atom) ? f.terms[0].atom : -1;
}

bool Writer::crosses(const Operand& o, AtomId lane) const {
  const AtomId own = lane_[o.value];
  if (own == kAlike || value(o.value).scratch) return false;
  if (o.at.empty() || own == kFragments) return own != lane || !o.at.empty();
  const auto& axes = value(o.value).axes;
  const Form& f = o.at[static_cast<size_t>(std::ranges::find(axes, own) - axes.begin())];
  return !(f.is_atom() && f.terms[0].atom == lane);
}

bool Writer::along_lanes(const Stmt& s) const {
  if (s.op == Op::contract || !combines(s)) return false;
  const Operand& o = s.operands[0];
  return o.at.empty() && lane_[o.value] >= 0 && contains(s.over, lane_[o.value]);
}

void Writer::prepare() {
  const size_t values = k.values.size();
  bound_.assign(k.atoms.size(), false);
  for (const AtomId a : k.grid) bound_[a] = true;
  find_products();
  shared_.assign(values, false);
  uses_.assign(values, 0);
  is_variable_.assign(values, false);
  literal_.assign(values, nullptr);
  for (const auto& v : k.values) {
    lane_.push_back(v.scratch ? -1 : lane_of(v.axes));
    math_.needs(v.dtype);
  }
  for (const auto& a : k.args) math_.needs(a.dtype);
  for (const auto& g : k.guards)
    if (!provably_lt(bound_of(g.form, true), g.limit)) guards_.push_back(&g);
  find_items();

  std::set<std::string> taken;
  for (const std::string& s : symbol_names(k)) taken.insert(symbol_text(s));
  for (const auto& a : k.args) arg_names_.push_back(unique(a.name, taken));
  for (const auto& a : k.atoms) atom_names_.push_back(unique(a.name, taken));
  for (const auto& v : k.values) value_names_.push_back(unique(v.name, taken));

  find_loops(k.body);
  const auto use = [&](const Operand& o, AtomId lane) {
    ++uses_[o.value];
    if (crosses(o, lane)) shared_[o.value] = true;
  };
  walk(
      k.body,
      [&](const Stmt& s) {
        if (s.op == Op::constant) literal_[s.result] = &s;
        if (defines_variable(s.op)) is_variable_[s.result] = true;
        const bool apart = along_lanes(s) || is_product(s);
        for (const Operand& o : s.operands) {
          if (apart)
            ++uses_[o.value];
          else
            use(o, lane_of(s));
        }
      },
      [&](const Operand& o, ValueId variable) {
        if (variable >= 0)
          use(o, lane_[variable]);
        else
          use(o, lane_of(o));
      });
  for (size_t v = 0; v < values; ++v) {
    if (k.values[v].scratch || staged_.contains(static_cast<ValueId>(v))) shared_[v] = true;
    if (literal_[v]) shared_[v] = false;
  }
  find_owned();
  find_runs();
  for (size_t v = 0; v < values; ++v)
    if (lane_[v] >= 0 && share(lane_[v]) == 1 && !literal_[v]) top_lanes_.insert(lane_[v]);
  walk(
      k.body,
      [&](const Stmt& s) {
        if (const AtomId l = lane_of(s); writes_memory(s) && l >= 0 && share(l) == 1) top_lanes_.insert(l);
      },
      [](const Operand&, ValueId) {});
}

void Writer::find_loops(const tile::Body& body) {
  for (const Item& item : body) {
    if (const Loop* l = loop_of(item)) {
      loop_atoms_.insert(l->atom);
      find_loops(l->condition);
      find_loops(l->body);
    }
    if (const If* c = if_of(item)) find_loops(c->body);
  }
}

void Writer::find_items() {
  int64_t most = 1;
  const auto add = [&](AtomId a) {
    if (a >= 0) most = std::max(most, extent(a));
  };
  for (const AtomId a : lane_) add(a);
  walk(
      k.body,
      [&](const Stmt& s) {
        if (writes_memory(s)) add(lane_of(s));
      },
      [](const Operand&, ValueId) {});
  const bool has_vector = k.vector >= 0 && std::ranges::count(lane_, k.vector) > 0;
  if (has_vector || rows_ >= 0) most = extent(k.vector);
  items_ = static_cast<int>(
      std::min<int64_t>(limits_.items, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(most)))));
}

bool Writer::follows(const Form& f, AtomId lane) const {
  bool found = false;
  for (const Term& t : f.terms) {
    if (t.atom == lane)
      found = t.coef == Dim(1);
    else if (!provably_divides(items_, t.coef))
      return false;
  }
  return found && provably_divides(items_, f.offset);
}

void Writer::find_owned() {
  owned_.assign(k.values.size(), false);
  std::map<ValueId, std::vector<bool>> own;
  walk(
      k.body,
      [&](const Stmt& s) {
        const ValueId v = s.op == Op::read ? s.source : s.op == Op::write ? s.result : -1;
        if (v < 0) return;
        auto& dims = own.try_emplace(v, std::vector<bool>(value(v).axes.size(), true)).first->second;
        const AtomId lane = lane_of(s);
        for (size_t i = 0; i < dims.size(); ++i) dims[i] = dims[i] && lane >= 0 && follows(s.forms[i], lane);
      },
      [](const Operand&, ValueId) {});
  for (const auto& [v, dims] : own) owned_[v] = std::ranges::count(dims, true) > 0;
}

// ---- runs: elements side by side that one item owns and one access moves

bool Writer::starts_run(const Form& f, AtomId lane) const {
  bool found = false;
  for (const Term& t : f.terms) {
    if (t.atom == lane)
      found = t.coef == Dim(1);
    else if (!single(t.atom) && !provably_divides(d.run, t.coef))
      return false;
  }
  return found && provably_divides(d.run, f.offset);
}

bool Writer::mentions(const Form& f, AtomId a) {
  return std::ranges::any_of(f.terms, [&](const Term& t) { return t.atom == a; });
}

bool Writer::same_in_run(const Form& f, const Dim& limit, AtomId lane) const {
  return !mentions(f, lane) || (starts_run(f, lane) && provably_divides(d.run, limit));
}

bool Writer::moves_runs(const Stmt& s, AtomId lane) const {
  const tile::Arg& arg = k.args[s.arg];
  if (is_complex(arg.dtype) || loops_of(axes_of(s), -1).back() != lane) return false;
  Dim stride = 1;
  for (size_t i = s.forms.size(); i-- > 0; stride *= arg.shape[i]) {
    const Form& f = s.forms[i];
    if (f.whole) return false;
    const bool last = i + 1 == s.forms.size();
    if (mentions(f, lane) != last || (last && !starts_run(f, lane))) return false;
    if (!last && !provably_divides(d.run, stride)) return false;
    if (last && !same_in_run(f, arg.shape[i], lane)) return false;
  }
  return std::ranges::all_of(guards_, [&](const tile::Guard* g) {
    return !applies(*g, axes_of(s), {}) || same_in_run(g->form, g->limit, lane);
  });
}

void Writer::find_runs() {
  if (d.run == 0) return;
  AtomId lanes = -1;
  for (const Item& item : k.body) {
    const Stmt* s = stmt_of(item);
    if (!s || combines(*s) || s->op == Op::read || s->op == Op::write) return;
    const AtomId lane = lane_of(*s);
    if (lane < 0) continue;
    if (lanes >= 0 && lane != lanes) return;
    lanes = lane;
    if ((s->op == Op::load || s->op == Op::store) && !moves_runs(*s, lane)) return;
  }
  if (lanes < 0 || std::ranges::count(shared_, true) > 0) return;
  const int64_t items = extent(lanes) / d.run;
  if (extent(lanes) % d.run != 0 || items < kRunItems || items > limits_.items ||
      !std::has_single_bit(static_cast<uint64_t>(items)))
    return;
  run_ = d.run;
  items_ = static_cast<int>(items);
}

}  // namespace tenfold::ctext
