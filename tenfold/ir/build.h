// Short names for making nodes: what records, rewrites and derivatives are written with.
// Binary helpers broadcast a rank-0 operand to the other's shape and convert a C++ number to the other's
// dtype.
#pragma once

#include "tenfold/ir/prim.h"

namespace tenfold::build {

NodeRef parameter(int64_t index, const Type&,
                  int64_t scope = 0);  // scope 0: of a closed graph; others: being traced
int64_t fresh_scope();
NodeRef constant(const Scalar&, Dtype);    // rank 0
NodeRef full(const Scalar&, const Type&);  // broadcast constant
NodeRef zeros_like(const NodeRef&);
NodeRef iota(const Shape&, int64_t axis, Dtype = Dtype::i64);
NodeRef extent(const Dim&);  // a dimension as an i64[] value
NodeRef item(const NodeRef&, int64_t k);
NodeRef convert(const NodeRef&, Dtype);  // no node if it already has the dtype
NodeRef broadcast(const NodeRef&, const Shape&,
                  const Ints& axes);  // input dim i becomes output dim axes[i]; extent equal or 1
NodeRef broadcast_to(const NodeRef&, const Shape&);  // aligned at the right, as NumPy does
NodeRef reshape(const NodeRef&, const Shape&);
NodeRef transpose(const NodeRef&, const Ints& permutation);
NodeRef slice(const NodeRef&, const Shape& start, const Shape& stop, const Ints& step);
NodeRef slice_axis(const NodeRef&, int64_t axis, const Dim& start, const Dim& stop);
NodeRef pad(const NodeRef&, const NodeRef& value, const Shape& low, const Shape& high);
NodeRef concatenate(const Nodes&, int64_t axis);
NodeRef reverse(const NodeRef&, const Ints& axes);
NodeRef window(const NodeRef&, const Ints& axes, const Ints& taps, const Ints& stride, const Ints& dilation);
NodeRef reduce(std::string_view op, const NodeRef&, const Ints& axes);  // axes are removed ("sum", "max" ...)
NodeRef contract(const NodeRef&, const NodeRef&, std::string_view spec,  // "mk,kn->mn"
                 std::optional<Dtype> = {});  // of the result: contract.h says which
NodeRef select(const NodeRef& mask, const NodeRef& then, const NodeRef& otherwise);
NodeRef map(std::string_view op,
            Nodes inputs);  // any map record without attributes; rank-0 operands are broadcast

// Loops and branches over closed graphs; each gives its outputs (ir/prims/control.cc says what bodies take
// and return).
Nodes scan(const GraphRef& body, const Nodes& init, const Nodes& xs, const Nodes& consts, const Dim& length,
           bool reverse = false, int64_t checkpoint = 0);
Nodes while_loop(const GraphRef& cond, const GraphRef& body, const Nodes& init, const Nodes& consts);
Nodes cond(const NodeRef& pred, const GraphRef& then, const GraphRef& otherwise, const Nodes& operands);
Nodes items(const NodeRef&);  // all outputs of a node

NodeRef operator+(const NodeRef&, const NodeRef&);
NodeRef operator-(const NodeRef&, const NodeRef&);
NodeRef operator*(const NodeRef&, const NodeRef&);
NodeRef operator/(const NodeRef&, const NodeRef&);
NodeRef operator-(const NodeRef&);
NodeRef operator+(const NodeRef&, double);
NodeRef operator-(const NodeRef&, double);
NodeRef operator*(const NodeRef&, double);
NodeRef operator/(const NodeRef&, double);
NodeRef operator+(double, const NodeRef&);
NodeRef operator-(double, const NodeRef&);
NodeRef operator*(double, const NodeRef&);
NodeRef operator/(double, const NodeRef&);

// Helpers leave out what does nothing: a reshape to the same shape, an identity transpose, the item of a
// single output.

// The same graph over other leaves. `replace` maps nodes to what stands for them.
Nodes substitute(const Nodes& roots, const std::vector<std::pair<NodeRef, NodeRef>>& replace);

// Closes a traced body: the given parameters become parameters 0..n-1 of scope 0. What the body uses from
// outside becomes further parameters: the largest expressions that depend on parameters of other scopes and
// not on those of this body, so that a loop computes them once, outside (a broadcast stays inside: it is
// free). Those captured nodes are returned in order.
struct Closed {
  GraphRef graph;
  Nodes captured;
};
Closed close(const Nodes& parameters, const Nodes& results, std::vector<std::string> names = {});

// Calls a closed graph on nodes: parameters replaced.
Nodes call(const Graph&, const Nodes& arguments);

}  // namespace tenfold::build
