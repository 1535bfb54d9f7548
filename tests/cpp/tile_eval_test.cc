#include <bit>
#include <cmath>

#include "tests/cpp/tile_kernels.h"

namespace tenfold::tile {
namespace {

// Runs a kernel and gives its buffers.
Buffers run_kernel(const Kernel& kernel, const Symbols& symbols = {}) {
  Buffers buffers(kernel, symbols);
  run(kernel, buffers.pointers, symbols);
  return buffers;
}

const float* f32(const Buffers& buffers, int arg) { return buffers.arrays[arg].data<float>(); }

TEST(TileEval, Softmax) {
  const Kernel kernel = kernel_file("softmax");
  Buffers buffers(kernel);
  const Counts counts = run(kernel, buffers.pointers);
  const float *x = f32(buffers, 0), *y = f32(buffers, 1);
  for (int r = 0; r < 64; ++r) {
    double sum = 0, most = -INFINITY;
    for (int j = 0; j < 1000; ++j) most = std::max<double>(most, x[1000 * r + j]);
    for (int j = 0; j < 1000; ++j) sum += std::exp(x[1000 * r + j] - most);
    for (int j = 0; j < 1000; ++j) ASSERT_NEAR(y[1000 * r + j], std::exp(x[1000 * r + j] - most) / sum, 1e-8);
  }
  EXPECT_EQ(counts.bytes_read, 2 * 64 * 1000 * 4);
  EXPECT_EQ(counts.bytes_written, 64 * 1000 * 4);
  EXPECT_EQ(counts.scratch_bytes, 2 * 64 * 1000 * 4);
  EXPECT_EQ(counts.statements, 64 * (4 + 16 * (2 + 5 + 3)));
}

// Four elements: every value by hand.
TEST(TileEval, SoftmaxByHand) {
  std::string text = read_file(TENFOLD_TESTS_DIR "/tile/softmax.ten");
  for (const auto& [from, to] : {std::pair{"64,1000", "1,4"},
                                 {"64,1000", "1,4"},
                                 {"r in 64, jo in 16, ji in 64", "r in 1, jo in 3, ji in 2"},
                                 {"64*jo + ji < 1000", "2*jo + ji < 4"}})
    text.replace(text.find(from), std::string(from).size(), to);
  for (size_t at; (at = text.find("64*jo")) != std::string::npos;) text.replace(at, 5, "2*jo");
  const Kernel kernel = parse_kernel(text);
  Buffers buffers(kernel);
  for (int j = 0; j < 4; ++j) buffers.arrays[0].set(j, std::log(j + 1.0));
  run(kernel, buffers.pointers);
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(f32(buffers, 1)[j], (j + 1) / 10.0, 1e-7);
}

TEST(TileEval, MatmulIsFmaInOrder) {
  const Buffers b = run_kernel(kernel_file("matmul"));
  for (int m = 0; m < 50; ++m)
    for (int n = 0; n < 40; ++n) {
      float sum = 0;
      for (int k = 0; k < 70; ++k) sum = std::fma(f32(b, 0)[70 * m + k], f32(b, 1)[40 * k + n], sum);
      ASSERT_EQ(f32(b, 3)[40 * m + n], sum + f32(b, 2)[n]);
    }
}

TEST(TileEval, ScanSwapsItsCarries) {
  const Buffers b = run_kernel(kernel_file("scan"));
  for (int n = 0; n < 100; ++n) {
    float state = f32(b, 0)[n], other = 1;
    for (int t = 0; t < 12; ++t) {
      ASSERT_EQ(f32(b, 2)[100 * t + n], state);
      const float next = state * 0.5f + f32(b, 1)[100 * t + n];
      state = other;
      other = next;
    }
    ASSERT_EQ(f32(b, 3)[n], state);
  }
}

TEST(TileEval, ReverseLoop) {
  const Buffers b = run_kernel(kernel_file("scan_reverse"));
  for (int n = 0; n < 20; ++n) {
    float g = 0;
    for (int t = 8; t >= 0; --t) {
      g = std::fma(g, 0.5f, f32(b, 0)[20 * t + n]);
      ASSERT_EQ(f32(b, 1)[20 * t + n], g);
    }
  }
}

TEST(TileEval, WhileStopsElementByElement) {
  const Kernel kernel = kernel_file("while");
  Buffers b(kernel);
  for (int i = 0; i < 37; ++i) b.arrays[0].set(i, std::ldexp(1.5, i % 20));
  b.arrays[0].set(36, std::ldexp(1.5, 999));  // infinity in f32: goes on to the bound
  const Counts counts = run(kernel, b.pointers);
  for (int i = 0; i < 36; ++i) {
    EXPECT_EQ(f32(b, 1)[i], 0.75f);
    EXPECT_EQ(b.arrays[2].data<int32_t>()[i], i % 20 + 1);
  }
  EXPECT_EQ(b.arrays[2].data<int32_t>()[36], 1000);
  // Each block runs as long as its longest lane, and tests once more but at the bound.
  EXPECT_EQ(counts.statements, 5 * 8 + 3 * (8 + 16 + 20 + 12) + 4 + 3 * 1000);
}

TEST(TileEval, VoteRunsWhereAnyHolds) {
  const Kernel kernel = kernel_file("vote");
  Buffers b(kernel);
  for (int i = 0; i < 40; ++i) b.arrays[0].set(i, i == 11 ? -9.0 : i);
  const Counts counts = run(kernel, b.pointers);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(f32(b, 1)[i], i == 11 ? 3.0f : static_cast<float>(i));
  EXPECT_EQ(counts.statements, 5 * 5 + 2);  // one block of five votes yes
}

// What a vote leaves unspecified is visible if it is used without the select.
TEST(TileEval, ValuesOfAVoteAreUnspecifiedElsewhere) {
  std::string text = read_file(TENFOLD_TESTS_DIR "/tile/vote.ten");
  text.replace(text.find("select %mask, %root, %x"), 23, "add %root, %x");
  const Kernel kernel = parse_kernel(text);
  Buffers b(kernel);
  for (int i = 0; i < 40; ++i) b.arrays[0].set(i, i == 11 ? -9.0 : i);
  run(kernel, b.pointers);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(std::isnan(f32(b, 1)[i]), i != 11);
}

TEST(TileEval, ReadsOutsideGiveZero) {
  const Buffers conv = run_kernel(kernel_file("window"));
  for (int h = 0; h < 9; ++h)
    for (int w = 0; w < 33; ++w) {
      float sum = 0;
      for (int kh = 0; kh < 3; ++kh)
        for (int kw = 0; kw < 3; ++kw) {
          const int y = h + kh - 1, x = w + kw - 1;
          const bool inside = y >= 0 && y < 9 && x >= 0 && x < 33;
          sum = std::fma(inside ? f32(conv, 0)[33 * y + x] : 0.0f, f32(conv, 1)[3 * kh + kw], sum);
        }
      ASSERT_EQ(f32(conv, 2)[33 * h + w], sum);
    }
  const Buffers concat = run_kernel(kernel_file("concat"));
  for (int r = 0; r < 6; ++r)
    for (int j = 0; j < 40; ++j)
      ASSERT_EQ(f32(concat, 2)[40 * r + j], j < 20   ? f32(concat, 0)[20 * r + j]
                                            : j < 33 ? f32(concat, 1)[13 * r + j - 20]
                                                     : 0.0f);
}

TEST(TileEval, GatherClampsItsIndices) {
  const Kernel kernel = kernel_file("gather");
  Buffers b(kernel);
  int32_t* rows = b.arrays[1].data<int32_t>();
  rows[0] = -5;
  rows[1] = INT32_MAX;
  const Counts counts = run(kernel, b.pointers);
  const uint8_t* scale = b.arrays[2].data<uint8_t>();
  for (int r = 0; r < 50; ++r)
    for (int c = 0; c < 16; ++c) {
      const float v = f32(b, 0)[16 * std::clamp(rows[r], 0, 29) + c];
      const float w = f32(b, 0)[16 * std::min<int>(scale[50 + r], 29) + c];
      ASSERT_EQ(f32(b, 3)[16 * r + c], std::fma(v, static_cast<float>(scale[r]), w));
    }
  EXPECT_EQ(counts.bytes_read, 50 * 4 + 2 * 50 + 2 * 50 * 16 * 4);
}

TEST(TileEval, Symbols) {
  const Kernel sums = kernel_file("symbolic");
  for (const int64_t n : {0, 1, 15, 16, 17, 100}) {
    const Buffers b = run_kernel(sums, {{"n", n}});
    for (int r = 0; r < n; ++r) {
      const float* x = f32(b, 0) + 5 * r;
      // Five elements in a tree of eight: 4 goes to 0, then 2 and 3 to 0 and 1, then 1 to 0.
      ASSERT_EQ(f32(b, 1)[r], ((x[0] + x[4]) + x[2]) + (x[1] + x[3]));
    }
  }
}

TEST(TileEval, FlattenedRows) {
  const Kernel flat = kernel_file("flat");
  const Buffers b = run_kernel(flat, {{"m", 5}, {"n", 6}});
  for (int i = 0; i < 30; ++i) ASSERT_EQ(f32(b, 1)[i], f32(b, 0)[i] * static_cast<float>(i + 11));
}

TEST(TileEval, Places) {
  const Buffers b = run_kernel(kernel_file("places"));
  const double* x = b.arrays[0].data<double>();
  for (int r = 0; r < 4; ++r) {
    for (int k = 0; k < 6; ++k) EXPECT_EQ(b.arrays[1].data<double>()[6 * r + k], x[12 * r + 2 * k]);
    for (int c = 0; c < 12; ++c) EXPECT_EQ(b.arrays[2].data<double>()[4 * c + r], x[12 * (3 - r) + c]);
    for (int k = 0; k < 3; ++k) EXPECT_EQ(b.arrays[3].data<double>()[3 * r + k], 1);
  }
}

TEST(TileEval, Dtypes) {
  const Kernel kernel = kernel_file("dtypes");
  Buffers b(kernel);
  b.arrays[0].set(0, true);
  b.arrays[0].set(1, false);
  b.arrays[0].set(2, true);
  run(kernel, b.pointers);
  EXPECT_EQ(b.arrays[1].at(0).f(), 0.333251953125);
  EXPECT_TRUE(std::signbit(b.arrays[1].at(1).f()));
  EXPECT_EQ(b.arrays[2].at(1).c(), Complex(1.5, -INFINITY));
  EXPECT_EQ(b.arrays[3].at(2).u(), UINT64_MAX);
  EXPECT_TRUE(b.arrays[4].at(0).b());
}

TEST(TileEval, OtherFiles) {
  const Buffers t = run_kernel(kernel_file("transpose"));
  for (int i = 0; i < 32; ++i)
    for (int j = 0; j < 32; ++j)
      ASSERT_EQ(f32(t, 1)[32 * i + j], f32(t, 0)[32 * i + j] + f32(t, 0)[32 * j + i]);
  const Buffers c = run_kernel(kernel_file("columns"));
  for (int j = 0; j < 64; ++j) {
    float sum = 0;
    for (int r = 0; r < 48; ++r) sum += f32(c, 0)[64 * r + j];
    ASSERT_EQ(f32(c, 2)[j], sum);
    ASSERT_EQ(f32(c, 3)[j], f32(c, 1)[3 * j + 1]);
  }
  const Buffers n = run_kernel(kernel_file("layer_norm"));
  for (int r = 0; r < 20; ++r) {
    double sum = 0, squares = 0;
    for (int j = 0; j < 96; ++j) sum += f32(n, 0)[96 * r + j];
    for (int j = 0; j < 96; ++j) squares += std::pow(f32(n, 0)[96 * r + j] - sum / 96, 2);
    for (int j = 0; j < 96; ++j)
      ASSERT_NEAR(f32(n, 2)[96 * r + j],
                  (f32(n, 0)[96 * r + j] - sum / 96) / std::sqrt(squares / 96 + 1e-5) * f32(n, 1)[j], 2e-6);
  }
}

// ---- contractions and reductions in other dtypes

Kernel small(const std::string& args, const std::string& atoms, const std::string& body,
             const std::string& head = "") {
  return parse_kernel("tenfold 1\n" + head + "kernel k(" + args + ") {\natom " + atoms + "\n" + body +
                      "\n}\n");
}

TEST(TileEval, ContractRoundsOnceAStep) {
  const std::string body =
      "grid {\n%a = load a[k] : DT[k]\n%b = load b[k] : DT[k]\n%c = fill DT[] INIT\n"
      "%c = contract %a, %b over k : DT[]\nstore c[] = %c\n}";
  const auto result = [&](const std::string& dtype, const std::string& init, std::vector<Scalar> a,
                          std::vector<Scalar> b) {
    std::string text = body;
    for (size_t at; (at = text.find("DT")) != std::string::npos;) text.replace(at, 2, dtype);
    text.replace(text.find("INIT"), 4, init);
    const Kernel kernel =
        small("a: " + dtype + "[2], b: " + dtype + "[2], out c: " + dtype + "[]", "k in 2", text);
    Buffers buffers(kernel);
    for (int i = 0; i < 2; ++i) {
      buffers.arrays[0].set(i, a[i]);
      buffers.arrays[1].set(i, b[i]);
    }
    run(kernel, buffers.pointers);
    return buffers.arrays[2].at(0);
  };
  const double e = 0x1p-23;
  EXPECT_EQ(result("f32", "0.0", {1 + e, 1.0}, {1 - e, -1.0}).f(), 0);       // 1 - e^2 rounds to 1
  EXPECT_EQ(result("f32", "-1.0", {1 + e, 0.0}, {1 - e, 0.0}).f(), -e * e);  // but inside one fma it does not
  EXPECT_EQ(result("f64", "-1.0", {1 + e, 0.0}, {1 - e, 0.0}).f(), -e * e);
  EXPECT_EQ(result("f16", "2048.0", {1.0, 1.0}, {1.0, 1.0}).f(), 2048);  // 2049 is a tie, each step rounds
  EXPECT_EQ(result("i8", "100", {100, 1}, {1, 1}).i(), -55);
  EXPECT_EQ(result("bool", "false", {true, true}, {false, true}).b(), true);
  EXPECT_EQ(
      result("complex64", "complex(0.0, 1.0)", {Complex(1, 2), Complex(3, 0)}, {Complex(0, 1), Complex(2, 0)})
          .c(),
      Complex(4, 2));
}

TEST(TileEval, ReduceIsATreeOverEachAxis) {
  const Kernel kernel =
      small("x: f32[3,6], out y: f32[]", "i in 3, j in 6",
            "grid {\n%x = load x[i, j] : f32[i,j]\n%y = reduce add %x over i, j : f32[]\nstore y[] = %y\n}");
  const Buffers b = run_kernel(kernel);
  const float* x = f32(b, 0);
  float column[6];
  for (int j = 0; j < 6; ++j) column[j] = (x[j] + x[12 + j]) + x[6 + j];
  EXPECT_EQ(f32(b, 1)[0], ((column[0] + column[4]) + column[2]) + ((column[1] + column[5]) + column[3]));
}

// ---- checks

std::string run_error(const Kernel& kernel, const Symbols& symbols = {},
                      std::vector<std::pair<int, int>> aliases = {}) {
  Buffers buffers(kernel, symbols);
  for (const auto& [to, from] : aliases) buffers.pointers[to] = buffers.pointers[from];
  return error_of([&] { run(kernel, buffers.pointers, symbols); });
}

TEST(TileEval, ChecksItsArguments) {
  const Kernel kernel = kernel_file("symbolic");
  Buffers buffers(kernel, {{"n", 7}});
  const auto error = [&](std::span<Array* const> args, int64_t n) {
    return error_of([&] { run(kernel, args, {{"n", n}}); });
  };
  EXPECT_EQ(error(buffers.pointers, 7), "no error");
  EXPECT_EQ(error(buffers.pointers, 8), "kernel row_sums: buffer x is f32[8,5], but f32[7,5] was given");
  EXPECT_EQ(error(std::span(buffers.pointers).first(1), 7), "kernel row_sums takes 2 buffers, not 1");
  buffers.arrays[1] = Array(Dtype::f64, {7});
  EXPECT_EQ(error(buffers.pointers, 7), "kernel row_sums: buffer y is f32[7], but f64[7] was given");
}

TEST(TileEval, RefusesWhatVerifyRejects) {
  EXPECT_EQ(run_error(small("x: f32[4], out y: f32[4]", "i in 5",
                            "grid {\n%x = load x[i] : f32[i]\nstore y[i] = %x\n}")),
            "k: `store y[i] = %x`: the form i reaches 4 of dimension 0 of y, which has 4 elements: a guard "
            "is missing");
}

TEST(TileEval, FindsWritesThatAreMissing) {
  EXPECT_EQ(run_error(small("x: f32[4], out y: f32[2,8]", "i in 4, r in 2",
                            "grid r {\n%x = load x[i] : f32[i]\nstore y[r, 2*i] = %x\n}")),
            "k: 8 of 16 elements of y were not written, first y[0,1]");
}

TEST(TileEval, FindsDoubleWrites) {
  EXPECT_EQ(run_error(small("x: f32[4], out y: f32[8]", "i in 4, r in 3",
                            "grid r {\n%x = load x[i] : f32[i]\nstore y[2*r + i] = %x\n}")),
            "k: `store y[2*r + i] = %x` at i=0, r=1: y[2] is written twice, by block 0 and by block 1");
  EXPECT_EQ(run_error(small("x: f32[4], out y: f32[4]", "i in 4",
                            "grid {\n%x = load x[i] : f32[i]\nstore y[i] = %x\nstore y[i] = %x\n}")),
            "k: `store y[i] = %x` at i=0: y[0] is written twice, by block 0 and by block 0");
}

TEST(TileEval, FindsRaces) {
  const auto in_place = [](const std::string& load, const std::string& store) {
    return small("x: f32[4], out y: f32[4]", "i in 4",
                 "grid i {\n%x = load x[" + load + "] : f32[]\nstore y[" + store + "] = %x\n}");
  };
  EXPECT_EQ(run_error(in_place("i", "i"), {}, {{1, 0}}), "no error");
  EXPECT_EQ(run_error(in_place("-i + 3", "i")), "no error");
  EXPECT_EQ(run_error(in_place("-i + 3", "i"), {}, {{1, 0}}),
            "k: `%x = load x[-i + 3] : f32[]` at i=2: a race: block 1 writes x[1], block 2 reads it");
  EXPECT_EQ(run_error(in_place("i + 1", "i"), {}, {{1, 0}}),
            "k: `store y[i] = %x` at i=1: a race: block 1 writes y[1], another block reads it");
}

TEST(TileEval, FindsReadsOfWhatWasOverwritten) {
  const Kernel kernel =
      small("x: f32[4], out y: f32[4], out z: f32[4]", "i in 4",
            "grid i {\n%x = load x[i] : f32[]\nstore y[i] = %x\n%z = load x[i] : f32[]\nstore z[i] = %z\n}");
  EXPECT_EQ(run_error(kernel), "no error");
  EXPECT_EQ(
      run_error(kernel, {}, {{1, 0}}),
      "k: `%z = load x[i] : f32[]` at i=0: x[0] is read after it was overwritten through another buffer");
}

TEST(TileEval, FindsReadsOfScratchThatWasNotWritten) {
  const auto kernel = [](const std::string& place) {
    return small("x: f32[4], out y: f32[3,4]", "i in 4, r in 3, t in 2",
                 "scratch %s: f32[i]\ngrid r {\n%x = load x[i] : f32[i]\nfor t {\nwrite %s[" + place +
                     "] = %x[i: t] : []\n}\n%y = read %s[i] : f32[i]\nstore y[r, i] = %y\n}");
  };
  EXPECT_EQ(run_error(kernel("2*t")),
            "k: `%y = read %s[i] : f32[i]` at i=1, r=0: element 1 of %s was not written before");
  // What another block left there does not count.
  const Kernel once = small("x: f32[4], out y: f32[3,4]", "i in 4, r in 3",
                            "guard r + i < 4\nscratch %s: f32[i]\ngrid r {\n%x = load x[i] : f32[i]\nwrite "
                            "%s[i] = %x\n%y = read %s[-i + 3] : "
                            "f32[i]\nstore y[r, i] = %y\n}");
  EXPECT_EQ(run_error(once),
            "k: `%y = read %s[-i + 3] : f32[i]` at i=0, r=1: element 3 of %s was not written before");
}

TEST(TileEval, FindsPointsThatWriteOneElement) {
  EXPECT_EQ(run_error(small("x: f32[4,4], out y: f32[7]", "i in 4, j in 4, k in 7",
                            "scratch %s: f32[k]\ngrid {\n%x = load x[i, j] : f32[i,j]\nwrite %s[i + j] = "
                            "%x\n%y = read %s[k] : f32[k]\nstore "
                            "y[k] = %y\n}")),
            "k: `write %s[i + j] = %x` at i=1, j=0: element 1 of %s is written twice by one statement");
}

// The verifier tries a few values of each symbol; here n = 6 alone is wrong.
TEST(TileEval, FindsBoundsThatDependOnSymbols) {
  const auto error = [&](const std::string& body) {
    return run_error(small("x: f32[3], out y: f32[3]", "i in 3",
                           "scratch %s: f32[i]\ngrid {\n%x = load x[i] : f32[i]\n" + body + "\n}",
                           "symbol n in 0..4096 hint 1024\n"),
                     {{"n", 6}});
  };
  EXPECT_EQ(error("%z = copy %x[0] : f32[]\nstore y[mod(n, 7)] = %z"),
            "k: `store y[mod(n, 7)] = %z`: index 6 leaves dimension 0 of y, which has 3 elements");
  EXPECT_EQ(error("%z = neg %x[mod(n, 7)] : f32[]\nstore y[i] = %x"),
            "k: `%z = neg %x[i: mod(n, 7)] : f32[]`: index 6 leaves axis i of %x, which has 3 elements");
  EXPECT_EQ(
      error("write %s[-mod(n, 7) + 2] = %x[i: 0] : []\nstore y[i] = %x"),
      "k: `write %s[-mod(n, 7) + 2] = %x[i: 0] : []`: index -4 leaves axis i of %s, which has 3 elements");
}

// Points that do not exist: loads give 0, maps nothing usable, reductions pass over them.
TEST(TileEval, GuardedPoints) {
  const Kernel kernel =
      small("x: f32[5], out most: f32[3], out sum: f32[], out first: f32[3]", "o in 3, i in 2",
            R"(guard 2*o + i < 5
grid {
  %s = fill f32[] 0.0
  for o {
    %x = load x[2*o + i] : f32[i]
    %y = neg %x : f32[i]
    %m = reduce maximum %y over i : f32[]
    store most[o] = %m
    %s = accumulate add %y over i : f32[]
    %f = copy %x[i: 1] : f32[]
    store first[o] = %f
  }
  store sum[] = %s
})");
  Buffers b(kernel);
  for (int i = 0; i < 5; ++i) b.arrays[0].set(i, i + 1.0);
  run(kernel, b.pointers);
  EXPECT_EQ(std::vector<float>(f32(b, 1), f32(b, 1) + 3), (std::vector<float>{-1, -3, -5}));
  EXPECT_EQ(f32(b, 2)[0], -15);
  EXPECT_EQ(std::vector<float>(f32(b, 3), f32(b, 3) + 3), (std::vector<float>{2, 4, 0}));
}

TEST(TileEval, ReportsEveryAccess) {
  const Kernel kernel = kernel_file("softmax");
  Buffers buffers(kernel);
  Counts seen;
  const Counts counts =
      run(kernel, buffers.pointers, {}, [&](const void* address, int64_t bytes, bool write) {
        const auto inside = [&](const Array& array) {
          return address >= array.bytes.data() && address < array.bytes.data() + array.bytes.size();
        };
        EXPECT_FALSE(inside(buffers.arrays[0]) && write);
        EXPECT_FALSE(inside(buffers.arrays[1]) && !write);
        (inside(buffers.arrays[0])   ? seen.bytes_read
         : inside(buffers.arrays[1]) ? seen.bytes_written
                                     : seen.scratch_bytes) += bytes;
      });
  EXPECT_EQ(seen.bytes_read, counts.bytes_read);
  EXPECT_EQ(seen.bytes_written, counts.bytes_written);
  EXPECT_EQ(seen.scratch_bytes, counts.scratch_bytes);
}

}  // namespace
}  // namespace tenfold::tile
