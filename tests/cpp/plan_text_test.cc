// Plans as text: they print, parse and replay; what is wrong in one is said with its place.
#include <cstdlib>
#include <cstring>
#include <random>

#include "tenfold/compile/explain.h"
#include "tenfold/plan/text.h"
#include "tenfold/plan/verify.h"

#include "graph_testing.h"
#include "random_graph.h"

namespace tenfold {
namespace {

using namespace build;  // NOLINT: operators on nodes
using compile::Executable;
using plan::parse_plan;
using plan::Plan;
using testing::body_of;
using testing::error_of;
using testing::Generator;
using testing::graph_of;
using ::testing::HasSubstr;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kGraphs = 12;
#else
constexpr int kGraphs = 150;
#endif

// ---- what a plan is, but for its nodes

std::string described(const std::vector<plan::Step>& steps);

std::string described(const plan::Step& step) {
  if (const auto* l = std::get_if<plan::Launch>(&step.what)) {
    tile::Kernel kernel = tile::clone(*l->kernel);
    kernel.name = "k";
    const plan::Cost& c = l->cost;
    return fmt::format("{} {} {} {} {} {} {} {} {} {} {}\n", fmt::join(l->buffers, ","), c.seconds,
                       c.bytes_read, c.bytes_written, c.flops, c.memory_seconds, c.compute_seconds, c.serial,
                       l->operations, l->loops, tile::print(kernel));
  }
  if (const auto* c = std::get_if<plan::Copy>(&step.what)) {
    std::string text = fmt::format("{} {}", c->from, c->to);
    for (const auto& start : c->starts) text += fmt::format(" {}/{}", start.buffer, start.value);
    return text + "\n";
  }
  const plan::Repeat& r = *std::get<std::shared_ptr<plan::Repeat>>(step.what);
  std::string text = fmt::format("{} {} {} {}", r.length.str(), r.reverse, r.step, r.go);
  for (const auto& c : r.carries) text += fmt::format(" {}/{}/{}", c.init, c.value, c.next);
  for (const auto& s : r.reads) text += fmt::format(" r{}/{}", s.whole, s.part);
  for (const auto& s : r.writes) text += fmt::format(" w{}/{}", s.whole, s.part);
  return text + "\n[\n" + described(r.condition) + "][\n" + described(r.body) + "]\n";
}

std::string described(const std::vector<plan::Step>& steps) {
  std::string text;
  for (const plan::Step& step : steps) text += described(step);
  return text;
}

std::string described(const Plan& p) {
  std::string text;
  for (const plan::Buffer& b : p.buffers)
    text += fmt::format("{} {} {}\n", b.type.str(), static_cast<int>(b.kind), b.index);
  return fmt::format("{}{}{}{}", text, described(p.steps), fmt::join(p.notes, "\n"), p.seconds);
}

// ---- running

using Results = std::vector<std::vector<std::byte>>;

Results run(const Executable& e, const std::vector<Array>& inputs, const std::vector<int64_t>& symbols = {}) {
  std::vector<BufferRef> buffers, outputs(e.graph().results.size());
  std::vector<void*> data;
  for (const Array& input : inputs) {
    buffers.push_back(std::make_shared<Buffer>(input.bytes.size()));
    if (!input.bytes.empty()) std::memcpy(buffers.back()->data(), input.bytes.data(), input.bytes.size());
    data.push_back(buffers.back()->data());
  }
  for (const auto& [parameter, result] : e.donated()) outputs[result] = buffers[parameter];
  e.run(data, symbols, outputs);
  Results out;
  for (const BufferRef& b : outputs) out.emplace_back(b->data(), b->data() + b->bytes());
  return out;
}

// The plan survives its text, and the text gives the same bits. Returns the text.
std::string expect_replays(const Graph& graph, const std::vector<Array>& inputs,
                           compile::Options options = {}, const std::vector<int64_t>& symbols = {}) {
  const auto own = compile::compile(graph, options);
  const std::string text = plan::print(own->plan());
  SCOPED_TRACE(text);
  try {
    const Plan parsed = parse_plan(text);
    EXPECT_EQ(plan::print(parsed), text);
    if (graph.names.empty()) {
      EXPECT_EQ(described(parsed), described(own->plan()));
    }
    options.plan = text;
    const auto replayed = compile::compile(graph, options);
    EXPECT_NE(replayed, own);
    EXPECT_EQ(replayed->donated(), own->donated());
    EXPECT_EQ(compile::explain(replayed).bytes_read, compile::explain(own).bytes_read);
    EXPECT_EQ(run(*replayed, inputs, symbols), run(*own, inputs, symbols));
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  return text;
}

std::string expect_replays(const Graph& graph, const compile::Options& options = {}) {
  return expect_replays(graph, testing::random_arguments(graph, 1), options);
}

class PlanReplay : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("TENFOLD_CACHE_DIR", "", 1); }
  void TearDown() override { compile::clear_cache(); }
};

TEST_F(PlanReplay, RandomGraphsReplay) {
  for (int seed = 0; seed < kGraphs && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const auto made = Generator(seed, Dtype::f32, {.smooth = false, .wide = true}).make(3 + seed % 12);
    compile::Options options;
    options.fuse = seed % 3 != 0;
    expect_replays(made.graph, options);
  }
}

constexpr int64_t kLong = 1 << 20;  // a state that no scratch holds, so that its loop is one of launches
const Type kRow{Dtype::f32, {1000}}, kState{Dtype::f32, {kLong}}, kStep{Dtype::i64, {}};

TEST_F(PlanReplay, LoopsOfLaunchesReplay) {
  // A state that mixes, rows that are read and written.
  const auto body = body_of({kStep, kState, kState}, [](const Nodes& p) {
    const NodeRef sum = broadcast(reduce("sum", p[1], {0}) * 0.001, {kLong}, {});
    return Nodes{p[1] * 0.5 + p[2] - sum, p[1] + sum};
  });
  for (const bool reverse : {false, true})
    for (const int64_t length : {5, 6}) {
      const Graph graph = graph_of({kState, {Dtype::f32, {length, kLong}}}, [&](const Nodes& p) {
        return scan(body, {p[0]}, {p[1]}, {}, length, reverse);
      });
      const std::string text = expect_replays(graph);
      EXPECT_THAT(text, HasSubstr("\n  repeat "));
    }
}

TEST_F(PlanReplay, WhileLoopsReplay) {
  const auto go = body_of({kState}, [](const Nodes& p) {
    return Nodes{map("less", {reduce("sum", p[0], {0}), constant(1e8, Dtype::f32)})};
  });
  const auto body = body_of({kState}, [](const Nodes& p) {
    return Nodes{p[0] * 1.5 + broadcast(reduce("max", p[0], {0}), {kLong}, {}) + 1.0};
  });
  const Graph graph = graph_of({kState}, [&](const Nodes& p) { return while_loop(go, body, {p[0]}, {}); });
  EXPECT_THAT(expect_replays(graph), HasSubstr("\n  while {"));
}

TEST_F(PlanReplay, DonatedUpdatesReplay) {
  const Type cache{Dtype::f32, {1000, 16}}, row{Dtype::f32, {1, 16}};
  const Graph graph = graph_of({cache, row, kStep}, [](const Nodes& p) {
    return Nodes{make("update_slice", {p[0], p[1] * 2.0, p[2], constant(0, Dtype::i64)})};
  });
  compile::Options options;
  options.donate = {{0, 0}};
  EXPECT_THAT(expect_replays(graph, options), HasSubstr(" at ["));
}

TEST_F(PlanReplay, SymbolsReplay) {
  const Dim n = Dim::symbol({.name = "plan_text_n", .lower = 1, .upper = 4096, .hint = 100});
  const Graph graph = graph_of({{Dtype::f32, {n, 33}}, {Dtype::f32, {33}}}, [&](const Nodes& p) {
    const NodeRef y = p[0] * broadcast(p[1], {n, 33}, {1});
    return Nodes{y - broadcast(reduce("max", y, {0}), {n, 33}, {1}), reduce("sum", y, {1})};
  });
  for (const int64_t count : {1, 7, 1000}) {
    std::vector<Array> inputs{Array(Dtype::f32, {count, 33}), Array(Dtype::f32, {33})};
    for (Array& a : inputs)
      for (int64_t i = 0; i < a.size(); ++i) a.set(i, static_cast<double>(i % 17) - 3);
    expect_replays(graph, inputs, {}, {count});
  }
}

TEST_F(PlanReplay, NamesBecomeWords) {
  Graph graph = graph_of({kRow, kRow, kRow}, [](const Nodes& p) { return Nodes{p[0] + p[1] * p[2]}; });
  graph.names = {"out", "\xc3\xa9t\xc3\xa9", "inf"};
  const std::string text = expect_replays(graph);
  EXPECT_THAT(text, HasSubstr("(out, buffer, buffer_2, r0)"));
  EXPECT_THAT(text, HasSubstr("(out_2: f32"));
}

// ---- edited by hand

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " is not in\n" << text;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

constexpr const char* kPlan = R"(tenfold 1
plan {
  buffer x: f32[100] input 0
  buffer y: f32[100] output 0
  buffer z: f32[] output 1
  buffer t: f32[100] temporary
  launch double(x, t) serial
  launch half(x, y)
  launch sum(t, z) seconds 1e-06
}

kernel double(x: f32[100], out y: f32[100]) {
  atom io in 2, ii in 64
  vector ii
  guard 64*io + ii < 100
  grid io {
    %0 = load x[64*io + ii] : f32[ii]
    %1 = add %0, %0 : f32[ii]
    store y[64*io + ii] = %1
  }
}

kernel half(x: f32[100], out y: f32[100]) {
  atom io in 4, ii in 25
  vector ii
  grid io {
    %0 = load x[25*io + ii] : f32[ii]
    %1 = constant 0.5 : f32[]
    %2 = mul %0, %1 : f32[ii]
    store y[25*io + ii] = %2
  }
}

kernel sum(x: f32[100], out y: f32[]) {
  atom i in 100
  grid {
    %s = fill f32[] 0.0
    for i {
      %0 = load x[i] : f32[]
      %s = accumulate add %0 : f32[]
    }
    store y[] = %s
  }
}
)";

