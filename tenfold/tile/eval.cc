// The tile interpreter: one point at a time on exact scalars, every access checked. Slow and obvious: the
// emitters are compared with it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>

#include "tenfold/ir/reduce.h"
#include "tenfold/tile/program.h"

namespace tenfold::tile {
namespace {

// A form with its symbols evaluated.
struct Linear {
  int64_t offset = 0;
  std::vector<std::pair<AtomId, int64_t>> terms;
  bool whole = false;

  int64_t at(const std::vector<int64_t>& point) const {
    int64_t index = offset;
    for (const auto& [atom, coef] : terms) index += coef * point[atom];
    return index;
  }
};

// What an element of unspecified value holds: visible where it is used after all.
Scalar unspecified(Dtype dtype) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (is_bool(dtype)) return true;
  if (is_complex(dtype)) return Complex(kNan, kNan);
  if (is_float(dtype)) return kNan;
  return Scalar(uint64_t{0x5a5a5a5a5a5a5a5a}).round_to(dtype);
}

// a * b + c in `dtype`, rounded once (f16 and bf16: in f32, then rounded again).
Scalar fused(const Scalar& a, const Scalar& b, const Scalar& c, Dtype dtype) {
  const auto real = [&](double x, double y, double z) -> double {
    if (dtype == Dtype::f64 || dtype == Dtype::complex128) return std::fma(x, y, z);
    return std::fma(static_cast<float>(x), static_cast<float>(y), static_cast<float>(z));
  };
  if (is_bool(dtype)) return (a.b() && b.b()) || c.b();
  if (is_int(dtype)) return Scalar(a.u() * b.u() + c.u()).round_to(dtype);
  if (is_float(dtype)) return Scalar(real(a.f(), b.f(), c.f())).round_to(dtype);
  const Complex x = a.c(), y = b.c(), z = c.c();
  return Complex(real(-x.imag(), y.imag(), real(x.real(), y.real(), z.real())),
                 real(x.imag(), y.real(), real(x.real(), y.imag(), z.imag())));
}

struct Tile {
  std::vector<Scalar> elements;
  bool defined = false;
};

// What happened to an element of device memory: block numbers from 1.
struct History {
  int64_t writer = 0;
  int64_t reader = 0;
};

struct Memory {
  bool is_output = false;
  std::vector<History> history;  // of outputs: all elements
};

struct Scratch {
  size_t offset = 0;
  std::vector<int64_t> block;      // that wrote the element last
  std::vector<int64_t> execution;  // of a statement that wrote the element last
};

class Interpreter {
 public:
  Interpreter(const Kernel& kernel, std::span<Array* const> args,
              const std::map<std::string, int64_t>& symbols, const Access& access)
      : kernel_(kernel), args_(args), symbols_(symbols), access_(access) {}

  Counts run() {
    check_kernel();
    prepare();
    int64_t total = 1;
    for (const AtomId atom : kernel_.grid) {
      total *= extents_[atom];
      bound_[atom] = true;
    }
    for (block_ = 1; block_ <= total; ++block_) {
      int64_t rest = block_ - 1;
      for (auto atom = kernel_.grid.rbegin(); atom != kernel_.grid.rend(); ++atom) {
        point_[*atom] = rest % extents_[*atom];
        rest /= extents_[*atom];
      }
      for (Tile& tile : tiles_) tile.defined = false;
      run(kernel_.body);
    }
    check_outputs();
    count_flops();
    return counts_;
  }

 private:
  // ---- before and after

  void check_kernel() const {
    const auto complaints = verify(kernel_);
    if (!complaints.empty()) user_error("{}", fmt::join(complaints, "\n"));
    if (args_.size() != kernel_.args.size())
      user_error("kernel {} takes {} buffers, not {}", kernel_.name, kernel_.args.size(), args_.size());
    for (size_t i = 0; i < args_.size(); ++i) {
      const Arg& arg = kernel_.args[i];
      Ints shape;
      for (const Dim& dim : arg.shape) shape.push_back(dim.evaluate(symbols_));
      if (args_[i]->dtype != arg.dtype || args_[i]->shape != shape)
        user_error("kernel {}: buffer {} is {}[{}], but {}[{}] was given", kernel_.name, arg.name,
                   name(arg.dtype), fmt::join(shape, ","), name(args_[i]->dtype),
                   fmt::join(args_[i]->shape, ","));
    }
  }

