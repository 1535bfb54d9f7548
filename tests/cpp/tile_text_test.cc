#include "tests/cpp/tile_kernels.h"

namespace tenfold::tile {
namespace {

std::string without_comments(const std::string& text) {
  std::istringstream lines(text);
  std::string line, result;
  while (std::getline(lines, line))
    if (!line.starts_with('#')) result += line + "\n";
  return result;
}

TEST(TileText, FilesPrintAsTheyAre) {
  for (const auto& path : kernel_files()) {
    const std::string text = read_file(path);
    EXPECT_EQ(print(parse_kernel(text, path.filename())), without_comments(text)) << path;
  }
  EXPECT_GE(kernel_files().size(), 15u);
}

TEST(TileText, CloneIsTheSame) {
  for (const auto& path : kernel_files()) {
    const Kernel kernel = parse_kernel(read_file(path));
    EXPECT_EQ(print(clone(kernel)), print(kernel));
  }
}

TEST(TileText, EveryFormPrints) {
  Kernel k;
  k.atoms = {{"i", 4}, {"j", 8}};
  const Dim n = Dim::symbol({"n", 0, 100, 5}), m = Dim::symbol({"m", 0, 100, 5});
  const auto text = [&](Dim offset, std::vector<Term> terms) { return print(k, Form{offset, terms, false}); };
  EXPECT_EQ(text(0, {}), "0");
  EXPECT_EQ(text(-3, {}), "-3");
  EXPECT_EQ(text(0, {{0, 1}}), "i");
  EXPECT_EQ(text(0, {{0, -1}}), "-i");
  EXPECT_EQ(text(-7, {{0, 8}, {1, -2}}), "8*i - 2*j - 7");
  EXPECT_EQ(text(n - 1, {{0, n}}), "n*i + n - 1");
  EXPECT_EQ(text(Dim(1) - n, {{0, n + m}}), "(m + n)*i - n + 1");
  EXPECT_EQ(text(0, {{0, n * m}, {1, Dim(0) - n}}), "(m*n)*i + (-n)*j");
  EXPECT_EQ(text(floordiv(n, 2), {{0, floordiv(n, 3)}}), "(floordiv(n, 3))*i + floordiv(n, 2)");
  EXPECT_EQ(print(k, Form::all()), "*");
}

TEST(TileText, ReadsOtherSpellings) {
  const char* text = R"(tenfold 1   # the version
symbol n in 1..64
kernel k(x: f32[4,n], out streaming y: f32[4]) {
  atom i in 4, j in n, k in 4
  vector -, i
  grid {
    %x = load x[i, 2 * n - n - n + 0] : f32[i]
    %y = map add %x[3 - i], %x[i: k*1 + 0*2] over : f32[i]
  }
})";
  EXPECT_EQ(error_of([&] { parse_kernel(text, "a.ten"); }), "a.ten:8:46: add has no attribute 'over'");
  std::string fixed = text;
  fixed.replace(fixed.find(" over"), 5, "");
  EXPECT_EQ(print(parse_kernel(fixed)), R"(tenfold 1
symbol n in 1..64 hint 1024
kernel k(x: f32[4,n], out streaming y: f32[4]) {
  atom i in 4, j in n, k in 4
  vector -, i
  grid {
    %x = load x[i, 0] : f32[i]
    %y = add %x[i: -i + 3], %x[i: k] : f32[i]
  }
}
)");
}

// A kernel with one statement in it, parsed.
std::string complaint_about(const std::string& statement) {
  const std::string text =
      "tenfold 1\nkernel k(x: f32[4], out y: f32[4]) {\natom i in 4, j in 4\nscratch %s: f32[i]\ngrid i "
      "{\n%v = fill f32[j] 0.0\n" +
      statement + "\n}\n}\n";
  return error_of([&] { parse_kernel(text, "a.ten"); });
}

TEST(TileText, Errors) {
  EXPECT_EQ(complaint_about(""), "no error");
  EXPECT_EQ(complaint_about("%1 = add %v, %w : f32[j]"), "a.ten:7:14: the value %w is not defined");
  EXPECT_EQ(complaint_about("%1 = sqr %v : f32[j]"),
            "a.ten:7:6: 'sqr' is neither a tile operation nor a map");
  EXPECT_EQ(complaint_about("%1 = load z[i] : f32[]"), "a.ten:7:11: there is no buffer named 'z'");
  EXPECT_EQ(complaint_about("%1 = load x[i + m] : f32[]"), "a.ten:7:17: 'm' is neither an atom nor a symbol");
  EXPECT_EQ(complaint_about("%1 = load x[i*j] : f32[]"),
            "a.ten:7:15: a form is linear: it multiplies no two atoms");
  EXPECT_EQ(complaint_about("%1 = load x[i : f32[]"), "a.ten:7:15: expected ']', found ':'");
  EXPECT_EQ(complaint_about("%1 = load x[i] : f33[]"), "a.ten:7:18: there is no dtype named 'f33'");
  EXPECT_EQ(complaint_about("%1 = load x[i] : f32[k]"), "a.ten:7:22: there is no atom named 'k'");
  EXPECT_EQ(complaint_about("%1 = fill i32[j] 0.5"),
            "a.ten:7:18: expected a value (an integer), found '0.5'");
  EXPECT_EQ(complaint_about("%1 = constant 0.5 : i32[j]"), "a.ten:7:15: 0.5 is no i32");
  EXPECT_EQ(complaint_about("%v = load x[i] : f32[j]"), "a.ten:7:1: the value %v is defined twice");
  EXPECT_EQ(complaint_about("%v = fill f32[] 0.0"), "a.ten:7:1: %v is f32[j]");
  EXPECT_EQ(complaint_about("%w = accumulate add %v : f32[j]"),
            "a.ten:7:1: the variable %w is not defined: fill it first");
  EXPECT_EQ(complaint_about("%1 = convert %v to=i32 : i32[j]"), "a.ten:7:17: convert has no attribute 'to'");
  EXPECT_EQ(complaint_about("%1 = neg %v[i: 0] : f32[j]"), "a.ten:7:13: axis 0 of %v is j");
  EXPECT_EQ(complaint_about("%1 = neg %v[0, 1] : f32[j]"), "a.ten:7:13: %v has 1 axes, not 2");
  EXPECT_EQ(complaint_about("for i"), "a.ten:8:1: expected '{', found '}'");
  EXPECT_EQ(complaint_about("load x[i]"), "a.ten:7:1: 'load' starts no statement");
  EXPECT_EQ(complaint_about("%1 = store x[i]"), "a.ten:7:6: this operation has no result");
  EXPECT_EQ(complaint_about("%1 = add %v, %v : f32[j] : "), "a.ten:7:26: expected a statement, found ':'");
  EXPECT_EQ(complaint_about("while j { }"), "a.ten:7:11: expected 'test', found '}'");
  EXPECT_EQ(complaint_about("if %v { }"), "a.ten:7:4: expected 'any', found '%v'");
  EXPECT_EQ(complaint_about("store y[%v] = %v"), "a.ten:7:13: a store has no gathered dimension");
  EXPECT_EQ(complaint_about("}}}"), "a.ten:7:3: a kernel ends here");
  EXPECT_EQ(complaint_about("%1 = neg %v : f32["), "a.ten:8:1: expected an atom, found '}'");
}

TEST(TileText, ErrorsBeforeTheBody) {
  const auto error = [](const char* text) { return error_of([&] { parse_kernel(text, "a.ten"); }); };
  EXPECT_EQ(error(""), "a.ten:1:1: expected 'tenfold', found the end of the text");
  EXPECT_EQ(error("tenfold 2"), "a.ten:1:9: this tenfold reads version 1 of the format");
  EXPECT_EQ(error("tenfold 1 symbol n in 5..2"), "a.ten:1:18: the symbol 'n' has no values");
  EXPECT_EQ(error("tenfold 1 symbol n in 1..2 symbol n in 1..2"),
            "a.ten:1:35: the symbol 'n' is declared twice");
  EXPECT_EQ(error("tenfold 1 kernel k(x: f32[n])"), "a.ten:1:27: the symbol 'n' has not been declared");
  EXPECT_EQ(error("tenfold 1 kernel k(x: f32[2], x: f32[2])"), "a.ten:1:31: two buffers are named 'x'");
  EXPECT_EQ(error("tenfold 1 kernel k() { atom i in 2, i in 3"), "a.ten:1:37: two atoms are named 'i'");
  EXPECT_EQ(error("tenfold 1 kernel k() { scratch e: f32[]"),
            "a.ten:1:32: a value's name starts with %, 'e' does not");
}

// No prefix and no single changed character may do worse than an error.
TEST(TileText, BrokenTextsEndInErrors) {
  std::mt19937 random(3);
  const std::string alphabet = "%[]{}():,=+-*<> 0159aijx.\n#\"";
  for (const auto& path : kernel_files()) {
    const std::string text = read_file(path);
    for (int round = 0; round < 300; ++round) {
      std::string broken = text;
      if (round % 3 == 0)
        broken.resize(random() % broken.size());
      else
        broken[random() % broken.size()] = alphabet[random() % alphabet.size()];
      try {
        const Kernel kernel = parse_kernel(broken);
        const std::string once = print(kernel);
        EXPECT_EQ(print(parse_kernel(once)), once);
        verify(kernel);
      } catch (const UserError&) {
      }
    }
  }
}

TEST(TileText, StopsAtASection) {
  const std::string text = read_file(TENFOLD_TESTS_DIR "/tile/vote.ten");
  EXPECT_EQ(print(parse_kernel(text + "---- expected\nanything")), text);
}

}  // namespace
}  // namespace tenfold::tile
