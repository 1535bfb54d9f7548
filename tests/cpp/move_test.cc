#include "tenfold/ir/space.h"
#include "tenfold/ir/text.h"
#include "tenfold/rewrite/simplify.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

const Type kMatrix{Dtype::f64, {2, 3}};
const Array kSix = array(Dtype::f64, {2, 3}, {0, 1, 2, 3, 4, 5});

Graph of_matrix(const std::function<NodeRef(const NodeRef&)>& f) {
  return graph_of({kMatrix}, [&](const Nodes& p) { return Nodes{f(p[0])}; });
}

// A space that only makes fresh atoms: 100, 101 ...
struct Fresh : Space {
  AtomId next = 100;
  Form fresh(const Dim& extent, std::string_view) override {
    return extent == Dim(1) ? Form::point() : Form::of(next++);
  }
  Forms reshape(const Shape&, const Forms&, const Shape& from) override {
    return Forms(from.size(), Form::all());
  }
};

Relation relation_of(const NodeRef& node) {
  Fresh space;
  Forms out;
  for (int d = 0; d < node->rank(); ++d) out.push_back(Form::of(d));
  return node->prim->relation(*node, out, space);
}

Form plus(AtomId atom, int64_t offset, int64_t coefficient = 1) {
  return {offset, {{atom, coefficient}}, false};
}

// What each move of a 2x3 matrix 0..5 gives, and that it keeps both laws.
TEST(Move, Values) {
  const auto pads = [](const NodeRef& x) { return pad(x, constant(9, Dtype::f64), {1, 0}, {0, 2}); };
  struct Case {
    std::function<NodeRef(const NodeRef&)> move;
    Shape shape;
    std::vector<double> wanted;
  };
  const std::vector<Case> cases = {
      {[](const NodeRef& x) { return broadcast(x, {2, 2, 3}, {0, 2}); },
       {2, 2, 3},
       {0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}},
      {[](const NodeRef& x) { return broadcast(slice_axis(x, 1, 2, 3), {2, 2}, {0, 1}); },
       {2, 2},
       {2, 2, 5, 5}},
      {[](const NodeRef& x) { return reshape(x, {3, 2}); }, {3, 2}, {0, 1, 2, 3, 4, 5}},
      {[](const NodeRef& x) { return transpose(x, {1, 0}); }, {3, 2}, {0, 3, 1, 4, 2, 5}},
      {[](const NodeRef& x) { return transpose(reshape(x, {1, 2, 3}), {1, 2, 0}); },
       {2, 3, 1},
       {0, 1, 2, 3, 4, 5}},
      {[](const NodeRef& x) { return slice(x, {0, 1}, {2, 3}, {1, 1}); }, {2, 2}, {1, 2, 4, 5}},
      {[](const NodeRef& x) { return slice(x, {1, 0}, {2, 3}, {1, 2}); }, {1, 2}, {3, 5}},
      {[](const NodeRef& x) { return slice(reshape(x, {6}), {1}, {6}, {3}); }, {2}, {1, 4}},
      {[](const NodeRef& x) { return slice(reshape(x, {6}), {1}, {3}, {4}); }, {1}, {1}},
      {[](const NodeRef& x) { return slice(x, {1, 2}, {1, 3}, {1, 1}); }, {0, 1}, {}},
      {pads, {3, 5}, {9, 9, 9, 9, 9, 0, 1, 2, 9, 9, 3, 4, 5, 9, 9}},
      {[](const NodeRef& x) { return concatenate({x, x}, 0); }, {4, 3}, {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}},
      {[](const NodeRef& x) { return concatenate({x, slice_axis(x, 1, 0, 0), slice_axis(x, 1, 1, 2)}, 1); },
       {2, 4},
       {0, 1, 2, 1, 3, 4, 5, 4}},
      {[](const NodeRef& x) { return reverse(x, {1}); }, {2, 3}, {2, 1, 0, 5, 4, 3}},
      {[](const NodeRef& x) { return reverse(x, {0, 1}); }, {2, 3}, {5, 4, 3, 2, 1, 0}},
      {[](const NodeRef& x) { return window(x, {1}, {2}, {1}, {1}); }, {2, 2, 2}, {0, 1, 1, 2, 3, 4, 4, 5}},
      {[](const NodeRef& x) { return window(reshape(x, {6}), {0}, {2}, {2}, {3}); }, {2, 2}, {0, 3, 2, 5}},
      {[](const NodeRef& x) { return window(reshape(x, {6}), {0}, {1}, {4}, {1}); }, {2, 1}, {0, 4}},
      {[](const NodeRef& x) { return window(x, {1, 0}, {3, 2}, {1, 1}, {1, 1}); },
       {1, 1, 3, 2},
       {0, 3, 1, 4, 2, 5}},
  };
  for (const Case& c : cases) {
    const Graph graph = of_matrix(c.move);
    EXPECT_EQ(graph.results[0]->shape(), c.shape);
    EXPECT_EQ(run(graph, {kSix}), c.wanted) << print(graph);
    expect_well_formed(graph);
    expect_batches(graph);
    if (!c.wanted.empty()) expect_gradients(graph);
  }
}