  void prepare() {
    for (const Atom& atom : kernel_.atoms) extents_.push_back(atom.extent.evaluate(symbols_));
    point_.resize(extents_.size());
    bound_.resize(extents_.size());
    for (const Guard& guard : kernel_.guards)
      guards_.emplace_back(linear(guard.form), guard.limit.evaluate(symbols_));
    tiles_.resize(kernel_.values.size());
    scratch_.resize(kernel_.values.size());
    size_t bytes = 0;
    for (size_t id = 0; id < tiles_.size(); ++id) {
      const Value& value = kernel_.values[id];
      const int64_t volume = volume_of(value.axes);
      if (!value.scratch) {
        tiles_[id].elements.resize(volume);
        continue;
      }
      scratch_[id] = {bytes, std::vector<int64_t>(volume), std::vector<int64_t>(volume)};
      bytes += (volume * size_of(value.dtype) + 63) / 64 * 64;
    }
    scratch_memory_.resize(bytes);
    for (size_t i = 0; i < args_.size(); ++i) {
      if (!kernel_.args[i].output) continue;
      Memory& memory = memory_[args_[i]];
      memory.is_output = true;
      memory.history.resize(args_[i]->size());
    }
  }

  void check_outputs() const {
    for (size_t i = 0; i < args_.size(); ++i) {
      if (!kernel_.args[i].output) continue;
      const auto& history = memory_.at(args_[i]).history;
      int64_t missing = 0, first = -1;
      for (size_t k = 0; k < history.size(); ++k) {
        if (history[k].writer != 0) continue;
        if (missing++ == 0) first = static_cast<int64_t>(k);
      }
      if (missing > 0)
        user_error("{}: {} of {} elements of {} were not written, first {}", kernel_.name, missing,
                   history.size(), kernel_.args[i].name, element(i, first));
    }
  }

  // In program order and from whole counts, so that the sum is the static one to the last bit.
  void count_flops() {
    for_each_statement(kernel_.body, [&](const Stmt& stmt, std::span<const Loop* const>) {
      counts_.flops +=
          cost_of(stmt) * static_cast<double>(executed_[&stmt] * volume_of(stmt.axes) * volume_of(stmt.over));
    });
  }

  static double cost_of(const Stmt& stmt) {
    if (stmt.prim) return stmt.prim->cost;
    return stmt.op == Op::contract || stmt.op == Op::index;
  }

  // ---- errors

