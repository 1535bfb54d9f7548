// Kernels that every target must get right: shapes that the corpus of tests/tile leaves out.
#pragma once

#include "kernel_testing.h"

namespace tenfold::testing {

inline std::vector<KernelCase> ragged_elementwise() {
  std::vector<KernelCase> cases;
  for (const int64_t n : {0, 1, 2, 15, 16, 17, 31, 64, 97, 1021})
    for (const int64_t tile : {1, 3, 16, 40, 320}) {
      cases.push_back(
          {replaced(R"(tenfold 1
kernel ragged(x: f32[N], y: f32[N], out z: f32[N]) {
  atom bo in B, bi in T
  vector bi
  guard T*bo + bi < N
  grid bo {
    %x = load x[T*bo + bi] : f32[bi]
    %y = load y[T*bo + bi] : f32[bi]
    %z = mul %x, %y : f32[bi]
    %w = sub %z, %x : f32[bi]
    store z[T*bo + bi] = %w
  }
}
)",
                    {{"T", number(tile)}, {"B", number((n + tile - 1) / tile)}, {"N", number(n)}})});
    }
  return cases;
}

// Halves of vectors that lie outside of a buffer, beside rows that may; and rows that are not stored.
inline std::vector<KernelCase> borders_of_two_axes() {
  std::vector<KernelCase> cases;
  for (const std::string dtype : {"f32", "f64", "i8", "i64", "complex64", "complex128"})
    for (const int64_t n : {3, 6, 11, 16})
      for (const int64_t before : {4, 8, 20})
        cases.push_back({replaced(R"(tenfold 1
kernel borders(x: D[5,N], out y: D[9,N]) {
  atom i in 10, l in N, j in 5
  vector l
  guard i < 9
  grid i {
    %x = load x[i - 3, l + 4*j - P] : D[j,l]
    %y = fill D[l] ZERO
    %y = accumulate add %x over j : D[l]
    store y[i, l] = %y
  }
}
)",
                                  {{"ZERO", dtype[0] == 'i'   ? "0"
                                            : dtype[0] == 'c' ? "complex(0.0, 0.0)"
                                                              : "0.0"},
                                   {"D", dtype},
                                   {"N", number(n)},
                                   {"P", number(before)}})});
  return cases;
}

inline std::vector<KernelCase> symbolic_extents() {
  std::vector<KernelCase> cases;
  const std::string text = R"(tenfold 1
symbol n in 0..100000 hint 1000
kernel rows(x: f32[3,n], out y: f32[3,n], out s: f32[3]) {
  atom r in 3, jo in floordiv(n + 31, 32), ji in 32
  vector ji
  guard 32*jo + ji < n
  grid r {
    %m = fill f32[ji] 0.0
    for jo {
      %x = load x[r, 32*jo + ji] : f32[ji]
      %m = accumulate add %x : f32[ji]
    }
    %s = reduce add %m over ji : f32[]
    store s[r] = %s
    for jo {
      %z = load x[r, 32*jo + ji] : f32[ji]
      %y = sub %z, %s : f32[ji]
      store y[r, 32*jo + ji] = %y
    }
  }
}
)";
  for (const int64_t n : {0, 1, 31, 32, 33, 64, 101}) {
    cases.push_back({text, {{"n", n}}});
  }
  return cases;
}

inline std::vector<KernelCase> reductions_along_and_across() {
  std::vector<KernelCase> cases;
  for (const char* op : {"add", "mul", "maximum", "minimum"})
    for (const char* dtype : {"f32", "f64", "i32", "u8", "f16", "complex64"})
      for (const int64_t n : {1, 2, 5, 16, 23, 64}) {
        if (std::string(dtype) == "complex64" && std::string(op) != "add") continue;
        cases.push_back({replaced(R"(tenfold 1
kernel reductions(x: D[6,N], out rows: D[6], out columns: D[N], out all: D[], out both: D[]) {
  atom i in 6, j in N, io in 3, ii in 2
  vector j, i
  grid {
    %x = load x[i, j] : D[i,j]
    %r = reduce OP %x over j : D[i]
    store rows[i] = %r
    %c = reduce OP %x over i : D[j]
    store columns[j] = %c
    %a = reduce OP %r over i : D[]
    store all[] = %a
    %b = reduce OP %x over i, j : D[]
    store both[] = %b
  }
}
)",
                                  {{"D", dtype}, {"OP", op}, {"N", number(n)}}),
                         {},
                         std::string(dtype) == "complex64" ? 64.0 : 0.0});
      }
  return cases;
}