// Two operands: a batched value of a pad, and pieces of which only some are batched.
TEST(Move, TwoOperands) {
  const Graph padded = graph_of({kMatrix, {Dtype::f64, {}}},
                                [](const Nodes& p) { return Nodes{pad(p[0], p[1], {0, 1}, {2, 1})}; });
  expect_batches(padded);
  expect_gradients(padded);
  const Graph joined =
      graph_of({kMatrix, kMatrix}, [](const Nodes& p) { return Nodes{concatenate({p[0], p[1], p[0]}, 1)}; });
  expect_batches(joined);
  expect_gradients(joined);
}

Graph back(const Shape& shape, Ints axes, Ints taps, Ints stride, Ints dilation, Dtype d = Dtype::f64) {
  const NodeRef whole = parameter(0, {d, shape});
  return graph_of({window(whole, axes, taps, stride, dilation)->type()}, [&](const Nodes& p) {
    return Nodes{
        make("overlap_add", {p[0]},
             {{"shape", shape}, {"axes", axes}, {"taps", taps}, {"stride", stride}, {"dilation", dilation}})};
  });
}

// The transpose of a window adds what overlaps; its expansion, tap after tap, gives the same.
TEST(Move, WindowsAreAddedBack) {
  const std::vector<double> eight{1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(run(back({5}, {0}, {2}, {1}, {1}), {array(Dtype::f64, {4, 2}, eight)}),
            (std::vector<double>{1, 5, 9, 13, 8}));
  EXPECT_EQ(run(back({6}, {0}, {4}, {2}, {1}), {array(Dtype::f64, {2, 4}, eight)}),
            (std::vector<double>{1, 2, 8, 10, 7, 8}));
  EXPECT_EQ(run(back({9}, {0}, {2}, {2}, {1}), {array(Dtype::f64, {4, 2}, eight)}),
            (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 0}));
  const std::vector<Graph> graphs = {back({5}, {0}, {2}, {1}, {1}),
                                     back({2, 7}, {1}, {3}, {2}, {1}),
                                     back({3, 8, 9}, {2, 1}, {2, 3}, {3, 1}, {4, 2}),
                                     back({4, 6}, {0, 1}, {2, 3}, {2, 3}, {1, 1}),
                                     back({2, 7}, {1}, {1}, {3}, {1}),
                                     back({9, 2}, {0}, {2}, {4}, {2})};
  for (const Graph& graph : graphs) {
    expect_well_formed(graph);
    expect_batches(graph);
    expect_gradients(graph);
    const std::vector<Array> in = random_arguments(graph, 3);
    const std::vector<double> meant = run(graph, in), core = run(expand(graph), in);
    for (size_t i = 0; i < meant.size(); ++i) EXPECT_NEAR(meant[i], core[i], 1e-12) << print(graph);
  }
  const Graph whole = back({5}, {0}, {2}, {1}, {1}, Dtype::u8);  // integers wrap
  EXPECT_EQ(run(whole, {array(Dtype::u8, {4, 2}, {0, 200, 100, 0, 0, 0, 0, 0})})[1], 44);
}

