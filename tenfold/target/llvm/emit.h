// One tile kernel as one LLVM function.
//
// A value is a set of SSA registers: for each point of its axes but one, a row of vectors along that one, its
// vector axis (Kernel::vector, else the first of Kernel::vectors that it has). All loops over inner atoms are
// unrolled here.
//
// Index arithmetic is hash-consed and placed at the head of the outermost loop that defines its inputs, so no
// pass has to hoist it. Statements that act on each vector alone are gathered into a run, and the run is
// emitted vector by vector: few values live. A `load` that only contractions use is a view: its elements are
// read where the multiply-add needs them.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include "tenfold/target/llvm/math.h"
#include "tenfold/tile/program.h"

namespace tenfold::cpu {

using tile::ValueId;

constexpr int64_t kLine = 64;  // bytes of a cache line

// How a set of axes lies in registers. An axis of extent 1 is never the vector axis.
struct Layout {
  AtomId vector = -1;
  int lanes = 1;
  int64_t extent = 1;        // of the vector axis
  int chunks = 1;            // vectors along it; the last may have lanes to spare
  std::vector<AtomId> axes;  // the others, in order
  std::vector<int64_t> extents;
  int64_t points = 1;
  bool has(AtomId a) const;
  size_t registers() const { return static_cast<size_t>(points * chunks); }
};

// An affine form at the current point: offset + sum(coef * coordinate) + dynamic, plus lane * (number of the
// lane).
struct Linear {
  int64_t offset = 0;
  std::vector<std::pair<AtomId, int64_t>> inner;
  std::vector<std::pair<AtomId, llvm::Value*>> inner_dynamic;  // symbolic coefficients
  llvm::Value* dynamic = nullptr;
  int64_t least = 0, most = 0;  // of dynamic
  int64_t lane = 0;
  llvm::Value* lane_dynamic = nullptr;
  bool varies() const { return lane || lane_dynamic; }
};

// low: 0 <= form; and form < limit.
struct Check {
  Linear form;
  bool low = false;
  int64_t limit = 0;
  llvm::Value* limit_dynamic = nullptr;
};

struct Mask {
  bool never = false;
  llvm::Value* all = nullptr;  // i1 for the whole vector
  llvm::Value* lanes = nullptr;
  bool always() const { return !never && !all && !lanes; }
};

struct Source;

struct Access {
  Dtype dtype = Dtype::f32;
  llvm::Value* base = nullptr;
  Linear index;  // in elements
  std::vector<Check> checks;
  struct Gathered {  // + clamp(operand, 0, extent - 1) * stride
    std::shared_ptr<Source> operand;
    Dtype dtype;
    bool varies;                 // from lane to lane
    llvm::Value *last, *stride;  // i64
  };
  std::vector<Gathered> gathered;
  bool wide_index = true;  // offsets may not fit 32 bits
  int64_t group =
      1;  // this many points of group_axes are neighbours, and vectors step over them: array of structs
  std::vector<std::pair<AtomId, int64_t>> group_axes;  // with coefficients
  bool streaming = false;                              // every vector is aligned: non-temporal stores
  bool lines = false;                                  // of bytes, and so is every cache line of them
};

// An operand, ready to be read at any point of its reader.
struct Source {
  ValueId value = -1;
  std::vector<Linear> forms;     // registers: one per axis of the value
  std::optional<Access> memory;  // or a view, or a value that is indexed by a loop
  std::vector<AtomId> depends;   // atoms of the reader that choose the element
};

struct Prepared {
  const tile::Stmt* stmt = nullptr;
  Layout layout;  // of the result's axes, or of what is stored
  Layout reader;  // with the axes combined away
  std::vector<Source> sources;
  std::optional<Access> access;
  std::vector<Check> checks;  // points that take part in accumulate, reduce, contract
  Linear index;
  bool view = false;
};

// Part of a statement's points: some axes fixed, some vectors of one axis.
struct Cell {
  std::vector<std::pair<AtomId, int64_t>> fixed;
  AtomId vector = -1;
  int first = 0, count = 0;
};

class Emitter {
 public:
  Emitter(llvm::Module&, const tile::Kernel&, const std::string& symbol, const Isa&);
  void run();

 private:
  using Value = llvm::Value;
  using Block = llvm::BasicBlock;
  using Stmt = tile::Stmt;
  using Key = std::tuple<int, const void*, const void*, int64_t>;
  enum Tag : int { kOpcode, kPointer = 1000, kClamp, kPrefix, kSuffix, kCompare, kSplat, kLane, kLeast };

  struct Binding {  // a loop or grid atom while its loop is open
    bool bound = false;
    Value* value = nullptr;  // null: `constant`
    int64_t constant = 0;
    bool unrolled = false;  // the current coordinate counts on top of it
    int level = 0;          // of loops around it
  };
  struct Run {
    AtomId vector = -1;
    std::set<ValueId> defined, crossed;
    std::vector<std::pair<ValueId, const Forms*>> written, read;
    std::vector<const tile::Item*> items;
    bool conditional = false;
  };

