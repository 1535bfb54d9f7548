// Random graphs over the families that cluster: maps, moves, reductions, contractions, gathers and scans.
// Values stay tame, so that a fused order of operations may be compared with another.
#pragma once

#include <map>
#include <random>
#include <string>

#include "tenfold/ir/build.h"

namespace tenfold::testing {

struct RandomGraph {
  Graph graph;
  std::map<std::string, int> coverage;  // primitive -> nodes
};

struct GraphStyle {
  bool smooth = false;  // no kinks and no steps: a difference quotient is a derivative
  bool wide = false;  // also votes, rows of negative numbers, loops that run backwards or keep an older state
};

class Generator {
 public:
  explicit Generator(uint64_t seed, Dtype dtype = Dtype::f32, GraphStyle style = {})
      : rng_(seed), dtype_(dtype), style_(style) {}

  RandomGraph make(int size) {
    int64_t m = pick({1, 2, 5, 8, 17}), n = pick({1, 3, 16, 33, 70, 128}), k = pick({2, 4, 7, 24});
    std::vector<Shape> shapes{{m, n}, {n}, {m, k}, {k, n}, {m, 1}, {n, m}};
    Nodes values;
    Graph g;
    for (size_t i = 0; i < shapes.size(); ++i) {
      g.parameters.push_back(build::parameter(static_cast<int64_t>(i), {dtype_, shapes[i]}));
      values.push_back(g.parameters.back());
    }
    for (int i = 0; i < size; ++i) {
      NodeRef made = step(values);
      if (made) values.push_back(made);
    }
    g.results.push_back(values.back());
    if (chance(0.4)) g.results.push_back(values[shapes.size() + below(values.size() - shapes.size())]);
    if (chance(0.2)) g.results.push_back(values[below(values.size())]);
    RandomGraph out{g, {}};
    for (const NodeRef& n : topological(g.results)) ++out.coverage[std::string(n->prim->name)];
    return out;
  }

 private:
  std::mt19937_64 rng_;
  Dtype dtype_;
  GraphStyle style_;

  size_t below(size_t n) { return n ? rng_() % n : 0; }
  bool chance(double p) { return std::uniform_real_distribution<double>(0, 1)(rng_) < p; }
  int64_t pick(std::initializer_list<int64_t> list) { return *(list.begin() + below(list.size())); }
  NodeRef any(const Nodes& v) {
    return v[chance(0.6) ? v.size() - 1 - below(std::min<size_t>(v.size(), 4)) : below(v.size())];
  }
  NodeRef tame(const NodeRef& x) {
    if (style_.smooth) return build::map("tanh", {x});
    return build::map("maximum", {build::map("minimum", {x, full(x, 3)}), full(x, -3)});
  }
  NodeRef size(const NodeRef& x) {  // about |x|
    using build::operator+, build::operator*;
    return style_.smooth ? build::map("sqrt", {x * x + 0.25}) : build::map("abs", {x});
  }
  std::string_view largest() const { return style_.smooth ? "sum" : "max"; }
  NodeRef full(const NodeRef& like, double v) { return build::full(Scalar(v), like->type()); }

  NodeRef partner(const Nodes& v, const NodeRef& x) {  // something of x's shape
    Nodes same;
    for (const NodeRef& y : v)
      if (y->shape() == x->shape()) same.push_back(y);
    for (int t = 0; t < 3; ++t) {  // or broadcast to it
      const NodeRef& y = v[below(v.size())];
      bool fits = y->rank() <= x->rank();
      for (int d = 0; fits && d < y->rank(); ++d) {
        const Dim &a = y->shape()[y->rank() - 1 - d], &b = x->shape()[x->rank() - 1 - d];
        fits = a == b || a == Dim(1);
      }
      if (fits) same.push_back(build::broadcast_to(y, x->shape()));
    }
    return same[below(same.size())];
  }

  // The sum, largest or weighed sum of windows along an axis.
  NodeRef slid(const NodeRef& x, int64_t axis) {
    using build::operator*;
    const int64_t n = x->shape()[axis].value(), taps = pick({1, 2, 3}), dilation = pick({1, 2});
    if (n < (taps - 1) * dilation + 1) return {};
    const NodeRef every = build::window(x, {axis}, {taps}, {pick({1, 1, 2, 3})}, {dilation});
    if (!style_.smooth && chance(0.4)) return build::reduce("max", every, {x->rank()});
    const NodeRef weights = build::convert(build::iota(every->shape(), x->rank()), dtype_) * 0.5;
    return build::reduce("sum", every * weights, {x->rank()}) * (1.0 / static_cast<double>(taps));
  }