inline std::vector<KernelCase> contractions_in_loops_and_blocks() {
  std::vector<KernelCase> cases;
  for (const char* dtype : {"f32", "f64", "f16", "bf16", "i32", "complex64"})
    for (const int64_t k : {1, 7, 16, 64}) {
      cases.push_back({replaced(R"(tenfold 1
kernel gemm(a: D[11,K], b: D[K,45], out c: D[11,45]) {
  atom mo in 2, mi in 6, no in 1, ni in 48, ki in K
  vector ni
  guard 6*mo + mi < 11
  guard 48*no + ni < 45
  grid mo, no {
    %c = fill D[mi,ni] 0.0
    %a = load a[6*mo + mi, ki] : D[mi,ki]
    %b = load b[ki, 48*no + ni] : D[ki,ni]
    %c = contract %a, %b over ki : D[mi,ni]
    store c[6*mo + mi, 48*no + ni] = %c
  }
}
)",
                                {{"D", dtype},
                                 {"K", number(k)},
                                 {"0.0", std::string(dtype) == "i32"         ? "0"
                                         : std::string(dtype) == "complex64" ? "complex(0.0, 0.0)"
                                                                             : "0.0"}}),
                       {},
                       std::string(dtype) == "complex64" ? 64.0 : 0.0});
    }
  return cases;
}

// Half inputs into an f32 accumulator; a dot product along vectors; two axes combined.
inline std::vector<KernelCase> other_contractions() {
  std::vector<KernelCase> cases;
  cases.push_back({R"(tenfold 1
kernel mixed(a: f16[5,24], b: bf16[24,20], v: f32[24], out c: f32[5,20], out d: f32[], out e: f32[20]) {
  atom m in 5, n in 20, k in 24, ko in 6, ki in 4
  vector n, k
  scratch %s: f32[k]
  grid {
    %c = fill f32[m,n] 0.0
    %a = load a[m, k] : f16[m,k]
    %b = load b[k, n] : bf16[k,n]
    %c = contract %a, %b over k : f32[m,n]
    store c[m, n] = %c
    %v = load v[k] : f32[k]
    %w = mul %v, %v : f32[k]
    write %s[k] = %w
    %d = fill f32[] 1.0
    %d = contract %v, %w over k : f32[]
    store d[] = %d
    %e = fill f32[n] 0.0
    %p = load b[4*ko + ki, n] : bf16[ko,ki,n]
    %q = read %s[4*ko + ki] : f32[ko,ki]
    %e = contract %p, %q over ko, ki : f32[n]
    store e[n] = %e
  }
}
)"});
  return cases;
}

// u8 or i8 with i8 into i32 by fours that lie together: as they are read, and made in registers; along the
// vectors the signed ones or the unsigned; tiles of whole vectors, ragged ones, and ones that no vector fits.
inline std::vector<KernelCase> contractions_of_bytes() {
  std::vector<KernelCase> cases;
  for (const auto& [a, b] : {std::pair("u8", "i8"), {"i8", "u8"}, {"i8", "i8"}})
    for (const int64_t n : {64, 45, 20})
      for (const char* made : {"%r", "%x"})
        cases.push_back(
            {replaced(R"(tenfold 1
kernel bytes(a: A[5,32], b: B[32,N], out c: i32[5,N]) {
  atom m in 5, no in O, ni in T, k in 8, q in 4
  vector ni, q
  guard T*no + ni < N
  scratch %s: B[k,ni,q]
  grid no {
    for k {
      %w = load b[4*k + q, T*no + ni] : B[q,ni]
      write %s[k, ni, q] = %w
    }
    %c = fill i32[m,ni] 7
    for k {
      %r = load a[m, 4*k + q] : A[m,q]
      %x = bitwise_not %r : A[m,q]
      %y = read %s[k, ni, q] : B[q,ni]
      %c = contract %L, %y over q : i32[m,ni]
    }
    store c[m, T*no + ni] = %c
  }
}
)",
                      {{made == std::string("%r") ? "      %x = bitwise_not %r : A[m,q]\n" : "\n\n", ""},
                       {"%L", made},
                       {"A", a},
                       {"B", b},
                       {"O", number((n + 31) / 32)},
                       {"T", number(n == 20 ? 20 : 32)},
                       {"N", number(n)}})});
  return cases;
}