// After a contraction, adding back is a contraction over windows.
TEST(Move, WindowsOfAContractionAreAddedBackByOne) {
  for (const int64_t stride : {1, 2})
    for (const int64_t dilation : {1, 2}) {
      const Shape shape{2, 9, 3};
      const Dim positions = floordiv(Dim(9 - 2 * dilation - 1), stride) + 1;
      for (const bool swapped : {false, true}) {
        const Graph graph =
            graph_of({{Dtype::f64, {2, 4, positions}}, {Dtype::f64, {4, 3, 3}}}, [&](const Nodes& p) {
              const NodeRef products =
                  swapped ? contract(p[1], p[0], "ock,nop->npck") : contract(p[0], p[1], "nop,ock->npck");
              return Nodes{make("overlap_add", {products},
                                {{"shape", shape},
                                 {"axes", Ints{1}},
                                 {"taps", Ints{3}},
                                 {"stride", Ints{stride}},
                                 {"dilation", Ints{dilation}}})};
            });
        expect_gradients(graph);
        const Graph core = expand(graph);
        int products = 0;  // the rest are moves: the phases of a stride are interleaved
        for (const NodeRef& n : topological(core.results)) {
          products += n->prim->kind == Kind::contract;
          EXPECT_TRUE(n->prim->kind == Kind::contract || n->prim->kind == Kind::move ||
                      n->prim->kind == Kind::leaf)
              << print(core);
        }
        EXPECT_EQ(products, 1) << print(core);
        const std::vector<Array> in = random_arguments(graph, 5);
        const std::vector<double> meant = run(graph, in), made = run(core, in);
        for (size_t i = 0; i < meant.size(); ++i) EXPECT_NEAR(meant[i], made[i], 1e-12) << print(core);
      }
    }
}

TEST(Move, EveryDtypeMoves) {
  for (int d = 0; d < kDtypeCount; ++d) {
    const auto dtype = static_cast<Dtype>(d);
    const Graph graph = graph_of({{dtype, {2, 2}}}, [](const Nodes& p) {
      return Nodes{reverse(concatenate({transpose(p[0], {1, 0}), p[0]}, 0), {0})};
    });
    const Array x = random_arguments(graph, 5)[0];
    const Array y = evaluate(graph, std::vector<Array>{x})[0];
    const int64_t order[] = {2, 3, 0, 1, 1, 3, 0, 2};
    for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(y.at(i), x.at(order[i])) << name(dtype);
  }
}

TEST(Move, HelpersLeaveOutWhatDoesNothing) {
  const NodeRef x = parameter(0, kMatrix);
  EXPECT_EQ(reshape(x, {2, 3}), x);
  EXPECT_EQ(transpose(x, {0, 1}), x);
  EXPECT_EQ(broadcast(x, {2, 3}, {0, 1}), x);
  EXPECT_EQ(slice(x, {0, 0}, {2, 3}, {1, 1}), x);
  EXPECT_EQ(pad(x, constant(0, Dtype::f64), {0, 0}, {0, 0}), x);
  EXPECT_EQ(concatenate({x}, 0), x);
  EXPECT_EQ(reverse(x, {}), x);
  EXPECT_EQ(convert(x, Dtype::f64), x);
}

