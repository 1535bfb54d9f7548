// What a kernel must be so that every target may trust it. Complaints name the statement and say what is
// needed.
#include <algorithm>
#include <set>

#include "tenfold/ir/build.h"
#include "tenfold/tile/program.h"

namespace tenfold::tile {
namespace {

// The kernel's numbers for one choice of its symbols.
struct Sample {
  std::map<std::string, int64_t> symbols;

  int64_t of(const Dim& dim) const { return dim.is_const() ? dim.value() : dim.evaluate(symbols); }
  std::string str(const std::map<std::string, Symbol>& mentioned) const {
    std::string text;
    for (const auto& [name, value] : symbols)
      if (mentioned.contains(name))
        text += fmt::format("{}{}={}", text.empty() ? " for " : ", ", name, value);
    return text;
  }
};

// Bounds are checked at these values: at both ends (the upper one within reach), beside the lower one, at the
// hint.
std::vector<Sample> samples(const std::map<std::string, Symbol>& symbols) {
  constexpr int64_t kReach = 1 << 20;
  std::vector<Sample> result;
  if (symbols.empty()) return {Sample{}};
  for (int choice = 0; choice < 4; ++choice) {
    Sample sample;
    for (const auto& [name, s] : symbols) {
      const int64_t upper = std::max(s.lower, std::min(s.upper, kReach + 1));
      const int64_t choices[] = {s.lower, std::min(s.lower + 1, upper), std::clamp(s.hint, s.lower, upper),
                                 upper};
      sample.symbols[name] = choices[choice];
    }
    result.push_back(std::move(sample));
  }
  return result;
}

class Verifier {
 public:
  explicit Verifier(const Kernel& kernel, const std::map<std::string, int64_t>* symbols = nullptr)
      : kernel_(kernel), given_(symbols) {}

  std::vector<std::string> verify() {
    check_names();
    check_atoms();
    check_values();
    check_body_ids(kernel_.body);
    if (!complaints_.empty())
      return std::move(complaints_);  // what follows trusts every number to name something

    collect_symbols();
    states_.resize(kernel_.values.size());
    for (const AtomId atom : kernel_.grid) bind(atom, "the grid");
    check(kernel_.body);
    for (size_t i = 0; i < kernel_.args.size(); ++i)
      if (kernel_.args[i].output && !stored_.contains(static_cast<int>(i)))
        complain("the output {} is never stored", kernel_.args[i].name);
    return std::move(complaints_);
  }