  // emit.cc: control
  void analyse(const tile::Body&);
  void blocks();
  void block_body();
  void body(const tile::Body&);
  void item(const tile::Item&, const Cell&);
  bool joins(Run&, const tile::Item&, bool nested);
  bool joins_stmt(Run&, const Stmt&, bool nested) const;
  struct Limit {  // of what cells() goes over
    struct Range {
      int64_t first, count;
    };
    std::map<AtomId, Range> ranges;  // of these axes only some coordinates
    AtomId uniform = -1;             // statements without this axis are done
  };
  void prepare_run(const Run&);
  void run_cells(const Run&);
  void cells(const Run&, std::span<const AtomId> outer, const Limit&, int first, int last);
  bool has_axis(const Stmt&, AtomId) const;
  bool ends_inside(const Run&) const;
  std::vector<AtomId> strip_axes(const Run&, std::span<const AtomId> outer, int chunks, int64_t work) const;
  void strip(const Run&, std::span<const AtomId> outer, std::span<const AtomId> looped, size_t depth,
             int chunks, int64_t work);
  std::vector<AtomId> outer_axes(const Run&) const;
  void loop(const tile::Loop&);
  void segment(const tile::Loop&, Value* low, Value* high);
  void iteration(const tile::Loop&);
  void while_loop(const tile::Loop&);
  void branch(const tile::If&, const Cell&, bool local);
  struct Packing {
    std::vector<ValueId> in, out;
    std::vector<const Stmt*> again;  // cheap to compute from `in`, so not packed
  };
  void rematerialize(std::set<ValueId>& in, AtomId vector, Packing&) const;
  const std::optional<Packing>& packing(const tile::If&);
  std::optional<Packing> find_packing(const tile::If&);
  void packed_branch(const tile::If&, const Packing&);
  Value* pack_buffer(size_t i, int64_t bytes);
  std::vector<ValueId> carried(const tile::Loop&) const;
  void forget(const tile::Body&, std::span<const ValueId> kept);
  void collect(const tile::Body&, std::vector<ValueId>& variables, std::vector<ValueId>& all) const;
  std::pair<std::string, std::string> factors(const Stmt&) const;
  std::vector<int> uses_in(const tile::Body&) const;
  bool is_view(const tile::Body&, size_t at);
  int count_uses(const tile::Item&, ValueId) const;
  bool disturbs(const tile::Item&, const Stmt& load) const;

  // statements.cc
  Prepared prepare(const Stmt&, bool view);
  void statement(Prepared&, const Cell&);
  void define(ValueId, const Layout&, Reg);
  void load_statement(Prepared&, const Cell&);
  void store_statement(Prepared&, const Cell&);
  bool fills_lines(const Stmt&) const;
  void store_lines(Prepared&);
  void combine_statement(Prepared&, const Cell&);
  Reg combined(const Prepared&);
  Reg element(const Prepared&);
  void contract(Prepared&);
  struct Accumulators;
  void contract_group(Prepared&, const Accumulators&);
  void contract_step(const Prepared&, const Accumulators&, std::span<const Source>);
  void contract_loop(Prepared&, const Accumulators&, AtomId over, int64_t unroll);
  bool may_loop(const Stmt&, AtomId) const;
  bool holds_tiles(const Stmt&) const;
  // result[row, column] += sum of a[row, group] * b[group, column], each group four bytes of a and b.
  struct TileProduct {
    size_t a = 0;                 // which operand has the rows
    AtomId row = -1, group = -1;  // row: -1 for one row
    int64_t rows = 1, groups = 1;
    int64_t height = 1, depth = 1;         // rows and groups of a tile
    bool registers = false;                // tiles have registers of their own
    int64_t row_step = 0, group_step = 0;  // bytes: of a for a row, of b for a group
  };
  std::optional<TileProduct> tile_product(const Prepared&) const;
  void contract_tiles(const Prepared&, const TileProduct&);
  void contract_tiles(const Prepared&, const TileProduct&, int64_t row, int chunk);
  struct TileShape;
  std::vector<Value*> load_tile(const TileShape&, Value* at, int64_t stride);
  void store_tile(const TileShape&, Value* at, int64_t stride, std::span<Value* const>);
  std::vector<Value*> multiply_tiles(const TileShape&, const TileShape&, std::span<Value* const> sum,
                                     std::span<Value* const> a, std::span<Value* const> b, Dtype from_a,
                                     Dtype from_b);
  bool sums_groups(const Prepared&) const;
  void contract_groups(const Prepared&, const Accumulators&);
  Value* add_quads(Value* sum, Value* bytes, Value* signed_bytes, bool both_signed);
  Value* add_pairs(Value* sum, Value* x, Value* y);
  template <class F>
  void iterate(const Layout&, const Cell&, std::span<const AtomId> skip, F&& f);
  void place(const Layout&, int64_t point, int chunk);
  std::vector<Check> taking_part(const Stmt&, const Layout& domain);

