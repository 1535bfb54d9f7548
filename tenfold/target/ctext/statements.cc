// Statements: what they read, under which conditions, and the loops that they share.
#include "tenfold/base/error.h"
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {

// ---- conditions

bool Writer::applies(const tile::Guard& g, std::span<const AtomId> axes, std::span<const AtomId> over) const {
  return std::ranges::all_of(g.form.terms, [&](const Term& t) {
    return bound_[t.atom] || contains(axes, t.atom) || contains(over, t.atom);
  });
}

std::string Writer::guard_text(const tile::Guard& g) const {
  const bool is_wide = wide(g.form) || g.limit.upper() >= kNarrow;
  return fmt::format("{} < {}", form_text(g.form, is_wide), dim_text(g.limit));
}

std::vector<std::string> Writer::conditions(std::span<const AtomId> axes, AtomId lane,
                                            std::span<const AtomId> over) const {
  std::vector<std::string> all;
  if (lane >= 0 && extent(lane) % items_ != 0)
    all.push_back(fmt::format("{} < {}", atom_names_[lane], extent(lane)));
  for (const tile::Guard* g : guards_)
    if (applies(*g, axes, over)) all.push_back(guard_text(*g));
  return all;
}

std::vector<std::string> Writer::passing(std::span<const AtomId> axes) const {
  std::vector<std::string> all;
  for (const tile::Guard* g : guards_)
    if (applies(*g, axes, {}) && std::ranges::any_of(g->form.terms, [&](const Term& t) {
          return bound_[t.atom] && !contains(k.grid, t.atom);
        }))
      all.push_back(guard_text(*g));
  return all;
}

bool Writer::mentions(const std::string& text_of, const std::string& word) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  if (word.empty()) return false;
  for (size_t at = 0; (at = text_of.find(word, at)) != std::string::npos; at += word.size()) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_word(text_of[at - 1])) && (end == text_of.size() || !is_word(text_of[end])))
      return true;
  }
  return false;
}

std::string Writer::named(const std::vector<std::string>& all) {
  if (all.empty()) return "";
  const std::string text_of = fmt::format("{}", fmt::join(all, " && "));
  for (auto s = scopes_.rbegin(); s != scopes_.rend(); ++s) {
    if (const auto found = s->conditions.find(text_of); found != s->conditions.end()) return found->second;
    if (mentions(text_of, s->counter)) break;  // outside, the word means something else
  }
  const std::string name = unique_ == 0 ? "inside" : fmt::format("inside{}", unique_);
  ++unique_;
  line("const bool {} = {};", name, text_of);
  scopes_.back().conditions[text_of] = name;
  return name;
}

// ---- reading

Form Writer::place(const Operand& o, size_t axis) const {
  return o.at.empty() ? Form::of(value(o.value).axes[axis]) : o.at[axis];
}

std::string Writer::clamped(const Form& f, int64_t size) const {
  const std::string text_of = form_text(f);
  const bool low = !provably_le(0, bound_of(f, false)), high = !provably_lt(bound_of(f, true), Dim(size));
  std::string out = text_of;
  if (low) out = fmt::format("({0} > 0 ? {0} : 0)", "(" + out + ")");
  if (high) out = fmt::format("({0} < {1} ? {0} : {1})", "(" + out + ")", size - 1);
  return out;
}

std::string Writer::subscripts(const Operand& o) const {
  const auto& v = value(o.value);
  std::string out;
  for (size_t i = 0; i < v.axes.size(); ++i) {
    const AtomId a = v.axes[i];
    if (single(a)) continue;
    const Form f = place(o, i);
    if (in_fragments(a, lane_[o.value])) {
      out += fmt::format("[{}_part]", atom_names_[f.terms[0].atom]);
    } else if (a != lane_[o.value]) {
      out += fmt::format("[{}]", clamped(f, extent(a)));
    } else if (share(a) > 1) {
      out += fmt::format("[{}_part]", atom_names_[f.terms[0].atom]);
    }
  }
  return out;
}

std::string Writer::flat(ValueId v, const Forms& forms) const {
  Form index;
  Dim stride = 1;
  const auto& axes = value(v).axes;
  if (const auto staged = staged_.find(v); staged != staged_.end()) {
    const size_t inner = axes[1] == staged->second.inner ? 1 : 0;
    return staged_at(staged->second, form_text(forms[1 - inner]), form_text(forms[inner]));
  }
  for (size_t i = axes.size(); i-- > 0; stride *= k.atoms[axes[i]].extent)
    if (!single(axes[i])) index = sum(index, forms[i], stride);
  sort_terms(index);
  return form_text(index);
}

