#include "tenfold/target/ctext/emit.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <set>

#include "tenfold/base/error.h"
#include "tenfold/base/fault.h"

namespace tenfold::ctext {
namespace {

using tile::If;
using tile::Item;
using tile::Loop;
using tile::Op;
using tile::Operand;
using tile::Stmt;
using tile::ValueId;

constexpr int64_t kUniformPoints = 16;  // a larger value is spread over the items, whatever its axes
constexpr size_t kInlined = 40;         // characters of an expression that needs no name of its own
constexpr int64_t kUnrolled = 16;       // turns of a loop over an item's own elements
constexpr int64_t kRunItems = 32;       // of a group at least, where each owns a run of elements
constexpr int64_t kNarrow = int64_t{1} << 31;

// What items share, beside values: objects of the hazard analysis.
constexpr int kTree = -1, kFlag = -2;

const Stmt* stmt_of(const Item& i) { return std::get_if<Stmt>(&i); }
const Loop* loop_of(const Item& i) {
  const auto* p = std::get_if<std::unique_ptr<Loop>>(&i);
  return p ? p->get() : nullptr;
}
const If* if_of(const Item& i) {
  const auto* p = std::get_if<std::unique_ptr<If>>(&i);
  return p ? p->get() : nullptr;
}

bool contains(std::span<const AtomId> atoms, AtomId a) {
  return std::find(atoms.begin(), atoms.end(), a) != atoms.end();
}

bool writes_memory(const Stmt& s) { return s.op == Op::store || s.op == Op::write; }
bool defines_variable(Op op) { return op == Op::fill || op == Op::copy; }
bool updates(Op op) { return op == Op::accumulate || op == Op::contract; }
bool combines(const Stmt& s) {
  return s.op == Op::reduce || s.op == Op::contract || (s.op == Op::accumulate && !s.over.empty());
}

// f(stmt) of every statement, g(operand, axes of the reader) of what loops and votes read themselves.
template <class F, class G>
void walk(const tile::Body& body, const F& f, const G& g) {
  for (const Item& item : body) {
    if (const Stmt* s = stmt_of(item)) f(*s);
    if (const Loop* l = loop_of(item)) {
      walk(l->condition, f, g);
      if (l->go.value >= 0) g(l->go, ValueId{-1});
      walk(l->body, f, g);
      for (const auto& c : l->carries) g(c.next, c.variable);
    }
    if (const If* c = if_of(item)) {
      g(c->mask, ValueId{-1});
      walk(c->body, f, g);
    }
  }
}

const std::set<std::string_view> kReserved = {
    "auto",     "bool",        "break",     "case",      "char",      "const",     "constant",   "continue",
    "default",  "do",          "double",    "else",      "enum",      "extern",    "false",      "float",
    "for",      "global",      "goto",      "half",      "if",        "inline",    "int",        "kernel",
    "local",    "long",        "private",   "register",  "restrict",  "return",    "short",      "signed",
    "sizeof",   "static",      "struct",    "switch",    "this",      "true",      "typedef",    "uchar",
    "uint",     "ulong",       "union",     "unsigned",  "ushort",    "void",      "volatile",   "while",
    "item",     "first_block", "block",     "workspace", "flag",      "fma",       "sqrt",       "fabs",
    "floor",    "ceil",        "trunc",     "rint",      "mul_hi",    "min",       "max",        "ldexp",
    "frexp",    "barrier",     "image2d_t", "event_t",   "sampler_t", "pipe",      "new",        "delete",
    "class",    "template",    "typename",  "namespace", "operator",  "read_only", "write_only", "tree",
    "slice",    "part",        "strand",    "partner",   "first",     "other",     "i",          "NAN",
    "INFINITY", "M_PI",        "half_step", "asm",       "and",       "or",        "not"};

class Writer {
 public:
  Writer(const tile::Kernel& kernel, std::string name, const Dialect& dialect, const Limits& limits,
         Math& math)
      : k(kernel), name_(std::move(name)), d(dialect), limits_(limits), math_(math) {}

  std::string text;
  Function function;

  void run() {
    prepare();
    std::string body;
    std::swap(text, body);
    indent_ = 1;
    open_scope();
    write_body(k.body);
    close_scope();
    std::swap(text, body);  // body: the statements; text: what comes before
    write_head(body);
    text += body + "}\n";
    function.name = name_;
  }

 private:
  const tile::Kernel& k;
  std::string name_;
  const Dialect& d;
  const Limits& limits_;
  Math& math_;

  int items_ = 1;
  int run_ = 1;                                    // consecutive elements that an item owns
  std::map<const Stmt*, std::string> run_arrays_;  // what one access moves, where the statement is open
  std::vector<AtomId> lane_;                       // by value; -1: every item has all of it
  std::vector<std::string> value_names_;           // by value
  std::vector<std::string> atom_names_, arg_names_;
  std::vector<bool> shared_;          // by value: lies in local memory (or the workspace)
  std::vector<bool> owned_;           // shared, but every element is touched by one item only
  std::vector<int> uses_;             // by value
  std::vector<bool> is_variable_;     // by value
  std::vector<const Stmt*> literal_;  // by value: the constant that defines it
  std::vector<bool> bound_;           // grid atoms, and those of open loops
  std::vector<const tile::Guard*> guards_;
  std::set<AtomId> top_lanes_;  // lane atoms of one element an item: named once, at the head
  std::map<ValueId, std::string> inlined_;
  std::set<ValueId> scalars_;  // one element, known in its own loops only
  std::set<AtomId> loop_atoms_;
  std::set<std::string> trees_;  // types of the reduction scratch
  bool uses_flag_ = false;
  int indent_ = 0;
  int unique_ = 0;

  struct Scope {
    std::set<ValueId> declared;
    std::map<std::string, std::string> conditions;  // text -> name
    std::string counter;                            // of the loop that this scope is the body of
  };
  std::vector<Scope> scopes_;

  // ---- text

  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text.append(static_cast<size_t>(indent_) * 2, ' ');
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
    text += '\n';
  }
  void open_scope() { scopes_.emplace_back(); }
  void close_scope() { scopes_.pop_back(); }
  void open(const std::string& head, const std::string& counter = "") {
    line("{}{{", head.empty() ? "" : head + " ");
    ++indent_;
    open_scope();
    scopes_.back().counter = counter;
  }
  void close() {
    close_scope();
    --indent_;
    line("}}");
  }

  // ---- numbers

  int64_t extent(AtomId a) const { return k.atoms[a].extent.value(); }
  bool single(AtomId a) const { return k.atoms[a].extent == Dim(1); }
  int64_t points(std::span<const AtomId> axes) const {
    int64_t n = 1;
    for (const AtomId a : axes) n *= extent(a);
    return n;
  }
  int64_t share(AtomId lane) const { return (extent(lane) + items_ - 1) / items_; }

  static std::string dim_text(const Dim& dim) {
    if (dim.is_const()) {
      const int64_t v = dim.value();
      const bool wide = v >= kNarrow || v < -kNarrow;
      return v < 0 ? fmt::format("({}{})", v, wide ? "L" : "") : fmt::format("{}{}", v, wide ? "L" : "");
    }
    std::string out;
    for (const auto& [monomial, factor] : dim.expr()->shown) {
      std::string term;
      if (monomial.empty() || (factor != 1 && factor != -1))
        term = fmt::format("{}L", factor < 0 ? -factor : factor);
      for (const auto& atom : monomial) {
        if (!term.empty()) term += "*";
        term += atom_text(*atom);
      }
      if (out.empty())
        out = factor < 0 ? "-" + term : term;
      else
        out += (factor < 0 ? " - " : " + ") + term;
    }
    return "(" + out + ")";
  }