  std::string element(size_t arg, int64_t flat) const {
    Ints index(args_[arg]->shape.size());
    for (size_t d = index.size(); d-- > 0; flat /= args_[arg]->shape[d])
      index[d] = flat % args_[arg]->shape[d];
    return fmt::format("{}[{}]", kernel_.args[arg].name, fmt::join(index, ","));
  }

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    std::string place;
    for (size_t atom = 0; atom < bound_.size(); ++atom) {
      const bool is_axis =
          stmt_ && (std::ranges::count(stmt_->axes, atom) || std::ranges::count(stmt_->over, atom));
      if (bound_[atom] || is_axis)
        place +=
            fmt::format("{}{}={}", place.empty() ? " at " : ", ", kernel_.atoms[atom].name, point_[atom]);
    }
    user_error("{}: {}{}: {}", kernel_.name, stmt_ ? "`" + print(kernel_, *stmt_) + "`" : "", place,
               fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- places

  Linear linear(const Form& form) const {
    Linear result{form.offset.evaluate(symbols_), {}, form.whole};
    for (const Term& term : form.terms) result.terms.emplace_back(term.atom, term.coef.evaluate(symbols_));
    return result;
  }
  std::vector<Linear> linear(const std::vector<Form>& forms) const {
    std::vector<Linear> result;
    for (const Form& form : forms) result.push_back(linear(form));
    return result;
  }

  int64_t volume_of(const std::vector<AtomId>& axes) const {
    int64_t volume = 1;
    for (const AtomId axis : axes) volume *= extents_[axis];
    return volume;
  }

  // Calls f at every point of the axes, the last fastest.
  template <class F>
  void points(std::span<const AtomId> axes, const F& f) {
    if (axes.empty()) return f();
    int64_t& at = point_[axes[0]];
    for (at = 0; at < extents_[axes[0]]; ++at) points(axes.subspan(1), f);
    at = 0;
  }

  // The guards whose atoms are all known at these axes.
  std::vector<const std::pair<Linear, int64_t>*> guards_over(const std::vector<AtomId>& axes,
                                                             const std::vector<AtomId>& over = {}) const {
    std::vector<const std::pair<Linear, int64_t>*> result;
    for (const auto& guard : guards_) {
      const bool applies = std::ranges::all_of(guard.first.terms, [&](const auto& term) {
        return bound_[term.first] || std::ranges::count(axes, term.first) ||
               std::ranges::count(over, term.first);
      });
      if (applies) result.push_back(&guard);
    }
    return result;
  }

  bool exists(const std::vector<const std::pair<Linear, int64_t>*>& guards) const {
    return std::ranges::all_of(guards,
                               [&](const auto* guard) { return guard->first.at(point_) < guard->second; });
  }

  // An operand at the current point.
  struct Reader {
    const Value* value;
    const Tile* tile;
    std::vector<Linear> at;
  };

  Reader reader(const Operand& operand) const {
    Reader result{&kernel_.values[operand.value], &tiles_[operand.value], linear(operand.at)};
    if (!result.tile->defined) fail("{} is read before it is defined", result.value->name);
    if (operand.at.empty())
      for (const AtomId axis : result.value->axes) result.at.push_back({0, {{axis, 1}}, false});
    return result;
  }

  Scalar read(const Reader& from, bool point_exists = true) const {
    int64_t flat = 0;
    for (size_t i = 0; i < from.at.size(); ++i) {
      const int64_t index = from.at[i].at(point_), extent = extents_[from.value->axes[i]];
      if (index < 0 || index >= extent) {
        if (!point_exists) return unspecified(from.value->dtype);
        fail("index {} leaves axis {} of {}, which has {} elements", index,
             kernel_.atoms[from.value->axes[i]].name, from.value->name, extent);
      }
      flat = flat * extent + index;
    }
    return from.tile->elements[flat];
  }

  // ---- device memory and scratch

  void access(const void* address, int64_t bytes, bool write) const {
    if (access_) access_(address, bytes, write);
  }

  Scalar load(int arg, int64_t flat) {
    Array* const array = args_[arg];
    const auto found = memory_.find(array);
    if (found != memory_.end()) {
      History& history = found->second.history[flat];
      if (history.writer == block_)
        fail("{} is read after it was overwritten through another buffer", element(arg, flat));
      if (history.writer != 0)
        fail("a race: block {} writes {}, block {} reads it", history.writer - 1, element(arg, flat),
             block_ - 1);
      constexpr int64_t kSeveral = -1;
      history.reader = history.reader == 0 || history.reader == block_ ? block_ : kSeveral;
    }
    const int64_t bytes = size_of(array->dtype);
    counts_.bytes_read += bytes;
    access(array->bytes.data() + flat * bytes, bytes, false);
    return array->at(flat);
  }

  void store(int arg, int64_t flat, const Scalar& value) {
    Array* const array = args_[arg];
    History& history = memory_.at(array).history[flat];
    if (history.writer != 0)
      fail("{} is written twice, by block {} and by block {}", element(arg, flat), history.writer - 1,
           block_ - 1);
    if (history.reader != 0 && history.reader != block_)
      fail("a race: block {} writes {}, another block reads it", block_ - 1, element(arg, flat));
    history.writer = block_;
    const int64_t bytes = size_of(array->dtype);
    counts_.bytes_written += bytes;
    access(array->bytes.data() + flat * bytes, bytes, true);
    array->set(flat, value);
  }

  int64_t scratch_element(ValueId id, const std::vector<Linear>& forms) const {
    const Value& value = kernel_.values[id];
    int64_t flat = 0;
    for (size_t i = 0; i < forms.size(); ++i) {
      const int64_t index = forms[i].at(point_), extent = extents_[value.axes[i]];
      if (index < 0 || index >= extent)
        fail("index {} leaves axis {} of {}, which has {} elements", index, kernel_.atoms[value.axes[i]].name,
             value.name, extent);
      flat = flat * extent + index;
    }
    return flat;
  }

  std::byte* scratch_access(ValueId id, int64_t flat, bool write) {
    const int64_t bytes = size_of(kernel_.values[id].dtype);
    std::byte* const address = scratch_memory_.data() + scratch_[id].offset + flat * bytes;
    counts_.scratch_bytes += bytes;
    access(address, bytes, write);
    return address;
  }

  // ---- statements

  void run(const Body& body) {
    for (const Item& item : body) {
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        stmt_ = stmt;
        ++counts_.statements;
        ++executed_[stmt];
        ++execution_;
        execute(*stmt);
        stmt_ = nullptr;
      } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        run(**loop);
      } else {
        run(*std::get<std::unique_ptr<If>>(item));
      }
    }
  }