void Writer::sort_terms(Form& f) {
  std::ranges::stable_sort(f.terms,
                           [](const Term& a, const Term& b) { return a.coef.hint() > b.coef.hint(); });
}

bool Writer::always_inside(ValueId v, const Forms& forms, AtomId lane) const {
  const auto& axes = value(v).axes;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!provably_le(0, bound_of(forms[i], false)) ||
        !provably_lt(bound_of(forms[i], true), k.atoms[axes[i]].extent))
      return false;
    for (const Term& t : forms[i].terms)
      if (t.atom == lane && extent(lane) % items_ != 0) return false;
  }
  return true;
}

std::string Writer::shared_element(ValueId v, const Forms& forms, AtomId lane,
                                   const std::vector<std::string>& exists) {
  const Dtype dtype = value(v).dtype;
  const std::string element =
      math_.from_memory(fmt::format("{}[{}]", value_names_[v], flat(v, forms)), dtype);
  if (always_inside(v, forms, lane)) return element;
  const std::string condition = named(exists);
  if (condition.empty()) return element;
  return fmt::format("({} ? {} : {})", condition, element, math_.literal(Scalar(0), dtype));
}

Forms Writer::places(const Operand& o) const {
  Forms forms;
  for (size_t i = 0; i < value(o.value).axes.size(); ++i) forms.push_back(place(o, i));
  return forms;
}

std::string Writer::read(const Operand& o, AtomId lane, const std::vector<std::string>& exists) {
  const auto& v = value(o.value);
  if (literal_[o.value]) return math_.literal(literal_[o.value]->scalar, v.dtype);
  if (const auto found = inlined_.find(o.value); found != inlined_.end()) return found->second;
  if (shared_[o.value]) return shared_element(o.value, places(o), lane, exists);
  return scalars_.contains(o.value) ? value_names_[o.value] : value_names_[o.value] + subscripts(o);
}

// ---- defining

bool Writer::declared(ValueId v) const {
  return std::ranges::any_of(scopes_, [&](const Scope& s) { return s.declared.contains(v); });
}

std::vector<AtomId> Writer::loops_of(std::span<const AtomId> axes, AtomId lane) const {
  std::vector<AtomId> loops;
  for (const AtomId a : axes)
    if (!single(a) && (a != lane || share(a) > 1)) loops.push_back(a);
  return loops;
}

std::string Writer::dimensions(ValueId v) const {
  std::string out;
  for (const AtomId a : value(v).axes)
    if (!single(a) && (a != lane_[v] || share(a) > 1))
      out += fmt::format("[{}]", a == lane_[v]               ? share(a)
                                 : in_fragments(a, lane_[v]) ? fragments(a)
                                                             : std::max<int64_t>(extent(a), 1));
  return out;
}

void Writer::declare(ValueId v) {
  if (shared_[v] || literal_[v] || declared(v)) return;
  line("{} {}{};", type_name(value(v).dtype), value_names_[v], dimensions(v));
  scopes_.back().declared.insert(v);
}

void Writer::define(ValueId v, const std::string& text_of) {
  if (shared_[v]) {
    std::string x = math_.to_memory(text_of, value(v).dtype);
    // Where there is no term, the product takes in nothing.
    if (const auto staged = staged_.find(v); staged != staged_.end() && !staged->second.load)
      if (const auto exists = conditions(value(v).axes, kAlike); !exists.empty())
        x = fmt::format("{} ? {} : 0", fmt::join(exists, " && "), x);
    const std::string to = fmt::format("{}[{}] = {};", value_names_[v], flat(v, places({v, {}})), x);
    const bool all = lane_[v] < 0 || extent(lane_[v]) % items_ == 0;
    if (all)
      line("{}", to);
    else
      line("if ({} < {}) {}", atom_names_[lane_[v]], extent(lane_[v]), to);
  } else if (declared(v)) {
    line("{}{} = {};", value_names_[v], subscripts({v, {}}), bare(text_of));
  } else {
    line("{}{} {} = {};", is_variable_[v] ? "" : "const ", type_name(value(v).dtype), value_names_[v],
         bare(text_of));
    scopes_.back().declared.insert(v);
  }
}

