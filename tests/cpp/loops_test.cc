// Loops as text: what the planner prints gives the same kernel again, what is written by hand computes the
// same, and what is not legal says what to write instead.
#include <cstdlib>
#include <cstring>
#include <random>

#include "tenfold/compile/explain.h"
#include "tenfold/plan/plan.h"
#include "tenfold/rewrite/simplify.h"

#include "graph_testing.h"
#include "random_contraction.h"
#include "random_graph.h"

namespace tenfold {
namespace {

using namespace build;  // NOLINT: operators on nodes
using testing::error_of;
using testing::graph_of;
using ::testing::HasSubstr;

using Loops = std::vector<std::pair<std::string, std::string>>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kGraphs = 10;
#else
constexpr int kGraphs = 100;
#endif
constexpr int kFull = 5000;  // with TENFOLD_TEST_FULL
const int graphs = std::getenv("TENFOLD_TEST_FULL") ? kFull : kGraphs;

void add_launches(const std::vector<plan::Step>& steps, std::vector<const plan::Launch*>& into) {
  for (const plan::Step& step : steps)
    if (const auto* l = std::get_if<plan::Launch>(&step.what)) {
      into.push_back(l);
    } else if (const auto* r = std::get_if<std::shared_ptr<plan::Repeat>>(&step.what)) {
      add_launches((*r)->condition, into);
      add_launches((*r)->body, into);
    }
}

std::vector<const plan::Launch*> launches(const plan::Plan& plan) {
  std::vector<const plan::Launch*> out;
  add_launches(plan.steps, out);
  return out;
}

// By name; none where a launch inside of a loop has the name of another.
Loops loops_of(const plan::Plan& plan) {
  Loops out;
  for (const plan::Launch* l : launches(plan)) {
    if (l->loops.empty()) continue;
    for (const auto& [name, text] : out)
      if (name == l->kernel->name) return {};
    out.emplace_back(l->kernel->name, l->loops);
  }
  return out;
}

std::string described(const plan::Plan& plan) {
  std::string text;
  for (const plan::Launch* l : launches(plan))
    text += l->loops + "\n" + l->axes + "\n" + tile::print(*l->kernel) + fmt::format("{}\n", l->cost.seconds);
  return text;
}

// The planner's own choice, given back, is the same plan.
Loops expect_round_trip(const Graph& graph, std::string_view machine, std::vector<std::string> allow = {}) {
  plan::Options options{.allow = std::move(allow)};
  const tile::Machine& record = tile::machine(machine);
  const Graph core = simplify(widen(expand(simplify(graph), options.granted("online")),
                                    {.bytes = record.quads, .pairs = record.pairs}));
  const plan::Plan found = plan::make_plan(core, record, options);
  options.loops = loops_of(found);
  EXPECT_EQ(described(plan::make_plan(core, record, options)), described(found)) << machine;
  return options.loops;
}

std::vector<Array> run(const compile::Executable& e, std::vector<Array>& inputs) {
  std::vector<void*> data;
  for (Array& a : inputs) data.push_back(a.bytes.data());
  const Nodes& results = e.graph().results;
  std::vector<BufferRef> buffers(results.size());
  e.run(data, {}, buffers);
  std::vector<Array> out;
  for (size_t k = 0; k < results.size(); ++k) {
    out.emplace_back(results[k]->dtype(), const_shape(results[k]->shape()));
    if (out[k].size() > 0) std::memcpy(out[k].bytes.data(), buffers[k]->data(), out[k].bytes.size());
  }
  return out;
}

void expect_close(const std::vector<Array>& got, const std::vector<Array>& want, double tolerance) {
  for (size_t k = 0; k < want.size(); ++k)
    for (int64_t i = 0; i < want[k].size(); ++i) {
      const double x = got[k].at(i).f(), y = want[k].at(i).f();
      if (std::isnan(x) && std::isnan(y)) continue;
      ASSERT_LE(std::abs(x - y), tolerance * (1 + std::abs(y))) << "element " << i << " of result " << k;
    }
}

// Runs as it is written, and gives what the interpreter does.
void expect_runs(const Graph& graph, const std::vector<std::string>& texts, double tolerance = 1e-4) {
  std::vector<Array> inputs = testing::random_arguments(graph, 1);
  const std::vector<Array> want = evaluate(graph, inputs);
  for (const std::string& text : texts) {
    SCOPED_TRACE(text);
    try {
      const auto e = compile::compile(graph, {.loops = {{"", text}}});
      EXPECT_EQ(launches(e->plan())[0]->loops, text);
      expect_close(run(*e, inputs), want, tolerance);
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

Graph product(int64_t m, int64_t k, int64_t n) {
  return graph_of({{Dtype::f32, {m, k}}, {Dtype::f32, {k, n}}},
                  [](const Nodes& x) { return Nodes{contract(x[0], x[1], "mk,kn->mn")}; });
}

// Loops for a launch's axes, drawn: many are legal.
class Writer {
 public:
  explicit Writer(uint64_t seed) : rng_(seed) {}

  std::string write(const plan::Launch& launch) {
    struct Axis {
      std::string letter;
      int64_t extent;
      bool parallel, steps;
    };
    std::vector<Axis> axes;
    std::string text = launch.axes.substr(0, launch.axes.find(':')), letters;
    while (!text.empty()) {
      const size_t comma = std::min(text.find(", "), text.size());
      const std::string one = text.substr(0, comma);
      const size_t space = one.find(' ');
      axes.push_back({one.substr(0, space), std::atoll(one.c_str() + space),
                      one.find(' ', space + 1) == one.npos, one.ends_with("steps")});
      letters += axes.back().letter;
      text.erase(0, comma + 2);
    }
    std::vector<std::string> grid, steps, loops, tile;
    std::ranges::shuffle(axes, rng_);
    for (const Axis& axis : axes) {
      std::string letter = axis.letter;
      if (axis.steps) {
        steps.push_back(letter);
        continue;
      }
      int64_t rest = axis.extent;
      std::vector<std::string> mine;
      while (chance(0.3))
        if (const int64_t q = 2 + static_cast<int64_t>(below(16)); q < rest && rest % q == 0)
          mine.push_back(letter + std::to_string(rest = rest / q));
      const int64_t in_tile =
          chance(0.3) ? rest : 1 + static_cast<int64_t>(below(std::clamp<int64_t>(rest, 1, 70)));
      if (in_tile != rest || chance(0.2)) mine.push_back(letter);
      tile.push_back(letter + std::to_string(in_tile));
      size_t first = 0;
      if (axis.parallel && !mine.empty() && chance(0.7)) {
        mine[0][0] = static_cast<char>(std::toupper(mine[0][0]));
        grid.push_back(mine[0]);
        first = 1;
      }
      size_t at = 0;
      for (size_t k = first; k < mine.size(); ++k, ++at) {
        at += below(loops.size() - at + 1);
        loops.insert(loops.begin() + static_cast<std::ptrdiff_t>(at), mine[k]);
      }
    }
    std::ranges::sort(steps);
    std::string out = fmt::format("{} {} {} | {}", fmt::join(grid, " "), fmt::join(steps, " "),
                                  fmt::join(loops, " "), fmt::join(tile, " "));
    if (const size_t packed = launch.loops.find(", packed"); packed != std::string::npos && chance(0.7))
      out += launch.loops.substr(packed);
    else if (chance(0.3))
      for (const char* word : {", packed {}{}", " {}{}"})
        out +=
            fmt::format(fmt::runtime(word), letters[below(letters.size())], letters[below(letters.size())]);
    if (chance(0.2)) out += ", again";
    return out;
  }

 private:
  std::mt19937_64 rng_;
  size_t below(size_t n) { return rng_() % n; }
  bool chance(double p) { return std::uniform_real_distribution<double>(0, 1)(rng_) < p; }
};

// The graph with loops that are drawn for each launch; null where they are not legal.
std::shared_ptr<const compile::Executable> by_chance(const Graph& graph, Writer& writer) {
  const auto planned = compile::compile(graph);
  Loops loops;
  for (const auto& [name, text] : loops_of(planned->plan()))
    for (const plan::Launch* l : launches(planned->plan()))
      if (l->kernel->name == name) loops.emplace_back(name, writer.write(*l));
  try {
    return compile::compile(graph, {.loops = loops});
  } catch (const UserError&) {
    return nullptr;
  }
}

class LoopStrings : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    setenv("TENFOLD_CACHE_DIR", "", 1);
    setenv("TENFOLD_MACHINE", "avx512", 1);  // wherever it runs
  }
  void TearDown() override { compile::clear_cache(); }
};

TEST_F(LoopStrings, ThePlannersAreTheSameAgain) {
  for (int seed = 0; seed < graphs && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    constexpr std::string_view kMachines[] = {"avx512", "zen4", "avx2", "portable", "h200"};
    const std::string_view machine = kMachines[seed % 5];
    expect_round_trip(testing::ContractionGenerator(seed).make().graph, machine);
    expect_round_trip(testing::Generator(seed, Dtype::f32, {.wide = true}).make(3 + seed % 12).graph, machine,
                      seed % 3 ? std::vector<std::string>{} : std::vector<std::string>{"online"});
  }
}

TEST_F(LoopStrings, WhatThePlannerChooses) {
  const auto only = [](const Graph& graph, std::vector<std::string> allow = {}) {
    const Loops loops = expect_round_trip(graph, "zen4", std::move(allow));
    return loops.size() == 1 ? loops[0].second : fmt::format("{} launches", loops.size());
  };
  EXPECT_EQ(only(product(512, 256, 1024)), "J i k | i4 j64, packed kj");
  EXPECT_EQ(only(product(4096, 4096, 4096)), "I512 J k512 i k | i4 j64, packed kj");  // in parts
  EXPECT_EQ(only(product(2, 4096, 8192)), "I J2048 k8 j | i2 k8 j64");                // by pieces
  EXPECT_EQ(
      only(graph_of({{Dtype::u8, {256, 512}}, {Dtype::i8, {512, 256}}},
                    [](const Nodes& x) { return Nodes{contract(x[0], x[1], "mk,kn->mn", Dtype::i32)}; })),
      "J i k4 | i4 k4 j64, packed kj, grouped k");
  const Type heads{Dtype::f32, {2, 32768, 64}};
  const Graph attention = graph_of({heads, heads, heads}, [](const Nodes& x) {
    const NodeRef scores = contract(x[0], x[1], "hqd,hkd->hqk");
    const NodeRef e = map("exp", {scores - broadcast(reduce("max", scores, {2}), scores->shape(), {0, 1})});
    return Nodes{contract(e / broadcast(reduce("sum", e, {2}), e->shape(), {0, 1}), x[2], "hqk,hkd->hqd")};
  });
  EXPECT_EQ(only(attention, {"online"}), "I J r64 k r d | k4 r4 j64, packed ijd, online");
  EXPECT_EQ(only(graph_of({{Dtype::f32, {64, 100000}}},
                          [](const Nodes& x) {
                            const Shape& s = x[0]->shape();
                            const NodeRef e =
                                map("exp", {x[0] - broadcast(reduce("max", x[0], {1}), s, {0})});
                            return Nodes{e / broadcast(reduce("sum", e, {1}), s, {0})};
                          }),
                 {"online"}),
            "I r j | j64, again, online");
}

TEST_F(LoopStrings, DrawnOnesComputeTheSame) {
  int ran = 0;
  for (int seed = 0; seed < graphs && !HasFailure(); ++seed) {
    Writer writer(seed);
    const testing::RandomContraction r = testing::ContractionGenerator(seed).make();
    SCOPED_TRACE(fmt::format("{}: {}", seed, r.text));
    try {
      if (const auto e = by_chance(r.graph, writer)) {
        SCOPED_TRACE(described(e->plan()));
        std::vector<Array> inputs = testing::contraction_inputs(r, seed);
        EXPECT_EQ(testing::contraction_error(r, inputs, run(*e, inputs), evaluate(r.graph, inputs)), "");
        ++ran;
      }
      const Graph graph = testing::Generator(seed, Dtype::f32, {.wide = true}).make(3 + seed % 5).graph;
      if (const auto e = by_chance(graph, writer)) {
        SCOPED_TRACE(described(e->plan()));
        std::vector<Array> inputs = testing::random_arguments(graph, seed);
        expect_close(run(*e, inputs), evaluate(graph, inputs), 3e-4);
        ++ran;
      }
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GE(ran, graphs / 3);
}

TEST_F(LoopStrings, AProductRunsAsItIsWritten) {
  expect_runs(product(96, 128, 192), {
                                         "I J k | i4 j32",
                                         "J I k | i4 j32",  // blocks in another order
                                         "J i k | i4 j64, packed kj",
                                         "I j k | i6 j32, packed ik",              // the other operand
                                         "J k i | i4 j64",                         // running tiles in scratch
                                         "J k32 i k | i4 j64, packed kj",          // in parts
                                         "I48 J64 k16 j i k | i6 j32, packed kj",  // blocks of all
                                         "I48 J k32 i k | i5 k2 j16, packed kj",   // ragged tiles
                                         "I j k | i3 j50",
                                         "J I k | j4 i16",  // vectors along the rows
                                         "I J k | i2 j4 k16",
                                         "j i k | j64",  // in one thread
                                         "I32 I J k | i4 j64",
                                     });
}

TEST_F(LoopStrings, ProductsWithWhatStandsAroundThem) {
  expect_runs(graph_of({{Dtype::f32, {6, 40, 64}}, {Dtype::f32, {6, 64, 48}}},
                       [](const Nodes& x) { return Nodes{contract(x[0], x[1], "bmk,bkn->bmn")}; }),
              {"I J K l | j4 k48", "K I j l | j4 k48, packed ilk", "I J20 K16 l8 j l | j5 k16",
               "I2 K i j l | j4 k16, packed ilk"});
  expect_runs(graph_of({{Dtype::f32, {96, 128}}, {Dtype::f32, {128, 192}}, {Dtype::f32, {192}}},
                       [](const Nodes& x) {
                         const NodeRef y = contract(x[0], x[1], "mk,kn->mn") + broadcast_to(x[2], {96, 192});
                         return Nodes{0.5 * y * (1.0 + map("tanh", {y * (0.8 + 0.036 * y * y)}))};
                       }),
              {"I J k | i4 j48", "J i k | i6 j32, packed kj", "J k16 i k | i4 j64, packed kj",
               "I16 J k8 i k | i8 j32"});
  expect_runs(graph_of({{Dtype::f32, {2, 5, 10, 12}}, {Dtype::f32, {8, 5, 3, 3}}},
                       [](const Nodes& x) {
                         const NodeRef seen = window(x[0], {2, 3}, {3, 3}, {1, 1}, {1, 1});
                         return Nodes{map("maximum", {contract(seen, x[1], "ncyxuv,ocuv->noyx"),
                                                      full(0, {Dtype::f32, {2, 8, 8, 10}})})};
                       }),
              {"I J K c u | j8 v3 l10", "I K J l u v c | j4 l4", "I J4 j k l c u v | j2 k4 l5",
               "I K j c | j4 u3 v3 l10, packed ickulv"});
}

TEST_F(LoopStrings, StepsOfAScan) {
  const GraphRef body =
      testing::body_of({{Dtype::i64, {}}, {Dtype::f32, {64, 6}}, {Dtype::f32, {64, 6}}},
                       [](const Nodes& x) { return Nodes{x[1] * 0.5 + x[2], x[1] * x[1]}; });
  const Graph graph = graph_of({{Dtype::f32, {64, 6}}, {Dtype::f32, {9, 64, 6}}}, [&](const Nodes& x) {
    const Nodes out = scan(body, {x[0]}, {x[1]}, {}, 9);
    return Nodes{out[0], out[1]};
  });
  expect_runs(graph, {"J i | j16", "i j | j50"});
  EXPECT_THAT(
      error_of([&] { compile::compile(graph, {.loops = {{"", "J I | j16"}}}); }),
      HasSubstr("the loop over i cannot be parallel, for its steps follow each other: write i after all "
                "capitals"));
  EXPECT_THAT(error_of([&] { compile::compile(graph, {.loops = {{"", "J j i | j16"}}}); }),
              HasSubstr("j comes again after j without a number"));
  EXPECT_THAT(error_of([&] { compile::compile(graph, {.loops = {{"", "J8 j i | j4"}}}); }),
              HasSubstr("J8: around the steps of a loop no axis has blocks; write J"));
  EXPECT_THAT(error_of([&] { compile::compile(graph, {.loops = {{"", "j i | j16"}}}); }),
              HasSubstr("the loops over steps come first after the capitals: write i"));
}

TEST_F(LoopStrings, WhatIsNotLegalSaysWhatToWrite) {
  const Graph graph = product(96, 128, 192);
  const auto said = [&](const std::string& text, const Graph& g) {
    return error_of([&] { compile::compile(g, {.loops = {{"", text}}}); });
  };
  const auto why = [&](const std::string& text) {
    const std::string error = said(text, graph), head = "loops of k0_contract: ";
    return error.starts_with(head) ? error.substr(head.size(), error.find(".\n") - head.size()) : error;
  };
  EXPECT_EQ(said("I J K | i6 j64", graph),
            "loops of k0_contract: the loop over k cannot be parallel, for k is reduced: write k after all "
            "capitals.\n"
            "  came   I J K | i6 j64\n"
            "  axes   i 96, j 192, k 128 reduced: p0[i,k], p1[k,j] -> r0[i,j]\n"
            "  types  p0: f32[96,128], p1: f32[128,192], r0: f32[96,192]\n"
            "  Write, as the planner does: I J k | i6 j64");
  const std::pair<std::string, std::string> kCases[] = {
      {"I J k", "one bar is needed, but 0 came: write LOOPS | TILE"},
      {"I J k | j", "j has no number in the tile: write how many of its elements are in registers"},
      {"I J k |", "no axis lies along the vectors: name one last, after the bar"},
      {"I J q | j64", "there is no axis q"},
      {"I J ? | j64", "'?' is no axis"},
      {"I J k0 | j64", "k0 takes no elements"},
      {"I k J | j64", "parallel loops stand outside of all others: write J before them"},
      {"I J k | J64", "J stands in the tile, where nothing is parallel: write j"},
      {"I J k | j8 i4 j8", "j stands in the tile twice"},
      {"I J i k | j64",
       "i comes again after i without a number: write how many of its elements an outer loop takes"},
      {"J k | i4 j64",
       "4 of the 96 elements of i are in the tile, and no loop goes over the others: write i as the last "
       "loop over "
       "it, or i96 in the tile"},
      {"I32 J k | i4 j64",
       "4 of the 32 elements of i in a block are in the tile, and no loop goes over the others: write i as "
       "the last "
       "loop over it, or i32 in the tile"},
      {"I J | k300 j64",
       "k300 in the tile is more than the 128 elements that there are: write k128, or k as a loop too"},
      {"I40 J i k | j64",
       "I40: blocks of 40 do not divide 96 elements of i; 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 or 48 do"},
      {"I J k64 k32 k128 k | j64",
       "k128: blocks of 128 are not smaller than the 32 elements of k; 1, 2, 4, 8 or 16 do"},
      {"I J k | i40 j64", "the tile makes a value of 160 registers, more than 64: write a smaller one"},
      {"J i k | i6 j64, packed jk",
       "packed jk: no operand of an inner product has these axes in this order; write packed ik or kj"},
      {"J i k | i6 j64, fast", "'fast' is none of: packed AXES, again, online, grouped AXIS"},
      {"J i k | i6 j64, online", "online changes rounding: allow=(\"online\",) grants it"},
      {"J i k4 | i6 k4 j64, grouped k",
       "grouped k: no product of u8 with i8 is summed in i32 along it, none of bf16 in f32, or no "
       "instruction "
       "of this machine does"},
  };
  for (const auto& [text, wanted] : kCases) EXPECT_EQ(why(text), wanted) << text;
  EXPECT_THAT(said("i j k | i4 j32, packed kj", product(2048, 64, 4096)),
              HasSubstr("bytes are kept in scratch, but the cache of this machine has"));
}

TEST_F(LoopStrings, LaunchesHaveNames) {
  const Graph two = graph_of({{Dtype::f32, {512, 64}}}, [](const Nodes& x) {
    return Nodes{reduce("sum", x[0], {0}), reduce("sum", x[0] * x[0], {1})};
  });
  const compile::Options apart{.fuse = false};
  const auto planned = compile::compile(two, apart);
  const Loops loops = loops_of(planned->plan());
  ASSERT_EQ(loops.size(), 3);
  compile::Options options = apart;
  options.loops = {loops[1]};
  EXPECT_EQ(described(compile::compile(two, options)->plan()), described(planned->plan()));
  const auto entries = compile::cache_statistics().entries;  // loops are a part of the key
  EXPECT_EQ(entries, 2);
  std::string names;
  for (const auto& [name, text] : loops) names += "\n  " + name + ": " + text;
  options.loops = {{"", "I | i64"}};
  EXPECT_EQ(error_of([&] { compile::compile(two, options); }),
            "loops \"I | i64\" name no launch, and there are 3: say of which, by its name, of" + names +
                "\nIn Python a dict, {\"name\": \"loops\"}; in a shell name=\"loops\".");
  options.loops = {{"k7", "I | i64"}};
  EXPECT_EQ(error_of([&] { compile::compile(two, options); }),
            "loops name \"k7\", which is no launch: choose of" + names);
  options = {.interpret = true, .loops = {{"", "I | i64"}}};
  EXPECT_EQ(error_of([&] { compile::compile(two, options); }),
            "loops are given, but the interpreter is asked for: it runs the graph, no loops");
}

TEST_F(LoopStrings, ExplainPrintsThem) {
  const std::string text = compile::explain(compile::compile(product(96, 128, 192))).str();
  EXPECT_THAT(text, HasSubstr("  loops      I J k | i6 j64\n"
                              "  axes       i 96, j 192, k 128 reduced: p0[i,k], p1[k,j] -> r0[i,j]\n"));
}

}  // namespace
}  // namespace tenfold
