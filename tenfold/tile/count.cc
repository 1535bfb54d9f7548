// Counts without running, and the cache model. Called hundreds of times per compile: all storage is reused
// between calls.
//
// Traffic. Every access is a box: the hull of what its forms reach over the atoms that vary within a scope,
// places given by the loops around left symbolic. A scope's boxes are those of its statements, united where
// they are one region. Going out, a box misses (bytes come from beyond the cache)
//   * at a statement: all its lines;
//   * in a body whose distinct bytes fit in the cache: the lines of the united box; where they do not fit, a
//   box whose last
//     use is within one cache's worth of other bytes adds only what is new;
//   * in a loop: the lines of the box widened over the loop, if one iteration's distinct bytes fit
//   (consecutive iterations
//     then find what they share, boxes that overlap now are united); else the iteration's misses, each time.
// The grid is the outermost nest, its blocks one after the other. This is least-recently-used replacement of
// 64-byte lines, checked against a simulator in tests/cpp/tile_count_test.cc.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "tenfold/tile/program.h"

namespace tenfold::tile {
namespace {

constexpr double kLine = 64;

struct TermI {
  AtomId atom;
  int64_t coef;
};

struct Linear {
  int terms = 0, end = 0;  // in Work::terms
  int64_t offset = 0;
  bool whole = false;
};

struct GuardI {
  Linear form;
  int64_t limit;
};

struct Constraint {  // low <= sum of terms <= high; the offset is taken out
  int terms, end;
  int64_t low, high;
};

struct Extent {               // of a box along one dimension
  int64_t low = 0, high = 0;  // hull over the varying atoms, less the outer terms
  int64_t clip_low = 0, clip_high = 0;
  double count = 0;  // distinct places in the hull
  double fill = 1;   // part of the full range that is not clipped
};

struct Box {
  int object;  // argument, or number of arguments + scratch value
  int form;    // of its first dimension, in Work::forms; equal structure for all that are united
  int extent;  // of its first dimension, in Work::extents
  int rank;
  uint64_t gather;  // atoms that the operands of Whole dimensions depend on
  ValueId index;    // first of those operands
  bool writes;      // first touched by a write
  double bytes;     // distinct, in this scope
  double miss[2];   // read, written
  double touched;   // bytes that went through the scope before its last use
  int next;         // box of the same object
};

struct Object {
  int shape;  // in Work::shapes
  int rank;
  int64_t element;
};

struct Work {
  std::vector<int64_t> extent;  // of atoms
  std::vector<uint8_t> bound;   // atoms of the loops around and of the grid
  std::vector<AtomId> around;   // the same, outermost first
  std::vector<TermI> terms;
  std::vector<Linear> forms;
  std::vector<GuardI> guards;
  std::vector<Constraint> constraints;
  std::vector<Extent> extents;
  std::vector<Box> boxes;
  std::vector<Object> objects;
  std::vector<int64_t> shapes;
  std::vector<int> head;          // by object: last box of it in the scope being united
  std::vector<uint64_t> depends;  // by value: atoms
  std::vector<double> depth;      // by value: of the chain of operations
  std::vector<double> saved;
  std::vector<ValueId> changed;      // by the loops around, in order
  std::vector<const Stmt*> scalars;  // by value: what defines it, where it has no axes
  std::vector<AtomId> atoms;
  std::vector<uint8_t> seen;
};

constexpr int64_t kFar = std::numeric_limits<int64_t>::max() / 4;

uint64_t bit(AtomId atom) { return uint64_t{1} << std::min(atom, 63); }

// How many points of a box satisfy all constraints. Few atoms: those of one guard, or of a window.
class Points {
 public:
  int atoms = 0, rows = 0;
  static constexpr int kAtoms = 16, kRows = 16;
  int64_t extent[kAtoms], coef[kRows][kAtoms], low[kRows], high[kRows];

  int64_t count() {
    merge();
    int64_t free = 1;
    for (int a = 0; a < atoms;) {
      bool used = false;
      for (int r = 0; r < rows; ++r) used |= coef[r][a] != 0;
      if (used) {
        ++a;
      } else {
        free *= extent[a];
        remove(a);
      }
    }
    if (atoms == 0) {
      for (int r = 0; r < rows; ++r)
        if (low[r] > 0 || high[r] < 0) return 0;
      return free;
    }
    const auto longest = static_cast<int>(std::max_element(extent, extent + atoms) - extent);
    swap_to_end(longest);
    return free * enumerate(0);
  }

 private:
  // Two digits of one number are one atom: 64*jo + ji with 64 values of ji.
  void merge() {
    for (int a = 0; a < atoms; ++a)
      for (int b = 0; b < atoms; ++b) {
        bool digits = a != b;
        for (int r = 0; r < rows && digits; ++r) digits = coef[r][a] == coef[r][b] * extent[b];
        if (!digits) continue;
        extent[b] *= extent[a];
        remove(a);
        a = -1;
        break;
      }
  }