Graph half_and_sum() {
  return graph_of({{Dtype::f32, {100}}},
                  [](const Nodes& p) { return Nodes{p[0] * 0.5, reduce("sum", p[0] + p[0], {0})}; });
}

TEST_F(PlanReplay, EditsReplay) {
  const Graph graph = half_and_sum();
  const std::vector<Array> inputs = testing::random_arguments(graph, 1);
  Results expected;
  for (const std::string& text : {std::string(kPlan),
                                  replaced(replaced(kPlan, "launch double(x, t) serial\n  launch half(x, y)",
                                                    "launch half(x, y)\n  launch double(x, t)"),
                                           "seconds 1e-06", ""),
                                  // Another tile, and a buffer under another shape.
                                  replaced(replaced(replaced(kPlan, "io in 4, ii in 25", "io in 25, ii in 4"),
                                                    "load x[25*io + ii]", "load x[io, ii]"),
                                           "half(x: f32[100]", "half(x: f32[25,4]")}) {
    const std::string fixed =
        replaced(text, "store y[25*io + ii]",
                 text.find("io in 25") == std::string::npos ? "store y[25*io + ii]" : "store y[4*io + ii]");
    const auto e = compile::compile(graph, {.plan = fixed});
    const Results results = run(*e, inputs);
    if (expected.empty()) expected = results;
    EXPECT_EQ(results, expected);
    const compile::Explanation explanation = compile::explain(e);
    EXPECT_EQ(explanation.launches, 3);
    EXPECT_THAT(explanation.str(), HasSubstr("\nhalf\n  memory"));
    EXPECT_THAT(explanation.html(), HasSubstr("half"));
  }
  const Results own = run(*compile::compile(graph), inputs);
  EXPECT_EQ(own[0], expected[0]);
}