  // memory.cc: forms, masks, loads and stores
  Layout layout(std::span<const AtomId> axes) const;
  const Layout& layout_of(ValueId v) const { return layouts_[static_cast<size_t>(v)]; }
  size_t slot(const Layout&) const;
  Value* dim(const Dim&);
  Linear linear(const Form&, AtomId vector);
  int64_t constant_part(const Linear&) const;
  Value* dynamic_part(const Linear&);
  Value* total(const Linear&);  // i64 of lane 0
  bool proved_inside(const Form&, const Dim& extent, const Layout& domain, bool low) const;
  Dim bound_of(const Form&, bool upper) const;
  bool applies(const tile::Guard&, const Layout& domain) const;
  Check check_of(const tile::Guard&, const Layout& domain);
  std::vector<Check> guard_checks(const Layout& domain);
  std::optional<Check> padding(const Layout&);
  Mask mask(std::span<const Check>, int lanes);
  Value* as_vector(const Mask&, int lanes);
  Access arg_access(const Stmt&, const Forms&, const Layout& domain);
  Access scratch_access(ValueId, const Forms&, const Layout& domain, std::span<const AtomId> order);
  Access memory_access(Dtype, Value* base, const Forms&, const Shape&, const Layout& domain);
  void find_group(Access&, const Layout&);
  Source source(const tile::Operand&, const Layout& reader);
  Reg fetch(const Source&, const Layout& reader);
  Reg fetch_registers(const Source&, const Layout& reader);
  std::vector<Reg> load(const Access&, const Layout& reader);
  Value* strided_load(const Access&, int lanes, Value* from, const Mask&);
  void store(const Access&, const Layout& reader, std::span<const Reg>);
  Value* scalar_offset(const Access&, const Layout& reader, bool contiguous, Value** varying);
  Value* pointer(const Access&, Value* extra);
  Value* guarded_pointer(Value* pointer, const Mask&, bool store);
  bool has_masked(Value* mask, int64_t bytes, bool scattered) const;
  Value* lane_pointer(Value* pointer, Value* mask, int lane, Value* otherwise);
  bool is_split(llvm::Type* wide, Value* mask) const;
  Value* masked_load(llvm::Type* wide, Value* pointer, Value* offsets, llvm::Align, Value* mask);
  void masked_store(Value*, Value* pointer, Value* offsets, llvm::Align, Value* mask);
  std::vector<Value*> deinterleave(std::vector<Value*>);
  std::vector<Value*> interleave(std::vector<Value*>);
  Value* pick(std::span<Value* const> vectors, std::span<const int> elements);
  void spill(ValueId, const Layout&, Reg);

  // hash-consed arithmetic at the head of the right loop
  template <class F>
  Value* hoisted(const Key&, std::initializer_list<Value*> inputs, F make);
  Value* hoist(unsigned opcode, Value*, Value*);
  Value* add(Value*, Value*);  // null is 0
  Value* mul(Value*, int64_t);
  Value* least(Value*, Value*);
  Value* i64(int64_t) const;
  int depth_of(Value*) const;
  template <class F>
  Value* after(Value* v, const Key&, F make);
  Value* lane(Value* vector, int index);
  Reg splat(Reg, int lanes);

  const tile::Kernel& k;
  const Isa& isa;
  llvm::Module& module;
  llvm::LLVMContext& context;
  llvm::IRBuilder<> b;
  Math math;
  llvm::Function* function;
  int lanes_;

  std::vector<int64_t> at_;  // the current coordinate of every inner atom
  std::vector<Binding> bound_;
  std::vector<char> discharged_;        // by guard: known to hold here
  std::vector<std::vector<Reg>> regs_;  // by value
  std::vector<int> born_;               // by variable: loops open where it began
  int level_ = 0;                       // loops open now
  std::map<ValueId, const Stmt*> views_;
  std::set<ValueId> spilled_;
  std::map<ValueId, Value*> spill_memory_;
  std::vector<int> uses_, contract_uses_;
  std::map<const tile::If*, std::optional<Packing>> packings_;
  std::vector<Layout> layouts_;    // by value
  std::vector<const Stmt*> maps_;  // by value: the map that defines it
  std::map<const Stmt*, int> order_;
  std::map<ValueId, const Stmt*> constants_;
  std::set<std::pair<std::string, std::string>>
      high_products_;                         // operands whose products' high halves are taken
  std::map<const Stmt*, Prepared> prepared_;  // of the run that is being emitted
  std::vector<Block*> scopes_;                // heads of the open loops; [0] is the entry
  std::unordered_map<Value*, int> depth_;
  std::map<Key, Value*> memo_;
  std::unordered_map<std::string, Value*> dims_;
  std::map<std::string, Value*> symbols_;
  std::vector<Value*> buffers_;
  std::vector<int64_t> scratch_offsets_;
  Value* scratch_ = nullptr;
  std::vector<llvm::AllocaInst*> pack_buffers_;
  Value* sink_ = nullptr;
  Value* zero_ = nullptr;
  std::optional<std::pair<int64_t, int64_t>> tile_shape_;  // height and depth of what tile registers hold
  bool streaming_ = false;
  bool streamed_ = false;  // a non-temporal store was made
};

void emit(llvm::Module&, const tile::Kernel&, const std::string& symbol, const Isa&);

}  // namespace tenfold::cpu
