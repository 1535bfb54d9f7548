// A rewrite rule is data: a pattern, what replaces it, and why that pays. tests/cpp/rewrite_test.cc evaluates
// both sides of every rule on random inputs of every dtype it takes, special values included, and checks that
// the work never grows.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tenfold/ir/node.h"
#include "tenfold/rewrite/ranges.h"

namespace tenfold::rewrite {

// A variable (equal ones match equal nodes), a number (broadcast or not; by bits, so that -0.0 is not 0.0),
// or a primitive over patterns. Commutative primitives match either way round.
struct Pattern {
  enum class Kind : uint8_t { variable, number, primitive } kind = Kind::variable;
  int variable = 0;
  double number = 0;
  std::string_view primitive;
  std::vector<Pattern> inputs;

  static Pattern any(int variable) { return {Kind::variable, variable, 0, {}, {}}; }
  Pattern(double v) : kind(Kind::number), number(v) {}  // in rules: add(x, -0.0)
  Pattern(Kind k, int v, double n, std::string_view p, std::vector<Pattern> i)
      : kind(k), variable(v), number(n), primitive(p), inputs(std::move(i)) {}
};

enum Flags : unsigned {
  kExact = 0,
  kWithinBound = 1,  // not the same bits, but both sides are within the bound that the record states
  kWide = 2,         // f32 and f64 alone: f16 has too small a range for the right side
};

struct Rule {
  std::string_view name;
  unsigned dtypes;  // prims::Accept: of the first input of the root
  Pattern from, to;
  std::string_view reason;
  unsigned flags = kExact;
};
std::span<const Rule> algebra();

// What a pattern cannot say, as a function: the replacement, or null. `examples` gives graphs on which it
// fires.
struct Procedure {
  std::string_view name;
  NodeRef (*apply)(const NodeRef&, Ranges&);
  std::vector<Graph> (*examples)(Dtype);
  std::string_view reason;
};
std::span<const Procedure> folds();        // constants and integers
std::span<const Procedure> moves();        // broadcast, reshape, transpose, slice
std::span<const Procedure> range_rules();  // what interval analysis decides

// The value that every element of the node has, if it is a constant.
std::optional<Scalar> constant_of(const NodeRef&);

NodeRef apply(const Rule&, const NodeRef&);  // null if it does not match
// Both sides over parameters of one type, for the harness. Empty where a side does not take the dtype.
struct Sides {
  Graph from, to;
};
std::optional<Sides> instantiate(const Rule&, const Type&);

}  // namespace tenfold::rewrite