 private:
  template <class... Args>
  void complain(fmt::format_string<Args...> format, Args&&... args) {
    const std::string where = stmt_ ? fmt::format("`{}`: ", print(kernel_, *stmt_)) : place_;
    complaints_.push_back(kernel_.name + ": " + where + fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- names and numbers

  bool has_atom(AtomId atom) const { return atom >= 0 && atom < static_cast<AtomId>(kernel_.atoms.size()); }
  bool has_value(ValueId value) const {
    return value >= 0 && value < static_cast<ValueId>(kernel_.values.size());
  }
  const std::string& name(AtomId atom) const { return kernel_.atoms[atom].name; }
  const Value& value(ValueId id) const { return kernel_.values[id]; }

  void check_names() {
    std::set<std::string> names;
    const auto once = [&](const std::string& name, std::string_view what) {
      if (name.empty()) complain("{} has no name", what);
      if (!names.insert(name).second) complain("{} is named {}, as something else is", what, name);
    };
    for (const Arg& arg : kernel_.args) once(arg.name, "a buffer");
    names.clear();  // the place tells a buffer from an atom
    for (const Atom& atom : kernel_.atoms) once(atom.name, "an atom");
    for (const Value& value : kernel_.values) {
      once(value.name, "a value");
      if (!value.name.starts_with('%')) complain("the name of value {} does not start with %", value.name);
    }
  }

  void check_atoms() {
    std::set<AtomId> seen;
    for (const AtomId atom : kernel_.grid) {
      if (!has_atom(atom)) {
        complain("the grid names atom {}, there are {}", atom, kernel_.atoms.size());
      } else if (!seen.insert(atom).second) {
        complain("the grid names {} twice", name(atom));
      }
    }
    if (kernel_.vector != -1 && !has_atom(kernel_.vector)) complain("`vector` names no atom");
    for (const AtomId atom : kernel_.vectors)
      if (!has_atom(atom)) complain("`vector` names no atom");
    for (const Guard& guard : kernel_.guards) {
      if (!has_atoms(guard.form)) {
        complain("a guard names no atom");
      } else if (guard.form.whole || guard.form.terms.empty()) {
        complain("a guard needs a form over atoms");
      }
    }
  }

  void check_values() {
    for (const Value& value : kernel_.values) {
      std::set<AtomId> seen;
      for (const AtomId axis : value.axes) {
        if (!has_atom(axis)) {
          complain("{} has an axis that is no atom", value.name);
        } else if (!seen.insert(axis).second) {
          complain("{} has the axis {} twice", value.name, name(axis));
        } else if (!kernel_.atoms[axis].extent.is_const()) {
          complain(
              "axis {} of {} has {} elements: an axis has a fixed number, only loops and the grid may be "
              "symbolic",
              name(axis), value.name, kernel_.atoms[axis].extent.str());
        }
      }
    }
  }

  bool has_atoms(const Form& form) const {
    return std::ranges::all_of(form.terms, [&](const Term& term) { return has_atom(term.atom); });
  }
  bool has_atoms(const std::vector<Form>& forms) const {
    return std::ranges::all_of(forms, [&](const Form& form) { return has_atoms(form); });
  }
  bool has_numbers(const Operand& operand) const { return has_value(operand.value) && has_atoms(operand.at); }

  static bool stores(Op op) { return op == Op::store; }

  bool has_numbers(const Stmt& s) const {
    const bool has_arg = s.op == Op::load || s.op == Op::store;
    const bool has_prim = s.op == Op::map || s.op == Op::accumulate || s.op == Op::reduce;
    return (stores(s.op) || has_value(s.result)) && has_atoms(s.forms) &&
           std::ranges::all_of(s.axes, [&](AtomId atom) { return has_atom(atom); }) &&
           std::ranges::all_of(s.over, [&](AtomId atom) { return has_atom(atom); }) &&
           std::ranges::all_of(s.operands, [&](const Operand& operand) { return has_numbers(operand); }) &&
           (!has_arg || (s.arg >= 0 && s.arg < static_cast<int>(kernel_.args.size()))) &&
           (!has_prim || s.prim) && (s.op != Op::read || has_value(s.source)) &&
           (s.op != Op::index || s.forms.size() == 1);
  }

  void check_body_ids(const Body& body) {
    for (const Item& item : body) {
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        if (!has_numbers(*stmt))
          complain("a {} names a value, an atom, a buffer or an operation that does not exist",
                   tile::name(stmt->op));
      } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        const Loop& l = **loop;
        const bool ok = has_atom(l.atom) && (l.go.value == -1 || has_numbers(l.go)) &&
                        std::ranges::all_of(l.carries, [&](const Carry& carry) {
                          return has_value(carry.variable) && has_numbers(carry.next);
                        });
        if (!ok) complain("a loop names a value or an atom that does not exist");
        if (l.go.value == -1 && !l.condition.empty()) complain("a loop has a condition but nothing to test");
        check_body_ids(l.condition);
        check_body_ids(l.body);
      } else {
        const If& vote = *std::get<std::unique_ptr<If>>(item);
        if (!has_numbers(vote.mask)) complain("an `if` names a value that does not exist");
        check_body_ids(vote.body);
      }
    }
  }