void Writer::open_loops(std::span<const AtomId> loops, AtomId lane) {
  for (const AtomId a : loops) {
    const std::string& n = atom_names_[a];
    const bool fragment = in_fragments(a, lane);
    if (!d.unroll.empty() && (fragment || (a == lane ? share(a) : extent(a)) <= kUnrolled))
      line("{}", d.unroll);
    if (fragment) {
      open(fmt::format("for (int {0}_part = 0; {0}_part < {1}; ++{0}_part)", n, fragments(a)), n);
      line("const int {} = {};", n, fragment_text(a));
    } else if (a == lane) {
      open(fmt::format("for (int {0}_part = 0; {0}_part < {1}; ++{0}_part)", n, share(a)), n);
      if (run_ > 1)
        line("const int {0} = {1}*item + {0}_part;", n, run_);
      else
        line("const int {0} = item + {1}*{0}_part;", n, items_);
    } else {
      open(fmt::format("for (int {0} = 0; {0} < {1}; ++{0})", n, extent(a)), n);
    }
  }
}

void Writer::close_loops(std::span<const AtomId> loops) {
  for (size_t i = 0; i < loops.size(); ++i) close();
}

// ---- bodies: runs of statements over the same points share their loops

void Writer::write_body(const tile::Body& body) {
  for (size_t i = 0; i < body.size();) {
    if (const Stmt* s = stmt_of(body[i])) {
      if (s->op == Op::constant || passed_.contains(s->result)) {
        ++i;
      } else if (is_product(*s)) {
        Touched t;
        touch(*s, t);
        if (groups_) line("order_copies();");
        sync(t);
        multiply(*s, false);
        ++i;
      } else if (along_lanes(*s)) {
        reduce_lanes(*s);
        ++i;
      } else {
        i = write_run(body, i);
      }
      continue;
    }
    if (const Loop* l = loop_of(body[i]))
      write_loop(*l);
    else
      write_if(*if_of(body[i]));
    ++i;
  }
}

size_t Writer::write_run(const tile::Body& body, size_t first) {
  const Stmt& lead = *stmt_of(body[first]);
  const AtomId lane = lane_of(lead);
  const std::vector<AtomId> loops = loops_of(axes_of(lead), lane);
  if (loops.empty()) {
    Touched t;
    touch(lead, t);
    sync(t);
    statement(lead, inlines_into(body, first));
    return first + 1;
  }
  std::set<AtomId> key(loops.begin(), loops.end());
  std::set<ValueId> defined;
  std::vector<const Stmt*> run;
  std::map<ValueId, int> used;
  Touched inside;
  size_t end = first;
  for (; end < body.size(); ++end) {
    const Stmt* s = stmt_of(body[end]);
    if (!s || along_lanes(*s) || is_product(*s)) break;
    if (s->op == Op::constant || passed_.contains(s->result)) continue;
    const std::vector<AtomId> own = loops_of(axes_of(*s), lane_of(*s));
    if (lane_of(*s) != lane || std::set<AtomId>(own.begin(), own.end()) != key) break;
    const bool apart = std::ranges::any_of(s->operands, [&](const Operand& o) {
      if (!defined.contains(o.value)) return false;
      if (!o.at.empty() || shared_[o.value]) return true;
      const auto theirs = loops_of(value(o.value).axes, lane_[o.value]);
      return std::set<AtomId>(theirs.begin(), theirs.end()) != key;
    });
    Touched t;
    touch(*s, t);
    const bool conflict = meets(t.reads, inside.writes) || meets(t.reads, inside.own_writes) ||
                          meets(t.writes, inside.writes) || meets(t.writes, inside.reads) ||
                          meets(t.own_writes, inside.reads);
    if (apart || conflict) break;
    merge(inside, t);
    for (const Operand& o : s->operands) ++used[o.value];
    if (!writes_memory(*s)) defined.insert(s->result);
    run.push_back(s);
  }
  sync(inside);
  // What only this run knows lives inside its loops.
  for (const Stmt* s : run)
    if (!writes_memory(*s)) {
      if (is_variable_[s->result] || combines(*s) || used[s->result] != uses_[s->result])
        declare(s->result);
      else if (!declared(s->result))
        scalars_.insert(s->result);
    }
  if (run_ > 1 && loops.back() == lane) {
    write_in_runs(run, loops, lane);
    return end;
  }
  open_loops(loops, lane);
  for (const Stmt* s : run) statement(*s, false);
  close_loops(loops);
  return end;
}

