#include "tests/cpp/tile_kernels.h"

namespace tenfold::tile {
namespace {

std::string complaints(const Kernel& kernel) { return fmt::format("{}", fmt::join(verify(kernel), "\n")); }

// A kernel with these statements in its grid; x and y fit each other.
std::string about(const std::string& body, const std::string& head = "") {
  return complaints(parse_kernel(
      "tenfold 1\nsymbol n in 1..4096 hint 1000\n"
      "kernel k(x: f32[8,16], v: f32[n], i32: i32[8], out y: f32[8,16]) {\n"
      "atom r in 8, c in 16, d in 16, no in floordiv(n + 15, 16), ni in 16, t in 5, u in 3, one in 1\n" +
      head + "scratch %s: f32[c]\ngrid r {\n" + body + "\n}\n}\n"));
}

const std::string kLoad = "%x = load x[r, c] : f32[c]\n", kStore = "\nstore y[r, c] = %x";

// In the middle of a kernel that loads %x and stores it.
std::string within(const std::string& body, const std::string& head = "") {
  return about(kLoad + body + kStore, head);
}

TEST(TileVerify, FilesAreWellFormed) {
  for (const auto& path : kernel_files()) EXPECT_EQ(complaints(parse_kernel(read_file(path))), "") << path;
}

TEST(TileVerify, AcceptsWhatIsRight) {
  EXPECT_EQ(within(""), "");
  EXPECT_EQ(within("%z = neg %x : f32[c]"), "");
  EXPECT_EQ(within("%z = neg %x[c: d] : f32[d]"), "");
  EXPECT_EQ(within("for t {\n%z = neg %x[c: 3*t + 3] : f32[]\n}"), "");
  EXPECT_EQ(within("for c {\n%z = neg %x : f32[]\n}"), "");  // a loop's atom picks the element
  EXPECT_EQ(within("%z = fill f32[] 0.0\nfor t {\n%z = fill f32[] 1.0\n}"), "");
  EXPECT_EQ(within("%m = less %x, %x : bool[c]\nif any %m {\n%z = neg %x : f32[c]\n}\n%q = select %m, %z, %x "
                   ": f32[c]"),
            "");
  EXPECT_EQ(within("for one {\nstore y[r, c] = %x\n}").find("is in no form"), std::string::npos);
}

TEST(TileVerify, Definitions) {
  EXPECT_EQ(within("for t {\n%z = neg %x : f32[c]\n}\n%w = neg %z : f32[c]"),
            "k: `%w = neg %z : f32[c]`: %z is defined in the loop over t, which has ended");
  EXPECT_EQ(within("%w = neg %s : f32[c]"),
            "k: `%w = neg %s : f32[c]`: %s is scratch: `read` gives its elements");
  EXPECT_EQ(within("%x = accumulate add %x : f32[c]"),
            "k: `%x = accumulate add %x : f32[c]`: %x is no variable: define it by fill or copy");
  EXPECT_EQ(
      within("%x = copy %x : f32[c]"),
      "k: `%x = copy %x : f32[c]`: %x is defined twice; only a variable (fill, copy) may be given again");
  EXPECT_EQ(within("%w = read %x[c] : f32[c]"),
            "k: `%w = read %x[c] : f32[c]`: %x is not scratch: use it as an operand");
  EXPECT_EQ(within("write %x[c] = %x"), "k: `write %x[c] = %x`: %x is not scratch");

  // What the text cannot say: a use before the definition.
  Kernel swapped = kernel_file("vote");
  std::swap(swapped.body[1], swapped.body[2]);
  EXPECT_EQ(complaints(swapped),
            "vote: `%mask = less %x, %zero : bool[ni]`: %zero is used before it is defined");
  Kernel twice = kernel_file("vote");
  twice.body.insert(twice.body.begin(), std::get<Stmt>(twice.body[0]));
  EXPECT_EQ(complaints(twice),
            "vote: `%x = load x[8*no + ni] : f32[ni]`: %x is defined twice; only a variable (fill, copy) may "
            "be given again");
}

TEST(TileVerify, Axes) {
  EXPECT_EQ(within("for c {\n%z = load x[r, c] : f32[c]\n}"),
            "k: `%z = load x[r, c] : f32[c]`: its axis c is the atom of a loop around it, or of the grid");
  EXPECT_EQ(within("%z = load x[r, c] : f32[r,c]"),
            "k: `%z = load x[r, c] : f32[r,c]`: its axis r is the atom of a loop around it, or of the grid");
  EXPECT_EQ(within("%z = neg %x : f32[]"),
            "k: `%z = neg %x : f32[]`: axis c of %x is neither an axis of the reader nor a loop around it");
  EXPECT_EQ(within("%z = neg %x[c: t] : f32[]"),
            "k: `%z = neg %x[c: t] : f32[]`: the form t uses t, which is neither an axis of the statement "
            "nor a loop around it");
  EXPECT_EQ(within("%z = load x[r, d] : f32[c]"),
            "k: `%z = load x[r, d] : f32[c]`: the form d uses d, which is neither an axis of the statement "
            "nor a loop around it");
  EXPECT_EQ(within("%z = load v[no] : f32[no]"),
            "k: axis no of %z has floordiv(n + 15, 16) elements: an axis has a fixed number, only loops and "
            "the grid may be symbolic");
  EXPECT_EQ(within("%z = load x[r, c] : f32[c,c]"), "k: %z has the axis c twice");
  Kernel over = kernel_file("vote");
  std::get<Stmt>(over.body[2]).over = {1};
  EXPECT_EQ(complaints(over),
            "vote: `%mask = less %x, %zero over ni : bool[ni]`: it has the axis ni twice\n"
            "vote: `%mask = less %x, %zero over ni : bool[ni]`: only accumulate, reduce and contract combine "
            "over axes");
  Kernel other = kernel_file("vote");
  std::get<Stmt>(other.body[1]).axes = {1};
  EXPECT_EQ(complaints(other),
            "vote: `%zero = constant 0.0 : f32[]`: it runs over other axes than its result %zero has");
}

TEST(TileVerify, Loops) {
  EXPECT_EQ(within("for t {\nfor t {\n}\n}"), "k: for t: t is the atom of a loop around it");
  EXPECT_EQ(within("for r {\n}"), "k: for r: r is the atom of the grid around it");
  EXPECT_EQ(within("while t reverse {\n%g = less %x, %x : bool[c]\ntest %g\n}"),
            "k: while t: a while loop cannot run in reverse");
  EXPECT_EQ(within("while t {\ntest %x\n}"), "k: while t: the tested value %x is f32, it must be bool");
  EXPECT_EQ(within("if any %x {\n}"), "k: if any %x: the mask %x is f32, it must be bool");
  EXPECT_EQ(within("for t {\n%z = fill f32[] 0.0\ncarry %z <- %z\n}"),
            "k: for t: the carried variable %z is not defined before the loop");
  EXPECT_EQ(within("%z = fill i32[c] 0\nfor t {\ncarry %z <- %x\n}"),
            "k: for t: the carry %z is i32, its next value %x is f32");
  EXPECT_EQ(within("%z = fill f32[] 0.0\nfor t {\ncarry %z <- %x\n}"),
            "k: for t: axis c of %x is neither an axis of the reader nor a loop around it");
  EXPECT_EQ(within("%z = fill f32[c] 0.0\nfor t {\ncarry %z <- %x\ncarry %z <- %x\n}"),
            "k: for t: %z is carried twice");
  EXPECT_EQ(within("for t {\ncarry %x <- %x\n}"), "k: for t: %x is no variable: define it by fill or copy");
  EXPECT_EQ(within("%z = fill f32[] 0.0\nwhile t {\n%g = less %x, %x : bool[c]\ntest %g\ncarry %z <- %z\n}"),
            "k: while t: the carry %z lacks the axis c of the tested value: its elements could not stop one "
            "by one");
}

TEST(TileVerify, Stores) {
  EXPECT_EQ(about(kLoad), "k: the output y is never stored");
  EXPECT_EQ(
      within("for t {\nstore y[r, c] = %x\n}"),
      "k: `store y[r, c] = %x`: t of a loop is in no form: its iterations would write the same elements");
  EXPECT_EQ(
      about(kLoad + "store y[0, c] = %x"),
      "k: `store y[0, c] = %x`: r of the grid is in no form: its iterations would write the same elements");
  EXPECT_EQ(about(kLoad + "store y[r, 0] = %x"),
            "k: `store y[r, 0] = %x`: its axis c is in no form: several points would go to one element");
  EXPECT_EQ(within("store x[r, c] = %x"), "k: `store x[r, c] = %x`: x is no output");
  EXPECT_EQ(within("%z = load y[r, c] : f32[c]"),
            "k: `%z = load y[r, c] : f32[c]`: y is an output: nothing is loaded from it");
  EXPECT_EQ(
      about(kLoad + "%m = less %x, %x : bool[c]\nif any %m {\nstore y[r, c] = %x\n}"),
      "k: `store y[r, c] = %x`: a store in an `if` may not happen, but every output element is written");
  EXPECT_EQ(about("%i = index c : i32[c]\nstore y[r, c] = %i"),
            "k: `store y[r, c] = %i`: %i is i32, but y is f32");
}

TEST(TileVerify, Bounds) {
  EXPECT_EQ(about(kLoad + "store y[r, c + 1] = %x"),
            "k: `store y[r, c + 1] = %x`: the form c + 1 reaches 16 of dimension 1 of y, which has 16 "
            "elements: a guard is missing");
  EXPECT_EQ(about(kLoad + "store y[r, -c + 14] = %x"),
            "k: `store y[r, -c + 14] = %x`: the form -c + 14 reaches -1 of dimension 1 of y");
  EXPECT_EQ(within("%z = neg %x[2*u + 12] : f32[u]"),
            "k: `%z = neg %x[c: 2*u + 12] : f32[u]`: the form 2*u + 12 reaches 16 of axis c of %x, which has "
            "16 elements: a guard is missing");
  EXPECT_EQ(within("write %s[c + 1] = %x"),
            "k: `write %s[c + 1] = %x`: the form c + 1 reaches 16 of dimension 0 of %s, which has 16 "
            "elements: a guard is missing");
  EXPECT_EQ(within("%z = read %s[3*t + 4] : f32[t]"),
            "k: `%z = read %s[3*t + 4] : f32[t]`: the form 3*t + 4 reaches 16 of dimension 0 of %s, which "
            "has 16 elements: a guard is missing");
  EXPECT_EQ(within("%z = load x[r + 5, c - 3] : f32[c]"), "");  // a load may leave its buffer
  // A guard on a multiple, on a part, and one that is too weak.
  EXPECT_EQ(about(kLoad + "store y[r, 3*c] = %x", "guard c < 6\n"), "");
  EXPECT_EQ(about(kLoad + "store y[r, 3*c + 1] = %x", "guard c < 6\n"),
            "k: `store y[r, 3*c + 1] = %x`: the form 3*c + 1 reaches 16 of dimension 1 of y, which has 16 "
            "elements: a guard is missing");
}

TEST(TileVerify, SymbolicBounds) {
  const auto ragged = [](const std::string& guard) {
    return complaints(
        parse_kernel("tenfold 1\nsymbol n in 1..4096 hint 1000\nkernel k(out y: f32[n]) {\n"
                     "atom no in floordiv(n + 15, 16), ni in 16\n" +
                     guard + "grid no {\n%x = constant 1.0 : f32[ni]\nstore y[16*no + ni] = %x\n}\n}\n"));
  };
  EXPECT_EQ(ragged("guard 16*no + ni < n\n"), "");
  EXPECT_EQ(ragged(""),
            "k: `store y[16*no + ni] = %x`: the form 16*no + ni reaches 15 of dimension 0 of y, which has 1 "
            "elements for n=1: "
            "a guard is missing");
  EXPECT_EQ(ragged("guard 16*no + ni < n + 1\n"),
            "k: `store y[16*no + ni] = %x`: the form 16*no + ni reaches 1 of dimension 0 of y, which has 1 "
            "elements for n=1: a guard is missing");
}

TEST(TileVerify, Forms) {
  EXPECT_EQ(within("%z = load x[c] : f32[c]"),
            "k: `%z = load x[c] : f32[c]`: x has 2 dimensions, it is indexed by 1 forms");
  EXPECT_EQ(within("write %s[c, 0] = %x"),
            "k: `write %s[c, 0] = %x`: %s has 1 dimensions, it is indexed by 2 forms");
  EXPECT_EQ(within("%z = read %s[*] : f32[]"),
            "k: `%z = read %s[*] : f32[]`: dimension 0 of %s is Whole: only a load may be gathered");
  EXPECT_EQ(within("%z = load x[*, c] : f32[c]"),
            "k: `%z = load x[*, c] : f32[c]`: it has 0 operands, it needs 1");
  EXPECT_EQ(within("%z = load x[%x, 0] : f32[c]"),
            "k: `%z = load x[%x, 0] : f32[c]`: the index %x is f32, it must be an integer");
  EXPECT_EQ(within("%z = load x[%x[*], 0] : f32[]"),
            "k: `%z = load x[%x[c: *], 0] : f32[]`: %x is read at a place that is Whole\n"
            "k: `%z = load x[%x[c: *], 0] : f32[]`: the index %x is f32, it must be an integer");
}

TEST(TileVerify, Types) {
  EXPECT_EQ(within("%i = index c : i32[c]\n%z = add %x, %i : f32[c]"),
            "k: `%z = add %x, %i : f32[c]`: add: the inputs differ in dtype: x is f32[], y is i32[]. Convert "
            "one to the other's dtype.");
  EXPECT_EQ(within("%z = less %x, %x : f32[c]"),
            "k: `%z = less %x, %x : f32[c]`: less gives bool, but %z is f32");
  EXPECT_EQ(within("%z = add %x : f32[c]"), "k: `%z = add %x : f32[c]`: add takes 2 inputs, not 1");
  EXPECT_EQ(within("%z = convert %x : f32[c]"),
            "k: `%z = convert %x : f32[c]`: convert needs the attribute 'dtype' (a dtype)");
  EXPECT_EQ(within("%z = load x[r, c] : f64[c]"), "k: `%z = load x[r, c] : f64[c]`: %z is f64, but x is f32");
  EXPECT_EQ(within("%z = index c : f32[c]"), "k: `%z = index c : f32[c]`: %z is f32, an index is an integer");
  EXPECT_EQ(within("%z = reduce sub %x over c : f32[]"),
            "k: `%z = reduce sub %x over c : f32[]`: sub combines nothing: take add, mul, minimum, maximum "
            "or a logical one");
  EXPECT_EQ(within("%z = reduce add %x over c : f64[]"),
            "k: `%z = reduce add %x over c : f64[]`: %x is f32, but %z is f64");
  EXPECT_EQ(within("%z = reduce add %x : f32[c]"),
            "k: `%z = reduce add %x : f32[c]`: it reduces over no axis");
  EXPECT_EQ(within("%z = copy %x : f64[c]"), "k: `%z = copy %x : f64[c]`: %x is f32, but %z is f64");
  EXPECT_EQ(within("%z = fill f32[] 0.0\n%z = contract %x over c : f32[]"),
            "k: `%z = contract %x over c : f32[]`: it has 1 operands, it needs 2");
}

TEST(TileVerify, OwnVariable) {
  EXPECT_EQ(within("%z = fill f32[c] 0.0\n%z = accumulate add %z : f32[c]"), "");
  EXPECT_EQ(
      within("%z = fill f32[c] 0.0\n%z = accumulate add %z[-c + 15] : f32[c]"),
      "k: `%z = accumulate add %z[c: -c + 15] : f32[c]`: it reads its own variable %z at another place");
}

TEST(TileVerify, NumbersThatNameNothing) {
  const auto broken = [](auto change) {
    Kernel kernel = kernel_file("vote");
    change(kernel);
    return complaints(kernel);
  };
  const auto stmt = [](Kernel& k, int i) -> Stmt& { return std::get<Stmt>(k.body[i]); };
  EXPECT_EQ(broken([](Kernel& k) { k.grid = {9}; }), "vote: the grid names atom 9, there are 2");
  EXPECT_EQ(broken([](Kernel& k) { k.grid = {0, 0}; }), "vote: the grid names no twice");
  EXPECT_EQ(broken([](Kernel& k) { k.vector = 7; }), "vote: `vector` names no atom");
  EXPECT_EQ(broken([](Kernel& k) { k.vectors = {-1}; }), "vote: `vector` names no atom");
  EXPECT_EQ(broken([](Kernel& k) { k.guards = {{Form::point(3), 4}}; }),
            "vote: a guard needs a form over atoms");
  EXPECT_EQ(broken([](Kernel& k) { k.values[0].axes = {5}; }), "vote: %x has an axis that is no atom");
  EXPECT_EQ(broken([](Kernel& k) { k.values[0].name = "x"; }),
            "vote: the name of value x does not start with %");
  EXPECT_EQ(broken([](Kernel& k) { k.values[1].name = "%x"; }),
            "vote: a value is named %x, as something else is");
  const std::string nothing = "names a value, an atom, a buffer or an operation that does not exist";
  EXPECT_EQ(broken([&](Kernel& k) { stmt(k, 0).arg = 2; }), "vote: a load " + nothing);
  EXPECT_EQ(broken([&](Kernel& k) { stmt(k, 0).result = 99; }), "vote: a load " + nothing);
  EXPECT_EQ(broken([&](Kernel& k) { stmt(k, 2).prim = nullptr; }), "vote: a map " + nothing);
  EXPECT_EQ(broken([&](Kernel& k) { stmt(k, 2).operands[0].value = -1; }), "vote: a map " + nothing);
  EXPECT_EQ(broken([&](Kernel& k) { stmt(k, 0).forms[0].terms[0].atom = 8; }), "vote: a load " + nothing);
  EXPECT_EQ(broken([](Kernel& k) { std::get<std::unique_ptr<If>>(k.body[3])->mask.value = 77; }),
            "vote: an `if` names a value that does not exist");
}

}  // namespace
}  // namespace tenfold::tile