  void collect_symbols() {
    std::map<std::string, Symbol> symbols;
    const auto add = [&](const Form& form) {
      form.offset.symbols(symbols);
      for (const Term& term : form.terms) term.coef.symbols(symbols);
    };
    for (const Arg& arg : kernel_.args)
      for (const Dim& dim : arg.shape) dim.symbols(symbols);
    for (const Atom& atom : kernel_.atoms) atom.extent.symbols(symbols);
    for (const Guard& guard : kernel_.guards) {
      add(guard.form);
      guard.limit.symbols(symbols);
    }
    for_each_statement(kernel_.body, [&](const Stmt& stmt, std::span<const Loop* const>) {
      std::ranges::for_each(stmt.forms, add);
      for (const Operand& operand : stmt.operands) std::ranges::for_each(operand.at, add);
    });
    samples_ = given_ ? std::vector{Sample{*given_}} : samples(symbols);
  }

  // ---- scopes

  void bind(AtomId atom, std::string by) {
    bound_.push_back(atom);
    binders_.push_back(std::move(by));
  }
  bool is_bound(AtomId atom) const { return std::ranges::find(bound_, atom) != bound_.end(); }
  static bool contains(const std::vector<AtomId>& atoms, AtomId atom) {
    return std::ranges::find(atoms, atom) != atoms.end();
  }

  struct State {
    enum { undefined, known, ended } state = undefined;
    bool is_variable = false;
    std::string by;  // the loop that ended
  };

  void define(ValueId id, bool is_variable) {
    State& state = states_[id];
    if (value(id).scratch) return complain("{} is scratch: it is given by `write`", value(id).name);
    if (state.state == State::undefined) {
      scope_.push_back(id);
    } else if (!is_variable || !state.is_variable) {
      complain("{} is defined twice; only a variable (fill, copy) may be given again", value(id).name);
    } else if (state.state == State::ended) {
      scope_.push_back(id);
    }
    state = {State::known, is_variable, {}};
  }

  bool check_known(ValueId id) {
    const State& state = states_[id];
    if (value(id).scratch) {
      complain("{} is scratch: `read` gives its elements", value(id).name);
      return false;
    }
    if (state.state == State::known) return true;
    if (state.state == State::ended) {
      complain("{} is defined in {}, which has ended", value(id).name, state.by);
    } else {
      complain("{} is used before it is defined", value(id).name);
    }
    return false;
  }

  bool check_variable(ValueId id) {
    if (!check_known(id)) return false;
    if (!states_[id].is_variable) complain("{} is no variable: define it by fill or copy", value(id).name);
    return states_[id].is_variable;
  }

  void end_scope(size_t from, const std::string& by) {
    for (size_t i = from; i < scope_.size(); ++i) {
      states_[scope_[i]].state = State::ended;
      states_[scope_[i]].by = by;
    }
    scope_.resize(from);
  }

  // ---- bodies

  void check(const Body& body) {
    for (const Item& item : body) {
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        stmt_ = stmt;
        check(*stmt);
        stmt_ = nullptr;
      } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        check(**loop);
      } else {
        check(*std::get<std::unique_ptr<If>>(item));
      }
    }
  }

  void check(const Loop& loop) {
    const bool is_while = loop.go.value >= 0;
    const std::string title = fmt::format("{} {}", is_while ? "while" : "for", name(loop.atom));
    const std::string place = std::exchange(place_, title + ": ");
    if (const auto found = std::ranges::find(bound_, loop.atom); found != bound_.end())
      complain("{} is the atom of {} around it", name(loop.atom), binders_[found - bound_.begin()]);
    if (is_while && loop.reverse) complain("a while loop cannot run in reverse");

    std::vector<bool> known_before;
    for (const Carry& carry : loop.carries)
      known_before.push_back(states_[carry.variable].state == State::known);
    bind(loop.atom, "a loop");
    const size_t scope = scope_.size();
    check(loop.condition);
    place_ = title + ": ";
    if (is_while) check_mask(loop.go, "the tested value");
    check(loop.body);
    place_ = title + ": ";
    std::set<ValueId> carried;
    for (size_t i = 0; i < loop.carries.size(); ++i) {
      const Carry& carry = loop.carries[i];
      if (!carried.insert(carry.variable).second) complain("{} is carried twice", value(carry.variable).name);
      if (!known_before[i]) {
        complain("the carried variable {} is not defined before the loop", value(carry.variable).name);
      } else {
        check_carry(loop, carry);
      }
    }
    end_scope(scope, "the loop over " + name(loop.atom));
    bound_.pop_back();
    binders_.pop_back();
    place_ = place;
  }