TEST(Move, Symbolic) {
  const Dim n = Dim::symbol({"move_n", 0, 64, 10});
  const Graph graph = graph_of({{Dtype::f64, {n}}}, [&](const Nodes& p) {
    return Nodes{slice(p[0], {floordiv(n, 2)}, {n}, {1}),
                 slice(p[0], {0}, {n}, {3}),
                 pad(p[0], constant(0, Dtype::f64), {1}, {n}),
                 concatenate({p[0], p[0]}, 0),
                 reshape(p[0], {n, 1}),
                 reverse(p[0], {0})};
  });
  expect_well_formed(graph);
  for (const int64_t size : {0, 1, 2, 5, 6}) {
    Array x(Dtype::f64, {size});
    for (int64_t i = 0; i < size; ++i) x.set(i, static_cast<double>(i + 1));
    const std::vector<Array> got = evaluate(graph, std::vector<Array>{x});
    EXPECT_EQ(got[0].size(), size - size / 2);
    EXPECT_EQ(got[1].size(), (size + 2) / 3);
    EXPECT_EQ(got[2].size(), 2 * size + 1);
    if (size > 0) expect_gradients(graph, {x}, false);
  }
}

TEST(Move, Relations) {
  const NodeRef x = parameter(0, kMatrix), column = parameter(0, {Dtype::f64, {2, 1}});
  EXPECT_EQ(relation_of(broadcast(x, {2, 5, 3}, {0, 2})).inputs[0], (Forms{Form::of(0), Form::of(2)}));
  EXPECT_EQ(relation_of(broadcast(column, {2, 3}, {0, 1})).inputs[0], (Forms{Form::of(0), Form::point()}));
  EXPECT_EQ(relation_of(transpose(parameter(0, {Dtype::f64, {2, 3, 4}}), {2, 0, 1})).inputs[0],
            (Forms{Form::of(1), Form::of(2), Form::of(0)}));
  EXPECT_EQ(relation_of(slice(x, {1, 0}, {2, 3}, {1, 2})).inputs[0], (Forms{plus(0, 1), plus(1, 0, 2)}));
  EXPECT_EQ(relation_of(reverse(x, {1})).inputs[0], (Forms{Form::of(0), plus(1, 2, -1)}));
  const Relation padded = relation_of(pad(x, constant(0, Dtype::f64), {1, 0}, {0, 2}));
  EXPECT_EQ(padded.inputs, (std::vector<Forms>{{plus(0, -1), Form::of(1)}, {}}));
  const Relation joined = relation_of(concatenate({x, column, x}, 1));
  EXPECT_EQ(joined.inputs,
            (std::vector<Forms>{
                {Form::of(0), Form::of(1)}, {Form::of(0), plus(1, -3)}, {Form::of(0), plus(1, -4)}}));
  const Forms windows = relation_of(window(x, {1}, {2}, {1}, {1})).inputs[0];
  EXPECT_EQ(windows, (Forms{Form::of(0), {0, {{1, 1}, {2, 1}}, false}}));
  const NodeRef line = parameter(0, {Dtype::f64, {20}});
  EXPECT_EQ(relation_of(window(line, {0}, {3}, {2}, {5})).inputs[0], (Forms{{0, {{1, 5}, {0, 2}}, false}}));
  EXPECT_TRUE(prim("pad").has("piecewise") && prim("concatenate").has("piecewise"));
}