  static std::string symbol_text(const std::string& n) { return kReserved.contains(n) ? n + "_" : n; }

  // Sizes are at least 0 and what divides is positive: C's division rounds as it should there.
  static std::string atom_text(const Atom& atom) {
    if (atom.op == Atom::Op::symbol) return symbol_text(atom.symbol.name);
    const std::string x = dim_text(atom.left), y = dim_text(atom.right);
    const bool plain = atom.left.lower() >= 0 && atom.right.lower() > 0;
    switch (atom.op) {
      case Atom::Op::floordiv:
        return plain ? fmt::format("({} / {})", x, y)
                     : fmt::format("(({0} % {1} != 0 && ({0} < 0) != ({1} < 0)) ? {0} / {1} - 1 : {0} / {1})",
                                   x, y);
      case Atom::Op::mod:
        return plain ? fmt::format("({} % {})", x, y) : fmt::format("(({0} % {1} + {1}) % {1})", x, y);
      case Atom::Op::min: return fmt::format("({0} < {1} ? {0} : {1})", x, y);
      default: return fmt::format("({0} > {1} ? {0} : {1})", x, y);
    }
  }

  Dim bound_of(const Form& f, bool upper) const {
    Dim r = f.offset;
    for (const Term& t : f.terms) {
      const Dim last = k.atoms[t.atom].extent - 1;
      const bool rises = t.coef.lower() >= 0, falls = t.coef.upper() <= 0;
      if (!rises && !falls) return upper ? Dim(INT64_MAX / 4) : Dim(INT64_MIN / 4);
      if (rises == upper) r += t.coef * last;
    }
    return r;
  }
  bool wide(const Form& f) const {
    return bound_of(f, true).upper() >= kNarrow || bound_of(f, false).lower() < -kNarrow;
  }

  // "64*jo + ji"
  std::string form_text(const Form& f, bool wide) const {
    std::string out;
    const auto add = [&](const Dim& factor, const std::string& what) {
      const bool constant = factor.is_const();
      const bool minus = constant && factor.value() < 0;
      std::string term;
      if (!constant)
        term = dim_text(factor) + (what.empty() ? "" : "*" + what);
      else if (what.empty() || (factor.value() != 1 && factor.value() != -1))
        term = fmt::format("{}{}{}", minus ? -factor.value() : factor.value(), wide ? "L" : "",
                           what.empty() ? "" : "*" + what);
      else
        term = wide ? "(long)" + what : what;
      out += out.empty() ? (minus ? "-" : "") : minus ? " - " : " + ";
      out += term;
    };
    for (const Term& t : f.terms)
      if (!single(t.atom) && !(t.coef == Dim(0))) add(t.coef, atom_names_[t.atom]);
    if (!(f.offset == Dim(0)) || out.empty()) add(f.offset, "");
    return out;
  }
  std::string form_text(const Form& f) const { return form_text(f, wide(f)); }

  static Form sum(const Form& a, const Form& b, const Dim& factor) {
    Form r = a;
    r.offset += factor * b.offset;
    for (const Term& t : b.terms) {
      const auto found = std::ranges::find(r.terms, t.atom, &Term::atom);
      if (found != r.terms.end())
        found->coef += factor * t.coef;
      else
        r.terms.push_back({t.atom, factor * t.coef});
    }
    return r;
  }

  // ---- preparation

  std::string unique(std::string name, std::set<std::string>& taken) {
    std::erase(name, '%');
    for (char& c : name)
      if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) name = "v" + name;
    const auto is_ours = [&] {  // what the writer itself makes up
      return std::ranges::any_of(std::initializer_list<std::string_view>{"inside", "any", "next_", "tree_"},
                                 [&](std::string_view prefix) { return name.starts_with(prefix); }) ||
             name.ends_with("_part") || name.ends_with("_at") || name.find("_run") != std::string::npos;
    };
    if (is_ours()) name += "_";
    while (kReserved.contains(name) || !taken.insert(name).second) name += "_";
    return name;
  }

  AtomId lane_of(std::span<const AtomId> axes) const {
    if (k.vector >= 0 && contains(axes, k.vector) && extent(k.vector) > 1) return k.vector;
    if (points(axes) <= kUniformPoints) return -1;
    for (const AtomId a : k.vectors)
      if (contains(axes, a) && extent(a) > 1) return a;
    AtomId best = -1;
    for (const AtomId a : axes)
      if (best < 0 || extent(a) >= extent(best)) best = a;
    return extent(best) > 1 ? best : -1;
  }

  const tile::Value& value(ValueId v) const { return k.values[v]; }
  std::span<const AtomId> axes_of(const Stmt& s) const {
    return writes_memory(s) ? std::span<const AtomId>(s.axes) : std::span<const AtomId>(value(s.result).axes);
  }
  AtomId lane_of(const Stmt& s) const {
    if (!writes_memory(s)) return lane_[s.result];
    const AtomId of_operand = lane_[s.operands.back().value];
    return of_operand >= 0 && contains(s.axes, of_operand) ? of_operand : lane_of(s.axes);
  }
  // The lane axis of those who read a vote's mask: where the value's own lane stands.
  AtomId lane_of(const Operand& o) const {
    const AtomId own = lane_[o.value];
    if (o.at.empty() || own < 0) return own;
    const auto& axes = value(o.value).axes;
    const Form& f = o.at[static_cast<size_t>(std::ranges::find(axes, own) - axes.begin())];
    return f.is_atom() && !loop_atoms_.contains(f.terms[0].atom) ? f.terms[0].atom : -1;
  }

  // Does an operand read another item's elements?
  bool crosses(const Operand& o, AtomId lane) const {
    const AtomId own = lane_[o.value];
    if (own < 0 || value(o.value).scratch) return false;
    if (o.at.empty()) return own != lane;
    const auto& axes = value(o.value).axes;
    const Form& f = o.at[static_cast<size_t>(std::ranges::find(axes, own) - axes.begin())];
    return !(f.is_atom() && f.terms[0].atom == lane);
  }

  // Is the reduction along the lane axis of its operand, element by element?
  bool along_lanes(const Stmt& s) const {
    if (s.op == Op::contract || !combines(s)) return false;
    const Operand& o = s.operands[0];
    return o.at.empty() && lane_[o.value] >= 0 && contains(s.over, lane_[o.value]);
  }

  void prepare() {
    const size_t values = k.values.size();
    bound_.assign(k.atoms.size(), false);
    for (const AtomId a : k.grid) bound_[a] = true;
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
          const bool tree = along_lanes(s);
          for (const Operand& o : s.operands) {
            if (tree)
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
      if (k.values[v].scratch) shared_[v] = true;
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

  void find_loops(const tile::Body& body) {
    for (const Item& item : body) {
      if (const Loop* l = loop_of(item)) {
        loop_atoms_.insert(l->atom);
        find_loops(l->condition);
        find_loops(l->body);
      }
      if (const If* c = if_of(item)) find_loops(c->body);
    }
  }

  void find_items() {
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
    if (has_vector) most = extent(k.vector);
    items_ = static_cast<int>(
        std::min<int64_t>(limits_.items, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(most)))));
  }