  void remove(int a) {
    swap_to_end(a);
    --atoms;
  }

  void swap_to_end(int a) {
    std::swap(extent[a], extent[atoms - 1]);
    for (int r = 0; r < rows; ++r) std::swap(coef[r][a], coef[r][atoms - 1]);
  }

  int64_t enumerate(int a) {
    if (a == atoms - 1) return last();
    int64_t total = 0;
    for (int64_t i = 0; i < extent[a]; ++i) {
      total += enumerate(a + 1);
      for (int r = 0; r < rows; ++r) low[r] -= coef[r][a], high[r] -= coef[r][a];
    }
    for (int r = 0; r < rows; ++r) low[r] += coef[r][a] * extent[a], high[r] += coef[r][a] * extent[a];
    return total;
  }

  static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

  int64_t last() const {
    int64_t from = 0, to = extent[atoms - 1] - 1;
    for (int r = 0; r < rows; ++r) {
      const int64_t c = coef[r][atoms - 1];
      if (c == 0) {
        if (low[r] > 0 || high[r] < 0) return 0;
      } else if (c > 0) {
        from = std::max(from, -floor_div(-low[r], c));
        to = std::min(to, floor_div(high[r], c));
      } else {
        from = std::max(from, -floor_div(high[r], -c));
        to = std::min(to, floor_div(-low[r], -c));
      }
    }
    return std::max<int64_t>(0, to - from + 1);
  }
};

class Counter {
 public:
  Counter(const Kernel& kernel, int64_t cache, const std::map<std::string, int64_t>& symbols, double vote,
          Work& work)
      : kernel_(kernel), cache_(static_cast<double>(cache)), vote_(vote), w_(work), given_(symbols) {
    prepare();
  }

  Traffic run() {
    for (const AtomId atom : kernel_.grid) bind(atom);
    const double blocks = times_;
    Scope scope{0, 0};
    visit(kernel_.body);
    unite(scope);
    const bool fits = scope.bytes <= cache_;
    for (Box& box : w_.boxes)
      if (fits && is_scratch(box)) box.miss[0] = box.miss[1] = 0;
    in_grid_ = true;
    for (auto atom = kernel_.grid.rbegin(); atom != kernel_.grid.rend(); ++atom) leave_loop(*atom, scope);

    Traffic traffic;
    for (const Box& box : w_.boxes) {
      traffic.memory_read += box.miss[0];
      traffic.memory_written += box.miss[1];
    }
    traffic.counts = {.bytes_read = std::llround(read_),
                      .bytes_written = std::llround(written_),
                      .scratch_bytes = std::llround(scratch_),
                      .flops = flops_,
                      .statements = std::llround(statements_)};
    if (blocks > 0) {
      w_.depth.assign(kernel_.values.size(), 0);
      w_.changed.clear();
      chain(kernel_.body);
    }
    traffic.voted = voted_;
    traffic.issued = issued_;
    traffic.gathered = gathered_;
    traffic.grouped = grouped_;
    traffic.chain = chain_;
    return traffic;
  }

 private:
  struct Scope {
    int begin;         // its boxes, up to the end of Work::boxes
    double bytes = 0;  // distinct
  };

  // ---- numbers

  int64_t of(const Dim& dim) {
    if (dim.is_const()) return dim.value();
    if (given_.empty()) return dim.hint();
    std::map<std::string, Symbol> missing;
    dim.symbols(missing);
    auto values = given_;
    for (const auto& [name, s] : missing) values.emplace(name, std::clamp(s.hint, s.lower, s.upper));
    return dim.evaluate(values);
  }

  Linear linear(const Form& form) {
    Linear result;
    result.terms = static_cast<int>(w_.terms.size());
    for (const Term& term : form.terms)
      if (const int64_t coef = of(term.coef); coef != 0) w_.terms.push_back({term.atom, coef});
    result.end = static_cast<int>(w_.terms.size());
    result.offset = of(form.offset);
    result.whole = form.whole;
    return result;
  }

  void prepare() {
    w_.terms.clear();
    w_.forms.clear();
    w_.guards.clear();
    w_.extents.clear();
    w_.boxes.clear();
    w_.objects.clear();
    w_.shapes.clear();
    w_.around.clear();
    w_.extent.clear();
    for (const Atom& atom : kernel_.atoms) w_.extent.push_back(of(atom.extent));
    w_.bound.assign(kernel_.atoms.size(), 0);
    w_.seen.assign(kernel_.atoms.size(), 0);
    w_.depends.assign(kernel_.values.size(), 0);
    w_.scalars.assign(kernel_.values.size(), nullptr);
    for (const Guard& guard : kernel_.guards) {
      const Linear form = linear(guard.form);
      w_.guards.push_back({form, of(guard.limit)});
    }
    for (const Arg& arg : kernel_.args) {
      w_.objects.push_back(
          {static_cast<int>(w_.shapes.size()), static_cast<int>(arg.shape.size()), size_of(arg.dtype)});
      for (const Dim& dim : arg.shape) w_.shapes.push_back(of(dim));
    }
    for (const Value& value : kernel_.values) {
      w_.objects.push_back(
          {static_cast<int>(w_.shapes.size()), static_cast<int>(value.axes.size()), size_of(value.dtype)});
      if (value.scratch)
        for (const AtomId axis : value.axes) w_.shapes.push_back(w_.extent[axis]);
    }
    w_.head.assign(w_.objects.size(), -1);
  }