TEST_F(PlanReplay, APlanMustFitTheProgram) {
  const auto error = [](const Graph& graph, const std::string& text, bool interpret = false) {
    return error_of([&] { compile::compile(graph, {.interpret = interpret, .plan = text}); });
  };
  const Type hundred{Dtype::f32, {100}};
  EXPECT_EQ(error(graph_of({hundred}, [](const Nodes& p) { return Nodes{p[0] * 0.5}; }), kPlan),
            "the plan does not fit the program: it has 2 outputs, but the program has 1");
  EXPECT_EQ(error(graph_of({{Dtype::f64, {100}}},
                           [](const Nodes& p) { return Nodes{p[0] * 0.5, reduce("sum", p[0], {0})}; }),
                  kPlan),
            "the plan does not fit the program: its input 0 is f32[100], but the program's is f64[100]");
  EXPECT_EQ(error(graph_of({hundred, hundred},
                           [](const Nodes& p) { return Nodes{p[0] * 0.5, reduce("sum", p[1], {0})}; }),
                  kPlan),
            "the plan does not fit the program: it has 1 input, but the program has 2");
  EXPECT_EQ(error(half_and_sum(), kPlan, true),
            "a plan is given, but the interpreter is asked for: it runs the graph, no plan");
  EXPECT_EQ(
      error(half_and_sum(), replaced(replaced(replaced(kPlan, "plan {", "symbol plan_text_m in 1..9\nplan {"),
                                              "launch half", "repeat plan_text_m { }\n  launch half"),
                                     "buffer t: f32[100] temporary",
                                     "buffer t: f32[100] temporary\n  buffer u: f32[plan_text_m] temporary")),
      "the plan does not fit the program: it uses the symbol plan_text_m, which the program has not");
}