  // Is the form, modulo the number of items, the item that has this element of the lane axis?
  bool follows(const Form& f, AtomId lane) const {
    bool found = false;
    for (const Term& t : f.terms) {
      if (t.atom == lane)
        found = t.coef == Dim(1);
      else if (!provably_divides(items_, t.coef))
        return false;
    }
    return found && provably_divides(items_, f.offset);
  }

  // Scratch whose every access follows the accessor's lane in one dimension: no other item sees its elements.
  void find_owned() {
    owned_.assign(k.values.size(), false);
    std::map<ValueId, std::vector<bool>> own;
    walk(
        k.body,
        [&](const Stmt& s) {
          const ValueId v = s.op == Op::read ? s.source : s.op == Op::write ? s.result : -1;
          if (v < 0) return;
          auto& dims = own.try_emplace(v, std::vector<bool>(value(v).axes.size(), true)).first->second;
          const AtomId lane = lane_of(s);
          for (size_t i = 0; i < dims.size(); ++i)
            dims[i] = dims[i] && lane >= 0 && follows(s.forms[i], lane);
        },
        [](const Operand&, ValueId) {});
    for (const auto& [v, dims] : own) owned_[v] = std::ranges::count(dims, true) > 0;
  }

  // ---- runs: elements side by side that one item owns and one access moves

  // f at the first element of a run is a multiple of its length, and only the lane axis counts within it.
  bool starts_run(const Form& f, AtomId lane) const {
    bool found = false;
    for (const Term& t : f.terms) {
      if (t.atom == lane)
        found = t.coef == Dim(1);
      else if (!single(t.atom) && !provably_divides(d.run, t.coef))
        return false;
    }
    return found && provably_divides(d.run, f.offset);
  }
  static bool mentions(const Form& f, AtomId a) {
    return std::ranges::any_of(f.terms, [&](const Term& t) { return t.atom == a; });
  }
  // Is f < limit, and f >= 0, for all of a run or for none of it?
  bool same_in_run(const Form& f, const Dim& limit, AtomId lane) const {
    return !mentions(f, lane) || (starts_run(f, lane) && provably_divides(d.run, limit));
  }

