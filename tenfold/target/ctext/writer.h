// The writer of one kernel's C, which emit.h describes. Each heading says which file its functions are in.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "tenfold/target/ctext/emit.h"
#include "tenfold/tile/matrix.h"

namespace tenfold::ctext {

using tile::If;
using tile::Item;
using tile::Loop;
using tile::Op;
using tile::Operand;
using tile::Stmt;
using tile::ValueId;

inline constexpr int64_t kUniformPoints = 16;  // a larger value is spread over the items, whatever its axes
inline constexpr size_t kInlined = 40;         // characters of an expression that needs no name of its own
inline constexpr int64_t kUnrolled = 16;       // turns of a loop over an item's own elements
inline constexpr int64_t kRunItems = 32;       // of a group at least, where each owns a run of elements
inline constexpr int64_t kAligned = 1024;      // bytes at which what matrix units read begins
inline constexpr int64_t kNarrow = int64_t{1} << 31;

// In place of a lane axis: every item has all of a value; or it has the fragments of rows and columns that
// matrix units give it.
inline constexpr AtomId kAlike = -1, kFragments = -2;

// What items share, beside values: objects of the hazard analysis.
inline constexpr int kTree = -1, kFlag = -2;

inline const Stmt* stmt_of(const Item& i) { return std::get_if<Stmt>(&i); }
inline const Loop* loop_of(const Item& i) {
  const auto* p = std::get_if<std::unique_ptr<Loop>>(&i);
  return p ? p->get() : nullptr;
}
inline const If* if_of(const Item& i) {
  const auto* p = std::get_if<std::unique_ptr<If>>(&i);
  return p ? p->get() : nullptr;
}

inline bool contains(std::span<const AtomId> atoms, AtomId a) {
  return std::find(atoms.begin(), atoms.end(), a) != atoms.end();
}

inline bool writes_memory(const Stmt& s) { return s.op == Op::store || s.op == Op::write; }
inline bool defines_variable(Op op) { return op == Op::fill || op == Op::copy; }
inline bool updates(Op op) { return op == Op::accumulate || op == Op::contract; }
inline bool combines(const Stmt& s) {
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

class Writer {
 public:
  Writer(const tile::Kernel& kernel, std::string name, const Dialect& dialect, const Limits& limits,
         Math& math)
      : k(kernel), name_(std::move(name)), d(dialect), limits_(limits), math_(math) {}

  std::string text;
  Function function;
  void run();
  bool uses_matrix() const { return !products_.empty(); }
  bool uses_matrix_groups() const { return groups_; }

 private:
  const tile::Kernel& k;
  std::string name_;
  const Dialect& d;
  const Limits& limits_;
  Math& math_;

  int items_ = 1;
  int run_ = 1;                                    // consecutive elements that an item owns
  std::map<const Stmt*, std::string> run_arrays_;  // what one access moves, where the statement is open
  std::vector<AtomId> lane_;                       // by value; or kAlike, kFragments
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

  // ---- products that matrix units run: matrix.cc

  // How an operand lies in local memory: rows of `inner`, `pitch` elements apart, several times where it
  // comes in stages. For groups of warps, in columns of `width` elements, 16, 32 or 64, without gaps: eight
  // elements side by side stay so, but change places with others, differently in each 128 bytes.
  struct Staged {
    AtomId outer, inner;
    int64_t pitch, width;
    const Stmt* load;  // that eight elements at a time may take the place of
  };
  int64_t staged_bytes(const Staged& lies) const;  // of one stage
  bool groups_ = false;
  bool fits_groups() const;
  std::string staged_at(const Staged& lies, const std::string& outer, const std::string& inner) const;
  void multiply_in_groups(const Stmt& s, bool in_stages);
  std::map<const Stmt*, tile::MatrixProduct> products_;
  std::map<ValueId, Staged> staged_;
  std::set<ValueId> passed_;              // conversions that only products would read
  std::map<const Loop*, int> pipelined_;  // loops that load and multiply, and in how many stages
  int stages_ = 1;
  AtomId rows_ = -1, columns_ = -1;  // of the results
  int64_t warp_rows_ = 0, warp_columns_ = 0, warps_across_ = 1;
  void find_products();
  bool fragments_only(ValueId result) const;
  bool spread_over_warps();
  Staged staged(ValueId v, const Stmt* made) const;
  bool copies(const Stmt& s, AtomId inner) const;
  void find_pipelines(const tile::Body& body);
  bool may_pipeline(const Loop& l) const;
  bool is_product(const Stmt& s) const { return products_.contains(&s); }
  bool in_fragments(AtomId a, AtomId lane) const {
    return lane == kFragments && (a == rows_ || a == columns_);
  }
  int64_t fragments(AtomId a) const { return a == rows_ ? warp_rows_ / 8 : warp_columns_ / 4; }
  std::string fragment_text(AtomId a) const;  // where the part of an item lies along the axis
  void copy_stage(const Loop& l, const std::string& turn);
  void write_pipeline(const Loop& l);
  void multiply(const Stmt& s, bool in_stages);

  // ---- text: emit.cc

  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text.append(static_cast<size_t>(indent_) * 2, ' ');
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
    text += '\n';
  }
  void open_scope() { scopes_.emplace_back(); }
  void close_scope() { scopes_.pop_back(); }
  void open(const std::string& head, const std::string& counter = "");
  void close();

  // ---- names and numbers: forms.cc

  std::string unique(std::string name, std::set<std::string>& taken);
  int64_t extent(AtomId a) const { return k.atoms[a].extent.value(); }
  bool single(AtomId a) const { return k.atoms[a].extent == Dim(1); }
  int64_t points(std::span<const AtomId> axes) const;
  int64_t share(AtomId lane) const { return (extent(lane) + items_ - 1) / items_; }
  static std::string dim_text(const Dim& dim);
  static std::string symbol_text(const std::string& n);
  // Sizes are at least 0 and what divides is positive: C's division rounds as it should there.
  static std::string atom_text(const Atom& atom);
  Dim bound_of(const Form& f, bool upper) const;
  bool wide(const Form& f) const;
  // "64*jo + ji"
  std::string form_text(const Form& f, bool wide) const;
  std::string form_text(const Form& f) const { return form_text(f, wide(f)); }
  static Form sum(const Form& a, const Form& b, const Dim& factor);

  // ---- what lies where: prepare.cc

  AtomId lane_of(std::span<const AtomId> axes) const;
  const tile::Value& value(ValueId v) const { return k.values[v]; }
  std::span<const AtomId> axes_of(const Stmt& s) const;
  AtomId lane_of(const Stmt& s) const;
  // The lane axis of those who read a vote's mask: where the value's own lane stands.
  AtomId lane_of(const Operand& o) const;
  // Does an operand read another item's elements?
  bool crosses(const Operand& o, AtomId lane) const;
  // Is the reduction along the lane axis of its operand, element by element?
  bool along_lanes(const Stmt& s) const;
  void prepare();
  void find_loops(const tile::Body& body);
  void find_items();
  // Is the form, modulo the number of items, the item that has this element of the lane axis?
  bool follows(const Form& f, AtomId lane) const;
  // Scratch whose every access follows the accessor's lane in one dimension: no other item sees its elements.
  void find_owned();

  // ---- runs, elements side by side that one item owns and one access moves: prepare.cc

  // f at the first element of a run is a multiple of its length, and only the lane axis counts within it.
  bool starts_run(const Form& f, AtomId lane) const;
  static bool mentions(const Form& f, AtomId a);
  // Is f < limit, and f >= 0, for all of a run or for none of it?
  bool same_in_run(const Form& f, const Dim& limit, AtomId lane) const;
  // May one access take the place of a run's?
  bool moves_runs(const Stmt& s, AtomId lane) const;
  // A kernel of maps alone, whose every access along the lanes moves runs: there, and only there, neighbours
  // belong to one item.
  void find_runs();

  // What must hold for a run to be there (memory.cc); it does so for all of it or for none.
  std::vector<std::string> run_conditions(const Stmt& s, AtomId lane) const;
  void declare_run(const Stmt& s, AtomId lane);
  // `how`: the dialect's access.
  void move_run(const Stmt& s, AtomId lane, std::string_view how);
  void write_in_runs(std::span<const Stmt* const> statements, std::span<const AtomId> loops, AtomId lane);

  // ---- the head: emit.cc

  void write_head(const std::string& body);
  std::string counter_type(AtomId a) const { return k.atoms[a].extent.upper() < kNarrow ? "int" : "long"; }

  // ---- who may run ahead of whom: sync.cc

  std::set<int> reads_, writes_;  // what items did to shared objects since they last met
  void meet();
  struct Touched {
    std::set<int> reads, writes, own_writes;  // own: by the item that owns the element
    bool empty() const { return reads.empty() && writes.empty() && own_writes.empty(); }
  };
  void touch(const Operand& o, AtomId lane, Touched& t) const;
  void touch(const Stmt& s, Touched& t) const;
  Touched touched(const tile::Body& body) const;
  Touched touched(const Loop& l) const;
  Touched vote_touches(const Operand& mask, bool group) const;
  static void merge(Touched& into, const Touched& from);
  static bool meets(const std::set<int>& a, const std::set<int>& b);
  bool hazard(const Touched& t) const;
  void note(const Touched& t);
  void sync(const Touched& t);
  // May each item go through the body on its own? Nothing in it may concern another item, or outlive it but
  // as a plain value.
  bool alone(const tile::Body& body, std::set<ValueId> inside = {}) const;
  bool carries_inside(const tile::Body& body, const std::set<ValueId>& defined) const;
  bool alone(const If& c) const;
  bool alone(const Loop& l) const;  // a while loop

  // ---- conditions: statements.cc

  bool applies(const tile::Guard& g, std::span<const AtomId> axes, std::span<const AtomId> over) const;
  std::string guard_text(const tile::Guard& g) const;
  // What must hold where a point exists.
  std::vector<std::string> conditions(std::span<const AtomId> axes, AtomId lane,
                                      std::span<const AtomId> over = {}) const;
  // What must hold where a variable takes in an element: the guards of loops, which it outlives.
  std::vector<std::string> passing(std::span<const AtomId> axes) const;
  static bool mentions(const std::string& text_of, const std::string& word);
  // The name of a condition in this scope; empty where there is none.
  std::string named(const std::vector<std::string>& all);

  // ---- reading: statements.cc

  Form place(const Operand& o, size_t axis) const;
  std::string clamped(const Form& f, int64_t size) const;
  // Where the elements of a private value's share lie: "[mi][ni_part]".
  std::string subscripts(const Operand& o) const;
  std::string flat(ValueId v, const Forms& forms) const;
  static void sort_terms(Form& f);
  // Is the place inside the value at every point, the lanes beyond the lane axis among them?
  bool always_inside(ValueId v, const Forms& forms, AtomId lane) const;
  std::string shared_element(ValueId v, const Forms& forms, AtomId lane,
                             const std::vector<std::string>& exists);
  Forms places(const Operand& o) const;
  std::string read(const Operand& o, AtomId lane, const std::vector<std::string>& exists);

  // ---- defining: statements.cc

  bool declared(ValueId v) const;
  // The axes of loops over an item's share of some axes.
  std::vector<AtomId> loops_of(std::span<const AtomId> axes, AtomId lane) const;
  std::string dimensions(ValueId v) const;
  void declare(ValueId v);
  void define(ValueId v, const std::string& text_of);
  // Opens loops over an item's share.
  void open_loops(std::span<const AtomId> loops, AtomId lane);
  void close_loops(std::span<const AtomId> loops);

  // ---- bodies, whose statements over the same points share their loops: statements.cc

  void write_body(const tile::Body& body);
  size_t write_run(const tile::Body& body, size_t first);
  // Is the value of this statement short and used once, by the next statements of the same body?
  bool inlines_into(const tile::Body& body, size_t at) const;
  void statement(const Stmt& s, bool may_inline);

  // ---- device memory: memory.cc

  std::string address(const Stmt& s, const std::vector<std::string>& gathered = {}) const;
  // A guard on this very form, or on one of which it is a part, keeps it inside.
  bool guarded_inside(const Form& f, const Dim& size, std::span<const AtomId> axes) const;
  // What must hold for a load to be inside, where no guard says so.
  void add_bounds(const Stmt& s, std::vector<std::string>& all) const;
  std::string load(const Stmt& s, AtomId lane, std::vector<std::string> exists);
  static std::string clamped_index(const std::string& x, Dtype dtype, const Dim& size);

  // ---- accumulate over axes, reduce, contract, of an item's own elements: reduce.cc

  // The elements of the axes combined away, halved one axis after the other: t[i] takes in t[i + half].
  void halve(const Stmt& s, const std::string& t, std::vector<int64_t> sizes, size_t from, Dtype dtype);
  void halve_axis(const Stmt& s, const std::string& t, int64_t size, int64_t inner, Dtype dtype);
  // "k0*4 + k1": where the point of some axes lies in the array of them.
  std::string flat_of(std::span<const AtomId> axes, std::span<const int64_t> sizes, AtomId lane) const;
  void finish_combine(const Stmt& s, const std::string& combined, Dtype from, AtomId lane,
                      const std::vector<std::string>& exists);
  void combine(const Stmt& s);
  void contract(const Stmt& s, AtomId lane, std::span<const AtomId> axes);

  // ---- reductions along the lane axis: reduce.cc

  void reduce_lanes(const Stmt& s);
  // Every warp takes the steps of the tree that are longer than a warp, alike: one barrier is enough.
  void reduce_strands(const Stmt& s, const std::string& tree, const std::string& mine, int64_t width,
                      Dtype dtype);
  void reduce_warp(const Stmt& s, const std::string& mine, int64_t width, Dtype dtype);

  // ---- loops and votes: loops.cc

  std::string loop_head(const Loop& l) const;
  // Counted, or a while loop, which votes before each turn. Its body follows on itself.
  void write_loop(const Loop& l);
  // All at once: through temporaries where one reads what another changes.
  void carry(const Loop& l);
  void carry_one(const Loop& l, const tile::Carry& c, const std::string& to, bool temporary);
  // Whether any element of the mask that this item owns holds: an expression.
  std::string own_vote(const Operand& mask);
  // The same for the whole group.
  std::string vote(const Operand& mask, bool each_alone);
  void write_if(const If& c);
};

}  // namespace tenfold::ctext