// A product as it is planned where there are tile registers: whole sums of pairs, or of fours, at once.
inline std::vector<KernelCase> products_in_tiles() {
  struct Size {
    int64_t rows, groups, columns;
  };
  struct Types {
    const char *a, *b, *sum;
    int64_t group;
  };
  std::vector<KernelCase> cases;
  for (const Size& s : {Size{20, 24, 32}, {1, 16, 16}, {18, 9, 48}})
    for (const Types& t : {Types{"bf16", "bf16", "f32", 2},
                           {"u8", "i8", "i32", 4},
                           {"i8", "u8", "i32", 4},
                           {"i8", "i8", "i32", 4}}) {
      KernelCase c{replaced(R"(tenfold 1
kernel product(x: A[R,K], y: B[G,J,W], r: S[R,J], out o: S[R,J]) {
  atom i in R, g in G, j in J, w in W, b in 1
  vector j, w
  grid b {
    %2 = load y[g, j, w] : B[g,w,j]
    %1 = load x[i, W*g + w] : A[i,g,w]
    %3 = fill S[i,j] 0
    %3 = contract %1, %2 over g, w : S[i,j]
    %4 = load r[i, j] : S[i,j]
    %5 = add %3, %4 : S[i,j]
    store o[i, j] = %5
  }
}
)",
                            {{"R", number(s.rows)},
                             {"K", number(s.groups * t.group)},
                             {"G", number(s.groups)},
                             {"J", number(s.columns)},
                             {"W", number(t.group)},
                             {"A", t.a},
                             {"B", t.b},
                             {"S", t.sum}})};
      if (t.group == 2) c.ulp = 1 << 14;  // pairs have an order of their own
      cases.push_back(std::move(c));
    }
  return cases;
}

inline std::vector<KernelCase> structs_of_every_width() {
  std::vector<KernelCase> cases;
  for (const char* dtype : {"f32", "f64", "i8", "complex64"})
    for (const int64_t fields : {2, 3, 4, 9})
      for (const int64_t n : {32, 37}) {
        if (n == 37 && fields > 4) continue;
        cases.push_back({replaced(R"(tenfold 1
kernel structs(x: D[N,F], out y: D[N,F], out z: D[F,N], out w: D[N,2,F]) {
  atom bo in 3, bi in 16, f in F, two in 2
  vector bi
  guard 16*bo + bi < N
  grid bo {
    %x = load x[16*bo + bi, f] : D[bi,f]
    store y[16*bo + bi, f] = %x
    store z[f, 16*bo + bi] = %x
    %w = copy %x : D[bi,f]
    store w[16*bo + bi, two, f] = %w : [bi,two,f]
  }
}
)",
                                  {{"D", dtype}, {"F", number(fields)}, {"N", number(n)}})});
      }
  return cases;
}