  bool is_scratch(const Box& box) const { return box.object >= static_cast<int>(kernel_.args.size()); }

  double volume(const std::vector<AtomId>& axes) const {
    double product = 1;
    for (const AtomId axis : axes) product *= static_cast<double>(w_.extent[axis]);
    return product;
  }

  void bind(AtomId atom) {
    w_.bound[atom] = 1;
    w_.around.push_back(atom);
    times_ *= static_cast<double>(w_.extent[atom]);
  }

  // ---- bodies

  void visit(const Body& body) {
    for (const Item& item : body) {
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        visit(*stmt);
      } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        visit(**loop);
      } else {
        const If& vote = *std::get<std::unique_ptr<If>>(item);
        const auto begin = static_cast<int>(w_.boxes.size());
        const double times = times_, votes = votes_;
        const std::optional<double> known = part_of(vote.mask);
        const double part = known.value_or(vote_);
        const bool under = std::exchange(under_vote_, under_vote_ || !known);
        times_ *= part;
        votes_ *= part;
        visit(vote.body);
        under_vote_ = under;
        times_ = times;
        votes_ = votes;
        for (size_t i = begin; i < w_.boxes.size(); ++i)
          for (double& miss : w_.boxes[i].miss) miss *= part;
      }
    }
  }

  // The part of all turns in which a mask holds that asks of positions alone.
  std::optional<double> part_of(const Operand& mask) {
    w_.constraints.clear();
    if (!asks_positions(mask.value)) return {};
    double held = 1;
    w_.atoms = w_.around;
    while (!w_.constraints.empty()) held *= component();
    for (const AtomId atom : w_.atoms)
      if (std::exchange(w_.seen[atom], 0)) held /= static_cast<double>(w_.extent[atom]);
    return held;
  }

  // Adds what the mask demands to the constraints.
  bool asks_positions(ValueId mask) {
    const Stmt* s = w_.scalars[mask];
    if (!s || s->op != Op::map) return false;
    const ValueId a = s->operands[0].value, b = s->operands.back().value;
    if (s->prim->name == "logical_and") return asks_positions(a) && asks_positions(b);
    const Stmt *at = w_.scalars[a], *least = w_.scalars[b];
    if (s->prim->name != "greater_equal" || !at || !least) return false;
    if (at->op != Op::index || least->op != Op::constant) return false;
    constrain(linear(at->forms[0]), least->scalar.i(), kFar);
    return true;
  }

  void visit(const Loop& loop) {
    Scope scope{static_cast<int>(w_.boxes.size()), 0};
    const double times = times_;
    bind(loop.atom);
    for (const Carry& carry : loop.carries) w_.depends[carry.variable] |= bit(loop.atom);
    visit(loop.condition);
    visit(loop.body);
    for (const Carry& carry : loop.carries) w_.depends[carry.variable] |= w_.depends[carry.next.value];
    unite(scope);
    leave_loop(loop.atom, scope);
    times_ = times;
  }

  // From one iteration to all of them.
  void leave_loop(AtomId atom, Scope& scope) {
    const bool fits = scope.bytes <= cache_;
    const auto trips = static_cast<double>(w_.extent[atom]);
    w_.bound[atom] = 0;
    w_.around.pop_back();
    const double iteration = scope.bytes;
    for (size_t i = scope.begin; i < w_.boxes.size(); ++i) {
      widen(w_.boxes[i], atom);
      w_.boxes[i].bytes = bytes_of(w_.boxes[i]);
    }
    if (fits) reunite(scope, atom, iteration);
    scope.bytes = 0;
    for (size_t i = scope.begin; i < w_.boxes.size(); ++i) {
      Box& box = w_.boxes[i];
      scope.bytes += box.bytes;
      if (fits && !(in_grid_ && is_scratch(box))) {
        set_misses(box);
      } else if (!is_scratch(box) || box.bytes > cache_ / 2) {  // small scratch stays, used again and again
        for (double& miss : box.miss) miss *= trips;
      }
    }
  }

  // Boxes that one iteration reads beside each other may cover the same over all of a loop: the rows above
  // and below of a stencil, say, and its own row.
  void reunite(const Scope& scope, AtomId atom, double iteration) {
    size_t kept = scope.begin;
    for (size_t i = scope.begin; i < w_.boxes.size(); ++i) {
      const Box box = w_.boxes[i];
      bool united = false;
      for (size_t k = scope.begin; k < kept && !united; ++k)
        united = overlap(w_.boxes[k], box, atom, iteration) && merge(w_.boxes[k], box, true);
      if (!united) w_.boxes[kept++] = box;
    }
    w_.boxes.resize(kept);
  }