// Bounds hold at the samples that tile::verify takes, not at every value.
TEST_F(PlanReplay, SymbolsAreCheckedAsTheyCome) {
  const Dim n = Dim::symbol({.name = "plan_text_k", .lower = 1, .upper = 1000, .hint = 100});
  const Graph graph = graph_of({{Dtype::f32, {n}}}, [](const Nodes& p) { return Nodes{p[0] + p[0]}; });
  const std::string text = R"(tenfold 1
symbol plan_text_k in 1..1000 hint 100
plan {
  buffer x: f32[plan_text_k] input 0
  buffer y: f32[plan_text_k] output 0
  launch double(x, y)
}
kernel double(x: f32[plan_text_k], out y: f32[plan_text_k]) {
  atom i in plan_text_k
  grid i {
    %0 = load x[i] : f32[]
    %1 = add %0, %0 : f32[]
    store y[i + 900*min(1, max(0, plan_text_k - 500)) - 900*min(1, max(0, plan_text_k - 600))] = %1
  }
}
)";
  const auto e = compile::compile(graph, {.plan = text});
  const auto call = [&](int64_t count) {
    Array x(Dtype::f32, {count});
    for (int64_t i = 0; i < count; ++i) x.set(i, static_cast<double>(i));
    return run(*e, {x}, {count})[0].size();
  };
  EXPECT_EQ(call(100), 400u);
  EXPECT_EQ(call(500), 2000u);
  EXPECT_EQ(call(700), 2800u);
  EXPECT_THAT(error_of([&] { call(550); }),
              HasSubstr("the plan cannot run for plan_text_k=550: double: `store y["));
}

// ---- malformed texts

struct Malformed {
  const char *from, *to, *error;
};

constexpr const char* kLoop = R"(tenfold 1
plan {
  buffer x: f32[4] input 0
  buffer rows: f32[3,4] input 1
  buffer y: f32[4] output 0
  buffer all: f32[3,4] output 1
  buffer next: f32[4] temporary
  buffer row: f32[4] temporary
  buffer out: f32[4] temporary
  buffer i: i64[] temporary
  repeat 3 step i {
    carry y = x next next
    read row of rows
    write out of all
    launch add(y, row, next)
    launch add(y, row, out)
  }
}
kernel add(x: f32[4], y: f32[4], out z: f32[4]) {
  atom i in 4
  vector i
  grid {
    %0 = load x[i] : f32[i]
    %1 = load y[i] : f32[i]
    %2 = add %0, %1 : f32[i]
    store z[i] = %2
  }
}
)";

void expect_errors(const char* plan, std::initializer_list<Malformed> table) {
  for (const Malformed& m : table)
    EXPECT_EQ(error_of([&] { parse_plan(replaced(plan, m.from, m.to), "p.ten"); }), m.error);
}