inline std::vector<KernelCase> carries_through_a_thousand_steps() {
  std::vector<KernelCase> cases;
  cases.push_back({R"(tenfold 1
kernel oscillator(x: f32[70,2], out y: f32[70,2], out energy: f32[1000,70], out hits: i32[70]) {
  atom bo in 2, e in 48, t in 1000
  vector e
  guard 48*bo + e < 70
  grid bo {
    %x0 = load x[48*bo + e, 0] : f32[e]
    %x1 = load x[48*bo + e, 1] : f32[e]
    %p = copy %x0 : f32[e]
    %v = copy %x1 : f32[e]
    %n = fill i32[e] 0
    %dt = constant 0.01 : f32[]
    %down = constant -0.01 : f32[]
    %zero = constant 0.0 : f32[]
    %one = constant 1 : i32[]
    for t {
      %p1 = fma %v, %dt, %p : f32[e]
      %v1 = fma %p, %down, %v : f32[e]
      %neg = less %p1, %zero : bool[e]
      %m = copy %n : i32[e]
      if any %neg {
        %m1 = add %n, %one : i32[e]
        %q = mul %p1, %p1 : f32[e]
      }
      %n1 = select %neg, %m1, %m : i32[e]
      %s = select %neg, %q, %v1 : f32[e]
      store energy[t, 48*bo + e] = %s
      carry %p <- %p1
      carry %v <- %v1
      carry %n <- %n1
    }
    store y[48*bo + e, 0] = %p
    store y[48*bo + e, 1] = %v
    store hits[48*bo + e] = %n
  }
}
)"});
  return cases;
}

// The second turn of the loop has 8 of 32 elements: whole vectors have no vote, and a value all the same.
inline std::vector<KernelCase> votes_of_vectors_outside() {
  std::vector<KernelCase> cases;
  cases.push_back({R"(tenfold 1
kernel edge(x: f32[40], out y: f32[40]) {
  atom jo in 2, ji in 32
  vector ji
  guard 32*jo + ji < 40
  grid {
    %zero = constant 0.0 : f32[]
    for jo {
      %x = load x[32*jo + ji] : f32[ji]
      %low = less %x, %zero : bool[ji]
      if any %low {
        %root = sqrt %x : f32[ji]
      }
      %y = select %low, %root, %x : f32[ji]
      store y[32*jo + ji] = %y
    }
  }
}
)"});
  return cases;
}

// A body that is long for what goes in and out is computed for the lanes whose vote holds only.
inline std::vector<KernelCase> votes_over_several_vectors() {
  std::vector<KernelCase> cases;
  std::string rounds;
  std::string last = "%k0";
  for (int i = 0; i < 12; ++i) {
    const std::string n = number(i);
    rounds += "        %a" + n + " = multiply_high %odd, " + last + " : u32[e]\n        %b" + n + " = mul " +
              last + ", %odd : u32[e]\n        %c" + n + " = bitwise_xor %a" + n + ", %k" + number(i % 4) +
              " : u32[e]\n        %d" + n + " = add %c" + n + ", %b" + n + " : u32[e]\n";
    last = "%d" + n;
  }
  for (const int64_t n : {48, 113}) {
    const std::string text =
        replaced(R"(tenfold 1
kernel votes(x: u32[N], out y: u32[N], out z: f32[N], out count: i32[N]) {
  atom bo in B, e in 48, t in 40
  vector e
  guard 48*bo + e < N
  grid bo {
    %x = load x[48*bo + e] : u32[e]
    %odd = constant 3528531795 : u32[]
    %k0 = mul %x, %odd : u32[e]
    %w0 = constant 2654435769 : u32[]
    %w1 = constant 77 : u32[]
    %k1 = add %k0, %w0 : u32[e]
    %k2 = add %k1, %w1 : u32[e]
    %k3 = bitwise_xor %k0, %w1 : u32[e]
    %s = copy %x : u32[e]
    %n = fill i32[e] 0
    %one = constant 1 : i32[]
    %step = constant 1000003 : u32[]
    %few = constant 400000000 : u32[]
    %scale = constant 0.25 : f32[]
    for t {
      %s1 = mul %s, %step : u32[e]
      %s2 = add %s1, %w0 : u32[e]
      %done = less %s2, %few : bool[e]
      if any %done {
@@        %fresh = bitwise_xor ##, %s2 : u32[e]
      }
      %s3 = select %done, %fresh, %s2 : u32[e]
      %hit = convert %done dtype=i32 : i32[e]
      %n1 = add %n, %hit : i32[e]
      carry %s <- %s3
      carry %n <- %n1
    }
    %f = convert %s dtype=f32 : f32[e]
    %g = mul %f, %scale : f32[e]
    store y[48*bo + e] = %s
    store z[48*bo + e] = %g
    store count[48*bo + e] = %n
  }
}
)",
                 {{"@@", rounds}, {"##", last}, {"N", number(n)}, {"B", number((n + 47) / 48)}});
    cases.push_back({text});
  }
  return cases;
}

// Maps of n elements in blocks of 256, of every width: the C of devices moves several at once.
inline KernelCase runs_of_elements(int64_t n) {
  return {replaced(R"(tenfold 1
kernel runs(x: f32[N], y: u8[3,N], z: f64[3,N], h: bf16[N], out a: f32[3,N], out b: bool[N], out c: f16[N], out e: i64[3,N]) {
  atom bo in B, r in 3, bi in 256
  vector bi
  guard 256*bo + bi < N
  grid bo {
    %x = load x[256*bo + bi] : f32[bi]
    %y = load y[r, 256*bo + bi] : u8[r,bi]
    %z = load z[r, 256*bo + bi] : f64[r,bi]
    %h = load h[256*bo + bi] : bf16[bi]
    %q = sqrt %z : f64[r,bi]
    %s = convert %y dtype=f32 : f32[r,bi]
    %p = add %s, %x : f32[r,bi]
    store a[r, 256*bo + bi] = %p
    %g = convert %h dtype=f16 : f16[bi]
    store c[256*bo + bi] = %g
    %0 = constant 0.5 : f32[]
    %l = less %x, %0 : bool[bi]
    store b[256*bo + bi] = %l
    %i = convert %q dtype=i64 : i64[r,bi]
    store e[r, 256*bo + bi] = %i
  }
}
)",
                   {{"N", number(n)}, {"B", number((n + 255) / 256)}}),
          {},
          0,
          true};
}
inline std::vector<KernelCase> runs_of_elements() {
  return {runs_of_elements(1024), runs_of_elements(1020), runs_of_elements(1018), runs_of_elements(4)};
}