  // Both are read at forms that differ by numbers alone, and what both touch is still in the cache for the
  // later one.
  bool overlap(const Box& a, const Box& b, AtomId atom, double iteration) const {
    if (a.object != b.object || a.writes || b.writes || a.miss[1] > 0 || b.miss[1] > 0) return false;
    for (int d = 0; d < a.rank; ++d) {
      const Linear &f = w_.forms[a.form + d], &g = w_.forms[b.form + d];
      if (f.whole || g.whole || !same_terms(f.terms, f.end, g.terms, g.end)) return false;
      const Extent &e = w_.extents[a.extent + d], &h = w_.extents[b.extent + d];
      if (e.low > h.high || h.low > e.high) return false;
      for (int t = f.terms; t < f.end; ++t) {
        if (w_.terms[t].atom != atom) continue;
        const auto apart = static_cast<double>(std::abs(e.low - h.low)) /
                           static_cast<double>(std::abs(w_.terms[t].coef));  // iterations
        if (apart * iteration > cache_) return false;
      }
    }
    return true;
  }

  static void set_misses(Box& box) {  // what comes from beyond the cache at first use
    const bool only_writes = box.miss[0] == 0, only_reads = box.miss[1] == 0;
    box.miss[0] = only_writes || box.writes ? 0 : box.bytes;
    box.miss[1] = only_reads ? 0 : box.bytes;
  }

  // ---- statements

  void visit(const Stmt& stmt) {
    if (stmt.result >= 0 && stmt.axes.empty()) w_.scalars[stmt.result] = &stmt;
    statements_ += times_;
    const double points = volume(stmt.axes) * volume(stmt.over);
    flops_ += cost_of(stmt) * (times_ * points);
    if (stmt.op == Op::contract && std::ranges::any_of(stmt.over, [&](AtomId a) {
          return std::ranges::find(kernel_.vectors, a) != kernel_.vectors.end();
        }))
      grouped_ += cost_of(stmt) * (times_ * points);
    if (under_vote_)
      voted_ += cost_of(stmt) * (times_ * points);
    else if (stmt.op != Op::constant)
      issued_ += times_;
    uint64_t depends = 0;
    for (const Operand& operand : stmt.operands) {
      depends |= w_.depends[operand.value];
      for (const Form& form : operand.at)
        for (const Term& term : form.terms) depends |= bit(term.atom);
      if (operand.at.empty())
        for (const AtomId axis : kernel_.values[operand.value].axes) depends |= bit(axis);
    }
    const uint64_t gather = depends;
    for (const Form& form : stmt.forms)
      for (const Term& term : form.terms) depends |= bit(term.atom);
    switch (stmt.op) {
      case Op::load: read_ += access(stmt, stmt.arg, gather, false); break;
      case Op::store: written_ += access(stmt, stmt.arg, 0, true); break;
      case Op::read: {
        depends |= w_.depends[stmt.source];
        scratch_ += access(stmt, object_of(stmt.source), 0, false);
        break;
      }
      case Op::write: scratch_ += access(stmt, object_of(stmt.result), 0, true); break;
      default: break;
    }
    if (stmt.result >= 0) w_.depends[stmt.result] |= depends;
  }

  int object_of(ValueId value) const { return static_cast<int>(kernel_.args.size()) + value; }

  static double cost_of(const Stmt& stmt) {
    if (stmt.prim) return stmt.prim->cost;
    return stmt.op == Op::contract || stmt.op == Op::index;
  }

  // Counts the bytes of a load, store, read or write over all its executions, and adds its box.
  double access(const Stmt& stmt, int object, uint64_t gather, bool writes) {
    const auto first = static_cast<int>(w_.forms.size());
    for (const Form& form : stmt.forms) {
      const Linear resolved = linear(form);
      w_.forms.push_back(resolved);
    }
    const double points = existing_points(stmt, object, first);
    if (scattered(stmt, object, first)) gathered_ += points;
    add_box(stmt, object, first, gather, writes);
    return points * static_cast<double>(w_.objects[object].element);
  }