  // May one access take the place of a run's?
  bool moves_runs(const Stmt& s, AtomId lane) const {
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

  // A kernel of maps alone, whose every access along the lanes moves runs: there, and only there, neighbours
  // belong to one item.
  void find_runs() {
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

  // What must hold for a run to be there; it does so for all of it or for none.
  std::vector<std::string> run_conditions(const Stmt& s, AtomId lane) const {
    std::vector<std::string> all = conditions(axes_of(s), lane);
    if (s.op == Op::load) add_bounds(s, all);
    return all;
  }

  void declare_run(const Stmt& s, AtomId lane) {
    const std::string name = arg_names_[s.arg] + "_run";
    int others = 0;
    for (const auto& [other, array] : run_arrays_) others += other->arg == s.arg;
    run_arrays_[&s] = others == 0 ? name : fmt::format("{}{}", name, others + 1);
    const bool partial = s.op == Op::load && !run_conditions(s, lane).empty();
    line("{} {}[{}]{};", memory_type_name(k.args[s.arg].dtype), run_arrays_[&s], run_,
         partial ? " = {0}" : "");
  }

  // `how`: the dialect's access.
  void move_run(const Stmt& s, AtomId lane, std::string_view how) {
    open("");
    line("const int {} = {}*item;", atom_names_[lane], fault("ctext_run_stride") ? run_ - 1 : run_);
    const std::string condition = named(run_conditions(s, lane));
    line("{}{}", condition.empty() ? "" : "if (" + condition + ") ",
         fmt::format(fmt::runtime(how), run_arrays_.at(&s),
                     fmt::format("{} + {}", arg_names_[s.arg], address(s))));
    close();
  }

  void write_in_runs(std::span<const Stmt* const> statements, std::span<const AtomId> loops, AtomId lane) {
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

  // ---- the head

  void write_head(const std::string& body) {
    const tile::Counts counts = tile::count(k, int64_t{1} << 62).counts;
    text += fmt::format("// {}\n", k.name);
    size_t widest = 0;
    for (const std::string& n : arg_names_) widest = std::max(widest, n.size());
    for (size_t i = 0; i < k.args.size(); ++i)
      text += fmt::format("//   {:<{}}  {}{}  {}\n", arg_names_[i], widest, tenfold::name(k.args[i].dtype),
                          str(k.args[i].shape), k.args[i].output ? "written" : "read");
    text += fmt::format("//   {} bytes read, {} written\n", counts.bytes_read, counts.bytes_written);
    std::string over;
    for (const AtomId a : k.grid)
      over += fmt::format("{}{} in {}", over.empty() ? "" : ", ", atom_names_[a], k.atoms[a].extent.str());
    std::string spread;
    for (const AtomId a : top_lanes_) spread += (spread.empty() ? "" : ", ") + atom_names_[a];
    text += fmt::format("//   groups: {}; items: {}{}\n", over.empty() ? "1" : over, items_,
                        spread.empty() ? "" : " over " + spread);

    function.symbols = symbol_names(k);
    function.items = items_;
    // The largest move to the workspace first, where local memory does not hold all.
    struct Block {
      std::string name, type;
      int64_t elements, bytes;
      bool local = true;
    };
    std::vector<Block> blocks;
    for (size_t v = 0; v < k.values.size(); ++v)
      if (shared_[v]) {
        const int64_t n = std::max<int64_t>(points(k.values[v].axes), 1);
        blocks.push_back({value_names_[v], memory_type_name(k.values[v].dtype), n,
                          (n * size_of(k.values[v].dtype) + 63) / 64 * 64});
      }
    int64_t bytes = uses_flag_ ? 64 : 0;
    for (const std::string& type : trees_) bytes += items_ * (type.ends_with("2") ? 16 : 8);
    for (const Block& b : blocks) bytes += b.bytes;
    while (bytes > limits_.local_bytes) {
      const auto most =
          std::ranges::max_element(blocks, {}, [](const Block& b) { return b.local ? b.bytes : -1; });
      if (most == blocks.end() || !most->local) break;
      most->local = false;
      bytes -= most->bytes;
      function.workspace_bytes += most->bytes;
    }
    function.local_bytes = bytes;

    std::vector<std::string> parameters;
    for (size_t i = 0; i < k.args.size(); ++i) {
      parameters.push_back(fmt::format("{}{}{}* {}", d.global, k.args[i].output ? "" : "const ",
                                       memory_type_name(k.args[i].dtype), arg_names_[i]));
      if (d.offsets) parameters.push_back(fmt::format("long {}_at", arg_names_[i]));
    }
    for (const std::string& s : function.symbols) parameters.push_back("long " + symbol_text(s));
    parameters.emplace_back("long first_block");
    if (function.workspace_bytes > 0) parameters.push_back(fmt::format("{}uchar* workspace", d.global));
    text += fmt::format("{} {}({}) {{\n", fmt::format(fmt::runtime(d.kernel), items_), name_,
                        fmt::join(parameters, ", "));
    for (const Block& b : blocks)
      if (b.local) text += fmt::format("  {}{} {}[{}];\n", d.local, b.type, b.name, b.elements);
    for (const std::string& type : trees_)
      text += fmt::format("  {}{} tree_{}[{}];\n", d.local, type, type, items_);
    if (uses_flag_) text += fmt::format("  {}int flag;\n", d.local);
    int64_t at = 0;
    for (const Block& b : blocks) {
      if (b.local) continue;
      text += fmt::format("  {0}{1}* const {2} = ({0}{1}*)(workspace + {3}*{4}L + {5}L);\n", d.global, b.type,
                          b.name, d.group, function.workspace_bytes, at);
      at += b.bytes;
    }
    if (body.find("item") != std::string::npos || !top_lanes_.empty())
      text += fmt::format("  const int item = {};\n", d.item);
    for (const AtomId a : top_lanes_) text += fmt::format("  const int {} = item;\n", atom_names_[a]);
    if (d.offsets)
      for (const std::string& n : arg_names_) text += fmt::format("  {0} += {0}_at;\n", n);
    std::vector<AtomId> grid;
    for (const AtomId a : k.grid)
      if (!single(a)) grid.push_back(a);
    const std::string block = fmt::format("first_block + {}", d.group);
    if (grid.size() == 1) {
      text += fmt::format("  const {} {} = {};\n", counter_type(grid[0]), atom_names_[grid[0]], block);
    } else if (!grid.empty()) {
      text += fmt::format("  long block = {};\n", block);
      for (size_t i = grid.size(); i-- > 0;) {
        const std::string e = dim_text(k.atoms[grid[i]].extent);
        text += fmt::format("  const {} {} = block{};\n", counter_type(grid[i]), atom_names_[grid[i]],
                            i == 0 ? "" : " % " + e);
        if (i > 0) text += fmt::format("  block /= {};\n", e);
      }
    }
  }

  std::string counter_type(AtomId a) const { return k.atoms[a].extent.upper() < kNarrow ? "int" : "long"; }

  // ---- who may run ahead of whom

  std::set<int> reads_, writes_;  // what items did to shared objects since they last met

  void meet() {
    if (!fault("ctext_barrier")) line("{}", d.barrier);
    reads_.clear();
    writes_.clear();
  }

  struct Touched {
    std::set<int> reads, writes, own_writes;  // own: by the item that owns the element
    bool empty() const { return reads.empty() && writes.empty() && own_writes.empty(); }
  };

  void touch(const Operand& o, AtomId lane, Touched& t) const {
    if (shared_[o.value] && crosses(o, lane)) t.reads.insert(o.value);
  }

  void touch(const Stmt& s, Touched& t) const {
    if (s.op == Op::constant) return;
    if (along_lanes(s)) {
      t.reads.insert(kTree);
      t.writes.insert(kTree);
    } else {
      for (const Operand& o : s.operands) touch(o, lane_of(s), t);
    }
    if (s.op == Op::read && !owned_[s.source]) t.reads.insert(s.source);
    if (s.op == Op::write && !owned_[s.result]) t.writes.insert(s.result);
    if (!writes_memory(s) && shared_[s.result]) t.own_writes.insert(s.result);
  }

  Touched touched(const tile::Body& body) const {
    Touched t;
    for (const Item& item : body) {
      if (const Stmt* s = stmt_of(item)) touch(*s, t);
      if (const Loop* l = loop_of(item)) {
        merge(t, touched(l->condition));
        merge(t, touched(l->body));
        for (const auto& c : l->carries) {
          touch(c.next, lane_[c.variable], t);
          if (shared_[c.variable]) t.own_writes.insert(c.variable);
        }
        if (l->go.value >= 0) merge(t, vote_touches(l->go, !alone(*l)));
      }
      if (const If* c = if_of(item)) {
        merge(t, touched(c->body));
        merge(t, vote_touches(c->mask, !alone(*c)));
      }
    }
    return t;
  }
  Touched vote_touches(const Operand& mask, bool group) const {
    Touched t;
    touch(mask, lane_of(mask), t);
    if (group && lane_of(mask) >= 0) {
      t.reads.insert(kFlag);
      t.writes.insert(kFlag);
    }
    return t;
  }
  static void merge(Touched& into, const Touched& from) {
    into.reads.insert(from.reads.begin(), from.reads.end());
    into.writes.insert(from.writes.begin(), from.writes.end());
    into.own_writes.insert(from.own_writes.begin(), from.own_writes.end());
  }

  static bool meets(const std::set<int>& a, const std::set<int>& b) {
    return std::ranges::any_of(a, [&](int x) { return b.contains(x); });
  }
  bool hazard(const Touched& t) const {
    return meets(t.reads, writes_) || meets(t.writes, writes_) || meets(t.writes, reads_) ||
           meets(t.own_writes, reads_);
  }
  void note(const Touched& t) {
    reads_.insert(t.reads.begin(), t.reads.end());
    writes_.insert(t.writes.begin(), t.writes.end());
    writes_.insert(t.own_writes.begin(), t.own_writes.end());
  }
  void sync(const Touched& t) {
    if (hazard(t)) meet();
    note(t);
  }

  // May each item go through the body on its own? Nothing in it may concern another item, or outlive it but
  // as a plain value.
  bool alone(const tile::Body& body, std::set<ValueId> inside = {}) const {
    if (!touched(body).empty()) return false;
    std::set<ValueId> defined = std::move(inside);
    bool ok = true;
    walk(
        body,
        [&](const Stmt& s) {
          if (writes_memory(s)) ok = false;
          if (defines_variable(s.op)) defined.insert(s.result);
          if (updates(s.op) && !defined.contains(s.result)) ok = false;
        },
        [](const Operand&, ValueId) {});
    return ok && carries_inside(body, defined);
  }
  bool carries_inside(const tile::Body& body, const std::set<ValueId>& defined) const {
    for (const Item& item : body) {
      if (const Loop* l = loop_of(item)) {
        for (const auto& c : l->carries)
          if (!defined.contains(c.variable)) return false;
        if (!carries_inside(l->condition, defined) || !carries_inside(l->body, defined)) return false;
      }
      if (const If* c = if_of(item); c && !carries_inside(c->body, defined)) return false;
    }
    return true;
  }
  bool alone(const If& c) const {
    return lane_of(c.mask) >= 0 && !crosses(c.mask, lane_of(c.mask)) && alone(c.body);
  }
  bool alone(const Loop& l) const {  // a while loop
    if (lane_of(l.go) < 0 || crosses(l.go, lane_of(l.go)) || !alone(l.condition) || !alone(l.body))
      return false;
    return std::ranges::all_of(l.carries, [&](const tile::Carry& c) {
      return !shared_[c.variable] && !crosses(c.next, lane_[c.variable]) &&
             lane_[c.variable] == lane_of(l.go);
    });
  }

  // ---- conditions

  bool applies(const tile::Guard& g, std::span<const AtomId> axes, std::span<const AtomId> over) const {
    return std::ranges::all_of(g.form.terms, [&](const Term& t) {
      return bound_[t.atom] || contains(axes, t.atom) || contains(over, t.atom);
    });
  }

  std::string guard_text(const tile::Guard& g) const {
    const bool is_wide = wide(g.form) || g.limit.upper() >= kNarrow;
    return fmt::format("{} < {}", form_text(g.form, is_wide), dim_text(g.limit));
  }

  // What must hold where a point exists.
  std::vector<std::string> conditions(std::span<const AtomId> axes, AtomId lane,
                                      std::span<const AtomId> over = {}) const {
    std::vector<std::string> all;
    if (lane >= 0 && extent(lane) % items_ != 0)
      all.push_back(fmt::format("{} < {}", atom_names_[lane], extent(lane)));
    for (const tile::Guard* g : guards_)
      if (applies(*g, axes, over)) all.push_back(guard_text(*g));
    return all;
  }

  // What must hold where a variable takes in an element: the guards of loops, which it outlives.
  std::vector<std::string> passing(std::span<const AtomId> axes) const {
    std::vector<std::string> all;
    for (const tile::Guard* g : guards_)
      if (applies(*g, axes, {}) && std::ranges::any_of(g->form.terms, [&](const Term& t) {
            return bound_[t.atom] && !contains(k.grid, t.atom);
          }))
        all.push_back(guard_text(*g));
    return all;
  }

  static bool mentions(const std::string& text_of, const std::string& word) {
    const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
    if (word.empty()) return false;
    for (size_t at = 0; (at = text_of.find(word, at)) != std::string::npos; at += word.size()) {
      const size_t end = at + word.size();
      if ((at == 0 || !is_word(text_of[at - 1])) && (end == text_of.size() || !is_word(text_of[end])))
        return true;
    }
    return false;
  }

  // The name of a condition in this scope; empty where there is none.
  std::string named(const std::vector<std::string>& all) {
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

  Form place(const Operand& o, size_t axis) const {
    return o.at.empty() ? Form::of(value(o.value).axes[axis]) : o.at[axis];
  }

  std::string clamped(const Form& f, int64_t size) const {
    const std::string text_of = form_text(f);
    const bool low = !provably_le(0, bound_of(f, false)), high = !provably_lt(bound_of(f, true), Dim(size));
    std::string out = text_of;
    if (low) out = fmt::format("({0} > 0 ? {0} : 0)", "(" + out + ")");
    if (high) out = fmt::format("({0} < {1} ? {0} : {1})", "(" + out + ")", size - 1);
    return out;
  }

  // Where the elements of a private value's share lie: "[mi][ni_part]".
  std::string subscripts(const Operand& o) const {
    const auto& v = value(o.value);
    std::string out;
    for (size_t i = 0; i < v.axes.size(); ++i) {
      const AtomId a = v.axes[i];
      if (single(a)) continue;
      const Form f = place(o, i);
      if (a != lane_[o.value]) {
        out += fmt::format("[{}]", clamped(f, extent(a)));
      } else if (share(a) > 1) {
        out += fmt::format("[{}_part]", atom_names_[f.terms[0].atom]);
      }
    }
    return out;
  }

  std::string flat(ValueId v, const Forms& forms) const {
    Form index;
    Dim stride = 1;
    const auto& axes = value(v).axes;
    for (size_t i = axes.size(); i-- > 0; stride *= k.atoms[axes[i]].extent)
      if (!single(axes[i])) index = sum(index, forms[i], stride);
    sort_terms(index);
    return form_text(index);
  }
  static void sort_terms(Form& f) {
    std::ranges::stable_sort(f.terms,
                             [](const Term& a, const Term& b) { return a.coef.hint() > b.coef.hint(); });
  }

  // Is the place inside the value at every point, the lanes beyond the lane axis among them?
  bool always_inside(ValueId v, const Forms& forms, AtomId lane) const {
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

  std::string shared_element(ValueId v, const Forms& forms, AtomId lane,
                             const std::vector<std::string>& exists) {
    const Dtype dtype = value(v).dtype;
    const std::string element =
        math_.from_memory(fmt::format("{}[{}]", value_names_[v], flat(v, forms)), dtype);
    if (always_inside(v, forms, lane)) return element;
    const std::string condition = named(exists);
    if (condition.empty()) return element;
    return fmt::format("({} ? {} : {})", condition, element, math_.literal(Scalar(0), dtype));
  }

  Forms places(const Operand& o) const {
    Forms forms;
    for (size_t i = 0; i < value(o.value).axes.size(); ++i) forms.push_back(place(o, i));
    return forms;
  }

  std::string read(const Operand& o, AtomId lane, const std::vector<std::string>& exists) {
    const auto& v = value(o.value);
    if (literal_[o.value]) return math_.literal(literal_[o.value]->scalar, v.dtype);
    if (const auto found = inlined_.find(o.value); found != inlined_.end()) return found->second;
    if (shared_[o.value]) return shared_element(o.value, places(o), lane, exists);
    return scalars_.contains(o.value) ? value_names_[o.value] : value_names_[o.value] + subscripts(o);
  }

  // ---- defining

  bool declared(ValueId v) const {
    return std::ranges::any_of(scopes_, [&](const Scope& s) { return s.declared.contains(v); });
  }

  // The axes of loops over an item's share of some axes.
  std::vector<AtomId> loops_of(std::span<const AtomId> axes, AtomId lane) const {
    std::vector<AtomId> loops;
    for (const AtomId a : axes)
      if (!single(a) && (a != lane || share(a) > 1)) loops.push_back(a);
    return loops;
  }

  std::string dimensions(ValueId v) const {
    std::string out;
    for (const AtomId a : value(v).axes)
      if (!single(a) && (a != lane_[v] || share(a) > 1))
        out += fmt::format("[{}]", a == lane_[v] ? share(a) : std::max<int64_t>(extent(a), 1));
    return out;
  }

  void declare(ValueId v) {
    if (shared_[v] || literal_[v] || declared(v)) return;
    line("{} {}{};", type_name(value(v).dtype), value_names_[v], dimensions(v));
    scopes_.back().declared.insert(v);
  }

  void define(ValueId v, const std::string& text_of) {
    if (shared_[v]) {
      const std::string to = fmt::format("{}[{}] = {};", value_names_[v], flat(v, places({v, {}})),
                                         math_.to_memory(text_of, value(v).dtype));
      const bool all = extent(lane_[v]) % items_ == 0;
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

  // Opens loops over an item's share.
  void open_loops(std::span<const AtomId> loops, AtomId lane) {
    for (const AtomId a : loops) {
      const std::string& n = atom_names_[a];
      if (!d.unroll.empty() && (a == lane ? share(a) : extent(a)) <= kUnrolled) line("{}", d.unroll);
      if (a == lane) {
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
  void close_loops(std::span<const AtomId> loops) {
    for (size_t i = 0; i < loops.size(); ++i) close();
  }

  // ---- bodies: runs of statements over the same points share their loops

  void write_body(const tile::Body& body) {
    for (size_t i = 0; i < body.size();) {
      if (const Stmt* s = stmt_of(body[i])) {
        if (s->op == Op::constant) {
          ++i;
        } else if (along_lanes(*s)) {
          reduce_lanes(*s);
          ++i;
        } else {
          i = write_run(body, i);
        }
        continue;
      }
      if (const Loop* l = loop_of(body[i])) {
        if (l->go.value >= 0)
          write_while(*l);
        else
          write_loop(*l);
      } else {
        write_if(*if_of(body[i]));
      }
      ++i;
    }
  }

  size_t write_run(const tile::Body& body, size_t first) {
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
      if (!s || along_lanes(*s)) break;
      if (s->op == Op::constant) continue;
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

  // Is the value of this statement short and used once, by the next statements of the same body?
  bool inlines_into(const tile::Body& body, size_t at) const {
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

  void statement(const Stmt& s, bool may_inline) {
    const AtomId lane = lane_of(s);
    const std::span<const AtomId> axes = axes_of(s);
    if (combines(s)) return combine(s);
    const std::vector<std::string> exists = conditions(axes, lane);
    const auto in = [&](size_t i) { return read(s.operands[i], lane, exists); };
    switch (s.op) {
      case Op::load: {
        if (const auto run = run_arrays_.find(&s); run != run_arrays_.end())
          return define(s.result,
                        math_.from_memory(fmt::format("{}[{}_part]", run->second, atom_names_[lane]),
                                          k.args[s.arg].dtype));
        return define(s.result, load(s, lane, exists));
      }
      case Op::store: {
        if (const auto run = run_arrays_.find(&s); run != run_arrays_.end())
          return line("{}[{}_part] = {};", run->second, atom_names_[lane],
                      bare(math_.to_memory(in(0), k.args[s.arg].dtype)));
        std::vector<std::string> when = exists;
        if (lane < 0 && items_ > 1) when.insert(when.begin(), "item == 0");
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
        if (lane < 0 && items_ > 1) when.insert(when.begin(), "item == 0");
        const std::string condition = named(when), x = in(0);
        return line("{}{}[{}] = {};", condition.empty() ? "" : "if (" + condition + ") ",
                    value_names_[s.result], flat(s.result, s.forms),
                    bare(math_.to_memory(x, value(s.result).dtype)));
      }
      default: internal_error("a tile statement", fmt::format("{} has no C", name(s.op)));
    }
  }

  // ---- device memory

  std::string address(const Stmt& s, const std::vector<std::string>& gathered = {}) const {
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

  // A guard on this very form, or on one of which it is a part, keeps it inside.
  bool guarded_inside(const Form& f, const Dim& size, std::span<const AtomId> axes) const {
    return std::ranges::any_of(guards_, [&](const tile::Guard* g) {
      return applies(*g, axes, {}) && g->form == f && provably_le(g->limit, size);
    });
  }

  // What must hold for a load to be inside, where no guard says so.
  void add_bounds(const Stmt& s, std::vector<std::string>& all) const {
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

  std::string load(const Stmt& s, AtomId lane, std::vector<std::string> exists) {
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

  static std::string clamped_index(const std::string& x, Dtype dtype, const Dim& size) {
    const std::string last = dim_text(size - 1);
    if (dtype == Dtype::u64) return fmt::format("({0} < (ulong)({1}) ? (long){0} : (long)({1}))", x, last);
    const std::string wide_x =
        size.is_const() && size.value() < kNarrow && size_of(dtype) <= 4 && dtype != Dtype::u32
            ? "(int)" + x
            : "(long)" + x;
    if (is_unsigned_int(dtype)) return fmt::format("({0} < {1} ? {0} : {1})", wide_x, last);
    return fmt::format("({0} < 0 ? 0 : {0} < {1} ? {0} : {1})", wide_x, last);
  }

  // ---- accumulate over axes, reduce, contract: of an item's own elements

  // The elements of the axes combined away, halved one axis after the other: t[i] takes in t[i + half].
  void halve(const Stmt& s, const std::string& t, std::vector<int64_t> sizes, size_t from, Dtype dtype) {
    for (size_t axis = from; axis < sizes.size(); ++axis) {
      int64_t inner = 1;
      for (size_t j = axis + 1; j < sizes.size(); ++j) inner *= sizes[j];
      halve_axis(s, t, sizes[axis], inner, dtype);
    }
  }

  void halve_axis(const Stmt& s, const std::string& t, int64_t size, int64_t inner, Dtype dtype) {
    if (size <= 1) return;
    const int64_t top = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size))) / 2;
    const auto join = [&](const std::string& a, const std::string& b) {
      line("{} = {};", a, bare(math_.combine(*s.prim, dtype, a, b)));
    };
    if (top * inner <= 4) {  // few enough to read
      for (int64_t half = top; half >= 1; half /= 2)
        for (int64_t i = 0; i < std::min(half, size - half) * inner; ++i)
          join(fmt::format("{}[{}]", t, i), fmt::format("{}[{}]", t, i + half * inner));
      return;
    }
    open(fmt::format("for (int half_step = {}; half_step > 0; half_step /= 2)", top));
    const bool even = size == 2 * top;
    open(fmt::format(
        "for (int i = 0; i < {}; ++i)",
        even ? (inner == 1 ? "half_step" : fmt::format("half_step*{}", inner))
        : inner == 1
            ? fmt::format("(half_step < {0} - half_step ? half_step : {0} - half_step)", size)
            : fmt::format("(half_step < {0} - half_step ? half_step : {0} - half_step)*{1}", size, inner)));
    join(fmt::format("{}[i]", t),
         fmt::format("{}[i + half_step{}]", t, inner == 1 ? "" : fmt::format("*{}", inner)));
    close();
    close();
  }

  // "k0*4 + k1": where the point of some axes lies in the array of them.
  std::string flat_of(std::span<const AtomId> axes, std::span<const int64_t> sizes, AtomId lane) const {
    std::string out;
    for (size_t i = 0; i < axes.size(); ++i) {
      if (sizes[i] == 1) continue;
      int64_t stride = 1;
      for (size_t j = i + 1; j < axes.size(); ++j) stride *= sizes[j];
      const std::string at = axes[i] == lane ? atom_names_[axes[i]] + "_part" : atom_names_[axes[i]];
      out += (out.empty() ? "" : " + ") + (stride == 1 ? at : fmt::format("{}*{}", at, stride));
    }
    return out.empty() ? "0" : out;
  }

  void finish_combine(const Stmt& s, const std::string& combined, Dtype from, AtomId lane,
                      const std::vector<std::string>& exists) {
    const Dtype to = value(s.result).dtype;
    const std::string converted = math_.convert(combined, from, to);
    if (s.op == Op::reduce) return define(s.result, converted);
    define(s.result, math_.combine(*s.prim, to, read({s.result, {}}, lane, exists), converted));
  }

  void combine(const Stmt& s) {
    const AtomId lane = lane_of(s);
    const std::span<const AtomId> axes = axes_of(s);
    const std::vector<std::string> exists = conditions(axes, lane);
    if (s.op == Op::contract) return contract(s, lane, axes);
    const Dtype dtype = value(s.operands[0].value).dtype;
    std::vector<int64_t> sizes;
    int64_t total = 1;
    for (const AtomId a : s.over) sizes.push_back(extent(a)), total *= extent(a);
    if (total == 0) return finish_combine(s, math_.identity(*s.prim, dtype), dtype, lane, exists);
    if (s.op == Op::reduce) declare(s.result);
    open("");
    const std::string t = "part";
    line("{} {}[{}];", type_name(dtype), t, total);
    const std::vector<AtomId> loops = loops_of(s.over, -1);
    open_loops(loops, -1);
    const std::vector<std::string> all = conditions(axes, lane, s.over);
    const std::string x = read(s.operands[0], lane, all);
    const std::string condition = named(all);
    line("{}[{}] = {};", t, flat_of(s.over, sizes, -1),
         condition.empty() ? x : fmt::format("{} ? {} : {}", condition, x, math_.identity(*s.prim, dtype)));
    close_loops(loops);
    halve(s, t, sizes, 0, dtype);
    finish_combine(s, t + "[0]", dtype, lane, exists);
    close();
  }

  void contract(const Stmt& s, AtomId lane, std::span<const AtomId> axes) {
    const Dtype dtype = value(s.result).dtype;
    const std::vector<AtomId> loops = loops_of(s.over, -1);
    open_loops(loops, -1);
    const std::vector<std::string> all = conditions(axes, lane, s.over);
    const auto in = [&](size_t i) {
      return math_.convert(read(s.operands[i], lane, all), value(s.operands[i].value).dtype, dtype);
    };
    const std::string a = in(0), b = in(1);
    const std::string condition = named(all);
    const std::string sum = math_.fma(dtype, a, b, read({s.result, {}}, lane, all));
    if (!condition.empty()) open(fmt::format("if ({})", condition));
    define(s.result, sum);
    if (!condition.empty()) close();
    close_loops(loops);
  }

  // ---- reductions along the lane axis

  void reduce_lanes(const Stmt& s) {
    const Operand& o = s.operands[0];
    const Dtype dtype = value(o.value).dtype;
    const AtomId along = lane_[o.value], lane = lane_of(s);
    const std::span<const AtomId> axes = axes_of(s);
    std::vector<int64_t> sizes;
    for (const AtomId a : s.over) sizes.push_back(a == along ? share(a) : extent(a));
    int64_t total = 1;
    for (const int64_t n : sizes) total *= n;
    if (s.op == Op::reduce) declare(s.result);
    const std::string type = type_name(dtype), tree = "tree_" + type;
    const bool meeting = items_ > d.warp;  // a single warp needs no local memory
    if (meeting) trees_.insert(type);
    std::string what;
    for (const AtomId a : s.over) what += (what.empty() ? "" : ", ") + atom_names_[a];
    line("// {} over {}", s.prim->name, what);

    // Every item goes through all points of the result, whoever keeps them.
    if (meeting && reads_.contains(kTree)) meet();
    std::vector<AtomId> loops;
    for (const AtomId a : axes)
      if (!single(a)) loops.push_back(a);
    open_loops(loops, -1);
    open("");
    const bool one = total == 1;
    line("{} part{};", type, one ? "" : fmt::format("[{}]", total));
    const std::vector<AtomId> own = loops_of(s.over, along);
    open_loops(own, along);
    {
      std::vector<AtomId> both(axes.begin(), axes.end());
      const std::vector<std::string> all = conditions(both, along, s.over);
      const std::string x = read(o, along, all);
      const std::string condition = named(all);
      line("part{} = {};", one ? "" : "[" + flat_of(s.over, sizes, along) + "]",
           condition.empty() ? bare(x)
                             : fmt::format("{} ? {} : {}", condition, x, math_.identity(*s.prim, dtype)));
    }
    close_loops(own);
    std::string result = one ? "part" : "part[0]";
    for (size_t axis = 0; axis < s.over.size(); ++axis) {
      int64_t inner = 1;
      for (size_t j = axis + 1; j < s.over.size(); ++j) inner *= sizes[j];
      if (s.over[axis] != along) {
        halve_axis(s, "part", sizes[axis], inner, dtype);
        continue;
      }
      // Elements a multiple of `items` apart are the same item's.
      halve_axis(s, "part", sizes[axis], inner, dtype);
      const int64_t width = std::min<int64_t>(
          items_, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(extent(along)))));
      const bool several = inner > 1;
      if (several) open(fmt::format("for (int i = 0; i < {}; ++i)", inner));
      const std::string mine = one ? "part" : several ? "part[i]" : "part[0]";
      if (d.warp > 0) {
        if (meeting) reduce_strands(s, tree, mine, width, dtype);
        reduce_warp(s, mine, std::min<int64_t>(d.warp, width), dtype);
        if (meeting && (several || !loops.empty())) line("{}", d.barrier);
        if (several) close();
        continue;
      }
      line("{}[item] = {};", tree, mine);
      open(fmt::format("for (int half_step = {}; half_step > 0; half_step /= 2)", width / 2));
      line("{}", d.barrier);
      const char* other = fault("ctext_reduce_lane") ? "[item + 1]" : "[item + half_step]";
      line("if (item < half_step) {}[item] = {};", tree,
           bare(math_.combine(*s.prim, dtype, tree + "[item]", tree + other)));
      close();
      line("{}", d.barrier);
      if (several || !loops.empty() || axis + 1 < s.over.size()) {
        line("{} = {}[0];", mine, tree);
        if (several || !loops.empty()) line("{}", d.barrier);
        result = one ? "part" : "part[0]";
      } else {
        result = tree + "[0]";
      }
      if (several) close();
    }
    const std::vector<std::string> exists = conditions(axes, lane);
    if (lane >= 0) {
      // The item that owns the point keeps it.
      const std::string& n = atom_names_[lane];
      open(fmt::format("if (item == {} % {})", n, items_));
      if (share(lane) > 1) line("const int {0}_part = {0} / {1};", n, items_);
      finish_combine(s, result, dtype, lane, {});
      close();
    } else {
      finish_combine(s, result, dtype, lane, exists);
    }
    close();
    for (size_t i = 0; i < loops.size(); ++i) close();
    // All items met: what was written before may be read, but the tree is being read still.
    if (meeting) {
      reads_ = {kTree};
      writes_.clear();
    }
    if (shared_[s.result]) writes_.insert(s.result);
  }

  // Every warp takes the steps of the tree that are longer than a warp, alike: one barrier is enough.
  void reduce_strands(const Stmt& s, const std::string& tree, const std::string& mine, int64_t width,
                      Dtype dtype) {
    const int64_t strands = std::max<int64_t>(width / d.warp, 1);
    line("{}[item] = {};", tree, mine);
    line("{}", d.barrier);
    if (strands == 1) return line("{} = {}[item % {}];", mine, tree, d.warp);
    open("");
    line("{} strand[{}];", type_name(dtype), strands);
    line("for (int at = 0; at < {0}; ++at) strand[at] = {1}[item % {2} + {2}*at];", strands, tree, d.warp);
    halve_axis(s, "strand", strands, 1, dtype);
    line("{} = strand[0];", mine);
    close();
  }

  void reduce_warp(const Stmt& s, const std::string& mine, int64_t width, Dtype dtype) {
    // `other` has a name because an expression may read it under a condition, where items would not meet.
    if (width > 1) line("{} other;", type_name(dtype));
    for (int64_t half = width / 2; half >= 1; half /= 2) {
      line("other = {};", fmt::format(fmt::runtime(d.partner), mine, half));
      line("{} = {};", mine, bare(math_.combine(*s.prim, dtype, mine, "other")));
    }
    line("{} = {};", mine, fmt::format(fmt::runtime(d.first), mine));
  }

  // ---- loops and votes

  void enter(const Touched& t) {  // a loop's body follows on itself
    note(t);
  }

  std::string loop_head(const Loop& l) const {
    const std::string& n = atom_names_[l.atom];
    const std::string type = counter_type(l.atom), trips = dim_text(k.atoms[l.atom].extent);
    if (l.reverse) return fmt::format("for ({0} {1} = {2} - 1; {1} >= 0; --{1})", type, n, trips);
    return fmt::format("for ({0} {1} = 0; {1} < {2}; ++{1})", type, n, trips);
  }

  void write_loop(const Loop& l) {
    Touched t = touched(l.body);
    for (const auto& c : l.carries) {
      touch(c.next, lane_[c.variable], t);
      if (shared_[c.variable]) t.own_writes.insert(c.variable);
    }
    const std::set<int> reads = reads_, writes = writes_;
    enter(t);
    open(loop_head(l), atom_names_[l.atom]);
    bound_[l.atom] = true;
    write_body(l.body);
    carry(l);
    bound_[l.atom] = false;
    close();
    reads_.insert(reads.begin(), reads.end());
    writes_.insert(writes.begin(), writes.end());
  }

  // All at once: through temporaries where one reads what another changes.
  void carry(const Loop& l) {
    std::set<ValueId> changed;
    for (const auto& c : l.carries) changed.insert(c.variable);
    bool apart =
        std::ranges::none_of(l.carries, [&](const tile::Carry& c) { return changed.contains(c.next.value); });
    if (l.go.value >= 0 && changed.contains(l.go.value)) apart = false;
    Touched reading, writing;
    for (const auto& c : l.carries) {
      touch(c.next, lane_[c.variable], reading);
      if (l.go.value >= 0) touch(l.go, lane_[c.variable], reading);
      if (shared_[c.variable]) writing.own_writes.insert(c.variable);
    }
    sync(reading);
    if (apart && reading.empty() && writing.empty()) {
      for (const auto& c : l.carries) carry_one(l, c, value_names_[c.variable], false);
      return;
    }
    // One scope: the temporaries end with it.
    open("");
    for (const auto& c : l.carries) {
      line("{} next_{}{};", type_name(value(c.variable).dtype), value_names_[c.variable],
           dimensions(c.variable));
      carry_one(l, c, "next_" + value_names_[c.variable], true);
    }
    sync(writing);
    for (const auto& c : l.carries) {
      const AtomId lane = lane_[c.variable];
      const std::vector<AtomId> loops = loops_of(value(c.variable).axes, lane);
      open_loops(loops, lane);
      define(c.variable, "next_" + value_names_[c.variable] + subscripts({c.variable, {}}));
      close_loops(loops);
    }
    close();
  }

  void carry_one(const Loop& l, const tile::Carry& c, const std::string& to, bool temporary) {
    const AtomId lane = lane_[c.variable];
    const auto& axes = value(c.variable).axes;
    const std::vector<AtomId> loops = loops_of(axes, lane);
    open_loops(loops, lane);
    const std::vector<std::string> exists = conditions(axes, lane);
    const std::string at = subscripts({c.variable, {}});
    std::string next = read(c.next, lane, exists);
    const std::string old = read({c.variable, {}}, lane, exists);
    if (l.go.value < 0) {
      line("{}{} = {};", to, at, bare(next));
    } else {
      const std::string go = read(l.go, lane, exists);
      if (temporary)
        line("{}{} = {} ? {} : {};", to, at, go, next, old);
      else
        line("if ({}) {}{} = {};", go, to, at, bare(next));
    }
    close_loops(loops);
  }

  // Whether any element of the mask that this item owns holds: an expression.
  std::string own_vote(const Operand& mask) {
    const AtomId lane = lane_of(mask);
    std::vector<AtomId> axes;
    const auto add = [&](AtomId a) {
      if (!bound_[a] && !contains(axes, a)) axes.push_back(a);
    };
    if (mask.at.empty())
      for (const AtomId a : value(mask.value).axes) add(a);
    for (const Form& f : mask.at)
      for (const Term& t : f.terms) add(t.atom);
    const std::vector<AtomId> loops = loops_of(axes, lane);
    const auto holds = [&] {
      std::vector<std::string> exists = conditions(axes, lane);
      const std::string x = read(mask, lane, exists);
      exists.push_back(x);
      return fmt::format("{}", fmt::join(exists, " && "));
    };
    if (loops.empty()) return holds();
    const std::string any = fmt::format("any{}", unique_++);
    line("bool {} = false;", any);
    open_loops(loops, lane);
    const std::string one = holds();
    line("{0} = {0} || ({1});", any, one);
    close_loops(loops);
    return any;
  }

  // The same for the whole group.
  std::string vote(const Operand& mask, bool each_alone) {
    Touched t;
    touch(mask, lane_of(mask), t);
    sync(t);
    const std::string mine = own_vote(mask);
    if (lane_of(mask) < 0 || items_ == 1 || each_alone) return mine;
    uses_flag_ = true;
    if (reads_.contains(kFlag)) meet();
    line("if (item == 0) flag = 0;");
    line("{}", d.barrier);
    line("if ({}) {}", mine, d.raise_flag);
    line("{}", d.barrier);
    reads_ = {kFlag};
    writes_.clear();
    return "flag";
  }

  void write_if(const If& c) {
    std::vector<ValueId> defined;
    walk(
        c.body,
        [&](const Stmt& s) {
          if (!writes_memory(s) && !updates(s.op)) defined.push_back(s.result);
        },
        [](const Operand&, ValueId) {});
    std::map<ValueId, int> used;
    const auto count = [&](const Operand& o) { ++used[o.value]; };
    walk(
        c.body, [&](const Stmt& s) { std::ranges::for_each(s.operands, count); },
        [&](const Operand& o, ValueId) { count(o); });
    for (const ValueId v : defined)
      if (used[v] != uses_[v]) declare(v);
    const bool each_alone = alone(c);
    const std::string condition = vote(c.mask, each_alone);
    const std::set<int> reads = reads_, writes = writes_;
    open(fmt::format("if ({})", bare(condition)));
    write_body(c.body);
    close();
    reads_.insert(reads.begin(), reads.end());
    writes_.insert(writes.begin(), writes.end());
  }

  void write_while(const Loop& l) {
    const bool each_alone = alone(l);
    Touched t = touched(l.condition);
    merge(t, touched(l.body));
    merge(t, vote_touches(l.go, !each_alone));
    for (const auto& c : l.carries) {
      touch(c.next, lane_[c.variable], t);
      if (shared_[c.variable]) t.own_writes.insert(c.variable);
    }
    const std::set<int> reads = reads_, writes = writes_;
    enter(t);
    open(loop_head(l), atom_names_[l.atom]);
    bound_[l.atom] = true;
    write_body(l.condition);
    const std::string go = vote(l.go, each_alone);
    line("if (!({})) break;", bare(go));
    write_body(l.body);
    carry(l);
    bound_[l.atom] = false;
    close();
    // Whatever was going on at any way out.
    note(t);
    reads_.insert(reads.begin(), reads.end());
    writes_.insert(writes.begin(), writes.end());
  }
};

}  // namespace

std::vector<std::string> function_names(std::span<const tile::Kernel* const> kernels) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const tile::Kernel* k : kernels) {
    std::string name = "tn_" + k->name;
    for (char& c : name)
      if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    std::string own = name;
    for (int n = 2; !taken.insert(own).second; ++n) own = fmt::format("{}_{}", name, n);
    names.push_back(own);
  }
  return names;
}

File emit(std::span<const tile::Kernel* const> kernels, std::span<const std::string> names,
          const Dialect& dialect, const Limits& limits) {
  Math math(dialect, limits.arithmetic);
  File file;
  std::string all;
  for (size_t i = 0; i < kernels.size(); ++i) {
    Writer writer(*kernels[i], names[i], dialect, limits, math);
    writer.run();
    if (math.uses_f64() && !limits.arithmetic.f64)
      throw DeviceError(
          fmt::format("kernel {} computes in f64, which the device does not have: convert to f32 before",
                      kernels[i]->name));
    all += "\n" + writer.text;
    file.functions.push_back(std::move(writer.function));
  }
  file.text = std::string(dialect.head);
  if (math.uses_f64()) file.text += dialect.head_f64;
  for (const std::string& helper : math.helper_order()) file.text += "\n" + math.helpers().at(helper);
  file.text += all;
  return file;
}

}  // namespace tenfold::ctext