inline std::vector<KernelCase> large_tiles_become_loops() {
  std::vector<KernelCase> cases;
  cases.push_back({R"(tenfold 1
kernel large(x: f32[24,333], s: f32[333], out y: f32[24,333], out t: f64[333,24]) {
  atom i in 24, j in 333
  vector j
  scratch %e: f32[i,j]
  grid {
    %x = load x[i, j] : f32[i,j]
    %a = abs %x : f32[i,j]
    %b = add %a, %x : f32[i,j]
    write %e[i, j] = %b
    %s = load s[j] : f32[j]
    %r = read %e[i, j] : f32[i,j]
    %c = mul %r, %s : f32[i,j]
    store y[i, j] = %c
    %k = index 24*j - i + 5 : i32[i,j]
    %f = convert %k dtype=f64 : f64[i,j]
    store t[j, i] = %f
  }
}
)"});
  return cases;
}

inline std::vector<KernelCase> streamed_outputs() {
  std::vector<KernelCase> cases;
  cases.push_back({R"(tenfold 1
kernel streamed(x: f32[12,128,4], out streaming y: f32[12,128,4], out streaming z: f32[12,128]) {
  atom t in 12, eo in 2, e in 64, f in 4
  vector e
  grid eo {
    for t {
      %x = load x[t, 64*eo + e, f] : f32[e,f]
      store y[t, 64*eo + e, f] = %x
      %s = reduce add %x over f : f32[e]
      store z[t, 64*eo + e] = %s
    }
  }
}
)"});
  // Bytes: whole lines where rows are made of them, else vector by vector.
  for (const int row : {256, 144})
    cases.push_back({fmt::format(R"(tenfold 1
kernel bytes(x: f32[12,{0}], out streaming y: bool[12,{0}], out streaming z: f32[12,{0}], out streaming n: u8[12,{0}]) {{
  atom t in 12, eo in {1}, e in {2}
  vector e
  grid eo {{
    for t {{
      %x = load x[t, {2}*eo + e] : f32[e]
      %h = constant 0.5 : f32[]
      %y = less %x, %h : bool[e]
      store y[t, {2}*eo + e] = %y
      %z = mul %x, %h : f32[e]
      store z[t, {2}*eo + e] = %z
      %n = convert %y dtype=u8 : u8[e]
      store n[t, {2}*eo + e] = %n
    }}
  }}
}}
)",
                                 row, row == 256 ? 2 : 3, row == 256 ? 128 : 48)});
  return cases;
}

inline std::vector<KernelCase> special_values_reach_minimum_and_maximum() {
  std::vector<KernelCase> cases;
  const std::string text = R"(tenfold 1
kernel extremes(x: f32[64], y: f32[64], out a: f32[64], out b: f32[64], out c: f32[64], out d: f32[]) {
  atom i in 64
  vector i
  grid {
    %x = load x[i] : f32[i]
    %y = load y[i] : f32[i]
    %k = constant 0.5 : f32[]
    %a = minimum %x, %y : f32[i]
    %b = maximum %x, %k : f32[i]
    %c = minimum %k, %x : f32[i]
    store a[i] = %a
    store b[i] = %b
    store c[i] = %c
    %d = reduce maximum %x over i : f32[]
    store d[] = %d
  }
}
)";
  cases.push_back({text, {}, 0, true});
  return cases;
}