  // Do neighbours along the vectors lie apart in memory? Not where another axis takes the whole of each
  // record, nor where what lies between is loaded too.
  bool scattered(const Stmt& stmt, int object, int form) const {
    if (kernel_.vector < 0 || std::ranges::find(stmt.axes, kernel_.vector) == stmt.axes.end()) return false;
    const auto step = [&](AtomId atom) {
      const int64_t* shape = w_.shapes.data() + w_.objects[object].shape;
      int64_t sum = 0, row = 1;
      for (int d = static_cast<int>(stmt.forms.size()) - 1; d >= 0; --d) {
        const Linear& f = w_.forms[form + d];
        for (int t = f.terms; t < f.end; ++t)
          if (w_.terms[t].atom == atom) sum += w_.terms[t].coef * row;
        row *= shape[d];
      }
      return sum;
    };
    const int64_t along = step(kernel_.vector);
    if (along == 0 || along == 1) return false;
    if (stmt.op == Op::load && along > 0 && along <= kStrided) return false;
    return along > kRecord ||
           std::ranges::none_of(stmt.axes, [&](AtomId a) { return w_.extent[a] == along && step(a) == 1; });
  }

  bool is_known(const Stmt& stmt, AtomId atom) const {
    return w_.bound[atom] || std::ranges::find(stmt.axes, atom) != stmt.axes.end() ||
           std::ranges::find(stmt.over, atom) != stmt.over.end();
  }

  bool applies(const GuardI& guard, const Stmt& stmt) const {
    for (int t = guard.form.terms; t < guard.form.end; ++t)
      if (!is_known(stmt, w_.terms[t].atom)) return false;
    return true;
  }

  // low <= form <= high, unless that always holds. Constraints on one form become one.
  void constrain(const Linear& form, int64_t low, int64_t high) {
    int64_t least = 0, most = 0;
    for (int t = form.terms; t < form.end; ++t) {
      const int64_t reach = w_.terms[t].coef * (w_.extent[w_.terms[t].atom] - 1);
      (reach < 0 ? least : most) += reach;
    }
    low -= form.offset;
    high -= form.offset;
    if (least >= low && most <= high) return;
    for (Constraint& c : w_.constraints) {
      if (!same_terms(c.terms, c.end, form.terms, form.end)) continue;
      c.low = std::max(c.low, low);
      c.high = std::min(c.high, high);
      return;
    }
    w_.constraints.push_back({form.terms, form.end, low, high});
  }

  bool same_terms(int a, int a_end, int b, int b_end) const {
    if (a_end - a != b_end - b) return false;
    for (; a < a_end; ++a, ++b)
      if (w_.terms[a].atom != w_.terms[b].atom || w_.terms[a].coef != w_.terms[b].coef) return false;
    return true;
  }

  double existing_points(const Stmt& stmt, int object, int form) {
    const double all = times_ * volume(stmt.axes);
    if (all == 0) return 0;
    w_.constraints.clear();
    for (const GuardI& guard : w_.guards)
      if (applies(guard, stmt)) constrain(guard.form, -kFar, guard.limit - 1);
    if (stmt.op == Op::load) {
      const int64_t* shape = w_.shapes.data() + w_.objects[object].shape;
      for (size_t d = 0; d < stmt.forms.size(); ++d)
        if (!w_.forms[form + d].whole) constrain(w_.forms[form + d], 0, shape[d] - 1);
    }
    if (w_.constraints.empty()) return all;

    // Products over components: constraints that share no atom are independent.
    w_.atoms.assign(w_.around.begin(), w_.around.end());
    w_.atoms.insert(w_.atoms.end(), stmt.axes.begin(), stmt.axes.end());
    double result = votes_;
    while (!w_.constraints.empty()) result *= component();
    for (const AtomId atom : w_.atoms) {
      if (!w_.seen[atom]) result *= static_cast<double>(w_.extent[atom]);
      w_.seen[atom] = 0;
    }
    return result;
  }

  // Takes the first constraint and all that hang together with it out of the list; marks their atoms as seen.
  double component() {
    Points points;
    AtomId atoms[Points::kAtoms];
    const auto column = [&](AtomId atom) {
      const auto found = static_cast<int>(std::find(atoms, atoms + points.atoms, atom) - atoms);
      if (found < points.atoms) return found;
      TENFOLD_CHECK(points.atoms < Points::kAtoms, "kernel {}: a form over more than {} atoms", kernel_.name,
                    Points::kAtoms);
      atoms[points.atoms] = atom;
      points.extent[points.atoms] = w_.extent[atom];
      for (int r = 0; r < Points::kRows; ++r) points.coef[r][points.atoms] = 0;
      w_.seen[atom] = 1;
      return points.atoms++;
    };
    for (size_t i = 0; i < w_.constraints.size();) {
      const Constraint c = w_.constraints[i];
      bool touches = points.rows == 0;
      for (int t = c.terms; t < c.end; ++t)
        touches |= std::find(atoms, atoms + points.atoms, w_.terms[t].atom) != atoms + points.atoms;
      if (!touches) {
        ++i;
        continue;
      }
      TENFOLD_CHECK(points.rows < Points::kRows, "kernel {}: more than {} guards at one statement",
                    kernel_.name, Points::kRows);
      const int row = points.rows++;
      for (int a = 0; a < points.atoms; ++a) points.coef[row][a] = 0;
      for (int t = c.terms; t < c.end; ++t) {
        const int a = column(w_.terms[t].atom);
        points.coef[row][a] += w_.terms[t].coef;
      }
      points.low[row] = c.low;
      points.high[row] = c.high;
      w_.constraints.erase(w_.constraints.begin() + static_cast<std::ptrdiff_t>(i));
      i = 0;
    }
    return static_cast<double>(points.count());
  }