  NodeRef step(const Nodes& v) {
    using build::operator+, build::operator-, build::operator*, build::operator/;
    NodeRef x = any(v);
    int rank = x->rank();
    switch (below(16)) {
      case 0: return x + partner(v, x);
      case 1: return tame(x * partner(v, x));
      case 2: return x - partner(v, x);
      case 3: return style_.smooth ? build::map("sin", {x}) : build::map("maximum", {x, partner(v, x)});
      case 4: return x / (size(partner(v, x)) + 1.0);
      case 5: return build::map("sqrt", {size(x)});
      case 6: {
        NodeRef y = partner(v, x);
        if (style_.smooth) return build::map("exp", {-(x * x)}) * y;
        NodeRef then = y;
        if (style_.wide && chance(0.6))
          for (const char* costly : {"tanh", "sin", "exp", "log1p"}) then = build::map(costly, {then});
        return build::select(build::map("less", {x, y}), then * 0.5, x);
      }
      case 7:
      case 8: {
        if (rank == 0) return {};
        int64_t axis = static_cast<int64_t>(below(rank));
        return !style_.smooth && chance(0.5)
                   ? build::reduce("max", style_.wide && chance(0.5) ? x - 4.0 : x, {axis})
                   : build::reduce("sum", x, {axis}) * (1.0 / std::max<int64_t>(1, x->shape()[axis].value()));
      }
      case 9: {
        if (rank < 2) return {};
        Ints p;
        for (int d = 0; d < rank; ++d) p.push_back((d + 1) % rank);
        return build::transpose(x, p);
      }
      case 10: {
        if (rank == 0) return {};
        int64_t axis = static_cast<int64_t>(below(rank)), n = x->shape()[axis].value();
        if (n < 3) return {};
        Shape start(rank, 0), stop = x->shape();
        Ints steps(rank, 1);
        start[axis] = 1;
        stop[axis] = n - 1 + below(2);
        steps[axis] = 1 + below(2);
        return build::slice(x, start, stop, steps);
      }
      case 11: {  // regroup
        if (rank == 0) return {};
        int64_t total = volume(x->shape()).value();
        for (int64_t f : {4, 8, 3, 2})
          if (total % f == 0 && total > f && chance(0.5)) return build::reshape(x, {total / f, f});
        return build::reshape(x, {total});
      }
      case 12: {
        if (rank == 0) return {};
        NodeRef y = partner(v, x);
        int64_t axis = static_cast<int64_t>(below(rank));
        if (x->shape()[axis].value() > 200) return {};
        return build::concatenate({x, y}, axis);
      }
      case 13: {
        if (rank == 0) return {};
        Shape low(rank, 0), high(rank, 0);
        int64_t axis = static_cast<int64_t>(below(rank));
        if (style_.wide && chance(0.5)) return slid(x, axis);
        low[axis] = below(3);
        high[axis] = below(3);
        return build::pad(x, build::constant(Scalar(0.5), dtype_), low, high);
      }
      case 14: {  // a contraction with whatever fits
        if (rank != 2) return {};
        for (int t = 0; t < 6; ++t) {
          const NodeRef& y = v[below(v.size())];
          if (y->rank() == 2 && y->shape()[0] == x->shape()[1])
            return build::contract(x, y, "mk,kn->mn") * (1.0 / x->shape()[1].value());
          if (y->rank() == 2 && y->shape()[1] == x->shape()[1])
            return build::contract(x, y, "mk,nk->mn") * (1.0 / x->shape()[1].value());
          if (y->rank() == 1 && y->shape()[0] == x->shape()[1])
            return build::contract(x, y, "mk,k->m") * (1.0 / x->shape()[1].value());
        }
        return {};
      }
      default: {  // a recurrence from x, with a trajectory or without
        int64_t scope = build::fresh_scope();
        NodeRef t = build::parameter(0, {Dtype::i64, {}}, scope), c = build::parameter(1, x->type(), scope);
        NodeRef y = partner(v, x);
        NodeRef time = build::broadcast_to(build::convert(t, dtype_) * 0.1, x->shape());
        Nodes states{c}, start{x};
        NodeRef next = tame(c * 0.75 + y * 0.25 + time);
        if (style_.wide && chance(0.3)) {
          states.push_back(build::parameter(2, x->type(), scope));
          start.push_back(x * 0.5);
          next = tame(next - states[1] * 0.5);
        }
        if (rank > 0 && chance(0.2)) {  // a state that mixes along an axis
          NodeRef s = build::reduce(largest(), c, {rank - 1});
          Ints axes;
          for (int d = 0; d + 1 < rank; ++d) axes.push_back(d);
          next = tame(next + build::broadcast(s, x->shape(), axes) * 0.1);
        }
        Nodes results{next};
        if (states.size() > 1) results.push_back(c);
        bool rows = chance(0.4);
        if (rows) results.push_back(chance(0.5) ? c * 2.0 : next);
        Nodes parameters{t};
        parameters.insert(parameters.end(), states.begin(), states.end());
        build::Closed body = build::close(parameters, results);
        Nodes inputs = start;
        inputs.insert(inputs.end(), body.captured.begin(), body.captured.end());
        const int64_t length = pick({1, 2, 5});
        const bool reverse = style_.wide && chance(0.4);
        NodeRef s = make_scan(body.graph, inputs, states.size(), length, reverse);
        return build::item(s, rows && chance(0.7) ? std::ssize(states) : 0);
      }
    }
  }

  static NodeRef make_scan(const GraphRef& body, const Nodes& inputs, size_t carries, int64_t length,
                           bool reverse) {
    return tenfold::make("scan", inputs,
                         {{"body", body},
                          {"carries", static_cast<int64_t>(carries)},
                          {"xs", int64_t{0}},
                          {"length", Shape{length}},
                          {"reverse", int64_t{reverse}}});
  }
};

}  // namespace tenfold::testing
