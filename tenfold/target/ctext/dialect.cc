#include "tenfold/target/ctext/dialect.h"

namespace tenfold::ctext {

const Dialect kOpenCl{
    .name = "opencl",
    .head = "#pragma OPENCL FP_CONTRACT OFF\n",
    .head_f64 = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n",
    .function = "",
    .kernel = "__kernel void",
    .global = "__global ",
    .local = "__local ",
    .item = "(int)get_local_id(0)",
    .group = "(long)get_group_id(0)",
    .barrier = "barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);",
    .raise_flag = "atomic_or(&flag, 1);",
    .pair = "(({0}2)({1}, {2}))",
    .unroll = "",
    .warp = 0,
    .partner = "",
    .first = "",
    .run = 4,
    .load_run = "vstore4(vload4(0, {1}), 0, {0});",
    .store_run = "vstore4(vload4(0, {0}), 0, {1});",
    .matrix = "",
    .matrix_groups = "",
    .offsets = true,
};

// Compiled with --fmad=false: contraction is an option there, not a pragma.
const Dialect kCuda{
    .name = "cuda",
    .head = R"(typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
__device__ inline float as_float(uint x) { return __uint_as_float(x); }
__device__ inline float as_float(int x) { return __int_as_float(x); }
__device__ inline uint as_uint(float x) { return __float_as_uint(x); }
__device__ inline uint as_uint(int x) { return (uint)x; }
__device__ inline int as_int(float x) { return __float_as_int(x); }
__device__ inline int as_int(uint x) { return (int)x; }
__device__ inline double as_double(ulong x) { return __longlong_as_double((long long)x); }
__device__ inline double as_double(long x) { return __longlong_as_double(x); }
__device__ inline ulong as_ulong(double x) { return (ulong)__double_as_longlong(x); }
__device__ inline ulong as_ulong(long x) { return (ulong)x; }
__device__ inline long as_long(double x) { return __double_as_longlong(x); }
__device__ inline long as_long(ulong x) { return (long)x; }
__device__ inline uint mul_hi(uint x, uint y) { return __umulhi(x, y); }
template <class T> __device__ inline T partner(T x, int bit) { return __shfl_xor_sync(~0u, x, bit); }
template <class T> __device__ inline T first(T x) { return __shfl_sync(~0u, x, 0); }
__device__ inline float2 partner(float2 x, int bit) { return {partner(x.x, bit), partner(x.y, bit)}; }
__device__ inline float2 first(float2 x) { return {first(x.x), first(x.y)}; }
__device__ inline double2 partner(double2 x, int bit) { return {partner(x.x, bit), partner(x.y, bit)}; }
__device__ inline double2 first(double2 x) { return {first(x.x), first(x.y)}; }
template <class T> struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) Run { T at[4]; };
template <class T> __device__ inline void load_run(T* to, const T* from) {
  const bool aligned = (ulong)from % alignof(Run<T>) == 0;
  const Run<T> run = aligned ? *(const Run<T>*)from : Run<T>{from[0], from[1], from[2], from[3]};
  for (int i = 0; i < 4; ++i) to[i] = run.at[i];
}
template <class T> __device__ inline void store_run(const T* from, T* to) {
  if ((ulong)to % alignof(Run<T>) == 0)
    *(Run<T>*)to = Run<T>{from[0], from[1], from[2], from[3]};
  else
    for (int i = 0; i < 4; ++i) to[i] = from[i];
}
)",
    .head_f64 = "",
    .function = "__device__ inline ",
    .kernel = "extern \"C\" __global__ void __launch_bounds__({0})",
    .global = "",
    .local = "__shared__ ",
    .item = "(int)threadIdx.x",
    .group = "(long)blockIdx.x",
    .barrier = "__syncthreads();",
    .raise_flag = "flag = 1;",
    .pair = "make_{0}2({1}, {2})",
    .unroll = "#pragma unroll",
    .warp = 32,
    .partner = "partner({0}, {1})",
    .first = "first({0})",
    .run = 4,
    .load_run = "load_run({0}, {1});",
    .store_run = "store_run({0}, {1});",
    .matrix = R"(
#define STAGED(bytes) extern __shared__ __align__(1024) ushort staged[]
__device__ inline uint shared_address(const void* x) { return (uint)__cvta_generic_to_shared(x); }
__device__ inline int run_length(long left) { return left < 0 ? 0 : left < 8 ? (int)left : 8; }
__device__ inline void copy_run(ushort* to, const ushort* from, int count) {
  if ((ulong)from % 16 == 0)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(2 * count)
                 : "memory");
  else
    for (int i = 0; i < 8; ++i) to[i] = i < count ? from[i] : (ushort)0;
}
__device__ inline void end_stage() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int n> __device__ inline void await_stages() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}
__device__ inline void load_tiles(uint (&to)[4], const ushort* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_tiles_transposed(uint (&to)[4], const ushort* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
#define MULTIPLY(name, type)                                                                                __device__ inline void name(float& c0, float& c1, float& c2, float& c3, const uint (&a)[4], uint b0,                                  uint b1) {                                                                      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, "                          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                                           : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)                                                                  : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                           }
MULTIPLY(multiply_f16, "f16")
MULTIPLY(multiply_bf16, "bf16")
#undef MULTIPLY
)",
    .matrix_groups = R"(
__device__ inline ulong describe(const ushort* tile, int leading, int stride, int width) {
  const ulong swizzle = width == 64 ? 1 : width == 32 ? 2 : 3;
  return (ulong)(shared_address(tile) >> 4 & 0x3fff) | (ulong)(leading >> 4) << 16 | (ulong)(stride >> 4) << 32 |
         swizzle << 62;
}
__device__ inline void order_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
#define SUMS(j) "+f"(up[2 * j]), "+f"(up[2 * j + 1]), "+f"(down[2 * j]), "+f"(down[2 * j + 1])
#define MULTIPLY(name, type) \
  template <int along_a, int along_b> \
  __device__ inline void name(float (&up)[32], float (&down)[32], ulong a, ulong b) { \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                            \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                  \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                  \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"                    \
    "}, %64, %65, 1, 1, 1, %66, %67;" \
    : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7), SUMS(8), SUMS(9), SUMS(10), SUMS(11), SUMS(12), SUMS(13), SUMS(14), SUMS(15) \
    : "l"(a), "l"(b), "n"(along_a), "n"(along_b) : "memory"); \
  }
MULTIPLY(multiply_f16, "f16")
MULTIPLY(multiply_bf16, "bf16")
#undef MULTIPLY
#undef SUMS
)",
    .offsets = false,
};

}  // namespace tenfold::ctext