  // ---- boxes

  void add_box(const Stmt& stmt, int object, int form, uint64_t gather, bool writes) {
    Box box{.object = object,
            .form = form,
            .extent = static_cast<int>(w_.extents.size()),
            .rank = static_cast<int>(stmt.forms.size()),
            .gather = gather,
            .index = stmt.operands.empty() || writes ? -1 : stmt.operands[0].value,
            .writes = writes,
            .bytes = 0,
            .miss = {},
            .touched = 0,
            .next = -1};
    const int64_t* shape = w_.shapes.data() + w_.objects[object].shape;
    for (int d = 0; d < box.rank; ++d) {
      const Linear& f = w_.forms[form + d];
      Extent e{f.offset, f.offset, 0, shape[d] - 1, 1, 1};
      if (f.whole) {
        e = {0, shape[d] - 1, 0, shape[d] - 1, 1, 1};
      } else {
        for (const GuardI& guard : w_.guards) clip(e, f, guard, stmt);
        int64_t low = f.offset, high = f.offset;
        for (int t = f.terms; t < f.end; ++t) {
          const int64_t reach = w_.terms[t].coef * (w_.extent[w_.terms[t].atom] - 1);
          (reach < 0 ? low : high) += reach;
        }
        const auto inside = static_cast<double>(std::min(high, e.clip_high) - std::max(low, e.clip_low) + 1);
        e.fill = std::max(0.0, inside) / static_cast<double>(std::max<int64_t>(1, high - low + 1));
      }
      w_.extents.push_back(e);
    }
    for (const AtomId axis : stmt.axes) widen(box, axis);
    box.bytes = bytes_of(box);
    box.miss[writes] = box.bytes;
    w_.boxes.push_back(box);
  }

  // A guard on this form, or on a part of it by a factor, bounds it.
  void clip(Extent& e, const Linear& form, const GuardI& guard, const Stmt& stmt) {
    const int size = guard.form.end - guard.form.terms;
    if (size == 0 || size != form.end - form.terms || !applies(guard, stmt)) return;
    const int64_t factor = w_.terms[form.terms].coef / w_.terms[guard.form.terms].coef;
    if (factor <= 0) return;
    for (int t = 0; t < size; ++t) {
      const TermI &a = w_.terms[form.terms + t], &b = w_.terms[guard.form.terms + t];
      if (a.atom != b.atom || a.coef != factor * b.coef) return;
    }
    e.clip_high = std::min(e.clip_high, factor * (guard.limit - 1 - guard.form.offset) + form.offset);
  }

  void widen(Box& box, AtomId atom) {
    const int64_t trips = w_.extent[atom];
    for (int d = 0; d < box.rank; ++d) {
      Extent& e = w_.extents[box.extent + d];
      const Linear& f = w_.forms[box.form + d];
      if (f.whole) {
        const auto elements = static_cast<double>(e.high + 1);
        if (box.gather & bit(atom)) e.count = std::min(elements, e.count * static_cast<double>(trips));
        continue;
      }
      for (int t = f.terms; t < f.end; ++t) {
        if (w_.terms[t].atom != atom) continue;
        const int64_t reach = w_.terms[t].coef * (trips - 1);
        (reach < 0 ? e.low : e.high) += reach;
        e.count = std::min(e.count * static_cast<double>(trips), static_cast<double>(e.high - e.low + 1));
      }
    }
  }

  bool has_outer(const Linear& form) const {
    for (int t = form.terms; t < form.end; ++t)
      if (w_.bound[w_.terms[t].atom]) return true;
    return false;
  }