  void check_carry(const Loop& loop, const Carry& carry) {
    const Value& variable = value(carry.variable);
    if (!check_variable(carry.variable) || !check_operand(carry.next, variable.axes, {})) return;
    if (value(carry.next.value).dtype != variable.dtype)
      complain("the carry {} is {}, its next value {} is {}", variable.name, tenfold::name(variable.dtype),
               value(carry.next.value).name, tenfold::name(value(carry.next.value).dtype));
    if (loop.go.value < 0) return;
    for (const AtomId axis : value(loop.go.value).axes)
      if (!contains(variable.axes, axis) && !is_bound(axis))
        complain("the carry {} lacks the axis {} of the tested value: its elements could not stop one by one",
                 variable.name, name(axis));
  }

  void check(const If& vote) {
    const std::string place = std::exchange(place_, fmt::format("if any {}: ", value(vote.mask.value).name));
    check_mask(vote.mask, "the mask");
    ++votes_;
    check(vote.body);
    --votes_;
    place_ = place;
  }

  void check_mask(const Operand& mask, std::string_view what) {
    std::vector<AtomId> axes;
    const auto add = [&](AtomId atom) {
      if (!is_bound(atom) && !contains(axes, atom)) axes.push_back(atom);
    };
    for (const Form& form : mask.at)
      for (const Term& term : form.terms) add(term.atom);
    if (mask.at.empty()) std::ranges::for_each(value(mask.value).axes, add);
    if (!check_operand(mask, axes, {})) return;
    if (!is_bool(value(mask.value).dtype))
      complain("{} {} is {}, it must be bool", what, value(mask.value).name,
               tenfold::name(value(mask.value).dtype));
  }

  // ---- statements

  void check(const Stmt& s) {
    check_axes(s);
    if (!check_count(s)) return;
    bool known = true;
    for (const Operand& operand : s.operands) known &= check_operand(operand, s.axes, s.over);
    if (known) check_dtypes(s);
    check_forms(s);
    switch (s.op) {
      case Op::store: check_store(s); break;
      case Op::write:
        if (!value(s.result).scratch) complain("{} is not scratch", value(s.result).name);
        break;
      case Op::accumulate:
      case Op::contract:
        if (check_variable(s.result)) check_no_self(s);
        break;
      case Op::fill: define(s.result, true); break;
      case Op::copy:
        check_no_self(s);
        define(s.result, true);
        break;
      case Op::read:
        if (!value(s.source).scratch)
          complain("{} is not scratch: use it as an operand", value(s.source).name);
        define(s.result, false);
        break;
      default: define(s.result, false);
    }
  }

  void check_axes(const Stmt& s) {
    std::set<AtomId> seen;
    const auto check_axis = [&](AtomId axis) {
      if (is_bound(axis)) complain("its axis {} is the atom of a loop around it, or of the grid", name(axis));
      if (!seen.insert(axis).second) complain("it has the axis {} twice", name(axis));
      if (!kernel_.atoms[axis].extent.is_const())
        complain("its axis {} has a symbolic extent: only loops and the grid may", name(axis));
    };
    std::ranges::for_each(s.axes, check_axis);
    std::ranges::for_each(s.over, check_axis);
    const bool combines = s.op == Op::accumulate || s.op == Op::reduce || s.op == Op::contract;
    if (!s.over.empty() && !combines) complain("only accumulate, reduce and contract combine over axes");
    if (s.over.empty() && s.op == Op::reduce) complain("it reduces over no axis");
    const bool has_tile = s.op != Op::store && s.op != Op::write;
    if (has_tile && s.axes != value(s.result).axes)
      complain("it runs over other axes than its result {} has", value(s.result).name);
  }