  void run(const Loop& loop) {
    const bool is_while = loop.go.value >= 0;
    const int64_t trips = extents_[loop.atom];
    bound_[loop.atom] = true;
    for (int64_t i = 0; i < trips; ++i) {
      point_[loop.atom] = loop.reverse ? trips - 1 - i : i;
      if (is_while) {
        run(loop.condition);
        if (!any(loop.go)) break;
      }
      run(loop.body);
      carry(loop);
    }
    bound_[loop.atom] = false;
    point_[loop.atom] = 0;
  }

  void carry(const Loop& loop) {
    std::vector<std::vector<Scalar>> next;
    for (const Carry& carry : loop.carries) {
      const std::vector<AtomId>& axes = kernel_.values[carry.variable].axes;
      const auto guards = guards_over(axes);
      const Reader from = reader(carry.next);
      const Reader old = reader({carry.variable, {}});
      std::optional<Reader> go;
      if (loop.go.value >= 0) go = reader(loop.go);
      auto& elements = next.emplace_back();
      points(axes, [&] {
        const bool stays = go && !read(*go, false).b();
        elements.push_back(read(stays ? old : from, exists(guards)));
      });
    }
    for (size_t i = 0; i < next.size(); ++i) tiles_[loop.carries[i].variable].elements = std::move(next[i]);
  }

  // The atoms a vote runs over: those it names that no loop has bound.
  std::vector<AtomId> free_atoms(const Operand& mask) const {
    std::vector<AtomId> atoms;
    const auto add = [&](AtomId atom) {
      if (!bound_[atom] && !std::ranges::count(atoms, atom)) atoms.push_back(atom);
    };
    for (const Form& form : mask.at)
      for (const Term& term : form.terms) add(term.atom);
    if (mask.at.empty()) std::ranges::for_each(kernel_.values[mask.value].axes, add);
    return atoms;
  }

  bool any(const Operand& mask) {
    bool holds = false;
    const std::vector<AtomId> atoms = free_atoms(mask);
    const auto guards = guards_over(atoms);
    const Reader from = reader(mask);
    points(atoms, [&] { holds |= exists(guards) && read(from).b(); });
    return holds;
  }

  // What an `if` defines is unspecified where its mask does not hold.
  void run(const If& vote) {
    const bool holds = any(vote.mask);
    if (holds) run(vote.body);
    for (const Item& item : vote.body) {
      const auto* stmt = std::get_if<Stmt>(&item);
      if (!stmt || stmt->op == Op::store || stmt->op == Op::write) continue;
      const bool is_variable = stmt->op == Op::fill || stmt->op == Op::copy;
      if (is_variable ? tiles_[stmt->result].defined : !is_plain(stmt->op)) continue;
      const Value& value = kernel_.values[stmt->result];
      Tile& tile = tiles_[stmt->result];
      const bool per_element = holds && std::ranges::all_of(free_atoms(vote.mask), [&](AtomId atom) {
                                 return std::ranges::count(value.axes, atom) > 0;
                               });
      if (holds && !per_element) continue;
      tile.defined = true;
      std::optional<Reader> mask;
      if (holds) mask = reader(vote.mask);
      size_t next = 0;
      points(value.axes, [&] {
        Scalar& element = tile.elements[next++];
        if (!mask || !read(*mask, false).b()) element = unspecified(value.dtype);
      });
    }
  }

  static bool is_plain(Op op) {
    return op == Op::load || op == Op::constant || op == Op::index || op == Op::map || op == Op::reduce ||
           op == Op::read;
  }