// All of them; of long sweeps one in `stride`, with a prime stride so that each parameter takes its turns.
// A product of narrow numbers as tiles for matrix units: c[b,m,n] = epilogue(sum over k of x y).
struct Product {
  std::string dtype = "bf16";
  int64_t batch = 1, m = 64, n = 64, k = 64;
  int64_t rows = 64, columns = 64, terms = 32;        // of a tile
  std::string x = "b, M, K", y = "b, K, N";           // as memory lies
  std::string before = "", a = "%x", b = "%y";        // statements in the loop, and what is multiplied
  std::string after = "", result = "%c", to = "f32";  // and after it
  std::string out = "[b, M, N]";
  bool loop = true;

  KernelCase text() const {
    const auto blocks = [](int64_t n, int64_t of) { return number((n + of - 1) / of); };
    const auto guard = [](int64_t n, int64_t of, const char* form) {
      return n % of ? fmt::format("  guard {} < {}\n", form, n) : std::string();
    };
    const auto shape = [&](std::string dims) {
      return replaced(std::move(dims),
                      {{"b", number(batch)}, {"M", number(m)}, {"N", number(n)}, {"K", number(k)}});
    };
    const auto axes = [&](const std::string& dims) {
      std::string of;
      for (const char c : dims)
        if (const char* axis = c == 'M' ? "mi" : c == 'N' ? "ni" : c == 'K' ? "ki" : nullptr)
          of += (of.empty() ? "" : ",") + std::string(axis);
      return of;
    };
    const auto forms = [&](std::string dims) {
      return replaced(std::move(dims), {{"M", "R_*mo + mi"}, {"N", "C_*no + ni"}, {"K", "T_*ko + ki"}});
    };
    std::string s =
        "tenfold 1\nkernel product(x: TYPE[X], y: TYPE[Y], r: f32[b,M,N], v: f32[N], out c: TO[OUT]) {\n";
    s = replaced(s, {{"[X]", "[" + shape(x) + "]"},
                     {"[Y]", "[" + shape(y) + "]"},
                     {"[OUT]", shape(out)},
                     {"[b,M,N]", "[" + shape("b,M,N") + "]"},
                     {"[N]", "[" + shape("N") + "]"},
                     {"TO", to}});
    s += "  atom b in BATCH, mo in MB, mi in R_, no in NB, ni in C_, ko in KB, ki in T_\n  vector ni\n";
    s += guard(m, rows, "R_*mo + mi") + guard(n, columns, "C_*no + ni") + guard(k, terms, "T_*ko + ki");
    s += "  grid b, mo, no {\n    %c = fill f32[mi,ni] 0.0\n";
    if (loop) s += "    for ko {\n";
    s += fmt::format("    %x = load x[{}] : TYPE[{}]\n    %y = load y[{}] : TYPE[{}]\n", forms(x), axes(x),
                     forms(y), axes(y));
    s += before + fmt::format("    %c = contract {}, {} over ki : f32[mi,ni]\n", a, b);
    if (loop) s += "    }\n";
    s += after + fmt::format("    store c{} = {}\n  }}\n}}\n", forms(out), result);
    if (!loop) s = replaced(s, {{"T_*ko + ki", "ki"}, {", ko in KB", ""}});
    return {replaced(s, {{"TYPE", dtype},
                         {"BATCH", number(batch)},
                         {"R_", number(rows)},
                         {"C_", number(columns)},
                         {"T_", number(terms)},
                         {"MB", blocks(m, rows)},
                         {"NB", blocks(n, columns)},
                         {"KB", blocks(k, terms)}})};
  }
};