  bool check_count(const Stmt& s) {
    size_t expected = 0;
    switch (s.op) {
      case Op::load: expected = std::ranges::count_if(s.forms, &Form::whole); break;
      case Op::contract: expected = 2; break;
      case Op::map:
        if (s.prim->kind != Kind::map) {
          complain("{} is no map", s.prim->name);
          return false;
        }
        if (const std::string why = complaint(*s.prim, s.operands.size(), s.attrs); !why.empty()) {
          complain("{}", why);
          return false;
        }
        return true;
      case Op::store:
      case Op::copy:
      case Op::accumulate:
      case Op::reduce:
      case Op::write: expected = 1; break;
      default: break;
    }
    if (s.operands.size() == expected) return true;
    complain("it has {} operands, it needs {}", s.operands.size(), expected);
    return false;
  }

  bool check_operand(const Operand& operand, const std::vector<AtomId>& axes,
                     const std::vector<AtomId>& over) {
    if (!check_known(operand.value)) return false;
    const Value& v = value(operand.value);
    if (operand.at.empty()) {
      for (const AtomId axis : v.axes)
        if (!contains(axes, axis) && !contains(over, axis) && !is_bound(axis))
          complain("axis {} of {} is neither an axis of the reader nor a loop around it", name(axis), v.name);
      return true;
    }
    if (operand.at.size() != v.axes.size()) {
      complain("{} has {} axes, it is read at {} places", v.name, v.axes.size(), operand.at.size());
      return true;
    }
    for (size_t i = 0; i < operand.at.size(); ++i) {
      const Form& form = operand.at[i];
      if (form.whole) {
        complain("{} is read at a place that is Whole", v.name);
      } else if (check_known_atoms(form, axes, over)) {
        check_bounds(form, kernel_.atoms[v.axes[i]].extent, axes, over,
                     fmt::format("axis {} of {}", name(v.axes[i]), v.name));
      }
    }
    return true;
  }

  bool check_known_atoms(const Form& form, const std::vector<AtomId>& axes, const std::vector<AtomId>& over) {
    bool known = true;
    for (const Term& term : form.terms) {
      if (contains(axes, term.atom) || contains(over, term.atom) || is_bound(term.atom)) continue;
      complain("the form {} uses {}, which is neither an axis of the statement nor a loop around it",
               print(kernel_, form), name(term.atom));
      known = false;
    }
    return known;
  }

  void check_forms(const Stmt& s) {
    if (s.op == Op::index) {
      check_known_atoms(s.forms[0], s.axes, s.over);
      if (s.forms[0].whole) complain("an index needs a form over atoms");
      return;
    }
    const bool is_arg = s.op == Op::load || s.op == Op::store,
               is_scratch = s.op == Op::read || s.op == Op::write;
    if (!is_arg && !is_scratch) {
      if (!s.forms.empty()) complain("it takes no forms");
      return;
    }
    const Value* scratch = is_scratch ? &value(s.op == Op::read ? s.source : s.result) : nullptr;
    const Arg* arg = is_arg ? &kernel_.args[s.arg] : nullptr;
    const size_t rank = is_arg ? arg->shape.size() : scratch->axes.size();
    const std::string& memory = is_arg ? arg->name : scratch->name;
    if (s.forms.size() != rank)
      return complain("{} has {} dimensions, it is indexed by {} forms", memory, rank, s.forms.size());
    for (size_t d = 0; d < rank; ++d) {
      if (s.forms[d].whole) {
        if (s.op != Op::load) complain("dimension {} of {} is Whole: only a load may be gathered", d, memory);
        continue;
      }
      if (!check_known_atoms(s.forms[d], s.axes, s.over) || s.op == Op::load) continue;
      check_bounds(s.forms[d], is_arg ? arg->shape[d] : kernel_.atoms[scratch->axes[d]].extent, s.axes,
                   s.over, fmt::format("dimension {} of {}", d, memory));
    }
    if (s.op == Op::load || s.op == Op::read) return;
    for (const AtomId axis : s.axes)
      if (!is_single(axis) && !uses(s.forms, axis))
        complain("its axis {} is in no form: several points would go to one element", name(axis));
  }

