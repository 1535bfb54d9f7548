// One cluster's lowering: what lower() does, spread over nests.cc, lower.cc, accumulators.cc and leaves.cc.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "tenfold/plan/lower.h"
#include "tenfold/plan/online.h"

namespace tenfold::plan {

using tile::Body;
using tile::Operand;
using tile::Stmt;
using tile::ValueId;
using IntList = std::vector<int>;

inline bool contains(const std::vector<AtomId>& list, AtomId a) {
  return std::find(list.begin(), list.end(), a) != list.end();
}

// A nest: a leaf list of instances, or a loop over one atom.
struct Nest {
  AtomId atom = -1;
  IntList leaf;
  std::vector<Nest> children;
  IntList begun, ended;  // accumulators that start before this loop, and are complete after it
  IntList resumed;       // that live in scratch, and run in registers here
};

class Lowering {
 public:
  Lowering(const Flat& flat, const Instances& all, const Choice& choice, const tile::Machine& machine)
      : flat_(flat),
        all_(all),
        choice_(choice),
        machine_(machine),
        n_(all.insts.size()),
        users_(n_),
        loops_(n_),
        reduced_loops_(n_),
        chain_(n_, 0),
        source_(n_, -1) {
    if (choice.online) online_ = find_online(flat, all);
    make_atoms();
    for (size_t i = 0; i < n_; ++i) study(static_cast<int>(i));
    IntList every(n_);
    for (size_t i = 0; i < n_; ++i) every[i] = static_cast<int>(i);
    nests_ = emit(every, 0, std::set<int>{});
    find_kept();
    find_places();
  }

  Lowered finish();

 private:
  const Flat& flat_;
  const Instances& all_;
  const Choice& choice_;
  const tile::Machine& machine_;
  size_t n_;
  tile::Kernel kernel_;
  IntList buffers_;
  std::vector<AtomId> outer_, inner_, storage_;  // kernel atoms by space atom, -1 if none
  std::vector<AtomId> grid_;
  std::vector<IntList> users_;
  std::vector<std::vector<AtomId>> loops_;          // sequential loops each instance stands in (space atoms)
  std::vector<std::vector<AtomId>> reduced_loops_;  // of those, the ones it reduces over
  std::vector<double> chain_;                       // cost to compute it again from loads and kept values
  std::vector<int> source_;  // the one reduction or contraction it is made of; -1: none, -2: several
  std::vector<Nest> nests_;
  std::set<int> spread_;  // packed, and not to wait in registers
  std::set<int> kept_, memory_accumulators_, resumed_, written_;
  std::set<int> passing_;  // made anew in each turn of the loop around, and used in it
  std::unordered_map<int, ValueId> scratch_, variables_;
  std::unordered_map<int, int> place_of_;  // kept value -> the one that it takes the place of in scratch
  std::vector<AtomId> open_;               // the loops that statements now come into
  Online online_;
  std::set<int> running_, rescaled_;  // accumulators that have begun; those that a running maximum has scaled
  bool in_turn_ = false;              // of the maximum's loop, in the loops that complete it for this turn
  std::map<int, int> input_arg_, output_arg_;  // op -> argument

  using Scope = std::unordered_map<int, Operand>;  // instance -> its value, where it is visible

  const Inst& inst(int i) const { return all_.insts[i]; }
  const Op& op(int i) const { return flat_.ops[inst(i).op]; }
  const Tiling& tiling(AtomId a) const { return choice_.atoms[a]; }

  // nests.cc: atoms, and the order of instances in nested loops
  void make_atoms();
  AtomId add_atom(std::string name, const Dim& extent);
  Form kernel_form(const Form& f) const;
  Forms kernel_forms(const Forms& fs) const;
  std::vector<AtomId> space_atoms(const Forms& fs) const;
  std::vector<AtomId> axes(const Forms& dims) const;
  void study(int i);
  bool free_to_repeat(int i) const;
  bool instead_of_its_source(int i) const;
  bool repeat(int i) const;
  bool ends(int p, AtomId a, int u) const;
  bool by_turns() const { return choice_.online && choice_.around >= 0; }
  bool runs_along(AtomId a) const { return online_.maximum >= 0 && (!by_turns() || a == choice_.around); }
  bool waits(int i, int p, AtomId a, bool in_loop) const;
  bool starts(int i, int u, AtomId a) const;
  IntList real_inputs(int i) const;
  std::vector<Nest> emit(const IntList& insts, size_t depth, const std::set<int>& begun);
  bool memory_carry(int i) const;
  void find_kept();
  void find_places();
  void scan_scope(const std::vector<Nest>& nests, std::vector<int>& visible);
  static bool found_at_level(const std::vector<Nest>& nests, int i);
  IntList carries_of(const Nest& loop) const;