TEST_F(PlanReplay, ErrorsInFull) {
  EXPECT_EQ(error_of([] { parse_plan(""); }), "<plan>:1:1: expected 'tenfold', found the end of the text");
  expect_errors(
      kPlan,
      {{"tenfold 1", "tenfold 2", "p.ten:1:9: this tenfold reads version 1 of the format"},
       {"plan {", "plan seconds -1 {", "p.ten:2:14: the plan's seconds must be from 0 to 1e+17"},
       {"plan {", "symbol n in 5..2 plan {", "p.ten:2:8: dimension n has no values: its bounds are [5, 2]"},
       {"input 0", "input 1", "p.ten:3:10: input 1 is one of 1: they are counted from 0"},
       {"input 0", "input -1", "p.ten:3:28: there is no input -1"},
       {"output 1", "output 0", "p.ten:5:10: output 0 stands twice"},
       {"output 1", "", "p.ten:6:3: expected 'input', 'output', 'laid' or 'temporary'"},
       {"buffer t", "buffer x", "p.ten:6:10: two buffers are named 'x'"},
       {"buffer t: f32", "buffer t: f33", "p.ten:6:13: there is no dtype named 'f33'"},
       {"buffer t: f32[100]", "buffer t: f32[n]", "p.ten:6:17: the symbol 'n' has not been declared"},
       {"buffer t: f32[100]", "buffer t: f32[-10,-10]", "p.ten:6:10: an extent of [-10,-10] is -10"},
       {"buffer t: f32[100]", "buffer t: f32[99]", "p.ten:7:3: y of double is f32[100], but t is f32[99]"},
       {"buffer t: f32[100]", "buffer t: i32[100]", "p.ten:7:3: y of double is f32[100], but t is i32[100]"},
       {"buffer t: f32[100]", "buffer t: f32[4611686018427387904,4]",
        "p.ten:7:3: a dimension does not fit 64 bits: 4611686018427387904 * 4"},
       {"double(x, t)", "double(x, u)", "p.ten:7:20: there is no buffer named 'u'"},
       {"double(x, t)", "double(x)", "p.ten:7:3: double takes 2 buffers, 1 came"},
       {"double(x, t)", "double(t, t)", "p.ten:7:3: it reads t, which nothing has written"},
       {"double(x, t)", "double(x, x)", "p.ten:7:3: x is both read and written by double"},
       {"launch half(x, y)", "launch half(t, x)", "p.ten:8:3: it writes x, which is an input"},
       {"launch half(x, y)", "launch quarter(x, y)", "p.ten:8:10: there is no kernel named 'quarter'"},
       {"launch half(x, y)", "", "p.ten:4:10: nothing writes the output y"},
       {"launch half(x, y)", "copy z -> y", "p.ten:8:3: it reads z, which nothing has written"},
       {"launch half(x, y)", "copy x -> y at []", "p.ten:8:18: a box starts somewhere"},
       {"launch half(x, y)", "copy x -> y at [0]", "p.ten:8:3: it reads y, which nothing has written"},
       {"launch half(x, y)", "copy x -> t at [0, 0]",
        "p.ten:8:3: 2 starts place x, a f32[100], in t, a f32[100]"},
       {"launch half(x, y)", "copy x -> t at [x]", "p.ten:8:3: the start x is f32[100], it must be i64[]"},
       {"launch half(x, y)", "copy x -> y launch sum(x, x)",
        "p.ten:8:15: y of sum is f32[], but x is f32[100]"},
       {"seconds 1e-06", "seconds nan", "p.ten:9:28: 'seconds' must be from 0 to 1e+17"},
       {"seconds 1e-06", "second 1e-06", "p.ten:9:20: expected '}', found 'second'"},
       {"kernel half", "kernel double", "p.ten:23:1: two kernels are named 'double'"},
       {"kernel half", "kernels half", "p.ten:23:1: expected a kernel or the end of the text"},
       {"guard 64*io + ii < 100", "",
        "p.ten:12:1: double: `store y[64*io + ii] = %1`: the form 64*io + ii reaches 127 of dimension 0 of "
        "y, "
        "which has 100 elements: a guard is missing"},
       {"io in 4", "io in 3",
        "p.ten:23:1: it stores 300 bytes, but its outputs have 400: each element is stored once"},
       {"ii in 25", "ii in 0", "p.ten:23:1: the axis ii of %0 has no elements"},
       {"io in 4", "io in -4", "p.ten:23:1: the extent of io is -4"},
       {"25*io + ii]", "4611686018427387904*io + ii]",
        "p.ten:23:1: the form 4611686018427387904*io + ii does not fit 64 bits"},
       {"add %0, %0", "sqr %0", "p.ten:18:10: 'sqr' is neither a tile operation nor a map"},
       {"fill f32[] 0.0", "fill f32[] 0", "no error"}});
}