  // Distinct bytes, in whole lines.
  double bytes_of(const Box& box) const {
    const Object& object = w_.objects[box.object];
    const int64_t* shape = w_.shapes.data() + object.shape;
    auto run = static_cast<double>(object.element);  // bytes that lie together
    double runs = 1, pitch = run;                    // how many, and the distance of their starts
    int64_t step = object.element;                   // bytes between neighbours of dimension d
    int64_t grain = 64;                              // of the runs' starts
    bool together = true, near = false;
    for (int d = box.rank - 1; d >= 0; --d) {
      const Extent& e = w_.extents[box.extent + d];
      const Linear& f = w_.forms[box.form + d];
      const bool outer = !f.whole && has_outer(f);
      double hull = static_cast<double>(e.high - e.low + 1), count = e.count;
      int64_t low = e.low;
      if (outer) {
        hull *= e.fill;
        count *= e.fill;
      } else if (!f.whole) {
        low = std::max(e.low, e.clip_low);
        const auto inside = static_cast<double>(std::min(e.high, e.clip_high) - low + 1);
        if (inside <= 0) return 0;
        count *= inside / hull;
        hull = inside;
      }
      if (count <= 0 || hull <= 0) return 0;
      const bool dense = count > hull * 0.999;
      const bool full = dense && !outer && hull >= static_cast<double>(shape[d]);
      const auto stride = static_cast<double>(step);
      if (together) {
        if (dense) {
          run = run + (hull - 1) * stride;
        } else if (hull / count * stride < kLine && !f.whole) {
          run = hull * stride;
        } else {
          runs = count;
          pitch = hull / count * stride;
          together = full;
          near = !f.whole;
        }
        if (!full) together = false;
        pitch = together ? pitch : stride * static_cast<double>(shape[d]);
      } else {
        if (runs == 1 && dense && count > 1) near = true;
        runs *= count;
      }
      if (shape[d] > 1 || outer) {
        grain = std::gcd(grain, low * step);
        for (int t = f.terms; t < f.end && outer; ++t)
          if (w_.bound[w_.terms[t].atom]) grain = std::gcd(grain, w_.terms[t].coef * step);
        if (!together && count > 1 && d + 1 < box.rank && runs > 1) grain = std::gcd(grain, step);
      }
      step *= std::max<int64_t>(1, shape[d]);
    }
    if (together) return run;                   // all of it
    const auto g = static_cast<double>(grain);  // the mean over all starts at multiples of the grain
    double lines = std::ceil(run / g - 1e-9) * g - g + kLine;
    if (near && runs > 1) lines = std::min(lines, std::max(run, pitch));
    return std::min(runs * lines, std::ceil(static_cast<double>(step) / kLine) * kLine);
  }

  // Unites the boxes of a scope, one iteration of it.
  void unite(Scope& scope) {
    const auto end = static_cast<int>(w_.boxes.size());
    for (int i = scope.begin; i < end; ++i) w_.head[w_.boxes[i].object] = -1;
    int kept = scope.begin;
    double through = 0;
    for (int i = scope.begin; i < end; ++i) {
      Box box = w_.boxes[i];
      const double before = through;
      through += box.bytes;
      int found = w_.head[box.object];
      while (found >= 0 && !merge(w_.boxes[found], box, through - w_.boxes[found].touched <= cache_))
        found = w_.boxes[found].next;
      if (found >= 0) {
        w_.boxes[found].touched = before;
        continue;
      }
      box.touched = before;
      box.next = w_.head[box.object];
      w_.head[box.object] = kept;
      w_.boxes[kept++] = box;
    }
    w_.boxes.resize(kept);
    scope.bytes = 0;
    for (int i = scope.begin; i < kept; ++i) scope.bytes += w_.boxes[i].bytes;
    if (scope.bytes > cache_) return;
    for (int i = scope.begin; i < kept; ++i) set_misses(w_.boxes[i]);
  }

  bool same_place(const Linear& a, const Linear& b) const {  // outer terms alike
    int i = a.terms, k = b.terms;
    while (true) {
      while (i < a.end && !w_.bound[w_.terms[i].atom]) ++i;
      while (k < b.end && !w_.bound[w_.terms[k].atom]) ++k;
      if (i == a.end || k == b.end) return i == a.end && k == b.end;
      if (w_.terms[i].atom != w_.terms[k].atom || w_.terms[i].coef != w_.terms[k].coef) return false;
      ++i, ++k;
    }
  }

  // into = the hull of both, if that has no more lines than both.
  bool merge(Box& into, const Box& box, bool still_there) {
    for (int d = 0; d < into.rank; ++d) {
      const Linear &f = w_.forms[into.form + d], &g = w_.forms[box.form + d];
      if (f.whole != g.whole || !same_place(f, g)) return false;
    }
    Box hull = into;
    hull.extent = static_cast<int>(w_.extents.size());
    for (int d = 0; d < into.rank; ++d) {
      Extent e = w_.extents[into.extent + d];
      const Extent b = w_.extents[box.extent + d];
      const bool one_index = !w_.forms[into.form + d].whole || into.index == box.index;
      const bool same = e.low == b.low && e.high == b.high && one_index;
      e.count = same ? std::max(e.count, b.count) : e.count + b.count;
      e.low = std::min(e.low, b.low);
      e.high = std::max(e.high, b.high);
      e.clip_low = std::min(e.clip_low, b.clip_low);
      e.clip_high = std::max(e.clip_high, b.clip_high);
      e.fill = std::max(e.fill, b.fill);
      e.count = std::min(e.count, static_cast<double>(e.high - e.low + 1));
      w_.extents.push_back(e);
    }
    hull.bytes = bytes_of(hull);
    if (hull.bytes > (into.bytes + box.bytes) * 1.0001) {
      w_.extents.resize(hull.extent);
      return false;
    }
    hull.gather |= box.gather;
    const double grown = hull.bytes - into.bytes, missed = box.miss[0] + box.miss[1];
    for (int k = 0; k < 2; ++k) {
      const double part = missed > 0 ? box.miss[k] / missed : 0;
      hull.miss[k] += still_there ? std::clamp(grown, 0.0, missed) * part : box.miss[k];
    }
    into = hull;
    return true;
  }