TEST(Move, ErrorsInFull) {
  const NodeRef x = parameter(0, kMatrix);
  const auto error = [](const std::function<void()>& act) { return error_of(act); };
  EXPECT_EQ(error([&] { broadcast(x, {3, 3}, {0, 1}); }),
            "broadcast: f64[2,3] does not fit [3,3]: its dimension 0 is 2 and becomes axis 0, which is 3; it "
            "must be 3 or 1");
  EXPECT_EQ(error([&] { broadcast(x, {2, 3}, {0}); }),
            "broadcast: axes has 1 entry, but f64[2,3] has 2 dimensions; give one entry for each");
  EXPECT_EQ(error([&] { broadcast(x, {3, 2}, {1, 0}); }),
            "broadcast: axes [1,0] must ascend; transpose before the broadcast to change the order");
  EXPECT_EQ(error([&] { broadcast(x, {2, 3}, {0, 2}); }),
            "broadcast: dimension 1 of f64[2,3] is sent to axis 2, but the result [2,3] has axes 0 to 1");
  EXPECT_EQ(error([&] { reshape(x, {4, 2}); }),
            "reshape: f64[2,3] has 6 elements and [4,2] has 8; they must be as many");
  EXPECT_EQ(error([&] { transpose(x, {0, 0}); }),
            "transpose: axis 0 stands twice in [0,0]; name each axis once");
  EXPECT_EQ(error([&] { transpose(x, {0, 2}); }),
            "transpose: axis 2 does not exist in f64[2,3]; axes go from 0 to 1");
  EXPECT_EQ(error([&] { slice(x, {0, 0}, {2, 4}, {1, 1}); }),
            "slice: axis 1 of f64[2,3] is cut from 0 to 4; it needs 0 <= start <= stop <= 3");
  EXPECT_EQ(error([&] { slice(x, {0, 0}, {2, 3}, {1, 0}); }),
            "slice: the step of axis 1 is 0; it must be at least 1 (reverse the axis for a negative one)");
  EXPECT_EQ(error([&] { pad(x, constant(0, Dtype::f32), {1, 0}, {0, 0}); }),
            "pad: the value is f32[], but it must be one f64 as the elements of f64[2,3] are: f64[]");
  EXPECT_EQ(error([&] { pad(x, constant(0, Dtype::f64), {-1, 0}, {0, 0}); }),
            "pad: axis 0 of f64[2,3] is padded by -1 and 0; both must be at least 0 (use slice to cut)");
  EXPECT_EQ(error([&] { concatenate({x, parameter(1, {Dtype::f64, {3, 3}})}, 1); }),
            "concatenate: input 1 is f64[3,3] and input 0 is f64[2,3]; along axis 1 they must agree in dtype "
            "and in every other extent");
  EXPECT_EQ(error([&] { concatenate({x, x}, 2); }),
            "concatenate: axis 2 does not exist in f64[2,3]; axes go from 0 to 1");
  EXPECT_EQ(error([&] { reverse(x, {-1}); }),
            "reverse: axis -1 does not exist in f64[2,3]; axes go from 0 to 1");
  EXPECT_EQ(
      error([&] { window(x, {1}, {2}, {1}, {3}); }),
      "window: a window of 2 taps with dilation 3 reaches over 4 elements, but axis 1 of f64[2,3] has 3; "
      "pad it first, or take fewer taps");
  EXPECT_EQ(error([&] { window(x, {2}, {2}, {1}, {1}); }),
            "window: axis 2 does not exist in f64[2,3]; axes go from 0 to 1");
  EXPECT_EQ(error([&] { window(x, {1, 1}, {2, 2}, {1, 1}, {1, 1}); }),
            "window: axis 1 stands twice in [1,1]; name each axis once");
  EXPECT_EQ(error([&] { window(x, {0, 1}, {2}, {1, 1}, {1, 1}); }),
            "window: taps has 1 entries and axes has 2; give one entry for each axis");
  EXPECT_EQ(error([&] { window(x, {1}, {2}, {0}, {1}); }),
            "window: stride has the entry 0; it must be at least 1");
  EXPECT_EQ(error([&] {
              make("overlap_add", {x},
                   {{"shape", Shape{5}},
                    {"axes", Ints{0}},
                    {"taps", Ints{2}},
                    {"stride", Ints{1}},
                    {"dilation", Ints{1}}});
            }),
            "overlap_add: x is f64[2,3], but the windows of f64[5] are f64[4,2]");
}

}  // namespace
}  // namespace tenfold