inline std::vector<KernelCase> matrix_products() {
  const std::string epilogue = R"(    %v = load v[C_*no + ni] : f32[ni]
    %r = load r[b, R_*mo + mi, C_*no + ni] : f32[mi,ni]
    %0 = constant 0.0 : f32[]
    %s = add %c, %v : f32[mi,ni]
    %t = add %s, %r : f32[mi,ni]
    %u = maximum %t, %0 : f32[mi,ni]
    %z = convert %u dtype=bf16 : bf16[mi,ni]
)";
  const std::string widened = R"(    %xx = convert %x dtype=f32 : f32[mi,ki]
    %yy = convert %y dtype=f32 : f32[ki,ni]
)";
  // What is made of x is not 0 beyond the last term.
  const std::string mapped = R"(    %0 = constant 0.5 : TYPE[]
    %w = add %x, %0 : TYPE[mi,ki]
)";
  // The columns are reduced too: that takes the sums through local memory.
  const std::string reduced = R"(    %0 = constant 2.0 : f32[]
    %s = mul %c, %0 : f32[mi,ni]
    %q = reduce maximum %s over ni : f32[mi]
    %u = sub %s, %q : f32[mi,ni]
)";
  std::vector<Product> all;
  for (const char* dtype : {"f16", "bf16"}) {
    all.push_back({.dtype = dtype});
    for (const char* x : {"b, M, K", "b, K, M"})
      for (const char* y : {"b, K, N", "b, N, K"})
        all.push_back({.dtype = dtype, .batch = 2, .m = 40, .n = 72, .k = 88, .x = x, .y = y});
    all.push_back({.dtype = dtype, .m = 37, .n = 45, .k = 51, .columns = 32});  // rows that are not aligned
  }
  all.push_back({.m = 70, .n = 130, .k = 100, .rows = 128, .columns = 128});
  all.push_back({.k = 32});  // as many stages as turns, or more
  all.push_back({.k = 192, .rows = 16, .columns = 32, .terms = 16});
  all.push_back({.m = 96, .n = 90, .rows = 32, .columns = 96, .terms = 48});
  all.push_back({.n = 72, .after = epilogue, .result = "%z", .to = "bf16"});
  all.push_back({.k = 80, .before = widened, .a = "%xx", .b = "%yy"});
  all.push_back({.k = 80, .a = "%y", .b = "%x"});
  all.push_back({.k = 72, .before = mapped, .a = "%w"});
  all.push_back({.after = reduced, .result = "%u"});
  all.push_back({.out = "[M, b, N]"});
  all.push_back({.k = 32, .loop = false});
  all.push_back({.m = 50, .n = 51, .k = 24, .loop = false});
  std::vector<KernelCase> cases;
  for (const Product& p : all) cases.push_back(p.text());
  return cases;
}

inline std::vector<KernelCase> matrix_group_products() {
  const std::string mapped = R"(    %0 = constant 0.5 : TYPE[]
    %w = add %y, %0 : TYPE[ki,ni]
)";
  std::vector<Product> all;
  for (const char* x : {"b, M, K", "b, K, M"})
    for (const char* y : {"b, K, N", "b, N, K"})
      for (const int64_t terms : {16, 32, 64})
        all.push_back({.dtype = terms == 32 ? "f16" : "bf16",
                       .m = 60,
                       .n = 120,
                       .k = 2 * terms + 8,
                       .columns = 128,
                       .terms = terms,
                       .x = x,
                       .y = y});
  all.push_back({.m = 130, .n = 130, .k = 80, .rows = 128, .columns = 128});
  all.push_back({.n = 128, .k = 72, .columns = 128, .before = mapped, .b = "%w"});
  all.push_back({.n = 128, .k = 32, .columns = 128, .loop = false});
  std::vector<KernelCase> cases;
  for (const Product& p : all) cases.push_back(p.text());
  return cases;
}

inline std::vector<KernelCase> all_kernel_cases(size_t stride = 1) {
  constexpr size_t kLong = 14;
  std::vector<KernelCase> all;
  for (const auto& part :
       {ragged_elementwise(), borders_of_two_axes(), symbolic_extents(), reductions_along_and_across(),
        contractions_in_loops_and_blocks(), other_contractions(), contractions_of_bytes(),
        products_in_tiles(), structs_of_every_width(), carries_through_a_thousand_steps(),
        votes_of_vectors_outside(), votes_over_several_vectors(), large_tiles_become_loops(),
        runs_of_elements(), streamed_outputs(), special_values_reach_minimum_and_maximum()}) {
    const size_t step = part.size() > kLong ? stride : 1;
    for (size_t i = 0; i < part.size(); i += step) all.push_back(part[i]);
  }
  return all;
}

}  // namespace tenfold::testing