  bool is_single(AtomId atom) const { return kernel_.atoms[atom].extent == Dim(1); }

  static bool uses(const std::vector<Form>& forms, AtomId atom) {
    return std::ranges::any_of(forms, [&](const Form& form) {
      return std::ranges::any_of(form.terms,
                                 [&](const Term& term) { return term.atom == atom && term.coef != Dim(0); });
    });
  }

  void check_store(const Stmt& s) {
    stored_.insert(s.arg);
    if (!kernel_.args[s.arg].output) complain("{} is no output", kernel_.args[s.arg].name);
    if (votes_ > 0) complain("a store in an `if` may not happen, but every output element is written");
    for (size_t i = 0; i < bound_.size(); ++i)
      if (!is_single(bound_[i]) && !uses(s.forms, bound_[i]))
        complain("{} of {} is in no form: its iterations would write the same elements", name(bound_[i]),
                 binders_[i]);
  }

  void check_no_self(const Stmt& s) {
    for (const Operand& operand : s.operands)
      if (operand.value == s.result && (!operand.at.empty() || !s.over.empty()))
        complain("it reads its own variable {} at another place", value(s.result).name);
  }

  void check_dtype(Dtype got, Dtype needed, std::string_view what, std::string_view of) {
    if (got != needed)
      complain("{} is {}, but {} is {}", what, tenfold::name(got), of, tenfold::name(needed));
  }

  void check_dtypes(const Stmt& s) {
    const auto operand = [&](size_t i) -> const Value& { return value(s.operands[i].value); };
    switch (s.op) {
      case Op::load:
        check_dtype(value(s.result).dtype, kernel_.args[s.arg].dtype, value(s.result).name,
                    kernel_.args[s.arg].name);
        if (kernel_.args[s.arg].output)
          complain("{} is an output: nothing is loaded from it", kernel_.args[s.arg].name);
        for (size_t i = 0; i < s.operands.size(); ++i)
          if (!is_int(operand(i).dtype))
            complain("the index {} is {}, it must be an integer", operand(i).name,
                     tenfold::name(operand(i).dtype));
        break;
      case Op::store:
        check_dtype(operand(0).dtype, kernel_.args[s.arg].dtype, operand(0).name, kernel_.args[s.arg].name);
        break;
      case Op::copy:
      case Op::write:
        check_dtype(operand(0).dtype, value(s.result).dtype, operand(0).name, value(s.result).name);
        break;
      case Op::read:
        check_dtype(value(s.result).dtype, value(s.source).dtype, value(s.result).name, value(s.source).name);
        break;
      case Op::index:
        if (!is_int(value(s.result).dtype))
          complain("{} is {}, an index is an integer", value(s.result).name,
                   tenfold::name(value(s.result).dtype));
        break;
      case Op::accumulate:
      case Op::reduce:
        if (!s.prim->has("combine"))
          complain("{} combines nothing: take add, mul, minimum, maximum or a logical one", s.prim->name);
        check_dtype(operand(0).dtype, value(s.result).dtype, operand(0).name, value(s.result).name);
        break;
      case Op::map: check_type_rule(s); break;
      default: break;
    }
  }

  void check_type_rule(const Stmt& s) {
    Nodes inputs;
    for (const Operand& operand : s.operands)
      inputs.push_back(
          build::parameter(static_cast<int64_t>(inputs.size()), {value(operand.value).dtype, {}}));
    try {
      const std::vector<Type> types = s.prim->type(s.attrs, inputs);
      if (types.at(0).dtype != value(s.result).dtype)
        complain("{} gives {}, but {} is {}", s.prim->name, tenfold::name(types[0].dtype),
                 value(s.result).name, tenfold::name(value(s.result).dtype));
    } catch (const UserError& error) {
      complain("{}", error.what());
    }
  }