  void execute(const Stmt& stmt) {
    switch (stmt.op) {
      case Op::load: return execute_load(stmt);
      case Op::store: return execute_store(stmt);
      case Op::fill:
      case Op::constant: return assign(stmt, [&](bool) { return stmt.scalar.round_to(dtype_of(stmt)); });
      case Op::index: {
        const Linear form = linear(stmt.forms[0]);
        return assign(stmt, [&](bool) { return Scalar(form.at(point_)).round_to(dtype_of(stmt)); });
      }
      case Op::copy: {
        const Reader from = reader(stmt.operands[0]);
        return assign(stmt, [&](bool exists) { return read(from, exists); });
      }
      case Op::map: return execute_map(stmt);
      case Op::accumulate:
      case Op::reduce: return execute_reduce(stmt);
      case Op::contract: return execute_contract(stmt);
      case Op::read: return execute_read(stmt);
      case Op::write: return execute_write(stmt);
    }
  }

  Dtype dtype_of(const Stmt& stmt) const { return kernel_.values[stmt.result].dtype; }

  // result = f(the point exists) at every point, at once.
  template <class F>
  void assign(const Stmt& stmt, const F& f) {
    const auto guards = guards_over(stmt.axes);
    std::vector<Scalar> elements;
    elements.reserve(volume_of(stmt.axes));
    points(stmt.axes, [&] { elements.push_back(f(exists(guards))); });
    tiles_[stmt.result] = {std::move(elements), true};
  }

  void execute_load(const Stmt& stmt) {
    const std::vector<Linear> forms = linear(stmt.forms);
    std::vector<Reader> indices;
    for (const Operand& operand : stmt.operands) indices.push_back(reader(operand));
    const Ints& shape = args_[stmt.arg]->shape;
    const Scalar absent = Scalar(int64_t{0}).round_to(dtype_of(stmt));
    assign(stmt, [&](bool exists) -> Scalar {
      if (!exists) return absent;
      int64_t flat = 0;
      size_t next = 0;
      for (size_t d = 0; d < forms.size(); ++d) {
        int64_t index = 0;
        if (!forms[d].whole) {
          index = forms[d].at(point_);
        } else {
          const Scalar given = read(indices[next++]);
          index = given.is_u64() ? static_cast<int64_t>(std::min<uint64_t>(given.u(), INT64_MAX)) : given.i();
          index = std::clamp<int64_t>(index, 0, shape[d] - 1);
        }
        if (index < 0 || index >= shape[d]) return absent;
        flat = flat * shape[d] + index;
      }
      return load(stmt.arg, flat);
    });
  }

  void execute_store(const Stmt& stmt) {
    const std::vector<Linear> forms = linear(stmt.forms);
    const Reader from = reader(stmt.operands[0]);
    const auto guards = guards_over(stmt.axes);
    const Ints& shape = args_[stmt.arg]->shape;
    points(stmt.axes, [&] {
      if (!exists(guards)) return;
      int64_t flat = 0;
      for (size_t d = 0; d < forms.size(); ++d) {
        const int64_t index = forms[d].at(point_);
        if (index < 0 || index >= shape[d])
          fail("index {} leaves dimension {} of {}, which has {} elements", index, d,
               kernel_.args[stmt.arg].name, shape[d]);
        flat = flat * shape[d] + index;
      }
      store(stmt.arg, flat, read(from));
    });
  }

  void execute_map(const Stmt& stmt) {
    std::vector<Reader> from;
    std::vector<Dtype> dtypes;
    for (const Operand& operand : stmt.operands) {
      from.push_back(reader(operand));
      dtypes.push_back(from.back().value->dtype);
    }
    const Dtype dtype = dtype_of(stmt);
    dtypes.push_back(dtype);
    std::vector<Scalar> values(from.size());
    assign(stmt, [&](bool exists) {
      if (!exists) return unspecified(dtype);
      for (size_t i = 0; i < from.size(); ++i) values[i] = read(from[i]);
      return stmt.prim->eval(stmt.attrs, values, dtypes).round_to(dtype);
    });
  }

  using Element = std::optional<Scalar>;  // empty where the point does not exist

  Element combine(const Prim& prim, const Element& a, const Element& b, Dtype dtype) const {
    if (!a || !b) return a ? a : b;
    const Scalar values[] = {*a, *b};
    const Dtype dtypes[] = {dtype, dtype, dtype};
    return prim.eval(Attrs(), std::span(values), std::span(dtypes)).round_to(dtype);
  }