  // lower.cc: arguments, scratch, loops and the states that they carry
  ValueId value(Dtype dtype, std::vector<AtomId> at, bool scratch = false);
  static Dtype accumulator(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16 ? Dtype::f32 : d; }
  Dtype dtype(int i) const;
  void make_args();
  static bool whole(const Forms& fs);
  int table_op(const Inst& i, size_t slot) const { return flat_.ops[i.op].inputs[slot]; }
  std::vector<AtomId> storage_atoms(const Forms& dims) const;
  AtomId storage(AtomId a);
  Forms storage_forms(const Forms& dims);
  Forms kept_dims(int i) const;
  ValueId scratch_of(int i, Dtype d);
  Operand add_stmt(Body& body, Stmt s, Dtype d);
  Operand read_scratch(Body& body, ValueId from, Forms forms, std::vector<AtomId> at);
  void write_scratch(Body& body, ValueId to, const Operand& from, Forms forms, std::vector<AtomId> at);
  Operand map(Body& body, std::string_view name, std::vector<Operand> operands, std::vector<AtomId> at,
              Dtype d, Attrs attrs = {});
  Operand convert(Body& body, const Operand& from, Dtype to);
  Operand constant(Body& body, const Scalar& x, Dtype d);
  Operand index(Body& body, const Form& space_form, Dtype d);
  Operand input(Body& body, Scope& scope, int user, size_t slot);
  Operand read_carry(Body& body, const Inst::Use& u, Dtype);
  void generate(const std::vector<Nest>& nests, Scope scope, Body& body);
  // A nest of loops over the sequential outer atoms of `dims` that are not open yet, around what `inner` puts
  // there.
  template <class F>
  void over_storage(const Forms& dims, Body& body, F inner) {
    std::vector<AtomId> around;
    for (AtomId a : space_atoms(dims))
      if (tiling(a).loop && !tiling(a).grid && !contains(open_, a)) around.push_back(a);
    Body* at = &body;
    for (AtomId a : around) {
      auto l = std::make_unique<tile::Loop>();
      l->atom = outer_[a];
      tile::Loop* raw = l.get();
      at->push_back(std::move(l));
      at = &raw->body;
    }
    inner(*at);
  }
  void loop(const Nest& n, Scope& scope, Body& body);
  bool made_in(const Nest& n, int i) const;
  void pass_over(Body& turn);
  void begin_carry(int i, Scope& scope, Body& body);

  // accumulators.cc: reductions, contractions, and a maximum that runs
  std::vector<AtomId> lanes(int i) const;
  std::vector<AtomId> running_axes(int i) const;
  const Prim& combine(int i) const;
  Scalar start(int i) const;
  ValueId running_scratch(int i);
  Forms running_forms(int i);
  void begin_accumulator(int i, Scope& scope, Body& body);
  void resume_accumulator(int i, Body& body);
  void rescale(int i, const Operand& shift, Body& body);
  Operand shift_of(Body& body, const Operand& grown, const Operand& old, const Operand& now);
  void end_accumulator(int i, Scope& scope, Body& body);
  void fold(int i, Scope& scope, Body& body);
  Operand before_step(Body& body);
  void after_step(const Operand& old, Scope& scope, Body& body);
  Operand some_seen(int x, Body& body);
  Operand possible(int x, bool wanted, Body& body);
  std::optional<Form> affine(int x) const;
  static Graph scalar_graph(const Node& n);
  Operand composed(Body& body, const Graph& graph, const std::vector<Operand>& inputs,
                   const std::vector<AtomId>& at);

  // leaves.cc: the statements of a leaf, and votes before them
  void leaf(const IntList& list, Scope& scope, Body& body);
  struct Vote {
    int mask, select;
    IntList body;
  };
  std::vector<Vote> find_votes(const IntList& list);
  void define(int i, const Operand& o, Scope& scope, Body& body);
  void statement(int i, Scope& scope, Body& body);
  void compute(int i, Scope& scope, Body& body);
  Operand less(Body& body, const Form& e, const Dim& limit);
  Operand dim_value(Body& body, const Dim& d);
  Operand piecewise(int i, Scope& scope, Body& body);
  Operand gather(int i, Scope& scope, Body& body);
};

}  // namespace tenfold::plan