  // ---- bounds

  // The largest value of sign * form, less its offset, where the guards hold; nothing if there is no point.
  std::optional<int64_t> largest(const Sample& sample, const Form& form, int64_t sign,
                                 const std::vector<AtomId>& axes, const std::vector<AtomId>& over) const {
    std::map<AtomId, int64_t> coefs;
    for (const Term& term : form.terms) coefs[term.atom] += sign * sample.of(term.coef);
    const auto plain = [&](AtomId atom, int64_t coef) {
      return std::max<int64_t>(0, coef * (sample.of(kernel_.atoms[atom].extent) - 1));
    };
    for (const auto& [atom, coef] : coefs)
      if (sample.of(kernel_.atoms[atom].extent) <= 0) return {};
    int64_t total = 0;
    for (const Guard& guard : kernel_.guards) {
      const int64_t limit = sample.of(guard.limit) - 1 - sample.of(guard.form.offset);
      int64_t factor = 0, unguarded = 0;
      bool applies = true;
      for (const Term& term : guard.form.terms) {
        const int64_t coef = sample.of(term.coef), here = coefs.contains(term.atom) ? coefs[term.atom] : 0;
        if (factor == 0 && coef != 0) factor = here / coef;
        const bool is_known = contains(axes, term.atom) || contains(over, term.atom) || is_bound(term.atom);
        applies &= is_known && factor > 0 && here == factor * coef;
        if (applies) unguarded += plain(term.atom, here);
      }
      if (!applies) continue;
      if (limit < 0) return {};
      total += std::min(unguarded, factor * limit);
      for (const Term& term : guard.form.terms) coefs[term.atom] = 0;
    }
    for (const auto& [atom, coef] : coefs) total += plain(atom, coef);
    return total;
  }

  void check_bounds(const Form& form, const Dim& extent, const std::vector<AtomId>& axes,
                    const std::vector<AtomId>& over, const std::string& what) {
    for (const Sample& sample : samples_) {
      const auto up = largest(sample, form, 1, axes, over), down = largest(sample, form, -1, axes, over);
      if (!up || !down) continue;
      const auto where = [&] {
        std::map<std::string, Symbol> mentioned;
        extent.symbols(mentioned);
        form.offset.symbols(mentioned);
        for (const Term& term : form.terms) {
          term.coef.symbols(mentioned);
          kernel_.atoms[term.atom].extent.symbols(mentioned);
        }
        return sample.str(mentioned);
      };
      const int64_t offset = sample.of(form.offset), elements = sample.of(extent);
      if (offset - *down < 0)
        return complain("the form {} reaches {} of {}{}", print(kernel_, form), offset - *down, what,
                        where());
      if (offset + *up >= elements)
        return complain("the form {} reaches {} of {}, which has {} elements{}: a guard is missing",
                        print(kernel_, form), offset + *up, what, elements, where());
    }
  }

  const Kernel& kernel_;
  const std::map<std::string, int64_t>* given_;  // the symbols' values, where they are known
  std::vector<std::string> complaints_;
  std::vector<Sample> samples_;
  std::vector<State> states_;         // by value
  std::vector<ValueId> scope_;        // known values, in order of definition
  std::vector<AtomId> bound_;         // the grid and the loops around, outermost first
  std::vector<std::string> binders_;  // what binds each
  std::set<int> stored_;
  const Stmt* stmt_ = nullptr;
  std::string place_;
  int votes_ = 0;  // nested `if`s
};

}  // namespace

std::vector<std::string> verify(const Kernel& kernel) { return Verifier(kernel).verify(); }

std::vector<std::string> verify(const Kernel& kernel, const std::map<std::string, int64_t>& symbols) {
  return Verifier(kernel, &symbols).verify();
}

}  // namespace tenfold::tile