  // Halves one axis after the other: element i takes in element i + half.
  Element tree(const Stmt& stmt, std::vector<Element> elements) const {
    const Dtype dtype = dtype_of(stmt);
    for (const AtomId axis : stmt.over) {
      const int64_t extent = extents_[axis];
      const int64_t stride = static_cast<int64_t>(elements.size()) / std::max<int64_t>(extent, 1);
      for (int64_t half = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(extent))) / 2; half >= 1;
           half /= 2)
        for (int64_t i = 0; i < std::min(half, extent - half); ++i)
          for (int64_t k = 0; k < stride; ++k) {
            Element& into = elements[i * stride + k];
            into = combine(*stmt.prim, into, elements[(i + half) * stride + k], dtype);
          }
      elements.resize(stride);
    }
    return elements.empty() ? Element{} : elements[0];
  }

  void execute_reduce(const Stmt& stmt) {
    const Reader from = reader(stmt.operands[0]);
    const auto guards = guards_over(stmt.axes, stmt.over);
    const Dtype dtype = dtype_of(stmt);
    std::optional<Reader> variable;
    if (stmt.op == Op::accumulate) variable = reader({stmt.result, {}});
    assign(stmt, [&](bool) {
      std::vector<Element> elements;
      points(stmt.over, [&] { elements.push_back(exists(guards) ? Element(read(from)) : Element{}); });
      Element result = tree(stmt, std::move(elements));
      if (variable) result = combine(*stmt.prim, read(*variable), result, dtype);
      return result ? *result : identity(*stmt.prim, dtype).round_to(dtype);
    });
  }

  void execute_contract(const Stmt& stmt) {
    const Reader a = reader(stmt.operands[0]), b = reader(stmt.operands[1]),
                 variable = reader({stmt.result, {}});
    const auto guards = guards_over(stmt.axes, stmt.over);
    const Dtype dtype = dtype_of(stmt);
    assign(stmt, [&](bool) {
      Scalar sum = read(variable);
      points(stmt.over, [&] {
        if (exists(guards)) sum = fused(read(a).round_to(dtype), read(b).round_to(dtype), sum, dtype);
      });
      return sum;
    });
  }

  void execute_read(const Stmt& stmt) {
    const std::vector<Linear> forms = linear(stmt.forms);
    const Dtype dtype = kernel_.values[stmt.source].dtype;
    assign(stmt, [&](bool exists) {
      if (!exists) return unspecified(dtype);
      const int64_t flat = scratch_element(stmt.source, forms);
      if (scratch_[stmt.source].block[flat] != block_)
        fail("element {} of {} was not written before", flat, kernel_.values[stmt.source].name);
      return Scalar::load(dtype, scratch_access(stmt.source, flat, false));
    });
  }

  void execute_write(const Stmt& stmt) {
    const std::vector<Linear> forms = linear(stmt.forms);
    const Reader from = reader(stmt.operands[0]);
    const auto guards = guards_over(stmt.axes);
    Scratch& scratch = scratch_[stmt.result];
    points(stmt.axes, [&] {
      if (!exists(guards)) return;
      const int64_t flat = scratch_element(stmt.result, forms);
      if (scratch.execution[flat] == execution_)
        fail("element {} of {} is written twice by one statement", flat, kernel_.values[stmt.result].name);
      scratch.execution[flat] = execution_;
      scratch.block[flat] = block_;
      read(from).store(from.value->dtype, scratch_access(stmt.result, flat, true));
    });
  }

  const Kernel& kernel_;
  std::span<Array* const> args_;
  const std::map<std::string, int64_t>& symbols_;
  const Access& access_;

  std::vector<int64_t> extents_;  // of the atoms
  std::vector<int64_t> point_;    // where each atom stands
  std::vector<bool> bound_;       // grid atoms and atoms of the loops around the statement
  std::vector<std::pair<Linear, int64_t>> guards_;
  std::vector<Tile> tiles_;       // by value
  std::vector<Scratch> scratch_;  // by value
  std::vector<std::byte> scratch_memory_;
  std::map<const Array*, Memory> memory_;  // what outputs stand in
  const Stmt* stmt_ = nullptr;
  int64_t block_ = 0;      // from 1
  int64_t execution_ = 0;  // of statements, from 1
  std::unordered_map<const Stmt*, int64_t> executed_;
  Counts counts_;
};

}  // namespace

Counts run(const Kernel& kernel, std::span<Array* const> args, const std::map<std::string, int64_t>& symbols,
           const Access& access) {
  return Interpreter(kernel, args, symbols, access).run();
}

}  // namespace tenfold::tile
