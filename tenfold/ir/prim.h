// A primitive is one record: all facts of an operation stand together.
//
// Semantics, for every record:
//  * Integers wrap. Integer division and mod by zero give 0; floordiv and mod round towards minus infinity;
//    the smallest integer divided by -1 wraps. A shift count is taken modulo the width.
//  * Floats follow IEEE 754, round to nearest even, denormals kept. No multiply-add contraction but where a
//  record
//    writes fma (and inside `contract`). minimum, maximum and the reductions min and max propagate NaN;
//    -0 < +0 is not distinguished by them (either may result).
//  * Float to integer conversion truncates; out of range saturates, NaN gives 0. To bool: x != 0.
//  * f16 and bf16 arithmetic: each operation computes in f32 and rounds once.
//  * A reduction or contraction in f16 or bf16 accumulates in f32 and rounds at the end; its order is
//    fixed by shape and plan, never by thread count. The interpreter accumulates in f64.
//  * A read outside a dimension does not happen: gather and dynamic_slice clamp their indices into range.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tenfold/ir/array.h"
#include "tenfold/ir/node.h"
#include "tenfold/ir/range.h"
#include "tenfold/ir/space.h"

namespace tenfold {

enum class Kind : uint8_t { map, reduce, contract, move, index, random, control, comm, leaf, extern_ };
std::string_view name(Kind);

struct AttrSpec {
  enum class Type : uint8_t { integer, text, ints, shape, dtype, scalar, graph };
  std::string_view name;
  Type type;
  std::string_view doc;
  bool optional = false;  // may be left out; the record then has a default
};

// How a value scales when a running maximum m becomes m + c (PLANNER.md section 3): number d means by exp(-d
// c).
struct Degree {
  enum class Kind : uint8_t { none, number, shift, running };  // running: is m itself; shift: x - m
  Kind kind = Kind::number;
  int number = 0;
  friend bool operator==(const Degree&, const Degree&) = default;
};

struct Batched {
  NodeRef node;  // if batched, its axis 0 is the batch
  bool batched = false;
};

struct Prim {
  std::string_view name;
  std::string_view doc;
  Kind kind = Kind::map;
  int arity = 1;                                // -1: any number
  std::vector<std::string_view> operands = {};  // names of the inputs, for docs and errors
  std::vector<AttrSpec> attributes = {};

  // Result types, or a UserError. Maps: every input has the same shape (broadcast is its own node).
  std::vector<Type> (*type)(const Attrs&, std::span<const NodeRef>) = nullptr;

  // The meaning. Maps: of one element, on exact scalars; `dtypes` are those of the inputs then the output;
  // the caller rounds the result. (f32 fma and the like must round once: use the dtype.)
  Scalar (*eval)(const Attrs&, std::span<const Scalar>, std::span<const Dtype>) = nullptr;
  // Others: of whole arrays; the output is allocated with its concrete type.
  void (*reference)(const Node&, std::span<const Array* const> inputs, std::span<Array> outputs) = nullptr;

  // Cotangents of the inputs, given the node and the cotangents of its outputs (an entry may be null: zero).
  // A null result means zero.
  Nodes (*vjp)(const NodeRef& y, std::span<const NodeRef> dy) = nullptr;

  // Under vmap. Null for maps: inputs that are not batched are broadcast. At least one input is batched;
  // outputs have the batch as axis 0.
  std::vector<Batched> (*batch)(const Node&, std::span<const Batched> inputs, const Dim& size) = nullptr;

  // Which tile of each input does a tile of the output need? Null for maps (the same forms).
  Relation (*relation)(const Node&, const Forms& output, Space&) = nullptr;

  double cost = 1;                                      // scalar operations per point of the iteration space
  Degree (*degree)(std::span<const Degree>) = nullptr;  // null: 0 if all inputs are 0, else none

  // The graph this node stands for, over simpler primitives (exp, philox, argmax ...). Null for core ones.
  // Applied by rewrite/numeric before planning; the tile program sees core primitives only.
  Nodes (*expand)(const Node&, std::span<const NodeRef> inputs) = nullptr;

  // Where the elements of the result lie, given where those of the inputs do (ir/range.h). Null: anywhere;
  // for moves: where those of the inputs do.
  Range (*range)(const Node&, std::span<const Range>) = nullptr;

  // Null batch or vjp with an `expand`: that of the expansion.
  bool has(std::string_view property) const;
  std::vector<std::string_view> properties =
      {};  // "commutative", "associative", "idempotent", "comparison", "reduce:sum", "mirrors" (runs
           // backwards), "permutes" (each element of the input stands in one place, and what is outside of it
           // outside) ...
};

// The registry. A family file ends with `static const Family kFamily{kPrims};`
class Family {
 public:
  explicit Family(std::span<const Prim> records);
};
// What is wrong with these attributes or this number of inputs; empty if nothing is. For make and for
// parsers.
std::string complaint(const Prim&, size_t inputs, const Attrs&);

const Prim* find_prim(std::string_view name);  // null if there is none
const Prim& prim(std::string_view name);       // InternalError if there is none
std::vector<const Prim*> all_prims();          // sorted by kind, then name

}  // namespace tenfold