  // ---- the longest chain of one block

  double value_depth(const Stmt& stmt) const {
    double depth = 0;
    for (const Operand& operand : stmt.operands) depth = std::max(depth, w_.depth[operand.value]);
    return depth;
  }

  void chain(const Stmt& stmt) {
    double depth = value_depth(stmt);
    const double cost = cost_of(stmt);
    switch (stmt.op) {
      case Op::fill: depth = 0; break;
      case Op::read: depth = w_.depth[stmt.source]; break;
      case Op::write: depth = std::max(depth, w_.depth[stmt.result]); break;
      case Op::reduce: depth += cost * std::ceil(std::log2(std::max(1.0, volume(stmt.over)))); break;
      case Op::accumulate:
        if (!stmt.over.empty()) depth += cost * std::ceil(std::log2(std::max(1.0, volume(stmt.over))));
        depth = std::max(depth, w_.depth[stmt.result]) + cost;
        break;
      case Op::contract: depth = std::max(depth, w_.depth[stmt.result]) + cost * volume(stmt.over); break;
      default: depth += cost;
    }
    chain_ = std::max(chain_, depth);
    if (stmt.result >= 0) set_depth(stmt.result, depth);
  }

  void set_depth(ValueId value, double depth) {
    w_.depth[value] = depth;
    w_.changed.push_back(value);
  }

  void chain(const Body& body) {
    for (const Item& item : body) {
      if (const auto* stmt = std::get_if<Stmt>(&item)) {
        chain(*stmt);
      } else if (const auto* loop = std::get_if<std::unique_ptr<Loop>>(&item)) {
        chain(**loop);
      } else {
        chain(std::get<std::unique_ptr<If>>(item)->body);
      }
    }
  }

  void iterate(const Loop& loop) {
    chain(loop.condition);
    chain(loop.body);
    const size_t base = w_.saved.size();
    for (const Carry& carry : loop.carries) {
      double depth = w_.depth[carry.next.value];
      if (loop.go.value >= 0) depth = std::max({depth, w_.depth[loop.go.value], w_.depth[carry.variable]});
      w_.saved.push_back(depth);
    }
    for (size_t i = 0; i < loop.carries.size(); ++i) set_depth(loop.carries[i].variable, w_.saved[base + i]);
    w_.saved.resize(base);
  }

  // As many iterations as carries may wait for each other, twice, tell what each further one adds.
  void chain(const Loop& loop) {
    const int64_t trips = w_.extent[loop.atom];
    int64_t period = 1;
    for (const Carry& carry : loop.carries)
      for (const Carry& other : loop.carries)
        period += carry.next.value == other.variable && &carry != &other;
    period = std::min<int64_t>(period, 4);
    const size_t first = w_.changed.size();
    for (int64_t i = 0; i < std::min(trips, period); ++i) iterate(loop);
    if (trips <= period) return;
    const size_t base = w_.saved.size(), last = w_.changed.size();
    for (size_t i = first; i < last; ++i) w_.saved.push_back(w_.depth[w_.changed[i]]);
    const int64_t more = std::min(trips - period, period);
    for (int64_t i = 0; i < more; ++i) iterate(loop);
    const auto rest = static_cast<double>(trips - period - more) / static_cast<double>(more);
    for (size_t i = first; i < last; ++i) {  // a value may stand there twice: all are read before one is set
      double& saved = w_.saved[base + i - first];
      const double depth = w_.depth[w_.changed[i]];
      saved = depth + std::max(0.0, depth - saved) * rest;
      chain_ = std::max(chain_, saved);
    }
    for (size_t i = first; i < last; ++i) w_.depth[w_.changed[i]] = w_.saved[base + i - first];
    w_.saved.resize(base);
    w_.changed.resize(last);
  }

  const Kernel& kernel_;
  const double cache_;
  const double vote_;
  Work& w_;
  const std::map<std::string, int64_t>& given_;
  double times_ = 1;  // how often the current statement is executed
  double votes_ = 1;  // the part of it that stems from votes
  double read_ = 0, written_ = 0, scratch_ = 0, flops_ = 0, voted_ = 0, statements_ = 0, issued_ = 0,
         gathered_ = 0, grouped_ = 0, chain_ = 0;
  bool under_vote_ = false;
  bool in_grid_ = false;
};

}  // namespace

Traffic count(const Kernel& kernel, int64_t cache_bytes, const std::map<std::string, int64_t>& symbols,
              double vote) {
  static thread_local Work work;
  return Counter(kernel, cache_bytes, symbols, vote, work).run();
}

}  // namespace tenfold::tile