TEST_F(PlanReplay, ErrorsOfLoopsInFull) {
  parse_plan(kLoop);
  expect_errors(
      kLoop,
      {{"repeat 3", "repeat 4", "p.ten:11:3: row, a f32[4], is no row of rows, a f32[3,4], in a loop of 4"},
       {"repeat 3", "while", "p.ten:17:3: expected 'test', found '}'"},
       {"step i", "step x", "p.ten:11:3: the step x is f32[4], it must be i64[]"},
       {"carry y = x next next", "carry x = y next next",
        "p.ten:11:3: it reads y, which nothing has written"},
       {"carry y = x next next", "carry y = x next y", "no error"},
       {"carry y = x next next", "carry y = rows next next", "p.ten:11:3: rows is f32[3,4], but y is f32[4]"},
       {"carry y = x next next", "carry y = x next out", "p.ten:11:3: out has two parts in this loop"},
       {"carry y = x next next", "carry y = y next next",
        "p.ten:11:3: it reads y, which nothing has written"},
       {"carry y = x next next", "", "p.ten:15:5: it reads y, which nothing has written"},
       {"read row of rows", "read y of rows", "p.ten:11:3: y has two parts in this loop"},
       {"write out of all", "write out of rows", "p.ten:11:3: rows has two parts in this loop"},
       {"write out of all", "write row of all", "p.ten:11:3: row is a row of two loops, or an input"},
       {"add(y, row, out)", "add(y, out, out)", "p.ten:16:5: it reads out, which nothing has written"},
       {"add(y, row, out)", "add(y, row, row)", "p.ten:16:5: row is both read and written by add"},
       {"add(y, row, out)", "add(x, x, row)", "p.ten:16:5: it writes row, which is a row that is read"},
       {"add(y, row, out)", "add(x, x, y)",
        "p.ten:16:5: it writes y, which is a carry: its next value is written"},
       {"launch add(y, row, out)", "", "p.ten:11:3: the body does not write out, a row of all"},
       {"launch add(y, row, next)", "", "p.ten:11:3: the body does not write next, the next value of y"},
       {"\n  }\n", "\n  }\n  launch add(x, row, y)\n", "p.ten:18:3: it reads row, which nothing has written"},
       {"\n  }\n", "\n  }\n  launch add(x, next, y)\n",
        "p.ten:18:3: it reads next, which nothing has written"},
       {"\n  }\n", "\n  }\n  launch add(x, y, out)\n",
        "p.ten:18:3: it writes out, which is a row, outside its loop"}});
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "repeat 2 {";
  EXPECT_EQ(error_of([&] { parse_plan("tenfold 1 plan {" + deep); }),
            "<plan>:1:657: loops stand more than 64 deep in each other");
  deep = "tenfold 1 plan { } kernel k() { atom i in 2 grid { ";
  for (int i = 0; i < 100000; ++i) deep += "for i {";
  EXPECT_EQ(error_of([&] { parse_plan(deep); }),
            "<plan>:1:500: bodies stand more than 64 deep in each other");
}

// No prefix and no changed characters may do worse than an error; what is accepted runs.
TEST_F(PlanReplay, BrokenTextsEndInErrors) {
  std::mt19937 random(3);
  const Graph first = half_and_sum();
  const Graph second =
      graph_of({{Dtype::f32, {4}}, {Dtype::f32, {3, 4}}}, [](const Nodes& p) { return Nodes{p[0], p[1]}; });
  int accepted = 0;
  const std::string alphabet = "%[]{}():,=+-*<> 0159aijx.\n#\"";
  for (const std::string& text : {std::string(kPlan), std::string(kLoop)})
    for (int round = 0; round < 2000; ++round) {
      std::string broken = text;
      if (round % 3 == 0)
        broken.resize(random() % broken.size());
      else
        broken[random() % broken.size()] = alphabet[random() % alphabet.size()];
      try {
        const std::string once = plan::print(parse_plan(broken));
        EXPECT_EQ(plan::print(parse_plan(once)), once);
        const Graph& graph = text == kPlan ? first : second;
        run(*compile::compile(graph, {.plan = broken}), testing::random_arguments(graph, 1));
        ++accepted;
      } catch (const UserError&) {
      }
    }
  EXPECT_GE(accepted, 100);
}

}  // namespace
}  // namespace tenfold