bool Writer::inlines_into(const tile::Body& body, size_t at) const {
  const Stmt& s = *stmt_of(body[at]);
  if (s.op != Op::map || uses_[s.result] != 1 || shared_[s.result] || is_complex(value(s.result).dtype))
    return false;
  if (declared(s.result)) return false;
  for (const Operand& o : s.operands)
    if (is_variable_[o.value] || shared_[o.value] || is_complex(value(o.value).dtype)) return false;
  for (size_t i = at + 1; i < body.size(); ++i) {
    const Stmt* user = stmt_of(body[i]);
    if (!user) return false;
    for (const Operand& o : user->operands)
      if (o.value == s.result)
        return user->op == Op::map && o.at.empty() && loops_of(axes_of(*user), lane_of(*user)).empty() &&
               user->prim->name != "select" && !crosses(o, lane_of(*user));
  }
  return false;
}

void Writer::statement(const Stmt& s, bool may_inline) {
  const AtomId lane = lane_of(s);
  const std::span<const AtomId> axes = axes_of(s);
  if (combines(s)) return combine(s);
  const std::vector<std::string> exists = conditions(axes, lane);
  const auto in = [&](size_t i) { return read(s.operands[i], lane, exists); };
  switch (s.op) {
    case Op::load: {
      if (const auto run = run_arrays_.find(&s); run != run_arrays_.end())
        return define(s.result, math_.from_memory(fmt::format("{}[{}_part]", run->second, atom_names_[lane]),
                                                  k.args[s.arg].dtype));
      return define(s.result, load(s, lane, exists));
    }
    case Op::store: {
      if (const auto run = run_arrays_.find(&s); run != run_arrays_.end())
        return line("{}[{}_part] = {};", run->second, atom_names_[lane],
                    bare(math_.to_memory(in(0), k.args[s.arg].dtype)));
      std::vector<std::string> when = exists;
      if (lane == kAlike && items_ > 1) when.insert(when.begin(), "item == 0");
      const std::string condition = named(when), x = in(0);
      return line("{}{}[{}] = {};", condition.empty() ? "" : "if (" + condition + ") ", arg_names_[s.arg],
                  address(s), bare(math_.to_memory(x, k.args[s.arg].dtype)));
    }
    case Op::fill: return define(s.result, math_.literal(s.scalar, value(s.result).dtype));
    case Op::copy: return define(s.result, in(0));
    case Op::index: {
      const Form& f = s.forms[0];
      const Dtype dtype = value(s.result).dtype;
      if (f.is_point() && f.offset.is_const() && !shared_[s.result] && !declared(s.result)) {
        inlined_[s.result] = math_.literal(Scalar(f.offset.value()), dtype);
        return;
      }
      return define(s.result, fmt::format("({})({})", type_name(dtype), form_text(f)));
    }
    case Op::map: {
      std::vector<std::string> operands;
      std::vector<Dtype> dtypes;
      for (size_t i = 0; i < s.operands.size(); ++i) {
        operands.push_back(in(i));
        dtypes.push_back(value(s.operands[i].value).dtype);
      }
      const std::string result = math_.map(*s.prim, operands, dtypes, value(s.result).dtype);
      if (may_inline && result.size() <= kInlined) {
        inlined_[s.result] = result;
        return;
      }
      return define(s.result, result);
    }
    case Op::accumulate: {
      const Dtype to = value(s.result).dtype;
      const std::string condition = named(passing(axes));
      const std::string x = math_.convert(in(0), value(s.operands[0].value).dtype, to);
      const std::string sum = math_.combine(*s.prim, to, read({s.result, {}}, lane, exists), x);
      if (!condition.empty()) open(fmt::format("if ({})", condition));
      define(s.result, sum);
      if (!condition.empty()) close();
      return;
    }
    case Op::read: return define(s.result, shared_element(s.source, s.forms, lane, exists));
    case Op::write: {
      std::vector<std::string> when = exists;
      if (lane == kAlike && items_ > 1) when.insert(when.begin(), "item == 0");
      const std::string condition = named(when), x = in(0);
      return line("{}{}[{}] = {};", condition.empty() ? "" : "if (" + condition + ") ",
                  value_names_[s.result], flat(s.result, s.forms),
                  bare(math_.to_memory(x, value(s.result).dtype)));
    }
    default: internal_error("a tile statement", fmt::format("{} has no C", name(s.op)));
  }
}

}  // namespace tenfold::ctext
